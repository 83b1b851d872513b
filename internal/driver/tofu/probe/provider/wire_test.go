package provider

import (
	"context"
	"testing"

	"github.com/zclconf/go-cty/cty"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Whatever changes anything does not leave the process.
func TestReadOnly(t *testing.T) {
	var sent []string
	send := func(_ context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		sent = append(sent, method)
		return nil
	}
	for method, allowed := range map[string]bool{
		"/tfplugin6.Provider/ReadResource": true, "/tfplugin5.Provider/Configure": true, "/plugin.GRPCController/Shutdown": true,
		"/tfplugin6.Provider/ApplyResourceChange": false, "/tfplugin5.Provider/ApplyResourceChange": false,
		"/tfplugin6.Provider/PlanResourceChange": false, "/tfplugin6.Provider/ImportResourceState": false,
		"/tfplugin5.Provisioner/ProvisionResource": false, "/tfplugin6.Provider/InvokeAction": false,
	} {
		sent = nil
		err := readOnly(context.Background(), method, nil, nil, nil, send)
		if allowed != (err == nil) || allowed != (len(sent) == 1) {
			t.Errorf("%s: %v, sent %v", method, err, sent)
		}
		if !allowed && status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestDecimal(t *testing.T) {
	parsed := cty.MustParseNumberVal("0.1")
	v, err := decimal(cty.ListVal([]cty.Value{cty.NumberFloatVal(0.1), cty.NumberIntVal(1), cty.NullVal(cty.Number)}))
	if err != nil || !v.Index(cty.Zero).RawEquals(parsed) || !v.Index(cty.NumberIntVal(1)).RawEquals(cty.NumberIntVal(1)) {
		t.Errorf("got %#v, %v", v, err)
	}
}

func TestWithoutNullBlocks(t *testing.T) {
	inner := &Block{Attributes: map[string]*Attribute{"a": {Type: cty.String}}}
	for name, nesting := range map[string]Nesting{"list": List, "set": Set, "map": Map} {
		b := &Block{Blocks: map[string]*NestedBlock{"x": {Block: inner, Nesting: nesting}}}
		null := cty.ObjectVal(map[string]cty.Value{"x": cty.NullVal(b.Type().AttributeType("x"))})
		if got := b.withoutNullBlocks(null); !got.RawEquals(b.Empty()) {
			t.Errorf("%s: got %#v", name, got)
		}
	}
	single := &Block{Blocks: map[string]*NestedBlock{"x": {Block: inner, Nesting: Single}}}
	null := cty.ObjectVal(map[string]cty.Value{"x": cty.NullVal(inner.Type())})
	if got := single.withoutNullBlocks(null); !got.RawEquals(null) {
		t.Errorf("a single block: got %#v", got)
	}
}

func TestStrip(t *testing.T) {
	of := cty.Object(map[string]cty.Type{"a": cty.String, "l": cty.List(cty.Object(map[string]cty.Type{"x": cty.Number})), "m": cty.Map(cty.String)})
	got, changed := strip([]byte(`{"a":"1","gone":2,"l":[{"x":12345678901234567890,"y":2}],"m":{"k":"v"}}`), of)
	if !changed || string(got) != `{"a":"1","l":[{"x":12345678901234567890}],"m":{"k":"v"}}` {
		t.Errorf("got %s", got)
	}
	if _, changed := strip([]byte(`{"a":"1"}`), of); changed {
		t.Error("nothing was to be changed")
	}
}
