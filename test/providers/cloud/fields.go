package cloud

import (
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// The fields that schemas are made of.

func required() schema.StringAttribute { return schema.StringAttribute{Required: true} }

func optional() schema.StringAttribute { return schema.StringAttribute{Optional: true} }

// fixed is required, and changing it replaces the resource.
func fixed() schema.StringAttribute {
	return schema.StringAttribute{Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}}
}

func optionalFixed() schema.StringAttribute {
	return schema.StringAttribute{Optional: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}}
}

// given is set by the cloud once and for all.
func given() schema.StringAttribute {
	return schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}}
}

// chosen is the cloud's to choose where it is not set, and stays as it is.
func chosen() schema.StringAttribute {
	return schema.StringAttribute{Optional: true, Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}}
}

func computed() schema.StringAttribute { return schema.StringAttribute{Computed: true} }

func defaulted(value string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(value)}
}

func flag(value bool) schema.BoolAttribute {
	return schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(value)}
}

func count(value int64) schema.Int64Attribute {
	return schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(value)}
}

func chosenCount() schema.Int64Attribute {
	return schema.Int64Attribute{Optional: true, Computed: true, PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()}}
}

func stringList(required bool) schema.ListAttribute {
	return schema.ListAttribute{ElementType: types.StringType, Required: required, Optional: !required}
}

func stringSet() schema.SetAttribute {
	return schema.SetAttribute{ElementType: types.StringType, Optional: true}
}

func stringMap() schema.MapAttribute {
	return schema.MapAttribute{ElementType: types.StringType, Optional: true}
}

// with adds what all resources have.
func with(attributes map[string]schema.Attribute) map[string]schema.Attribute {
	attributes["id"] = given()
	attributes["arn"] = given()
	attributes[tokenField] = schema.StringAttribute{
		Optional:      true,
		PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
		Description:   "Makes the creation idempotent: whoever creates with the same token gets the same object.",
	}
	return attributes
}
