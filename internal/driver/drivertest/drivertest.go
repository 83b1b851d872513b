// Package drivertest is the suite that every driver passes: what the engine
// relies on, said once. It knows a destination only by what the driver's own
// harness lets it make, change and see there.
//
// A destination may take its time to be seen: where the suite looks at the
// effect of something, it looks again until a deadline.
package drivertest

import (
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// Harness is what a driver's own test gives to the suite.
type Harness struct {
	// New gives a driver and an empty destination that no other test touches. It
	// cleans up by t.Cleanup.
	New func(t *testing.T) Setup
	// Patience is how long an effect may take. Default: 30 s.
	Patience time.Duration
}

// Setup is a driver with a destination.
type Setup struct {
	Driver driver.Driver
	// Target for an owner. All owners share the destination.
	Target func(owner driver.Owner) driver.Target
	// Object declares something whose content is the value.
	Object func(name, value string) render.Object
	World  World

	// Secret declares something whose value must never be shown. Nil: the driver
	// has no secrets.
	Secret func(name, value string) render.Object
	// Invalid declares something that the destination refuses. Nil: it refuses
	// nothing.
	Invalid func(name string) render.Object
	// Whole is set where a plan is applied as a whole or not at all.
	Whole bool
	// Unclaimed is set where two owners cannot mean the same thing: each has a world
	// of names of its own.
	Unclaimed bool
	// Annotate puts Argo CD's annotations on a declared object, such as
	// "argocd.argoproj.io/sync-wave". Nil: the driver knows no waves, hooks and
	// guards.
	Annotate func(o render.Object, annotations map[string]string) render.Object
}

// World is what happens to a destination behind the driver's back.
type World interface {
	// Edit gives a declared thing another value.
	Edit(t *testing.T, ref plan.Ref, value string)
	// Delete removes it.
	Delete(t *testing.T, ref plan.Ref)
	// Value of it, and whether it exists.
	Value(t *testing.T, ref plan.Ref) (value string, exists bool)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.Patience == 0 {
		h.Patience = 30 * time.Second
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(newScene(t, h)) })
	}
}

// cases are the rules that a driver keeps, in the order in which they are best
// mended.
var cases = []struct {
	name string
	run  func(*scene)
}{
	{"an empty bundle is an empty plan", emptyIsEmpty},
	{"what is declared is made", declaredIsMade},
	{"what is in sync costs nothing", inSyncIsFree},
	{"a comparison changes nothing and is always the same", comparisonIsPure},
	{"what is declared anew is changed", changeIsMade},
	{"drift is noticed and undone", driftIsUndone},
	{"a deletion out of band is noticed and undone", deletionIsUndone},
	{"ignored drift is in no plan", ignoredDrift},
	{"what is no longer declared is pruned", prunes},
	{"what was never held is left alone", foreignIsLeft},
	{"two owners do not fight", sharedIsRefused},
	{"a fence holds up only what is behind it", fenceHolds},
	{"an invalid object holds up only itself", invalidHoldsItself},
	{"a deletion removes what is held", deletionRemoves},
	{"a dry run changes nothing", dryRun},
	{"steps are reported once", reportsOnce},
	{"a cancelled apply still reports", cancelled},
	{"secrets are shown nowhere", secretsAreMasked},
	{"nothing needed is lost by forgetting", forgets},
	{"a watch ends with its context", watchEnds},
	{"capabilities are known", capabilities},
	{"waves are in the plan", waves},
	{"hooks are planned and not held", hooks},
	{"guards keep from pruning", guards},
	{"any disorder comes to rest", converges},
}
