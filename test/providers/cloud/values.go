package cloud

import (
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// encode turns a value into JSON. Unknown parts are left out of objects: they
// are the cloud's to choose.
func encode(v tftypes.Value) (encoded any, known bool, err error) {
	if !v.IsKnown() {
		return nil, false, nil
	}
	if v.IsNull() {
		return nil, true, nil
	}
	switch t := v.Type(); {
	case t.Is(tftypes.String):
		var s string
		err = v.As(&s)
		return s, true, err
	case t.Is(tftypes.Bool):
		var b bool
		err = v.As(&b)
		return b, true, err
	case t.Is(tftypes.Number):
		n := new(big.Float)
		err = v.As(&n)
		return json.Number(n.Text('g', -1)), true, err
	case t.Is(tftypes.List{}), t.Is(tftypes.Set{}), t.Is(tftypes.Tuple{}):
		return encodeSequence(v)
	case t.Is(tftypes.Map{}), t.Is(tftypes.Object{}):
		return encodeFields(v)
	default:
		return nil, false, fmt.Errorf("a value of type %s", t)
	}
}

func encodeSequence(v tftypes.Value) (any, bool, error) {
	var values []tftypes.Value
	if err := v.As(&values); err != nil {
		return nil, false, err
	}
	encoded := []any{}
	for _, value := range values {
		e, _, err := encode(value)
		if err != nil {
			return nil, false, err
		}
		encoded = append(encoded, e)
	}
	return encoded, true, nil
}

func encodeFields(v tftypes.Value) (any, bool, error) {
	var values map[string]tftypes.Value
	if err := v.As(&values); err != nil {
		return nil, false, err
	}
	encoded := map[string]any{}
	for name, value := range values {
		e, known, err := encode(value)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		if known {
			encoded[name] = e
		}
	}
	return encoded, true, nil
}

// decoder turns JSON into values.
type decoder struct {
	// empty are the names of blocks: where the cloud has none, there is an
	// empty collection and not null.
	empty map[string]bool
}

// decode turns JSON into a value of a type. Prior is what the value was, which
// says of a dynamic one what type it has.
func (d decoder) decode(encoded any, t tftypes.Type, prior *tftypes.Value) (tftypes.Value, error) {
	if t.Is(tftypes.DynamicPseudoType) {
		return d.decodeDynamic(encoded, prior)
	}
	if encoded == nil {
		return tftypes.NewValue(t, nil), nil
	}
	switch t := t.(type) {
	case tftypes.List:
		return d.decodeSequence(encoded, t, t.ElementType)
	case tftypes.Set:
		return d.decodeSequence(encoded, t, t.ElementType)
	case tftypes.Map:
		return d.decodeFields(encoded, t, func(string) (tftypes.Type, bool) { return t.ElementType, true }, nil)
	case tftypes.Object:
		return d.decodeFields(encoded, t, func(name string) (tftypes.Type, bool) { ft, ok := t.AttributeTypes[name]; return ft, ok }, prior)
	case tftypes.Tuple:
		return d.decodeTuple(encoded, t)
	}
	return decodePrimitive(encoded, t)
}

func decodePrimitive(encoded any, t tftypes.Type) (tftypes.Value, error) {
	switch e := encoded.(type) {
	case string:
		if t.Is(tftypes.String) {
			return tftypes.NewValue(t, e), nil
		}
	case bool:
		if t.Is(tftypes.Bool) {
			return tftypes.NewValue(t, e), nil
		}
	case json.Number:
		if t.Is(tftypes.Number) {
			n, _, err := big.ParseFloat(e.String(), 10, 512, big.ToNearestEven)
			return tftypes.NewValue(t, n), err
		}
	}
	return tftypes.Value{}, fmt.Errorf("the cloud has %T where %s is expected", encoded, t)
}

func (d decoder) decodeSequence(encoded any, t, element tftypes.Type) (tftypes.Value, error) {
	items, ok := encoded.([]any)
	if !ok {
		return tftypes.Value{}, fmt.Errorf("the cloud has %T where %s is expected", encoded, t)
	}
	values := []tftypes.Value{}
	for _, item := range items {
		v, err := d.decode(item, element, nil)
		if err != nil {
			return tftypes.Value{}, err
		}
		values = append(values, v)
	}
	return tftypes.NewValue(t, values), nil
}

func (d decoder) decodeTuple(encoded any, t tftypes.Tuple) (tftypes.Value, error) {
	items, ok := encoded.([]any)
	if !ok || len(items) != len(t.ElementTypes) {
		return tftypes.Value{}, fmt.Errorf("the cloud has %T where %s is expected", encoded, t)
	}
	values := []tftypes.Value{}
	for i, item := range items {
		v, err := d.decode(item, t.ElementTypes[i], nil)
		if err != nil {
			return tftypes.Value{}, err
		}
		values = append(values, v)
	}
	return tftypes.NewValue(t, values), nil
}

func (d decoder) decodeFields(encoded any, t tftypes.Type, of func(string) (tftypes.Type, bool), prior *tftypes.Value) (tftypes.Value, error) {
	fields, ok := encoded.(map[string]any)
	if !ok {
		return tftypes.Value{}, fmt.Errorf("the cloud has %T where %s is expected", encoded, t)
	}
	names := fields
	if o, isObject := t.(tftypes.Object); isObject {
		names = map[string]any{}
		for name := range o.AttributeTypes {
			names[name] = fields[name]
		}
	}
	values := map[string]tftypes.Value{}
	for name, field := range names {
		fieldType, _ := of(name)
		if field == nil && d.empty[name] && (fieldType.Is(tftypes.List{}) || fieldType.Is(tftypes.Set{})) {
			field = []any{}
		}
		v, err := d.decode(field, fieldType, fieldOf(prior, name))
		if err != nil {
			return tftypes.Value{}, fmt.Errorf("%s: %w", name, err)
		}
		values[name] = v
	}
	return tftypes.NewValue(t, values), nil
}

// decodeDynamic keeps the type that a value had if what the cloud has fits, and
// otherwise takes the one that JSON suggests.
func (d decoder) decodeDynamic(encoded any, prior *tftypes.Value) (tftypes.Value, error) {
	if encoded == nil {
		return tftypes.NewValue(tftypes.DynamicPseudoType, nil), nil
	}
	if prior != nil && prior.IsKnown() && !prior.IsNull() && !prior.Type().Is(tftypes.DynamicPseudoType) {
		if v, err := d.decode(encoded, prior.Type(), nil); err == nil && sameFields(encoded, prior.Type()) {
			return v, nil
		}
	}
	return d.decode(encoded, suggested(encoded), nil)
}

// sameFields tells whether an object type has exactly the fields of an object.
func sameFields(encoded any, t tftypes.Type) bool {
	o, isObject := t.(tftypes.Object)
	fields, hasFields := encoded.(map[string]any)
	if !isObject || !hasFields {
		return true
	}
	return len(fields) == len(o.AttributeTypes)
}

func suggested(encoded any) tftypes.Type {
	switch e := encoded.(type) {
	case string:
		return tftypes.String
	case bool:
		return tftypes.Bool
	case json.Number:
		return tftypes.Number
	case []any:
		t := tftypes.Tuple{ElementTypes: []tftypes.Type{}}
		for _, item := range e {
			t.ElementTypes = append(t.ElementTypes, suggested(item))
		}
		return t
	case map[string]any:
		t := tftypes.Object{AttributeTypes: map[string]tftypes.Type{}}
		for name, field := range e {
			t.AttributeTypes[name] = suggested(field)
		}
		return t
	}
	return tftypes.DynamicPseudoType
}

func fieldOf(v *tftypes.Value, name string) *tftypes.Value {
	if v == nil || v.IsNull() || !v.IsKnown() || !v.Type().Is(tftypes.Object{}) {
		return nil
	}
	var fields map[string]tftypes.Value
	if err := v.As(&fields); err != nil {
		return nil
	}
	field, ok := fields[name]
	if !ok {
		return nil
	}
	return &field
}
