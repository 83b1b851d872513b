package engine

import (
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"k8s.io/apimachinery/pkg/types"
)

// state is what the engine remembers of an Application between passes. All of
// it can be had again from the Application's status, its sources and its
// destination; only one worker touches it at a time.
type state struct {
	uid    string
	loaded bool

	desired    *desired
	comparison driver.Comparison
	held       []driver.Held
	driver     driver.Driver

	running *operation
	ended   *endedOperation // not written yet
	last    *lastSync
	// heals in a row, and when the last of them ended.
	heals int
	// heard is the generation whose request was taken up, heardRequest that request
	// until it has been taken back.
	heard        int64
	heardRequest *v1alpha1.Operation
	healedAt     time.Time
	// healProblem is why the last heal failed, or empty.
	healProblem string
	// askedFor is the plan that the ledger knows of, and that could not be made yet.
	askedFor string
	// toldPlans is what the ledger knows of plans of which it could not be written to
	// their status yet.
	toldPlans map[types.UID]string
	// arrivals are the revisions at which there was nothing to do last.
	arrivals []arrival
	// arrivedDrift is what had drifted then.
	arrivedDrift map[plan.Address]bool
	// settled are the last of those at which nothing was declared but what was synced,
	// settledAs identifies that. There may be nothing to do although something else is
	// declared: a hook, or what the destination is told to ignore.
	settled   []arrival
	settledAs string
	// elsewhere is what else than Git has changed.
	elsewhere elsewhere
	// trial is the revision that has yet to become healthy, or nil.
	trial *trial
	// goingBack is set from when that has failed until what was there before is
	// applied again.
	goingBack bool

	// late are results that came after the pass that asked for them.
	late lateResults
	// unpublished says why the outputs of now are not written to their Secret.
	unpublished string

	// unwritten are the resources in the inventory that are to be made, and of
	// which nothing is written down yet.
	unwritten []plan.Ref
	// intended is true while some are written down as intents only.
	intended bool
	// records are those that the ledger does not have yet, and unrecorded says why
	// not.
	records    []Record
	unrecorded string
	// drifts are those that last and the latest that have ended; drifting is set
	// while some last.
	drifts   []v1alpha1.DriftStatus
	drifting bool
	// quietUntil is when drift that has ended is written at the latest.
	quietUntil time.Time
	// adopting is true while there is drift to be adopted, adoption is what has
	// become of that, and adopted what of it was recorded.
	adopting bool
	adoption *Adoption
	adopted  string
	// written is when the status was last written.
	written time.Time
}

// lastSync is the last ended sync as decisions need it.
type lastSync struct {
	desired  string
	failed   bool
	failures int
	message  string
	at       time.Time
	// whole is set where it was a sync of all that is declared.
	whole bool
}

// load takes up what an earlier process left in the status.
func (st *state) load(app *v1alpha1.Application, intents Intents) {
	if st.loaded && st.uid == string(app.UID) {
		return
	}
	st.forget()
	st.uid, st.loaded = string(app.UID), true
	st.held = heldFromStatus(app.Status.Inventory)
	st.trial = trialFrom(app)
	st.drifts = slices.Clone(app.Status.Drift)
	st.drifting = slices.ContainsFunc(st.drifts, func(d v1alpha1.DriftStatus) bool { return d.Until == nil })
	if intents != nil {
		for _, ref := range intents.Intended(st.uid) {
			st.intended = true
			st.expect(ref)
		}
	}
	op := app.Status.OperationState
	if op == nil || op.Operation.Sync == nil {
		return
	}
	st.heard = heardBefore(st.uid, op.Operation.Info)
	if op.Phase.Running() {
		st.running = resumeOperation(op)
		return
	}
	st.last = &lastSync{
		desired: infoValue(op.Operation.Info, infoDesired), message: op.Message,
		failed: op.Phase != v1alpha1.OperationSucceeded,
		whole:  infoValue(op.Operation.Info, infoScope) == string(decide.Full) && !op.Operation.Sync.DryRun && len(op.Operation.Sync.Resources) == 0,
	}
	if op.FinishedAt != nil {
		st.last.at = op.FinishedAt.Time
	}
	if st.last.failed {
		st.last.failures = int(op.RetryCount) + 1
	}
}

