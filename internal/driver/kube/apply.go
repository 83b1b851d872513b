package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// concurrency is how many steps of one order are made at once by default.
const concurrency = 10

// Bounds on waiting inside a step.
const (
	servingTime = 20 * time.Second // for a new kind to be served
	deletedTime = 60 * time.Second // for an object that is replaced to go
	pollPause   = 100 * time.Millisecond
)

// applier makes the steps of one order.
type applier struct {
	driver  *Driver
	cluster *cluster
	holder  *holder
	client  *client
	bundle  *bundle
	order   *driver.Apply
}

func (a *applier) owner() driver.Owner { return a.order.Desired.Target.Owner }

// Apply makes the given steps true.
func (d *Driver) Apply(ctx context.Context, order driver.Apply, report func(driver.Result)) {
	a, err := d.applier(ctx, &order)
	if err != nil {
		for _, s := range order.Steps {
			report(failure(s, &driver.Problem{Reason: ReasonUnreachable, Message: err.Error(), Transient: true}))
		}
		return
	}
	var group errgroup.Group
	group.SetLimit(concurrency)
	if order.Concurrency > 0 {
		group.SetLimit(order.Concurrency)
	}
	var broken panics
	for _, s := range order.Steps {
		group.Go(func() error {
			broken.guard(func() { report(a.step(ctx, s)) })
			return nil
		})
	}
	_ = group.Wait() // steps report their own failures
	broken.raise()
}

func (d *Driver) applier(ctx context.Context, order *driver.Apply) (*applier, error) {
	c, err := d.cluster(order.Desired.Target.Server)
	if err != nil {
		return nil, err
	}
	h := d.holder(order.Desired.Target.Owner)
	b, err := d.read(ctx, c, h, &order.Desired)
	if err != nil {
		return nil, err
	}
	cl, err := c.client(order.Desired.Target.Identity)
	if err != nil {
		return nil, unreachable(c.server, err)
	}
	return &applier{driver: d, cluster: c, holder: h, client: cl, bundle: b, order: order}, nil
}

func failure(s plan.Step, p *driver.Problem) driver.Result {
	return driver.Result{Step: s, Message: p.Message, Problem: p}
}

func (a *applier) step(ctx context.Context, s plan.Step) driver.Result {
	if ctx.Err() != nil {
		return failure(s, &driver.Problem{Reason: ReasonUnreachable, Message: shown(s.Change.Target()) + ": the sync was ended before its turn came", Transient: true})
	}
	if _, ok := s.Change.(plan.Delete); ok {
		return a.delete(ctx, s)
	}
	it := a.bundle.byAddress[s.Address()]
	if it == nil {
		return failure(s, &driver.Problem{Reason: ReasonInvalid, Message: shown(s.Change.Target()) + ": the plan speaks of an object that is not declared; compare again", Transient: true})
	}
	it, problem := a.admit(ctx, it)
	if problem != nil {
		return failure(s, located(problem, it, &a.order.Desired))
	}
	var result driver.Result
	var err error
	switch {
	case s.Hook:
		result, err = a.hook(ctx, s, it)
	default:
		result, err = a.object(ctx, s, it)
	}
	if err != nil {
		return failure(s, located(a.problem(err, it), it, &a.order.Desired))
	}
	result.Step = s
	return result
}

// sent is an error with the body that was refused.
type sent struct {
	error
	body []byte
}

func (e sent) Unwrap() error { return e.error }

func (a *applier) problem(err error, it *declared) *driver.Problem {
	var p *driver.Problem
	if errors.As(err, &p) {
		return p
	}
	body := it.json
	var s sent
	if errors.As(err, &s) && s.body != nil {
		body = s.body
	}
	p = problemOf(err, it.ref, body)
	if p.Reason == ReasonNamespaceMissing {
		a.cluster.knowNamespace(it.ref.Namespace, false)
	}
	return p
}

