package planjson

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/plumb-dev/plumb/internal/plan"
)

type Change struct {
	Change         plan.Change
	Drift, Deleted bool
}
type Result struct{ Changes []Change }

func st(v any) plan.State {
	b, _ := json.Marshal(v)
	s := sha256.Sum256(b)
	m, _ := v.(map[string]any)
	return plan.State{Hash: hex.EncodeToString(s[:8]), Object: m}
}

func mask(v, marks any) any {
	if marks == true {
		return "(sensitive value)"
	}
	if m, ok := v.(map[string]any); ok {
		mm, _ := marks.(map[string]any)
		out := map[string]any{}
		for k, x := range m {
			out[k] = mask(x, mm[k])
		}
		return out
	}
	return v
}

func Convert(p *tfjson.Plan) Result {
	drift := map[string]*tfjson.ResourceChange{}
	for _, d := range p.ResourceDrift {
		drift[d.Address] = d
	}
	var out []Change
	for _, r := range p.ResourceChanges {
		if r.Mode == tfjson.DataResourceMode {
			continue
		}
		ref := plan.Ref{Kind: r.Type, Name: r.Address}
		c := r.Change
		before, after := st(c.Before), st(c.After)
		before.Object, _ = mask(c.Before, c.BeforeSensitive).(map[string]any)
		after.Object, _ = mask(c.After, c.AfterSensitive).(map[string]any)
		d := drift[r.Address]
		switch {
		case c.Actions.Create():
			out = append(out, Change{Change: plan.Create{Resource: ref, After: after}, Deleted: d != nil && d.Change.Actions.Delete()})
		case c.Actions.Update():
			out = append(out, Change{Change: plan.Update{Resource: ref, Before: before, After: after, Drift: d != nil}, Drift: d != nil})
		case c.Actions.Replace():
			out = append(out, Change{Change: plan.Replace{Resource: ref, Before: before, After: after}, Drift: d != nil})
		case c.Actions.Delete():
			out = append(out, Change{Change: plan.Delete{Resource: ref, Before: before}})
		}
	}
	return Result{out}
}
