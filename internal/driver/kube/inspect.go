package kube

import (
	"context"
	"encoding/json"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// inspection is what a look at an object and at what applying would make of it
// has shown. It holds for as long as its key does.
type inspection struct {
	key string
	// change is nil where applying would change nothing that counts.
	change plan.Change
	answer v1alpha1.DriftAction
	// applied is the mark of the live object.
	applied string
	// cause, where it turned out to be another.
	cause   driver.Cause
	problem *driver.Problem
}

// look inspects a resource, unless that has been done and nothing has changed
// since.
func (c *comparison) look(ctx context.Context, v *verdict) error {
	it := v.declared
	key := it.desired + "|" + it.ruling.key() + "|" + c.bundle.rules.id + "|" + string(v.resource.Cause)
	if v.record != nil {
		key += "|" + v.record.uid + "|" + v.record.projection + "|" + v.record.ruling + "|" + string(v.record.owner)
	}
	n := name{it.ref.Namespace, it.ref.Name}
	if v.record != nil && v.cache != nil && v.resource.Cause == driver.CauseDrift {
		key += "|" + v.cache.closely(n, v.record)
	}
	i := c.holder.item(it.address())
	seen := i.seen
	if seen == nil || seen.key != key {
		var err error
		if seen, err = c.inspect(ctx, v); err != nil {
			return err
		}
		seen.key = key
		if seen.problem == nil {
			i.seen = seen
			if seen.change == nil && v.record != nil {
				i.desired, i.applied = it.desired, seen.applied
			}
			c.holder.remember(it.address(), i)
		}
	}
	c.settle(v, seen)
	if v.resource.Cause == driver.CauseDrift && v.resource.Answer == v1alpha1.DriftAdopt && v.record != nil && v.cache != nil {
		v.cache.watchClosely(n, v.record) // what is written to Git is what runs now
	}
	return nil
}

// settle takes what was seen into the verdict.
func (c *comparison) settle(v *verdict, seen *inspection) {
	it := v.declared
	v.resource.Problem = seen.problem
	if seen.cause != "" {
		v.resource.Cause = seen.cause
	}
	if seen.problem != nil {
		return
	}
	if seen.change == nil {
		v.resource.Sync, v.resource.Cause = driver.Synced, driver.CauseNone
		v.resource.Held = driver.Held{Ref: it.ref, Desired: it.desired, Applied: seen.applied, Keep: it.options.keeps()}
		return
	}
	if v.resource.Cause == driver.CauseDrift {
		v.resource.Answer = seen.answer
		if seen.answer == v1alpha1.DriftIgnore {
			v.resource.Sync, v.resource.Cause = driver.Synced, driver.CauseNone
			return
		}
	}
	v.steps = []plan.Step{c.step(it, seen.change)}
}

// inspect reads the live object and asks what applying would make of it. An
// error means that the destination could not be reached.
func (c *comparison) inspect(ctx context.Context, v *verdict) (*inspection, error) {
	it := v.declared
	live, err := c.client.get(ctx, it.kind, it.ref.Namespace, it.ref.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return c.failed(err, it, nil)
	}
	if holder := driver.Owner(text(live, "metadata", "annotations", AnnotationOwner)); holder != "" && holder != c.desired.Target.Owner && c.exists(holder) {
		return &inspection{problem: &driver.Problem{Reason: ReasonSharedResource,
			Message: shown(it.ref) + " is held by the Application " + string(holder) + "; remove it from one of the two"}}, nil
	}
	body, err := c.cluster.body(it, c.desired.Target.Owner, nil)
	if err == nil {
		body, err = respecting(body, it, live)
	}
	if err != nil {
		return &inspection{problem: &driver.Problem{Reason: ReasonInvalid, Message: err.Error()}}, nil //nolint:nilerr // it is the resource's problem
	}
	after, _, err := c.client.apply(ctx, it.kind, it.ref.Namespace, it.ref.Name, body,
		patchOptions{manager: FieldManager, dryRun: true, noValidate: it.options.noValidate})
	if err != nil {
		return c.refused(err, it, live, body)
	}
	if live == nil {
		return &inspection{change: plan.Create{Resource: it.ref, After: c.state(it, nil, after)}}, nil
	}
	return c.difference(v, live, after), nil
}

// failed makes a problem of an error about one object, and an error of one
// about the destination.
func (c *comparison) failed(err error, it *declared, body []byte) (*inspection, error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return nil, unreachable(c.cluster.server, err)
	}
	return &inspection{problem: problemOf(err, it.ref, body)}, nil
}

