package provider

import (
	"fmt"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Resource is the schema of one type of resource.
type Resource struct {
	Version  int64
	Block    *Block
	Type     cty.Type
	Identity *Identity // nil where it has none

	// writeOnly and numbers tell whether there are such attributes anywhere.
	writeOnly, numbers bool
}

// Identity is the schema of what identifies objects of a type of resource.
type Identity struct {
	Version int64
	Type    cty.Type
}

// Block is the schema of a block.
type Block struct {
	Attributes map[string]*Attribute
	Blocks     map[string]*NestedBlock
}

// Attribute is the schema of an attribute. It has a Type or it is Nested.
type Attribute struct {
	Type                         cty.Type
	Nested                       map[string]*Attribute
	Nesting                      Nesting
	Required, Optional, Computed bool
	Sensitive, WriteOnly         bool
}

// NestedBlock is the schema of the blocks of one type within a block.
type NestedBlock struct {
	*Block
	Nesting  Nesting
	Min, Max int
}

// Nesting says what nested attributes and blocks are collected in.
type Nesting int

// The values, which are those of the protocol.
const (
	Single Nesting = iota + 1
	List
	Set
	Map
	Group
)

func newResource(m protoreflect.Message) (*Resource, error) {
	block, err := newBlock(message(m, "block"))
	if err != nil {
		return nil, err
	}
	r := &Resource{Version: integer(m, "version"), Block: block, Type: block.Type()}
	r.writeOnly = block.any(func(a *Attribute) bool { return a.WriteOnly })
	r.numbers = block.any(func(a *Attribute) bool { return a.Nested == nil && hasNumbers(a.Type) })
	return r, nil
}

func newIdentity(m protoreflect.Message) (*Identity, error) {
	types := map[string]cty.Type{}
	for each := range messages(m, "identity_attributes") {
		t, err := ctyjson.UnmarshalType(data(each, "type"))
		if err != nil {
			return nil, fmt.Errorf("attribute %q of the identity: %w", text(each, "name"), err)
		}
		types[text(each, "name")] = t
	}
	return &Identity{Version: integer(m, "version"), Type: cty.Object(types)}, nil
}

func newBlock(m protoreflect.Message) (*Block, error) {
	b := &Block{Attributes: map[string]*Attribute{}, Blocks: map[string]*NestedBlock{}}
	for each := range messages(m, "attributes") {
		a, err := newAttribute(each)
		if err != nil {
			return nil, err
		}
		b.Attributes[text(each, "name")] = a
	}
	for each := range messages(m, "block_types") {
		nested, err := newBlock(message(each, "block"))
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", text(each, "type_name"), err)
		}
		b.Blocks[text(each, "type_name")] = &NestedBlock{
			Block: nested, Nesting: blockNesting(enum(each, "nesting")),
			Min: int(integer(each, "min_items")), Max: int(integer(each, "max_items")),
		}
	}
	return b, nil
}

// blockNesting: blocks and nested attributes have the same numbers.
func blockNesting(n protoreflect.EnumNumber) Nesting { return Nesting(n) }

func newAttribute(m protoreflect.Message) (*Attribute, error) {
	a := &Attribute{
		Required: flag(m, "required"), Optional: flag(m, "optional"), Computed: flag(m, "computed"),
		Sensitive: flag(m, "sensitive"), WriteOnly: flag(m, "write_only"),
	}
	nested := field(m, "nested_type") // protocol 5 has none
	if nested == nil || !m.Has(nested) {
		t, err := ctyjson.UnmarshalType(data(m, "type"))
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", text(m, "name"), err)
		}
		a.Type = t
		return a, nil
	}
	object := m.Get(nested).Message()
	a.Nested, a.Nesting = map[string]*Attribute{}, Nesting(enum(object, "nesting"))
	for each := range messages(object, "attributes") {
		inner, err := newAttribute(each)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", text(m, "name"), err)
		}
		a.Nested[text(each, "name")] = inner
	}
	a.Type = a.impliedType(false)
	return a, nil
}

// impliedType of a nested attribute; with those left out that may be, where a
// configuration is read.
func (a *Attribute) impliedType(optional bool) cty.Type {
	if a.Nested == nil {
		return a.Type
	}
	types, may := map[string]cty.Type{}, []string{}
	for name, inner := range a.Nested {
		types[name] = inner.impliedType(optional)
		if !inner.Required {
			may = append(may, name)
		}
	}
	t := cty.Object(types)
	if optional {
		t = cty.ObjectWithOptionalAttrs(types, may)
	}
	switch a.Nesting {
	case List:
		return cty.List(t)
	case Set:
		return cty.Set(t)
	case Map:
		return cty.Map(t)
	default:
		return t
	}
}

// Type is the type of values of the block.
func (b *Block) Type() cty.Type {
	types := map[string]cty.Type{}
	for name, a := range b.Attributes {
		types[name] = a.Type
	}
	for name, nested := range b.Blocks {
		types[name] = nested.collection()
	}
	return cty.Object(types)
}

