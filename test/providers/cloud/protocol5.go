package cloud

import (
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// withoutNesting makes a schema that protocol 5 can tell: attributes with
// nested attributes become objects of those that can be set.
func withoutNesting(s schema.Schema) schema.Schema {
	attributes := map[string]schema.Attribute{}
	for name, a := range s.Attributes {
		attributes[name] = flat(a)
	}
	s.Attributes = attributes
	return s
}

func flat(a schema.Attribute) schema.Attribute {
	switch a := a.(type) {
	case schema.SingleNestedAttribute:
		return schema.ObjectAttribute{
			AttributeTypes: settable(a.Attributes),
			Required:       a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, PlanModifiers: a.PlanModifiers,
		}
	case schema.ListNestedAttribute:
		return schema.ListAttribute{
			ElementType: types.ObjectType{AttrTypes: settable(a.NestedObject.Attributes)},
			Required:    a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, PlanModifiers: a.PlanModifiers,
		}
	case schema.SetNestedAttribute:
		return schema.SetAttribute{
			ElementType: types.ObjectType{AttrTypes: settable(a.NestedObject.Attributes)},
			Required:    a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, PlanModifiers: a.PlanModifiers,
		}
	case schema.MapNestedAttribute:
		return schema.MapAttribute{
			ElementType: types.ObjectType{AttrTypes: settable(a.NestedObject.Attributes)},
			Required:    a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, PlanModifiers: a.PlanModifiers,
		}
	}
	return a
}

func settable(attributes map[string]schema.Attribute) map[string]attr.Type {
	types := map[string]attr.Type{}
	for name, a := range attributes {
		if a.IsRequired() || a.IsOptional() {
			types[name] = flat(a).GetType()
		}
	}
	return types
}