// admit makes sure that an object may be written, and finds where it is served.
func (a *applier) admit(ctx context.Context, it *declared) (*declared, *driver.Problem) {
	if it.invalid != nil {
		return it, it.invalid
	}
	if !it.known {
		k, err := a.cluster.discover.kinds(ctx, true)
		if err != nil {
			return it, &driver.Problem{Reason: ReasonUnreachable, Message: unreachable(a.cluster.server, err).Error(), Transient: true}
		}
		found, ok := k.find(schema.GroupVersionKind{Group: it.ref.Group, Version: it.ref.Version, Kind: it.ref.Kind})
		if !ok && !it.coming {
			return it, &driver.Problem{Reason: ReasonUnknownKind, Transient: true,
				Message: fmt.Sprintf("%s: the destination serves no kind %s in %s%s", shown(it.ref), it.ref.Kind, groupVersion(it.ref), hint(ReasonUnknownKind))}
		}
		if ok {
			now := *it
			now.kind, now.known = found, true
			it = &now
		}
	}
	if f := a.order.Desired.Fence; f != nil {
		if err := f(it.ref, it.kind.namespaced); err != nil {
			return it, &driver.Problem{Reason: ReasonNotPermitted, Message: err.Error()}
		}
	}
	if it.ensure {
		return it, nil
	}
	return it, a.claim(it)
}

func (a *applier) claim(it *declared) *driver.Problem {
	exists := a.driver.options.OwnerExists
	holder := a.cluster.claims.take(a.cluster.server, it.address(), a.owner(), exists)
	if r := a.cache(it).get(name{it.ref.Namespace, it.ref.Name}); r != nil && r.owner != "" && r.owner != a.owner() && exists(r.owner) {
		holder = r.owner
	}
	if holder != a.owner() {
		return &driver.Problem{Reason: ReasonSharedResource, Message: fmt.Sprintf(
			"%s is held by the Application %s; remove it from one of the two", shown(it.ref), holder)}
	}
	a.holder.mu.Lock()
	a.holder.claimed[it.address()] = struct{}{}
	a.holder.mu.Unlock()
	return nil
}

func (a *applier) cache(it *declared) *kindCache { return a.cluster.cache(it.kind, it.ref, a.owner()) }

// object applies one object that is to be held true.
func (a *applier) object(ctx context.Context, s plan.Step, it *declared) (driver.Result, error) {
	if it.ensure {
		return a.namespace(ctx, it)
	}
	k, n := a.cache(it), name{it.ref.Namespace, it.ref.Name}
	before := k.get(n)
	body, err := a.bodyOf(ctx, it, before)
	if err != nil {
		return driver.Result{}, err
	}
	k.begin(n)
	defer k.end(n)
	_, replace := s.Change.(plan.Replace)
	live, created, err := a.write(ctx, it, body, before, replace)
	if err != nil {
		return driver.Result{}, sent{err, body}
	}
	if a.order.DryRun {
		return driver.Result{Message: kubectl(it.ref) + " " + done(live, before, created) + " (dry run)"}, nil
	}
	if live, err = a.migrate(ctx, it, body, live, created); err != nil {
		return driver.Result{}, sent{err, body}
	}
	r := k.read(n, live)
	k.wrote(n, r)
	a.holder.remember(it.address(), item{desired: it.desired, applied: r.projection})
	if it.ref.Kind == "CustomResourceDefinition" {
		a.established(ctx, it, live)
		a.cluster.definitionsChanged()
	}
	if k.narrow {
		k.watching(map[string]struct{}{it.ref.Namespace: {}})
	}
	return driver.Result{
		Message: kubectl(it.ref) + " " + done(live, before, created),
		Held:    &driver.Held{Ref: it.ref, Desired: it.desired, Applied: r.projection, Keep: it.options.keeps()},
	}, nil
}

