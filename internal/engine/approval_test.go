package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fakePlans keeps plans in memory, and tells the story of them.
type fakePlans struct {
	s         *story
	plans     []*v1alpha1.Plan
	approvals []*v1alpha1.Approval
	texts     []string
	fail      error
	// doubted are the names of approvals that do not count, with why.
	doubted map[string]string
}

func (f *fakePlans) Doubt(a *v1alpha1.Approval) string { return f.doubted[a.Name] }

func (f *fakePlans) Of(k Key) []*v1alpha1.Plan {
	var out []*v1alpha1.Plan
	for _, c := range slices.Backward(f.plans) {
		if c.Spec.Application.Name == k.Name {
			out = append(out, c)
		}
	}
	return out
}

func (f *fakePlans) Approvals(c *v1alpha1.Plan) []*v1alpha1.Approval {
	return slices.DeleteFunc(slices.Clone(f.approvals), func(a *v1alpha1.Approval) bool { return a.Spec.Plan != c.Name })
}

func (f *fakePlans) Propose(_ context.Context, _ *v1alpha1.Application, _ Key, c *v1alpha1.Plan, text string) (*v1alpha1.Plan, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	made := c.DeepCopy()
	made.CreationTimestamp = metav1.NewTime(f.s.clock.now)
	n := made.Spec.Counts
	f.s.say("  %s: %s proposed: +%d ~%d ±%d -%d by %v", made.Name, made.Spec.Reason, n.Create, n.Update, n.Replace, n.Delete, made.Spec.Authors)
	f.plans, f.texts = append(f.plans, made), append(f.texts, text)
	return made, nil
}

func (f *fakePlans) WriteStatus(_ context.Context, c *v1alpha1.Plan, status v1alpha1.PlanStatus) error {
	if f.fail != nil {
		return f.fail
	}
	for i, old := range f.plans {
		if old.Name == c.Name {
			next := old.DeepCopy()
			next.Status = status
			f.s.say("  %s: %s %s %s", c.Name, status.Phase, status.Progress, status.Message)
			f.plans[i] = next
		}
	}
	return nil
}

// said makes somebody say something of the newest plan.
func (f *fakePlans) said(user string, d v1alpha1.ApprovalDecision, groups ...string) {
	c := f.plans[len(f.plans)-1]
	a := &v1alpha1.Approval{Spec: v1alpha1.ApprovalSpec{
		Plan: c.Name, Digest: c.Spec.Digest, Decision: d, User: user, Groups: groups,
		Application: v1alpha1.ApprovalApplication{Group: c.Spec.Application.Group, Name: c.Spec.Application.Name},
	}}
	a.Name, a.Namespace, a.CreationTimestamp = fmt.Sprintf("a%d", len(f.approvals)), c.Namespace, metav1.NewTime(f.s.clock.now)
	f.approvals = append(f.approvals, a)
}

// fakeLedger tells the story of what is recorded.
type fakeLedger struct {
	s    *story
	fail error
	kept []Record
}

func (l *fakeLedger) Append(_ context.Context, records ...Record) error {
	if l.fail != nil {
		return l.fail
	}
	for _, r := range records {
		l.s.say("  ledger: %s by %s: %s%s", r.Kind, r.Actor, r.Message, approvedBy(r))
	}
	l.kept = append(l.kept, records...)
	return nil
}

func newApprovalStory(t *testing.T, options ...memory.Option) (*story, *fakePlans) {
	t.Helper()
	s := newStory(t, options...)
	f := &fakePlans{s: s}
	s.e.Plans = f
	return s, f
}

func approval(change func(*v1alpha1.ApprovalPolicy)) func(*v1alpha1.Application) {
	return func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy.Approval = &v1alpha1.ApprovalPolicy{}
		if change != nil {
			change(a.Spec.SyncPolicy.Approval)
		}
	}
}

func files(name string, values ...string) map[string]string {
	out := map[string]string{}
	for i, v := range values {
		key := string(rune('a' + i))
		out[name+"/"+key+".yaml"] = object("ConfigMap", key, v)
	}
	return out
}

