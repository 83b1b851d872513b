package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// kubeDriver is the driver of bundles that name none, and of empty ones.
const kubeDriver = "kube"

// target resolves where an Application goes to, within its project's fence.
func (e *Engine) target(app *v1alpha1.Application, key Key) (driver.Target, Fence, string, error) {
	fence, err := e.Projects.Fence(app, key)
	if err != nil {
		return driver.Target{}, nil, "", invalid(err.Error())
	}
	server, name, err := e.Destinations.Server(app.Spec.Destination)
	if err != nil {
		return driver.Target{}, nil, "", err
	}
	namespace := app.Spec.Destination.Namespace
	if namespace == "" && server == v1alpha1.InClusterServer {
		namespace = key.Namespace
	}
	if err := fence.AllowDestination(server, name, namespace); err != nil {
		return driver.Target{}, nil, "", invalid(err.Error())
	}
	identity, err := fence.Identity(server, namespace)
	if err != nil {
		return driver.Target{}, nil, "", invalid(err.Error())
	}
	return driver.Target{Owner: key.Owner(), Server: server, Namespace: namespace, Identity: identity}, fence, name, nil
}

// desiredOf puts together what a driver needs to know.
func (e *Engine) desiredOf(app *v1alpha1.Application, key Key, t driver.Target, f Fence, cluster string, b render.Bundle, held []driver.Held) driver.Desired {
	d := driver.Desired{
		Target: t, Bundle: b, Inventory: held, IgnoreDifferences: app.Spec.IgnoreDifferences,
		Deleting: app.DeletionTimestamp != nil,
		Fence: func(ref plan.Ref, namespaced bool) error {
			return f.AllowResource(ref, namespaced, t.Server, cluster, ref.Namespace)
		},
		Modules: f.Modules(),
		Clone:   fetcher{e: e, fence: f, project: app.Spec.GetProject(), app: app, key: key}.clone,
	}
	if p := app.Spec.SyncPolicy; p != nil {
		d.SyncOptions, d.Drift, d.NamespaceMetadata = p.SyncOptions, p.Drift, p.ManagedNamespaceMetadata
	}
	if d.Deleting {
		d.SyncOptions = append(slices.Clone(d.SyncOptions), propagation(app)...)
	}
	return d
}

// propagation is how a deleted Application's finalizer wants its resources to be
// deleted, if it says so.
func propagation(app *v1alpha1.Application) v1alpha1.SyncOptions {
	for _, f := range app.Finalizers {
		switch f {
		case v1alpha1.ResourcesFinalizerBackground, v1alpha1.PlumbResourcesFinalizerBackground:
			return v1alpha1.SyncOptions{v1alpha1.SyncOptionPrunePropagationPolicy + "=background"}
		case v1alpha1.ResourcesFinalizerForeground, v1alpha1.PlumbResourcesFinalizerForeground:
			return v1alpha1.SyncOptions{v1alpha1.SyncOptionPrunePropagationPolicy + "=foreground"}
		}
	}
	return nil
}

func (e *Engine) driverOf(name string) (driver.Driver, error) {
	if name == "" {
		name = kubeDriver
	}
	d := e.Drivers[name]
	if d == nil {
		return nil, fmt.Errorf("no driver named %q", name)
	}
	return d, nil
}

// look compares the destination with what the sources mean now. What fails on
// the way is kept, so that as much as can be known is still shown: where the
// sources can't be read, live state is compared with what they last meant.
func (p *pass) look(ctx context.Context) {
	p.refused, p.unavailable, p.pendingInput, p.sourceFailed, p.nowhere = "", "", "", false, false
	p.distrusted = false
	p.generation = p.app.Generation
	if blocked := v1alpha1.UnimplementedBlocking(&p.app.Spec); len(blocked) > 0 && !p.deleting() {
		p.refused = "not synced, because Plumb does not implement " + blocked[0] + " yet, and to go on without it would not be what is declared"
		return
	}
	t, fence, cluster, err := p.e.target(p.app, p.key)
	if err != nil && p.deleting() && len(p.st.held) == 0 {
		p.nowhere = true
		return
	}
	if err != nil {
		p.fail(err)
		return
	}
	p.target, p.fence, p.cluster = t, fence, cluster
	d := p.e.Drivers[kubeDriver]
	caps, err := d.Capabilities(ctx, t)
	if err != nil {
		p.unavailable = err.Error()
		return
	}
	p.wish(ctx, caps)
	if p.st.desired != nil && p.st.desired.bundle.Module != nil && p.e.queue.slowDown(p.key) {
		p.rerouted = true
		return
	}
	if p.refused != "" || p.st.desired == nil && !p.deleting() {
		return
	}
	p.compare(ctx)
}

// wish finds out what is desired.
func (p *pass) wish(ctx context.Context, caps driver.Capabilities) {
	r := request{app: p.app, key: p.key, fence: p.fence, caps: caps, namespace: p.target.Namespace, fresh: p.fresh}
	if op := p.st.running; op != nil && !op.automated {
		r.revisions = op.revisions
	} else if req := p.app.Operation; req != nil && req.Sync != nil && p.st.running == nil {
		r.revisions = requestedRevisions(req.Sync)
	}
	if !p.pinTo(ctx, &r) {
		return
	}
	want, err := p.wanted(ctx, r)
	if err == nil {
		p.st.desired = want
		if until := want.bundle.Expires; !until.IsZero() {
			p.e.queue.addAfter(p.key, until.Sub(p.e.Clock.Now()))
		}
		return
	}
	var pending pendingInput
	if errors.As(err, &pending) {
		p.pendingInput = err.Error()
		if p.deleting() && p.st.desired == nil {
			p.st.desired = &desired{hash: "deleted", bundle: render.Bundle{Driver: driverFor(p.app)}}
		}
		return
	}
	p.sourceFailed = true
	if !p.deleting() || !errors.As(err, new(untrusted)) { // a deletion needs no trust
		p.fail(err)
	}
	if p.deleting() && p.st.desired == nil {
		// What is held can be deleted without knowing what was declared.
		p.st.desired = &desired{hash: "deleted", bundle: render.Bundle{Driver: driverFor(p.app)}}
	}
}

func (p *pass) wanted(ctx context.Context, r request) (*desired, error) {
	var err error
	if r.inputs, err = p.e.inputs(p.key, p.app); err != nil {
		return nil, err
	}
	return p.e.want(ctx, r, p.st.desired)
}

// driverFor is the driver of an Application whose sources can't be read.
func driverFor(app *v1alpha1.Application) string {
	if isModule(app) {
		return render.TofuDriver
	}
	return render.KubeDriver
}

func (p *pass) compare(ctx context.Context) {
	if !p.keepTrack() {
		return
	}
	bundle := p.st.desired.bundle
	d, err := p.e.driverOf(bundle.Driver)
	if err != nil {
		p.fail(err)
		return
	}
	p.st.driver = d
	held := p.st.held
	if p.deleting() {
		held = withHooks(held, p.app.Status.Resources)
	}
	p.want = p.e.desiredOf(p.app, p.key, p.target, p.fence, p.cluster, bundle, held)
	p.want.DeletionApproved = p.approved()
	p.want.Fresh, p.fresh = p.fresh, false
	c, err := d.Compare(ctx, p.want)
	var refused *driver.RefusedError
	if errors.As(err, &refused) {
		p.refused = err.Error()
		return
	}
	if err != nil {
		p.unavailable = err.Error()
		return
	}
	if p.deleting() {
		p.unavailable = "" // of the sources, which a deletion can do without
	}
	p.acceptOneself(c)
	p.st.take(c)
	p.compared = true
	if !p.deleting() {
		p.e.queue.add(p.e.outputs.publish(p.key, c.Outputs)...)
	}
}

// acceptOneself takes the object of an Application that manages itself for
// healthy: its health is what is being found out, and would wait for itself.
func (p *pass) acceptOneself(c driver.Comparison) {
	if p.target.Server != v1alpha1.InClusterServer {
		return
	}
	for i := range c.Resources {
		r := &c.Resources[i]
		if r.Exists && r.Ref.Kind == "Application" && (Key{r.Ref.Group, r.Ref.Namespace, r.Ref.Name}) == p.key {
			r.Health = health.Health{Status: health.Healthy}
		}
	}
}

// withHooks adds the hooks that the status shows to what is held: where the
// sources can't be read any more, nothing else tells that there are any.
func withHooks(held []driver.Held, shown []v1alpha1.ResourceStatus) []driver.Held {
	held = slices.Clone(held)
	for _, r := range shown {
		if !r.Hook {
			continue
		}
		h := driver.Held{Ref: plan.Ref{Group: r.Group, Version: r.Version, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}}
		if at, found := slices.BinarySearchFunc(held, h, compareHeld); !found {
			held = slices.Insert(held, at, h)
		}
	}
	return held
}

// approved tells whether somebody has confirmed deletions since they were asked
// for: an old confirmation does not hold for new deletions.
func (p *pass) approved() bool {
	value, _ := v1alpha1.Lookup(p.app.Annotations, v1alpha1.NameDeletionApproved)
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return false
	}
	switch {
	case p.deleting():
		return !at.Before(p.app.DeletionTimestamp.Time)
	case p.st.running != nil:
		return !at.Before(p.st.running.started.Truncate(time.Second))
	case p.st.last != nil:
		return !at.Before(p.st.last.at.Truncate(time.Second))
	}
	return false
}

// fail sorts an error into what the user has to mend and what may mend itself.
func (p *pass) fail(err error) {
	if p.distrust(err) {
		return
	}
	var inv invalid
	if errors.As(err, &inv) {
		p.refused = err.Error()
		return
	}
	p.unavailable = err.Error()
}