// collection is a dynamic type where elements need not all have one type.
func (b *NestedBlock) collection() cty.Type {
	t := b.Type()
	switch b.Nesting {
	case List, Map:
		if t.HasDynamicTypes() {
			return cty.DynamicPseudoType
		}
		if b.Nesting == List {
			return cty.List(t)
		}
		return cty.Map(t)
	case Set:
		return cty.Set(t)
	default:
		return t
	}
}

// Spec says how to read the block from a configuration.
func (b *Block) Spec() hcldec.Spec {
	spec := hcldec.ObjectSpec{}
	for name, a := range b.Attributes {
		spec[name] = &hcldec.AttrSpec{Name: name, Type: a.impliedType(true), Required: a.Required}
	}
	for name, nested := range b.Blocks {
		spec[name] = nested.spec(name)
	}
	return spec
}

func (b *NestedBlock) spec(name string) hcldec.Spec {
	inner, dynamic := b.Spec(), b.Type().HasDynamicTypes()
	switch {
	case b.Nesting == List && dynamic:
		return &hcldec.BlockTupleSpec{TypeName: name, Nested: inner, MinItems: b.Min, MaxItems: b.Max}
	case b.Nesting == List:
		return &hcldec.BlockListSpec{TypeName: name, Nested: inner, MinItems: b.Min, MaxItems: b.Max}
	case b.Nesting == Set:
		return &hcldec.BlockSetSpec{TypeName: name, Nested: inner, MinItems: b.Min, MaxItems: b.Max}
	case b.Nesting == Map && dynamic:
		return &hcldec.BlockObjectSpec{TypeName: name, Nested: inner, LabelNames: []string{"key"}}
	case b.Nesting == Map:
		return &hcldec.BlockMapSpec{TypeName: name, Nested: inner, LabelNames: []string{"key"}}
	case b.Nesting == Group:
		return &hcldec.DefaultSpec{
			Primary: &hcldec.BlockSpec{TypeName: name, Nested: inner, Required: b.Min == 1},
			Default: &hcldec.LiteralSpec{Value: b.Empty()},
		}
	default:
		return &hcldec.BlockSpec{TypeName: name, Nested: inner, Required: b.Min == 1}
	}
}

// Empty is a block without anything in it.
func (b *Block) Empty() cty.Value {
	values := map[string]cty.Value{}
	for name, a := range b.Attributes {
		values[name] = cty.NullVal(a.Type)
	}
	for name, nested := range b.Blocks {
		t := nested.collection()
		switch {
		case nested.Nesting == Group:
			values[name] = nested.Empty()
		case t == cty.DynamicPseudoType && nested.Nesting == List:
			values[name] = cty.EmptyTupleVal
		case t == cty.DynamicPseudoType:
			values[name] = cty.EmptyObjectVal
		case nested.Nesting == List:
			values[name] = cty.ListValEmpty(t.ElementType())
		case nested.Nesting == Set:
			values[name] = cty.SetValEmpty(t.ElementType())
		case nested.Nesting == Map:
			values[name] = cty.MapValEmpty(t.ElementType())
		default:
			values[name] = cty.NullVal(t)
		}
	}
	return cty.ObjectVal(values)
}

// any tells whether an attribute, however deep, is of some kind.
func (b *Block) any(is func(*Attribute) bool) bool {
	if anyAttribute(b.Attributes, is) {
		return true
	}
	for _, nested := range b.Blocks {
		if nested.any(is) {
			return true
		}
	}
	return false
}

func anyAttribute(attributes map[string]*Attribute, is func(*Attribute) bool) bool {
	for _, a := range attributes {
		if is(a) || anyAttribute(a.Nested, is) {
			return true
		}
	}
	return false
}

func hasNumbers(t cty.Type) bool {
	switch {
	case t == cty.Number || t == cty.DynamicPseudoType:
		return true
	case t.IsCollectionType():
		return hasNumbers(t.ElementType())
	case t.IsObjectType():
		for _, inner := range t.AttributeTypes() {
			if hasNumbers(inner) {
				return true
			}
		}
	case t.IsTupleType():
		for _, inner := range t.TupleElementTypes() {
			if hasNumbers(inner) {
				return true
			}
		}
	}
	return false
}

// Sensitive tells whether the schema hides the value at a path: its attribute
// is sensitive, or one that holds it.
func (b *Block) Sensitive(path cty.Path) bool {
	for i, step := range path {
		attr, ok := step.(cty.GetAttrStep)
		if !ok {
			continue // the index of a block
		}
		if a := b.Attributes[attr.Name]; a != nil {
			return a.sensitive(path[i+1:])
		}
		nested := b.Blocks[attr.Name]
		if nested == nil {
			return false
		}
		b = nested.Block
	}
	return false
}

func (a *Attribute) sensitive(path cty.Path) bool {
	if a.Sensitive || a.WriteOnly {
		return true
	}
	for i, step := range path {
		attr, ok := step.(cty.GetAttrStep)
		if !ok {
			continue
		}
		if inner := a.Nested[attr.Name]; inner != nil {
			return inner.sensitive(path[i+1:])
		}
		return false
	}
	return false
}
