package tofu

import (
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// maskChange masks what the program does not know to be secret, and what that
// replaces: most likely the secret that was there before.
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
