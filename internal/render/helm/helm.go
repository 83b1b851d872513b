// Package helm renders Helm charts in process, with Helm's own chart loader,
// values and output order, as "helm template" does for Argo CD: no cluster is
// asked (lookup finds nothing), no host is resolved, no environment is read.
// Templates run in an engine of this package that gives what Helm's gives, but
// can be stopped: a template may not run or grow without bound.
//
// Functions that give something else each time (randAlphaNum, genCA, now) do so
// here as well; the result then changes with each rendering, though not while
// the rendering is cached.
package helm

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// Renderer renders Helm charts.
type Renderer struct{}

// Render gives the objects of the chart at the source's path: its CRDs, its
// manifests in the order in which Helm would install them, and its hooks.
func (Renderer) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	r := &rendering{
		ctx: ctx, req: &req, dir: render.Clean(req.Input.Path), opts: req.Input.Source.Helm,
		limits: req.Limits.OrDefault(),
		out:    render.NewBuilder(v1alpha1.ApplicationSourceTypeHelm, req.Limits),
	}
	if r.opts == nil {
		r.opts = &v1alpha1.ApplicationSourceHelm{}
	}
	if v := r.opts.Version; v != "" && v != "v3" && v != "v4" {
		r.out.Warn(fmt.Sprintf("helm.version %q is ignored: one version of Helm is built in", v))
	}
	if err := r.render(); err != nil {
		return render.Bundle{}, err
	}
	return r.out.Bundle(), nil
}

// rendering is one run.
type rendering struct {
	ctx    context.Context
	req    *render.Request
	opts   *v1alpha1.ApplicationSourceHelm
	limits render.Limits
	dir    string
	out    *render.Builder
}

func (r *rendering) render() error {
	release, err := r.release()
	if err != nil {
		return err
	}
	ch, err := r.chart()
	if err != nil {
		return err
	}
	values, err := r.values()
	if err != nil {
		return err
	}
	if err := chartutil.ProcessDependencies(ch, values); err != nil {
		return r.at("Chart.yaml", fmt.Errorf("chart dependencies: %w", err))
	}
	caps, err := r.capabilities()
	if err != nil {
		return err
	}
	if want := ch.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion.String()) {
		return r.at("Chart.yaml", fmt.Errorf("chart requires kubeVersion: %s which is incompatible with Kubernetes %s", want, caps.KubeVersion.Version))
	}
	top, err := commonutil.ToRenderValuesWithSchemaValidation(ch, values, release, caps, true)
	if err != nil {
		return mask(r.at("values.yaml", err), values)
	}
	if err := r.resolveValues(top); err != nil {
		return err
	}
	return mask(r.template(ch, top), map[string]any(top))
}

// resolveValues replaces references in the values, also in those that charts
// declare themselves.
func (r *rendering) resolveValues(top common.Values) error {
	values, ok := plain(top["Values"]).(map[string]any)
	if !ok {
		return nil
	}
	values, err := r.req.Resolve(values)
	if err != nil {
		return r.at("values.yaml", err)
	}
	top["Values"] = common.Values(values)
	return nil
}

// plain gives values without the types that Helm gives to maps.
func plain(v any) any {
	switch v := v.(type) {
	case common.Values:
		return plain(map[string]any(v))
	case map[string]any:
		for key, child := range v {
			v[key] = plain(child)
		}
	}
	return v
}

// template checks the values and runs the templates with them.
func (r *rendering) template(ch *chart.Chart, top common.Values) error {
	if !r.opts.SkipSchemaValidation {
		if err := r.validate(ch, top["Values"]); err != nil {
			return err
		}
	}
	rendered, err := newEngine(r.ctx, r.limits, r.place).render(ch, top)
	if err != nil {
		return err
	}
	return r.collect(ch, rendered)
}

func (r *rendering) release() (common.ReleaseOptions, error) {
	o := common.ReleaseOptions{
		Name: r.req.AppName, Namespace: r.req.Namespace, Revision: 1, IsInstall: true,
	}
	if r.opts.ReleaseName != "" {
		o.Name = r.opts.ReleaseName
	}
	if r.opts.Namespace != "" {
		o.Namespace = r.opts.Namespace
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if err := chartutil.ValidateReleaseName(o.Name); err != nil {
		return o, fmt.Errorf("release name %q: %w: set helm.releaseName", o.Name, err)
	}
	return o, nil
}

func (r *rendering) capabilities() (*common.Capabilities, error) {
	caps := common.DefaultCapabilities.Copy()
	text := r.req.KubeVersion
	if r.opts.KubeVersion != "" {
		text = r.opts.KubeVersion
	}
	if text != "" {
		v, err := version.ParseGeneric(text)
		if err != nil {
			return nil, fmt.Errorf("kubernetes version %q: %w", text, err)
		}
		parsed, err := common.ParseKubeVersion(v.String())
		if err != nil {
			return nil, fmt.Errorf("kubernetes version %q: %w", text, err)
		}
		caps.KubeVersion = *parsed
	}
	more := r.req.APIVersions
	if len(r.opts.APIVersions) > 0 {
		more = r.opts.APIVersions
	}
	caps.APIVersions = slices.Concat(caps.APIVersions, common.VersionSet(more))
	return caps, nil
}

// at puts a file of the chart before an error.
func (r *rendering) at(file string, err error) error {
	return render.At(render.Clean(r.dir+"/"+file), 0, err)
}

// place gives the file in the repository that a template's name stands for:
// Helm names it by charts, from the topmost chart's name on.
func (r *rendering) place(template string) string {
	_, in, ok := strings.Cut(template, "/")
	if !ok {
		in = template
	}
	return path.Join(r.dir, in)
}

func subcharts(ch *chart.Chart) []*chart.Chart {
	out := slices.Clone(ch.Dependencies())
	slices.SortFunc(out, func(a, b *chart.Chart) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}
