package report

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

var (
	since = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	until = since.AddDate(0, 0, 10)
)

// at is an entry some minutes after the period's beginning.
func at(minute int, kind entry.Kind, edits ...func(*entry.Entry)) entry.Entry {
	e := entry.Entry{Time: since.Add(time.Duration(minute) * time.Minute), Kind: kind, Project: "shop", Application: entry.Application{Namespace: "shop", Name: "web"}}
	for _, edit := range edits {
		edit(&e)
	}
	return e
}

func result(r entry.Result) func(*entry.Entry) { return func(e *entry.Entry) { e.Result = r } }

func committed(minute int) func(*entry.Entry) {
	return func(e *entry.Entry) {
		e.Revisions = append(e.Revisions, entry.Revision{CommittedAt: since.Add(time.Duration(minute) * time.Minute)})
	}
}

func health(h string) func(*entry.Entry) {
	return func(e *entry.Entry) { e.Details = map[string]string{"health": h} }
}

func scope(s string) func(*entry.Entry) {
	return func(e *entry.Entry) { e.Details = map[string]string{"scope": s} }
}

// named is the commit that was added last.
func named(revision string) func(*entry.Entry) {
	return func(e *entry.Entry) { e.Revisions[len(e.Revisions)-1].Revision = revision }
}

func unseen(e *entry.Entry) { e.Details = map[string]string{entry.Unseen: "true"} }

func planned(name string) func(*entry.Entry) { return func(e *entry.Entry) { e.Plan.Name = name } }

func actor(name string) func(*entry.Entry) { return func(e *entry.Entry) { e.Actor.User = name } }

func nothing(e *entry.Entry) { e.Plan.Digest = "sha256:0" }

func other(e *entry.Entry) { e.Application.Name, e.Project = "db", "data" }

func minutes(n int) Duration { return Duration(time.Duration(n) * time.Minute) }

