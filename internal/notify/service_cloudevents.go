package notify

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// eventSink is a receiver of CloudEvents.
type eventSink struct {
	address, source string
	structured      bool
	header          map[string]string
	insecure        bool
}

// newCloudEvents sends every event as a CloudEvent (1.0): in binary mode one
// request each, in structured mode (the default) several as one batch.
func newCloudEvents(o *options) (sendFunc, error) {
	mode := or(o.text("mode"), "structured")
	sink := eventSink{address: o.secret("url"), source: or(o.text("source"), "plumb.dev"), structured: mode == "structured", header: map[string]string{}, insecure: o.flag("insecureSkipVerify")}
	if err := checkURL(sink.address); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if mode != "binary" && mode != "structured" {
		return nil, fmt.Errorf("mode: %q is neither binary nor structured", mode)
	}
	for _, h := range o.maps("headers") {
		value := h.text("value")
		sink.header[h.text("name")] = value
		o.sensitive = append(o.sensitive, value)
	}
	if mode == "binary" {
		return each(sink.one), nil
	}
	return sink.batch, nil
}

func (s eventSink) carry(ctx context.Context, out courier, request func(context.Context) (*http.Request, error)) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	req, err := request(ctx)
	if err != nil {
		return permanent{fmt.Errorf("write the event: %w", err)}
	}
	for name, value := range s.header {
		req.Header.Set(name, value)
	}
	_, err = out.carry(req, s.insecure)
	return err
}

func (s eventSink) one(ctx context.Context, out courier, _ string, m Message) error {
	e, err := cloudEvent(s.source, m)
	if err != nil {
		return permanent{err}
	}
	return s.carry(ctx, out, func(ctx context.Context) (*http.Request, error) {
		if s.structured {
			ctx = binding.WithForceStructured(ctx)
		}
		return cehttp.NewHTTPRequestFromEvent(ctx, s.address, e)
	})
}

func (s eventSink) batch(ctx context.Context, out courier, _ string, messages []Message) (int, error) {
	n := min(len(messages), maxBatch)
	if n == 1 {
		err := s.one(ctx, out, "", messages[0])
		return doneWith(1, err), err
	}
	events := make([]cloudevents.Event, n)
	for i, m := range messages[:n] {
		var err error
		if events[i], err = cloudEvent(s.source, m); err != nil {
			return n, permanent{err}
		}
	}
	err := s.carry(ctx, out, func(ctx context.Context) (*http.Request, error) {
		return cehttp.NewHTTPRequestFromEvents(ctx, s.address, events)
	})
	return doneWith(n, err), err
}

func cloudEvent(source string, m Message) (cloudevents.Event, error) {
	e := cloudevents.New()
	e.SetID(or(m.Event.ID, "test") + "/" + string(m.Event.Trigger)) // one event may be news of several kinds
	e.SetSource(source)
	e.SetType("dev.plumb." + strings.TrimPrefix(string(m.Event.Trigger), "on-"))
	e.SetSubject(m.Event.Application.Key())
	e.SetTime(m.Event.Time)
	if m.Event.Project.Name != "" {
		e.SetExtension("plumbproject", m.Event.Project.Name)
	}
	data, err := eventData(m)
	if err != nil {
		return e, fmt.Errorf("write the event: %w", err)
	}
	if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
		return e, fmt.Errorf("write the event: %w", err)
	}
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("the event is not valid: %w", err)
	}
	return e, nil
}
