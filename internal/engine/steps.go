package engine

import (
	"context"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// step takes a running operation as far as it can go now. It tells whether
// something has changed, so that it is worth looking again.
func (p *pass) step(ctx context.Context) bool {
	op := p.st.running
	if !p.compared {
		return false
	}
	tasks, steps := p.tasks(op)
	next := plan.Next(tasks)
	if p.failDegraded(tasks, next) {
		next = plan.Next(tasks)
	}
	if p.holding && len(next.Ready) > 0 {
		return false // a gate keeps it from going on
	}
	op.blocked, op.running = next.Blocked, op.running[:0]
	for _, i := range next.Running {
		op.running = append(op.running, string(tasks[i].Address)+": "+tasks[i].Why)
	}
	if cleanup := p.hooksToDelete(op); len(cleanup) > 0 {
		// First the record that they have run: a crash in between must not have
		// them run again.
		if err := p.write(ctx, p.status()); err != nil {
			p.e.queue.addAfter(p.key, time.Second)
			return false
		}
		p.apply(ctx, op, cleanup)
	}
	if len(next.Ready) > 0 {
		ready := make([]plan.Step, len(next.Ready))
		for i, t := range next.Ready {
			ready[i] = steps[t]
		}
		if why := p.unapproved(op, ready); why != "" {
			return p.overtake(why)
		}
		if !p.begun(ctx, op, planned(tasks, steps)) {
			return false
		}
		if err := p.recordBefore(ctx, op, ready, planned(tasks, steps)); err != nil {
			p.e.Log.Warn("status not written, nothing applied", "application", p.key.String(), "error", err)
			p.e.queue.addAfter(p.key, time.Second)
			return false
		}
		p.apply(ctx, op, ready)
		return true
	}
	if next.Progress == plan.Working {
		return false // what is waited for will be noticed
	}
	if len(op.applying) > 0 || p.st.comparison.Busy {
		return false // so will its end
	}
	p.end(op, next.Progress == plan.Succeeded, "")
	return true
}

// recordBefore writes down what is about to be made and is not in the inventory
// yet: were it written afterwards, a crash in between would leave a resource
// behind that nobody answers for. It writes the operation, too, where others
// will want to know of it while it runs, or where hooks must know it again.
//
// All that the sync is going to make is entered at once, also what still waits:
// a write for each wave and tier would cost more than it tells.
func (p *pass) recordBefore(ctx context.Context, op *operation, ready, coming []plan.Step) error {
	const many = 50
	needed := !op.recorded && (!op.automated || len(ready) > many)
	for _, s := range ready {
		needed = needed || s.Hook && !op.recorded
	}
	if p.st.comparison.Recorded {
		if op.recorded || op.dryRun {
			return nil
		}
		coming, needed = nil, true
	}
	for _, s := range coming {
		if s.Hook || s.Change.Action() == plan.ActionDelete {
			continue
		}
		if target := s.Change.Target(); p.st.claims(op, s) {
			p.st.unwritten = append(p.st.unwritten, target)
		}
	}
	if !needed && len(p.st.unwritten) == 0 || op.dryRun {
		return nil
	}
	if !needed && len(p.st.unwritten) <= many && p.intend(ctx) {
		return nil
	}
	before := op.recorded
	op.recorded = true
	if err := p.write(ctx, p.status()); err != nil {
		op.recorded = before
		return err
	}
	p.st.unwritten = nil
	return nil
}

// intend writes down what is to be made as an intent, which costs less than to
// write a status.
func (p *pass) intend(ctx context.Context) bool {
	if p.e.Intents == nil {
		return false
	}
	p.st.intended = true // also where an error says otherwise: it may have been written
	if err := p.e.Intents.Intend(ctx, p.st.uid, p.st.unwritten); err != nil {
		p.e.Log.Warn("intents not written, the status has to do", "application", p.key.String(), "error", err)
		return false
	}
	p.st.unwritten = nil
	return true
}

// planned are the steps of the tasks that are still to be done.
func planned(tasks []plan.Task, steps []plan.Step) []plan.Step {
	var out []plan.Step
	for i, t := range tasks {
		if t.State == plan.Pending {
			out = append(out, steps[i])
		}
	}
	return out
}

// apply makes steps true and takes their results.
func (p *pass) apply(ctx context.Context, op *operation, steps []plan.Step) {
	order := driver.Apply{
		Desired: p.want, Operation: op.id, Steps: steps, Force: op.force, Replace: op.replace, DryRun: op.dryRun,
		Prune: op.prune || op.scope == decide.Heal && policyOf(p.app.Spec.SyncPolicy).Prune, Partial: len(op.request.Sync.Resources) > 0,
		MaxAge: op.valid,
	}
	op.applying = map[plan.Address]bool{}
	for _, s := range steps {
		op.applying[s.Address()] = true
	}
	var mu sync.Mutex
	returned := false
	e, key, late := p.e, p.key, &p.st.late
	p.st.driver.Apply(ctx, order, func(r driver.Result) {
		mu.Lock()
		defer mu.Unlock()
		if returned {
			late.add(op, r)
			e.queue.add(key)
			return
		}
		p.result(op, r)
	})
	mu.Lock()
	returned = true
	mu.Unlock()
}

// lateResults are those that drivers tell after Apply has returned.
type lateResults struct {
	mu  sync.Mutex
	all []lateResult
}

type lateResult struct {
	op *operation
	driver.Result
}

func (l *lateResults) add(op *operation, r driver.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, lateResult{op, r})
}

// takeLate takes the results that have come since the last pass.
func (p *pass) takeLate() {
	p.st.late.mu.Lock()
	all := p.st.late.all
	p.st.late.all = nil
	p.st.late.mu.Unlock()
	for _, r := range all {
		if r.op == p.st.running {
			p.result(r.op, r.Result)
		}
	}
}

// result takes how one step went.
func (p *pass) result(op *operation, r driver.Result) {
	address := r.Step.Address()
	op.made[address] = true
	delete(op.applying, address)
	ref := r.Step.Change.Target()
	out := v1alpha1.ResourceResult{
		Group: ref.Group, Version: ref.Version, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name,
		Status: v1alpha1.ResultCodeSynced, Message: r.Message, SyncPhase: v1alpha1.SyncPhase(r.Step.Phase.String()),
	}
	deleted := r.Step.Change.Action() == plan.ActionDelete
	switch {
	case r.Problem != nil:
		out.Status, out.Message = v1alpha1.ResultCodeSyncFailed, r.Problem.Message
		op.failed[taskKey{address, r.Step.Phase}] = r.Problem.Message
	case deleted:
		out.Status = v1alpha1.ResultCodePruned
	}
	if r.Step.Hook {
		out.HookType, out.HookPhase = v1alpha1.HookType(r.Step.Phase.String()), v1alpha1.OperationRunning
		if r.Problem != nil {
			out.HookPhase = v1alpha1.OperationFailed
		}
	} else if r.Held != nil && !op.dryRun {
		p.st.remember(*r.Held)
	}
	if deleted && r.Step.Hook {
		return // a hook's clean-up is no result of its own
	}
	op.report(out)
}

// report keeps one result for each resource and phase: the latest.
func (op *operation) report(r v1alpha1.ResourceResult) {
	for i, o := range op.results {
		if o.Group == r.Group && o.Kind == r.Kind && o.Namespace == r.Namespace && o.Name == r.Name && o.SyncPhase == r.SyncPhase {
			op.results[i] = r
			return
		}
	}
	op.results = append(op.results, r)
}
