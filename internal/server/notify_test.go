package server

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// subscriber is a webhook that keeps what it is told.
type subscriber struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	told   map[string][]told // by path
}

type told struct {
	Title, Text string
	Events      []struct {
		Trigger     string
		Application struct{ Namespace, Name string }
	}
}

func newSubscriber(t *testing.T) *subscriber {
	s := &subscriber{told: map[string][]told{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bodies = append(s.bodies, string(body))
		if r.URL.Path == "/refuses" {
			w.WriteHeader(http.StatusForbidden)
		}
		var one told
		_ = json.Unmarshal(body, &one)
		s.told[r.URL.Path] = append(s.told[r.URL.Path], one)
	}))
	t.Cleanup(s.Close)
	return s
}

// heard waits until all of these were told at a path.
func (s *subscriber) heard(t *testing.T, path string, want ...string) {
	t.Helper()
	eventually(t, strings.Join(want, ", ")+" told at "+path, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		var all []string
		for _, one := range s.told[path] {
			for _, e := range one.Events {
				all = append(all, e.Trigger+" "+e.Application.Name)
			}
		}
		for _, w := range want {
			if !slices.Contains(all, w) {
				return fmt.Errorf("%s is missing: %v", w, all)
			}
		}
		return nil
	})
}

// count counts the events that were told at a path.
func (s *subscriber) count(path string, triggers ...string) int {
	n := 0
	for _, one := range s.messages(path) {
		for _, e := range one.Events {
			if slices.Contains(triggers, e.Trigger) {
				n++
			}
		}
	}
	return n
}

func (s *subscriber) messages(path string) []told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told[path])
}

const notifyCanary = "c4n4ry-n0t1fy"

// notified is a namespace whose Applications are told of.
type notified struct {
	t      *testing.T
	ns     string
	client dynamic.Interface
	kube   kubernetes.Interface
	to     *subscriber
}

func newNotified(t *testing.T) *notified {
	n := &notified{
		t: t, ns: kubetest.Namespace(t), to: newSubscriber(t),
		client: dynamic.NewForConfigOrDie(kubetest.Config(t)), kube: kubernetes.NewForConfigOrDie(kubetest.Config(t)),
	}
	settings := map[string]string{"resource.customizations.health.ConfigMap": `hs = {status = "Healthy"}
if obj.data ~= nil and obj.data.value == "bad" then hs.status = "Degraded" end
return hs`}
	n.object("argocd-cm", map[string]string{"app.kubernetes.io/part-of": "argocd"}, settings)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: notificationsSecret, Namespace: controller.SystemNamespace}, StringData: map[string]string{"token": notifyCanary},
	}
	if _, err := n.kube.CoreV1().Secrets(secret.Namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.kube.CoreV1().Secrets(secret.Namespace).Delete(context.Background(), secret.Name, metav1.DeleteOptions{})
	})
	service := func(path string) string {
		return "url: " + n.to.URL + path + "\nheaders: [{name: Authorization, value: Bearer $token}]\n"
	}
	n.object(notificationsMap, nil, map[string]string{
		"service.webhook.news": service("/news"), "service.webhook.storm": service("/storm"), "service.webhook.refuses": service("/refuses"), "service.webhook.gossip": service("/gossip"),
		"grouping":           "idle: 4s\nmax: 50s\n",
		"template.gossip":    `{message: '{{toJson .app}} {{.}}'}`,
		"trigger.on-gossip":  `[{when: "app.status.sync.status == 'Synced'", send: [gossip]}]`,
		"trigger.on-nothing": `[{when: "false", send: [gossip]}]`,
	})
	return n
}

