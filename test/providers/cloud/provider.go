// Package cloud is a Terraform provider of the fake cloud, made to test what
// drives providers: it has one of every kind of attribute, block, plan
// modifier, state upgrade and move that the plugin framework offers, in
// resources of the shape of a real cloud's, and it crashes when the cloud tells
// it to.
//
// All resources share one implementation (entity), which is driven by their
// schemas. The package knows the cloud by its HTTP API alone.
package cloud

import (
	"context"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// The environment that stands in for missing configuration.
const (
	EndpointVariable = "FAKECLOUD_ENDPOINT"
	TokenVariable    = "FAKECLOUD_TOKEN"
	RegionVariable   = "FAKECLOUD_REGION"
)

const defaultRegion = "eu-west-1"

// Flavour says which of its forms the provider takes.
type Flavour struct {
	// Version is the version of the provider. Before 1.0 and before 2.0,
	// cloud_record has older schemas.
	Version string
	// Protocol is 5 or 6. In 5, attributes with nested attributes are objects,
	// all of whose fields must be given.
	Protocol int
}

func (f Flavour) major() string { return f.Version[:strings.IndexByte(f.Version+".", '.')] }

// New returns the provider.
func New(f Flavour) func() provider.Provider {
	return func() provider.Provider { return &cloudProvider{flavour: f} }
}

type cloudProvider struct{ flavour Flavour }

type configuration struct {
	Endpoint   types.String `tfsdk:"endpoint"`
	Token      types.String `tfsdk:"token"`
	Region     types.String `tfsdk:"region"`
	MaxRetries types.Int64  `tfsdk:"max_retries"`
	Consistent types.Bool   `tfsdk:"consistent"`
	Idempotent types.Bool   `tfsdk:"idempotent"`
}

func (p *cloudProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = "cloud", p.flavour.Version
}

func (p *cloudProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"endpoint":    schema.StringAttribute{Optional: true, Description: "URL of the cloud; else " + EndpointVariable + "."},
		"token":       schema.StringAttribute{Optional: true, Sensitive: true, Description: "Token of the API; else " + TokenVariable + "."},
		"region":      schema.StringAttribute{Optional: true, Description: "Region of all resources; else " + RegionVariable + ", else " + defaultRegion + "."},
		"max_retries": schema.Int64Attribute{Optional: true, Description: "How often a request is repeated that the cloud throttled or lost (10)."},
		"consistent":  schema.BoolAttribute{Optional: true, Description: "Wait after each change until reads show it (true)."},
		"idempotent":  schema.BoolAttribute{Optional: true, Description: "Derive the idempotency token of a create from what is created, so that a create which is repeated after a crash finds the first one's object (false)."},
	}}
}

func (p *cloudProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var c configuration
	resp.Diagnostics.Append(req.Config.Get(ctx, &c)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if c.Endpoint.IsUnknown() || c.Token.IsUnknown() || c.Region.IsUnknown() {
		resp.Diagnostics.AddWarning("The provider is not configured yet",
			"Its endpoint, token or region is known only after apply; until then nothing can be read.")
		return
	}
	client := newClient(
		or(c.Endpoint.ValueString(), os.Getenv(EndpointVariable)),
		or(c.Token.ValueString(), os.Getenv(TokenVariable)),
		or(c.Region.ValueString(), os.Getenv(RegionVariable), defaultRegion),
		p.flavour.Version,
	)
	if client.endpoint == "" {
		resp.Diagnostics.AddAttributeError(path.Root("endpoint"), "No endpoint",
			"Set endpoint in the provider block, or "+EndpointVariable+" in the environment, to the URL of the cloud.")
		return
	}
	if !c.MaxRetries.IsNull() {
		client.http.RetryMax = int(c.MaxRetries.ValueInt64())
	}
	client.consistent = c.Consistent.IsNull() || c.Consistent.ValueBool()
	client.idempotent = c.Idempotent.ValueBool()
	resp.ResourceData, resp.DataSourceData = client, client
}

func (p *cloudProvider) Resources(context.Context) []func() resource.Resource {
	var all []func() resource.Resource
	for _, e := range entities(p.flavour) {
		if p.flavour.Protocol == 5 {
			e.schema = withoutNesting(e.schema)
		}
		all = append(all, func() resource.Resource { return &entityResource{entity: e} })
	}
	return all
}

func (p *cloudProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		func() datasource.DataSource { return &imageData{} },
		func() datasource.DataSource { return &zonesData{} },
	}
}

func or(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
