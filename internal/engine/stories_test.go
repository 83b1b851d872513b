package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

func TestLifeOfAnApplication(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/b.yaml": object("ConfigMap", "b", "1")})
	s.app("web", nil)
	s.tell("an Application appears")
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "2"), "web/b.yaml": object("ConfigMap", "b", "1")})
	s.tell("a commit changes a")
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "2"), "web/b.yaml": object("ConfigMap", "b", "1"), "other/x": "kind: X"})
	s.tell("a commit elsewhere changes nothing")
	s.world.Remove("ConfigMap/shop/a")
	s.tell("somebody deletes a")
	s.world.Edit("ConfigMap/shop/b", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits b")
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "2")})
	s.tell("a commit removes b")
	s.restart()
	s.tell("the engine starts anew")
	s.git.commit(map[string]string{})
	s.tell("a commit removes everything")
	s.remove("web")
	s.tell("the Application is deleted")
	s.check()
}

func TestWavesAndHooks(t *testing.T) {
	starting := func(ref plan.Ref, _ map[string]any) health.Health {
		if ref.Kind == "Deployment" {
			return health.Health{Status: health.Progressing, Message: "0 of 1 updated"}
		}
		return health.Health{Status: health.Healthy}
	}
	s := newStory(t, memory.Born(starting), memory.HookEnds(func(plan.Ref, map[string]any) (bool, bool) { return false, false }))
	s.git.commit(map[string]string{
		"web/migrate.yaml": object("Job", "migrate", "1", "hook=PreSync"),
		"web/db.yaml":      object("Deployment", "db", "1", "sync-wave=-1"),
		"web/web.yaml":     object("Deployment", "web", "1"),
		"web/smoke.yaml":   object("Job", "smoke", "1", "hook=PostSync", "hook-delete-policy=HookSucceeded"),
		"web/alarm.yaml":   object("Job", "alarm", "1", "hook=SyncFail"),
	})
	s.app("web", nil)
	s.tell("an Application appears")
	s.world.EndHook("batch/Job/shop/migrate", false, "completed")
	s.tell("the migration completes")
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Healthy})
	s.tell("the database is healthy")
	s.world.SetHealth("apps/Deployment/shop/web", health.Health{Status: health.Healthy})
	s.tell("the web is healthy")
	s.restart()
	s.tell("the engine starts anew while the smoke test runs")
	s.world.EndHook("batch/Job/shop/smoke", false, "completed")
	s.tell("the smoke test completes")
	s.check()
}

func TestFailedHook(t *testing.T) {
	s := newStory(t, memory.HookEnds(func(ref plan.Ref, _ map[string]any) (bool, bool) { return ref.Name == "alarm", ref.Name == "migrate" }))
	s.git.commit(map[string]string{
		"web/migrate.yaml": object("Job", "migrate", "1", "hook=PreSync"),
		"web/web.yaml":     object("ConfigMap", "web", "1"),
		"web/alarm.yaml":   object("Job", "alarm", "1", "hook=SyncFail"),
	})
	s.app("web", nil)
	s.tell("the migration fails")
	s.later(time.Second)
	s.later(5 * time.Second)
	s.git.commit(map[string]string{"web/web.yaml": object("ConfigMap", "web", "1")})
	s.tell("a commit takes the migration out")
	s.check()
}

func TestOneInvalidObjectDoesNotHoldUpTheOthers(t *testing.T) {
	s := newStory(t)
	s.world.Fail(memory.Fault{Address: "ConfigMap/shop/bad", Problem: driver.Problem{Reason: "Invalid", Message: "data: Invalid value"}})
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/bad.yaml": object("ConfigMap", "bad", "1")})
	s.app("web", nil)
	s.tell("an Application with one invalid object appears")
	s.later(2 * time.Second)
	s.later(4 * time.Second)
	s.world.Mend()
	s.later(10 * time.Second)
	s.check()
}

func TestDependencies(t *testing.T) {
	s := newStory(t, memory.Born(func(ref plan.Ref, _ map[string]any) health.Health {
		if ref.Kind == "Deployment" {
			return health.Health{Status: health.Progressing, Message: "starting"}
		}
		return health.Health{Status: health.Healthy}
	}))
	s.git.commit(map[string]string{"db/db.yaml": object("Deployment", "db", "1"), "web/web.yaml": object("ConfigMap", "web", "1")})
	s.app("web", func(a *v1alpha1.Application) { a.Spec.DependsOn = []v1alpha1.ApplicationRef{{Name: "db"}} })
	s.tell("the dependent comes first")
	s.app("db", nil)
	s.tell("what it depends on appears")
	s.world.SetHealth("apps/Deployment/shop/db", health.Health{Status: health.Healthy})
	s.tell("the database is healthy")
	s.remove("db")
	s.tell("what others depend on is deleted")
	s.remove("web")
	s.tell("the dependent is deleted")
	s.check()
}

