package memory

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/drivertest"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

func TestConformance(t *testing.T) {
	for name, options := range map[string][]Option{"in order": nil, "parallel": {Parallel()}} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{New: func(*testing.T) drivertest.Setup { return setup(New(options...)) }})
		})
	}
}

func setup(d *Driver) drivertest.Setup {
	return drivertest.Setup{
		Driver: d, Target: target, Object: configMap, World: outside{d.World()},
		Secret: func(name, value string) render.Object {
			return seal(map[string]any{
				"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name},
				"data": map[string]any{"value": base64.StdEncoding.EncodeToString([]byte(value))},
			})
		},
		Invalid: func(name string) render.Object {
			d.World().Fail(Fault{Verb: "apply", Address: plan.Address("ConfigMap/shop/" + name), Problem: driver.Problem{Reason: "Invalid", Message: "no"}})
			return configMap(name, "bad")
		},
		Annotate: func(o render.Object, notes map[string]string) render.Object {
			m, err := decode(o.JSON)
			if err != nil {
				panic(err)
			}
			all := map[string]any{}
			for k, v := range notes {
				all[k] = v
			}
			m["metadata"].(map[string]any)["annotations"] = all
			return seal(m)
		},
	}
}

func target(o driver.Owner) driver.Target {
	return driver.Target{Owner: o, Server: v1alpha1.InClusterServer, Namespace: "shop"}
}

func configMap(name, value string) render.Object {
	return seal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "shop"},
		"data": map[string]any{"value": value},
	})
}

func seal(m map[string]any) render.Object {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	meta := m["metadata"].(map[string]any)
	namespace, _ := meta["namespace"].(string)
	ref := plan.Ref{Version: "v1", Kind: m["kind"].(string), Namespace: namespace, Name: meta["name"].(string)}
	return render.Object{Ref: ref, JSON: text, Hash: hash(m)}
}

// outside is the world as the suite sees it.
type outside struct{ *World }

func (o outside) address(r plan.Ref) plan.Address {
	r.Namespace = "shop"
	return r.Address()
}

func (o outside) Edit(t *testing.T, ref plan.Ref, value string) {
	if !o.World.Edit(o.address(ref), func(live map[string]any) { live["data"].(map[string]any)["value"] = value }) {
		t.Fatalf("%s does not exist", ref.Address())
	}
}

func (o outside) Delete(t *testing.T, ref plan.Ref) {
	if !o.Remove(o.address(ref)) {
		t.Fatalf("%s does not exist", ref.Address())
	}
}

func (o outside) Value(_ *testing.T, ref plan.Ref) (string, bool) {
	live, ok := o.Get(o.address(ref))
	if !ok {
		return "", false
	}
	return fmt.Sprint(live["data"].(map[string]any)["value"]), true
}

// do compares and applies once.
func do(t *testing.T, d *Driver, want driver.Desired) (driver.Comparison, []driver.Result) {
	t.Helper()
	c, err := d.Compare(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	var results []driver.Result
	d.Apply(t.Context(), driver.Apply{Desired: want, Operation: "op", Steps: c.Plan.Steps}, func(r driver.Result) { results = append(results, r) })
	return c, results
}

func wantOf(held []driver.Held, objects ...render.Object) driver.Desired {
	return driver.Desired{Target: target("shop/app"), Bundle: render.Bundle{Objects: objects}, Inventory: held}
}

func heldOf(results []driver.Result) []driver.Held {
	var out []driver.Held
	for _, r := range results {
		if r.Held != nil {
			out = append(out, *r.Held)
		}
	}
	return out
}

func TestMergeLeavesOthersFields(t *testing.T) {
	live := map[string]any{"data": map[string]any{"ours": "1", "gone": "1", "theirs": "1"}}
	before := map[string]any{"data": map[string]any{"ours": "1", "gone": "1"}}
	declared := map[string]any{"data": map[string]any{"ours": "2"}}
	want := map[string]any{"data": map[string]any{"ours": "2", "theirs": "1"}}
	if diff := cmp.Diff(want, merge(live, before, declared)); diff != "" {
		t.Errorf("merge (-want, +got):\n%s", diff)
	}
}

func TestHealthIsSettable(t *testing.T) {
	d := New(Born(func(plan.Ref, map[string]any) health.Health {
		return health.Health{Status: health.Progressing, Message: "starting"}
	}))
	_, results := do(t, d, wantOf(nil, configMap("a", "one")))
	want := wantOf(heldOf(results), configMap("a", "one"))
	c, _ := do(t, d, want)
	if got := c.Resources[0].Health; got.Status != health.Progressing {
		t.Errorf("got %v, want what it was born with", got)
	}
	d.World().SetHealth("ConfigMap/shop/a", health.Health{Status: health.Degraded, Message: "ill"})
	c, _ = do(t, d, want)
	if diff := cmp.Diff(health.Health{Status: health.Degraded, Message: "ill"}, c.Resources[0].Health); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
}

func TestFaults(t *testing.T) {
	d := New()
	w := d.World()
	w.Unreachable(errors.New("no route"))
	if _, err := d.Compare(t.Context(), wantOf(nil)); err == nil {
		t.Error("a world that can't be reached can't be compared with")
	}
	w.Mend()
	w.Fail(Fault{Verb: "apply", Times: 1, Problem: driver.Problem{Reason: "Conflict", Message: "again", Transient: true}})
	_, results := do(t, d, wantOf(nil, configMap("a", "one")))
	if results[0].Problem == nil || !results[0].Problem.Transient {
		t.Errorf("got %+v", results[0])
	}
	if _, results = do(t, d, wantOf(nil, configMap("a", "one"))); results[0].Problem != nil {
		t.Errorf("the fault was for one time: %+v", results[0].Problem)
	}
	if got := w.Requests(); got["apply"] != 2 {
		t.Errorf("got requests %v", got)
	}
}

func TestFinalizersHold(t *testing.T) {
	d := New()
	_, results := do(t, d, wantOf(nil, configMap("a", "one")))
	w := d.World()
	w.Hold("ConfigMap/shop/a")
	held := heldOf(results)
	do(t, d, wantOf(held))
	c, err := d.Compare(t.Context(), wantOf(held))
	if err != nil || len(c.Resources) != 1 || !c.Resources[0].Deleting {
		t.Fatalf("it is on its way out: %+v, %v", c.Resources, err)
	}
	w.Release("ConfigMap/shop/a")
	if got := w.Addresses(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if diff := cmp.Diff([]string{"create ConfigMap/shop/a", "delete ConfigMap/shop/a"}, w.Log()); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
}

func TestHooksThatTakeTime(t *testing.T) {
	d := New(HookEnds(func(plan.Ref, map[string]any) (bool, bool) { return false, false }))
	hook := setup(d).Annotate(configMap("h", "one"), map[string]string{v1alpha1.AnnotationHook: "PostSync"})
	do(t, d, wantOf(nil, hook))
	want := wantOf(nil, hook)
	look := func() driver.Hook {
		c, err := d.Compare(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return *c.Resources[slices.IndexFunc(c.Resources, func(r driver.Resource) bool { return r.Hook != nil })].Hook
	}
	if h := look(); h.Done || h.Failed || h.Operation != "op" {
		t.Errorf("it is running: %+v", h)
	}
	d.World().EndHook("ConfigMap/shop/h", true, "broken")
	if h := look(); !h.Failed {
		t.Errorf("it has failed: %+v", h)
	}
}
