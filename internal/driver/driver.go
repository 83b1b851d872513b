// Package driver is the contract between the engine and the destinations: a
// driver makes one kind of destination match a bundle, and watches it. It knows
// resources and changes; it knows nothing of Git, of Applications' policies, or
// of when to act: the engine decides, a driver does. Every driver passes the
// suite in drivertest.
package driver

import (
	"context"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// Owner names the Application that holds resources, as it is written on them:
// "<namespace>/<name>" for plumb.dev, "argoproj.io/<namespace>/<name>" for
// argoproj.io.
type Owner string

// Target says where changes are made, for which Application and as whom.
type Target struct {
	Owner Owner
	// Server is the destination: an API server's URL as the cluster is
	// registered, or v1alpha1.InClusterServer ("https://kubernetes.default.svc").
	Server string
	// Namespace is the default of namespaced objects that name none.
	Namespace string
	// Identity to impersonate, empty for the credentials of the cluster itself.
	Identity string
}

// Desired is what a destination is compared with.
type Desired struct {
	Target Target
	Bundle render.Bundle
	// Inventory is what the Application held after its last pass. A resource
	// that is in it but not in the bundle is to be deleted.
	Inventory []Held
	// SyncOptions, IgnoreDifferences and Drift are the Application's.
	SyncOptions       v1alpha1.SyncOptions
	IgnoreDifferences []v1alpha1.ResourceIgnoreDifferences
	Drift             *v1alpha1.DriftPolicy
	NamespaceMetadata *v1alpha1.ManagedNamespaceMetadata
	// Fence tells why the Application's project refuses a resource, or nil.
	Fence func(ref plan.Ref, namespaced bool) error
	// Deleting is true where the Application goes: hooks are those of a deletion.
	Deleting bool
	// DeletionApproved is true where deletions that ask for a confirmation
	// (Prune=confirm, Delete=confirm) have got it.
	DeletionApproved bool
	// Modules is what the project lets modules do; nil for the defaults.
	Modules *v1alpha1.ModulePolicy
	// Clone makes dir a bare copy of a Git repository that what is declared refers to
	// at some revisions ("" for the one that it has without any), or brings it up to
	// date: with the credentials that there are for it, and with what is signed alone
	// where the project asks for signatures. It is false where nothing was copied,
	// because neither is needed. Without a dir it is only told whether others may
	// clone it, unseen by Plumb. It may be nil.
	Clone func(ctx context.Context, repo string, revisions []string, dir string) (bool, error)
	// Fresh asks to look at everything anew, because somebody has asked for it.
	Fresh bool
	// Full asks for a prediction of every change (server-side dry-run), also of
	// creations, and for Before and After of all: for people to look at.
	Full bool
}

// Held is one entry of an inventory. Desired and Applied are the driver's own
// marks (hashes) of what was declared and of what the destination then stored.
// They are empty for what was about to be made when the inventory was written:
// whether it was made, only the destination knows.
type Held struct {
	Ref              plan.Ref
	Desired, Applied string
	// Keep is set where the resource must not be deleted with the Application.
	Keep bool
}

// SyncState says how a resource stands to what is declared.
type SyncState string

// The closed set of sync states, in Argo CD's words.
const (
	Synced    SyncState = "Synced"
	OutOfSync SyncState = "OutOfSync"
	// Unknown is never reported as Synced: the driver could not look.
	Unknown SyncState = "Unknown"
)

// Cause says why a resource is out of sync.
type Cause string

// The closed set of causes.
const (
	CauseNone     Cause = ""
	CauseMissing  Cause = "missing"  // declared, never made
	CauseDeclared Cause = "declared" // what is declared has changed
	CauseDrift    Cause = "drift"    // the destination has changed
	CauseDeleted  Cause = "deleted"  // was made, and was deleted out of band
	CauseExtra    Cause = "extra"    // no longer declared: to be pruned
)

// Resource is the state of one declared, held or hook resource.
type Resource struct {
	Ref    plan.Ref
	Sync   SyncState
	Cause  Cause
	Health health.Health
	// Exists tells whether it is live. Deleting, whether it is on its way out.
	Exists, Deleting bool
	// Ensured is set where it is only to exist, and is neither declared nor held.
	Ensured bool
	Wave    int
	// Answer to a drift of this resource ("revert", "report", "ignore"), by the
	// Application's drift rules; empty means that no rule speaks of it.
	Answer v1alpha1.DriftAction
	// Drift tells of a drift, where that is its cause.
	Drift *Drift
	// Problem is why the resource can't be changed (outside the project's fence,
	// claimed by another Application, unknown kind…). It holds only this one up.
	Problem *Problem
	// Guard is why the resource must not be pruned without more ado
	// ("Prune=false", "Prune=confirm"), or empty.
	Guard string
	// Hook is set for hooks.
	Hook *Hook
	// Images that it runs, CreatedAt: for presentation.
	Images    []string
	CreatedAt time.Time
	// Held is what to remember of it.
	Held Held
}

// Drift is how a resource was changed at its destination.
type Drift struct {
	// Fields that were changed, as JSON pointers; none where that is not known.
	Fields []string
	// Manager is who has last changed one of them, in the destination's words, as far
	// as it tells, and Written when, to the second, by its clock.
	Manager string
	Written time.Time
}

// MostFields is how many fields of one drift are told.
const MostFields = 20

// Reasons of problems that the engine, too, knows by name. Drivers add their
// own: "Forbidden", "Invalid", "NamespaceMissing", "Immutable".
const (
	ReasonNotPermitted = "NotPermitted"   // outside the project's fence
	ReasonShared       = "SharedResource" // claimed by another Application
	ReasonUnknownKind  = "UnknownKind"
)

// Problem is why one resource can't be looked at or changed.
type Problem struct { //nolint:errname // a resource has it as its problem; that it is an error too comes second
	// Reason is a CamelCase word.
	Reason  string
	Message string
	// Transient is true where trying again may help by itself.
	Transient bool
}

func (p *Problem) Error() string { return p.Message }

// Hook is what is known of a hook's run.
type Hook struct {
	Phases []plan.Phase
	// Policies of deletion in Argo CD's words (HookSucceeded, HookFailed,
	// BeforeHookCreation).
	Policies []string
	// Operation that the live object was made by, if there is one, and the phase
	// of it.
	Operation string
	Phase     plan.Phase
	// Done and Failed tell how the live object's run ended.
	Done, Failed bool
}

// Comparison is how a destination stands to what is desired of it.
type Comparison struct {
	// Resources are sorted by address; hooks are among them.
	Resources []Resource
	// Plan makes the destination match. Problems, guarded prunes and ignored
	// drift are not in it; reported drift and hooks are.
	Plan plan.Plan
	// Calls counts the requests that the comparison cost. 0 when nothing changed.
	Calls int
	// Outputs are values that other Applications may use.
	Outputs map[string]render.Value
	// Recorded is true where the driver itself keeps a record of what it makes,
	// which survives a crash: nothing needs to be written down before.
	Recorded bool
	// Whole is true where the plan is applied as a whole or not at all: where its
	// deletions may not be made, nothing of it is.
	Whole bool
	// Busy is true while an apply is under way that nobody may get in the way of:
	// what it changes is progressing, and there is no plan before it has ended.
	Busy bool
	// Notes tell people what they should know and need not act on.
	Notes []string
}

// Apply is an order to make steps true.
type Apply struct {
	Desired Desired
	// Operation identifies the sync; hooks are labelled with it.
	Operation string
	Steps     []plan.Step
	// Force and Replace are the sync's own options beside SyncOptions.
	Force, Replace, DryRun bool
	// Prune tells whether deletions belong to the sync, and Partial, whether
	// somebody has chosen some of its steps: others are left out on purpose.
	Prune, Partial bool
	// MaxAge is how old a plan may be that is made true as it is, where a driver
	// keeps plans (0: the driver's default). An older one is looked at anew first,
	// and made true only if it still says the same.
	MaxAge time.Duration
	// Concurrency is the most steps made at once (0: the driver's default).
	Concurrency int
}

// Result is how one step went.
type Result struct {
	Step plan.Step
	// Message says what happened, in kubectl's words ("deployment.apps/web
	// configured"), or why not.
	Message string
	// Problem is nil on success.
	Problem *Problem
	// Held is what to remember of the resource now; nil once it is deleted.
	Held *Held
}

// Capabilities of a destination that rendering depends on.
type Capabilities struct {
	KubeVersion string
	APIVersions []string
}

// Driver makes one kind of destination match bundles.
type Driver interface {
	// Compare says how the destination stands to what is desired, and what must
	// change. Where nothing changed since the last comparison it costs no call.
	// An error means that the destination as a whole could not be looked at.
	Compare(ctx context.Context, d Desired) (Comparison, error)
	// Apply makes the given steps true, all of them at once as far as may be: the
	// engine passes only what has nothing left to wait for. It reports each
	// step's end once, from several goroutines. It does not wait for health or for
	// deletions to finish. What takes long may go on after it has returned, and is
	// reported then; until ctx is done, at the latest.
	Apply(ctx context.Context, a Apply, report func(Result))
	// Watch calls moved with the owner of any resource whose comparison or health
	// may now be another, until ctx is done.
	Watch(ctx context.Context, moved func(Owner)) error
	// Forget drops all that is kept in memory for an owner.
	Forget(owner Owner)
	// Capabilities of a destination. Cached; asks the destination at most once
	// in a while.
	Capabilities(ctx context.Context, t Target) (Capabilities, error)
}

// Canceller is a driver whose steps go on after Apply has returned.
type Canceller interface {
	// Cancel has what is under way for an owner end early, without harm: it is
	// reported as failed then.
	Cancel(owner Owner)
}

// RefusedError says that what is declared can't be compared, and that trying again
// does not help: somebody has to change it.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }
