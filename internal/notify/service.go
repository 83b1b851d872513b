package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// service is a configured way out.
type service struct {
	kind, name string
	hide       scrubber
	// send delivers messages to a recipient, in order, and says how many are done
	// with: those that have arrived, and those that were refused for good. Most
	// services group several into one.
	send sendFunc
}

type sendFunc func(ctx context.Context, out courier, recipient string, messages []Message) (int, error)

// permanent is an error that trying again does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func isPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

// later is an error that says when to try again.
type later struct {
	error
	after time.Duration
}

func (l later) Unwrap() error { return l.error }

func asLater(err error) (time.Duration, bool) {
	var l later
	ok := errors.As(err, &l)
	return l.after, ok
}

// newService reads the options of one service.* key.
func newService(kind, name string, o *options) (*service, error) {
	s := &service{kind: kind, name: name}
	makers := map[string]func(*options) (sendFunc, error){
		"slack": newSlack, "teams": newTeams, "teams-workflows": newTeams, "mattermost": newMattermost,
		"webex": newWebex, "grafana": newGrafana, "alertmanager": newAlertmanager, "newrelic": newNewRelic,
		"webhook":     newWebhook,
		"cloudevents": newCloudEvents,
		"shoutrrr":    newShoutrrr, "email": newEmail, "telegram": newTelegram, "opsgenie": newOpsgenie,
		"googlechat": newGoogleChat, "pushover": newPushover, "pagerdutyv2": newPagerDuty,
	}
	read, ok := makers[kind]
	if !ok {
		return nil, unsupported(kind)
	}
	send, err := read(o)
	if err != nil {
		return nil, err
	}
	s.send = send
	return s, nil
}

func unsupported(kind string) error {
	instead := "use service.shoutrrr.<name> or service.webhook.<name>"
	switch kind {
	case "github":
		instead = "Plumb itself writes the statuses of commits"
	case "awssqs":
		instead = "use service.cloudevents.<name> with a receiver that fills the queue"
	case "rocketchat":
		instead = "use service.shoutrrr.<name> with the URL of an incoming webhook (rocketchat://…)"
	case "pagerduty":
		instead = "use service.pagerdutyv2 with an integration key"
	}
	return fmt.Errorf("the service %s is not supported: nothing is sent by it; %s", kind, instead)
}

// options are the options of a service, as YAML gives them. They note what was
// read, so that what was not can be named, and what is secret.
type options struct {
	values    map[string]any
	read      []string
	sensitive []string
}

func (o *options) get(key string) any {
	o.read = append(o.read, key)
	return o.values[key]
}

