package cloud

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func entities(f Flavour) []entity {
	return []entity{vpc(), subnet(), securityGroup(), instance(), bucket(), store(), secret(), record(f), thing()}
}

func vpc() entity {
	return entity{name: "vpc", kind: "vpc", schema: schema.Schema{Attributes: with(map[string]schema.Attribute{
		"cidr_block":                fixed(),
		"enable_dns_support":        flag(true),
		"enable_dns_hostnames":      flag(false),
		"tags":                      stringMap(),
		"owner_id":                  given(),
		"main_route_table_id":       given(),
		"default_security_group_id": given(),
	})}}
}

func subnet() entity {
	zone := chosen()
	zone.PlanModifiers = append(zone.PlanModifiers, stringplanmodifier.RequiresReplaceIfConfigured())
	return entity{name: "subnet", kind: "subnet", schema: schema.Schema{Attributes: with(map[string]schema.Attribute{
		"vpc_id":                  fixed(),
		"cidr_block":              fixed(),
		"availability_zone":       zone,
		"map_public_ip_on_launch": flag(false),
		"tags":                    stringMap(),
		"available_ips":           schema.Int64Attribute{Computed: true},
	})}}
}

func securityGroup() entity {
	rule := schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
		"from_port":       schema.Int64Attribute{Required: true},
		"to_port":         schema.Int64Attribute{Required: true},
		"protocol":        required(),
		"cidr_blocks":     stringList(false),
		"security_groups": stringSet(),
		"description":     optional(),
	}}
	description := defaulted("Managed by Terraform")
	description.PlanModifiers = []planmodifier.String{stringplanmodifier.RequiresReplace()}
	return entity{name: "security_group", kind: "security_group", schema: schema.Schema{
		Attributes: with(map[string]schema.Attribute{
			"name":        fixed(),
			"description": description,
			"vpc_id":      fixed(),
			"tags":        stringMap(),
			"owner_id":    given(),
		}),
		Blocks: map[string]schema.Block{
			"ingress": schema.SetNestedBlock{NestedObject: rule},
			"egress":  schema.ListNestedBlock{NestedObject: rule},
		},
	}}
}

func instance() entity {
	password, userData := given(), optionalFixed()
	password.Sensitive, userData.Sensitive = true, true
	encrypted := schema.BoolAttribute{Optional: true, Computed: true}
	return entity{name: "instance", kind: "instance", schema: schema.Schema{
		Attributes: with(map[string]schema.Attribute{
			"ami":                    fixed(),
			"instance_type":          required(),
			"subnet_id":              optionalFixed(),
			"vpc_security_group_ids": stringSet(),
			"availability_zone":      chosen(),
			"public":                 flag(false),
			"user_data":              userData,
			"password":               password,
			"tags":                   stringMap(),
			"private_ip":             given(),
			"public_ip":              computed(),
			"state":                  computed(),
			"launch_time":            given(),
			"root_disk": schema.SingleNestedAttribute{
				Optional: true, Computed: true,
				PlanModifiers: []planmodifier.Object{objectplanmodifier.UseStateForUnknown()},
				Attributes: map[string]schema.Attribute{
					"size": chosenCount(), "type": chosen(), "encrypted": encrypted, "volume_id": given(),
				},
			},
		}),
		Blocks: map[string]schema.Block{
			"disk": schema.ListNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
				"device": required(), "size": count(8), "type": defaulted("ssd"),
			}}},
			timeoutsField: timeouts.BlockAll(context.Background()),
		},
	}}
}

func bucket() entity {
	return entity{
		name: "bucket", kind: "bucket",
		schema: schema.Schema{
			Attributes: with(map[string]schema.Attribute{
				"name":          fixed(),
				"versioning":    flag(false),
				"storage_class": defaulted("standard"),
				"labels":        stringMap(),
				"domain_name":   given(),
				"last_accessed": computed(),
				"access_count":  schema.Int64Attribute{Computed: true},
				"size_bytes":    schema.Int64Attribute{Computed: true},
			}),
			Blocks: map[string]schema.Block{
				"lifecycle_rule": schema.ListNestedBlock{NestedObject: schema.NestedBlockObject{
					Attributes: map[string]schema.Attribute{
						"id": required(), "enabled": flag(true), "prefix": optional(), "expiration_days": schema.Int64Attribute{Optional: true},
					},
					Blocks: map[string]schema.Block{
						"transition": schema.ListNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
							"days": schema.Int64Attribute{Required: true}, "storage_class": required(),
						}}},
					},
				}},
			},
		},
		movers: []resource.StateMover{{StateMover: moveStore}},
	}
}

// store is what bucket was called: a resource of it can be moved.
func store() entity {
	return entity{
		name: "store", kind: "bucket",
		schema: schema.Schema{
			DeprecationMessage: "Use cloud_bucket, and a moved block.",
			Attributes: with(map[string]schema.Attribute{
				"title":      fixed(),
				"versioning": flag(false),
				"labels":     stringMap(),
			}),
		},
		toCloud: func(body map[string]any) {
			rename(body, "title", "name")
			body["storage_class"] = "standard"
		},
		fromCloud: func(body map[string]any) { rename(body, "name", "title") },
	}
}

func rename(body map[string]any, from, to string) {
	body[to] = body[from]
	delete(body, from)
}

// moveStore turns the state of a cloud_store into that of a cloud_bucket.
func moveStore(ctx context.Context, req resource.MoveStateRequest, resp *resource.MoveStateResponse) {
	if req.SourceTypeName != "cloud_store" {
		return // another mover's, or nobody's
	}
	err := convert(ctx, req.SourceRawState.JSON, &resp.TargetState, func(fields map[string]any) {
		rename(fields, "title", "name")
		fields["storage_class"] = "standard"
		fields["lifecycle_rule"] = []any{}
	})
	if err != nil {
		resp.Diagnostics.AddError("Cannot move cloud_store", err.Error())
	}
}

func secret() entity {
	sensitive, writeOnly := optional(), optional()
	sensitive.Sensitive = true
	writeOnly.Sensitive, writeOnly.WriteOnly = true, true
	return entity{name: "secret", kind: "secret", schema: schema.Schema{Attributes: with(map[string]schema.Attribute{
		"name":             fixed(),
		"description":      optional(),
		"value":            sensitive,
		"value_wo":         writeOnly,
		"value_wo_version": schema.Int64Attribute{Optional: true, Description: "Change it to write value_wo again."},
		"version_id":       computed(),
		"labels":           schema.MapAttribute{ElementType: types.StringType, Optional: true, Sensitive: true},
	})}}
}
