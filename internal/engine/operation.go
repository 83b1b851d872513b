package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/plan"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The names under which an operation's own facts are kept in its info list, so
// that a process that starts anew can go on with it.
const (
	infoID      = "plumb.dev/operation"
	infoScope   = "plumb.dev/scope"
	infoDesired = "plumb.dev/desired"
	// infoHeard is the generation that a request was taken up at.
	infoHeard = "plumb.dev/heard"
)

// operation is a sync under way.
type operation struct {
	id        string
	why       string
	scope     decide.Scope
	desired   string
	prune     bool
	automated bool
	dryRun    bool
	force     bool
	replace   bool
	revisions []string
	started   time.Time
	retry     int64
	request   v1alpha1.Operation
	// results by address and phase; order as they came.
	results []v1alpha1.ResourceResult
	// made are the resources that were made, or entered in the inventory to be
	// made, by address; failed says why the failed ones failed.
	made   map[plan.Address]bool
	failed map[taskKey]string
	// applying are the steps that the driver has not told the end of yet.
	applying map[plan.Address]bool
	// terminating is true once somebody has asked for its end.
	terminating bool
	// recorded is true once the operation is in the Application's status.
	recorded bool
	// reported is true where drift belongs to it that a rule asks to report only.
	reported bool
	// plan is the name of the approved plan that it makes true, allowed the marks of
	// that plan's steps: nothing else is done. Without a plan they are empty.
	plan    string
	allowed map[string]bool
	// approvers are those who have approved it.
	approvers []string
	// valid is how long the approvals of that plan hold.
	valid time.Duration
	// awaits is true while it waits for approval, asked is the plan that it waits
	// for, and wait says so.
	awaits      bool
	asked, wait string
	// ledgered is true once the ledger knows of it.
	ledgered bool
	// digest and counts are those of the plan that was begun, resumed is true where an
	// earlier process had begun it.
	digest  string
	counts  plan.Counts
	resumed bool
	blocked []plan.Blocked
	running []string
}

type taskKey struct {
	address plan.Address
	phase   plan.Phase
}

func requestedRevisions(s *v1alpha1.SyncOperation) []string {
	if len(s.Revisions) > 0 {
		return s.Revisions
	}
	if s.Revision != "" {
		return []string{s.Revision}
	}
	return nil
}

// draft is the operation of a sync: of the one that was asked for, or of one by the
// policy.
func (p *pass) draft(d decide.Start) *operation {
	op := p.automatedDraft(d)
	if req := p.app.Operation; req != nil && req.Sync != nil && d.Scope == decide.Full {
		op.take(plainRequest(req))
	}
	return op
}

// plainRequest is a request without what only Plumb itself says of an operation: whoever
// could say that for it would have a process that starts anew believe that people
// have approved.
func plainRequest(req *v1alpha1.Operation) *v1alpha1.Operation {
	out := req.DeepCopy()
	out.Info = slices.DeleteFunc(out.Info, func(i v1alpha1.Info) bool {
		switch i.Name {
		case infoID, infoScope, infoDesired, infoHeard, infoPlan, infoAwaits:
			return true
		}
		return false
	})
	return out
}

func (p *pass) automatedDraft(d decide.Start) *operation {
	now := p.e.Clock.Now()
	op := &operation{
		id: fmt.Sprintf("%s-%d", short(p.st.uid), now.UnixMilli()), scope: d.Scope, desired: p.desiredHash(),
		prune: d.Prune, automated: true, reported: d.Reported, started: now,
		made: map[plan.Address]bool{}, failed: map[taskKey]string{}, why: d.Why,
		request: v1alpha1.Operation{
			InitiatedBy: v1alpha1.OperationInitiator{Automated: true},
			Sync:        &v1alpha1.SyncOperation{Prune: d.Prune},
		},
	}
	if p.app.Spec.SyncPolicy != nil && p.app.Spec.SyncPolicy.Retry != nil {
		op.request.Retry = *p.app.Spec.SyncPolicy.Retry
	}
	return op
}

// start begins a sync.
func (p *pass) start(d decide.Start) {
	op := p.draft(d)
	if p.st.desired != nil && len(p.st.desired.revisions) > 0 {
		op.request.Sync.Revision = p.st.desired.revisions[0]
		if len(p.st.desired.revisions) > 1 {
			op.request.Sync.Revision, op.request.Sync.Revisions = "", p.st.desired.revisions
		}
	}
	op.request.Info = append(op.request.Info,
		v1alpha1.Info{Name: infoID, Value: op.id}, v1alpha1.Info{Name: infoScope, Value: string(op.scope)},
		v1alpha1.Info{Name: infoDesired, Value: op.desired})
	if p.requested() && d.Scope == decide.Full {
		op.request.Info = append(op.request.Info, v1alpha1.Info{Name: infoHeard, Value: strconv.FormatInt(p.app.Generation, 10)})
	}
	if l := p.st.last; l != nil && l.failed && l.desired == op.desired {
		op.retry = int64(l.failures)
	}
	p.bind(op)
	p.st.running, p.st.ended = op, nil
	p.watchTrial(op)
	if !op.automated {
		p.event(false, "OperationStarted", fmt.Sprintf("initiated %s by %s", op.kind(), orDefault(op.request.InitiatedBy.Username, "unknown")))
	}
}

// take makes the operation the one that a user asked for.
func (op *operation) take(req *v1alpha1.Operation) {
	op.request = *req.DeepCopy()
	op.automated = req.InitiatedBy.Automated
	s := op.request.Sync
	op.prune, op.dryRun, op.revisions = s.Prune, s.DryRun, requestedRevisions(s)
	op.replace = s.SyncOptions.IsTrue(v1alpha1.SyncOptionReplace)
	op.force = s.SyncOptions.IsTrue(v1alpha1.SyncOptionForce)
	if st := s.SyncStrategy; st != nil {
		op.force = op.force || st.Apply != nil && st.Apply.Force || st.Hook != nil && st.Hook.Force
	}
}

