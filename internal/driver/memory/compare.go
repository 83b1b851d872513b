package memory

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// comparer makes one comparison.
type comparer struct {
	d    *Driver
	w    *World
	want driver.Desired
	held map[plan.Address]driver.Held
	// looked, before and now, is what predictions were made for.
	before, now map[plan.Address]string
	out         driver.Comparison
	steps       []plan.Step
}

// Compare says how the destination stands to what is desired.
func (d *Driver) Compare(ctx context.Context, want driver.Desired) (driver.Comparison, error) {
	if err := ctx.Err(); err != nil {
		return driver.Comparison{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &comparer{
		d: d, w: d.at(want.Target.Server), want: want,
		held: make(map[plan.Address]driver.Held, len(want.Inventory)), now: map[plan.Address]string{},
	}
	if c.w.unreachable != nil {
		return driver.Comparison{}, fmt.Errorf("reach %s: %w", want.Target.Server, c.w.unreachable)
	}
	if v := d.seen[want.Target.Owner]; v != nil && v.server == want.Target.Server {
		c.before = v.looked
	}
	for _, h := range want.Inventory {
		c.held[h.Ref.Address()] = h
	}
	for _, o := range want.Bundle.Objects {
		if err := c.declared(o); err != nil {
			return driver.Comparison{}, err
		}
	}
	c.extras()
	d.seen[want.Target.Owner] = &view{server: want.Target.Server, looked: c.now}
	slices.SortFunc(c.out.Resources, func(a, b driver.Resource) int {
		return strings.Compare(string(a.Ref.Address()), string(b.Ref.Address()))
	})
	c.out.Plan = plan.New(c.steps)
	return c.out, nil
}

// place gives an object's reference with the namespace it will be in.
func place(r plan.Ref, t driver.Target) plan.Ref {
	switch {
	case !namespaced(r):
		r.Namespace = ""
	case r.Namespace == "":
		r.Namespace = t.Namespace
	}
	return r
}

// declared compares one declared object.
func (c *comparer) declared(o render.Object) error {
	ref := place(o.Ref, c.want.Target)
	address := ref.Address()
	if _, twice := c.now[address]; twice {
		return nil
	}
	declared, err := decode(o.JSON)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	notes := annotations(declared)
	hook, skip := hookOf(notes)
	if skip || c.want.Deleting && hook == nil {
		return nil
	}
	live := c.w.objects[address]
	r := driver.Resource{Ref: ref, Wave: waveOf(notes), Health: health.Health{Status: health.Missing}}
	if live != nil {
		r.Exists, r.Deleting, r.Health = true, live.deleting, live.health
	}
	c.now[address] = ""
	r.Problem = c.refuse(ref, live)
	if hook != nil {
		c.hook(r, hook, declared, live)
		return nil
	}
	mark := hash(declared)
	known, held := c.held[address]
	// What was declared when it was applied: until it is applied again, that stays.
	r.Held = driver.Held{Ref: ref, Desired: known.Desired, Applied: known.Applied, Keep: keeps(notes)}
	c.state(&r, live, declared, held && known.Desired != "", held && known.Desired != "" && known.Desired != mark)
	if r.Sync == driver.Synced && live != nil {
		r.Held.Desired, r.Held.Applied = mark, hash(live.live)
	}
	if r.Sync == driver.OutOfSync && r.Problem == nil && (r.Answer != v1alpha1.DriftIgnore || !isDrift(r.Cause)) {
		c.change(&r, live, declared)
	}
	c.out.Resources = append(c.out.Resources, r)
	return nil
}

func isDrift(c driver.Cause) bool { return c == driver.CauseDrift || c == driver.CauseDeleted }

// refuse says why an object can't be changed, or nil.
func (c *comparer) refuse(ref plan.Ref, live *object) *driver.Problem {
	if c.want.Fence != nil {
		if err := c.want.Fence(ref, namespaced(ref)); err != nil {
			return &driver.Problem{Reason: driver.ReasonNotPermitted, Message: err.Error()}
		}
	}
	if live != nil && live.owner != "" && live.owner != c.want.Target.Owner {
		return shared(ref, live.owner)
	}
	return nil
}

func shared(ref plan.Ref, owner driver.Owner) *driver.Problem {
	return &driver.Problem{Reason: driver.ReasonShared, Message: fmt.Sprintf(
		"%s is managed by the Application %s already: declare it in one of the two only", ref.Address(), owner)}
}

// state finds how an object stands, and why.
func (c *comparer) state(r *driver.Resource, live *object, declared map[string]any, held, redeclared bool) {
	r.Sync = driver.OutOfSync
	switch {
	case live == nil && held:
		r.Cause = driver.CauseDeleted
		r.Answer = c.answer(r.Ref, nil)
	case live == nil:
		r.Cause = driver.CauseMissing
	case redeclared || live.owner == "":
		r.Cause = driver.CauseDeclared
	default:
		fields := slices.DeleteFunc(differing(live.live, declared, ""), func(f string) bool { return c.ignores(r.Ref, f) })
		if len(fields) == 0 {
			r.Sync = driver.Synced
			return
		}
		r.Cause = driver.CauseDrift
		r.Answer = c.answer(r.Ref, fields)
		if !held {
			r.Cause = driver.CauseDeclared
			r.Answer = ""
		}
	}
}

// change plans the change that an object needs.
func (c *comparer) change(r *driver.Resource, live *object, declared map[string]any) {
	address := r.Ref.Address()
	after := merge(nil, nil, declared)
	looked := hash(declared)
	if live != nil {
		after = merge(live.live, live.declared, declared)
		looked += strconv.Itoa(live.revision)
	}
	if live != nil || c.want.Full {
		if !c.predict(r, looked) {
			return
		}
	} else {
		c.now[address] = looked
	}
	s := plan.Step{Phase: plan.Sync, Wave: r.Wave, Tier: tierOf(r.Ref)}
	if live == nil {
		s.Change = plan.Create{Resource: r.Ref, After: state(r.Ref, after)}
	} else {
		s.Change = plan.Update{Resource: r.Ref, Before: state(r.Ref, live.live), After: state(r.Ref, after), Drift: r.Cause == driver.CauseDrift}
	}
	c.steps = append(c.steps, s)
}

// predict asks the world what it would make of a change, unless it was asked
// the same before. It tells whether the change can be made.
func (c *comparer) predict(r *driver.Resource, looked string) bool {
	address := r.Ref.Address()
	if c.before[address] != looked {
		c.w.requests["dry-run"]++
		c.out.Calls++
		if p := c.w.fault("dry-run", address); p != nil {
			r.Problem = p
			return false
		}
	}
	c.now[address] = looked
	return true
}

// hook plans a hook's run.
func (c *comparer) hook(r driver.Resource, h *driver.Hook, declared map[string]any, live *object) {
	r.Hook, r.Sync = h, driver.Synced
	if live != nil && live.hook != nil {
		h.Operation, h.Phase, h.Done, h.Failed = live.hook.operation, live.hook.phase, live.hook.done, live.hook.failed
	}
	c.out.Resources = append(c.out.Resources, r)
	if r.Problem != nil {
		return
	}
	for _, p := range h.Phases {
		if deletes := p == plan.PreDelete || p == plan.PostDelete; deletes != c.want.Deleting {
			continue
		}
		after := state(r.Ref, declared)
		s := plan.Step{Phase: p, Wave: r.Wave, Tier: tierOf(r.Ref), Hook: true, Change: plan.Create{Resource: r.Ref, After: after}}
		if live != nil {
			s.Change = plan.Replace{Resource: r.Ref, Before: state(r.Ref, live.live), After: after, Reason: "hook"}
		}
		c.steps = append(c.steps, s)
	}
}

// extras are held resources that are no longer declared.
func (c *comparer) extras() {
	for address, h := range c.held {
		if _, declared := c.now[address]; declared {
			continue
		}
		live := c.w.objects[address]
		if live == nil || live.owner != c.want.Target.Owner {
			continue // gone, or somebody else's: nothing to do
		}
		c.now[address] = ""
		notes := annotations(live.live)
		r := driver.Resource{
			Ref: h.Ref, Sync: driver.OutOfSync, Cause: driver.CauseExtra, Health: live.health, Exists: true,
			Deleting: live.deleting, Wave: waveOf(notes), Guard: c.guard(notes), Held: h,
		}
		r.Held.Keep = h.Keep || keeps(notes)
		if c.want.Deleting && r.Held.Keep && r.Guard == "" {
			r.Guard = "Delete=false"
		}
		if r.Guard == "" {
			c.steps = append(c.steps, plan.Step{
				Change: plan.Delete{Resource: h.Ref, Before: state(h.Ref, live.live)},
				Phase:  plan.Sync, Wave: -r.Wave, Tier: tierDelete + tierRest - tierOf(h.Ref),
			})
		}
		c.out.Resources = append(c.out.Resources, r)
	}
}

// guard says what keeps an object from being pruned or deleted, or "".
func (c *comparer) guard(notes map[string]string) string {
	key := v1alpha1.SyncOptionPrune
	if c.want.Deleting {
		key = v1alpha1.SyncOptionDelete
	}
	own, _ := v1alpha1.Lookup(notes, v1alpha1.NameSyncOptions)
	value, found := v1alpha1.ParseSyncOptions(own).Get(key)
	if !found {
		value, _ = c.want.SyncOptions.Get(key)
	}
	_, approved := v1alpha1.Lookup(notes, v1alpha1.NameDeletionApproved)
	if value == "false" || value == "confirm" && !approved {
		return key + "=" + value
	}
	return ""
}

// keeps tells whether an object stays when its Application goes.
func keeps(notes map[string]string) bool {
	own, _ := v1alpha1.Lookup(notes, v1alpha1.NameSyncOptions)
	value, _ := v1alpha1.ParseSyncOptions(own).Get(v1alpha1.SyncOptionDelete)
	return value == "false"
}

// ignores tells whether a field of an object does not count.
func (c *comparer) ignores(ref plan.Ref, field string) bool {
	for _, i := range c.want.IgnoreDifferences {
		if matches(i.Group, ref.Group, false) && matches(i.Kind, ref.Kind, false) && matches(i.Name, ref.Name, true) &&
			matches(i.Namespace, ref.Namespace, true) && len(i.JSONPointers) > 0 && covers(i.JSONPointers, field) {
			return true
		}
	}
	return c.answerField(ref, field) == v1alpha1.DriftIgnore && field != ""
}

// answer gives the answer to a drift of fields (none: to a deletion).
func (c *comparer) answer(ref plan.Ref, fields []string) v1alpha1.DriftAction {
	if len(fields) == 0 {
		return c.answerField(ref, "")
	}
	first := c.answerField(ref, fields[0])
	for _, f := range fields[1:] {
		if a := c.answerField(ref, f); a == v1alpha1.DriftRevert || first == v1alpha1.DriftIgnore {
			first = a
		}
	}
	return first
}

func (c *comparer) answerField(ref plan.Ref, field string) v1alpha1.DriftAction {
	if c.want.Drift == nil {
		return ""
	}
	for _, r := range c.want.Drift.Rules {
		if (matches(r.Group, ref.Group, r.Kind == "")) && matches(r.Kind, ref.Kind, true) &&
			matches(r.Name, ref.Name, true) && matches(r.Namespace, ref.Namespace, true) && covers(r.JSONPointers, field) {
			return r.Action
		}
	}
	return c.want.Drift.Default
}

// matches tells whether a pattern matches; emptyIsAny says what "" means.
func matches(pattern, s string, emptyIsAny bool) bool {
	if pattern == "" {
		return emptyIsAny || s == ""
	}
	ok, err := path.Match(pattern, s)
	return err == nil && ok
}
