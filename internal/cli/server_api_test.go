package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

func TestGet(t *testing.T) {
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", plainSpec, goodStatus)
	w.application(v1alpha1.ArgoGroup, "web", plainSpec, "")
	w.application(v1alpha1.ArgoGroup, "api", plainSpec, `
sync: {status: OutOfSync, revisions: [0123456789abcdef0123456789abcdef01234567, 1.2.3]}
health: {status: Degraded}
conditions: [{type: SyncError, message: it broke}, {type: SyncError, message: twice}]
operationState: {phase: Failed, operation: {}, startedAt: "2026-01-01T00:00:00Z"}
`)
	out, errs, code := w.plumb("get", "-n", w.namespace)
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var rows [][]string
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Fields(line)[:6])
	}
	want := [][]string{
		{"NAME", "NAMESPACE", "PROJECT", "SYNC", "HEALTH", "REVISION"},
		{"api", w.namespace, "shop", "OutOfSync", "Degraded", "0123456,1.2.3"},
		{"web", w.namespace, "shop", "Synced", "Healthy", "0123456"},
		{"web", w.namespace, "shop", "Unknown", "Unknown", "-"},
	}
	if !slices.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("got\n%v\nwant\n%v", rows, want)
	}

	cases := map[string]struct {
		reason string
		args   []string
		code   int
		out    []string
		errs   []string
	}{
		"Wide":      {"shows conditions once each", []string{"get", "-n", w.namespace, "-o", "wide"}, 0, []string{"argoproj.io", "Failed", "SyncError ", "in-cluster/shop", "https://git.example/shop.git//apps/web@main"}, nil},
		"Names":     {"prints kubectl's names", []string{"get", "-n", w.namespace, "-o", "name"}, 0, []string{"application.plumb.dev/web\n", "application.argoproj.io/api\n"}, nil},
		"Selector":  {"selects by labels", []string{"get", "-l", "test=" + w.namespace, "--no-headers"}, 0, []string{"api"}, nil},
		"None":      {"says that there is nothing", []string{"get", "-n", "none-here"}, 0, nil, []string{`No Applications found in namespace "none-here".`}},
		"Ambiguous": {"lists the candidates", []string{"get", w.namespace + "/web"}, 1, nil, []string{"there are 2 Applications called \"web\"", "plumb.dev/" + w.namespace + "/web", "argoproj.io/" + w.namespace + "/web"}},
		"Full":      {"finds by the full name", []string{"get", "argoproj.io/" + w.namespace + "/web", "--no-headers"}, 0, []string{"Unknown"}, nil},
		"KubeName":  {"finds by kubectl's name", []string{"get", "application.plumb.dev/web", "-n", w.namespace, "--no-headers"}, 0, []string{"Synced"}, nil},
		"Missing":   {"suggests the likely name", []string{"describe", "wbe"}, 1, nil, []string{`there is no Application "wbe", did you mean "web"`}},
		"Habit":     {"takes kubectl's way of naming the kind", []string{"get", "applications", "-n", w.namespace}, 0, []string{"web"}, nil},
		"ArgoHabit": {"takes argocd's way of speaking", []string{"app", "get", w.namespace + "/api"}, 0, []string{"Conditions:"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			out, errs, code := w.plumb(tc.args...)
			if code != tc.code {
				t.Errorf("%s: exit code %d, want %d\n%s%s", tc.reason, code, tc.code, out, errs)
			}
			for _, part := range tc.out {
				if !strings.Contains(out, part) {
					t.Errorf("%s: stdout has no %q:\n%s", tc.reason, part, out)
				}
			}
			for _, part := range tc.errs {
				if !strings.Contains(errs, part) {
					t.Errorf("%s: stderr has no %q:\n%s", tc.reason, part, errs)
				}
			}
		})
	}
}

func TestGetJSON(t *testing.T) {
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", plainSpec, goodStatus)
	out, _, _ := w.plumb("get", "-n", w.namespace, "-o", "json")
	var list struct {
		Kind  string
		Items []v1alpha1.Application
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || list.Kind != "List" || len(list.Items) != 1 {
		t.Fatalf("not a list of one: %v\n%s", err, out)
	}
	if a := list.Items[0]; a.APIVersion != "plumb.dev/v1alpha1" || a.ManagedFields != nil {
		t.Errorf("apiVersion %q, managed fields %v", a.APIVersion, a.ManagedFields)
	}
	out, _, _ = w.plumb("get", "web", "-n", w.namespace, "-o", "json")
	var one v1alpha1.Application
	if err := json.Unmarshal([]byte(out), &one); err != nil || one.Kind != "Application" {
		t.Errorf("not an Application: %v\n%s", err, out)
	}
}

func TestGetWatch(t *testing.T) {
	w := newWorld(t)
	key := w.application(v1alpha1.ArgoGroup, "web", plainSpec, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs buffer
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"get", "-w", "-n", w.namespace, "--kubeconfig", w.k.kubeconfig},
			Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, environment{NoColor: true})
	}()
	w.eventually("the Application is shown", func() bool { return strings.Contains(out.String(), "Unknown") })
	w.status(key, goodStatus)
	w.eventually("the change is shown", func() bool { return strings.Contains(out.String(), "Healthy") })
	if err := w.k.object(key).Delete(ctx, key.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the deletion is shown", func() bool { return strings.Contains(out.String(), "Deleting") })
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if n := strings.Count(out.String(), "NAME "); n != 1 {
		t.Errorf("%d lines of headers:\n%s", n, out.String())
	}
}

