package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// looks is how many objects of one Application are looked at at once.
const looks = 8

// comparison is one comparison under way.
type comparison struct {
	driver   *Driver
	cluster  *cluster
	holder   *holder
	client   *client
	desired  *driver.Desired
	bundle   *bundle
	kinds    *kinds
	held     map[plan.Address]driver.Held
	needs    map[*kindCache]map[string]struct{}
	blind    map[*kindCache]error
	verdicts []verdict
	// populated are the namespaces in which something of the owner lives, lost
	// those in which something has been deleted.
	populated, lost map[string]bool
}

// verdict is what has been found of one resource.
type verdict struct {
	declared *declared
	record   *record
	cache    *kindCache
	resource driver.Resource
	// pending is set where the destination must be asked, for the cause given.
	pending bool
	steps   []plan.Step
}

// Compare says how a destination stands to what is desired.
func (d *Driver) Compare(ctx context.Context, des driver.Desired) (driver.Comparison, error) {
	ctx, calls := counting(ctx)
	c, err := d.cluster(des.Target.Server)
	if err != nil {
		return driver.Comparison{}, err
	}
	h := d.holder(des.Target.Owner)
	b, err := d.read(ctx, c, h, &des)
	if err != nil {
		return driver.Comparison{}, err
	}
	cl, err := c.client(des.Target.Identity)
	if err != nil {
		return driver.Comparison{}, unreachable(c.server, err)
	}
	k := &comparison{
		driver: d, cluster: c, holder: h, client: cl, desired: &des, bundle: b, kinds: b.kinds,
		held:      make(map[plan.Address]driver.Held, len(des.Inventory)),
		populated: map[string]bool{}, lost: map[string]bool{},
	}
	for _, held := range des.Inventory {
		k.held[held.Ref.Address()] = held
	}
	return k.run(ctx, func() int { return int(calls.Load()) })
}

func (c *comparison) run(ctx context.Context, calls func() int) (driver.Comparison, error) {
	c.gather()
	var err error
	if c.blind, err = c.cluster.ready(ctx, c.needs); err != nil {
		return driver.Comparison{}, err
	}
	c.claimAll()
	c.verdicts = make([]verdict, 0, len(c.bundle.objects)+4)
	for _, it := range c.bundle.objects {
		if !it.ensure {
			c.verdicts = append(c.verdicts, c.judge(it))
		}
	}
	if err := c.judgeNamespace(ctx); err != nil {
		return driver.Comparison{}, err
	}
	if err := c.lookAll(ctx); err != nil {
		return driver.Comparison{}, err
	}
	if err := c.extras(ctx); err != nil {
		return driver.Comparison{}, err
	}
	return c.result(calls()), nil
}

// gather finds the kinds that have to be known, and lets go of others.
func (c *comparison) gather() {
	c.needs = map[*kindCache]map[string]struct{}{}
	owner := c.desired.Target.Owner
	add := func(m mapping, ref plan.Ref) {
		k := c.cluster.cache(m, ref, owner)
		if c.needs[k] == nil {
			c.needs[k] = map[string]struct{}{}
		}
		c.needs[k][ref.Namespace] = struct{}{}
	}
	for _, it := range c.bundle.objects {
		if it.known && !it.ensure {
			add(it.kind, it.ref)
		}
	}
	for a, held := range c.held {
		if c.bundle.byAddress[a] == nil {
			if m, ok := c.kinds.any(groupKind(held.Ref), held.Ref.Version); ok && !isEnsured(held) {
				add(m, held.Ref)
			}
		}
	}
	c.holder.mu.Lock()
	same := maps.EqualFunc(c.holder.needs, c.needs, func(a, b map[string]struct{}) bool { return true })
	c.holder.needs = c.needs
	c.holder.mu.Unlock()
	if !same {
		c.cluster.leave(owner, c.needs)
	}
}

// claimAll lets go of what is no longer desired, so that others may have it.
func (c *comparison) claimAll() {
	c.holder.mu.Lock()
	var free []plan.Address
	for a := range c.holder.claimed {
		_, held := c.held[a]
		if c.bundle.byAddress[a] == nil && !held {
			free = append(free, a)
			delete(c.holder.claimed, a)
			delete(c.holder.items, a)
		}
	}
	c.holder.mu.Unlock()
	for _, a := range free {
		c.cluster.claims.release(c.cluster.server, a, c.desired.Target.Owner, c.driver.moved)
	}
}