func once(n int) Quantiles { return Quantiles{1, minutes(n), minutes(n)} }

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		reason  string
		entries []entry.Entry
		want    Figures
	}{
		"nothing": {"no figures, and no division by zero", nil, Figures{}},
		"a change": {
			"lead time is until it is healthy, not until it is applied",
			[]entry.Entry{at(10, entry.SyncStarted), at(11, entry.SyncFinished, result(entry.Succeeded), committed(5), health("Progressing")), at(15, entry.Healthy)},
			Figures{Changes: 1, LeadTime: once(10)},
		},
		"a change without health": {
			"where nothing says that it became healthy, its sync's end counts",
			[]entry.Entry{at(11, entry.SyncFinished, result(entry.Succeeded), committed(5))},
			Figures{Changes: 1, LeadTime: once(6)},
		},
		"a sync of nothing": {
			"nothing was delivered",
			[]entry.Entry{at(11, entry.SyncFinished, result(entry.Succeeded), committed(5), nothing)},
			Figures{},
		},
		"a failed change": {
			"restored by the next that succeeds; only that one has a lead time",
			[]entry.Entry{at(10, entry.SyncFinished, result(entry.Failed), committed(5)), at(40, entry.SyncFinished, result(entry.Succeeded), committed(35))},
			Figures{Changes: 2, Failed: 1, FailureRate: 0.5, Restore: once(30), LeadTime: once(5)},
		},
		"degraded after a change": {
			"it failed, once, until it is healthy",
			[]entry.Entry{
				at(10, entry.SyncFinished, result(entry.Succeeded), committed(5)), at(12, entry.Healthy), at(20, entry.Degraded), at(21, entry.Degraded),
				at(22, entry.RolledBack), at(50, entry.Healthy),
			},
			Figures{Changes: 1, Failed: 1, FailureRate: 1, Restore: once(30), LeadTime: once(7), RollBacks: 1},
		},
		"degraded before any change": {
			"no change failed, but it was restored",
			[]entry.Entry{at(20, entry.Degraded), at(30, entry.Healthy)},
			Figures{Restore: once(10)},
		},
		"heal": {
			"it is the answer to drift",
			[]entry.Entry{at(10, entry.SyncFinished, result(entry.Succeeded), committed(5), scope("heal"))},
			Figures{},
		},
		"nobody saw the end": {
			"what came after it tells",
			[]entry.Entry{at(10, entry.SyncFinished, result(entry.Unknown), committed(5)), at(12, entry.SyncFinished, result(entry.Succeeded), committed(5))},
			Figures{Changes: 1, LeadTime: once(7)},
		},
		"the same commit again": {
			"it was there already",
			[]entry.Entry{at(10, entry.SyncFinished, result(entry.Succeeded), committed(5), named("a")), at(900, entry.SyncFinished, result(entry.Succeeded), committed(5), named("a"))},
			Figures{Changes: 2, LeadTime: once(5)},
		},
		"not restored": {
			"it has no time yet",
			[]entry.Entry{at(10, entry.SyncFinished, result(entry.Failed))},
			Figures{Changes: 1, Failed: 1, FailureRate: 1, Unrestored: 1},
		},
		"before the period": {
			"it does not count, but what began then ends in it",
			[]entry.Entry{at(-20, entry.SyncFinished, result(entry.Failed)), at(-10, entry.DriftFound), at(5, entry.Healed), at(10, entry.Healthy), at(-5, entry.Approved)},
			Figures{Restore: once(30), Drifts: 1, DriftTime: minutes(5), DriftEnd: once(15)},
		},
		"drift": {
			"found twice is one drift; what goes on counts until the period's end",
			[]entry.Entry{at(0, entry.DriftFound), at(1, entry.DriftFound), at(4, entry.DriftEnded), at(10*24*60-3, entry.DriftFound)},
			Figures{Drifts: 2, DriftTime: minutes(7), Drifting: 1, DriftEnd: once(4)},
		},
		"drift over a restart": {
			"what is found again is the same drift",
			[]entry.Entry{at(0, entry.DriftFound), at(60, entry.DriftEnded, unseen), at(61, entry.DriftFound), at(65, entry.Healed)},
			Figures{Drifts: 1, DriftTime: minutes(65), DriftEnd: once(65)},
		},
		"drift over two restarts": {
			"nobody has said in between that it ended",
			[]entry.Entry{at(0, entry.DriftFound), at(5, entry.DriftEnded, unseen), at(6, entry.DriftFound), at(8, entry.DriftEnded, unseen), at(9, entry.DriftFound), at(10, entry.DriftEnded)},
			Figures{Drifts: 1, DriftTime: minutes(10), DriftEnd: once(10)},
		},
		"drift that ended unseen": {
			"it lasted until the restart, as far as is known",
			[]entry.Entry{at(0, entry.DriftFound), at(60, entry.DriftEnded, unseen)},
			Figures{Drifts: 1, DriftTime: minutes(60), DriftEnd: once(60)},
		},
		"another drift, long after a restart": {
			"it is another one",
			[]entry.Entry{at(0, entry.DriftFound), at(60, entry.DriftEnded, unseen), at(120, entry.DriftFound), at(130, entry.Healed)},
			Figures{Drifts: 2, DriftTime: minutes(70), DriftEnd: Quantiles{2, minutes(10), minutes(60)}},
		},
		"a change cut off by restarts": {
			"it counts once, with the sync that ended it, and its failure and its restoration once",
			[]entry.Entry{
				at(10, entry.SyncStarted), at(12, entry.SyncFinished, result(entry.Unknown), committed(5), named("a")),
				at(13, entry.SyncStarted), at(14, entry.SyncFinished, result(entry.Unknown), committed(5), named("a")),
				at(15, entry.SyncFinished, result(entry.Succeeded), committed(5), named("a"), health("Progressing")),
				at(20, entry.Degraded), at(22, entry.SyncFinished, result(entry.Unknown)), at(23, entry.Degraded), at(30, entry.Healthy), at(31, entry.Healthy),
			},
			Figures{Changes: 1, Failed: 1, FailureRate: 1, LeadTime: once(25), Restore: once(10)},
		},
		"an approval written twice": {
			"a server was killed between; each of two people counts once for each plan",
			[]entry.Entry{
				at(1, entry.Approved, planned("one"), actor("ann")), at(1, entry.Approved, planned("one"), actor("ann")), at(2, entry.Approved, planned("one"), actor("bob")),
				at(3, entry.Approved, planned("two"), actor("ann")),
			},
			Figures{Approvals: 3},
		},
		"decisions": {
			"each is counted",
			[]entry.Entry{at(1, entry.Approved), at(2, entry.Approved), at(3, entry.Rejected), at(4, entry.Overridden)},
			Figures{Approvals: 2, Rejections: 1, Overrides: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Of(c.entries, since, until)
			c.want.ChangesPerDay = float64(c.want.Changes) / 10
			if diff := cmp.Diff(c.want, r.Total); diff != "" {
				t.Error(c.reason, diff)
			}
		})
	}
}

func TestProjects(t *testing.T) {
	var entries []entry.Entry
	for n := range 10 {
		entries = append(entries, at(10*n+n+1, entry.SyncFinished, result(entry.Succeeded), committed(10*n)), at(10*n+9, entry.SyncFinished, result(entry.Failed), other))
	}
	r := Of(entries, since, until)
	want := []Figures{
		{Project: "data", Changes: 10, ChangesPerDay: 1, Failed: 10, FailureRate: 1, Unrestored: 1},
		{Project: "shop", Changes: 10, ChangesPerDay: 1, LeadTime: Quantiles{10, minutes(5), minutes(9)}},
	}
	if diff := cmp.Diff(want, r.Projects); diff != "" {
		t.Error(diff)
	}
	if r.Total.Changes != 20 || r.Total.FailureRate != 0.5 {
		t.Errorf("%+v", r.Total)
	}
}