// object makes a ConfigMap of Plumb's namespace until the test ends.
func (n *notified) object(name string, labels, data map[string]string) {
	n.t.Helper()
	maps := n.kube.CoreV1().ConfigMaps(controller.SystemNamespace)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: controller.SystemNamespace, Labels: labels}, Data: data}
	if _, err := maps.Create(n.t.Context(), cm, metav1.CreateOptions{}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = maps.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

// subscribe annotates an Application.
func (n *notified) subscribe(app string, annotations map[string]any) {
	n.t.Helper()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.client.Resource(applications).Namespace(n.ns).Patch(n.t.Context(), app, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

// conditions of an Application.
func (n *notified) conditions(app string) string {
	return (&gated{t: n.t, client: n.client, ns: n.ns}).conditionsOf(app)
}

func to(service string, triggers ...string) map[string]any {
	out := map[string]any{}
	for _, t := range triggers {
		out["notifications.argoproj.io/subscribe."+t+"."+service] = ""
	}
	return out
}

func TestNotifications(t *testing.T) {
	dir := t.TempDir()
	r := runServer(t, dir, nil)
	eventually(t, "the server leads", r.leads)
	n := newNotified(t)
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + notifyCanary + "}\n"
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1"), "app/secret.yaml": secret})
	createApplication(t, n.ns, "web", repo.dir, "app")
	n.subscribe("web", to("news", "on-deployed", "on-sync-succeeded", "on-health-degraded", "on-drift-detected", "on-drift-healed", "on-pinned", "on-unpinned", "on-deleted"))
	n.to.heard(t, "/news", "on-sync-succeeded web", "on-deployed web")
	if all := fmt.Sprint(n.to.messages("/news")); !strings.Contains(all, ": change (t <t@example.com>)") {
		t.Errorf("it is not said who has made the commit: %s", all)
	}

	n.subscribe("web", to("nowhere", "on-sync-failed"))
	eventually(t, "a service that is not there is a condition", func() error {
		if c := n.conditions("web"); !strings.Contains(c, "NotificationFailed") || !strings.Contains(c, `the service \"nowhere\" is not configured`) && !strings.Contains(c, `the service "nowhere" is not configured`) {
			return errors.New(c)
		}
		return nil
	})
	n.subscribe("web", map[string]any{"notifications.argoproj.io/subscribe.on-sync-failed.nowhere": nil})
	eventually(t, "and none without it", func() error {
		if c := n.conditions("web"); strings.Contains(c, "NotificationFailed") {
			return errors.New(c)
		}
		return nil
	})

	if _, err := n.kube.CoreV1().ConfigMaps(n.ns).Patch(t.Context(), "one", types.MergePatchType, []byte(`{"data":{"value":"edited"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	n.to.heard(t, "/news", "on-drift-detected web", "on-drift-healed web")
	n.subscribe("web", map[string]any{"plumb.dev/pin": repo.head()})
	n.to.heard(t, "/news", "on-pinned web")
	n.subscribe("web", map[string]any{"plumb.dev/pin": nil})
	n.to.heard(t, "/news", "on-unpinned web")

	n.subscribe("web", to("refuses", "on-sync-succeeded"))
	n.subscribe("web", to("gossip", "on-gossip"))
	repo.commit(map[string]string{"app/one.yaml": configMap("one", "bad")})
	n.to.heard(t, "/news", "on-health-degraded web")
	n.to.heard(t, "/gossip", "on-gossip web")
	eventually(t, "what does not arrive is an Event", func() error {
		events, err := n.kube.CoreV1().Events(n.ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=" + reasonNotification})
		if err == nil && len(events.Items) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	if v := r.metric(t, "plumb_notifications_total", `result="failed",service="refuses"`); v == 0 {
		t.Error("what failed is not counted")
	}
	if v := r.metric(t, "plumb_notifications_total", `result="sent",service="news"`); v == 0 {
		t.Error("what was sent is not counted")
	}
	t.Run("storm", n.storm)
	for what, dir := range map[string]string{"the same data": dir, "fresh data": t.TempDir()} {
		before := n.to.count("/news", "on-deployed", "on-health-degraded", "on-sync-succeeded")
		r.stop()
		r = runServer(t, dir, nil)
		eventually(t, "the next server leads", r.leads)
		pinned := n.to.count("/news", "on-pinned")
		n.subscribe("web", map[string]any{"plumb.dev/pin": repo.head()})
		eventually(t, "a pin is told", func() error {
			if n.to.count("/news", "on-pinned") == pinned {
				return errors.New("it was not")
			}
			return nil
		})
		if after := n.to.count("/news", "on-deployed", "on-health-degraded", "on-sync-succeeded"); after != before {
			t.Errorf("a server that starts on %s tells what is no news: %v", what, n.to.messages("/news"))
		}
		n.subscribe("web", map[string]any{"plumb.dev/pin": nil})
	}
	if err := n.client.Resource(applications).Namespace(n.ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.to.heard(t, "/news", "on-deleted web")
	n.to.mu.Lock()
	defer n.to.mu.Unlock()
	for _, body := range n.to.bodies {
		if strings.Contains(body, notifyCanary) {
			t.Errorf("a message holds a secret: %s", body)
		}
	}
}

// stormy is how many Applications degrade at once: 500 take half a minute.
var stormy = flag.Int("storm", 60, "Applications that degrade at once in TestNotifications/storm")

// storm has many Applications degrade at once.
func (n *notified) storm(t *testing.T) {
	count := *stormy
	files := func(value string) map[string]string {
		out := map[string]string{}
		for i := range count {
			out[fmt.Sprintf("%d/cm.yaml", i)] = configMap(fmt.Sprintf("storm-%d", i), value)
		}
		return out
	}
	repo := newRepository(t, files("1"))
	for i := range count {
		name := fmt.Sprintf("storm-%d", i)
		createApplication(t, n.ns, name, repo.dir, fmt.Sprint(i))
		n.subscribe(name, to("storm", "on-health-degraded"))
	}
	for i := range count {
		eventually(t, "all are healthy", func() error {
			if s, h := status(t, n.ns, fmt.Sprintf("storm-%d", i)); s != "Synced" || h != "Healthy" {
				return fmt.Errorf("it is %q and %q", s, h)
			}
			return nil
		})
	}
	repo.commit(files("bad"))
	eventually(t, "the subscriber hears of it", func() error {
		if len(n.to.messages("/storm")) == 0 {
			return errors.New("nothing was said")
		}
		return nil
	})
	got := n.to.messages("/storm")
	if len(got) != 1 || len(got[0].Events) != count {
		t.Fatalf("%d messages, the first about %d events", len(got), len(got[0].Events))
	}
	t.Logf("%d Applications: %s", count, got[0].Title)
}
