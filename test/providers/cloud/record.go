package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// record is cloud_record, whose schema changed with the major versions of the
// provider:
//
//	0.x  version 0: value = "a,b" (text), ttl = "300" (text)
//	1.x  version 1: values = ["a", "b"] (list), ttl = "300" (text)
//	2.x  version 2: values = ["a", "b"] (set), ttl = 300 (number), type = "A"
//
// The cloud has always had it as 2.x has.
func record(f Flavour) entity {
	switch f.major() {
	case "0":
		return recordV0()
	case "1":
		e := recordV1()
		e.upgraders = map[int64]resource.StateUpgrader{0: {StateUpgrader: upgradeRecord(1)}}
		return e
	default:
		return entity{
			name: "record", kind: "record",
			schema: schema.Schema{Version: 2, Attributes: with(map[string]schema.Attribute{
				"name":   fixed(),
				"type":   defaulted("A"),
				"values": schema.SetAttribute{ElementType: types.StringType, Required: true},
				"ttl":    count(300),
				"fqdn":   given(),
			})},
			upgraders: map[int64]resource.StateUpgrader{
				0: {StateUpgrader: upgradeRecord(2)},
				1: {StateUpgrader: upgradeRecord(2)},
			},
		}
	}
}

func recordV0() entity {
	return entity{
		name: "record", kind: "record",
		schema: schema.Schema{Attributes: with(map[string]schema.Attribute{
			"name": fixed(), "value": required(), "ttl": defaulted("300"), "fqdn": given(),
		})},
		toCloud: func(body map[string]any) {
			numberTTL(body)
			body["values"] = items(fmt.Sprint(body["value"]))
			delete(body, "value")
		},
		fromCloud: func(body map[string]any) {
			textTTL(body)
			values, _ := body["values"].([]any)
			var texts []string
			for _, v := range values {
				texts = append(texts, fmt.Sprint(v))
			}
			body["value"] = strings.Join(texts, ",")
		},
	}
}

func recordV1() entity {
	return entity{
		name: "record", kind: "record",
		schema: schema.Schema{Version: 1, Attributes: with(map[string]schema.Attribute{
			"name": fixed(), "values": stringList(true), "ttl": defaulted("300"), "fqdn": given(),
		})},
		toCloud: numberTTL, fromCloud: textTTL,
	}
}

func numberTTL(body map[string]any) {
	body["type"] = "A"
	if text, ok := body["ttl"].(string); ok {
		body["ttl"] = json.Number(text)
	}
}

func textTTL(body map[string]any) {
	if body["ttl"] != nil {
		body["ttl"] = fmt.Sprint(body["ttl"])
	}
}

func items(list string) []any {
	values := []any{}
	for item := range strings.SplitSeq(list, ",") {
		values = append(values, item)
	}
	return values
}

// upgradeRecord turns the state of any older version into that of a version.
func upgradeRecord(to int) func(context.Context, resource.UpgradeStateRequest, *resource.UpgradeStateResponse) {
	return func(ctx context.Context, req resource.UpgradeStateRequest, resp *resource.UpgradeStateResponse) {
		err := convert(ctx, req.RawState.JSON, &resp.State, func(fields map[string]any) {
			if list, ok := fields["value"].(string); ok {
				fields["values"] = items(list)
			}
			if to > 1 {
				numberTTL(fields)
			}
		})
		if err != nil {
			resp.Diagnostics.AddError("Cannot upgrade cloud_record", err.Error())
		}
	}
}

// convert makes a state of one schema from one of another.
func convert(ctx context.Context, from []byte, to *tfsdk.State, change func(fields map[string]any)) error {
	fields := map[string]any{}
	read := json.NewDecoder(bytes.NewReader(from))
	read.UseNumber()
	if err := read.Decode(&fields); err != nil {
		return fmt.Errorf("understand the state: %w", err)
	}
	change(fields)
	value, err := decoder{}.decode(fields, to.Schema.Type().TerraformType(ctx), nil)
	if err != nil {
		return fmt.Errorf("understand the state: %w", err)
	}
	to.Raw = value
	return nil
}
