package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

const canary = "canary-Zx91-secret-token"

// received is a request that a service got.
type received struct {
	method, path, body string
	header             http.Header
}

// receiver is a real HTTP server that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	answer func(n int, w http.ResponseWriter) // of the nth request, from 1
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Method, req.URL.RequestURI(), string(body), req.Header.Clone()})
		n := len(r.got)
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(n, w)
			return
		}
		fmt.Fprint(w, `{"ok":true}`)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// listener keeps what a Notifier says.
type listener struct {
	mu        sync.Mutex
	failures  []Failure
	problems  []Problem
	recovered []Destination
}

func (l *listener) options(o Options) Options {
	o.OnFailure = func(f Failure) { l.mu.Lock(); defer l.mu.Unlock(); l.failures = append(l.failures, f) }
	o.OnProblem = func(_ Application, p Problem) { l.mu.Lock(); defer l.mu.Unlock(); l.problems = append(l.problems, p) }
	o.OnRecovered = func(d Destination) { l.mu.Lock(); defer l.mu.Unlock(); l.recovered = append(l.recovered, d) }
	return o
}

func (l *listener) failed() []Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failures)
}

// start runs a Notifier until the test ends, or until what it gives is called.
func start(t *testing.T, n *Notifier) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func mustParse(t *testing.T, cm map[string]string, secret map[string]string) Config {
	t.Helper()
	raw := map[string][]byte{}
	for k, v := range secret {
		raw[k] = []byte(v)
	}
	c, problems := ParseArgo(cm, raw)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	return c
}

const quick = "idle: 50ms\nmax: 2s\nperMinute: 6000\n"

func app(name, health string, annotations map[string]string) *v1alpha1.Application {
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "argocd", Annotations: maps.Clone(annotations), Labels: map[string]string{"team": "shop"}}}
	a.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Hour)) // after the Notifier started: its state is news
	a.Spec.Project = "shop"
	a.Spec.Source = &v1alpha1.ApplicationSource{RepoURL: "https://dev:" + canary + "@git.example.com/shop/web.git"}
	a.Status.Health.Status = v1alpha1.HealthStatusCode(health)
	a.Status.Sync.Status = v1alpha1.SyncStatusCodeSynced
	a.Status.Sync.Revision = "0123456789abcdef"
	return a
}

func TestStorm(t *testing.T) {
	slack, teams, hook, cloud, generic, alerts := newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil)
	host := func(r *receiver) string { return strings.TrimPrefix(r.URL, "http://") }
	c := mustParse(t, map[string]string{
		"service.slack":            "token: $slack-token\napiURL: " + slack.URL + "/api\n",
		"service.teams":            "recipientUrls:\n  ops: " + teams.URL + "/x\n",
		"service.webhook.plain":    "url: " + hook.URL + "\n",
		"service.cloudevents.bus":  "url: " + cloud.URL + "\n",
		"service.shoutrrr.generic": "url: generic://" + host(generic) + "/hook?disabletls=yes&template=json\n",
		"service.alertmanager":     "targets: [" + host(alerts) + "]\n",
		"grouping":                 "idle: 1500ms\nmax: 50s\n",
		"subscriptions":            "- recipients: [slack:ops, teams:ops, plain, bus, generic, alertmanager]\n  triggers: [on-health-degraded]\n",
		"defaultTriggers":          "[on-health-degraded]",
		"context":                  "argocdUrl: https://plumb.example.com\n",
	}, map[string]string{"slack-token": "xoxb-" + canary})
	n := New(Options{Log: nolog()})
	n.Configure(c)
	start(t, n)
	const many = 500
	for i := range many {
		n.Send(Event{Object: app(fmt.Sprintf("web-%03d", i), "Degraded", nil)})
		n.Send(Event{Object: app(fmt.Sprintf("web-%03d", i), "Degraded", nil)}) // said twice
	}
	for name, r := range map[string]*receiver{"slack": slack, "teams": teams, "webhook": hook, "cloudevents": cloud, "shoutrrr": generic, "alertmanager": alerts} {
		eventually(t, name+" gets a message", func() bool { return len(r.all()) > 0 })
	}
	eventually(t, "nothing waits", func() bool {
		return !slices.ContainsFunc(n.Health(), func(h ChannelHealth) bool { return h.Pending > 0 })
	})
	for name, r := range map[string]*receiver{"slack": slack, "teams": teams, "webhook": hook, "cloudevents": cloud, "shoutrrr": generic, "alertmanager": alerts} {
		got := r.all()
		if len(got) != 1 {
			t.Errorf("%s got %d messages for %d events, want 1", name, len(got), many)
		}
		if strings.Contains(got[0].body, canary) {
			t.Errorf("%s: the canary is in the message", name)
		}
	}
	if text := slack.all()[0].body; !strings.Contains(text, "500 Applications: on-health-degraded") || !strings.Contains(text, "and 490 more") {
		t.Errorf("slack's message does not say what it stands for: %s", text)
	}
	var batch []map[string]any
	if err := json.Unmarshal([]byte(cloud.all()[0].body), &batch); err != nil || len(batch) != many {
		t.Errorf("the batch of CloudEvents holds %d events (%v), want %d", len(batch), err, many)
	}
	if kind := cloud.all()[0].header.Get("Content-Type"); !strings.HasPrefix(kind, "application/cloudevents-batch+json") {
		t.Errorf("the batch's type is %q", kind)
	}
	var posted []any
	if err := json.Unmarshal([]byte(alerts.all()[0].body), &posted); err != nil || len(posted) != many {
		t.Errorf("alertmanager got %d alerts (%v), want %d", len(posted), err, many)
	}
}

