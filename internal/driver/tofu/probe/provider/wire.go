package provider

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// They register the messages of the protocols, which they keep to
	// themselves otherwise.
	_ "github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	_ "github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
)

// rpc is a call that changes nothing. There are no others, and no way to make
// one outside of this file.
type rpc struct {
	message string    // the messages are <message>.Request and .Response
	method  [2]string // in protocol 5 and 6
}

var (
	getSchema       = rpc{"GetProviderSchema", [2]string{"GetSchema", "GetProviderSchema"}}
	getIdentities   = rpc{"GetResourceIdentitySchemas", [2]string{"GetResourceIdentitySchemas", "GetResourceIdentitySchemas"}}
	upgradeState    = rpc{"UpgradeResourceState", [2]string{"UpgradeResourceState", "UpgradeResourceState"}}
	upgradeIdentity = rpc{"UpgradeResourceIdentity", [2]string{"UpgradeResourceIdentity", "UpgradeResourceIdentity"}}
	readResource    = rpc{"ReadResource", [2]string{"ReadResource", "ReadResource"}}
)

// The two calls whose messages have other names in protocol 5.
func validateConfig(protocol int) rpc {
	if protocol == 5 {
		return rpc{"PrepareProviderConfig", [2]string{"PrepareProviderConfig", ""}}
	}
	return rpc{"ValidateProviderConfig", [2]string{"", "ValidateProviderConfig"}}
}

func configure(protocol int) rpc {
	if protocol == 5 {
		return rpc{"Configure", [2]string{"Configure", ""}}
	}
	return rpc{"ConfigureProvider", [2]string{"", "ConfigureProvider"}}
}

// harmless are the last parts of the methods of a provider that may be called.
var harmless = map[string]bool{
	"GetSchema": true, "GetProviderSchema": true, "GetResourceIdentitySchemas": true,
	"UpgradeResourceState": true, "UpgradeResourceIdentity": true, "ReadResource": true,
	"PrepareProviderConfig": true, "ValidateProviderConfig": true, "Configure": true, "ConfigureProvider": true,
}

// readOnly is the second lock: whatever code should ever get hold of the
// connection, a call that changes anything does not leave this process.
func readOnly(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if service, name, ok := strings.Cut(strings.TrimPrefix(method, "/"), "/"); ok && strings.HasPrefix(service, "tfplugin") && !harmless[name] {
		return status.Errorf(codes.PermissionDenied, "%s is not called when only reading", method)
	}
	return invoke(ctx, method, req, reply, conn, opts...)
}

func noStreams(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if strings.HasPrefix(method, "/tfplugin") {
		return nil, status.Errorf(codes.PermissionDenied, "%s is not called when only reading", method)
	}
	return open(ctx, desc, conn, method, opts...)
}

// wire speaks one of the protocols.
type wire struct {
	protocol int
	conn     *grpc.ClientConn
}

func (w wire) new(name string) (protoreflect.Message, error) {
	full := protoreflect.FullName(fmt.Sprintf("tfplugin%d.%s", w.protocol, name))
	t, err := protoregistry.GlobalTypes.FindMessageByName(full)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", full, err)
	}
	return t.New(), nil
}

// call makes a call. Diagnostics that are errors are an error.
func (w wire) call(ctx context.Context, c rpc, fill func(req protoreflect.Message) error) (protoreflect.Message, error) {
	req, err := w.new(c.message + ".Request")
	if err != nil {
		return nil, err
	}
	resp, err := w.new(c.message + ".Response")
	if err != nil {
		return nil, err
	}
	if fill != nil {
		if err := fill(req); err != nil {
			return nil, err
		}
	}
	method := fmt.Sprintf("/tfplugin%d.Provider/%s", w.protocol, c.method[w.protocol-5])
	if err := w.conn.Invoke(ctx, method, req.Interface(), resp.Interface()); err != nil {
		return nil, err
	}
	err = diagnosed(resp)
	if err != nil && expired(ctx, err) {
		err = context.DeadlineExceeded
	}
	return resp, err
}

