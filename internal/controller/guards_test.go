package controller

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// listener keeps what is told of guards.
type listener struct {
	mu   sync.Mutex
	told []GuardChange
}

func (*listener) Application(string, *v1alpha1.Application, *v1alpha1.Application) {}
func (*listener) Project(string, *v1alpha1.AppProject, *v1alpha1.AppProject)       {}
func (*listener) Freeze(*v1alpha1.Freeze)                                          {}

func (*listener) Right(RightChange) {}

func (l *listener) Guard(n GuardChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, n)
}

func (l *listener) heard(name, what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.told {
		if n.Name == name && n.What == what && n.Err == nil {
			return true
		}
	}
	return false
}

func newGuardedWorld(t *testing.T) (*world, *listener) {
	t.Helper()
	config := kubetest.Config(t)
	installed, err := Install(t.Context(), config, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{}
	w := &world{sink: &sink{}, client: dynamic.NewForConfigOrDie(config)}
	if w.Controller, err = New(Options{Config: config, Installed: installed, Declared: l}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if err := w.Start(ctx, w.sink); err != nil {
		t.Fatal(err)
	}
	return w, l
}

func TestWhatIsWeakenedIsPutBackAtOnce(t *testing.T) {
	w, l := newGuardedWorld(t)
	get := func(kind, name string) *unstructured.Unstructured {
		u, err := w.client.Resource(accessResources[kind]).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return u
	}
	patch := func(kind, name, body string) func() error {
		return func() error {
			_, err := w.client.Resource(accessResources[kind]).Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{})
			return err
		}
	}
	remove := func(kind, name string) func() error {
		return func() error {
			return w.client.Resource(accessResources[kind]).Delete(t.Context(), name, metav1.DeleteOptions{})
		}
	}
	for name, c := range map[string]struct {
		reason, kind, name, what string
		do                       func() error
	}{
		"audit":     {"a binding that only looks lets all through", kindBinding, "approvals.plumb.dev", "was changed", patch(kindBinding, "approvals.plumb.dev", `{"spec":{"validationActions":["Audit"]}}`)},
		"exception": {"an exception lets somebody through", kindPolicy, "override.plumb.dev", "was changed", patch(kindPolicy, "override.plumb.dev", `{"spec":{"failurePolicy":"Ignore"}}`)},
		"policy":    {"without the policy nothing is checked", kindPolicy, "plans.plumb.dev", "was removed", remove(kindPolicy, "plans.plumb.dev")},
		"role":      {"people lose what they need", kindClusterRole, "plumb-viewer", "was changed", patch(kindClusterRole, "plumb-viewer", `{"rules":[]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			before := get(c.kind, c.name)
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			eventually(t, c.reason+": it is told and put back", func() bool { return l.heard(c.name, c.what) })
			now := get(c.kind, c.name)
			if now == nil || !saysTheSame(now.Object["spec"], before.Object["spec"]) || len(rulesOf(now)) != len(rulesOf(before)) {
				t.Errorf("%s: it is %v now", c.reason, now)
			}
		})
	}
	if err := w.Overridable(); err == nil || !strings.Contains(err.Error(), "ask again") {
		t.Errorf("a policy was put back a moment ago, and somebody may override: %v", err)
	}
	said := func(at time.Time) *v1alpha1.Approval {
		return &v1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at)}}
	}
	for name, c := range map[string]struct {
		reason string
		at     time.Time
		counts bool
	}{
		"before":    {"what was said before may have been said without a check", time.Now().Add(-time.Hour), false},
		"meanwhile": {"the API server may not have heard of it yet", time.Now(), false},
		"later":     {"it is checked again", time.Now().Add(time.Minute), true},
	} {
		if why := w.Plans().Doubt(said(c.at)); (why == "") != c.counts {
			t.Errorf("%s: %s: %q", name, c.reason, why)
		}
	}
	eventually(t, "who may override is let through again", func() bool { return w.Overridable() == nil })
	eventually(t, "all is in force", func() bool { ok, n := w.Guards(); return ok && n >= 4 })
	again, _ := newGuardedWorld(t) // a restart knows as much
	if again.Plans().Doubt(said(time.Now().Add(-time.Hour))) == "" {
		t.Error("after a restart it is not known that the policies had been changed")
	}
}

func rulesOf(u *unstructured.Unstructured) []any {
	rules, _, _ := unstructured.NestedSlice(u.Object, "rules")
	return rules
}

func TestRolesAreLeftAloneWhereSomebodySaysSo(t *testing.T) {
	w, l := newGuardedWorld(t)
	roles := w.client.Resource(accessResources[kindClusterRole])
	change := func(body string) {
		t.Helper()
		if _, err := roles.Patch(context.Background(), "plumb-approver", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { change(`{"metadata":{"annotations":{"` + autoupdate + `":null}}}`) })
	change(`{"metadata":{"annotations":{"` + autoupdate + `":"false"}},"rules":[]}`)
	if err := w.client.Resource(accessResources[kindClusterRole]).Delete(t.Context(), "plumb-editor", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another is put back", func() bool { return l.heard("plumb-editor", "was removed") })
	if u, err := roles.Get(t.Context(), "plumb-approver", metav1.GetOptions{}); err != nil || len(rulesOf(u)) > 0 {
		t.Errorf("the role is %v, %v", u, err)
	}
}

func TestNoApprovalCountsWhileAPolicyCannotBePutBack(t *testing.T) {
	forbidden := errors.New("not yours")
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor("*", "*", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
	l := &listener{}
	g := &guards{client: client, log: slog.New(slog.DiscardHandler), changed: func() {}, news: make(chan struct{}, 1), known: map[string]*guard{}}
	g.tell = func(n GuardChange, _ *corev1.ObjectReference) { l.Guard(n) }
	k := &guard{file: policiesFile, kind: kindBinding, name: "approvals.plumb.dev", uid: "1", generation: 3}
	g.known[k.id()] = k
	g.seen(k.kind, k.name, "1", 3, "")
	if why := g.doubt(time.Now()); why != "" {
		t.Fatalf("it is as it was installed: %s", why)
	}
	g.seen(k.kind, k.name, "1", 4, "")
	for range 2 {
		if !g.mend(t.Context()) {
			t.Error("it is not tried again")
		}
	}
	if why := g.doubt(time.Now().Add(time.Hour)); !strings.Contains(why, "somebody has weakened the ValidatingAdmissionPolicyBinding approvals.plumb.dev") {
		t.Errorf("got %q", why)
	}
	if len(l.told) != 1 || !errors.Is(l.told[0].Err, forbidden) {
		t.Errorf("it is told once, with why: got %+v", l.told)
	}
}

func TestAllOfAKindMayBeGone(t *testing.T) {
	g := &guards{log: slog.New(slog.DiscardHandler), changed: func() {}, news: make(chan struct{}, 1), known: map[string]*guard{}}
	k := &guard{file: policiesFile, kind: kindBinding, name: "approvals.plumb.dev", uid: "1", generation: 3}
	g.known[k.id()] = k
	g.missing(kindPolicy, nil)
	if why := g.doubt(time.Now()); why != "" {
		t.Errorf("another kind is gone: %s", why)
	}
	g.missing(kindBinding, nil)
	if g.doubt(time.Now()) == "" {
		t.Error("all bindings are gone, and approvals count")
	}
}

// TestWeakenedBeforeTheAnswer has somebody weaken a policy again while it is being put
// back: what the API server tells of that comes before its answer.
func TestWeakenedBeforeTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		then   func(g *guards, k guard)
		left   bool
	}{
		"nothing": {"it is put back", func(g *guards, k guard) { g.seen(k.kind, k.name, "1", 5, "") }, false},
		"changed": {"a later generation", func(g *guards, k guard) {
			g.seen(k.kind, k.name, "1", 5, "")
			g.seen(k.kind, k.name, "1", 6, "")
		}, true},
		"removed": {"what was put back is gone", func(g *guards, k guard) {
			g.seen(k.kind, k.name, "1", 5, "")
			g.seen(k.kind, k.name, "1", 0, wasRemoved)
		}, true},
		"made anew": {"it is another one", func(g *guards, k guard) {
			g.seen(k.kind, k.name, "1", 0, wasRemoved)
			g.seen(k.kind, k.name, "2", 1, "")
		}, true},
		"removed before": {"it was another one", func(g *guards, k guard) { g.seen(k.kind, k.name, "0", 0, wasRemoved) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guards{log: slog.New(slog.DiscardHandler), changed: func() {}, news: make(chan struct{}, 1), known: map[string]*guard{}}
			g.tell = func(GuardChange, *corev1.ObjectReference) {}
			k := &guard{file: policiesFile, kind: kindPolicy, name: "approvals.plumb.dev", uid: "1", generation: 3}
			g.known[k.id()] = k
			g.seen(k.kind, k.name, "1", 4, "")
			was := *k
			c.then(g, was)
			live := &unstructured.Unstructured{Object: map[string]any{
				"kind": kindPolicy, "metadata": map[string]any{"name": k.name, "uid": "1", "generation": int64(5), "resourceVersion": "9"},
			}}
			left := g.mended(was, live, nil)
			if doubted := g.doubt(time.Now().Add(time.Hour)) != ""; left != c.left || doubted != c.left {
				t.Errorf("%s: to be mended %v, approvals are doubted %v", c.reason, left, doubted)
			}
		})
	}
}

func TestTheVerySameIsEnough(t *testing.T) {
	want := map[string]any{"matchConstraints": map[string]any{"resourceRules": []any{map[string]any{"resources": []any{"plans"}}}}}
	for name, c := range map[string]struct {
		reason string
		change func(spec map[string]any)
		same   bool
	}{
		"same":     {"it is", func(map[string]any) {}, true},
		"defaults": {"the API server adds them", func(s map[string]any) { s["failurePolicy"] = "Fail" }, true},
		"weaker":   {"it is not Plumb's", func(s map[string]any) { s["failurePolicy"] = "Ignore" }, false},
		"excluded": {"an exception is added", func(s map[string]any) {
			s["matchConstraints"].(map[string]any)["excludeResourceRules"] = []any{map[string]any{}}
		}, false},
		"selector": {"an exception is added", func(s map[string]any) {
			s["matchConstraints"].(map[string]any)["objectSelector"] = map[string]any{"matchLabels": map[string]any{"a": "b"}}
		}, false},
		"less": {"a rule is gone", func(s map[string]any) { s["matchConstraints"].(map[string]any)["resourceRules"] = []any{} }, false},
	} {
		live := runtime.DeepCopyJSON(want)
		c.change(live)
		if got := saysTheSame(live, want); got != c.same {
			t.Errorf("%s: %s: got %t", name, c.reason, got)
		}
	}
}
