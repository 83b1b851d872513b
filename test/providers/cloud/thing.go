package cloud

import (
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// thing is cloud_thing, which has one of everything, for modules made at
// random.
func thing() entity {
	secret := optional()
	secret.Sensitive = true
	writeOnly := optional()
	writeOnly.WriteOnly = true
	attributes := with(map[string]schema.Attribute{
		"name":       required(),
		"force_new":  optionalFixed(),
		"defaulted":  defaulted("default"),
		"secret":     secret,
		"write_only": writeOnly,

		"string":  optional(),
		"number":  schema.NumberAttribute{Optional: true},
		"integer": schema.Int64Attribute{Optional: true},
		"float":   schema.Float64Attribute{Optional: true},
		"bool":    schema.BoolAttribute{Optional: true},
		"dynamic": schema.DynamicAttribute{Optional: true},
		"tags":    stringMap(),

		"computed":          given(),
		"fingerprint":       computed(),
		"revision":          schema.Int64Attribute{Computed: true},
		"optional_computed": chosen(),
		"computed_list":     schema.ListAttribute{ElementType: types.StringType, Computed: true},
		"computed_map":      schema.MapAttribute{ElementType: types.StringType, Computed: true},
		"computed_object": schema.SingleNestedAttribute{Computed: true, Attributes: map[string]schema.Attribute{
			"zone": computed(), "weight": schema.Int64Attribute{Computed: true},
		}},
	})
	addCollections(attributes)
	element := schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
		"key": required(), "value": optional(), "count": schema.Int64Attribute{Optional: true}, "kind": defaulted("plain"),
	}}
	return entity{name: "thing", kind: "thing", schema: schema.Schema{
		Attributes: attributes,
		Blocks: map[string]schema.Block{
			"list_block":   schema.ListNestedBlock{NestedObject: element},
			"set_block":    schema.SetNestedBlock{NestedObject: element},
			"single_block": schema.SingleNestedBlock{Attributes: map[string]schema.Attribute{"key": optional(), "value": optional()}},
		},
	}}
}

// addCollections adds the collections, first those of values, then those of
// nested attributes.
func addCollections(attributes map[string]schema.Attribute) {
	fields := map[string]attr.Type{"name": types.StringType, "port": types.Int64Type, "on": types.BoolType}
	attributes["list"] = stringList(false)
	attributes["set"] = stringSet()
	attributes["map"] = stringMap()
	attributes["number_set"] = schema.SetAttribute{ElementType: types.NumberType, Optional: true}
	attributes["list_of_lists"] = schema.ListAttribute{ElementType: types.ListType{ElemType: types.StringType}, Optional: true}
	attributes["map_of_lists"] = schema.MapAttribute{ElementType: types.ListType{ElemType: types.StringType}, Optional: true}
	attributes["set_of_objects"] = schema.SetAttribute{ElementType: types.ObjectType{AttrTypes: fields}, Optional: true}
	attributes["object"] = schema.ObjectAttribute{AttributeTypes: fields, Optional: true}

	attributes["nested"] = schema.SingleNestedAttribute{Optional: true, Attributes: element(map[string]schema.Attribute{
		"inner": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
			"list": stringList(false), "mode": defaulted("auto"),
		}},
	})}
	attributes["nested_list"] = schema.ListNestedAttribute{Optional: true, NestedObject: schema.NestedAttributeObject{Attributes: element(nil)}}
	attributes["nested_set"] = schema.SetNestedAttribute{Optional: true, NestedObject: schema.NestedAttributeObject{Attributes: element(nil)}}
	attributes["nested_map"] = schema.MapNestedAttribute{Optional: true, NestedObject: schema.NestedAttributeObject{Attributes: element(nil)}}
}

// element has a field of each temper: required, optional, sensitive, computed.
func element(more map[string]schema.Attribute) map[string]schema.Attribute {
	secret := optional()
	secret.Sensitive = true
	fields := map[string]schema.Attribute{"key": required(), "value": optional(), "secret": secret, "uid": computed()}
	for name, field := range more {
		fields[name] = field
	}
	return fields
}
