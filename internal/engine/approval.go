package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/plan"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Plans is where plans are kept that wait for people's approval, and what people
// say of them. Objects that it hands out are shared: they must not be changed.
type Plans interface {
	// Of gives the plans of an Application, the newest first, never older than what
	// Propose and WriteStatus last did.
	Of(key Key) []*v1alpha1.Plan
	// Approvals gives what people have said of a plan.
	Approvals(plan *v1alpha1.Plan) []*v1alpha1.Approval
	// Propose makes a plan of an Application. text shows what it changes; the plan
	// holds the beginning of it.
	Propose(ctx context.Context, app *v1alpha1.Application, key Key, plan *v1alpha1.Plan, text string) (*v1alpha1.Plan, error)
	// WriteStatus makes a plan's status the given one.
	WriteStatus(ctx context.Context, plan *v1alpha1.Plan, status v1alpha1.PlanStatus) error
	// Doubt says why an approval does not count although it is there, because nobody
	// has made sure whose it is; empty where it counts.
	Doubt(approval *v1alpha1.Approval) string
}

// The names under which an operation keeps which plan it makes true, and that it
// must not begin without one.
const (
	infoPlan   = "plumb.dev/plan"
	infoAwaits = "plumb.dev/awaits-approval"
)

// proposal is a sync as it would be begun now, and how it stands with those who
// must approve it.
type proposal struct {
	start decide.Start
	op    *operation
	steps []plan.Step
	// marks identify the steps, digest all of what is to be approved.
	marks  []string
	digest string
	policy v1alpha1.PlanApproval
	// plan is the one that people are asked about, or nil. verdict is what they say.
	plan    *v1alpha1.Plan
	verdict verdict
	// notMerged is why no pull request was taken for an approval, where the policy
	// would have one.
	notMerged string
}

// verdict is what people say of a plan.
type verdict struct {
	standing decide.Standing
	said     []v1alpha1.PlanApprovalRecord
	have     int
	// by and because tell of the rejection.
	by, because string
	// until is when the first approval that counts ends, expired is set where those
	// that have ended would have been enough.
	until   time.Time
	expired bool
	// doubt is about approvals that do not count, because nobody has made sure whose
	// they are.
	doubt string
	// pulls are the pull requests that were taken for the approval, recorded is set
	// where that was so before.
	pulls    []v1alpha1.PlanPullRequest
	recorded bool
}

// approvers is who must approve: by the Application's policy, and by its project's.
func (e *Engine) approvers(app *v1alpha1.Application, key Key) *v1alpha1.ApprovalPolicy {
	var own *v1alpha1.ApprovalPolicy
	if app.Spec.SyncPolicy != nil {
		own = app.Spec.SyncPolicy.Approval
	}
	if e.Gates == nil {
		return own
	}
	return own.AtLeast(e.Gates.Approval(app, key))
}

func (p *pass) approvers() *v1alpha1.ApprovalPolicy { return p.e.approvers(p.app, p.key) }

func (p *pass) when() decide.When { return decide.When(p.approvers().GetWhen()) }

func (p *pass) approvalPolicy() v1alpha1.PlanApproval { return p.approvers().Snapshot() }

// withApproval holds back what people must approve first, and have not.
func (p *pass) withApproval(d decide.Decision) decide.Decision {
	p.proposal = nil
	if p.overridden() {
		return d
	}
	switch d := d.(type) {
	case decide.Start:
		if !d.OnApproval && p.when() == decide.Never || !p.compared {
			return d
		}
		op := p.draft(d)
		if op.dryRun || p.requested() && d.Scope == decide.Full && unheardOf(p.app) != "" {
			return d
		}
		return p.permitted(d, op)
	case decide.Continue:
		op := p.st.running
		if op == nil || !op.awaits || !p.compared {
			return d
		}
		next := p.permitted(decide.Start{Scope: op.scope, Prune: op.prune, Why: op.why}, op)
		if _, begins := next.(decide.Start); !begins {
			return next
		}
	}
	return d
}

