package engine

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/window"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fakeGates are a project's windows and freezes.
type fakeGates struct {
	windows window.Set
	frozen  []Frozen
	strict  bool // nobody may override
	asks    *v1alpha1.ApprovalPolicy
}

func (g *fakeGates) Windows(*v1alpha1.Application, Key) (window.Set, string) {
	return g.windows, "project shop"
}
func (g *fakeGates) Freezes(*v1alpha1.Application, Key) []Frozen { return g.frozen }
func (g *fakeGates) Approval(*v1alpha1.Application, Key) *v1alpha1.ApprovalPolicy {
	return g.asks
}
func (g *fakeGates) Overridable() error {
	if g.strict {
		return errors.New("the API server does not check it")
	}
	return nil
}

func (s *story) windows(windows ...v1alpha1.SyncWindow) {
	s.t.Helper()
	var err error
	if s.gates.windows, err = window.Compile(windows); err != nil {
		s.t.Fatal(err)
	}
}

func (a *fakeAPI) Pin(_ context.Context, app *v1alpha1.Application, k Key, pin v1alpha1.Pin) error {
	next := a.apps[k].DeepCopy()
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	maps.Copy(next.Annotations, pin.Annotations())
	a.s.say("  %s: %s", k.Name, pin)
	a.apps[k] = next
	return nil
}

// pin pins an Application as a user does, or follows Git again.
func (s *story) pin(name string, revisions ...string) {
	s.app(name, func(a *v1alpha1.Application) {
		if len(revisions) == 0 {
			for annotation := range (v1alpha1.Pin{}).Annotations() {
				delete(a.Annotations, annotation)
			}
			return
		}
		if a.Annotations == nil {
			a.Annotations = map[string]string{}
		}
		maps.Copy(a.Annotations, v1alpha1.Pin{Revisions: revisions, By: "ada", At: s.clock.now.Format(time.RFC3339), Reason: "checkout fails"}.Annotations())
	})
}

// ask asks for a sync.
func (s *story) ask(name, override string) {
	s.app(name, func(a *v1alpha1.Application) {
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}, InitiatedBy: v1alpha1.OperationInitiator{Username: "ada"}}
		if override != "" {
			a.Operation.Info = []v1alpha1.Info{{Name: v1alpha1.InfoOverride, Value: override}}
		}
	})
}

func webAt(value string) map[string]string {
	return map[string]string{"web/a.yaml": object("ConfigMap", "a", value)}
}

func TestSyncWindows(t *testing.T) {
	s := newStory(t)
	s.windows(v1alpha1.SyncWindow{Kind: "allow", Schedule: "0 10 * * *", Duration: "1h", Applications: []string{"*"}})
	s.git.commit(webAt("1"))
	s.app("web", nil)
	s.tell("an Application appears before its window opens")
	s.ask("web", "")
	s.tell("somebody asks for a sync")
	s.later(time.Hour)
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a in the window")
	s.later(2 * time.Hour)
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a after it")
	s.restart()
	s.tell("the engine starts anew")
	s.ask("web", "the shop is down")
	s.tell("somebody who may asks for a sync all the same")
	s.remove("web")
	s.tell("windows do not hold a deletion")
	s.check()
}

func TestSyncStopsAtTheWindowsEnd(t *testing.T) {
	s := newStory(t, memory.Born(func(ref plan.Ref, _ map[string]any) health.Health {
		if ref.Kind == "Deployment" {
			return health.Health{Status: health.Progressing, Message: "starting"}
		}
		return health.Health{Status: health.Healthy}
	}))
	window := v1alpha1.SyncWindow{Kind: "allow", Schedule: "0 9 * * *", Duration: "1h", Applications: []string{"web"}}
	s.windows(window)
	s.git.commit(map[string]string{"web/db.yaml": object("Deployment", "db", "1", "sync-wave=-1"), "web/web.yaml": object("ConfigMap", "web", "1")})
	s.app("web", nil)
	s.tell("a sync begins in its window")
	s.later(2 * time.Hour)
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Healthy})
	s.tell("the first wave is healthy after the window's end")
	s.later(22 * time.Hour)
	window.SyncOverrun = true
	s.windows(window)
	s.git.commit(map[string]string{"web/db.yaml": object("Deployment", "db", "2", "sync-wave=-1"), "web/web.yaml": object("ConfigMap", "web", "2")})
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Progressing})
	s.tell("another sync begins, which may overrun")
	s.later(2 * time.Hour)
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Healthy})
	s.tell("and does")
	s.check()
}

func TestFreeze(t *testing.T) {
	s := newStory(t)
	s.git.commit(webAt("1"))
	s.app("web", nil)
	s.tell("an Application appears")
	s.gates.frozen = []Frozen{{Where: "project shop", Freeze: v1alpha1.Freeze{Reason: "the launch", By: "ada", At: &metav1.Time{Time: s.clock.now}, Until: &metav1.Time{Time: s.clock.now.Add(time.Hour)}}}}
	s.tell("its project is frozen")
	s.git.commit(webAt("2"))
	s.tell("a commit changes a")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a")
	s.ask("web", "")
	s.tell("somebody asks for a sync")
	s.gates.strict = true
	s.ask("web", "the shop is down")
	s.tell("somebody asks to override, where nobody checks whether he may")
	s.gates.strict = false
	s.ask("web", "the shop is down")
	s.tell("somebody who may does")
	s.remove("web")
	s.tell("the Application is deleted")
	s.later(time.Hour)
	s.check()
}