// text reads an option; numbers are taken as they are written.
func (o *options) text(key string) string {
	switch v := o.get(key).(type) {
	case string:
		return v
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// secret reads an option that must never be shown.
func (o *options) secret(key string) string {
	v := o.text(key)
	o.sensitive = append(o.sensitive, v)
	return v
}

func (o *options) flag(key string) bool {
	v, _ := strconv.ParseBool(o.text(key))
	return v
}

func (o *options) list(key string) []string {
	var out []string
	listed, _ := o.get(key).([]any)
	for _, v := range listed {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// secrets reads a map of recipients and what opens each.
func (o *options) secrets(key string) map[string]string {
	out := map[string]string{}
	m, _ := o.get(key).(map[string]any)
	for k, v := range m {
		out[k] = fmt.Sprint(v)
		o.sensitive = append(o.sensitive, out[k])
	}
	return out
}

// maps reads a list of maps.
func (o *options) maps(key string) []*options {
	var out []*options
	listed, _ := o.get(key).([]any)
	for _, v := range listed {
		if m, ok := v.(map[string]any); ok {
			out = append(out, &options{values: m})
		}
	}
	return out
}

// ignored are options that mean nothing here, and are no reason for a warning.
func (o *options) ignored(keys ...string) { o.read = append(o.read, keys...) }

func (o *options) unused() []string {
	var out []string
	for _, key := range sortedKeys(o.values) {
		if !slices.Contains(o.read, key) {
			out = append(out, key)
		}
	}
	return out
}

// doneWith is how many of n are not to be sent again.
func doneWith(n int, err error) int {
	if err == nil || isPermanent(err) {
		return n
	}
	return 0
}

// grouped makes one message of all that are due.
func grouped(send func(ctx context.Context, out courier, recipient string, m Message) error) sendFunc {
	return func(ctx context.Context, out courier, recipient string, messages []Message) (int, error) {
		err := send(ctx, out, recipient, compose(messages))
		return doneWith(len(messages), err), err
	}
}

// each sends one after the other, slowly enough for whoever receives them.
func each(send func(ctx context.Context, out courier, recipient string, m Message) error) sendFunc {
	return func(ctx context.Context, out courier, recipient string, messages []Message) (int, error) {
		var refused error
		for i, m := range messages {
			if i > 0 {
				select {
				case <-ctx.Done():
					return i, refused
				case <-time.After(out.pace):
				}
			}
			switch err := send(ctx, out, recipient, m); {
			case isPermanent(err):
				refused = err
			case err != nil:
				return i, err
			}
		}
		return len(messages), refused
	}
}

// The size of a message that is made of many.
const (
	maxComposed  = 3_000
	maxWhole     = 5  // so many are written in full
	maxPerReason = 10 // and of more, so many are named for each trigger
)

// compose makes one message of several. Of the same thing said again of the same
// Application only the latest is kept.
func compose(messages []Message) Message {
	latest := latestOf(messages)
	if len(latest) == 1 {
		return latest[0]
	}
	out := Message{Title: fmt.Sprintf("%d notifications", len(latest)), Event: Event{Time: latest[len(latest)-1].Event.Time}}
	if len(latest) <= maxWhole {
		var texts []string
		for _, m := range latest {
			texts = append(texts, m.Text)
		}
		if out.Text = strings.Join(texts, "\n\n"); len(out.Text) <= maxComposed {
			return out
		}
	}
	var order []Trigger
	by := map[Trigger][]Message{}
	for _, m := range latest {
		if _, ok := by[m.Event.Trigger]; !ok {
			order = append(order, m.Event.Trigger)
		}
		by[m.Event.Trigger] = append(by[m.Event.Trigger], m)
	}
	var counts, parts []string
	for _, t := range order {
		counts = append(counts, fmt.Sprintf("%d × %s", len(by[t]), t))
		parts = append(parts, summary(t, by[t]))
	}
	if len(order) == 1 {
		out.Title = fmt.Sprintf("%d Applications: %s", len(latest), order[0])
	} else {
		out.Title = shorten(out.Title+": "+strings.Join(counts, ", "), 200)
	}
	out.Text = shorten(out.Title+"\n\n"+strings.Join(parts, "\n\n"), maxComposed)
	return out
}

func summary(t Trigger, messages []Message) string {
	lines := []string{fmt.Sprintf("%s (%d):", t, len(messages))}
	for i, m := range messages {
		if i == maxPerReason {
			lines = append(lines, fmt.Sprintf("  … and %d more", len(messages)-i))
			break
		}
		line, _, _ := strings.Cut(m.Text, "\n")
		if m.Title != "" {
			line = m.Title
		}
		lines = append(lines, "  "+m.Event.Application.Key()+": "+shorten(line, 120))
	}
	return strings.Join(lines, "\n")
}

func latestOf(messages []Message) []Message {
	type thing struct {
		application string
		trigger     Trigger
	}
	last := map[thing]int{}
	for i, m := range messages {
		last[thing{m.Event.Application.Key(), m.Event.Trigger}] = i
	}
	var out []Message
	for i, m := range messages {
		if last[thing{m.Event.Application.Key(), m.Event.Trigger}] == i {
			out = append(out, m)
		}
	}
	return out
}