// permitted tells whether an operation may be begun, or what it waits for.
func (p *pass) permitted(s decide.Start, op *operation) decide.Decision {
	pr := p.propose(s, op)
	if pr.plan != nil {
		p.takeMerge(pr, pr.plan.Spec.Authors, &pr.verdict)
	}
	p.proposal = pr
	a := p.standing(pr)
	d := decide.Approve(s, a)
	w, waits := d.(decide.Await)
	switch {
	case waits && p.e.Plans == nil:
		return decide.Idle{Why: "it needs approval, and nobody can give it: the API server does not check who approves (Plumb's log says why)"}
	case waits && !w.Rejected && pr.verdict.doubt != "":
		w.For += pr.verdict.doubt
		return w
	}
	return d
}

// standing puts a proposal in the words of decisions.
func (p *pass) standing(pr *proposal) decide.Approval {
	a := decide.Approval{When: p.when(), Steps: len(pr.marks), Need: int(pr.policy.Min)}
	for _, s := range pr.steps {
		// By force, what can't be changed in place is deleted and made anew.
		if !s.Hook && (s.Change.Risk().Destroys || pr.op.force && s.Change.Action() == plan.ActionUpdate) {
			a.Destroys++
		}
	}
	if pr.plan != nil {
		v := pr.verdict
		a.Plan, a.Standing, a.Have, a.By, a.Because = pr.plan.Name, v.standing, v.have, v.by, v.because
		a.NotMerged = pr.notMerged
	}
	return a
}

// propose finds out what an operation would do if it began now, and whether people
// were asked about exactly that.
func (p *pass) propose(s decide.Start, op *operation) *proposal {
	pr := &proposal{start: s, op: op, policy: p.approvalPolicy()}
	tasks, steps := p.tasks(op)
	pr.steps = planned(tasks, steps)
	for _, s := range pr.steps {
		pr.marks = append(pr.marks, markOf(s))
	}
	pr.digest = p.digestOf(pr)
	if p.e.Plans == nil {
		return pr
	}
	for _, candidate := range p.e.Plans.Of(p.key) {
		if !p.mayMatch(candidate) || !pr.within(candidate, p.desiredHash()) {
			continue
		}
		v := p.heard(candidate)
		if v.expired && candidate.Status.Phase != v1alpha1.PlanPending {
			continue
		}
		pr.plan, pr.verdict = candidate, v
		return pr
	}
	return pr
}

// mayMatch tells whether a plan can still be begun, as far as the plan alone tells.
func (p *pass) mayMatch(c *v1alpha1.Plan) bool {
	if c.Spec.Application.UID != p.app.UID || !c.Status.Phase.Open() && c.Status.Phase != v1alpha1.PlanRejected {
		return false
	}
	if e := p.st.ended; e != nil && e.op.plan == c.Name && (e.ok || e.overtaken) {
		return false
	}
	op := p.app.Status.OperationState
	return op == nil || infoValue(op.Operation.Info, infoPlan) != c.Name || op.Phase != v1alpha1.OperationSucceeded
}

// within tells whether people were asked about all that the proposal would do: about
// exactly that, or, where it was begun under that plan, about more.
func (pr *proposal) within(c *v1alpha1.Plan, desired string) bool {
	if c.Spec.Digest == pr.digest {
		return true
	}
	begun := c.Status.Phase == v1alpha1.PlanFailed || c.Status.Phase == v1alpha1.PlanApplying
	if !begun || c.Spec.Desired != desired || c.Spec.Scope != string(pr.op.scope) || len(pr.marks) == 0 ||
		!equality.Semantic.DeepEqual(c.Spec.Approval, pr.policy) || pr.op.force || pr.op.replace {
		return false
	}
	allowed := setOf(c.Spec.Steps)
	return !slices.ContainsFunc(pr.marks, func(m string) bool { return !allowed[m] })
}

func setOf(all []string) map[string]bool {
	set := make(map[string]bool, len(all))
	for _, s := range all {
		set[s] = true
	}
	return set
}

