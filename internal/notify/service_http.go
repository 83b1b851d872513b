package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Services for programs, by HTTP.

// newWebhook is Argo CD's webhook: the template says method, path and body. A
// message whose template says nothing of this webhook is posted as JSON.
func newWebhook(o *options) (sendFunc, error) {
	base := o.secret("url")
	if err := checkURL(base); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	header := map[string]string{}
	for _, h := range o.maps("headers") {
		name, value := h.text("name"), h.text("value")
		header[name] = value
		o.sensitive = append(o.sensitive, value)
	}
	var user, password string
	if auth, ok := o.get("basicAuth").(map[string]any); ok {
		a := &options{values: auth}
		user, password = a.text("username"), a.text("password")
		o.sensitive = append(o.sensitive, password)
	}
	insecure := o.flag("insecureSkipVerify")
	o.ignored("retryWaitMin", "retryWaitMax", "retryMax") // what is not delivered is tried again in any case
	made := func(r request) request {
		head := map[string]string{}
		for _, h := range []map[string]string{r.header, header} {
			for name, value := range h {
				head[name] = value
			}
		}
		r.header, r.user, r.password, r.insecureSkipVerify = head, user, password, insecure
		return r
	}
	own := each(func(ctx context.Context, out courier, _ string, m Message) error {
		address, err := below(base, sectionText(m, "path"))
		if err != nil {
			return err
		}
		_, err = out.do(ctx, made(request{method: or(sectionText(m, "method"), http.MethodGet), url: address, body: []byte(or(sectionText(m, "body"), m.Text))}))
		return err
	})
	return func(ctx context.Context, out courier, recipient string, messages []Message) (int, error) {
		n := 1 // as many as are of the same kind as the first
		for n < len(messages) && (messages[n].Section == nil) == (messages[0].Section == nil) {
			n++
		}
		if messages[0].Section != nil {
			return own(ctx, out, recipient, messages[:n])
		}
		n = min(n, maxBatch)
		r, err := post(base, webhookBody(messages[:n]))
		if err != nil {
			return 0, err
		}
		_, err = out.do(ctx, made(r))
		return doneWith(n, err), err
	}, nil
}

const maxBatch = 500

// webhookBody is what a webhook gets that no template knows.
func webhookBody(messages []Message) map[string]any {
	m := compose(messages)
	events := make([]Event, len(messages))
	for i := range messages {
		events[i] = messages[i].Event
	}
	return map[string]any{"title": m.Title, "text": m.Text, "events": events}
}

// below puts a path under an address: what a template writes cannot lead to
// another host.
func below(base, path string) (string, error) {
	if path == "" {
		return base, nil
	}
	from, err := url.Parse(base)
	if err != nil {
		return "", permanent{fmt.Errorf("the url cannot be read")}
	}
	to, err := url.Parse(strings.TrimRight(base, "/") + "/" + strings.TrimLeft(path, "/"))
	if err != nil || to.Host != from.Host || to.Scheme != from.Scheme {
		return "", permanent{fmt.Errorf("the path of the template does not make an address below the url")}
	}
	return to.String(), nil
}

func newGrafana(o *options) (sendFunc, error) {
	api, key, insecure := o.text("apiUrl"), o.secret("apiKey"), o.flag("insecureSkipVerify")
	if err := checkURL(api); err != nil {
		return nil, fmt.Errorf("apiUrl: %w", err)
	}
	return grouped(func(ctx context.Context, out courier, tags string, m Message) error {
		at := m.Event.Time
		if at.IsZero() {
			at = time.Now()
		}
		r, err := post(strings.TrimSuffix(api, "/")+"/annotations", map[string]any{
			"time": at.UnixMilli(), "isRegion": false, "tags": strings.Split(tags, "|"), "text": m.Text,
		})
		if err != nil {
			return err
		}
		r.header["Authorization"], r.insecureSkipVerify = "Bearer "+key, insecure
		_, err = out.do(ctx, r)
		return err
	}), nil
}

func newAlertmanager(o *options) (sendFunc, error) {
	targets, scheme, path := o.list("targets"), or(o.text("scheme"), "http"), or(o.text("apiPath"), "/api/v2/alerts")
	bearer, insecure := o.secret("bearerToken"), o.flag("insecureSkipVerify")
	var user, password string
	if auth, ok := o.get("basicAuth").(map[string]any); ok {
		a := &options{values: auth}
		user, password = a.text("username"), a.text("password")
		o.sensitive = append(o.sensitive, password)
	}
	o.ignored("timeout")
	if len(targets) == 0 {
		return nil, fmt.Errorf("targets is empty")
	}
	return func(ctx context.Context, out courier, _ string, messages []Message) (int, error) {
		n := min(len(messages), maxBatch)
		alerts := make([]any, n)
		for i, m := range messages[:n] {
			alerts[i] = alert(m)
		}
		var failed error
		arrived := false
		for _, target := range targets { // each of a cluster gets all, one suffices
			r, err := post(scheme+"://"+target+path, alerts)
			if err != nil {
				return 0, err
			}
			if bearer != "" {
				r.header["Authorization"] = "Bearer " + bearer
			}
			r.user, r.password, r.insecureSkipVerify = user, password, insecure
			if _, err = out.do(ctx, r); err != nil {
				failed = err
				continue
			}
			arrived = true
		}
		if !arrived {
			return doneWith(n, failed), failed
		}
		return n, nil
	}, nil
}

func alert(m Message) map[string]any {
	labels := map[string]any{"application": m.Event.Application.Name, "namespace": m.Event.Application.Namespace, "project": m.Event.Project.Name}
	if own, ok := m.Section["labels"].(map[string]any); ok {
		labels = own
	}
	if labels["alertname"] == nil {
		labels["alertname"] = string(m.Event.Trigger)
	}
	annotations, ok := m.Section["annotations"].(map[string]any)
	if !ok {
		annotations = map[string]any{"summary": m.Title, "description": m.Text}
	}
	out := map[string]any{"labels": labels, "annotations": annotations, "startsAt": m.Event.Time.UTC().Format(time.RFC3339)}
	if checkURL(sectionText(m, "generatorURL")) == nil {
		out["generatorURL"] = sectionText(m, "generatorURL")
	}
	return out
}

func newNewRelic(o *options) (sendFunc, error) {
	key, api := o.secret("apiKey"), or(o.text("apiURL"), "https://api.newrelic.com")
	if err := checkURL(api); err != nil {
		return nil, fmt.Errorf("apiURL: %w", err)
	}
	return each(func(ctx context.Context, out courier, application string, m Message) error {
		deployment := map[string]any{
			"revision":    or(sectionText(m, "revision"), m.Event.Commit.Revision),
			"description": or(sectionText(m, "description"), m.Text),
			"changelog":   or(sectionText(m, "changelog"), m.Event.Commit.Subject),
			"user":        or(sectionText(m, "user"), m.Event.Commit.Author),
		}
		r, err := post(strings.TrimSuffix(api, "/")+"/v2/applications/"+url.PathEscape(application)+"/deployments.json", map[string]any{"deployment": deployment})
		if err != nil {
			return err
		}
		r.header["X-Api-Key"] = key
		_, err = out.do(ctx, r)
		return err
	}), nil
}

// eventData is the event as programs get it.
func eventData(m Message) (json.RawMessage, error) {
	return json.Marshal(struct {
		Event
		Text string `json:"text"`
	}{m.Event, m.Text})
}
