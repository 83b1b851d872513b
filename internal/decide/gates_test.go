package decide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGated(t *testing.T) {
	soon := now.Add(time.Hour)
	frozen := Gates{Frozen: "frozen by ada: launch", FrozenUntil: soon}
	closed := Gates{Closed: "deny window 0", ManualClosed: "deny window 0", Opens: soon}
	byHand := Gates{Closed: "deny window 0", Opens: soon}
	manual := Policy{Retry: DefaultRetry}
	limited := automated()
	limited.Retry.Limit = 1
	overrun := closed
	overrun.Overrun = true
	exempt := func(g Gates) Gates { g.Exempt = true; return g }
	trial := func(change func(*Trial)) *Trial {
		tr := &Trial{Since: now.Add(-5 * time.Minute), Deadline: 5 * time.Minute, To: "a"}
		if change != nil {
			change(tr)
		}
		return tr
	}
	declared, drifted := Pending{Declared: 1}, Pending{DriftDefault: 1}
	heldBySchedule := Hold{soon, SyncWindow, "deny window 0; it opens at 2026-01-01T10:00:00Z"}
	heldByFreeze := Hold{soon, Freeze, "frozen by ada: launch"}
	cases := map[string]struct {
		reason string
		facts  Facts
		want   Decision
	}{
		"Open":            {"nothing in the way changes nothing", Facts{Policy: automated(), Pending: declared}, Start{Scope: Full, Prune: true, Why: "what is declared has changed"}},
		"Idle":            {"where nothing is to be done, nothing is held back", Facts{Policy: automated(), Gates: closed}, Idle{"in sync"}},
		"Closed":          {"a sync waits for its window", Facts{Policy: automated(), Pending: declared, Gates: closed}, heldBySchedule},
		"ClosedHeal":      {"so does a heal", Facts{Policy: automated(), Pending: drifted, Gates: closed}, heldBySchedule},
		"ByHand":          {"manualSync lets through what is asked for", Facts{Policy: automated(), Pending: declared, Gates: byHand, Requested: true}, Start{Scope: Full, Why: "requested"}},
		"ByHandOnly":      {"and nothing else", Facts{Policy: automated(), Pending: declared, Gates: byHand}, heldBySchedule},
		"Refused":         {"what is asked for in a closed window is refused, with its name", Facts{Policy: manual, Gates: closed, Requested: true}, Refuse{"Cannot sync: Blocked by sync window: deny window 0; it opens at 2026-01-01T10:00:00Z"}},
		"Overridden":      {"unless somebody may override", Facts{Policy: manual, Gates: exempt(closed), Requested: true}, Start{Scope: Full, Why: "requested"}},
		"DeleteClosed":    {"windows do not hold deletions", Facts{Deleting: true, Cascade: true, Held: 1, Desired: "d", Gates: closed}, Start{Scope: Remove, Prune: true, Why: "the Application is being deleted"}},
		"DeleteFrozen":    {"a freeze does", Facts{Deleting: true, Cascade: true, Held: 1, Desired: "d", Gates: frozen}, heldByFreeze},
		"ReleaseFrozen":   {"what leaves all as it is goes", Facts{Deleting: true, Gates: frozen}, Release{"its resources are left as they are"}},
		"Frozen":          {"a freeze holds syncs", Facts{Policy: automated(), Pending: declared, Gates: frozen}, heldByFreeze},
		"FrozenHeal":      {"and heals", Facts{Policy: automated(), Pending: drifted, Gates: frozen}, heldByFreeze},
		"FrozenRequest":   {"and refuses what is asked for", Facts{Policy: manual, Gates: frozen, Requested: true}, Refuse{"Cannot sync: frozen by ada: launch"}},
		"FrozenOverride":  {"unless somebody may override", Facts{Policy: manual, Gates: exempt(frozen), Requested: true}, Start{Scope: Full, Why: "requested"}},
		"RunningClosed":   {"a sync under way stops at the window's end", Facts{Running: &Run{Desired: "a", Automated: true, Scope: Full}, Desired: "a", Gates: closed}, Hold{soon, SyncWindow, "the sync under way goes on later: deny window 0; it opens at 2026-01-01T10:00:00Z"}},
		"RunningOverrun":  {"unless it may overrun", Facts{Running: &Run{Desired: "a", Automated: true, Scope: Full}, Desired: "a", Gates: overrun}, Continue{}},
		"RunningByHand":   {"or was asked for and may", Facts{Running: &Run{Desired: "a", Scope: Full}, Desired: "a", Gates: byHand}, Continue{}},
		"RunningFrozen":   {"a freeze stops what is under way", Facts{Running: &Run{Desired: "a", Scope: Full}, Desired: "a", Gates: frozen}, heldByFreeze},
		"RunningExempt":   {"but not what was let through", Facts{Running: &Run{Desired: "a", Scope: Full}, Desired: "a", Gates: exempt(frozen)}, Continue{}},
		"RunningDelete":   {"windows do not stop deletions", Facts{Deleting: true, Cascade: true, Held: 1, Running: &Run{Scope: Remove}, Gates: closed}, Continue{}},
		"RefusedRequest":  {"a request that is refused does not end what is under way", Facts{Running: &Run{Desired: "a", Automated: true, Scope: Full}, Desired: "a", Requested: true, Gates: closed}, Refuse{"Cannot sync: Blocked by sync window: deny window 0; it opens at 2026-01-01T10:00:00Z"}},
		"NewRevision":     {"what is no longer declared ends in a closed window, too", Facts{Running: &Run{Desired: "a", Automated: true, Scope: Full}, Desired: "b", Gates: closed}, Supersede{"superseded by a newer revision"}},
		"Deadline":        {"what is not healthy in time is rolled back", Facts{Policy: automated(), Desired: "b", Trial: trial(nil)}, RollBack{"it was not healthy within 5m0s"}},
		"NotYet":          {"but not before", Facts{Policy: automated(), Desired: "b", Trial: trial(func(t *Trial) { t.Since = now })}, Idle{"in sync"}},
		"Hangs":           {"a sync that hangs is rolled back, too", Facts{Policy: automated(), Desired: "b", Running: &Run{Desired: "b", Automated: true}, Trial: trial(nil)}, RollBack{"it was not healthy within 5m0s"}},
		"Healthy":         {"what is healthy stays", Facts{Policy: automated(), Desired: "b", Trial: trial(func(t *Trial) { t.Healthy = true })}, Idle{"in sync"}},
		"Suspended":       {"what waits for somebody has not failed", Facts{Policy: automated(), Desired: "b", Trial: trial(func(t *Trial) { t.Suspended = true })}, Idle{"in sync"}},
		"PinnedStays":     {"a pinned Application stays", Facts{Policy: automated(), Desired: "b", Trial: trial(func(t *Trial) { t.Pinned = true })}, Idle{"in sync"}},
		"HeldUntilNow":    {"what was held back is not late", Facts{Policy: automated(), Desired: "b", Running: &Run{Desired: "b", Automated: true}, Trial: trial(func(t *Trial) { t.Held = true })}, Continue{}},
		"NothingToGoBack": {"without a healthy revision there is nowhere to go", Facts{Policy: automated(), Desired: "b", Trial: trial(func(t *Trial) { t.To = "" })}, Idle{"in sync"}},
		"Blind":           {"what cannot be seen is not judged", Facts{Policy: automated(), Unavailable: "no route", Trial: trial(nil)}, BackOff{now.Add(5 * time.Second), "no route"}},
		"Broken":          {"what can't be planned since its sync has failed is not tried again", Facts{Policy: automated(), Desired: "b", Refused: "bad", Trial: trial(func(t *Trial) { t.Since, t.Broken = now, true })}, RollBack{"its sync failed, and what is left to do can't be planned"}},
		"NotEvenBegun":    {"what was not synced has not failed", Facts{Policy: automated(), Desired: "b", Refused: "bad", Trial: trial(nil)}, Idle{"bad"}},
		"ForGood": {"a sync that nobody tries again has failed", Facts{Policy: limited, Desired: "b", Pending: declared, Last: &Attempt{Desired: "b", Failed: true, Failures: 2, At: now},
			Trial: trial(func(t *Trial) { t.Since = now })}, RollBack{"its sync failed for good"}},
		"TriedAgain": {"one that is tried again has not", Facts{Policy: limited, Desired: "b", Pending: declared, Last: &Attempt{Desired: "b", Failed: true, Failures: 1, At: now},
			Trial: trial(func(t *Trial) { t.Since = now })}, BackOff{now.Add(5 * time.Second), "sync failed, retry 1"}},
		"ByHandFailed": {"nobody tries a sync again that was asked for", Facts{Policy: manual, Desired: "b", Pending: declared, Last: &Attempt{Desired: "b", Failed: true, Failures: 1, At: now},
			Trial: trial(func(t *Trial) { t.Since = now })}, RollBack{"its sync failed for good"}},
		"AskedFor": {"who asks for a sync gets it", Facts{Policy: automated(), Desired: "b", Requested: true, Trial: trial(nil)}, Start{Scope: Full, Why: "requested"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.facts.Now = now
			if diff := cmp.Diff(tc.want, Gated(tc.facts, Next(tc.facts))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
