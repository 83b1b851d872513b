package tofu

import (
	"encoding/json"
	"os"
	"slices"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// Outputs are shown as resources where a plan changes nothing else.
const (
	outputKind   = "output"
	outputPrefix = "output."
)

// change is one change of a plan, and why it is in it.
type change struct {
	change plan.Change
	cause  driver.Cause
	// fields are the attributes that it changes, as JSON pointers.
	fields []string
}

func (c change) ref() plan.Ref { return c.change.Target() }

// changes are those of a plan.
func (m *module) changes(p *run.Planned) []change {
	if p.Plan == nil {
		return nil
	}
	said := planjson.Convert(p.Plan, planjson.Options{Salt: m.d.o.Salt})
	var out []change
	for _, s := range said.Plan.Steps {
		c := maskChange(s.Change, m.masks)
		maskTexts(c, m.mask)
		out = append(out, change{c, m.cause(s.Change, said.Drift), said.Changed[s.Change.Target().Address()]})
	}
	if len(out) > 0 {
		return out
	}
	for _, o := range said.Outputs {
		ref := plan.Ref{Kind: outputKind, Name: outputPrefix + o.Name}
		out = append(out, change{plan.Update{Resource: ref, Before: m.shown(o.Before), After: m.shown(o.After)}, driver.CauseDeclared, nil})
	}
	return out
}

// shown is the value of an output, which is masked already.
func (m *module) shown(v any) plan.State {
	if v == nil {
		return plan.State{}
	}
	object := map[string]any{"value": v}
	m.masks.MaskObjects(nil, object)
	return plan.State{Object: object}
}

func (m *module) mask(text string) string { return m.runner.Masker().Mask(text) }

// outputs are those of the state. One that holds a secret is one, whatever the
// module says of it.
func (m *module) outputs() map[string]render.Value {
	if m.runner == nil {
		return m.state.outputs
	}
	out := make(map[string]render.Value, len(m.state.outputs))
	for name, v := range m.state.outputs {
		v.Sensitive = v.Sensitive || m.mask(string(v.JSON)) != string(v.JSON)
		out[name] = v
	}
	return out
}

// cause says why a plan has a change: that what is declared has changed, or what
// is live.
func (m *module) cause(c plan.Change, drifted []planjson.Drift) driver.Cause {
	at := slices.IndexFunc(drifted, func(d planjson.Drift) bool { return d.Ref == c.Target() })
	moved := at >= 0 && m.unchanged
	switch c := c.(type) {
	case plan.Create:
		if at >= 0 && drifted[at].Deleted {
			return driver.CauseDeleted
		}
		return driver.CauseMissing
	case plan.Update:
		if c.Drift || moved {
			return driver.CauseDrift
		}
	case plan.Replace:
		if moved {
			return driver.CauseDrift
		}
	case plan.Delete, plan.Forget:
		return driver.CauseExtra
	}
	return driver.CauseDeclared
}

// settledOnce tells whether a plan has found nothing to do for exactly this module
// before, at whatever state: then what it finds now has changed outside.
func (m *module) settledOnce(key string) bool {
	var s stamp
	text, err := os.ReadFile(m.path("clean.json"))
	return err == nil && json.Unmarshal(text, &s) == nil && s.Key == key
}

// into writes a change into the resource that it is of, and tells whether it is to
// be made.
func (c change) into(r *driver.Resource, want *driver.Desired) bool {
	if c.cause == driver.CauseDrift || c.cause == driver.CauseDeleted {
		r.Answer = answer(want.Drift, r.Ref, c.fields)
		if r.Answer == v1alpha1.DriftIgnore {
			return false
		}
	}
	r.Sync, r.Cause = driver.OutOfSync, c.cause
	if u, ok := c.change.(plan.Update); ok && (u.Import != "" || u.From != "" || r.Ref.Kind == outputKind) {
		r.Exists = u.From != "" || u.Import != ""
		r.Health = health.Health{Status: health.Healthy}
	}
	if c.change.Action() == plan.ActionCreate {
		r.Exists = false
		r.Health = health.Health{Status: health.Missing}
		r.Held = driver.Held{Ref: r.Ref}
		if c.cause == driver.CauseDeleted {
			r.Held = driver.Held{Ref: r.Ref, Desired: heldMark, Applied: heldMark}
		}
	}
	return true
}
