// Package decide says what to do next with an Application, and why. It is a
// pure function of loaded facts and a clock value: it does no I/O, reads no
// clock and knows no driver, so every answer can be tested with a table.
package decide

import (
	"fmt"
	"strings"
	"time"
)

// Facts is all that a decision depends on.
type Facts struct {
	Now time.Time

	// Deleting is true once the Application object is being deleted; Cascade, if
	// its finalizer asks for its resources to go first.
	Deleting, Cascade bool
	// Dependents still exist that depend on this Application.
	Dependents []string
	// Nowhere is true where nothing is held and no destination is known that
	// anything could be deleted from.
	Nowhere bool
	// Paused is true where the Application asks to be left alone.
	Paused bool

	// Refused is why nothing may be done: an invalid spec, a project's fence.
	Refused string
	// Unavailable is why desired and live state could not be compared.
	Unavailable string

	Policy Policy
	// Desired identifies what a sync would make true: the bundle and all that
	// changes how it is applied.
	Desired string
	// Empty is true where nothing is declared; Held counts what is held.
	Empty bool
	Held  int
	// Unconfirmed counts what of it a deletion must not delete before somebody
	// has confirmed it.
	Unconfirmed int
	// Pending is what differs, by why it does.
	Pending Pending
	// Whole is true where a plan is applied as a whole or not at all. Destroys
	// counts what such a one destroys.
	Whole    bool
	Destroys int
	// Waiting are the Applications that this one depends on and that are not
	// ready, each with the reason.
	Waiting []string

	// Last is the last ended sync, Running the one under way, Requested one that
	// a user asked for.
	Last      *Attempt
	Running   *Run
	Requested bool
	// Heals counts the heals that followed each other closely, HealedAt is when
	// the last of them ended.
	Heals    int
	HealedAt time.Time
	// HealProblem is why the last of them failed, or empty.
	HealProblem string

	// Approve says which changes need approval. Proposes is true where there is a
	// place for plans that wait for it.
	Approve  When
	Proposes bool
	// Gates are what Gated looks at beside all of that, and Trial is the revision
	// that has yet to become healthy, if it is watched.
	Gates Gates
	Trial *Trial
}

// Policy is when a sync starts without being asked for.
type Policy struct {
	Automated, Prune, SelfHeal, AllowEmpty bool
	Retry                                  Retry
}

// Retry says how failed syncs are tried again.
type Retry struct {
	// Limit of tries after the first; negative is without limit.
	Limit int
	// Base delay, its growth from try to try, and the most.
	Base   time.Duration
	Factor float64
	Max    time.Duration
}

// DefaultRetry is that of an Application that says nothing of it: without
// limit, from five seconds to three minutes.
var DefaultRetry = Retry{Limit: -1, Base: 5 * time.Second, Factor: 2, Max: 3 * time.Minute}

// Delay before try number n (1 is the first repetition).
func (r Retry) Delay(n int) time.Duration {
	d := float64(r.Base)
	for i := 1; i < n && d < float64(r.Max); i++ {
		d *= r.Factor
	}
	return min(time.Duration(d), r.Max)
}

// Pending counts the differences that a sync would settle.
type Pending struct {
	// Declared: missing or changed in what is declared. Extra: to be pruned.
	Declared, Extra int
	// Drift that is to be reverted whatever the policy says (a drift rule), or
	// only where the Application heals itself, or only by a sync that is asked
	// for (a rule says "report"), or that is proposed to Git ("adopt").
	DriftRevert, DriftDefault, DriftReport, DriftAdopt int
	// Problems are resources that can't be changed as things stand; Transient
	// ones may be better next time.
	Problems, Transient int
}

func (p Pending) any() bool {
	return p.Declared+p.Extra+p.DriftRevert+p.DriftDefault+p.DriftReport+p.DriftAdopt+p.Problems > 0
}

// Attempt is an ended sync.
type Attempt struct {
	Desired string
	Failed  bool
	// Failures in a row at this Desired, and when the last of them ended.
	Failures int
	At       time.Time
}

// Run is a sync under way.
type Run struct {
	// Desired that it makes true. Automated ones give way to a newer one.
	Desired   string
	Automated bool
	// Scope of it.
	Scope Scope
}

// Scope says which differences a sync settles.
type Scope string

// The closed set of scopes.
const (
	// Full settles all differences and runs hooks.
	Full Scope = "sync"
	// Heal settles drift only; hooks do not run.
	Heal Scope = "heal"
	// Remove deletes everything that is held.
	Remove Scope = "delete"
)

