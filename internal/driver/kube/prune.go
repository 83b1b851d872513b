package kube

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

func isEnsured(h driver.Held) bool { return strings.HasPrefix(h.Desired, ensured) }

// extras finds what the Application holds and no longer declares.
func (c *comparison) extras(ctx context.Context) error {
	for a, held := range c.held {
		if c.bundle.byAddress[a] != nil || isEnsured(held) {
			continue
		}
		m, ok := c.kinds.any(groupKind(held.Ref), held.Ref.Version)
		if !ok {
			if err := c.kinds.away[held.Ref.Group]; err != nil {
				c.unseen(held, ReasonUnreachable, "the API server of its group does not answer: "+err.Error())
				c.askAgain(ctx)
				continue
			}
			c.gone(a)
			continue // with its kind, the resource has gone
		}
		if err := c.extra(ctx, c.cluster.cache(m, held.Ref, c.desired.Target.Owner), held); err != nil {
			return err
		}
	}
	return c.unlisted(ctx)
}

// unlisted finds what this installation applied for the Application and did not
// live to record.
func (c *comparison) unlisted(ctx context.Context) error {
	for k := range c.needs {
		for _, n := range k.of(c.desired.Target.Owner) {
			ref := k.refOf(n)
			a := ref.Address()
			_, held := c.held[a]
			r := k.get(n)
			if held || c.bundle.byAddress[a] != nil || r == nil || c.twin(k, ref) {
				continue
			}
			ours := c.driver.options.Installation != "" && r.host == c.driver.options.Installation
			copied := !r.hook && r.projection == "" // others copy objects with all their marks
			if r.hook && !c.desired.Deleting || !r.hook && !ours || copied {
				continue
			}
			if err := c.extra(ctx, k, driver.Held{Ref: ref}); err != nil {
				return err
			}
		}
	}
	return nil
}

// twin tells whether the same kind is watched in another version as well, whose
// cache then counts.
func (c *comparison) twin(k *kindCache, ref plan.Ref) bool {
	for other := range c.needs {
		if other != k && other.ref.Group == ref.Group && other.ref.Kind == ref.Kind && other.ref.Version < k.ref.Version {
			return true
		}
	}
	return false
}

func (c *comparison) gone(a plan.Address) {
	c.holder.forget(a)
	c.holder.mu.Lock()
	delete(c.holder.claimed, a)
	c.holder.mu.Unlock()
	c.cluster.claims.release(c.cluster.server, a, c.desired.Target.Owner, c.driver.moved)
}

// unseen keeps what is held and can't be looked at: it counts as there until it
// is seen to be gone, else it would be left behind with nobody to answer for it.
func (c *comparison) unseen(held driver.Held, reason, why string) {
	c.verdicts = append(c.verdicts, verdict{resource: driver.Resource{
		Ref: held.Ref, Exists: true, Sync: driver.Unknown, Cause: driver.CauseExtra, Health: health.Health{Status: health.Unknown}, Held: held,
		Problem: &driver.Problem{Reason: reason, Transient: true, Message: shown(held.Ref) + ": " + why},
	}})
}

// askAgain has the destination asked what it serves, now and then. The answer
// is for the next comparison.
func (c *comparison) askAgain(ctx context.Context) {
	_, _ = c.cluster.discover.kinds(ctx, true) // where it fails, what is known stays
}

// extra judges one resource that is held and not declared.
func (c *comparison) extra(ctx context.Context, k *kindCache, held driver.Held) error {
	ref := held.Ref
	if !k.mapping.namespaced {
		ref.Namespace = ""
	}
	if err := c.blind[k]; err != nil {
		held.Ref = ref
		c.unseen(held, ReasonForbidden, "Plumb may not watch this kind: "+err.Error())
		return nil //nolint:nilerr // it is the resource's problem
	}
	r := k.get(name{ref.Namespace, ref.Name})
	if r == nil || r.owner != c.desired.Target.Owner {
		c.gone(ref.Address())
		return nil
	}
	options := r.options(c.bundle.app)
	v := verdict{record: r, declared: &declared{ref: ref, kind: k.mapping, known: true}}
	v.resource = driver.Resource{Ref: ref, Sync: driver.OutOfSync, Cause: driver.CauseExtra, Wave: r.wave, Held: held}
	c.describe(&v)
	if options.ignoreExtraneous && !c.desired.Deleting {
		v.resource.Sync = driver.Synced
		c.verdicts = append(c.verdicts, v)
		return nil
	}
	if c.desired.Fence != nil {
		if err := c.desired.Fence(ref, k.mapping.namespaced); err != nil {
			v.resource.Problem = &driver.Problem{Reason: ReasonNotPermitted, Message: err.Error()}
		}
	}
	v.resource.Guard = options.guard(c.desired.Deleting, c.desired.DeletionApproved)
	if v.resource.Guard == "" && c.desired.Deleting && held.Keep {
		v.resource.Guard = "Delete=false"
	}
	if v.resource.Guard == "" && !r.deleting && v.resource.Problem == nil {
		if err := c.planDeletion(ctx, &v, options); err != nil {
			return err
		}
	}
	c.verdicts = append(c.verdicts, v)
	return nil
}