func TestConditionsAreNewsOnce(t *testing.T) {
	hook := newReceiver(t, nil)
	c := mustParse(t, map[string]string{
		"service.webhook.hook": "url: " + hook.URL,
		"template.mine":        "message: '{{.app.metadata.name}} {{.app.status.health.status}} {{.recipient}}{{.serviceType}}'\nwebhook:\n  hook:\n    method: PUT\n    path: '/a/{{.app.metadata.name}}'\n    body: '{{.app.status.health.status}}'",
		"trigger.mine":         "- when: app.status.health.status == 'Degraded'\n  send: [mine]",
		"grouping":             quick,
	}, nil)
	n := New(Options{Log: nolog()})
	n.Configure(c)
	start(t, n)
	subscribed := map[string]string{"notifications.argoproj.io/subscribe.mine.hook": ""}
	for _, health := range []string{"Healthy", "Degraded", "Degraded", "Healthy", "Degraded"} {
		n.Send(Event{Object: app("web", health, subscribed)})
	}
	old := app("old", "Degraded", subscribed)
	old.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
	n.Send(Event{Object: old})                           // was degraded before: no news
	n.Send(Event{Object: app("other", "Degraded", nil)}) // nobody asked
	n.Send(Event{Object: app("known", "Degraded", subscribed), Known: true})
	n.Send(Event{Object: app("known", "Degraded", subscribed)}) // was so when that was noted
	n.Send(Event{Object: app("last", "Degraded", subscribed)})  // what comes in order has come
	eventually(t, "the last", func() bool {
		return slices.ContainsFunc(hook.all(), func(r received) bool { return r.path == "/a/last" })
	})
	var paths []string
	for _, r := range hook.all() {
		paths = append(paths, r.method+" "+r.path+" "+r.body)
	}
	want := []string{"PUT /a/web Degraded", "PUT /a/web Degraded", "PUT /a/last Degraded"}
	if !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
}

func TestEventsAreSentOnce(t *testing.T) {
	hook := newReceiver(t, nil)
	n := New(Options{Log: nolog()})
	n.Configure(mustParse(t, map[string]string{"service.webhook.hook": "url: " + hook.URL, "grouping": quick}, nil))
	start(t, n)
	project := Project{Name: "shop", Annotations: map[string]string{"notifications.argoproj.io/subscribe.on-approval-needed.hook": "", "notifications.argoproj.io/subscribe.on-frozen.hook": ""}}
	e := Event{Trigger: OnApprovalNeeded, Application: Application{Namespace: "argocd", Name: "web"}, Project: project, Plan: &Plan{Name: "web-1", Digest: "sha256:1", Delete: 2}}
	n.Send(e)
	n.Send(e) // of the same plan
	e.Plan = &Plan{Name: "web-2", Digest: "sha256:2"}
	n.Send(e)
	n.Send(Event{Trigger: OnFrozen, Project: project, Actor: "ann", Message: "release week <!channel> @here"})
	eventually(t, "all three", func() bool {
		return strings.Contains(bodies(hook), "web-2") && strings.Contains(bodies(hook), "release week")
	})
	text := bodies(hook)
	if strings.Count(text, `"trigger":"on-approval-needed"`) != 2 {
		t.Errorf("want two plans: %s", text)
	}
	if strings.Contains(text, "plan web-1: 0 to create, 0 to update, 0 to replace, 2 to delete") && !strings.Contains(text, "project shop") {
		t.Errorf("the message does not say what is about to happen: %s", text)
	}
}