func TestPlansWaitForPeople(t *testing.T) {
	s, f := newApprovalStory(t)
	l := &fakeLedger{s: s}
	s.e.Ledger = l
	s.git.author = "Eve <eve@example.com>"
	s.git.commit(files("web", "1", "1"))
	s.app("web", approval(func(p *v1alpha1.ApprovalPolicy) { p.MinApprovals = 2 }))
	s.tell("an Application that needs two approvals appears")
	f.said("oidc:eve@example.com", v1alpha1.DecisionApprove)
	s.tell("its author approves")
	f.said("ann", v1alpha1.DecisionApprove)
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves twice")
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("Bob approves")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a")
	f.said("ann", v1alpha1.DecisionReject)
	s.tell("Ann rejects")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "yours"} })
	s.tell("somebody edits a again")
	f.said("ann", v1alpha1.DecisionApprove)
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("both approve")
	s.remove("web")
	s.tell("the Application is deleted")
	f.said("ann", v1alpha1.DecisionApprove)
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("both approve the deletion")
	s.check()
}

func TestPlansThatAreOvertaken(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1"))
	s.app("web", approval(nil))
	s.tell("an Application that needs approval appears")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.git.commit(files("web", "2"))
	s.tell("a commit")
	s.git.commit(files("web", "3"))
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves, and another commit comes before")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves, and somebody edits a before")
	f.said("ann", v1alpha1.DecisionApprove)
	s.later(25 * time.Hour)
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves again")
	s.git.commit(files("web", "1"))
	s.tell("a revert")
	s.restart()
	s.e.Plans = f
	s.tell("the engine starts anew")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves the revert")
	s.git.commit(files("web", "3"))
	s.tell("the revert is reverted: the same change as before, and yet to be approved")
	s.check()
}

func TestApprovalOfTheDestructiveAlone(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1", "1"))
	s.app("web", approval(func(p *v1alpha1.ApprovalPolicy) { p.When = v1alpha1.ApproveDestructive }))
	s.tell("an Application appears whose deletions need approval")
	s.git.commit(files("web", "2"))
	s.tell("a commit changes a and removes b")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.world.Remove("ConfigMap/shop/a")
	s.tell("somebody deletes a")
	s.check()
}

func TestSyncsThatAreAskedForWait(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1", "1"))
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy.Automated = nil
		approval(func(p *v1alpha1.ApprovalPolicy) { p.When = v1alpha1.ApproveDestructive })(a)
	})
	s.tell("an Application appears that is not automated")
	ask := func(a *v1alpha1.Application) {
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{Prune: true}, InitiatedBy: v1alpha1.OperationInitiator{Username: "joe"}}
	}
	s.app("web", ask)
	s.tell("Joe asks for a sync that destroys nothing")
	s.git.commit(files("web", "1"))
	s.app("web", ask)
	s.tell("Joe asks for a sync that deletes b")
	s.restart()
	s.e.Plans = f
	s.tell("the engine starts anew")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.git.commit(files("web", "1", "2"))
	s.app("web", ask)
	s.tell("Joe asks for a sync that makes it again")
	s.git.commit(files("web", "1"))
	s.app("web", ask)
	s.tell("and for one that deletes it")
	f.said("ann", v1alpha1.DecisionReject)
	s.tell("Ann rejects")
	s.check()
}

