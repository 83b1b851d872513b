package memory

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// Apply makes steps true.
func (d *Driver) Apply(ctx context.Context, order driver.Apply, report func(driver.Result)) {
	declared := declaredBy(order.Desired)
	if !d.parallel {
		for _, s := range order.Steps {
			report(d.step(ctx, order, s, declared))
		}
		return
	}
	limit := order.Concurrency
	if limit <= 0 {
		limit = 8
	}
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for _, s := range order.Steps {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			report(d.step(ctx, order, s, declared))
		})
	}
	wg.Wait()
}

func declaredBy(want driver.Desired) map[plan.Address][]byte {
	out := make(map[plan.Address][]byte, len(want.Bundle.Objects))
	for _, o := range want.Bundle.Objects {
		out[place(o.Ref, want.Target).Address()] = o.JSON
	}
	return out
}

// step makes one step.
func (d *Driver) step(ctx context.Context, order driver.Apply, s plan.Step, declared map[plan.Address][]byte) driver.Result {
	if err := ctx.Err(); err != nil {
		return failed(s, &driver.Problem{Reason: "Unreachable", Message: err.Error(), Transient: true})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.at(order.Desired.Target.Server)
	if w.unreachable != nil {
		return failed(s, &driver.Problem{Reason: "Unreachable", Message: w.unreachable.Error(), Transient: true})
	}
	if s.Change.Action() == plan.ActionDelete {
		return w.delete(order, s)
	}
	text, found := declared[s.Address()]
	if !found {
		return failed(s, &driver.Problem{Reason: "Invalid", Message: fmt.Sprintf("%s is not declared", s.Address())})
	}
	content, err := decode(text)
	if err != nil {
		return failed(s, &driver.Problem{Reason: "Invalid", Message: err.Error()})
	}
	return w.apply(order, s, content)
}

func failed(s plan.Step, p *driver.Problem) driver.Result {
	return driver.Result{Step: s, Message: p.Message, Problem: p}
}

func (w *World) apply(order driver.Apply, s plan.Step, declared map[string]any) driver.Result {
	address, ref := s.Address(), s.Change.Target()
	w.requests["apply"]++
	o := w.objects[address]
	if o != nil && o.owner != "" && o.owner != order.Desired.Target.Owner {
		return failed(s, shared(ref, o.owner))
	}
	if p := w.fault("apply", address); p != nil {
		return failed(s, p)
	}
	word := "configured"
	switch {
	case o == nil:
		word = "created"
	case s.Hook || s.Change.Action() == plan.ActionReplace:
		word, o = "replaced", nil
	}
	if order.DryRun {
		return driver.Result{Step: s, Message: sentence(ref, word) + " (dry run)"}
	}
	if o == nil {
		o = &object{ref: ref}
		if old := w.objects[address]; old != nil {
			o.revision = old.revision
		}
		w.objects[address] = o
	}
	o.live, o.declared = merge(o.live, o.declared, declared), clone(declared)
	o.owner, o.health = order.Desired.Target.Owner, w.driver.born(ref, o.live)
	if s.Hook {
		w.startHook(o, order.Operation, s.Phase)
	}
	w.log = append(w.log, string(s.Change.Action())+" "+string(address))
	w.touch(o)
	r := driver.Result{Step: s, Message: sentence(ref, word)}
	if !s.Hook {
		r.Held = &driver.Held{Ref: ref, Desired: hash(declared), Applied: hash(o.live), Keep: keeps(annotations(declared))}
	}
	return r
}

func (w *World) startHook(o *object, operation string, phase plan.Phase) {
	o.hook = &run{operation: operation, phase: phase}
	o.hook.done, o.hook.failed = w.driver.ends(o.ref, o.live)
	switch {
	case o.hook.failed:
		o.hook.done = false
		o.health = health.Health{Status: health.Degraded}
	case o.hook.done:
		o.health = health.Health{Status: health.Healthy}
	default:
		o.health = health.Health{Status: health.Progressing}
	}
}

func (w *World) delete(order driver.Apply, s plan.Step) driver.Result {
	address, ref := s.Address(), s.Change.Target()
	w.requests["delete"]++
	o := w.objects[address]
	if o != nil && o.owner != order.Desired.Target.Owner {
		return failed(s, shared(ref, o.owner))
	}
	if p := w.fault("delete", address); p != nil {
		return failed(s, p)
	}
	if order.DryRun {
		return driver.Result{Step: s, Message: sentence(ref, "deleted") + " (dry run)"}
	}
	r := driver.Result{Step: s, Message: sentence(ref, "deleted")}
	if o == nil {
		return r
	}
	w.log = append(w.log, "delete "+string(address))
	if o.held {
		o.deleting = true
		for _, h := range order.Desired.Inventory {
			if h.Ref.Address() == address {
				r.Held = &h // it is there until it is gone
			}
		}
	} else {
		delete(w.objects, address)
	}
	w.touch(o)
	return r
}

// sentence says in kubectl's words what was done.
func sentence(r plan.Ref, word string) string {
	kind := strings.ToLower(r.Kind)
	if r.Group != "" {
		kind += "." + r.Group
	}
	return kind + "/" + r.Name + " " + word
}