func (op *operation) kind() string {
	switch {
	case op.scope == decide.Heal:
		return "self-heal"
	case op.scope == decide.Remove:
		return "deletion"
	case op.automated:
		return "automated sync"
	}
	return "sync"
}

// resumeOperation takes up an operation that another process had begun.
func resumeOperation(s *v1alpha1.OperationState) *operation {
	op := &operation{
		id: infoValue(s.Operation.Info, infoID), scope: decide.Scope(infoValue(s.Operation.Info, infoScope)),
		desired: infoValue(s.Operation.Info, infoDesired), started: s.StartedAt.Time, retry: s.RetryCount,
		made: map[plan.Address]bool{}, failed: map[taskKey]string{}, recorded: true,
		resumed: true,
	}
	op.take(&s.Operation)
	op.plan = infoValue(s.Operation.Info, infoPlan)
	op.reported = op.scope == decide.Heal && op.plan != ""
	op.asked = infoValue(s.Operation.Info, infoAwaits)
	op.awaits = op.asked != ""
	if s.SyncResult != nil {
		op.results = slices.Clone(s.SyncResult.Resources)
	}
	if op.scope == "" {
		op.scope = decide.Full
	}
	return op
}

func infoValue(info []v1alpha1.Info, name string) string {
	for _, i := range info {
		if i.Name == name {
			return i.Value
		}
	}
	return ""
}

func short(s string) string { return s[:min(8, len(s))] }

// end ends the operation.
func (p *pass) end(op *operation, ok bool, why string) {
	now := p.e.Clock.Now()
	message := why
	if message == "" {
		message = op.outcome(ok)
	}
	p.st.running = nil
	if op.scope == decide.Heal {
		p.countHeal(now)
		p.st.healProblem = ""
		if !ok {
			p.st.healProblem = message
		}
	} else if !op.dryRun {
		last := &lastSync{
			desired: op.desired, failed: !ok, message: message, at: now,
			whole: op.scope == decide.Full && len(op.request.Sync.Resources) == 0 && len(op.results) > 0,
		}
		if !ok {
			last.failures = int(op.retry) + 1
		}
		p.st.last = last
	}
	p.st.ended = &endedOperation{op: op, ok: ok, message: message, at: now, health: string(p.appHealth())}
	p.noteEnd(op, ok, message)
	phase := v1alpha1.OperationSucceeded
	if !ok {
		phase = v1alpha1.OperationFailed
	}
	p.event(!ok, "OperationCompleted", fmt.Sprintf("%s: %s (%s)", op.kind(), message, orDefault(op.why, "continued")))
	p.e.Observer.Synced(p.key, string(phase), now.Sub(op.started))
}

// countHeal counts heals that follow each other closely.
func (p *pass) countHeal(now time.Time) {
	const closely = time.Minute
	if now.Sub(p.st.healedAt) > closely+policyOf(p.app.Spec.SyncPolicy).Retry.Delay(max(1, p.st.heals-4)) {
		p.st.heals = 0
	}
	p.st.heals++
	p.st.healedAt = now
}

// outcome is the message of an ended operation.
func (op *operation) outcome(ok bool) string {
	if ok {
		if op.dryRun {
			return "successfully synced (dry run)"
		}
		return "successfully synced (all tasks run)"
	}
	var why []string
	for _, r := range op.results {
		if r.Status == v1alpha1.ResultCodeSyncFailed || r.HookPhase == v1alpha1.OperationFailed {
			why = append(why, fmt.Sprintf("%s %s: %s", r.Kind, r.Name, r.Message))
		}
	}
	slices.Sort(why)
	const most = 5
	if len(why) > most {
		why = append(why[:most], fmt.Sprintf("and %d more", len(why)-most))
	}
	if len(why) == 0 {
		return "one or more synchronization tasks completed unsuccessfully"
	}
	return "one or more objects failed to apply: " + strings.Join(why, "; ")
}

// supersede ends an operation whose aim is no longer what is declared.
func (p *pass) supersede(why string) {
	p.end(p.st.running, false, why)
	p.st.ended.overtaken = true
	p.noteOvertaken()
	p.st.last = nil // what comes next is not its repetition
}

// endedOperation is what the finaliser still has to write of an operation that
// has ended.
type endedOperation struct {
	op      *operation
	ok      bool
	errored bool // refused before it began
	// overtaken is set where something else is to be done in its place.
	overtaken bool
	message   string
	at        time.Time
	// health that the Application had then.
	health string
}

// OperationID is how the ledger knows an operation that is in a status.
func OperationID(s *v1alpha1.OperationState) string {
	return infoValue(s.Operation.Info, infoID)
}

func (op *operation) state(phase v1alpha1.OperationPhase, message string) *v1alpha1.OperationState {
	s := &v1alpha1.OperationState{
		Operation: op.request, Phase: phase, Message: message, StartedAt: metav1.NewTime(op.started.Truncate(time.Second)), RetryCount: op.retry,
		SyncResult: &v1alpha1.SyncOperationResult{Resources: slices.Clone(op.results)},
	}
	slices.SortFunc(s.SyncResult.Resources, func(a, b v1alpha1.ResourceResult) int {
		return strings.Compare(string(a.SyncPhase)+"/"+a.Group+"/"+a.Kind+"/"+a.Namespace+"/"+a.Name,
			string(b.SyncPhase)+"/"+b.Group+"/"+b.Kind+"/"+b.Namespace+"/"+b.Name)
	})
	return s
}
