package decide

import (
	"fmt"
	"time"
)

// Gates are what holds changes back, whatever differs, and what may go through
// them nevertheless.
type Gates struct {
	// Frozen is why nothing may be changed, with FrozenUntil, if it ends by itself.
	Frozen      string
	FrozenUntil time.Time
	// Closed is why no sync may begin that nobody asked for; ManualClosed is why
	// none may begin that somebody asks for. Opens is when the first ends, if that
	// is known.
	Closed, ManualClosed string
	Opens                time.Time
	// Overrun tells whether the sync under way may go on although it could not
	// begin now.
	Overrun bool
	// Exempt is set where the sync that was asked for, or the one under way,
	// changes nothing or has been let through by somebody who may.
	Exempt bool
}

// Gate is what holds a change back.
type Gate string

// The closed set of gates.
const (
	Freeze     Gate = "freeze"
	SyncWindow Gate = "sync window"
)

type (
	// Hold a change back until a time (zero: until something else changes).
	Hold struct {
		Until time.Time
		Gate  Gate
		Why   string
	}
	// Refuse the sync that was asked for.
	Refuse struct{ Why string }
	// RollBack to the revision that was healthy last.
	RollBack struct{ Why string }
)

func (d Hold) Reason() string     { return d.Why }
func (d Refuse) Reason() string   { return d.Why }
func (d RollBack) Reason() string { return d.Why }

func (Hold) decision()     {}
func (Refuse) decision()   {}
func (RollBack) decision() {}

// Gated holds back what was decided and gates are closed for. What only looks, and
// what lets an Application go without a change, is never held back; people may be
// asked for their approval before a gate opens.
func Gated(f Facts, d Decision) Decision {
	if r, ok := failing(f); ok {
		d = r
	}
	switch d := d.(type) {
	case Start:
		if gate := starting(f, d.Scope); gate != nil {
			return gate
		}
	case Await:
		if refuse, ok := starting(f, d.Start.Scope).(Refuse); ok && f.Running == nil {
			return refuse
		}
	case Continue:
		if gate := underWay(f); gate != nil {
			return gate
		}
	case Supersede:
		// A sync that is asked for and refused must not end another one.
		if f.Requested && !f.Deleting && f.Running.Automated && f.Running.Desired == f.Desired {
			if gate := starting(f, Full); gate != nil {
				return gate
			}
		}
	}
	return d
}

// starting is what keeps a sync from beginning, or nil.
func starting(f Facts, scope Scope) Decision {
	g, asked := f.Gates, f.Requested && scope == Full
	switch {
	case asked && g.Exempt:
	case g.Frozen != "" && asked:
		return Refuse{"Cannot sync: " + g.Frozen}
	case g.Frozen != "":
		return Hold{g.FrozenUntil, Freeze, g.Frozen}
	case scope == Remove: // windows are about syncs
	case asked && g.ManualClosed != "":
		return Refuse{"Cannot sync: Blocked by sync window: " + g.ManualClosed + opening(g)}
	case !asked && g.Closed != "":
		return Hold{g.Opens, SyncWindow, g.Closed + opening(g)}
	}
	return nil
}

// underWay is what keeps a sync from going on, or nil.
func underWay(f Facts) Decision {
	g := f.Gates
	closed := g.Closed
	if !f.Running.Automated {
		closed = g.ManualClosed
	}
	switch {
	case g.Exempt:
	case g.Frozen != "":
		return Hold{g.FrozenUntil, Freeze, g.Frozen}
	case f.Running.Scope == Remove:
	case closed != "" && !g.Overrun:
		return Hold{g.Opens, SyncWindow, "the sync under way goes on later: " + closed + opening(g)}
	}
	return nil
}

func opening(g Gates) string {
	if g.Opens.IsZero() {
		return ""
	}
	return "; it opens at " + g.Opens.UTC().Format(time.RFC3339)
}

// Trial is a new revision that has not been healthy yet.
type Trial struct {
	// Since is when the first sync to it began, and Deadline how long it may take.
	Since    time.Time
	Deadline time.Duration
	// Healthy tells that it is healthy now, and Suspended that it waits for
	// somebody: what was stopped on purpose has not failed.
	Healthy, Suspended bool
	// Pinned Applications stay where they are.
	Pinned bool
	// Broken tells that its sync has failed, and that what is declared keeps from
	// finding out what else there is to do: nothing tries it again.
	Broken bool
	// Held tells that the sync was held back when it was last looked at.
	Held bool
	// To names the revision that was healthy last; empty where there is none.
	To string
}

// failing decides to roll back a revision that has failed its trial.
func failing(f Facts) (RollBack, bool) {
	t := f.Trial
	switch {
	case t == nil, f.Deleting, f.Paused, f.Refused != "" && !t.Broken, f.Unavailable != "", f.Requested:
		return RollBack{}, false
	case f.Gates.Frozen != "", f.Running != nil && underWay(f) != nil: // what is held back is not late
		return RollBack{}, false
	case t.Pinned, t.Held, t.Healthy, t.Suspended, t.To == "":
		return RollBack{}, false
	case t.Broken:
		return RollBack{"its sync failed, and what is left to do can't be planned"}, true
	case f.Running == nil && failedForGood(f):
		return RollBack{"its sync failed for good"}, true
	case !f.Now.Before(t.Since.Add(t.Deadline)):
		return RollBack{fmt.Sprintf("it was not healthy within %s", t.Deadline)}, true
	}
	return RollBack{}, false
}

// failedForGood tells whether the last sync of what is desired has failed, and
// nothing tries it again.
func failedForGood(f Facts) bool {
	if f.Last == nil || !f.Last.Failed || f.Last.Desired != f.Desired {
		return false
	}
	limit := f.Policy.Retry.Limit
	return !f.Policy.Automated || limit >= 0 && max(1, f.Last.Failures) > limit
}
