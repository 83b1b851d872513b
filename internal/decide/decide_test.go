package decide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)

func automated() Policy {
	return Policy{Automated: true, Prune: true, SelfHeal: true, Retry: DefaultRetry}
}

func TestNext(t *testing.T) {
	manual := Policy{Retry: DefaultRetry}
	noHeal := automated()
	noHeal.SelfHeal = false
	noPrune := automated()
	noPrune.Prune = false
	limited := automated()
	limited.Retry.Limit = 2
	cases := map[string]struct {
		reason string
		facts  Facts
		want   Decision
	}{
		"InSync":    {"nothing differs", Facts{Policy: automated()}, Idle{"in sync"}},
		"Paused":    {"an annotation asks to be left alone", Facts{Paused: true, Policy: automated(), Pending: Pending{Declared: 1}}, Idle{"reconciliation is paused by an annotation"}},
		"Refused":   {"an invalid spec is not acted upon", Facts{Refused: "no project", Policy: automated(), Pending: Pending{Declared: 1}}, Idle{"no project"}},
		"Sync":      {"a declared change is synced", Facts{Policy: automated(), Desired: "a", Pending: Pending{Declared: 1}}, Start{Scope: Full, Prune: true, Why: "what is declared has changed"}},
		"Manual":    {"without automated sync nothing starts by itself", Facts{Policy: manual, Pending: Pending{Declared: 1}}, Idle{"out of sync; automated sync is off"}},
		"Requested": {"a user's wish is followed without automated sync", Facts{Policy: manual, Requested: true}, Start{Scope: Full, Why: "requested"}},
		"Depends":   {"a sync waits for what it depends on", Facts{Policy: automated(), Waiting: []string{"db (Progressing)"}, Pending: Pending{Declared: 1}}, Wait{"waiting for db (Progressing)"}},
		"HealsAlone": {"a drift is healed even while a dependency ails", Facts{Policy: automated(), Waiting: []string{"db"}, Desired: "a", Last: &Attempt{Desired: "a"},
			Pending: Pending{DriftDefault: 1}}, Start{Scope: Heal, Why: "live state has drifted"}},
		"HealsBesideFailures": {"a drift is healed although what is declared can't be made", Facts{Now: now, Policy: automated(), Desired: "a",
			Last:    &Attempt{Desired: "a", Failed: true, Failures: 1, At: now.Add(-time.Hour)},
			Pending: Pending{DriftDefault: 1, Declared: 1}}, Start{Scope: Heal, Why: "live state has drifted"}},
		"WholeIsRetried": {"a sync that died halfway has made a drift of what it destroyed: only all of it can be made true", Facts{Now: now, Policy: automated(), Desired: "a", Whole: true,
			Last:    &Attempt{Desired: "a", Failed: true, Failures: 1, At: now.Add(-time.Hour)},
			Pending: Pending{DriftDefault: 1, Declared: 1}}, Start{Scope: Full, Prune: true, Why: "retry 1"}},
		"NoHeal":  {"without self-heal a drift is shown only", Facts{Policy: noHeal, Pending: Pending{DriftDefault: 1}}, Idle{"out of sync: live state has drifted, self-heal is off"}},
		"Rule":    {"a rule that says revert holds without self-heal", Facts{Policy: noHeal, Pending: Pending{DriftRevert: 1}}, Start{Scope: Heal, Why: "live state has drifted"}},
		"Report":  {"a rule that says report holds with self-heal", Facts{Policy: automated(), Pending: Pending{DriftReport: 1}}, Idle{"out of sync: live state has drifted, and a drift rule asks to report it only"}},
		"NoPrune": {"extra resources stay where pruning is off", Facts{Policy: noPrune, Pending: Pending{Extra: 1}}, Idle{"out of sync: pruning is off"}},
		"Empty": {"an empty source does not wipe out everything", Facts{Policy: automated(), Empty: true, Held: 3, Pending: Pending{Extra: 3}},
			Idle{"auto-sync would delete all 3 resources, because nothing is declared any more: set allowEmpty, or sync by hand with --prune"}},
		"Again": {"a failed sync is not tried again at once", Facts{Policy: automated(), Desired: "a", Pending: Pending{Declared: 1},
			Last: &Attempt{Desired: "a", Failed: true, Failures: 1, At: now}}, BackOff{now.Add(5 * time.Second), "sync failed, retry 1"}},
		"AgainLater": {"but later", Facts{Policy: automated(), Desired: "a", Pending: Pending{Declared: 1},
			Last: &Attempt{Desired: "a", Failed: true, Failures: 2, At: now.Add(-11 * time.Second)}}, Start{Scope: Full, Prune: true, Why: "retry 2"}},
		"NewDesired": {"a new revision is tried at once", Facts{Policy: automated(), Desired: "b", Pending: Pending{Declared: 1},
			Last: &Attempt{Desired: "a", Failed: true, Failures: 7, At: now}}, Start{Scope: Full, Prune: true, Why: "what is declared has changed"}},
		"Limit": {"the retry limit is kept", Facts{Policy: limited, Desired: "a", Pending: Pending{Declared: 1},
			Last: &Attempt{Desired: "a", Failed: true, Failures: 3, At: now.Add(-time.Hour)}}, Idle{"sync failed 3 times, the retry limit; it waits for a new revision or `plumb sync`"}},
		"Problem": {"what can't be applied is tried again, with delay", Facts{Policy: automated(), Desired: "a", Pending: Pending{Problems: 1},
			Last: &Attempt{Desired: "a", Failed: true, Failures: 1, At: now}}, BackOff{now.Add(5 * time.Second), "sync failed, retry 1"}},
		"Continue":  {"a running sync goes on", Facts{Running: &Run{Desired: "a", Automated: true}, Desired: "a"}, Continue{}},
		"Supersede": {"a newer revision does not wait for an older one's waves", Facts{Running: &Run{Desired: "a", Automated: true}, Desired: "b"}, Supersede{"superseded by a newer revision"}},
		"KeepsOn":   {"a sync that was asked for keeps its revision", Facts{Running: &Run{Desired: "a"}, Desired: "b"}, Continue{}},
		"GivesWay":  {"an automated sync gives way to one that is asked for", Facts{Running: &Run{Desired: "a", Automated: true}, Desired: "a", Requested: true}, Supersede{"superseded by a sync that was asked for"}},
		"Fight": {"healing against somebody else slows down", Facts{Policy: automated(), Pending: Pending{DriftDefault: 1}, Heals: 6, HealedAt: now},
			BackOff{now.Add(5 * time.Second), "live state has drifted again, 6 times in a row: something else writes the same fields"}},
		"HealFailed": {"a heal that failed is not tried again at once", Facts{Policy: automated(), Pending: Pending{DriftDefault: 1}, Heals: 1, HealedAt: now, HealProblem: "forbidden"},
			BackOff{now.Add(5 * time.Second), "self-heal failed: forbidden"}},
		"Unavailable":  {"what could not be looked at is looked at again", Facts{Unavailable: "no route to host", Policy: automated()}, BackOff{now.Add(5 * time.Second), "no route to host"}},
		"NoFinalizer":  {"without the finalizer the resources stay", Facts{Deleting: true, Held: 3}, Release{"its resources are left as they are"}},
		"Dependents":   {"a deletion waits for dependents", Facts{Deleting: true, Cascade: true, Dependents: []string{"web"}}, Wait{"deletion waits until web is gone, which depends on it"}},
		"Delete":       {"a deletion deletes", Facts{Deleting: true, Cascade: true, Held: 3, Desired: "d"}, Start{Scope: Remove, Prune: true, Why: "the Application is being deleted"}},
		"DeleteFirst":  {"a running sync gives way to the deletion", Facts{Deleting: true, Cascade: true, Held: 3, Running: &Run{Scope: Full}}, Supersede{"the Application is being deleted"}},
		"Deleted":      {"when all is gone the Application goes", Facts{Deleting: true, Cascade: true, Desired: "d", Last: &Attempt{Desired: "d"}}, Release{"all its resources are gone"}},
		"Confirm":      {"what must be confirmed is waited for", Facts{Deleting: true, Cascade: true, Held: 1, Unconfirmed: 1, Desired: "d", Last: &Attempt{Desired: "d"}}, Wait{"the deletion of 1 resources waits to be confirmed (annotation argocd.argoproj.io/deletion-approved)"}},
		"DeleteFailed": {"a failed deletion is tried again, with delay", Facts{Deleting: true, Cascade: true, Held: 1, Desired: "d", Last: &Attempt{Desired: "d", Failed: true, Failures: 1, At: now}}, BackOff{now.Add(5 * time.Second), "deletion failed, will be tried again"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.facts.Now = now
			if diff := cmp.Diff(tc.want, Next(tc.facts)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 60: 3 * time.Minute, 1 << 20: 3 * time.Minute} {
		if got := DefaultRetry.Delay(n); got != want {
			t.Errorf("Delay(%d) = %s, want %s", n, got, want)
		}
	}
}
