package engine

import (
	"fmt"
	"slices"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// voices are the records of those who have approved a plan since its status was
// written.
func voices(c *v1alpha1.Plan, next v1alpha1.PlanStatus) []Record {
	var out []Record
	have := 0
	for _, a := range next.Approvals {
		if a.Decision != v1alpha1.DecisionApprove {
			continue
		}
		have++
		known := slices.ContainsFunc(c.Status.Approvals, func(b v1alpha1.PlanApprovalRecord) bool { return b.Name == a.Name && b.User == a.User })
		if known {
			continue
		}
		out = append(out, Record{
			Kind: RecordApprovalGiven, Actor: a.User, Groups: a.Groups, Reason: a.Reason, Digest: c.Spec.Digest, Plan: c.Name,
			Message: fmt.Sprintf("approved: %d of %d", have, c.Spec.Approval.Min),
		})
	}
	return out
}

// decided says of who has decided about a plan what is known of them. A voice that has
// decided is not told of twice.
func (r *Record) decided(said []v1alpha1.PlanApprovalRecord, given []Record) []Record {
	for _, a := range said {
		if a.User == r.Actor {
			r.Groups, r.Reason = a.Groups, a.Reason
		}
	}
	if n := len(given); n > 0 && r.Kind == RecordPlanApproved && given[n-1].Actor == r.Actor {
		return given[:n-1]
	}
	return given
}

// approversOf are those whose approvals count.
func approversOf(said []v1alpha1.PlanApprovalRecord) []string {
	var who []string
	for _, a := range said {
		if a.Decision == v1alpha1.DecisionApprove {
			who = append(who, a.User)
		}
	}
	return who
}
