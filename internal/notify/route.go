package notify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Destination is a channel: a recipient of a service.
type Destination struct {
	// Namespace whose own configuration the service is of; empty for the common
	// one.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service"`
	Recipient string `json:"recipient,omitempty"`
}

func (d Destination) String() string {
	out := d.Service
	if d.Recipient != "" {
		out += ":" + d.Recipient
	}
	if d.Namespace != "" {
		out += " of " + d.Namespace
	}
	return out
}

// delivery is a message on its way into a channel.
type delivery struct {
	to      Destination
	message Message
}

// routing finds out who hears of one event.
type routing struct {
	config  Config
	memory  *memory
	event   Event
	known   *facts // made when somebody needs it
	started time.Time
	now     time.Time

	deliveries []delivery
	problems   []Problem
}

func (r *routing) facts() facts {
	if r.known == nil {
		f := newFacts(r.event)
		r.known = &f
	}
	return *r.known
}

// standingKey is the ConfigMap's key with subscriptions for all Applications.
const standingKey = "subscriptions"

// scope is a configuration with its namespace.
type scope struct {
	Config
	namespace string
}

func (r *routing) run() {
	silent := r.unseen() || r.event.Known
	r.wishes(func(s scope, wanted map[string][]Destination) {
		for _, trigger := range sortedKeys(wanted) {
			slices.SortFunc(wanted[trigger], func(a, b Destination) int { return strings.Compare(a.String(), b.String()) })
			r.trigger(s, trigger, slices.Compact(wanted[trigger]), silent)
		}
	})
}

// Check says what of the subscriptions of an Application and its project cannot
// be used. It looks at annotations alone, and is quick where there are none.
func (c Config) Check(a Application, p Project) []Problem {
	r := routing{config: c, event: Event{Application: a, Project: p}}
	r.wishes(func(scope, map[string][]Destination) {})
	return slices.DeleteFunc(distinct(r.problems), func(p Problem) bool { return p.Where == standingKey })
}

// wishes finds who wants to hear of what, by configuration and trigger.
func (r *routing) wishes(each func(s scope, wanted map[string][]Destination)) {
	fromAnnotations, problems := ParseSubscriptions(r.event.Application.Annotations)
	ofProject, more := ParseSubscriptions(r.event.Project.Annotations)
	r.problems = append(append(r.problems, problems...), more...)
	fromAnnotations = append(fromAnnotations, ofProject...)

	common := scope{Config: r.config}
	scopes := []scope{common}
	if own, ok := r.config.namespaces[r.event.Application.Namespace]; ok && r.event.Application.Namespace != "" {
		scopes = []scope{{Config: own, namespace: r.event.Application.Namespace}, common}
	}
	first := true
	for _, s := range scopes {
		wanted := r.standing(s)
		for _, sub := range fromAnnotations {
			if scopeOf(scopes, sub.Service) != s.namespace {
				continue
			}
			r.subscribe(s, wanted, sub, first)
		}
		first = false
		each(s, wanted)
	}
}

// unseen says whether this is the first that is seen of an Application that was
// there before: what holds of it is no news then.
func (r *routing) unseen() bool {
	if r.memory.seen(r.event.Application.Key()) || r.event.Application.CreatedAt.IsZero() {
		return false
	}
	return r.event.Application.CreatedAt.Before(r.started)
}

// scopeOf gives the namespace of the first configuration that has a service, and
// that of the common one where none has it.
func scopeOf(scopes []scope, service string) string {
	for _, s := range scopes {
		if _, ok := s.services[service]; ok {
			return s.namespace
		}
	}
	return ""
}

// standing are the subscriptions of a configuration that fit the Application.
func (r *routing) standing(s scope) map[string][]Destination {
	wanted := map[string][]Destination{}
	for _, sub := range s.subscriptions {
		if !sub.selector.Matches(labels.Set(r.event.Application.Labels)) {
			continue
		}
		triggers := sub.triggers
		if len(triggers) == 0 {
			triggers = s.defaultTriggers
		}
		for _, trigger := range triggers {
			for _, recipient := range sub.recipients {
				service, to, _ := strings.Cut(recipient, ":")
				if _, ok := s.services[service]; !ok {
					r.problems = append(r.problems, Problem{standingKey, fmt.Sprintf("the service %q is not configured", shorten(service, 60))})
					continue
				}
				wanted[trigger] = append(wanted[trigger], Destination{Namespace: s.namespace, Service: service, Recipient: to})
			}
		}
	}
	return wanted
}

func (r *routing) subscribe(s scope, wanted map[string][]Destination, sub Subscription, report bool) {
	if _, ok := s.services[sub.Service]; !ok {
		if report || s.namespace == "" {
			r.problems = append(r.problems, Problem{sub.Annotation, fmt.Sprintf("the service %q is not configured: add service.%s to the ConfigMap", shorten(sub.Service, 60), shorten(sub.Service, 60))})
		}
		return
	}
	triggers := []string{sub.Trigger}
	if sub.Trigger == "" {
		triggers = s.defaultTriggers
		if own, ok := s.serviceDefaults[sub.Service]; ok {
			triggers = own
		}
		if len(triggers) == 0 {
			r.problems = append(r.problems, Problem{sub.Annotation, "it names no trigger, and there are no defaultTriggers in the ConfigMap"})
		}
	}
	for _, trigger := range triggers {
		wanted[trigger] = append(wanted[trigger], Destination{Namespace: s.namespace, Service: sub.Service, Recipient: sub.Recipient})
		if _, _, ok := s.trigger(trigger); !ok {
			r.problems = append(r.problems, Problem{sub.Annotation, fmt.Sprintf("there is no trigger %q", shorten(trigger, 60))})
		}
	}
}

