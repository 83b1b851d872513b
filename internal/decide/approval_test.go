package decide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestApprove(t *testing.T) {
	full, heal := Start{Scope: Full, Prune: true, Why: "w"}, Start{Scope: Heal, Why: "w"}
	reported := Start{Scope: Heal, Reported: true, OnApproval: true, Otherwise: "drifted", Why: "w"}
	for name, c := range map[string]struct {
		reason string
		start  Start
		given  Approval
		want   Decision
	}{
		"Never":       {"nobody is asked", full, Approval{When: Never, Steps: 1, Destroys: 1}, full},
		"Unset":       {"nothing is never", full, Approval{Steps: 1}, full},
		"Nothing":     {"nobody is asked about nothing", full, Approval{When: Always}, full},
		"Unasked":     {"there is no plan yet", full, Approval{When: Always, Steps: 1, Need: 1}, Await{For: "the plan waits for approval", Start: full}},
		"One":         {"one is enough", full, Approval{When: Always, Steps: 1, Plan: "p", Standing: Asked, Need: 1}, Await{For: "plan p waits for approval: plumb approve p", Start: full}},
		"Two":         {"two are asked", full, Approval{When: Always, Steps: 1, Plan: "p", Standing: Asked, Need: 2}, Await{For: "plan p waits for 2 approvals: plumb approve p", Start: full}},
		"OneOfTwo":    {"one is missing", full, Approval{When: Always, Steps: 1, Plan: "p", Standing: Asked, Have: 1, Need: 2}, Await{For: "plan p waits for 1 of 2 approvals: plumb approve p", Start: full}},
		"Approved":    {"it begins", full, Approval{When: Always, Steps: 1, Plan: "p", Standing: Approved, Have: 1, Need: 1}, full},
		"Rejected":    {"it does not, and says who said so", full, Approval{When: Always, Steps: 1, Plan: "p", Standing: Rejected, By: "ann", Because: "no"}, Await{For: "plan p was rejected by ann: no; it waits for a change of what it would do", Rejected: true, Start: full}},
		"Harmless":    {"what destroys nothing is not asked about", full, Approval{When: Destructive, Steps: 3}, full},
		"Destructive": {"what destroys something is", full, Approval{When: Destructive, Steps: 3, Destroys: 1, Need: 1}, Await{For: "the plan waits for approval", Start: full}},
		"DriftHeal":   {"a heal is asked about", heal, Approval{When: Drift, Steps: 1, Need: 1}, Await{For: "the plan waits for approval", Start: heal}},
		"DriftSync":   {"a sync is not", full, Approval{When: Drift, Steps: 1, Destroys: 1}, full},
		"Reported":    {"what begins only on approval waits without a policy", reported, Approval{When: Never, Steps: 1, Need: 1}, Await{For: "the plan waits for approval", Start: reported}},
		"Immovable":   {"and does nothing where nothing can be done", reported, Approval{}, Idle{"drifted"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Approve(c.start, c.given)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestPropose(t *testing.T) {
	now := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	propose := Start{Scope: Full, Prune: true, OnApproval: true, Otherwise: "out of sync; automated sync is off", Why: "approved"}
	report := Start{Scope: Heal, Reported: true, OnApproval: true, Why: "the drift is to be put right, as was approved"}
	report.Otherwise = "out of sync: live state has drifted, and a drift rule asks to report it only"
	manual := report
	manual.Otherwise = propose.Otherwise
	for name, c := range map[string]struct {
		reason string
		facts  Facts
		want   Decision
	}{
		"Manual":     {"what differs is proposed, though nothing is automated", Facts{Approve: Always, Proposes: true, Pending: Pending{Declared: 1}}, propose},
		"NoPlace":    {"not where there is no place for plans", Facts{Approve: Always, Pending: Pending{Declared: 1}}, Idle{"out of sync; automated sync is off"}},
		"OnDemand":   {"not where only the destructive is asked about", Facts{Approve: Destructive, Proposes: true, Pending: Pending{Declared: 1}}, Idle{"out of sync; automated sync is off"}},
		"InSync":     {"nothing is not proposed", Facts{Approve: Always, Proposes: true}, Idle{"in sync"}},
		"Failed":     {"what failed is not begun again at once", Facts{Now: now, Approve: Always, Proposes: true, Desired: "a", Pending: Pending{Declared: 1}, Policy: Policy{Retry: DefaultRetry}, Last: &Attempt{Desired: "a", Failed: true, Failures: 1, At: now}}, BackOff{now.Add(5 * time.Second), "sync failed, retry 1"}},
		"Report":     {"reported drift may be put right", Facts{Proposes: true, Policy: automated(), Pending: Pending{DriftReport: 1}}, report},
		"ReportOnly": {"also where nothing is automated", Facts{Proposes: true, Pending: Pending{DriftReport: 1}}, manual},
		"Whole":      {"of a whole, no part can be healed alone", Facts{Proposes: true, Whole: true, Pending: Pending{DriftReport: 1, Declared: 1}}, Idle{"out of sync; automated sync is off"}},
		"Waiting":    {"nobody is asked before its dependencies are there", Facts{Approve: Always, Proposes: true, Pending: Pending{Declared: 1}, Waiting: []string{"db"}}, Wait{"waiting for db"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Next(c.facts)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