// Decision is what to do next. The set is closed: Idle, Wait, BackOff, Start,
// Continue, Supersede, Release; Await of Approve alone; and of Gate alone Hold,
// Refuse, RollBack.
type Decision interface {
	// Reason in a user's words.
	Reason() string
	decision()
}

type (
	// Idle says that there is nothing to do.
	Idle struct{ Why string }
	// Wait for something that will be noticed: a dependency, a dependent, a user.
	Wait struct{ For string }
	// BackOff until a time, then look again.
	BackOff struct {
		Until time.Time
		Why   string
	}
	// Start a sync.
	Start struct {
		Scope Scope
		// Prune tells whether deletions belong to it.
		Prune bool
		// Reported tells whether drift belongs to it that a rule asks to report only.
		Reported bool
		// OnApproval is set where it begins only because people approve it, and
		// Otherwise is why it does not begin without.
		OnApproval bool
		Otherwise  string
		Why        string
	}
	// Continue the sync under way.
	Continue struct{}
	// Supersede ends the sync under way, because what it makes true is no longer
	// what is declared.
	Supersede struct{ Why string }
	// Release lets a deleted Application go.
	Release struct{ Why string }
)

func (d Idle) Reason() string      { return d.Why }
func (d Wait) Reason() string      { return d.For }
func (d BackOff) Reason() string   { return d.Why }
func (d Start) Reason() string     { return d.Why }
func (Continue) Reason() string    { return "sync in progress" }
func (d Supersede) Reason() string { return d.Why }
func (d Release) Reason() string   { return d.Why }

func (Idle) decision()      {}
func (Wait) decision()      {}
func (BackOff) decision()   {}
func (Start) decision()     {}
func (Continue) decision()  {}
func (Supersede) decision() {}
func (Release) decision()   {}

// Next decides.
func Next(f Facts) Decision {
	if f.Deleting {
		return deletion(f)
	}
	if f.Paused {
		return Idle{"reconciliation is paused by an annotation"}
	}
	if f.Refused != "" {
		return Idle{f.Refused}
	}
	if f.Running != nil {
		return running(f)
	}
	if f.Unavailable != "" {
		return BackOff{f.Now.Add(retryUnavailable(f)), f.Unavailable}
	}
	d := Decision(Start{Scope: Full, Why: "requested"})
	if !f.Requested {
		d = propose(f, automatic(f))
	}
	if s, ok := d.(Start); ok && s.Scope == Full && len(f.Waiting) > 0 {
		return Wait{"waiting for " + strings.Join(f.Waiting, ", ")}
	}
	return d
}

func deletion(f Facts) Decision {
	if !f.Cascade {
		return Release{"its resources are left as they are"}
	}
	if len(f.Dependents) > 0 {
		return Wait{"deletion waits until " + strings.Join(f.Dependents, ", ") + " is gone, which depends on it"}
	}
	if f.Nowhere {
		return Release{"it holds nothing, and its destination is not known"}
	}
	if f.Refused != "" {
		return Idle{f.Refused}
	}
	if f.Unavailable != "" {
		return BackOff{f.Now.Add(retryUnavailable(f)), f.Unavailable}
	}
	if f.Running != nil && f.Running.Scope == Remove {
		return Continue{}
	}
	if f.Running != nil {
		return Supersede{"the Application is being deleted"}
	}
	if f.Last != nil && f.Last.Failed && f.Last.Desired == f.Desired {
		if at := f.Last.At.Add(DefaultRetry.Delay(f.Last.Failures)); f.Now.Before(at) {
			return BackOff{at, "deletion failed, will be tried again"}
		}
	}
	if f.Held == 0 && f.Last != nil && !f.Last.Failed && f.Last.Desired == f.Desired {
		return Release{"all its resources are gone"}
	}
	if f.Held > 0 && f.Held == f.Unconfirmed {
		return Wait{fmt.Sprintf("the deletion of %d resources waits to be confirmed (annotation argocd.argoproj.io/deletion-approved)", f.Held)}
	}
	return Start{Scope: Remove, Prune: true, Why: "the Application is being deleted"}
}

// retryUnavailable is how long to wait before looking again at what could not
// be looked at. What can be watched comes back by itself, earlier.
func retryUnavailable(f Facts) time.Duration {
	n := 1
	if f.Last != nil {
		n = max(1, f.Last.Failures)
	}
	return DefaultRetry.Delay(n)
}

