package cli

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
)

// project makes an AppProject of the control plane.
func (w *world) project(group, name, spec string) {
	w.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1alpha1", "kind": "AppProject", "metadata": map[string]any{"name": name, "namespace": controlNamespace(group)},
	}}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		w.t.Fatal(err)
	}
	u.Object["spec"] = fields
	if _, err := w.k.projects(group, controlNamespace(group)).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = w.k.projects(group, controlNamespace(group)).Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}

// expect runs a command line and looks for words in what it says.
func (w *world) expect(code int, words []string, args ...string) {
	w.t.Helper()
	out, errs, got := w.plumb(args...)
	if got != code {
		w.t.Errorf("plumb %s: exit %d\n%s%s", strings.Join(args, " "), got, out, errs)
	}
	for _, word := range words {
		if !strings.Contains(out+errs, word) {
			w.t.Errorf("plumb %s says no %q:\n%s%s", strings.Join(args, " "), word, out, errs)
		}
	}
}

func TestWindowsCommand(t *testing.T) {
	w := newWorld(t)
	w.project(v1alpha1.Group, "airy", "syncWindows:\n- {kind: deny, schedule: '* * * * *', duration: 1h, applications: ['web*'], manualSync: true, description: always}\n- {kind: allow, schedule: '0 0 1 1 *', duration: 1m, clusters: [other], timeZone: Europe/Oslo}\n")
	w.project(v1alpha1.Group, "broken", "syncWindows:\n- {kind: deny, schedule: never, duration: 1h}\n")
	spec := strings.Replace(plainSpec, "project: shop", "project: airy", 1)
	w.application(v1alpha1.Group, "web", spec, goodStatus)
	w.application(v1alpha1.Group, "api", spec, goodStatus)
	w.expect(0, []string{"0    Active     deny    * * * * *", "Europe/Oslo", "always", "Enabled"}, "windows", "airy")
	w.expect(0, []string{"Manual Allowed: deny window 0 (* * * * * for 1h, always) is in force"}, "windows", "web", "-n", w.namespace)
	w.expect(0, []string{"Sync Allowed", "No sync windows"}, "windows", w.namespace+"/api")
	w.expect(0, []string{`"state": "Manual Allowed"`, `"status": "Active"`}, "windows", "web", "-n", w.namespace, "-o", "json")
	w.expect(1, []string{`spec.syncWindows[0].schedule: "never"`, "blocked until it is corrected"}, "windows", "broken")
	w.expect(1, []string{`"nobody" is no project, and there is no Application`}, "windows", "nobody")
	w.expect(0, []string{"Sync window:", "Manual Allowed"}, "describe", "web", "-n", w.namespace)
}

func TestFreezeAndThaw(t *testing.T) {
	w := newWorld(t)
	w.project(v1alpha1.Group, "frosty", "{}")
	w.project(v1alpha1.ArgoGroup, "frosty", "{}")
	w.expect(1, []string{"say why with --reason"}, "freeze", "plumb.dev/plumb-system/frosty")
	w.expect(1, []string{"name a project, or give --all"}, "freeze", "--reason", "x")
	w.expect(1, []string{"there are 2 projects", "argoproj.io/argocd/frosty"}, "freeze", "frosty", "--reason", "x")
	w.expect(1, []string{"there is no project"}, "freeze", "nobody", "--reason", "x")
	w.expect(1, []string{"--until", "is no time"}, "freeze", "frosty", "--reason", "x", "--until", "tomorrow")
	w.expect(0, []string{"frozen until"}, "freeze", "plumb.dev/plumb-system/frosty", "--reason", "launch", "--until", "2h")
	p, err := w.k.oneProject(t.Context(), "plumb.dev/plumb-system/frosty")
	if err != nil {
		t.Fatal(err)
	}
	f := p.Spec.Freeze
	if f == nil || f.Reason != "launch" || f.By != w.k.username(t.Context()) || f.Until == nil || !f.InForce(time.Now()) {
		t.Errorf("got %+v", f)
	}
	w.expect(0, []string{"frozen: "}, "freeze", "plumb.dev/plumb-system/frosty", "--reason", "longer")
	if p, _ = w.k.oneProject(t.Context(), "plumb.dev/plumb-system/frosty"); p.Spec.Freeze.Until != nil {
		t.Error("a freeze without end has none")
	}
	w.expect(0, []string{"thawed"}, "thaw", "plumb.dev/plumb-system/frosty")
	w.expect(0, []string{"is not frozen"}, "thaw", "plumb.dev/plumb-system/frosty")
	w.expect(0, []string{"project plumb-system/default frozen"}, "freeze", "default", "--reason", "launch")
	t.Cleanup(func() {
		_ = w.k.projects(v1alpha1.Group, controller.SystemNamespace).Delete(context.Background(), "default", metav1.DeleteOptions{})
	})
	w.expect(0, []string{"project plumb-system/default is frozen", "launch"}, "windows", "plumb.dev/plumb-system/default")
	w.expect(0, []string{"thawed"}, "thaw", "default")
	w.expect(0, []string{"is not frozen"}, "thaw", "default")
	w.application(v1alpha1.ArgoGroup, "theirs", strings.Replace(plainSpec, "project: shop", "project: default", 1), goodStatus)
	w.expect(0, []string{"project plumb-system/default frozen", "project argoproj.io/argocd/default frozen"}, "freeze", "default", "--reason", "launch", "--until", "2d")
	t.Cleanup(func() {
		_ = w.k.projects(v1alpha1.ArgoGroup, controller.ArgoNamespace).Delete(context.Background(), "default", metav1.DeleteOptions{})
	})
	w.expect(0, []string{"project plumb-system/default thawed", "project argoproj.io/argocd/default thawed"}, "thaw", "default")
	w.expect(1, []string{"name one project only"}, "freeze", "a", "b", "--reason", "x")
	w.expect(0, []string{"all projects frozen"}, "freeze", "--all", "--reason", "launch")
	w.expect(0, []string{"all projects frozen until"}, "freeze", "--all", "--reason", "longer", "--until", "1h")
	w.expect(0, []string{"all projects are frozen", "longer"}, "windows", "plumb.dev/plumb-system/frosty")
	w.expect(0, []string{"thawed"}, "thaw", "--all")
	w.expect(0, []string{"not all is frozen"}, "thaw", "--all")
}

