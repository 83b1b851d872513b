package cloud

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const (
	defaultTimeout = 20 * time.Minute
	timeoutsField  = "timeouts"
	tokenField     = "client_token"
	// generationKey is the private data that every resource keeps.
	generationKey = "generation"
)

// entity is one kind of resource.
type entity struct {
	name   string // without the prefix of the provider
	kind   string // what the cloud calls it
	schema schema.Schema
	// toCloud and fromCloud change what the cloud has otherwise; may be nil.
	toCloud, fromCloud func(body map[string]any)
	upgraders          map[int64]resource.StateUpgrader
	movers             []resource.StateMover
}

type entityResource struct {
	entity entity
	client *client
}

var (
	_ resource.ResourceWithConfigure    = &entityResource{}
	_ resource.ResourceWithImportState  = &entityResource{}
	_ resource.ResourceWithUpgradeState = &entityResource{}
	_ resource.ResourceWithMoveState    = &entityResource{}
)

func (r *entityResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + r.entity.name
}

func (r *entityResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = r.entity.schema
}

func (r *entityResource) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	r.client, _ = req.ProviderData.(*client)
}

func (r *entityResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resource.ImportStatePassthroughID(ctx, path.Root("id"), req, resp)
}

func (r *entityResource) UpgradeState(context.Context) map[int64]resource.StateUpgrader {
	return r.entity.upgraders
}

func (r *entityResource) MoveState(context.Context) []resource.StateMover { return r.entity.movers }

func (r *entityResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	ctx, cancel := within(ctx, req.Plan, timeouts.Value.Create)
	defer cancel()
	body, err := r.body(req.Plan.Raw, req.Config.Raw)
	if err == nil {
		err = r.ready()
	}
	var o object
	if err == nil {
		o, err = r.client.create(ctx, r.entity.kind, r.idempotency(body), body)
	}
	if o.body["id"] != nil { // even if it then could not be read
		r.store(ctx, o, req.Plan.Raw, &resp.State, &resp.Diagnostics)
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, generationKey, generation(o))...)
	}
	r.report(err, "create", &resp.Diagnostics)
}

func (r *entityResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	ctx, cancel := within(ctx, req.State, timeouts.Value.Read)
	defer cancel()
	id, err := stringField(req.State.Raw, "id")
	if err == nil {
		err = r.ready()
	}
	if err != nil {
		r.report(err, "read", &resp.Diagnostics)
		return
	}
	known, diags := req.Private.GetKey(ctx, generationKey)
	resp.Diagnostics.Append(diags...)
	o, err := r.client.read(ctx, r.entity.kind, id, string(known))
	if notFound(err) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		r.report(err, "read", &resp.Diagnostics)
		return
	}
	r.store(ctx, o, req.State.Raw, &resp.State, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, generationKey, generation(o))...)
}

func (r *entityResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	ctx, cancel := within(ctx, req.Plan, timeouts.Value.Update)
	defer cancel()
	body, err := r.body(req.Plan.Raw, req.Config.Raw)
	var id string
	if err == nil {
		id, err = stringField(req.State.Raw, "id")
	}
	if err == nil {
		err = r.ready()
	}
	var o object
	if err == nil {
		o, err = r.client.update(ctx, r.entity.kind, id, body)
	}
	if o.body["id"] != nil {
		r.store(ctx, o, req.Plan.Raw, &resp.State, &resp.Diagnostics)
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, generationKey, generation(o))...)
	}
	r.report(err, "update", &resp.Diagnostics)
}

func (r *entityResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	ctx, cancel := within(ctx, req.State, timeouts.Value.Delete)
	defer cancel()
	id, err := stringField(req.State.Raw, "id")
	if err == nil {
		err = r.ready()
	}
	if err == nil {
		err = r.client.remove(ctx, r.entity.kind, id)
	}
	r.report(err, "delete", &resp.Diagnostics)
}

func (r *entityResource) ready() error {
	if r.client == nil {
		return errors.New("the provider is not configured: its endpoint, token or region was not known yet")
	}
	return nil
}

func (r *entityResource) report(err error, verb string, diags *diag.Diagnostics) {
	if err != nil {
		diags.AddError(fmt.Sprintf("Cannot %s cloud_%s", verb, r.entity.name), err.Error())
	}
}