func running(f Facts) Decision {
	if f.Running.Automated && f.Requested {
		return Supersede{"superseded by a sync that was asked for"}
	}
	if f.Running.Automated && f.Unavailable == "" && f.Running.Desired != f.Desired {
		return Supersede{"superseded by a newer revision"}
	}
	if f.Unavailable != "" {
		return BackOff{f.Now.Add(retryUnavailable(f)), f.Unavailable}
	}
	return Continue{}
}

func automatic(f Facts) Decision {
	if !f.Pending.any() {
		return Idle{"in sync"}
	}
	if !f.Policy.Automated && f.Pending.DriftRevert > 0 {
		return heal(f) // a drift rule says so, whatever is declared meanwhile
	}
	if !f.Policy.Automated {
		return Idle{"out of sync; automated sync is off"}
	}
	attempted := f.Last != nil && f.Last.Desired == f.Desired
	declared := f.Pending.Declared > 0 || f.Pending.Extra > 0 && f.Policy.Prune
	drifted := f.Pending.DriftRevert > 0 || f.Pending.DriftDefault > 0 && f.Policy.SelfHeal
	again := f.Pending.Transient > 0 || f.Pending.Problems > 0
	switch {
	case !declared && !drifted && !again:
		return Idle{unsettled(f)}
	case f.Destroys > 0 && !f.Policy.Prune && (declared || drifted):
		return Idle{fmt.Sprintf("auto-sync would destroy %d resources, and automated.prune is off: look at the plan, then sync by hand with --prune", f.Destroys)}
	case f.Empty && f.Pending.Extra > 0 && f.Policy.Prune && !f.Policy.AllowEmpty:
		return Idle{fmt.Sprintf("auto-sync would delete all %d resources, because nothing is declared any more: set allowEmpty, or sync by hand with --prune", f.Pending.Extra)}
	case drifted && (!declared || attempted && !f.Whole): // of a whole, no part can be healed alone
		return heal(f)
	case attempted && f.Last.Failed:
		return repeat(f)
	case declared && attempted && f.Pending.Declared > 0:
		// A sync of exactly this succeeded, yet it is not there: something takes it
		// away again. Without back-off this would be a fight at full speed.
		return fight(f, Start{Scope: Full, Prune: f.Policy.Prune, Why: "declared resources are missing"})
	case declared || again && !attempted:
		return Start{Scope: Full, Prune: f.Policy.Prune, Why: "what is declared has changed"}
	}
	return repeat(f)
}

// quickHeals is how many heals in a row are made at once. More of them are a
// fight with somebody else, which is fought ever more slowly.
const quickHeals = 5

func heal(f Facts) Decision {
	const why = "live state has drifted"
	n, reason := f.Heals-quickHeals, fmt.Sprintf("%s again, %d times in a row: something else writes the same fields", why, f.Heals)
	if f.HealProblem != "" {
		n, reason = f.Heals, "self-heal failed: "+f.HealProblem
	}
	if n > 0 {
		if at := f.HealedAt.Add(f.Policy.Retry.Delay(n)); f.Now.Before(at) {
			return BackOff{at, reason}
		}
	}
	return Start{Scope: Heal, Why: why}
}

// fight starts, but not more often than the retry delay grows to.
func fight(f Facts, s Start) Decision {
	if at := f.Last.At.Add(f.Policy.Retry.Delay(max(1, f.Last.Failures))); f.Now.Before(at) {
		return BackOff{at, s.Why}
	}
	return s
}

func repeat(f Facts) Decision {
	n := max(1, f.Last.Failures)
	if l := f.Policy.Retry.Limit; l >= 0 && n > l {
		return Idle{fmt.Sprintf("sync failed %d times, the retry limit; it waits for a new revision or `plumb sync`", n)}
	}
	at := f.Last.At.Add(f.Policy.Retry.Delay(n))
	if f.Now.Before(at) {
		return BackOff{at, fmt.Sprintf("sync failed, retry %d", n)}
	}
	return Start{Scope: Full, Prune: f.Policy.Prune, Why: fmt.Sprintf("retry %d", n)}
}

func unsettled(f Facts) string {
	if f.Pending.Extra > 0 && !f.Policy.Prune {
		return "out of sync: pruning is off"
	}
	if f.Pending.DriftDefault == 0 {
		return "out of sync: live state has drifted, and a drift rule asks to report it only"
	}
	return "out of sync: live state has drifted, self-heal is off"
}
