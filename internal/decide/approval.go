package decide

import (
	"fmt"
	"time"
)

// When says which changes need to be approved.
type When string

// The closed set of answers. Empty is Never.
const (
	Always      When = "always"
	Destructive When = "destructive"
	Drift       When = "drift"
	Never       When = "never"
)

// Standing is how a plan stands with those who must approve it.
type Standing string

// The closed set of standings.
const (
	// Unasked: there is no plan yet that anybody could approve.
	Unasked Standing = ""
	// Asked: not enough people have approved.
	Asked Standing = "asked"
	// Approved: it may be begun.
	Approved Standing = "approved"
	// Rejected: it must not be begun.
	Rejected Standing = "rejected"
)

// Approval is what is known of the approval of what would be begun.
type Approval struct {
	When When
	// Steps is how many changes would be made, Destroys how many of these delete or
	// replace something.
	Steps, Destroys int
	// Plan is the name of the plan that people are asked about, with the name of its
	// Application, for messages.
	Plan string
	Standing
	// Have of Need approvals are there.
	Have, Need int
	// By is who rejected it, Because why, as far as they say.
	By, Because string
	// NotMerged is why no pull request was taken for an approval, where the policy
	// would have one.
	NotMerged string
}

// Await asks people for their approval, and waits for it.
type Await struct {
	For string
	// Rejected is set where somebody has said no: there is no use in waiting before
	// something changes.
	Rejected bool
	// Start is what begins once it is approved.
	Start Start
}

// Reason in a user's words.
func (d Await) Reason() string { return d.For }
func (Await) decision()        {}

// needs tells whether what would be begun has to be approved.
func (a Approval) needs(s Start) bool {
	switch {
	case a.Steps == 0:
		return false // nothing would be changed
	case s.OnApproval:
		return true
	}
	switch a.When {
	case Always:
		return true
	case Destructive:
		return a.Destroys > 0
	case Drift:
		return s.Scope == Heal
	default:
		return false
	}
}

// Approve holds back what must be approved first: it gives the start itself, or
// what is waited for instead.
func Approve(s Start, a Approval) Decision {
	if !a.needs(s) {
		if s.OnApproval {
			return Idle{s.Otherwise}
		}
		return s
	}
	switch a.Standing {
	case Approved:
		return s
	case Rejected:
		why := fmt.Sprintf("plan %s was rejected by %s", a.Plan, a.By)
		if a.Because != "" {
			why += ": " + a.Because
		}
		return Await{For: why + "; it waits for a change of what it would do", Rejected: true, Start: s}
	default:
		why := waitsFor(a)
		if a.NotMerged != "" {
			why += " (no pull request was taken for it: " + a.NotMerged + ")"
		}
		return Await{For: why, Start: s}
	}
}

func waitsFor(a Approval) string {
	plan := "the plan"
	if a.Plan != "" {
		plan = "plan " + a.Plan
	}
	how := ""
	if a.Plan != "" {
		how = ": plumb approve " + a.Plan
	}
	switch {
	case a.Need <= 1:
		return plan + " waits for approval" + how
	case a.Have == 0:
		return fmt.Sprintf("%s waits for %d approvals%s", plan, a.Need, how)
	}
	return fmt.Sprintf("%s waits for %d of %d approvals%s", plan, a.Need-a.Have, a.Need, how)
}

// propose makes of a decision to do nothing a plan that people may approve, where
// there is something that they could want to be done.
func propose(f Facts, d Decision) Decision {
	idle, is := d.(Idle)
	if !is || !f.Proposes {
		return d
	}
	reported := f.Pending.DriftReport > 0 && (!f.Whole || f.Pending.Declared+f.Pending.Extra == 0)
	switch {
	case f.Approve == Always && !f.Policy.Automated && f.Pending.Declared+f.Pending.Extra+f.Pending.DriftDefault > 0:
		// Whoever looks at the plan sees what it deletes.
		return again(f, Start{Scope: Full, Prune: true, OnApproval: true, Otherwise: idle.Why, Why: "approved"})
	case reported:
		return Start{Scope: Heal, Reported: true, OnApproval: true, Otherwise: idle.Why, Why: "the drift is to be put right, as was approved"}
	}
	return d
}

// again lets a start that failed wait before it is tried again.
func again(f Facts, s Start) Decision {
	if f.Last == nil || !f.Last.Failed || f.Last.Desired != f.Desired {
		return s
	}
	n := max(1, f.Last.Failures)
	if l := f.Policy.Retry.Limit; l >= 0 && n > l {
		return Idle{fmt.Sprintf("sync failed %d times, the retry limit; it waits for a new revision or `plumb sync`", n)}
	}
	if at := f.Last.At.Add(f.Policy.Retry.Delay(n)); f.Now.Before(at) {
		return BackOff{at, fmt.Sprintf("sync failed, retry %d", n)}
	}
	return s
}

// Valid tells whether an approval that was given at a time still holds, and when
// it ends.
func Valid(at, now time.Time, validFor time.Duration) (bool, time.Time) {
	until := at.Add(validFor)
	return now.Before(until), until
}
