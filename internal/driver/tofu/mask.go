package tofu

import (
	"maps"

	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// maskChange masks what the program does not know to be secret.
func maskChange(c plan.Change, masks render.Texts) plan.Change {
	switch c := c.(type) {
	case plan.Create:
		masks.MaskObjects(nil, c.After.Object)
	case plan.Update:
		masks.MaskObjects(c.Before.Object, c.After.Object)
	case plan.Replace:
		masks.MaskObjects(c.Before.Object, c.After.Object)
		c.Reason = masks.Mask(c.Reason)
		return c
	case plan.Delete:
		masks.MaskObjects(nil, c.Before.Object)
	case plan.Forget:
		masks.MaskObjects(nil, c.Before.Object)
	}
	return c
}

// maskOutputs calls those outputs sensitive in which there is a secret.
func maskOutputs(outputs map[string]render.Value, masks render.Texts) map[string]render.Value {
	if len(masks) == 0 {
		return outputs
	}
	out := maps.Clone(outputs)
	for name, v := range out {
		if !v.Sensitive && masks.Mask(string(v.JSON)) != string(v.JSON) {
			v.Sensitive = true
			out[name] = v
		}
	}
	return out
}
