package provider

import (
	"bytes"
	"encoding/json"
	"maps"

	"github.com/zclconf/go-cty/cty"
)

// decimal makes numbers what they are once they were written to a state and
// read again: 0.1 is one tenth, not the nearest binary fraction.
func decimal(v cty.Value) (cty.Value, error) {
	return cty.Transform(v, func(_ cty.Path, v cty.Value) (cty.Value, error) {
		if v.IsNull() || !v.IsKnown() || v.Type() != cty.Number {
			return v, nil
		}
		n := v.AsBigFloat()
		if n.IsInt() || n.IsInf() {
			return v, nil
		}
		return cty.ParseNumberVal(n.Text('f', -1))
	})
}

// withoutNullBlocks makes collections of blocks empty that are null: old
// providers do not tell these apart, and OpenTofu does the same.
func (b *Block) withoutNullBlocks(v cty.Value) cty.Value {
	if v.IsNull() || !v.IsKnown() || len(b.Blocks) == 0 {
		return v
	}
	var changed map[string]cty.Value
	for name, nested := range b.Blocks {
		was := v.GetAttr(name)
		is := nested.withoutNulls(was)
		if is.RawEquals(was) {
			continue
		}
		if changed == nil {
			changed = maps.Clone(v.AsValueMap())
		}
		changed[name] = is
	}
	if changed == nil {
		return v
	}
	return cty.ObjectVal(changed)
}

func (b *NestedBlock) withoutNulls(v cty.Value) cty.Value {
	if v.IsNull() {
		if b.Nesting == Single || b.Nesting == Group {
			return v
		}
		return (&Block{Blocks: map[string]*NestedBlock{"it": b}}).Empty().GetAttr("it")
	}
	if b.Nesting == Single || b.Nesting == Group {
		return b.withoutNullBlocks(v)
	}
	if len(b.Blocks) == 0 || v.LengthInt() == 0 {
		return v
	}
	if b.Nesting == Map {
		return b.mapWithoutNulls(v)
	}
	var elements []cty.Value
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		elements = append(elements, b.withoutNullBlocks(element))
	}
	switch {
	case v.Type().IsTupleType():
		return cty.TupleVal(elements)
	case b.Nesting == Set:
		return cty.SetVal(elements)
	default:
		return cty.ListVal(elements)
	}
}

func (b *NestedBlock) mapWithoutNulls(v cty.Value) cty.Value {
	elements := map[string]cty.Value{}
	for it := v.ElementIterator(); it.Next(); {
		key, element := it.Element()
		elements[key.AsString()] = b.withoutNullBlocks(element)
	}
	if v.Type().IsObjectType() {
		return cty.ObjectVal(elements)
	}
	return cty.MapVal(elements)
}

// written is the name of a write-only attribute that has a value; empty if
// none has.
func (r *Resource) written(v cty.Value) string { return r.Block.written(v) }

func (b *Block) written(v cty.Value) string {
	if v.IsNull() {
		return ""
	}
	if name := writtenAttribute(b.Attributes, v); name != "" {
		return name
	}
	for name, nested := range b.Blocks {
		for _, element := range elements(v.GetAttr(name), nested.Nesting) {
			if inner := nested.written(element); inner != "" {
				return name + "." + inner
			}
		}
	}
	return ""
}

func writtenAttribute(attributes map[string]*Attribute, v cty.Value) string {
	if v.IsNull() {
		return ""
	}
	for name, a := range attributes {
		value := v.GetAttr(name)
		if a.WriteOnly && !value.IsNull() {
			return name
		}
		if a.Nested == nil {
			continue
		}
		for _, element := range elements(value, a.Nesting) {
			if inner := writtenAttribute(a.Nested, element); inner != "" {
				return name + "." + inner
			}
		}
	}
	return ""
}

func elements(v cty.Value, n Nesting) []cty.Value {
	if v.IsNull() {
		return nil
	}
	if n == Single || n == Group {
		return []cty.Value{v}
	}
	return v.AsValueSlice()
}

// strip takes attributes away that a type does not have.
func strip(state []byte, t cty.Type) ([]byte, bool) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(state))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil || !stripValue(fields, t) {
		return state, false
	}
	stripped, err := json.Marshal(fields)
	return stripped, err == nil
}

func stripValue(v any, t cty.Type) bool {
	changed := false
	switch v := v.(type) {
	case []any:
		if t.IsListType() || t.IsSetType() {
			for _, element := range v {
				changed = stripValue(element, t.ElementType()) || changed
			}
		}
	case map[string]any:
		for name, inner := range v {
			switch {
			case t.IsMapType():
				changed = stripValue(inner, t.ElementType()) || changed
			case t.IsObjectType() && !t.HasAttribute(name):
				delete(v, name)
				changed = true
			case t.IsObjectType():
				changed = stripValue(inner, t.AttributeType(name)) || changed
			}
		}
	}
	return changed
}
