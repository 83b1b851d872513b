package kube_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

func hookJob(t *testing.T, phases string) render.Object {
	return object(t, map[string]any{"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{"generateName": "job-", "annotations": map[string]any{"argocd.argoproj.io/hook": phases}},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"restartPolicy": "Never",
			"containers": []any{map[string]any{"name": "main", "image": "img"}}}}}})
}

// finish ends a Job as its controller would.
func (s *stage) finish(name string) {
	s.Helper()
	_, err := s.in("jobs.v1.batch").Patch(s.Context(), name, types.MergePatchType, []byte(`{"status":{"succeeded":1,"startTime":"2026-01-01T00:00:00Z","completionTime":"2026-01-01T00:00:01Z",
		"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		s.Fatal(err)
	}
}

func TestHookRuns(t *testing.T) {
	s := newStage(t, nil)
	s.declare(hookJob(t, "PreSync,PostSync"), configMap(t, "a", "1"))
	c := s.compare()
	var pre, post plan.Step
	for _, st := range c.Plan.Steps {
		switch {
		case st.Hook && st.Phase == plan.PreSync:
			pre = st
		case st.Hook && st.Phase == plan.PostSync:
			post = st
		}
	}
	name := pre.Change.Target().Name
	run := func(operation string, st plan.Step) {
		t.Helper()
		for _, r := range s.order(driver.Apply{Operation: operation, Steps: []plan.Step{st}}) {
			if r.Problem != nil || r.Held != nil {
				t.Fatalf("a hook is run and not held: %+v %v", r, r.Problem)
			}
		}
	}
	hook := func() driver.Hook { return *s.resource(s.compare(), name).Hook }
	run("op-1", pre)
	first := s.get("jobs.v1.batch", name).GetUID()
	if h := hook(); h.Operation != "op-1" || h.Phase != plan.PreSync || h.Done || h.Failed {
		t.Errorf("a started hook: %+v", h)
	}
	run("op-1", pre) // again, as after a crash
	if s.get("jobs.v1.batch", name).GetUID() != first {
		t.Error("a hook that was started by the operation is started once")
	}
	s.finish(name)
	s.eventually("the hook is done", func(driver.Comparison) bool { return hook().Done })
	run("op-1", post)
	if h := hook(); h.Phase != plan.PostSync || h.Done {
		t.Errorf("the hook runs again in its other phase: %+v", h)
	}
	s.finish(name)
	run("op-2", pre)
	if h := hook(); h.Operation != "op-2" || h.Done {
		t.Errorf("the hook runs again in another sync: %+v", h)
	}
	s.create("configmaps", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "theirs"}})
	s.declare(with(t, configMap(t, "theirs", "1"), map[string]string{"argocd.argoproj.io/hook": "PreSync"}))
	for _, r := range s.apply(s.compare().Plan.Steps) {
		if r.Step.Hook && r.Problem == nil {
			t.Error("an object that is no hook must not be deleted for one")
		}
	}
}

func TestUnrecordedIsPruned(t *testing.T) {
	s := newStage(t, nil)
	s.restart(installed)
	s.declare(configMap(t, "a", "1"), configMap(t, "b", "1"))
	s.sync()
	s.desired.Inventory = nil // killed before it was written down
	s.restart(installed)
	s.declare(configMap(t, "a", "1"))
	if c := s.compare(); c.Plan.Count().Delete != 1 {
		t.Errorf("what this installation applied is pruned: %s", steps(c))
	}
	s.restart(nil)
	if c := s.compare(); c.Plan.Count().Delete != 0 {
		t.Errorf("another installation leaves it alone: %s", steps(c))
	}
}

func TestForgetServer(t *testing.T) {
	s := newStage(t, nil)
	s.declare(configMap(t, "a", "1"))
	s.sync()
	s.driver.ForgetServer("https://here")
	if c := s.compare(); !c.Plan.Empty() {
		t.Errorf("to do: %s", steps(c))
	}
	s.patch("configmaps", "a", `{"data":{"value":"2"}}`)
	s.eventually("drift is seen again", func(c driver.Comparison) bool { return s.resource(c, "a").Cause == driver.CauseDrift })
}
