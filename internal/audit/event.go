package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The bounds of what is kept of an event, in bytes and groups.
const (
	mostName   = 253
	mostUser   = 512
	mostWord   = 128 // a manager, a program
	mostGroups = 16
)

// event is what is read of an audit.k8s.io/v1 Event. What was written is not.
type event struct {
	Kind                     string       `json:"kind"`
	Stage                    string       `json:"stage"`
	RequestURI               string       `json:"requestURI"`
	Verb                     string       `json:"verb"`
	User                     eventUser    `json:"user"`
	ImpersonatedUser         *eventUser   `json:"impersonatedUser"`
	UserAgent                string       `json:"userAgent"`
	ObjectRef                *eventObject `json:"objectRef"`
	ResponseStatus           *eventStatus `json:"responseStatus"`
	RequestReceivedTimestamp time.Time    `json:"requestReceivedTimestamp"`
	StageTimestamp           time.Time    `json:"stageTimestamp"`
}

type eventUser struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

type eventObject struct {
	Resource    string `json:"resource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	APIGroup    string `json:"apiGroup"`
	Subresource string `json:"subresource"`
}

type eventStatus struct {
	Code int `json:"code"`
}

// errNoEvent tells of what is none.
var errNoEvent = errors.New("no event of an audit log")

// read takes from an event what it says of who wrote what; nothing where it says
// nothing of that.
func (e *event) read(cluster string) (written, bool) {
	o := e.ObjectRef
	v, ok := writing(e.Verb)
	if !ok || e.Stage != "ResponseComplete" || o == nil || o.Resource == "" || e.User.Username == "" || !matters(o) {
		return written{}, false
	}
	if e.ResponseStatus == nil || e.ResponseStatus.Code/100 != http.StatusOK/100 {
		return written{}, false
	}
	w := Write{
		Verb: string(v), Subresource: o.Subresource, Began: e.RequestReceivedTimestamp, Ended: e.StageTimestamp,
		Program: program(e.UserAgent),
	}
	if e.ResponseStatus.Code == http.StatusCreated && o.Subresource == "" {
		w.Verb = string(verbCreate) // also by an apply
	}
	if w.Ended.IsZero() || w.Ended.Before(w.Began) {
		return written{}, false
	}
	u, err := url.ParseRequestURI(e.RequestURI)
	if err != nil {
		return written{}, false
	}
	q := u.Query()
	if len(q["dryRun"]) > 0 {
		return written{}, false
	}
	if w.Manager = clean(q.Get("fieldManager"), mostWord); w.Manager == "" {
		w.Manager = w.Program // what the API server does
	}
	w.Forced = q.Get("force") == "true"
	who := e.User
	if i := e.ImpersonatedUser; i != nil && i.Username != "" {
		who, w.Through = *i, clean(e.User.Username, mostUser)
	}
	w.User, w.Groups = clean(who.Username, mostUser), groups(who.Groups)
	return written{
		Object{
			cluster, clean(o.APIGroup, mostName), clean(o.Resource, mostName),
			clean(o.Namespace, mostName), clean(o.Name, mostName),
		}, w,
	}, true
}

// writing gives the verbs that write.
func writing(text string) (verb, bool) {
	switch v := verb(text); v {
	case verbCreate, verbUpdate, verbPatch, verbDelete, verbDeleteCollection:
		return v, true
	}
	return "", false
}

// matters tells whether an object is one that somebody declares: not how it fares,
// nor what is asked and told.
func matters(o *eventObject) bool {
	switch o.Subresource {
	case "", "scale", "finalize", "ephemeralcontainers", "resize", "eviction":
	default:
		return false
	}
	switch o.APIGroup {
	case "events.k8s.io", "coordination.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "discovery.k8s.io":
		return false
	}
	return o.APIGroup != "" || o.Resource != "events" && o.Resource != "endpoints"
}

// program is what a client calls itself, without its version.
func program(agent string) string {
	name, _, _ := strings.Cut(agent, "/")
	return clean(strings.TrimSpace(name), mostWord)
}

// groups leaves out what everybody is in.
func groups(all []string) []string {
	var out []string
	for _, g := range all[:min(len(all), 4*mostGroups)] {
		if g = clean(g, mostUser); g != "" && g != "system:authenticated" && len(out) < mostGroups {
			out = append(out, g)
		}
	}
	return slices.Clip(out)
}

// clean makes a name one that can be shown and kept: whoever sends a request
// chooses some of them.
func clean(s string, most int) string {
	s = s[:min(len(s), most)]
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return strings.Map(func(r rune) rune {
				if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
					return '?'
				}
				return r
			}, s)
		}
	}
	return strings.Clone(s) // not what it was cut from
}

// takeLine takes one line of a log.
func (f *Feed) takeLine(cluster string, line []byte, batch []written, counts *Counts) []written {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Kind != "" && e.Kind != "Event" {
		counts.Invalid++
		return batch
	}
	w, ok := e.read(cluster)
	if !ok {
		counts.Ignored++
		return batch
	}
	return append(batch, w)
}

// Receive takes an EventList, as API servers send it to a webhook. The reader
// bounds it; one event at a time is kept.
func (f *Feed) Receive(cluster string, body io.Reader) error {
	var all []written
	var counts Counts
	err := eachItem(body, func(e *event) {
		if w, ok := e.read(cluster); ok {
			all = append(all, w)
		} else {
			counts.Ignored++
		}
	})
	if err != nil {
		counts.Invalid++
	}
	f.take(all, counts)
	return err
}

// eachItem goes through the items of a list without holding all of it.
func eachItem(body io.Reader, take func(*event)) error {
	d := json.NewDecoder(body)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errNoEvent, err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", errNoEvent, err)
		}
		if key != "items" {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return fmt.Errorf("%w: %w", errNoEvent, err)
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return errors.Join(errNoEvent, err)
		}
		for d.More() {
			var e event
			if err := d.Decode(&e); err != nil {
				return fmt.Errorf("%w: %w", errNoEvent, err)
			}
			take(&e)
		}
		if _, err := d.Token(); err != nil {
			return fmt.Errorf("%w: %w", errNoEvent, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: %w", errNoEvent, err)
	}
	return nil
}