func TestPin(t *testing.T) {
	s := newStory(t)
	s.git.commit(webAt("1"))
	s.app("web", nil)
	s.tell("an Application appears")
	s.git.commit(webAt("2"))
	s.tell("a commit changes a")
	s.pin("web", "commit-1")
	s.tell("somebody pins it at the commit before")
	s.git.commit(webAt("3"))
	s.tell("a commit changes a, which is pinned")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a: it is healed towards the pin")
	s.restart()
	s.tell("the engine starts anew")
	s.pin("web", "commit-1", "commit-1")
	s.tell("the pin no longer fits")
	s.pin("web")
	s.tell("somebody takes the pin away")
	s.check()
}

func rollsBack(deadline string) func(*v1alpha1.Application) {
	return func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy.OnFailure, a.Spec.SyncPolicy.HealthDeadline = v1alpha1.OnFailureRollback, deadline
	}
}

func TestRollbackOnFailure(t *testing.T) {
	broken := func(ref plan.Ref, live map[string]any) health.Health {
		if data, _ := live["data"].(map[string]any); data["value"] == "bad" {
			return health.Health{Status: health.Degraded, Message: "crashes"}
		}
		return health.Health{Status: health.Healthy}
	}
	s := newStory(t, memory.Born(broken))
	web := func(v string) map[string]string {
		return map[string]string{"web/a.yaml": object("Deployment", "web", v)}
	}
	s.git.commit(web("1"))
	s.app("web", rollsBack("5m"))
	s.tell("an Application appears")
	s.git.commit(web("bad"))
	s.world.SetHealth("apps/Deployment/shop/web", health.Health{Status: health.Degraded, Message: "crashes"})
	s.tell("a commit breaks it")
	s.later(4 * time.Minute)
	s.restart()
	s.tell("the engine starts anew")
	s.later(2 * time.Minute)
	s.later(10 * time.Minute)
	s.world.SetHealth("apps/Deployment/shop/web", health.Health{Status: health.Healthy})
	s.tell("it is healthy again")
	s.git.commit(web("2"))
	s.tell("a commit mends it in Git")
	s.pin("web")
	s.tell("somebody takes the pin away")
	s.check()
}

func TestRollbackOfWhatNobodySyncs(t *testing.T) {
	s := newStory(t)
	s.git.commit(webAt("1"))
	s.app("web", func(a *v1alpha1.Application) {
		rollsBack("5m")(a)
		a.Spec.SyncPolicy.Automated = nil
	})
	s.ask("web", "")
	s.tell("somebody syncs an Application")
	s.git.commit(webAt("2"))
	s.world.Fail(memory.Fault{Address: "ConfigMap/shop/a", Problem: driver.Problem{Reason: "Invalid", Message: "data: Invalid value"}})
	s.ask("web", "")
	s.tell("a sync by hand fails")
	s.world.Mend()
	s.later(time.Minute)
	s.check()
}

func TestNothingToRollBackTo(t *testing.T) {
	s := newStory(t, memory.Born(func(plan.Ref, map[string]any) health.Health {
		return health.Health{Status: health.Degraded, Message: "crashes"}
	}))
	s.git.commit(webAt("1"))
	s.app("web", rollsBack("1m"))
	s.tell("an Application appears, which was never healthy")
	s.later(time.Minute)
	s.check()
}

func TestWhatIsHeldBackIsNotLate(t *testing.T) {
	s := newStory(t, memory.Born(func(ref plan.Ref, _ map[string]any) health.Health {
		if ref.Kind == "Deployment" {
			return health.Health{Status: health.Progressing, Message: "starting"}
		}
		return health.Health{Status: health.Healthy}
	}))
	web := func(v string) map[string]string {
		return map[string]string{"web/db.yaml": object("Deployment", "db", v, "sync-wave=-1"), "web/web.yaml": object("ConfigMap", "web", v)}
	}
	s.git.commit(web("1"))
	s.app("web", rollsBack("5m"))
	s.tell("an Application appears")
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Healthy})
	s.tell("it is healthy")
	s.git.commit(web("2"))
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Progressing})
	s.tell("a commit changes it")
	s.gates.frozen = []Frozen{{Where: "project shop is", Freeze: v1alpha1.Freeze{Reason: "the launch", By: "ada"}}}
	s.tell("its project is frozen meanwhile")
	s.later(time.Hour)
	s.restart()
	s.tell("the engine starts anew")
	s.later(time.Hour)
	s.gates.frozen = nil
	s.tell("it is thawed")
	s.later(4 * time.Minute)
	s.later(2 * time.Minute)
	s.check()
}