func (c *comparison) exists(owner driver.Owner) bool { return c.driver.options.OwnerExists(owner) }

// judge says how a declared object stands, as far as that is known without
// asking.
func (c *comparison) judge(it *declared) verdict {
	v := verdict{declared: it, resource: driver.Resource{Ref: it.ref, Sync: driver.OutOfSync, Wave: it.wave, Health: health.Health{Status: health.Missing}}}
	if v.resource.Problem = c.refusal(it); v.resource.Problem != nil {
		v.resource.Sync = driver.Unknown
		if it.known || it.coming {
			v.resource.Sync = driver.OutOfSync
		}
		v.resource.Held = c.remembered(it)
		return v
	}
	if it.known {
		k := c.cluster.cache(it.kind, it.ref, c.desired.Target.Owner)
		if err := c.blind[k]; err != nil {
			v.resource.Sync, v.resource.Health.Status = driver.Unknown, health.Unknown
			v.resource.Problem = &driver.Problem{Reason: ReasonForbidden, Transient: true, Message: fmt.Sprintf("%s: Plumb may not watch this kind: %v", shown(it.ref), err)}
			v.resource.Held = c.remembered(it)
			return v
		}
		v.record, v.cache = k.get(name{it.ref.Namespace, it.ref.Name}), k
	}
	c.describe(&v)
	if c.claim(&v); v.resource.Problem != nil {
		return v
	}
	if it.hook != nil {
		c.judgeHook(&v)
		return v
	}
	c.judgeState(&v)
	return v
}

// refusal is why a declared object must not be looked at any further.
func (c *comparison) refusal(it *declared) *driver.Problem {
	if it.invalid != nil {
		return it.invalid
	}
	if c.desired.Fence != nil {
		if err := c.desired.Fence(it.ref, it.kind.namespaced || !it.known && !it.coming); err != nil {
			return &driver.Problem{Reason: ReasonNotPermitted, Message: err.Error()}
		}
	}
	if !it.known && !it.coming && !it.options.skipMissing {
		return &driver.Problem{Reason: ReasonUnknownKind, Transient: true, Message: fmt.Sprintf(
			"%s: the destination serves no kind %s in %s%s", shown(it.ref), it.ref.Kind, groupVersion(it.ref), hint(ReasonUnknownKind))}
	}
	return nil
}

func groupVersion(r plan.Ref) string {
	if r.Group == "" {
		return r.Version
	}
	return r.Group + "/" + r.Version
}

// describe fills in what the live object shows.
func (c *comparison) describe(v *verdict) {
	r := v.record
	if r == nil {
		return
	}
	c.populated[v.declared.ref.Namespace] = true
	v.resource.Exists, v.resource.Deleting, v.resource.Health = true, r.deleting, r.health
	v.resource.Images, v.resource.CreatedAt = r.images, r.created
}

// claim makes sure that no other Application holds the object.
func (c *comparison) claim(v *verdict) {
	owner, address := c.desired.Target.Owner, v.declared.address()
	var holder driver.Owner
	if r := v.record; r != nil && r.owner != "" && r.owner != owner && c.exists(r.owner) {
		holder = r.owner
		c.cluster.claims.await(c.cluster.server, address, owner, holder)
	} else {
		holder = c.cluster.claims.take(c.cluster.server, address, owner, c.exists)
	}
	if holder != owner {
		v.resource.Problem = &driver.Problem{Reason: ReasonSharedResource, Message: fmt.Sprintf(
			"%s is held by the Application %s; remove it from one of the two", shown(v.declared.ref), holder)}
		return
	}
	c.holder.mu.Lock()
	c.holder.claimed[address] = struct{}{}
	c.holder.mu.Unlock()
}

// remembered is what to remember of a resource that is not in sync.
func (c *comparison) remembered(it *declared) driver.Held {
	held := c.held[it.address()]
	if i := c.holder.item(it.address()); i.applied != "" {
		held.Desired, held.Applied = i.desired, i.applied
	}
	held.Ref, held.Keep = it.ref, it.options.keeps()
	return held
}