// heard counts what people have said of a plan.
func (p *pass) heard(c *v1alpha1.Plan) verdict {
	now, a := p.e.Clock.Now(), &c.Spec.Approval
	v := verdict{standing: decide.Asked}
	all := slices.Clone(p.e.Plans.Approvals(c))
	slices.SortStableFunc(all, func(a, b *v1alpha1.Approval) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	users, ended := map[string]bool{}, map[string]bool{}
	for _, said := range all {
		if !about(said, c) {
			continue
		}
		record := v1alpha1.PlanApprovalRecord{
			Name: said.Name, Decision: said.Spec.Decision, User: said.Spec.User, Groups: said.Spec.Groups,
			At: said.CreationTimestamp, Reason: said.Spec.Reason,
		}
		if v.standing == decide.Rejected {
			break // nothing that is said afterwards counts
		}
		if said.Spec.Decision == v1alpha1.DecisionReject {
			v.said = append(v.said, record)
			v.standing, v.by, v.because = decide.Rejected, said.Spec.User, said.Spec.Reason
			continue
		}
		if doubt := p.e.Plans.Doubt(said); doubt != "" {
			v.doubt = fmt.Sprintf("; the approval %s in the name of %s does not count: %s", said.Name, said.Spec.User, doubt)
			continue
		}
		if users[said.Spec.User] || !a.Admits(said.Spec.User, said.Spec.Groups) || a.NotAuthor && isAuthor(said.Spec.User, c.Spec.Authors) {
			continue
		}
		valid, until := decide.Valid(said.CreationTimestamp.Time, now, a.Validity())
		if !valid {
			ended[said.Spec.User] = true
			continue
		}
		users[said.Spec.User] = true
		v.said = append(v.said, record)
		if v.until.IsZero() || until.Before(v.until) {
			v.until = until
		}
	}
	v.have = len(users)
	enough := v.have >= int(a.Min)
	for u := range users {
		delete(ended, u)
	}
	v.expired = !enough && v.have+len(ended) >= int(a.Min)
	if c.Status.Phase == v1alpha1.PlanRejected && v.standing != decide.Rejected {
		v.standing, v.by = decide.Rejected, rejectedBy(c)
	}
	switch {
	case v.standing != decide.Asked:
	case enough:
		v.standing = decide.Approved
	default:
		p.recall(&v, c, now)
	}
	return v
}

// about tells whether an approval is about a plan: about the very one, as it is.
func about(a *v1alpha1.Approval, c *v1alpha1.Plan) bool {
	return a.Namespace == c.Namespace && a.Spec.Plan == c.Name && a.Spec.Digest == c.Spec.Digest &&
		a.Spec.Application.Group == c.Spec.Application.Group && a.Spec.Application.Name == c.Spec.Application.Name &&
		!a.CreationTimestamp.Time.Before(c.CreationTimestamp.Time)
}

func rejectedBy(c *v1alpha1.Plan) string {
	for _, r := range c.Status.Approvals {
		if r.Decision == v1alpha1.DecisionReject {
			return r.User
		}
	}
	return "somebody"
}

// bind has an operation do what the plan allows that was approved, and no more.
func (p *pass) bind(op *operation) {
	pr := p.proposal
	if pr == nil || pr.plan == nil || pr.verdict.standing != decide.Approved {
		return
	}
	op.approvers = approversOf(pr.verdict.said)
	op.plan, op.allowed, op.valid = pr.plan.Name, setOf(pr.plan.Spec.Steps), pr.plan.Spec.Approval.Validity()
	op.request.Info = append(slices.DeleteFunc(op.request.Info, func(i v1alpha1.Info) bool {
		return i.Name == infoPlan || i.Name == infoAwaits
	}), v1alpha1.Info{Name: infoPlan, Value: op.plan})
}

// permit begins an operation that has waited for approval, and has it now.
func (p *pass) permit(ctx context.Context) bool {
	op := p.st.running
	if !op.awaits || !p.compared {
		return !op.awaits
	}
	if !p.settlePlans(ctx) {
		return false
	}
	op.awaits = false
	if t := p.st.trial; t != nil {
		t.since = p.e.Clock.Now() // what waits for people is not late
	}
	p.bind(op)
	return true
}

// rebind finds the plan of an operation that another process had begun. One that
// nobody has approved lets nothing be done, whatever the operation says.
func (p *pass) rebind() {
	op := p.st.running
	if op == nil || op.plan == "" || op.allowed != nil || p.e.Plans == nil {
		return
	}
	op.allowed = map[string]bool{}
	for _, c := range p.e.Plans.Of(p.key) {
		if c.Name == op.plan && c.Spec.Application.UID == p.app.UID && wasApproved(c.Status.Phase) {
			op.allowed, op.valid = setOf(c.Spec.Steps), c.Spec.Approval.Validity()
			op.approvers = approversOf(c.Status.Approvals)
		}
	}
}

// wasApproved tells whether a plan in this phase was approved, and is not done with.
func wasApproved(phase v1alpha1.PlanPhase) bool {
	return phase == v1alpha1.PlanApproved || phase == v1alpha1.PlanApplying || phase == v1alpha1.PlanFailed
}

// unapproved says what of the steps nobody has approved, or nothing.
func (p *pass) unapproved(op *operation, steps []plan.Step) string {
	switch {
	case op.dryRun:
		return ""
	case !p.overrides(op.request.Info):
	case op.desired == p.desiredHash():
		return ""
	default: // who let it through has not seen what has come since
		return fmt.Sprintf("stopped before %s of %s: what is declared has changed since somebody asked to override; ask again", steps[0].Change.Action(), steps[0].Address())
	}
	if op.allowed != nil {
		for _, s := range steps {
			if !op.allowed[markOf(s)] {
				return fmt.Sprintf("stopped before %s of %s: that is not what was approved in plan %s; what there is to do is asked anew", s.Change.Action(), s.Address(), op.plan)
			}
		}
		return ""
	}
	if p.when() == decide.Never {
		return ""
	}
	pr := &proposal{start: decide.Start{Scope: op.scope}, op: op, steps: steps, policy: p.approvalPolicy()}
	for _, s := range steps {
		pr.marks = append(pr.marks, markOf(s))
	}
	if _, waits := decide.Approve(pr.start, p.standing(pr)).(decide.Await); waits {
		return fmt.Sprintf("stopped before %s of %s: that needs approval", steps[0].Change.Action(), steps[0].Address())
	}
	return ""
}

// overtake ends an operation that would do what nobody has approved.
func (p *pass) overtake(why string) bool {
	if len(p.st.running.applying) > 0 {
		return false // its end will be noticed
	}
	p.supersede(why)
	return true
}

// await asks people, and tells who has asked for a sync that it waits.
func (p *pass) await(ctx context.Context, d decide.Await) bool {
	pr, op := p.proposal, p.st.running
	asked := op == nil && p.requested() && d.Start.Scope == decide.Full
	switch {
	case d.Rejected && op != nil:
		p.supersede(d.For)
		return true
	case d.Rejected && asked:
		p.refuseRequest(d.For)
		return true
	case op != nil && op.asked != "" && (pr.plan == nil || pr.plan.Name != op.asked):
		p.supersede(fmt.Sprintf("plan %s is stale: what there is to do has changed since; ask for the sync again", op.asked))
		return true
	}
	if !d.Rejected && pr.plan == nil {
		if at := p.askAgain(); p.e.Clock.Now().Before(at) && !p.requested() && op == nil {
			p.unproposed = "what there is to do keeps changing: people are asked again once it has not for a while"
			p.e.queue.addAfter(p.key, at.Sub(p.e.Clock.Now()))
			return false
		}
		if err := p.ask(ctx, pr); err != nil {
			p.unproposed = "the plan that needs approval can't be made: " + err.Error()
			p.e.Log.Warn("plan not made", "application", p.key.String(), "error", err)
			p.e.queue.addAfter(p.key, proposePause)
			return false
		}
		if pr.verdict.standing == decide.Approved {
			return true // by the pull request that it has come by
		}
		d.For = decide.Approve(d.Start, p.standing(pr)).Reason()
		p.decision = d
	}
	if u := pr.verdict.until; !u.IsZero() {
		p.e.queue.addAfter(p.key, u.Sub(p.e.Clock.Now()))
	}
	if asked {
		p.start(d.Start)
		op = p.st.running
		op.awaits = true
		op.request.Info = append(op.request.Info, v1alpha1.Info{Name: infoAwaits, Value: pr.plan.Name})
	}
	if op != nil && op.awaits {
		op.asked, op.wait = pr.plan.Name, "waiting for approval: "+d.For
	}
	if asked {
		p.acknowledge(ctx)
	}
	return false
}

// proposePause is how long until it is tried again to make a plan.
const proposePause = 5 * time.Second