func TestPinAndUnpin(t *testing.T) {
	w := newWorld(t)
	key := w.application(v1alpha1.Group, "web", plainSpec, `
sync: {status: Synced, revision: cccccccccccccccccccccccccccccccccccccccc}
health: {status: Degraded}
history:
- {id: 0, revision: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, deployedAt: "2026-01-01T00:00:00Z", healthyAt: "2026-01-01T00:00:00Z"}
- {id: 1, revision: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, deployedAt: "2026-01-01T00:00:00Z"}
- {id: 2, revision: cccccccccccccccccccccccccccccccccccccccc, deployedAt: "2026-01-01T00:00:00Z"}
conditions: [{type: Pinned, message: pinned at aaaaaaa}]
`)
	name := w.namespace + "/web"
	w.expect(1, []string{"say why with --reason"}, "pin", name)
	w.expect(0, []string{"pinned at aaaaaaa (plumb unpin web"}, "pin", name, "--wait=false", "--reason", "checkout fails", "--override")
	a := w.get(key)
	pin, _ := v1alpha1.PinOf(a.Annotations)
	want := v1alpha1.Pin{Revisions: []string{strings.Repeat("a", 40)}, By: w.k.username(t.Context()), At: pin.At, Reason: "checkout fails"}
	if diff := cmp.Diff(want, pin); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a.Operation == nil || a.Operation.InitiatedBy.Username != pin.By || len(a.Operation.Info) != 1 || a.Operation.Info[0].Name != v1alpha1.InfoOverride {
		t.Errorf("the sync that goes there is asked for: got %+v", a.Operation)
	}
	w.expect(0, []string{"(pinned)"}, "get", name)
	w.expect(0, []string{"PINNED:"}, "describe", name)
	w.expect(0, []string{"pinned at bbbbbbb; an operation is in progress"}, "pin", name, "--wait=false", "--reason", "x", "--to", "1")
	w.expect(0, []string{"pinned at ccccccc"}, "pin", name, "--wait=false", "--reason", "x", "--to", "cccccccc")
	w.expect(0, []string{"pinned at v1.2.3"}, "pin", name, "--wait=false", "--reason", "x", "--to", "v1.2.3")
	w.expect(1, []string{"2 revisions were given"}, "pin", name, "--wait=false", "--reason", "x", "--to", "aaaa,bbbb")
	w.expect(0, []string{"follows Git again", "plumb sync web"}, "unpin", name)
	w.expect(0, []string{"is not pinned"}, "unpin", name)
	w.expect(0, []string{"pinned at ccccccc", "plumb unpin web"}, "rollback", name, "--pin", "--wait=false", "--reason", "y", "--to", "cccccccc")
	w.expect(0, []string{"follows Git again"}, "unpin", name)
	if _, pinned := v1alpha1.PinOf(w.get(key).Annotations); pinned {
		t.Error("it is pinned still")
	}
}

// TestPinIsTakenUp waits for the engine, and says what it says.
func TestPinIsTakenUp(t *testing.T) {
	w := newWorld(t)
	key := w.application(v1alpha1.Group, "web", plainSpec, goodStatus)
	name := w.namespace + "/web"
	w.expect(1, []string{"nobody has taken that up within 100ms", "does the engine run?"}, "pin", name, "--reason", "x", "--to", "aaaaaaa", "--timeout", "100ms")
	for to, c := range map[string]struct {
		reason, conditions string
		code               int
		words              []string
	}{
		"deadbee": {"there is no such revision", "{type: ComparisonError, message: 'revision deadbee is not in the repository'}", 1, []string{"pinned at deadbee", "can't be held there (ComparisonError: revision deadbee is not in the repository)", "plumb unpin web"}},
		"bbbbbbb": {"what ailed it before is no matter of the pin's", "{type: SyncError, message: checkout fails}", 0, []string{"pinned at bbbbbbb"}},
	} {
		t.Run(to, func(t *testing.T) {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				w.expect(c.code, c.words, "pin", name, "--reason", c.reason, "--to", to, "--timeout", "30s")
			}()
			w.eventually("it is pinned", func() bool {
				pin, _ := v1alpha1.PinOf(w.get(key).Annotations)
				return pin.Revisions != nil && pin.Revisions[0] == to
			})
			pin, _ := v1alpha1.PinOf(w.get(key).Annotations)
			w.status(key, "conditions:\n- "+c.conditions+"\n- {type: Pinned, message: "+strconv.Quote(pin.String()+"; Git has ccccccc meanwhile")+"}\n")
			<-ended
		})
	}
}

func TestOverride(t *testing.T) {
	w := newWorld(t)
	key := w.application(v1alpha1.Group, "web", plainSpec, goodStatus)
	w.expect(1, []string{"--override needs a --reason"}, "sync", w.namespace+"/web", "--override")
	w.expect(0, nil, "sync", w.namespace+"/web", "--override", "--reason", "the shop is down", "--async")
	info := w.get(key).Operation.Info
	if len(info) != 2 || info[1] != (v1alpha1.Info{Name: v1alpha1.InfoOverride, Value: "the shop is down"}) {
		t.Errorf("got %+v", info)
	}
}
