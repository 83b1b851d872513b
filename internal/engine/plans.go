package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// settlePlans tells of each plan what has become of it. It tells whether all is
// written.
func (p *pass) settlePlans(ctx context.Context) bool {
	if p.e.Plans == nil {
		return true
	}
	ok := true
	for _, c := range p.e.Plans.Of(p.key) {
		if c.Spec.Application.UID != p.app.UID || !c.Status.Phase.Open() {
			continue
		}
		next, actor := p.becomeOf(c)
		if sameStatus(c.Status, next) {
			continue
		}
		if told := tellsOf(next); p.st.toldPlans[c.UID] != told { // what could not be written is tried again
			if !p.append(ctx, p.planRecords(c, next, actor)...) {
				return false
			}
			if p.st.toldPlans == nil {
				p.st.toldPlans = map[types.UID]string{}
			}
			p.st.toldPlans[c.UID] = told
		}
		next.Conditions = waitingCondition(c.Status.Conditions, next, p.e.Clock.Now())
		if err := p.e.Plans.WriteStatus(ctx, c, next); err != nil {
			p.e.Log.Warn("plan's status not written", "application", p.key.String(), "plan", c.Name, "error", err)
			p.e.queue.addAfter(p.key, time.Second)
			ok = false
			continue
		}
		delete(p.st.toldPlans, c.UID)
		p.tellPlan(c, next)
	}
	return ok
}

// becomeOf says what has become of a plan, and who has brought it about.
func (p *pass) becomeOf(c *v1alpha1.Plan) (v1alpha1.PlanStatus, string) {
	next := *c.Status.DeepCopy()
	if run := p.st.running; run != nil && run.plan == c.Name {
		next.Phase, next.Message = v1alpha1.PlanApplying, "operation "+run.id
		return next, ""
	}
	if e := p.st.ended; e != nil && e.op.plan == c.Name {
		return ended(next, e.ok, e.overtaken, e.message), ""
	}
	s := p.app.Status.OperationState
	if s != nil && s.Phase.Completed() && infoValue(s.Operation.Info, infoPlan) == c.Name && c.Status.Phase != v1alpha1.PlanFailed {
		overtaken := strings.HasPrefix(s.Message, "stopped before ") || strings.HasPrefix(s.Message, "superseded ")
		return ended(next, s.Phase == v1alpha1.OperationSucceeded, overtaken, s.Message), ""
	}
	v := p.heard(c)
	if pr := p.proposal; pr != nil && pr.plan != nil && pr.plan.Name == c.Name {
		p.takeMerge(pr, c.Spec.Authors, &v)
		return judged(next, v, c, pr.notMerged)
	}
	if v.standing == decide.Rejected {
		return judged(next, v, c, "")
	}
	if !p.compared || p.unavailable != "" || p.refused != "" || p.st.comparison.Busy || p.st.running != nil && !p.st.running.awaits {
		return next, "" // it will be known later
	}
	return p.leftOf(c, next, v)
}

// leftOf says what has become of a plan that is not what would be begun now.
func (p *pass) leftOf(c *v1alpha1.Plan, next v1alpha1.PlanStatus, v verdict) (v1alpha1.PlanStatus, string) {
	switch {
	case v.expired && c.Status.Phase != v1alpha1.PlanPending:
		next.Phase, next.Message = v1alpha1.PlanExpired, "approved, and not begun before the approvals expired"
	case c.Status.Phase == v1alpha1.PlanFailed: // it may be tried again
	case c.Spec.RequestedBy != "" && (p.st.running == nil || p.st.running.asked != c.Name):
		next.Phase, next.Message = v1alpha1.PlanStale, "nobody asks for it any more"
	case c.Spec.Scope == string(decide.Remove) != p.deleting() || !p.holds(c):
		next.Phase, next.Message = v1alpha1.PlanStale, "overtaken: what it would do is no longer what there is to do"
	default:
		return judged(next, v, c, "")
	}
	return next, ""
}

// holds tells whether what there is to do is still what people were asked about.
func (p *pass) holds(c *v1alpha1.Plan) bool {
	start := decide.Start{Scope: decide.Scope(c.Spec.Scope), Prune: c.Spec.Prune}
	for _, start.Reported = range []bool{false, true} {
		if p.propose(start, p.automatedDraft(start)).within(c, p.desiredHash()) {
			return true
		}
	}
	return false
}

func ended(s v1alpha1.PlanStatus, ok, overtaken bool, message string) v1alpha1.PlanStatus {
	s.Phase, s.Message = v1alpha1.PlanFailed, message
	switch {
	case ok:
		s.Phase = v1alpha1.PlanApplied
	case overtaken:
		s.Phase = v1alpha1.PlanStale
	}
	return s
}