// refused judges a refusal to apply: an object that cannot be changed may be
// replaced, and one that lacks what the same plan makes first may be made.
func (c *comparison) refused(err error, it *declared, live map[string]any, body []byte) (*inspection, error) {
	out, broken := c.failed(err, it, body)
	if broken != nil {
		return nil, broken
	}
	switch reason := out.problem.Reason; {
	case reason == ReasonImmutable && it.options.force && live != nil:
		declared := c.asDeclared(it)
		return &inspection{change: plan.Replace{Resource: it.ref,
			Before: c.state(it, nil, deepCopy(live)),
			After:  plan.State{Hash: it.desired, Object: declared}, Reason: out.problem.Message}}, nil
	case live == nil && (reason == ReasonNamespaceMissing && c.bundle.namespaces[it.ref.Namespace] ||
		reason == ReasonUnknownKind && (it.coming || it.options.skipMissing)):
		return &inspection{change: plan.Create{Resource: it.ref, After: plan.State{Hash: it.desired, Object: c.asDeclared(it)}}}, nil
	}
	return out, nil
}

// difference compares the live object with what it would become: only what
// Plumb owns counts, and only where no rule says otherwise.
func (c *comparison) difference(v *verdict, live, after map[string]any) *inspection {
	it := v.declared
	skip := it.ruling.skip(live)
	skipAfter := skip
	if it.ruling != nil {
		skipAfter = it.ruling.skip(after)
		// what other managers own is known from the live object only
		for p := range skip {
			skipAfter[p] = struct{}{}
		}
	}
	hash := c.driver.hash
	applied := hash.projection(live, it.ruling.skip(live))
	unmarked := driver.Owner(text(live, "metadata", "annotations", AnnotationOwner)) != c.desired.Target.Owner ||
		text(live, "metadata", "labels", LabelManaged) != "true"
	replaced := it.options.replace && v.resource.Cause == driver.CauseDeclared
	if !unmarked && !replaced && applied != "" && hash.projection(live, skipAfter) == hash.projection(after, skipAfter) {
		return &inspection{applied: applied}
	}
	beforeHash, afterHash := hash.projection(live, skipAfter), hash.projection(after, skipAfter)
	before, then := deepCopy(live), after
	skip.remove(before)
	skipAfter.remove(then)
	present(before)
	present(then)
	drift := v.resource.Cause == driver.CauseDrift
	alike := drift && len(differing(before, then, "", nil)) == 0
	c.present(it, before, then)
	out := &inspection{applied: applied}
	if drift {
		out.answer = c.bundle.rules.answerTo(it.ref, differing(before, then, "", nil))
	}
	if alike && out.answer == v1alpha1.DriftAdopt {
		out.answer = v1alpha1.DriftRevert // there is nothing to adopt: only who owns a field has changed
	}
	if v.record == nil {
		out.cause = driver.CauseDeclared // it was there, but nobody held it
	}
	out.change = plan.Update{Resource: it.ref, Drift: drift,
		Before: plan.State{Hash: beforeHash, Object: before}, After: plan.State{Hash: afterHash, Object: then}}
	if it.options.replace && it.options.force && !drift {
		out.change = plan.Replace{Resource: it.ref, Reason: "Replace=true and Force=true",
			Before: plan.State{Hash: beforeHash, Object: before}, After: plan.State{Hash: afterHash, Object: then}}
	}
	return out
}

// state is a predicted object, fit to be shown.
func (c *comparison) state(it *declared, before, after map[string]any) plan.State {
	present(after)
	s := plan.State{Hash: c.driver.hash.of(marshal(after)), Object: after}
	c.present(it, before, after)
	return s
}

// asDeclared is the declared object itself, fit to be shown.
func (c *comparison) asDeclared(it *declared) map[string]any {
	var object map[string]any
	if decodeJSON(it.json, &object) != nil {
		return nil
	}
	c.present(it, nil, object)
	return object
}

// present makes objects fit to be shown: without what the API server counts,
// without Plumb's marks, and without a Secret's values or what else is secret in the bundle.
func (c *comparison) present(it *declared, objects ...map[string]any) {
	for _, o := range objects {
		present(o)
	}
	before, after := objects[0], map[string]any(nil)
	if len(objects) > 1 {
		after = objects[1]
	}
	if it.secret() {
		maskSecrets(before, after)
	}
	c.desired.Bundle.Secrets.MaskObjects(before, after)
}

func present(o map[string]any) {
	if o == nil {
		return
	}
	delete(o, "status")
	metadata, _ := o["metadata"].(map[string]any)
	for _, f := range serverFields {
		delete(metadata, f)
	}
	annotations, _ := metadata["annotations"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	for _, a := range []string{AnnotationOwner, AnnotationHost, AnnotationOperation, AnnotationPhase, lastApplied} {
		delete(annotations, a)
	}
	delete(labels, LabelManaged)
	for _, f := range []string{"annotations", "labels"} {
		if m, ok := metadata[f].(map[string]any); ok && len(m) == 0 {
			delete(metadata, f)
		}
	}
}

func deepCopy(o map[string]any) map[string]any { return runtime.DeepCopyJSON(o) }

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // only values that came out of JSON are ever here
		return ""
	}
	return string(b)
}