func (a *applier) bodyOf(ctx context.Context, it *declared, before *record) ([]byte, error) {
	body, err := a.cluster.body(it, a.owner(), nil)
	if err != nil {
		return nil, &driver.Problem{Reason: ReasonInvalid, Message: err.Error()}
	}
	if !it.options.respectIgnore || it.ruling == nil || before == nil {
		return body, nil
	}
	live, err := a.client.get(ctx, it.kind, it.ref.Namespace, it.ref.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	return respecting(body, it, live)
}

// write sends an object in the way that the options ask for.
func (a *applier) write(ctx context.Context, it *declared, body []byte, before *record, replace bool) (map[string]any, bool, error) {
	o := patchOptions{manager: FieldManager, dryRun: a.order.DryRun, noValidate: it.options.noValidate}
	force := it.options.force || a.order.Force
	if !o.dryRun && (replace || it.options.replace && force) && before != nil {
		return a.recreate(ctx, it, body, o)
	}
	if !o.dryRun && (it.options.replace || a.order.Replace) {
		if err := a.put(ctx, it, body, o); err != nil {
			return nil, false, err
		}
	}
	live, created, err := a.patch(ctx, it, body, o)
	if err != nil && force && !o.dryRun && problemOf(err, it.ref, body).Reason == ReasonImmutable {
		return a.recreate(ctx, it, body, o)
	}
	return live, created, err
}

// patch applies an object server-side. A kind that was defined a moment ago may
// not be served yet, which is waited for.
func (a *applier) patch(ctx context.Context, it *declared, body []byte, o patchOptions) (map[string]any, bool, error) {
	deadline := time.Now().Add(servingTime)
	for conflicts := 0; ; {
		live, created, err := a.client.apply(ctx, it.kind, it.ref.Namespace, it.ref.Name, body, o)
		switch {
		case err == nil:
			return live, created, nil
		case apierrors.IsConflict(err) && conflicts < 3:
			conflicts++
		case it.coming && apierrors.IsNotFound(err) && !namespaceMissing.MatchString(err.Error()) && time.Now().Before(deadline):
			if !sleep(ctx, pollPause) {
				return nil, false, err
			}
		default:
			return nil, false, err
		}
	}
}

// done says what has happened, in kubectl's words.
func done(live map[string]any, before *record, created bool) string {
	switch {
	case created:
		return "created"
	case before != nil && before.version == text(live, "metadata", "resourceVersion"):
		return "unchanged"
	}
	return "configured"
}

// established waits until what a definition defines is served.
func (a *applier) established(ctx context.Context, it *declared, live map[string]any) {
	deadline := time.Now().Add(servingTime)
	for !isEstablished(live) && time.Now().Before(deadline) && sleep(ctx, pollPause) {
		if now, err := a.client.get(ctx, it.kind, "", it.ref.Name); err == nil {
			live = now
		}
	}
}

func isEstablished(crd map[string]any) bool {
	conditions, _ := at(crd, "status", "conditions").([]any)
	for _, c := range conditions {
		m := asMap(c)
		if m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}

// namespace sees to it that the Application's namespace exists.
func (a *applier) namespace(ctx context.Context, it *declared) (driver.Result, error) {
	o := patchOptions{manager: namespaceManager(a.driver.hash, a.owner()), dryRun: a.order.DryRun}
	_, created, err := a.client.apply(ctx, it.kind, "", it.ref.Name, it.json, o)
	if err != nil {
		return driver.Result{}, err
	}
	if !o.dryRun {
		a.cluster.knowNamespace(it.ref.Name, true)
		a.holder.remember(it.address(), item{desired: it.desired, applied: it.desired})
	}
	return driver.Result{Message: kubectl(it.ref) + " " + done(nil, nil, created), Held: &driver.Held{Ref: it.ref, Desired: it.desired, Keep: true}}, nil
}

// namespaceManager is the field manager of a namespace's labels: one for each
// Application, as several may share a namespace.
func namespaceManager(h hasher, owner driver.Owner) string {
	if m := FieldManager + ":" + string(owner); len(m) <= 128 {
		return m
	}
	return FieldManager + ":" + h.of(string(owner))
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// kubectl names a resource as kubectl does.
func kubectl(r plan.Ref) string {
	r.Namespace = ""
	return shown(r)
}