// forget makes a state as if nothing had been done yet.
func (st *state) forget() {
	st.desired, st.comparison, st.held, st.driver = nil, driver.Comparison{}, nil, nil
	st.running, st.ended, st.last, st.trial = nil, nil, nil, nil
	st.heals, st.heard, st.healedAt, st.healProblem = 0, 0, time.Time{}, ""
	st.unrecorded, st.drifts, st.drifting, st.arrivals = "", nil, false, nil
	st.arrivedDrift, st.settled, st.settledAs, st.elsewhere = nil, nil, "", elsewhere{}
	st.quietUntil = time.Time{}
	st.askedFor, st.toldPlans, st.goingBack = "", nil, false
	st.adopting, st.adoption, st.adopted = false, nil, ""
	st.unpublished, st.unwritten, st.intended, st.written = "", nil, false, time.Time{}
}

// heardBefore is the generation whose request an earlier process took up: it may
// have ended before it took the request back. A status that was copied from
// another object tells nothing.
func heardBefore(uid string, info []v1alpha1.Info) int64 {
	if !strings.HasPrefix(infoValue(info, infoID), short(uid)+"-") {
		return 0
	}
	heard, err := strconv.ParseInt(infoValue(info, infoHeard), 10, 64)
	if err != nil {
		return 0
	}
	return heard
}

func heldFromStatus(inventory []v1alpha1.InventoryEntry) []driver.Held {
	held := make([]driver.Held, 0, len(inventory))
	for _, e := range inventory {
		group, kind, namespace, name, ok := e.Split()
		if !ok {
			continue
		}
		held = append(held, driver.Held{
			Ref:     plan.Ref{Group: group, Version: e.Version, Kind: kind, Namespace: namespace, Name: name},
			Desired: e.Desired, Applied: e.Applied,
		})
	}
	return held
}

func heldToStatus(held []driver.Held) []v1alpha1.InventoryEntry {
	if len(held) == 0 {
		return nil
	}
	out := make([]v1alpha1.InventoryEntry, len(held))
	for i, h := range held {
		out[i] = v1alpha1.InventoryEntry{
			ID:      v1alpha1.InventoryID(h.Ref.Group, h.Ref.Kind, h.Ref.Namespace, h.Ref.Name),
			Version: h.Ref.Version, Desired: h.Desired, Applied: h.Applied,
		}
	}
	return out
}

// take makes the inventory what a comparison found: all that exists or is on
// its way. What was held and is gone for good is forgotten.
func (st *state) take(c driver.Comparison) {
	for i := range c.Resources {
		// What was noted before it was made, and was not made then, is not deleted:
		// it is still to be made.
		if r := &c.Resources[i]; r.Cause == driver.CauseDeleted && r.Held.Applied == "" {
			r.Cause = driver.CauseMissing
		}
	}
	st.comparison = c
	held := make([]driver.Held, 0, len(c.Resources))
	for _, r := range c.Resources {
		if r.Hook != nil || r.Problem != nil && r.Problem.Reason == driver.ReasonShared {
			continue
		}
		declared := r.Cause != driver.CauseExtra
		if r.Exists || declared && (r.Held.Applied != "" || st.running != nil && st.running.made[r.Ref.Address()]) {
			held = append(held, r.Held)
		}
	}
	st.held = held
}

// remember takes the outcome of a step into the inventory.
func (st *state) remember(h driver.Held) {
	at, found := slices.BinarySearchFunc(st.held, h, compareHeld)
	if found {
		st.held[at] = h
		return
	}
	st.held = slices.Insert(st.held, at, h)
}

// expect enters a resource that is to be made, and tells whether it is new.
func (st *state) expect(ref plan.Ref) bool {
	h := driver.Held{Ref: ref}
	at, found := slices.BinarySearchFunc(st.held, h, compareHeld)
	if !found {
		st.held = slices.Insert(st.held, at, h)
	}
	return !found
}

// claims enters a resource that a step makes, or takes over from whoever made it,
// and tells whether that has to be written down first.
func (st *state) claims(op *operation, s plan.Step) bool {
	ref, creates := s.Change.Target(), s.Change.Action() == plan.ActionCreate
	if creates {
		op.made[s.Address()] = true
		return st.expect(ref)
	}
	at, found := slices.BinarySearchFunc(st.held, driver.Held{Ref: ref}, compareHeld)
	if found && st.held[at].Applied != "" || op.made[s.Address()] {
		return false // ours, or entered already
	}
	op.made[s.Address()] = true
	st.expect(ref)
	return true
}

func compareHeld(a, b driver.Held) int {
	switch x, y := a.Ref.Address(), b.Ref.Address(); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func stack() string { return string(debug.Stack()) }
