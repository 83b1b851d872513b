package tofu

import (
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// Outputs are shown as resources where a plan changes them.
const (
	outputKind   = "output"
	outputPrefix = "output."
)

// change is one change of a plan, and why it is in it.
type change struct {
	change plan.Change
	cause  driver.Cause
}

func (c change) ref() plan.Ref { return c.change.Target() }

// changes are those of a plan.
func (m *module) changes(p *run.Planned) []change {
	if p.Plan == nil {
		return nil
	}
	var out []change
	for _, c := range planjson.Convert(p.Plan).Changes {
		ch := change{change: c.Change, cause: driver.CauseDeclared}
		switch {
		case c.Deleted:
			ch.cause = driver.CauseDeleted
		case c.Drift:
			ch.cause = driver.CauseDrift
		case c.Change.Action() == plan.ActionCreate:
			ch.cause = driver.CauseMissing
		case c.Change.Action() == plan.ActionDelete:
			ch.cause = driver.CauseExtra
		}
		out = append(out, ch)
	}
	return out
}

// into writes a change into the resource that it is of, and tells whether it is to
// be made.
func (c change) into(r *driver.Resource, want *driver.Desired) bool {
	if c.cause == driver.CauseDrift || c.cause == driver.CauseDeleted {
		r.Answer = answer(want.Drift, r.Ref)
		if r.Answer == v1alpha1.DriftIgnore {
			return false
		}
	}
	r.Sync, r.Cause = driver.OutOfSync, c.cause
	switch {
	case c.cause == driver.CauseDeleted:
		r.Exists = false
		r.Health = health.Health{Status: health.Missing}
		r.Held = driver.Held{Ref: r.Ref, Desired: heldMark, Applied: heldMark}
	case c.change.Action() == plan.ActionCreate:
		r.Exists = false
		r.Health = health.Health{Status: health.Missing}
		r.Held = driver.Held{Ref: r.Ref}
	}
	return true
}