func TestDescribeAndHistory(t *testing.T) {
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", plainSpec+`
dependsOn: [{name: database}]
syncPolicy: {automated: {prune: true, selfHeal: true}}
`, `
sync: {status: OutOfSync, revision: 0123456789abcdef0123456789abcdef01234567}
health: {status: Degraded, message: "a pod crashes"}
conditions: [{type: ComparisonError, message: "apps/web/a.yaml:3: bad \x1b[31mindent"}]
operationState:
  phase: Failed
  message: one resource failed
  operation: {initiatedBy: {username: ada}}
  startedAt: "2026-01-01T00:00:00Z"
  finishedAt: "2026-01-01T00:00:07Z"
  syncResult:
    revision: 0123456789abcdef0123456789abcdef01234567
    resources: [{group: apps, version: v1, kind: Deployment, namespace: shop, name: web, status: SyncFailed, message: field is immutable}]
resources:
- {group: apps, version: v1, kind: Deployment, namespace: shop, name: web, status: OutOfSync, health: {status: Degraded, message: crash}}
- {version: v1, kind: ConfigMap, namespace: shop, name: old, status: OutOfSync, requiresPruning: true}
history:
- {id: 1, revision: a111111111111111111111111111111111111111, deployedAt: "2025-12-01T10:00:00Z", source: {repoURL: https://git.example/shop.git}, initiatedBy: {automated: true}}
- {id: 2, revision: b222222222222222222222222222222222222222, deployedAt: "2025-12-02T10:00:00Z", source: {repoURL: https://git.example/shop.git}, initiatedBy: {username: ada}}
`)
	out, errs, code := w.plumb("describe", "web", "-n", w.namespace)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, part := range []string{
		"automated, prunes, heals itself", "Depends on:    database", "Degraded (a pod crashes)", "ComparisonError",
		"apps/web/a.yaml:3: bad ?[31mindent", "Failed, ended", "took 7s, by ada", "SyncFailed apps/Deployment/shop/web: field is immutable",
		"to be pruned", "Deployment.apps", "Applied:       b222222",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("describe has no %q:\n%s", part, out)
		}
	}
	out, _, _ = w.plumb("history", "web", "-n", w.namespace)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "b222222") || !strings.Contains(lines[1], "ada") || !strings.Contains(lines[2], "the sync policy") {
		t.Errorf("history is not latest first:\n%s", out)
	}
	out, _, _ = w.plumb("describe", "web", "-n", w.namespace, "-o", "json")
	var doc description
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Application["kind"] != "Application" || doc.Events == nil {
		t.Errorf("describe -o json: %v\n%s", err, out)
	}
}

// engineFor plays the engine for one Application: it begins the operation that
// is asked for and ends it in the given phases. The returned function waits for
// it: nothing may be written once the test has ended.
func (w *world) engineFor(key engine.Key, states ...string) (wait func()) {
	var playing sync.WaitGroup
	playing.Go(func() {
		var operation any
		for range 1500 {
			u, err := w.k.object(key).Get(w.t.Context(), key.Name, metav1.GetOptions{})
			if err != nil {
				return
			}
			if operation = u.Object["operation"]; operation != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		text, _ := json.Marshal(operation)
		for i, state := range states {
			if i == 0 {
				w.patch(key, map[string]any{"operation": nil})
			}
			w.status(key, strings.ReplaceAll(state, "OPERATION", string(text)))
			time.Sleep(50 * time.Millisecond)
		}
	})
	return playing.Wait
}

const stateOf = `
operationState:
  operation: OPERATION
  startedAt: "2026-01-01T00:00:00Z"
  phase: %s
  message: %s
  syncResult:
    revision: 0123456789abcdef0123456789abcdef01234567
    resources: [{group: apps, version: v1, kind: Deployment, namespace: shop, name: web, status: %s, message: %s}]
`

func TestSync(t *testing.T) {
	w := newWorld(t)
	running := fmt.Sprintf(stateOf, "Running", "waiting for wave 1", "Synced", "deployment.apps/web configured")
	succeeded := fmt.Sprintf(stateOf, "Succeeded", "all done", "Synced", "deployment.apps/web configured")
	failed := fmt.Sprintf(stateOf, "Failed", "one resource failed", "SyncFailed", "field is immutable")
	progressing := "health: {status: Progressing}\nresources: [{group: apps, version: v1, kind: Deployment, namespace: shop, name: web, status: Synced, health: {status: Progressing, message: 1 of 2 ready}}]"
	healthy := "sync: {status: Synced}\nhealth: {status: Healthy}\nresources: [{group: apps, version: v1, kind: Deployment, namespace: shop, name: web, status: Synced, health: {status: Healthy}}]"
	cases := map[string]struct {
		reason string
		states []string
		args   []string
		code   int
		parts  []string
	}{
		"Succeeds": {
			"shows each resource and waits for health", []string{running, succeeded, progressing, healthy}, nil, 0,
			[]string{"Synced        apps/Deployment/shop/web", "deployment.apps/web configured", "waiting for wave 1", "Progressing   apps/Deployment/shop/web", "1 of 2 ready", "synced to 0123456, Healthy"},
		},
		"Fails": {
			"fails with the operation's message", []string{running, failed}, nil, 1,
			[]string{"SyncFailed", "field is immutable", "error: the sync of", "one resource failed"},
		},
		"DryRun": {
			"does not wait for health", []string{succeeded}, []string{"--dry-run"}, 0,
			[]string{"dry run to 0123456: all done. Nothing was changed."},
		},
		"JSON": {
			"gives one document per Application", []string{running, succeeded, healthy}, []string{"-o", "json"}, 0,
			[]string{`"succeeded": true`, `"health": "Healthy"`, `"phase": "Succeeded"`},
		},
		"Timeout": {
			"says what is not healthy", []string{succeeded, progressing}, []string{"--timeout", "2s"}, 1,
			[]string{"was synced and is not healthy in time: it is Progressing (apps/Deployment/shop/web is Progressing, 1 of 2 ready)"},
		},
		"NobodyThere": {
			"asks whether the engine runs", nil, []string{"--timeout", "1s"}, 1,
			[]string{"was not begun in time: does the engine run?"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			key := w.application(v1alpha1.Group, "sync-"+strings.ToLower(name), plainSpec, "")
			defer w.engineFor(key, tc.states...)()
			out, errs, code := w.plumb(append([]string{"sync", w.namespace + "/" + key.Name}, tc.args...)...)
			if code != tc.code {
				t.Errorf("%s: exit code %d, want %d\n%s%s", tc.reason, code, tc.code, out, errs)
			}
			for _, part := range tc.parts {
				if !strings.Contains(out+errs, part) {
					t.Errorf("%s: no %q in\n%s%s", tc.reason, part, out, errs)
				}
			}
		})
	}
}

func TestSyncRequest(t *testing.T) {
	w := newWorld(t)
	key := w.application(v1alpha1.ArgoGroup, "web", plainSpec+"syncPolicy: {syncOptions: [CreateNamespace=true, Replace=false]}\n", "")
	name := w.namespace + "/web"
	_, errs, code := w.plumb("sync", name, "--async", "--revision", "v2", "--prune", "--force", "--replace", "--resource", "apps:Deployment:shop/web", "--resource", ":ConfigMap:a")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	o := w.get(key).Operation
	if o == nil || o.Sync == nil {
		t.Fatal("no operation was asked for")
	}
	s := o.Sync
	if s.Revision != "v2" || !s.Prune || s.DryRun || !s.SyncStrategy.Hook.Force {
		t.Errorf("the operation is %+v", s)
	}
	if want := (v1alpha1.SyncOptions{"CreateNamespace=true", "Replace=true"}); !slices.Equal(s.SyncOptions, want) {
		t.Errorf("sync options %v, want %v", s.SyncOptions, want)
	}
	if want := []v1alpha1.SyncOperationResource{{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, {Kind: "ConfigMap", Name: "a"}}; !slices.Equal(s.Resources, want) {
		t.Errorf("resources %v, want %v", s.Resources, want)
	}
	if o.InitiatedBy.Username == "" || o.InitiatedBy.Automated {
		t.Errorf("initiated by %+v", o.InitiatedBy)
	}
	if _, errs, code = w.plumb("sync", name); code != 1 || !strings.Contains(errs, "another operation is in progress") {
		t.Errorf("a second sync: exit %d: %s", code, errs)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		reason     string
		finalizers []any
		args       []string
		want       []string
	}{
		"Cascade":    {"adds the finalizer", nil, nil, []string{v1alpha1.ResourcesFinalizer}},
		"Has":        {"leaves a finalizer that does the same", []any{v1alpha1.PlumbResourcesFinalizer}, nil, []string{v1alpha1.PlumbResourcesFinalizer}},
		"Foreground": {"changes the policy", []any{v1alpha1.PlumbResourcesFinalizer, "example.org/other"}, []string{"-p", "foreground"}, []string{"example.org/other", v1alpha1.ResourcesFinalizerForeground}},
		"Orphan":     {"takes the finalizer away", []any{v1alpha1.ResourcesFinalizer, "example.org/other"}, []string{"--cascade=false"}, []string{"example.org/other"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			key := w.application(v1alpha1.ArgoGroup, "delete-"+strings.ToLower(name), plainSpec, "")
			if tc.finalizers != nil {
				w.patch(key, map[string]any{"metadata": map[string]any{"finalizers": tc.finalizers}})
			}
			_, errs, code := w.plumb(append([]string{"delete", w.namespace + "/" + key.Name, "--wait=false"}, tc.args...)...)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			a := w.get(key)
			if a.DeletionTimestamp == nil || !slices.Equal(a.Finalizers, tc.want) {
				t.Errorf("%s: finalizers %v, want %v (deleting: %v)", tc.reason, a.Finalizers, tc.want, a.DeletionTimestamp != nil)
			}
		})
	}
	t.Run("Waits", func(t *testing.T) {
		key := w.application(v1alpha1.Group, "delete-waits", plainSpec, "conditions: [{type: WaitingForDependency, message: api goes first}]")
		released := make(chan struct{})
		go func() { // plays the engine
			defer close(released)
			w.eventually("the Application is being deleted", func() bool {
				a, err := w.k.reload(t.Context(), key)
				return err != nil || a.DeletionTimestamp != nil
			})
			time.Sleep(100 * time.Millisecond) // for the command to see it
			w.patch(key, map[string]any{"metadata": map[string]any{"finalizers": nil}})
		}()
		out, errs, code := w.plumb("delete", w.namespace+"/"+key.Name)
		<-released
		if code != 0 || !strings.Contains(out, "deleted") || !strings.Contains(errs, "api goes first") {
			t.Errorf("exit %d:\n%s%s", code, out, errs)
		}
	})
}

func TestWaitAndRefresh(t *testing.T) {
	w := newWorld(t)
	key := w.application(v1alpha1.Group, "web", plainSpec, "sync: {status: OutOfSync}\nhealth: {status: Progressing}")
	name := w.namespace + "/web"
	_, errs, code := w.plumb("wait", name, "--timeout", "500ms")
	if code != 1 || !strings.Contains(errs, "the time is over and it is OutOfSync, it is Progressing") {
		t.Errorf("exit %d: %s", code, errs)
	}
	go func() {
		w.eventually("a refresh is asked for", func() bool {
			a, err := w.k.reload(t.Context(), key)
			return err == nil && a.Annotations[v1alpha1.AnnotationRefresh] == "hard"
		})
		w.status(key, goodStatus)
		w.patch(key, map[string]any{"metadata": map[string]any{"annotations": nil}})
	}()
	out, errs, code := w.plumb("refresh", name, "--hard")
	if code != 0 || !strings.Contains(out, "Synced, Healthy") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if _, errs, code = w.plumb("wait", name); code != 0 {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestTree(t *testing.T) {
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", plainSpec, goodStatus+`
resources:
- {group: apps, version: v1, kind: Deployment, namespace: `+w.namespace+`, name: web, status: Synced, health: {status: Healthy}}
- {version: v1, kind: Secret, namespace: `+w.namespace+`, name: keys, status: Synced}
`)
	w.plant()
	out, errs, code := w.plumb("tree", "web", "-n", w.namespace)
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, part := range []string{"Application/web", "├─ Deployment.apps/web", "│  └─ ReplicaSet.apps/web-1", "│     └─ Pod/web-1-a", "└─ Secret/keys"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if strings.Contains(out, "web-0") {
		t.Errorf("an old ReplicaSet is shown:\n%s", out)
	}
	out, _, _ = w.plumb("tree", "web", "-n", w.namespace, "-o", "json")
	var root branch
	if err := json.Unmarshal([]byte(out), &root); err != nil || len(root.Children) != 2 {
		t.Errorf("tree -o json: %v\n%s", err, out)
	}
	if strings.Contains(out, canary) {
		t.Error("the tree shows a Secret's value")
	}
}
