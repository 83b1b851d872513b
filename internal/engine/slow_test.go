package engine

import (
	"context"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// slowly is a driver whose applies go on after Apply has returned, until they are
// let go.
type slowly struct {
	*memory.Driver
	before driver.Comparison
	under  func() // ends what is under way
	starts int
	cancel int
}

func (d *slowly) Compare(ctx context.Context, want driver.Desired) (driver.Comparison, error) {
	if d.under == nil {
		c, err := d.Driver.Compare(ctx, want)
		c.Recorded, d.before = true, c
		return c, err
	}
	c := d.before
	c.Plan, c.Busy = plan.Plan{}, true
	c.Resources = append([]driver.Resource{}, c.Resources...)
	for i := range c.Resources {
		c.Resources[i].Health = health.Health{Status: health.Progressing, Message: "being applied"}
	}
	return c, nil
}

func (d *slowly) Apply(ctx context.Context, a driver.Apply, report func(driver.Result)) {
	d.starts++
	d.under = func() {
		d.under = nil
		d.Driver.Apply(ctx, a, report)
	}
}

func (d *slowly) Cancel(driver.Owner) {
	d.cancel++
	d.under()
}

func newSlowStory(t *testing.T) (*story, *slowly) {
	s := newStory(t)
	d := &slowly{Driver: s.driver}
	s.e.Drivers["kube"] = d
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.tell("an Application appears whose apply takes long")
	return s, d
}

func (s *story) status(name string) v1alpha1.ApplicationStatus {
	s.t.Helper()
	for _, key := range s.api.Keys() {
		if app, _ := s.api.Get(key); key.Name == name {
			return app.Status
		}
	}
	s.t.Fatalf("there is no Application %s", name)
	return v1alpha1.ApplicationStatus{}
}

func TestAnApplyGoesOnAfterItsPass(t *testing.T) {
	s, d := newSlowStory(t)
	if op := s.status("web").OperationState; op == nil || op.Phase != v1alpha1.OperationRunning || !strings.Contains(op.Message, "being applied") {
		t.Fatalf("while it goes on, the operation runs: %+v", op)
	}
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "2")})
	s.tell("a commit comes in meanwhile")
	if d.starts != 1 {
		t.Errorf("it was started %d times", d.starts)
	}
	d.under()
	s.tell("it has ended")
	if d.starts != 2 {
		t.Fatalf("after it, the commit is applied: started %d times", d.starts)
	}
	d.under()
	s.tell("that has ended, too")
	if st := s.status("web"); st.OperationState.Phase != v1alpha1.OperationSucceeded || st.Sync.Status != v1alpha1.SyncStatusCodeSynced || d.starts != 2 {
		t.Errorf("at the end: %+v, %d starts", st.OperationState, d.starts)
	}
}

func TestAnApplyOutlivesTheEngine(t *testing.T) {
	s, d := newSlowStory(t)
	s.restart()
	s.e.Drivers["kube"] = d
	s.tell("the engine is killed and starts anew")
	if d.starts != 1 {
		t.Fatalf("what is under way is not started again: %d starts", d.starts)
	}
	d.under()
	s.tell("it has ended")
	if st := s.status("web"); st.Sync.Status != v1alpha1.SyncStatusCodeSynced || d.starts != 1 || st.OperationState.Phase != v1alpha1.OperationSucceeded {
		t.Errorf("at the end: %s, %d starts, %+v", st.Sync.Status, d.starts, st.OperationState)
	}
}

func TestHealsAreCountedOnce(t *testing.T) {
	s, d := newSlowStory(t)
	d.under()
	s.tell("it has ended")
	ref := plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "a"}
	s.world.Remove(ref.Address())
	s.tell("it is deleted out of band")
	for _, key := range s.api.Keys() {
		if n := s.e.state(key).heals; n != 0 || d.starts != 2 {
			t.Errorf("while the heal goes on: %d heals have ended, %d applies were started", n, d.starts)
		}
	}
}