// planDeletion plans to delete, in the reverse of the order of making.
func (c *comparison) planDeletion(ctx context.Context, v *verdict, options syncOptions) error {
	before := plan.State{Hash: v.record.projection}
	if c.desired.Full {
		live, err := c.client.get(ctx, v.declared.kind, v.declared.ref.Namespace, v.declared.ref.Name)
		if err != nil && !apierrors.IsNotFound(err) {
			seen, err := c.failed(err, v.declared, nil)
			if err != nil {
				return err
			}
			v.resource.Problem = seen.problem
			return nil
		}
		c.present(v.declared, live)
		before.Object = live
	}
	step := plan.Step{Change: plan.Delete{Resource: v.declared.ref, Before: before}, Phase: plan.Sync, Wave: -v.record.wave, Tier: deletionTier(v.declared.ref)}
	if options.pruneLast && !c.desired.Deleting {
		step.Wave = c.lastWave() + 1
	}
	v.steps = []plan.Step{step}
	return nil
}

func (c *comparison) lastWave() int {
	last := 0
	for _, it := range c.bundle.objects {
		last = max(last, it.wave)
	}
	return last
}

// judgeNamespace sees to it that the Application's namespace exists, where that
// is asked for. The namespace is not held: it is never deleted.
func (c *comparison) judgeNamespace(ctx context.Context) error {
	it := c.bundle.byAddress[plan.Ref{Kind: "Namespace", Name: c.desired.Target.Namespace}.Address()]
	if it == nil || !it.ensure {
		return nil
	}
	v := verdict{declared: it, resource: driver.Resource{Ref: it.ref, Sync: driver.Synced,
		Health: health.Health{Status: health.Healthy}, Exists: true, Ensured: true,
		Held: driver.Held{Ref: it.ref, Desired: it.desired, Keep: true}}}
	if v.resource.Problem = c.refusal(it); v.resource.Problem != nil {
		v.resource.Sync = driver.OutOfSync
		c.verdicts = append(c.verdicts, v)
		return nil //nolint:nilerr // it is the resource's problem
	}
	if c.lost[it.ref.Name] {
		c.cluster.knowNamespace(it.ref.Name, false)
	}
	exists := c.populated[it.ref.Name]
	if !exists {
		var err error
		exists, err = c.cluster.namespaceExists(ctx, c.client, it.ref.Name, it.kind)
		if apierrors.IsForbidden(err) {
			exists, err = false, nil // who may not look may yet make
		}
		if err != nil {
			return unreachable(c.cluster.server, err)
		}
	}
	settled := c.held[it.address()].Desired == it.desired || c.holder.item(it.address()).desired == it.desired || c.desired.NamespaceMetadata == nil
	if !exists || !settled {
		c.makeNamespace(&v, exists)
	}
	c.verdicts = append(c.verdicts, v)
	return nil
}

func (c *comparison) makeNamespace(v *verdict, exists bool) {
	it := v.declared
	v.resource.Sync, v.resource.Cause = driver.OutOfSync, driver.CauseMissing
	after := plan.State{Hash: it.desired, Object: c.asDeclared(it)}
	var change plan.Change = plan.Create{Resource: it.ref, After: after}
	if exists {
		v.resource.Cause = driver.CauseDeclared
		change = plan.Update{Resource: it.ref, After: after}
	} else {
		v.resource.Exists, v.resource.Health.Status = false, health.Missing
		v.resource.Held.Desired = ensured
	}
	step := plan.Step{Change: change, Phase: plan.Sync, Tier: tierNamespace}
	for _, other := range c.bundle.objects {
		step.Wave = min(step.Wave, other.wave-1)
		if other.hook != nil && len(other.hook.Phases) > 0 {
			step.Phase = min(step.Phase, other.hook.Phases[0])
		}
	}
	v.steps = []plan.Step{step}
}
