package engine

import (
	"context"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// PreviewOptions say what a preview shows instead of what is declared.
type PreviewOptions struct {
	// Revisions to look at, by source; empty ones are the declared.
	Revisions []string
	// Local replaces the content of an Application's only source.
	Local source.Tree
	// Tree changes the content of each source before it is rendered, which are
	// numbered as they are declared. Nil leaves it.
	Tree func(source int, tree source.Tree) source.Tree
	// Places has Git repositories, by the URL that a source has, read somewhere
	// else: a clone. What the project allows is judged by the source's own URL.
	Places map[string]string
	// Vouched are the revisions that have to be signed where the project asks for
	// signatures, by source, in place of those that are read: what a host has merged
	// on trial nobody has signed. Empty ones are those that are read.
	Vouched []string
}

// Preview is what a sync would do now.
type Preview struct {
	Bundle     render.Bundle
	Comparison driver.Comparison
	// Revisions that the sources were read at.
	Revisions []string
	// Approval is who must approve a sync, by the Application and its project.
	Approval *v1alpha1.ApprovalPolicy
}

// With gives an engine that looks with other drivers, and knows what this one
// knows: for previews beside the work, which must not get in its way. It is not to
// be run.
func (e *Engine) With(drivers map[string]driver.Driver) *Engine {
	o := e.Options
	o.Drivers = drivers
	other := New(o)
	other.outputs = e.outputs
	return other
}

// Preview compares an Application with its destination as a pass would, and
// shows every change in full. It changes nothing and needs no running engine.
func (e *Engine) Preview(ctx context.Context, app *v1alpha1.Application, key Key, o PreviewOptions) (Preview, error) {
	t, fence, cluster, err := e.target(app, key)
	if err != nil {
		return Preview{}, err
	}
	want, err := e.previewBundle(ctx, app, key, t, fence, o)
	if err != nil {
		return Preview{}, err
	}
	d, err := e.driverOf(want.bundle.Driver)
	if err != nil {
		return Preview{}, err
	}
	desired := e.desiredOf(app, key, t, fence, cluster, want.bundle, heldFromStatus(app.Status.Inventory))
	desired.Full = true
	c, err := d.Compare(ctx, desired)
	return Preview{Bundle: want.bundle, Comparison: c, Revisions: want.revisions, Approval: e.approvers(app, key)}, err
}

// Desired gives what an Application's destination would be compared with now.
func (e *Engine) Desired(ctx context.Context, app *v1alpha1.Application, key Key) (driver.Desired, error) {
	t, fence, cluster, err := e.target(app, key)
	if err != nil {
		return driver.Desired{}, err
	}
	want, err := e.previewBundle(ctx, app, key, t, fence, PreviewOptions{})
	if err != nil {
		return driver.Desired{}, err
	}
	return e.desiredOf(app, key, t, fence, cluster, want.bundle, heldFromStatus(app.Status.Inventory)), nil
}

// Render gives what an Application's sources mean now, without looking at
// anything live but the destination's capabilities.
func (e *Engine) Render(ctx context.Context, app *v1alpha1.Application, key Key, o PreviewOptions) (render.Bundle, error) {
	t, fence, _, err := e.target(app, key)
	if err != nil {
		return render.Bundle{}, err
	}
	want, err := e.previewBundle(ctx, app, key, t, fence, o)
	if err != nil {
		return render.Bundle{}, err
	}
	return want.bundle, nil
}

func (e *Engine) previewBundle(ctx context.Context, app *v1alpha1.Application, key Key, t driver.Target, f Fence, o PreviewOptions) (*desired, error) {
	caps, err := e.Drivers[kubeDriver].Capabilities(ctx, t)
	if err != nil {
		return nil, err
	}
	if pin, ok := v1alpha1.PinOf(app.Annotations); ok && len(o.Revisions) == 0 && o.Local == nil && pin.Fits(len(app.Spec.GetSources())) == nil {
		o.Revisions = pin.Revisions
	}
	inputs, err := e.previewInputs(app, key)
	if err != nil {
		return nil, err
	}
	return e.want(ctx, request{
		inputs: inputs, app: app, key: key, fence: f, caps: caps, namespace: t.Namespace, revisions: o.Revisions, local: o.Local, tree: o.Tree, places: o.Places, vouched: o.Vouched,
	}, nil)
}