func bodies(r *receiver) string {
	var b strings.Builder
	for _, got := range r.all() {
		b.WriteString(got.body + "\n")
	}
	return b.String()
}

func TestRetries(t *testing.T) {
	tests := map[string]struct {
		reason   string
		answer   func(n int, w http.ResponseWriter)
		requests int
		final    bool
		recovers bool
	}{
		"too many": {
			reason: "a service that asks for a pause gets one, and the message after it",
			answer: func(n int, w http.ResponseWriter) {
				if n == 1 {
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(http.StatusTooManyRequests)
				}
			},
			requests: 2, recovers: true,
		},
		"down": {
			reason: "a service that is down is asked again",
			answer: func(n int, w http.ResponseWriter) {
				if n < 4 {
					w.WriteHeader(http.StatusBadGateway)
				}
			},
			requests: 4, recovers: true,
		},
		"refused": {
			reason:   "what is refused is not sent again",
			answer:   func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden); fmt.Fprint(w, canary) },
			requests: 1, final: true,
		},
		"moved": {
			reason: "a redirect would take the token elsewhere",
			answer: func(_ int, w http.ResponseWriter) {
				w.Header().Set("Location", "http://127.0.0.1:1/"+canary)
				w.WriteHeader(http.StatusFound)
			},
			requests: 1, final: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			hook := newReceiver(t, tt.answer)
			heard := &listener{}
			n := New(heard.options(Options{Log: nolog(), Retry: Retry{First: 10 * time.Millisecond}}))
			n.Configure(mustParse(t, map[string]string{"service.webhook.hook": "url: " + hook.URL + "/$path", "grouping": quick}, map[string]string{"path": canary}))
			start(t, n)
			n.Send(Event{Trigger: OnPinned, Application: Application{Name: "web", Annotations: map[string]string{"notifications.argoproj.io/subscribe.on-pinned.hook": ""}}, Project: Project{Name: "shop"}})
			eventually(t, tt.reason, func() bool {
				return len(hook.all()) == tt.requests && len(n.Health()) == 1 && n.Health()[0].Pending == 0
			})
			failures := heard.failed()
			if len(failures) != 1 || failures[0].Final != tt.final || !slices.Equal(failures[0].Projects, []string{"shop"}) {
				t.Errorf("%s: failures %+v, want one with final=%v", tt.reason, failures, tt.final)
			}
			if (n.Health()[0].LastError == "") != tt.recovers {
				t.Errorf("%s: health %+v", tt.reason, n.Health())
			}
			if strings.Contains(fmt.Sprintf("%+v%+v", failures, n.Health()), canary) {
				t.Errorf("the canary is in what is said: %+v", failures)
			}
		})
	}
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	var down sync.Mutex
	broken := true
	hook := newReceiver(t, func(_ int, w http.ResponseWriter) {
		down.Lock()
		defer down.Unlock()
		if broken {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	c := mustParse(t, map[string]string{
		"service.webhook.hook": "url: " + hook.URL + "?token=$t", "grouping": quick,
		"subscriptions": "- recipients: [hook]\n  triggers: [on-health-degraded]",
	}, map[string]string{"t": canary})
	first := New(Options{Dir: dir, Log: nolog(), Retry: Retry{First: time.Hour}})
	first.Configure(c)
	stop := start(t, first)
	first.Send(Event{Object: app("web", "Degraded", nil)})
	eventually(t, "the first attempt", func() bool { return len(hook.all()) == 1 && first.Health()[0].LastError != "" })
	stop()

	down.Lock()
	broken = false
	down.Unlock()
	second := New(Options{Dir: dir, Log: nolog()})
	second.Configure(c)
	start(t, second)
	second.Send(Event{Object: app("web", "Degraded", nil)}) // no news any more
	second.Send(Event{Object: app("db", "Degraded", nil)})
	eventually(t, "what waited arrives after a restart, and what is new", func() bool {
		return len(second.Health()) == 1 && second.Health()[0].Sent == 2 && second.Health()[0].Pending == 0
	})
	if text := bodies(hook); strings.Count(text, `"name":"web"`) != 2 { // the attempt that failed, and the one that did not
		t.Errorf("got %s", text)
	}
	if strings.Contains(readAll(t, dir), canary) {
		t.Error("the canary is in the journal")
	}
}

func TestReload(t *testing.T) {
	old, fresh := newReceiver(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }), newReceiver(t, nil)
	config := func(r *receiver) Config {
		return mustParse(t, map[string]string{"service.slack": "token: x\napiURL: " + r.URL, "grouping": quick}, nil)
	}
	n := New(Options{Log: nolog(), Retry: Retry{First: time.Hour}})
	n.Configure(config(old))
	start(t, n)
	n.Send(Event{Trigger: OnRollback, Application: Application{Name: "web", Annotations: map[string]string{"notifications.argoproj.io/subscribe.on-rollback.slack": "ops"}}})
	eventually(t, "the old address is asked", func() bool { return len(old.all()) == 1 && n.Health()[0].LastError != "" })
	n.Configure(config(fresh))
	eventually(t, "the new address gets what waited", func() bool { return len(fresh.all()) == 1 })
}

func TestProblemsAreSaidOnce(t *testing.T) {
	heard := &listener{}
	n := New(heard.options(Options{Log: nolog()}))
	n.Configure(mustParse(t, map[string]string{"service.slack": "token: x", "grouping": quick}, nil))
	start(t, n)
	annotations := map[string]string{
		"notifications.argoproj.io/subscribe.on-deployed.discord": "x",
		"notifications.argoproj.io/subscribe.on-party.slack":      "x",
		"notifications.argoproj.io/subscribe.slack":               "x",
		"notifications.argoproj.io/subscriptions":                 "{",
	}
	for range 3 {
		n.Send(Event{Object: app("web", "Healthy", annotations)})
	}
	eventually(t, "the problems", func() bool { heard.mu.Lock(); defer heard.mu.Unlock(); return len(heard.problems) >= 4 })
	n.Send(Event{Object: app("web", "Healthy", annotations)})
	heard.mu.Lock()
	defer heard.mu.Unlock()
	text := fmt.Sprint(heard.problems)
	for _, want := range []string{`"discord" is not configured`, `no trigger "on-party"`, "no defaultTriggers", "not a list"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not said once: %s", want, text)
		}
	}
}

func TestNamespaces(t *testing.T) {
	common, team := newReceiver(t, nil), newReceiver(t, nil)
	c := mustParse(t, map[string]string{"service.webhook.common": "url: " + common.URL, "grouping": quick}, nil).
		WithNamespace("argocd", mustParse(t, map[string]string{"service.webhook.team": "url: " + team.URL, "subscriptions": "- recipients: [team]\n  triggers: [on-health-degraded]"}, nil))
	n := New(Options{Log: nolog()})
	n.Configure(c)
	start(t, n)
	n.Send(Event{Object: app("web", "Degraded", map[string]string{"notifications.argoproj.io/subscribe.on-health-degraded.common": ""})})
	foreign := app("foreign", "Degraded", map[string]string{"notifications.argoproj.io/subscribe.on-health-degraded.team": "", "notifications.argoproj.io/subscribe.on-health-degraded.common": ""})
	foreign.Namespace = "other"
	n.Send(Event{Object: foreign})
	eventually(t, "both", func() bool {
		return len(team.all()) == 1 && strings.Contains(bodies(common), "foreign") && strings.Contains(bodies(common), "web")
	})
	if strings.Contains(bodies(team), "foreign") {
		t.Error("an Application of another namespace uses a team's service")
	}
}