// judgeState compares an object with what is declared of it, in memory.
func (c *comparison) judgeState(v *verdict) {
	it, r := v.declared, v.record
	held, i := c.held[it.address()], c.holder.item(it.address())
	known := held.Applied != "" || i.applied != ""
	v.resource.Held = c.remembered(it)
	switch {
	case r == nil && known:
		v.resource.Cause = driver.CauseDeleted
		c.lost[it.ref.Namespace] = true
		v.resource.Answer = c.bundle.rules.answerTo(it.ref, nil)
		if v.resource.Answer == v1alpha1.DriftIgnore && held.Desired == it.desired {
			v.resource.Sync = driver.Synced
			return
		}
		c.make(v)
	case r == nil:
		v.resource.Cause = driver.CauseMissing
		c.make(v)
	case r.deleting:
		v.resource.Cause = driver.CauseDeleted
	case r.owner == c.desired.Target.Owner && r.projection != "" && r.ruling == it.ruling.key() &&
		(i.desired == it.desired && i.applied == r.projection || held.Desired == it.desired && held.Applied == r.projection):
		v.resource.Sync = driver.Synced
		v.resource.Held = driver.Held{Ref: it.ref, Desired: it.desired, Applied: r.projection, Keep: it.options.keeps()}
		if i.desired != it.desired || i.applied != r.projection || i.seen != nil {
			c.holder.remember(it.address(), item{desired: it.desired, applied: r.projection})
		}
	default:
		v.resource.Cause = driver.CauseDeclared
		if known && (held.Desired == it.desired || i.desired == it.desired) {
			v.resource.Cause = driver.CauseDrift
		}
		v.pending = true
	}
}

// make plans to make an object that is not there. What it will be like is only
// asked for where people want to see it.
func (c *comparison) make(v *verdict) {
	if c.desired.Full && (v.declared.known || v.declared.coming) {
		v.pending = true
		return
	}
	v.steps = []plan.Step{c.step(v.declared, plan.Create{Resource: v.declared.ref, After: plan.State{Hash: v.declared.desired}})}
}

func (c *comparison) step(it *declared, change plan.Change) plan.Step {
	return plan.Step{Change: change, Phase: plan.Sync, Wave: it.wave, Tier: tierOf(it.ref)}
}

// judgeHook describes a hook and plans its runs. Whether it is run is the
// engine's to say.
func (c *comparison) judgeHook(v *verdict) {
	it, hook := v.declared, *v.declared.hook
	v.resource.Sync = driver.Synced
	if r := v.record; r != nil && r.owner == c.desired.Target.Owner {
		hook.Operation, hook.Phase = r.operation, r.phase
		hook.Done = r.health.Status == health.Healthy || r.health.Status == ""
		hook.Failed = r.health.Status == health.Degraded
	}
	v.resource.Hook = &hook
	for _, p := range hook.Phases {
		if (p == plan.PreDelete || p == plan.PostDelete) != c.desired.Deleting {
			continue
		}
		after := plan.State{Hash: it.desired}
		if c.desired.Full {
			after.Object = c.asDeclared(it)
		}
		v.steps = append(v.steps, plan.Step{
			Change: plan.Create{Resource: it.ref, After: after}, Phase: p, Wave: it.wave, Tier: tierOf(it.ref), Hook: true,
		})
	}
}

// lookAll asks the destination about all that is pending.
func (c *comparison) lookAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(looks)
	var broken panics
	for i := range c.verdicts {
		if v := &c.verdicts[i]; v.pending {
			group.Go(func() (err error) {
				broken.guard(func() { err = c.look(ctx, v) })
				return err
			})
		}
	}
	err := group.Wait()
	broken.raise()
	return err
}

func (c *comparison) result(calls int) driver.Comparison {
	out := driver.Comparison{Resources: make([]driver.Resource, 0, len(c.verdicts)), Calls: calls}
	var steps []plan.Step
	for i := range c.verdicts {
		v := &c.verdicts[i]
		if v.resource.Problem == nil {
			steps = append(steps, v.steps...)
		}
		v.resource.Problem = located(v.resource.Problem, v.declared, c.desired)
		v.resource.Health.Message = c.desired.Bundle.Secrets.Mask(v.resource.Health.Message)
		out.Resources = append(out.Resources, v.resource)
	}
	slices.SortFunc(out.Resources, func(a, b driver.Resource) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) })
	out.Plan = plan.New(steps)
	return out
}