func TestCircle(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"a/a.yaml": object("ConfigMap", "a", "1"), "b/b.yaml": object("ConfigMap", "b", "1")})
	s.app("a", func(a *v1alpha1.Application) { a.Spec.DependsOn = []v1alpha1.ApplicationRef{{Name: "b"}} })
	s.app("b", func(a *v1alpha1.Application) { a.Spec.DependsOn = []v1alpha1.ApplicationRef{{Name: "a"}} })
	s.tell("two Applications depend on each other")
	s.check()
}

func TestSourcesAndDestinationGoAway(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.tell("an Application appears")
	s.git.broken = errors.New("repository https://git.example/shop.git cannot be reached: connection refused")
	s.world.SetHealth("ConfigMap/shop/a", health.Health{Status: health.Degraded, Message: "ill"})
	s.tell("the repository goes away, and a falls ill")
	s.git.broken = nil
	s.tell("the repository is back")
	s.world.Unreachable(errors.New("cluster https://kubernetes.default.svc cannot be reached"))
	s.tell("the destination goes away")
	s.world.Mend()
	s.tell("the destination is back")
	s.git.broken = errors.New("repository https://git.example/shop.git cannot be reached: connection refused")
	s.restart()
	s.remove("web")
	s.tell("the Application is deleted while the repository is away, by an engine that never saw it")
	s.check()
}

func TestNotAutomated(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy = nil })
	s.tell("an Application without automated sync appears")
	s.app("web", func(a *v1alpha1.Application) {
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}, InitiatedBy: v1alpha1.OperationInitiator{Username: "ann"}}
	})
	s.tell("ann asks for a sync")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a")
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy = &v1alpha1.SyncPolicy{Drift: &v1alpha1.DriftPolicy{Rules: []v1alpha1.DriftRule{{Kind: "ConfigMap", Action: v1alpha1.DriftRevert}}}}
	})
	s.tell("a drift rule asks for config maps to be reverted")
	s.git.broken = errors.New("authentication failed")
	s.app("web", func(a *v1alpha1.Application) {
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}, InitiatedBy: v1alpha1.OperationInitiator{Username: "ann"}}
	})
	s.tell("ann asks for a sync that is not possible")
	s.check()
}

func TestAFightIsFoughtEverMoreSlowly(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.tell("an Application appears")
	for range 7 {
		s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
		s.tell("somebody edits a")
	}
	s.later(6 * time.Second)
	s.check()
}

func TestCrashBetweenApplyAndRecord(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/b.yaml": object("ConfigMap", "b", "1")})
	s.app("web", nil)
	s.api.fail = errors.New("the API server is away")
	s.tell("statuses can't be written: nothing may be made")
	s.api.fail = nil
	s.later(time.Second)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.restart()
	s.tell("b is removed while the engine is down")
	s.check()
}

func TestManifestsInARequestAreRefused(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy = nil
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{Manifests: []string{"kind: ConfigMap"}}}
	})
	s.tell("somebody asks for a sync of manifests of their own")
	if has(s, "ConfigMap/shop/a") {
		t.Errorf("it was synced all the same\n%s", s.text.String())
	}
	app := s.api.apps[Key{v1alpha1.Group, "plumb", "web"}]
	if op := app.Status.OperationState; op == nil || op.Phase != v1alpha1.OperationError || !strings.Contains(op.Message, "operation.sync.manifests") {
		t.Errorf("the answer is %+v\n%s", op, s.text.String())
	}
	if app.Operation != nil {
		t.Error("the request is still there")
	}
}

func TestAnApplicationThatManagesItself(t *testing.T) {
	itself := "apiVersion: plumb.dev/v1alpha1\nkind: Application\nmetadata: {name: root, namespace: plumb, annotations: {argocd.argoproj.io/sync-wave: \"-1\"}}\n"
	s := newStory(t, memory.Born(func(ref plan.Ref, _ map[string]any) health.Health {
		if ref.Kind == "Application" {
			return health.Health{Status: health.Progressing, Message: "as its own status says"}
		}
		return health.Health{Status: health.Healthy}
	}))
	s.git.commit(map[string]string{"root/root.yaml": itself, "root/a.yaml": object("ConfigMap", "a", "1")})
	s.app("root", nil)
	s.tell("an Application appears that is among its own resources")
	s.check()
}

// Killed between the run of its hooks and its deletion, an engine that can't read
// the sources either still knows the hooks from the status.
func TestHooksGoWithTheirApplication(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{
		"web/migrate.yaml": object("Job", "migrate", "1", "hook=PreSync"),
		"web/smoke.yaml":   object("ConfigMap", "smoke", "1", "hook=PostSync"),
		"web/a.yaml":       object("ConfigMap", "a", "1"),
	})
	s.app("web", nil)
	s.tell("an Application with hooks appears")
	s.restart()
	s.git.broken = errors.New("the repository is gone")
	s.remove("web")
	s.tell("killed, without its repository, the Application is deleted")
	s.check()
}
