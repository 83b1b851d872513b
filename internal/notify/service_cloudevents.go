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

// newCloudEvents sends every event as a CloudEvent (1.0): in binary mode one
// request each, in structured mode (the default) several as one batch.
func newCloudEvents(o *options) (sendFunc, error) {
	address, mode, source := o.secret("url"), or(o.text("mode"), "structured"), or(o.text("source"), "plumb.dev")
	if err := checkURL(address); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if mode != "binary" && mode != "structured" {
		return nil, fmt.Errorf("mode: %q is neither binary nor structured", mode)
	}
	header := map[string]string{}
	for _, h := range o.maps("headers") {
		value := h.text("value")
		header[h.text("name")] = value
		o.sensitive = append(o.sensitive, value)
	}
	insecure := o.flag("insecureSkipVerify")
	carry := func(ctx context.Context, out courier, make func(context.Context) (*http.Request, error)) error {
		ctx, cancel := context.WithTimeout(ctx, sendTime)
		defer cancel()
		req, err := make(ctx)
		if err != nil {
			return permanent{fmt.Errorf("write the event: %w", err)}
		}
		for name, value := range header {
			req.Header.Set(name, value)
		}
		_, err = out.carry(req, insecure)
		return err
	}
	one := func(ctx context.Context, out courier, _ string, m Message) error {
		e, err := cloudEvent(source, m)
		if err != nil {
			return permanent{err}
		}
		return carry(ctx, out, func(ctx context.Context) (*http.Request, error) {
			if mode == "structured" {
				ctx = binding.WithForceStructured(ctx)
			}
			return cehttp.NewHTTPRequestFromEvent(ctx, address, e)
		})
	}
	if mode == "binary" {
		return each(one), nil
	}
	return func(ctx context.Context, out courier, recipient string, messages []Message) (int, error) {
		if len(messages) == 1 {
			return each(one)(ctx, out, recipient, messages)
		}
		n := min(len(messages), maxBatch)
		batch := make([]cloudevents.Event, n)
		for i, m := range messages[:n] {
			var err error
			if batch[i], err = cloudEvent(source, m); err != nil {
				return n, permanent{err}
			}
		}
		err := carry(ctx, out, func(ctx context.Context) (*http.Request, error) {
			return cehttp.NewHTTPRequestFromEvents(ctx, address, batch)
		})
		return doneWith(n, err), err
	}, nil
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
