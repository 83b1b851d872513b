package cloud

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// imageData is the data source cloud_image: the newest image of a name.
type imageData struct{ client *client }

type imageModel struct {
	ID           types.String `tfsdk:"id"`
	Name         types.String `tfsdk:"name"`
	FullName     types.String `tfsdk:"full_name"`
	Architecture types.String `tfsdk:"architecture"`
}

func (d *imageData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_image"
}

func (d *imageData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"name":         schema.StringAttribute{Required: true, Description: "How the name begins."},
		"id":           schema.StringAttribute{Computed: true},
		"full_name":    schema.StringAttribute{Computed: true},
		"architecture": schema.StringAttribute{Computed: true},
	}}
}

func (d *imageData) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	d.client, _ = req.ProviderData.(*client)
}

func (d *imageData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m imageModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if d.client == nil {
		resp.Diagnostics.AddError("Cannot read cloud_image", "the provider is not configured yet")
		return
	}
	name := m.Name.ValueString()
	o, err := d.client.do(ctx, http.MethodGet, d.client.url("image")+"?name="+url.QueryEscape(name), nil, nil)
	if err != nil {
		resp.Diagnostics.AddError("Cannot read cloud_image", err.Error())
		return
	}
	items, _ := o.body["items"].([]any)
	if len(items) == 0 {
		resp.Diagnostics.AddError("Cannot read cloud_image", fmt.Sprintf("there is no image whose name begins with %q in %s", name, d.client.region))
		return
	}
	newest, _ := items[len(items)-1].(map[string]any)
	m.ID = types.StringValue(fmt.Sprint(newest["id"]))
	m.FullName = types.StringValue(fmt.Sprint(newest["name"]))
	m.Architecture = types.StringValue(fmt.Sprint(newest["architecture"]))
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// zonesData is the data source cloud_zones: the zones of the region.
type zonesData struct{ client *client }

type zonesModel struct {
	Region types.String   `tfsdk:"region"`
	Names  []types.String `tfsdk:"names"`
}

func (d *zonesData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_zones"
}

func (d *zonesData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"region": schema.StringAttribute{Computed: true},
		"names":  schema.ListAttribute{ElementType: types.StringType, Computed: true},
	}}
}

func (d *zonesData) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	d.client, _ = req.ProviderData.(*client)
}

func (d *zonesData) Read(ctx context.Context, _ datasource.ReadRequest, resp *datasource.ReadResponse) {
	if d.client == nil {
		resp.Diagnostics.AddError("Cannot read cloud_zones", "the provider is not configured yet")
		return
	}
	o, err := d.client.do(ctx, http.MethodGet, d.client.url("zones"), nil, nil)
	if err != nil {
		resp.Diagnostics.AddError("Cannot read cloud_zones", err.Error())
		return
	}
	m := zonesModel{Region: types.StringValue(d.client.region), Names: []types.String{}}
	names, _ := o.body["names"].([]any)
	for _, name := range names {
		m.Names = append(m.Names, types.StringValue(fmt.Sprint(name)))
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