// judged is the status of a plan by what people say of it.
func judged(s v1alpha1.PlanStatus, v verdict, c *v1alpha1.Plan, notMerged string) (v1alpha1.PlanStatus, string) {
	s.Approvals, s.PullRequests = v.said, v.pulls
	s.Progress = fmt.Sprintf("%d/%d", v.have, c.Spec.Approval.Min)
	actor := ""
	if n := len(v.said); n > 0 {
		actor = v.said[n-1].User
	}
	switch v.standing {
	case decide.Rejected:
		s.Phase, s.Message, actor = v1alpha1.PlanRejected, "rejected by "+v.by, v.by
		if v.because != "" {
			s.Message += ": " + v.because
		}
	case decide.Approved:
		if c.Status.Phase != v1alpha1.PlanFailed && c.Status.Phase != v1alpha1.PlanApplying {
			s.Phase, s.Message = v1alpha1.PlanApproved, ""
			if len(v.pulls) > 0 {
				s.Message = byPulls(v.pulls)
			}
		}
	default:
		s.Phase = v1alpha1.PlanPending
		s.Message = decide.Approve(decide.Start{OnApproval: true}, decide.Approval{
			Steps: 1, Plan: c.Name, Standing: v.standing, Have: v.have, Need: int(c.Spec.Approval.Min), NotMerged: notMerged,
		}).Reason() + v.doubt
	}
	return s, actor
}

func sameStatus(a, b v1alpha1.PlanStatus) bool {
	return a.Phase == b.Phase && a.Message == b.Message && a.Progress == b.Progress &&
		slices.EqualFunc(a.Approvals, b.Approvals, func(x, y v1alpha1.PlanApprovalRecord) bool { return x.Name == y.Name && x.User == y.User })
}

// tellsOf identifies what the ledger keeps of a plan's status.
func tellsOf(s v1alpha1.PlanStatus) string {
	var text strings.Builder
	text.WriteString(string(s.Phase))
	for _, a := range s.Approvals {
		fmt.Fprintf(&text, " %q %q", a.Name, a.User)
	}
	return text.String()
}

// planRecords are what the ledger keeps of a change of a plan's status.
func (p *pass) planRecords(c *v1alpha1.Plan, next v1alpha1.PlanStatus, actor string) []Record {
	kind := map[v1alpha1.PlanPhase]RecordKind{
		v1alpha1.PlanApproved: RecordPlanApproved, v1alpha1.PlanRejected: RecordPlanRejected,
		v1alpha1.PlanStale: RecordPlanStale, v1alpha1.PlanExpired: RecordPlanExpired,
	}[next.Phase]
	given := voices(c, next)
	if kind == "" || c.Status.Phase == next.Phase {
		return given
	}
	r := Record{Kind: kind, Actor: actor, Digest: c.Spec.Digest, Plan: c.Name, Message: next.Message}
	if kind == RecordPlanApproved {
		var who []string
		for _, a := range next.Approvals {
			who = append(who, a.User)
		}
		r.Message = "approved by " + names(who)
		if len(next.PullRequests) > 0 {
			r.Message = byPulls(next.PullRequests)
		}
	}
	given = r.decided(next.Approvals, given)
	return append(given, r)
}

func (p *pass) tellPlan(c *v1alpha1.Plan, next v1alpha1.PlanStatus) {
	if c.Status.Phase == next.Phase {
		return
	}
	switch next.Phase {
	case v1alpha1.PlanApproved, v1alpha1.PlanExpired, v1alpha1.PlanStale:
		p.event(false, "Plan"+string(next.Phase), strings.TrimSuffix("plan "+c.Name+": "+next.Message, ": "))
	case v1alpha1.PlanRejected:
		p.event(true, "PlanRejected", "plan "+c.Name+" was "+next.Message)
	default:
	}
}

// waitingCondition says whether a plan waits for people.
func waitingCondition(before []metav1.Condition, s v1alpha1.PlanStatus, now time.Time) []metav1.Condition {
	c := metav1.Condition{Type: "Waiting", Status: metav1.ConditionFalse, Reason: string(s.Phase), Message: s.Message}
	if s.Phase == v1alpha1.PlanPending {
		c.Status = metav1.ConditionTrue
	}
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	for _, b := range before {
		if b.Type == c.Type && b.Status == c.Status {
			c.LastTransitionTime = b.LastTransitionTime
		}
	}
	return []metav1.Condition{c}
}

// approvalConditions say what people are asked.
func (p *pass) approvalConditions(add func(v1alpha1.ApplicationConditionType, string)) {
	if a, ok := p.decision.(decide.Await); ok {
		kind := v1alpha1.ConditionWaitingForApproval
		if a.Rejected {
			kind = v1alpha1.ConditionPlanRejected
		}
		add(kind, a.For)
	}
	if p.unproposed != "" {
		add(v1alpha1.ConditionComparisonError, p.unproposed)
	}
	if p.st.unrecorded != "" {
		add(v1alpha1.ConditionLedgerUnavailable, p.st.unrecorded)
	}
}

// proposed names the plan that people are asked about.
func (p *pass) proposed(s *v1alpha1.ApplicationStatus) {
	a, waits := p.decision.(decide.Await)
	if pr := p.proposal; waits && !a.Rejected && pr != nil && pr.plan != nil && s.Plan != nil {
		s.Plan.Name = pr.plan.Name
	}
}