// expired tells whether an error only says that time is over: the provider is
// told until when it has, and can be the first to notice.
func expired(ctx context.Context, err error) bool {
	until, bounded := ctx.Deadline()
	return bounded && time.Until(until) < time.Second && strings.Contains(err.Error(), context.DeadlineExceeded.Error()) ||
		errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// DiagnosticsError is what a provider says is wrong. It can hold anything,
// secrets too.
type DiagnosticsError struct{ Texts []string }

func (e *DiagnosticsError) Error() string { return strings.Join(e.Texts, "; ") }

func diagnosed(resp protoreflect.Message) error {
	var texts []string
	if field(resp, "diagnostics") == nil {
		return nil
	}
	for d := range messages(resp, "diagnostics") {
		if enum(d, "severity") != 1 {
			continue
		}
		said := text(d, "summary")
		if detail := text(d, "detail"); detail != "" && detail != said {
			said += ": " + detail
		}
		texts = append(texts, said)
	}
	if texts == nil {
		return nil
	}
	return &DiagnosticsError{texts}
}

// unimplemented tells whether a provider does not know a call.
func unimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }

// Lost tells whether an error means that the process is gone, or of no more
// use.
func Lost(err error) bool { return status.Code(err) == codes.Unavailable }

// Late tells whether an error means that there was no answer in time.
func Late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// dynamic is a value as it is sent.
type dynamic struct{ msgpack, json []byte }

func (d dynamic) empty() bool { return len(d.msgpack) == 0 && len(d.json) == 0 }

func (d dynamic) decode(t cty.Type) (cty.Value, error) {
	switch {
	case len(d.msgpack) > 0:
		return msgpack.Unmarshal(d.msgpack, t)
	case len(d.json) > 0:
		return ctyjson.Unmarshal(d.json, t)
	default:
		return cty.NullVal(t), nil
	}
}

func encode(v cty.Value, t cty.Type) (dynamic, error) {
	encoded, err := msgpack.Marshal(v, t)
	return dynamic{msgpack: encoded}, err
}

func getDynamic(m protoreflect.Message, name string) dynamic {
	f := field(m, name)
	if f == nil || !m.Has(f) {
		return dynamic{}
	}
	v := m.Get(f).Message()
	return dynamic{data(v, "msgpack"), data(v, "json")}
}

func setDynamic(m protoreflect.Message, name string, d dynamic) {
	v := m.Mutable(field(m, name)).Message()
	v.Set(field(v, "msgpack"), protoreflect.ValueOfBytes(d.msgpack))
	if len(d.json) > 0 {
		v.Set(field(v, "json"), protoreflect.ValueOfBytes(d.json))
	}
}

// What follows gets fields by their names, which the protocols share.

func field(m protoreflect.Message, name string) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(protoreflect.Name(name))
}

func message(m protoreflect.Message, name string) protoreflect.Message {
	return m.Get(field(m, name)).Message()
}

func text(m protoreflect.Message, name string) string { return m.Get(field(m, name)).String() }

func data(m protoreflect.Message, name string) []byte { return m.Get(field(m, name)).Bytes() }

func integer(m protoreflect.Message, name string) int64 { return m.Get(field(m, name)).Int() }

func enum(m protoreflect.Message, name string) protoreflect.EnumNumber {
	return m.Get(field(m, name)).Enum()
}

func flag(m protoreflect.Message, name string) bool {
	f := field(m, name)
	return f != nil && m.Get(f).Bool()
}

func set(m protoreflect.Message, name string, v any) {
	m.Set(field(m, name), protoreflect.ValueOf(v))
}

func messages(m protoreflect.Message, name string) iter.Seq[protoreflect.Message] {
	return func(yield func(protoreflect.Message) bool) {
		list := m.Get(field(m, name)).List()
		for i := range list.Len() {
			if !yield(list.Get(i).Message()) {
				return
			}
		}
	}
}
