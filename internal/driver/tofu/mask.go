package tofu

import (
	"encoding/json"

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

// maskTexts masks in all texts of a change what the program knows to be secret
// elsewhere: providers copy such values into attributes that are not marked.
func maskTexts(c plan.Change, mask func(string) string) {
	for _, object := range objectsOf(c) {
		for key, v := range object {
			object[key] = maskedIn(v, mask)
		}
	}
}

func objectsOf(c plan.Change) []map[string]any {
	switch c := c.(type) {
	case plan.Create:
		return []map[string]any{c.After.Object}
	case plan.Update:
		return []map[string]any{c.Before.Object, c.After.Object}
	case plan.Replace:
		return []map[string]any{c.Before.Object, c.After.Object}
	case plan.Delete:
		return []map[string]any{c.Before.Object}
	case plan.Forget:
		return []map[string]any{c.Before.Object}
	}
	return nil
}

func maskedIn(v any, mask func(string) string) any {
	switch v := v.(type) {
	case string:
		return mask(v)
	case json.Number:
		if text := v.String(); mask(text) != text {
			return mask(text)
		}
	case map[string]any:
		for key, inner := range v {
			v[key] = maskedIn(inner, mask)
		}
	case []any:
		for i, inner := range v {
			v[i] = maskedIn(inner, mask)
		}
	}
	return v
}