// body is what the cloud is told: all that the creator may choose. Write-only
// fields are in the configuration alone.
func (r *entityResource) body(plan, config tftypes.Value) (map[string]any, error) {
	encoded, _, err := encode(plan)
	if err != nil {
		return nil, err
	}
	body, _ := encoded.(map[string]any)
	written, _, err := encode(config)
	if err != nil {
		return nil, err
	}
	given, _ := written.(map[string]any)
	for name, a := range r.entity.schema.Attributes {
		if a.IsComputed() && !a.IsOptional() {
			delete(body, name)
		}
		if a.IsWriteOnly() {
			body[name] = given[name]
		}
	}
	delete(body, timeoutsField)
	if r.entity.toCloud != nil {
		r.entity.toCloud(body)
	}
	return body, nil
}

// idempotency is the token of a create: the resource's own, or one of what it
// is created from, or a new one.
func (r *entityResource) idempotency(body map[string]any) string {
	if own, ok := body[tokenField].(string); ok && own != "" {
		return own
	}
	if r.client.idempotent {
		text, err := json.Marshal(body)
		if err == nil {
			return fmt.Sprintf("%x", sha256.Sum256(text))
		}
	}
	return rand.Text()
}

// store puts an object of the cloud into the state. What the cloud does not
// have stays as it was.
func (r *entityResource) store(ctx context.Context, o object, prior tftypes.Value, state *tfsdk.State, diags *diag.Diagnostics) {
	body := maps.Clone(o.body)
	if r.entity.fromCloud != nil {
		r.entity.fromCloud(body)
	}
	d := decoder{empty: map[string]bool{}}
	blockNames(r.entity.schema.Blocks, d.empty)
	for name, a := range r.entity.schema.Attributes {
		if a.IsWriteOnly() {
			delete(body, name)
		}
	}
	stateType := r.entity.schema.Type().TerraformType(ctx)
	value, err := d.decode(body, stateType, &prior)
	if err == nil {
		value, err = withField(value, timeoutsField, prior)
	}
	if err != nil {
		r.report(fmt.Errorf("understand the cloud's answer: %w", err), "read", diags)
		return
	}
	state.Raw = value
}

func blockNames(blocks map[string]schema.Block, into map[string]bool) {
	for name, block := range blocks {
		into[name] = true
		switch b := block.(type) {
		case schema.ListNestedBlock:
			blockNames(b.NestedObject.Blocks, into)
		case schema.SetNestedBlock:
			blockNames(b.NestedObject.Blocks, into)
		case schema.SingleNestedBlock:
			blockNames(b.Blocks, into)
		}
	}
}

// withField takes a field over from another value of the same type.
func withField(v tftypes.Value, name string, from tftypes.Value) (tftypes.Value, error) {
	field := fieldOf(&from, name)
	if field == nil {
		return v, nil
	}
	var fields map[string]tftypes.Value
	if err := v.As(&fields); err != nil {
		return v, err
	}
	fields = maps.Clone(fields)
	fields[name] = *field
	return tftypes.NewValue(v.Type(), fields), nil
}

func stringField(v tftypes.Value, name string) (string, error) {
	field := fieldOf(&v, name)
	if field == nil || field.IsNull() || !field.IsKnown() {
		return "", fmt.Errorf("the state has no %s", name)
	}
	var s string
	err := field.As(&s)
	return s, err
}

func generation(o object) []byte {
	text, _ := json.Marshal(o.generation)
	return text
}

// within bounds an operation by the timeout that its resource declares.
func within(ctx context.Context, data interface {
	GetAttribute(context.Context, path.Path, any) diag.Diagnostics
}, of func(timeouts.Value, context.Context, time.Duration) (time.Duration, diag.Diagnostics)) (context.Context, context.CancelFunc) {
	limit := defaultTimeout
	var declared timeouts.Value
	if !data.GetAttribute(ctx, path.Root(timeoutsField), &declared).HasError() && !declared.IsNull() && !declared.IsUnknown() {
		if d, diags := of(declared, ctx, defaultTimeout); !diags.HasError() {
			limit = d
		}
	}
	return context.WithTimeout(ctx, limit)
}
