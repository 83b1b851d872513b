package notify

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Kind is the kind of a configured service.
func (c Config) Kind(service string) (string, bool) {
	s, ok := c.services[service]
	if !ok {
		return "", false
	}
	return s.kind, true
}

// Preview writes what templates make of an event for a kind of service, without
// sending it.
func (c Config) Preview(e Event, kind string, d Destination, templates ...string) (Message, error) {
	return c.message(newFacts(e), e, e.Trigger, templates, kind, d)
}

// Outcome is what a condition of a trigger says of an event.
type Outcome struct {
	When, OncePer string
	Met           bool
	Templates     []string
}

// Try evaluates the conditions of a trigger for an event.
func (c Config) Try(trigger string, e Event) ([]Outcome, error) {
	conditions, _, ok := c.trigger(trigger)
	if !ok {
		return nil, fmt.Errorf("there is no trigger %q: there are %s", trigger, strings.Join(names(c.Triggers()), ", "))
	}
	vars := newFacts(e).vars(c.context, "", "")
	var out []Outcome
	for i := range conditions {
		met, per := conditions[i].met(vars)
		out = append(out, Outcome{When: conditions[i].When, OncePer: per, Met: met, Templates: conditions[i].Send})
	}
	return out, nil
}

// Deliver sends one message at once, once, and says what came of it.
func (c Config) Deliver(ctx context.Context, transport http.RoundTripper, d Destination, m Message) error {
	s := c.serviceOf(d)
	if s == nil {
		return fmt.Errorf("there is no service %q: there are %s", d.Service, or(strings.Join(names(c.Services()), ", "), "none"))
	}
	if transport == nil {
		transport = http.DefaultTransport
	}
	if _, err := s.send(ctx, courier{transport: transport}, d.Recipient, []Message{m}); err != nil {
		return fmt.Errorf("%s: %s", d, s.hide.clean(err.Error()))
	}
	return nil
}

func names(list []Named) []string {
	var out []string
	for _, n := range list {
		out = append(out, n.Name)
	}
	return out
}