func TestWhatComesUpMeanwhileIsNotDone(t *testing.T) {
	s, f := newApprovalStory(t, memory.Born(func(plan.Ref, map[string]any) health.Health {
		return health.Health{Status: health.Progressing, Message: "starting"}
	}))
	content := func(last string) map[string]string {
		return map[string]string{
			"web/a.yaml": object("Deployment", "a", "1", "sync-wave=1"),
			"web/b.yaml": object("ConfigMap", "b", last, "sync-wave=2"),
		}
	}
	s.git.commit(content("1"))
	s.app("web", approval(nil))
	s.tell("an Application of two waves appears")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.world.Put(plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "b"}, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"shop"},"data":{"value":"theirs"}}`)
	s.world.SetHealth("apps/Deployment/shop/a", health.Health{Status: health.Healthy})
	s.tell("while the first wave starts, somebody makes what the second is to make")
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("Bob approves what there is to do then")
	s.check()
}

func TestApprovalsExpireWhileItFails(t *testing.T) {
	s, f := newApprovalStory(t)
	s.world.Fail(memory.Fault{Verb: "apply", Address: "ConfigMap/shop/b", Problem: driver.Problem{Reason: "Invalid", Message: "data: Invalid value"}})
	s.git.commit(files("web", "1", "1"))
	s.app("web", approval(func(p *v1alpha1.ApprovalPolicy) { p.ValidFor = "1h" }))
	s.tell("an Application appears of which a part can't be applied")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.later(6 * time.Second)
	s.later(time.Hour)
	s.world.Mend()
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("Bob approves what is left")
	s.check()
}

func TestARollbackWaitsToo(t *testing.T) {
	s, f := newApprovalStory(t, memory.Born(func(_ plan.Ref, live map[string]any) health.Health {
		if data, _ := live["data"].(map[string]any); data["value"] == "2" {
			return health.Health{Status: health.Degraded, Message: "crashes"}
		}
		return health.Health{Status: health.Healthy}
	}))
	s.git.commit(files("web", "1"))
	s.app("web", func(a *v1alpha1.Application) {
		rollsBack("1m")(a)
		approval(nil)(a)
	})
	s.tell("an Application appears that rolls back by itself, and needs approval")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.git.commit(files("web", "2"))
	s.tell("a commit that crashes")
	s.later(10 * time.Minute)
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves it")
	s.later(time.Minute)
	quiet := &fakeLedger{s: &story{}}
	s.e.Ledger = quiet
	gone := func() (n int) {
		for _, r := range quiet.kept {
			if r.Kind == RecordSyncFinished && r.Back {
				n++
			}
		}
		return n
	}
	if n := gone(); n != 0 {
		t.Errorf("it has gone back %d times before anybody approved", n)
	}
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves the way back")
	if n := gone(); n != 1 {
		t.Errorf("it has gone back %d times", n)
	}
	s.check()
	s.app("web", func(a *v1alpha1.Application) { a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}} })
	s.run()
	if n := gone(); n != 1 {
		t.Errorf("it has gone back %d times when somebody syncs it again", n)
	}
}

func TestApprovedWhileFrozen(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1"))
	s.app("web", approval(nil))
	s.gates.frozen = []Frozen{{Where: "project shop is", Freeze: v1alpha1.Freeze{Reason: "the launch", By: "ada"}}}
	s.tell("an Application that needs approval appears in a frozen project")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	s.gates.frozen = nil
	s.tell("it is thawed")
	s.check()
}

func TestReportedDriftMayBeApproved(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1", "1"))
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy.Drift = &v1alpha1.DriftPolicy{Default: v1alpha1.DriftReport}
	})
	s.tell("an Application whose drift is reported")
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves that it is put right")
	s.check()
}

func TestNothingIsChangedUnrecorded(t *testing.T) {
	s := newStory(t)
	l := &fakeLedger{s: s, fail: errors.New("no space left on device")}
	s.e.Ledger = l
	s.git.commit(files("web", "1"))
	s.app("web", nil)
	s.tell("an Application appears, and the ledger's disk is full")
	l.fail = nil
	s.later(time.Second)
	s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
	s.tell("somebody edits a")
	s.check()
}

func TestSecretsAreNotInPlans(t *testing.T) {
	const canary = "hunter2-canary"
	s, f := newApprovalStory(t)
	s.git.commit(map[string]string{"web/s.yaml": object("Secret", "s", canary)})
	s.app("web", approval(nil))
	s.tell("a Secret is to be made")
	first := f.plans[0].Spec.Digest
	s.git.commit(map[string]string{"web/s.yaml": object("Secret", "s", canary+"2")})
	s.tell("its value changes")
	if len(f.plans) != 2 || f.plans[1].Spec.Digest == first {
		t.Fatal("another value is another plan")
	}
	all := fmt.Sprint(f.plans[0], f.plans[1], f.texts, s.text.String())
	if strings.Contains(all, canary) {
		t.Errorf("the secret is in:\n%s", all)
	}
	if f.plans[1].Spec.Risk.Secrets != 1 {
		t.Error("the plan does not tell that a Secret changes")
	}
}

// forged is a request that claims what only Plumb says of an operation.
func forged(plan string) func(*v1alpha1.Application) {
	return func(a *v1alpha1.Application) {
		a.Operation = &v1alpha1.Operation{
			Sync: &v1alpha1.SyncOperation{}, InitiatedBy: v1alpha1.OperationInitiator{Username: "mallory"},
			Info: []v1alpha1.Info{{Name: infoPlan, Value: plan}, {Name: infoAwaits}, {Name: infoScope, Value: "delete"}, {Name: infoID, Value: "mine"}},
		}
	}
}

func TestForgedOperationsAreNotApproved(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1"))
	s.app("web", approval(nil))
	s.tell("an Application that needs approval appears")
	s.app("web", forged(f.plans[0].Name))
	s.tell("Mallory asks for a sync, and says that it makes the plan true")
	s.restart()
	s.e.Plans = f
	s.tell("the engine starts anew")
	if len(s.world.Addresses()) > 0 {
		t.Errorf("something was made that nobody has approved:\n%s", s.text.String())
	}
	// Where the status can be written by anybody, what it says is not believed.
	key := Key{v1alpha1.Group, "plumb", "web"}
	app := s.api.apps[key].DeepCopy()
	app.Status.OperationState = &v1alpha1.OperationState{
		Phase: v1alpha1.OperationRunning, StartedAt: metav1.NewTime(s.clock.now),
		Operation: v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}, Info: []v1alpha1.Info{{Name: infoPlan, Value: f.plans[0].Name}}},
	}
	s.api.apps[key] = app
	s.restart()
	s.e.Plans = f
	s.tell("Mallory writes the status, and the engine starts anew")
	if len(s.world.Addresses()) > 0 {
		t.Errorf("something was made that nobody has approved:\n%s", s.text.String())
	}
}

func TestOverridesAreForWhatWasSeen(t *testing.T) {
	s, _ := newApprovalStory(t, memory.Born(func(plan.Ref, map[string]any) health.Health {
		return health.Health{Status: health.Progressing, Message: "starting"}
	}))
	content := func(last string) map[string]string {
		return map[string]string{
			"web/a.yaml": object("Deployment", "a", "1", "sync-wave=1"),
			"web/b.yaml": object("ConfigMap", "b", last, "sync-wave=2"),
		}
	}
	s.git.commit(content("1"))
	s.app("web", approval(nil))
	s.tell("an Application of two waves appears")
	s.ask("web", "the shop is down")
	s.tell("Ada overrides")
	s.git.commit(content("evil"))
	s.world.SetHealth("apps/Deployment/shop/a", health.Health{Status: health.Healthy})
	s.tell("while the first wave starts, another commit comes")
	s.check()
}

func TestForceDestroys(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1"))
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy.Automated = nil
		approval(func(p *v1alpha1.ApprovalPolicy) { p.When = v1alpha1.ApproveDestructive })(a)
	})
	ask := func(force bool) {
		s.app("web", func(a *v1alpha1.Application) {
			a.Operation = &v1alpha1.Operation{
				Sync:        &v1alpha1.SyncOperation{SyncStrategy: &v1alpha1.SyncStrategy{Apply: &v1alpha1.SyncStrategyApply{Force: force}}},
				InitiatedBy: v1alpha1.OperationInitiator{Username: "joe"},
			}
		})
	}
	ask(true)
	s.tell("Joe asks by force for what is not there yet")
	s.git.commit(files("web", "2"))
	ask(true)
	s.tell("Joe asks by force for a change")
	if len(f.plans) != 1 || f.plans[0].Status.Phase != v1alpha1.PlanPending {
		t.Errorf("what is deleted by force needs no approval:\n%s", s.text.String())
	}
}

// orders keeps what a driver was told.
type orders struct {
	driver.Driver
	all []driver.Apply
}

func (o *orders) Apply(ctx context.Context, a driver.Apply, report func(driver.Result)) {
	o.all = append(o.all, a)
	o.Driver.Apply(ctx, a, report)
}

func TestPlansAreAsOldAsTheirApprovals(t *testing.T) {
	s, f := newApprovalStory(t)
	o := &orders{Driver: s.driver}
	s.e.Drivers = map[string]driver.Driver{"kube": o}
	s.git.commit(files("web", "1"))
	s.app("web", approval(func(p *v1alpha1.ApprovalPolicy) { p.ValidFor = "8h" }))
	s.tell("an Application that needs approval appears")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	if len(o.all) != 1 || o.all[0].MaxAge != 8*time.Hour {
		t.Errorf("the driver was told %v", o.all)
	}
}

func TestPlansAreNoStorm(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1"))
	s.app("web", nil)
	s.tell("an Application appears")
	s.app("web", approval(nil))
	for i := range 60 {
		s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": fmt.Sprint(i)} })
		s.later(time.Second)
	}
	if n := len(f.plans); n < quickPlans || n > 3*quickPlans {
		t.Errorf("people are asked %d times in a minute", n)
	}
	s.later(quietTime)
	last := f.plans[len(f.plans)-1]
	if last.Status.Phase != v1alpha1.PlanPending {
		t.Errorf("once it is quiet, people are asked: %s", last.Status.Phase)
	}
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	if live, _ := s.world.Get("ConfigMap/shop/a"); fmt.Sprint(live["data"]) != "map[value:1]" {
		t.Errorf("it is not put right: %v", live)
	}
}

func TestProjectsAskForApprovals(t *testing.T) {
	s, f := newApprovalStory(t)
	s.gates.asks = &v1alpha1.ApprovalPolicy{MinApprovals: 2}
	s.git.commit(files("web", "1"))
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy.Approval = &v1alpha1.ApprovalPolicy{When: v1alpha1.ApproveNever}
	})
	s.tell("an Application that asks for no approval appears in a project that does")
	if len(f.plans) != 1 {
		t.Fatalf("nobody is asked:\n%s", s.text.String())
	}
	f.said("ann", v1alpha1.DecisionApprove)
	s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy.Approval = nil })
	s.tell("Ann approves, and the policy is taken away")
	if len(s.world.Addresses()) > 0 {
		t.Errorf("one approval was enough:\n%s", s.text.String())
	}
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("Bob approves")
	if len(s.world.Addresses()) != 1 {
		t.Errorf("two are not enough:\n%s", s.text.String())
	}
}

func TestNobodyIsPlumb(t *testing.T) {
	for name, by := range map[string]v1alpha1.OperationInitiator{
		"automated": {Automated: true},
		"by name":   {Username: actorItself},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newApprovalStory(t)
			l := &fakeLedger{s: s}
			s.e.Ledger = l
			s.git.commit(files("web", "1"))
			s.app("web", func(a *v1alpha1.Application) {
				a.Spec.SyncPolicy.Automated = nil
				a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}, InitiatedBy: by}
			})
			s.tell("somebody asks for a sync, and says that it is Plumb who does")
			if len(l.kept) < 2 {
				t.Fatalf("the ledger has %v", l.kept)
			}
			for _, r := range l.kept {
				if r.Kind == RecordSyncStarted && !strings.HasPrefix(r.Actor, "unknown") || r.Kind == RecordSyncFinished && !strings.HasPrefix(r.Actor, "unknown") {
					t.Errorf("%s by %s", r.Kind, r.Actor)
				}
			}
		})
	}
}

func TestPlansThatCannotBeMadeAreRecordedOnce(t *testing.T) {
	s, f := newApprovalStory(t)
	l := &fakeLedger{s: s}
	s.e.Ledger = l
	f.fail = errors.New("exceeded quota")
	s.git.commit(files("web", "1"))
	s.app("web", approval(nil))
	s.tell("an Application that needs approval appears, and no plan can be made")
	for range 10 {
		s.later(proposePause)
	}
	f.fail = nil
	s.later(proposePause)
	n := 0
	for _, r := range l.kept {
		if r.Kind == RecordPlanProposed {
			n++
		}
	}
	if n != 1 || len(f.plans) != 1 {
		t.Errorf("%d plans are recorded %d times", len(f.plans), n)
	}
}

// approvedBy names those who have approved what a record tells of.
func approvedBy(r Record) string {
	if len(r.Approvers) == 0 {
		return ""
	}
	return fmt.Sprintf(" (approved by %s)", strings.Join(r.Approvers, ", "))
}

// TestAPlanThatCantBeWritten is recorded once, however often its status is tried to be
// written.
func TestAPlanThatCantBeWritten(t *testing.T) {
	s, f := newApprovalStory(t)
	ledger := &fakeLedger{s: s}
	s.e.Ledger = ledger
	s.git.commit(files("web", "1"))
	s.app("web", approval(nil))
	s.run()
	before := len(ledger.kept)
	f.fail = errors.New("the API server is full")
	f.said("ann", v1alpha1.DecisionApprove)
	for range 10 {
		s.clock.now = s.clock.now.Add(2 * time.Second)
		s.run()
	}
	if n := len(ledger.kept) - before; n != 1 {
		t.Errorf("an approval was recorded %d times", n)
	}
	f.fail = nil
	s.clock.now = s.clock.now.Add(2 * time.Second)
	s.run()
	if last := f.plans[len(f.plans)-1]; last.Status.Phase != v1alpha1.PlanApplied {
		t.Errorf("it is %s: %s", last.Status.Phase, last.Status.Message)
	}
}
