package cli

import (
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestApprovalText(t *testing.T) {
	no := false
	always := &v1alpha1.ApprovalPolicy{MinApprovals: 2, Approvers: []v1alpha1.Approver{{Group: "leads"}, {User: "ann"}}, ValidFor: "8h"}
	for name, c := range map[string]struct {
		reason       string
		own, project *v1alpha1.ApprovalPolicy
		want, policy string
	}{
		"none":    {"nobody asks", nil, nil, "", "manual: synced when asked (plumb sync web)"},
		"own":     {"the Application asks", always, nil, "every change: 2 approvals of group leads, ann, not by who made the change, good for 8h0m0s", "synced when a plan is approved (plumb plans web)"},
		"project": {"the project asks", nil, always, "every change: 2 approvals of group leads, ann, not by who made the change, good for 8h0m0s (project shop asks for it)", "synced when a plan is approved (plumb plans web)"},
		"both": {
			"they ask for all that both do", &v1alpha1.ApprovalPolicy{When: v1alpha1.ApproveDestructive}, &v1alpha1.ApprovalPolicy{When: v1alpha1.ApproveDestructive, NotAuthor: &no, MinApprovals: 3},
			"what deletes or replaces something: 3 approvals, not by who made the change, good for 24h0m0s (the Application and project shop ask for it)", "manual: synced when asked (plumb sync web)",
		},
		"off": {"it is turned off", &v1alpha1.ApprovalPolicy{Required: &no}, &v1alpha1.ApprovalPolicy{Required: &no}, "", "manual: synced when asked (plumb sync web)"},
	} {
		var a application
		a.key.Name, a.Spec.Project = "web", "shop"
		a.Spec.SyncPolicy = &v1alpha1.SyncPolicy{Approval: c.own}
		if got := approvalText(a, c.project); got != c.want {
			t.Errorf("%s: %s: got %q, want %q", name, c.reason, got, c.want)
		}
		if got := policyText(a, c.project); got != c.policy {
			t.Errorf("%s: %s: got %q, want %q", name, c.reason, got, c.policy)
		}
	}
}