// trigger looks at the conditions of one trigger.
func (r *routing) trigger(s scope, name string, to []Destination, silent bool) {
	conditions, configured, ok := s.trigger(name)
	if !ok {
		return
	}
	event, named := Trigger(name).isEvent(), string(r.event.Trigger) == name
	switch {
	case event && !named:
		return
	case !event && !named && r.event.Trigger != "" && r.event.Object == nil:
		return // the event says nothing of the state
	}
	vars := r.facts().vars(s.context, "", "")
	for i := range conditions {
		c := &conditions[i]
		var met bool
		var per string
		if named && !configured {
			met, per = true, c.per(vars) // whoever says so knows
		} else {
			met, per = c.met(vars)
		}
		for _, d := range to {
			if !r.remember(name, c, d, met, per, event) || silent && !named {
				continue
			}
			r.write(s, Trigger(name), c.Send, d)
		}
	}
}

// remember notes whether a condition holds for a destination, and says whether
// that is news.
func (r *routing) remember(trigger string, c *condition, d Destination, met bool, per string, event bool) bool {
	app := r.event.Application.Key()
	key := trigger + " " + c.key + " " + d.String()
	if per != "" {
		key = per + " " + key
	} else if event {
		key = r.event.ID + " " + key
	}
	if met {
		return r.memory.add(app, key, r.now)
	}
	if c.OncePer == "" && !event {
		r.memory.remove(app, key)
	}
	return false
}

// write makes the message for one destination.
func (r *routing) write(s scope, trigger Trigger, templates []string, d Destination) {
	service := s.services[d.Service]
	m, err := s.message(r.facts(), r.event, trigger, templates, service.kind, d)
	if err != nil {
		r.problems = append(r.problems, Problem{"trigger." + string(trigger), s.hide.clean(err.Error())})
	}
	r.deliveries = append(r.deliveries, delivery{to: d, message: m})
}

// message is what the templates make of an event. Where one fails, the message is
// what the event itself says: news must not be lost by a template.
func (c Config) message(f facts, e Event, trigger Trigger, templates []string, kind string, d Destination) (Message, error) {
	e.Trigger, e.Object = trigger, nil
	m := Message{Event: e}
	vars := f.vars(c.context, kind, d.Recipient)
	var failed error
	for _, name := range templates {
		t := c.template(name)
		if t == nil {
			failed = fmt.Errorf("there is no template %q", name)
			continue
		}
		if err := t.render(&m, kind, d.Service, vars); err != nil {
			failed = err
		}
	}
	if email := m.Section; kind == "email" && sectionText(Message{Section: email}, "body") != "" {
		m.Text = sectionText(m, "body")
	}
	if m.Title == "" {
		m.Title = oneLine(or(e.Title, e.Application.Key()+": "+string(trigger)))
	}
	if m.Text == "" {
		m.Text = strings.TrimSpace(mentions.Replace(m.Title + "\n" + e.Message))
	}
	return m, failed
}

// distinct keeps the first of problems that are the same.
func distinct(problems []Problem) []Problem {
	seen := map[Problem]bool{}
	return slices.DeleteFunc(problems, func(p Problem) bool {
		was := seen[p]
		seen[p] = true
		return was
	})
}

// memory is what was notified, by Application. It is bounded: of each
// Application the oldest are forgotten.
type memory struct {
	Notified map[string]map[string]int64 `json:"notified"`
	dirty    bool
}

const (
	maxRemembered   = 500
	maxApplications = 100_000
)

func newMemory() *memory { return &memory{Notified: map[string]map[string]int64{}} }

// seen says whether an Application is known, and makes it so.
func (m *memory) seen(app string) bool {
	if _, ok := m.Notified[app]; ok {
		return true
	}
	if len(m.Notified) >= maxApplications {
		for oldest := range m.Notified { // any: it is a safeguard
			delete(m.Notified, oldest)
			break
		}
	}
	m.Notified[app], m.dirty = map[string]int64{}, true
	return false
}

func (m *memory) add(app, key string, now time.Time) bool {
	m.seen(app)
	entries := m.Notified[app]
	if _, ok := entries[key]; ok {
		return false
	}
	entries[key], m.dirty = now.Unix(), true
	if len(entries) > maxRemembered {
		keys := slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
			if entries[a] != entries[b] {
				return int(entries[a] - entries[b])
			}
			return strings.Compare(a, b)
		})
		for _, old := range keys[:len(entries)-maxRemembered] {
			delete(entries, old)
		}
	}
	return true
}

func (m *memory) remove(app, key string) {
	if entries := m.Notified[app]; entries != nil {
		if _, ok := entries[key]; ok {
			delete(entries, key)
			m.dirty = true
		}
	}
}

func (m *memory) forget(app string) {
	if _, ok := m.Notified[app]; ok {
		delete(m.Notified, app)
		m.dirty = true
	}
}
