package engine

import (
	"slices"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// tasks turns a comparison into what the operation still has to do or to wait
// for. steps holds, at the same index, the step of a pending task.
func (p *pass) tasks(op *operation) ([]plan.Task, []plan.Step) {
	byAddress := map[plan.Address]*driver.Resource{}
	c := &p.st.comparison
	for i := range c.Resources {
		byAddress[c.Resources[i].Ref.Address()] = &c.Resources[i]
	}
	var tasks []plan.Task
	var steps []plan.Step
	planned := map[plan.Address]bool{}
	for _, s := range c.Plan.Steps {
		r := byAddress[s.Address()]
		if r == nil {
			continue
		}
		if !s.Hook {
			planned[s.Address()] = true
		}
		if t, ok := p.taskOfStep(op, s, r); ok {
			tasks, steps = append(tasks, t), append(steps, s)
		}
	}
	for i := range c.Resources {
		r := &c.Resources[i]
		if r.Hook != nil || planned[r.Ref.Address()] || !op.covers(r) && !op.applying[r.Ref.Address()] {
			continue
		}
		if t, ok := taskOfResource(op, r); ok {
			tasks, steps = append(tasks, t), append(steps, plan.Step{})
		}
	}
	return tasks, steps
}

// taskOfStep is the task of a change that the plan holds.
func (p *pass) taskOfStep(op *operation, s plan.Step, r *driver.Resource) (plan.Task, bool) {
	t := plan.Task{Address: s.Address(), Phase: s.Phase, Wave: s.Wave, Tier: s.Tier}
	if why, failed := op.failed[taskKey{t.Address, t.Phase}]; failed {
		t.State, t.Why = plan.Failed, why
		return t, op.covers(r) || s.Hook
	}
	if s.Hook {
		return p.taskOfHook(op, t, r)
	}
	deletes := s.Change.Action() == plan.ActionDelete
	switch {
	case op.applying[t.Address]:
		t.State, t.Holds, t.Why = plan.Running, true, orDefault(r.Health.Message, "being applied")
	case !op.covers(r):
		return t, false
	case deletes && (!op.prune || r.Guard != ""):
		return t, false
	case deletes && r.Deleting:
		t.State, t.Holds, t.Why = plan.Running, true, "being deleted"
	case op.made[t.Address] && op.resultOf(r) != "":
		// Made once in this sync, and different again: that is a drift of its own.
		t.State = plan.Done
		if deletes {
			t.State, t.Holds, t.Why = plan.Running, true, "being deleted"
		}
	}
	if deletes {
		t.Holds = true
	}
	return t, true
}

// taskOfHook says how far a hook has come in this operation.
func (p *pass) taskOfHook(op *operation, t plan.Task, r *driver.Resource) (plan.Task, bool) {
	if op.scope == decide.Heal || len(op.request.Sync.Resources) > 0 || op.dryRun {
		return t, false // hooks belong to whole syncs
	}
	t.Holds = true
	recorded := op.hookPhase(r, t.Phase)
	h := r.Hook
	switch {
	case recorded == v1alpha1.OperationSucceeded:
		t.State = plan.Done
	case recorded == v1alpha1.OperationFailed:
		t.State, t.Why = plan.Failed, "hook failed"
	case h.Operation != op.id || h.Phase != t.Phase || recorded == "":
		t.State = plan.Pending
	case h.Failed:
		t.State, t.Why = plan.Failed, orDefault(r.Health.Message, "hook failed")
		p.hookEnded(op, r, t.Phase, v1alpha1.OperationFailed, t.Why)
	case h.Done:
		t.State = plan.Done
		p.hookEnded(op, r, t.Phase, v1alpha1.OperationSucceeded, r.Health.Message)
	default:
		t.State, t.Why = plan.Running, orDefault(r.Health.Message, "hook is running")
	}
	return t, true
}

func (p *pass) hookEnded(op *operation, r *driver.Resource, phase plan.Phase, end v1alpha1.OperationPhase, message string) {
	code := v1alpha1.ResultCodeSynced
	if end == v1alpha1.OperationFailed {
		code = v1alpha1.ResultCodeSyncFailed
	}
	op.report(v1alpha1.ResourceResult{
		Group: r.Ref.Group, Version: r.Ref.Version, Kind: r.Ref.Kind, Namespace: r.Ref.Namespace, Name: r.Ref.Name,
		Status: code, Message: message, HookType: v1alpha1.HookType(phase.String()), HookPhase: end,
		SyncPhase: v1alpha1.SyncPhase(phase.String()),
	})
}

// hookPhase is what the operation has recorded of a hook's run in a phase.
func (op *operation) hookPhase(r *driver.Resource, phase plan.Phase) v1alpha1.OperationPhase {
	for _, o := range op.results {
		if o.HookType == v1alpha1.HookType(phase.String()) && same(o, r.Ref) {
			return o.HookPhase
		}
	}
	return ""
}

func same(o v1alpha1.ResourceResult, r plan.Ref) bool {
	return o.Group == r.Group && o.Kind == r.Kind && o.Namespace == r.Namespace && o.Name == r.Name
}

func (op *operation) resultOf(r *driver.Resource) v1alpha1.ResultCode {
	for _, o := range op.results {
		if o.HookType == "" && same(o, r.Ref) {
			return o.Status
		}
	}
	return ""
}

// hooksToDelete are the clean-ups that the hooks' deletion policies ask for,
// of those that have ended.
func (p *pass) hooksToDelete(op *operation) []plan.Step {
	var steps []plan.Step
	for i := range p.st.comparison.Resources {
		r := &p.st.comparison.Resources[i]
		if r.Hook == nil || !r.Exists || r.Deleting || r.Hook.Operation != op.id {
			continue
		}
		for _, phase := range r.Hook.Phases {
			ended := op.hookPhase(r, phase)
			if ended == v1alpha1.OperationSucceeded && slices.Contains(r.Hook.Policies, "HookSucceeded") ||
				ended == v1alpha1.OperationFailed && slices.Contains(r.Hook.Policies, "HookFailed") {
				steps = append(steps, plan.Step{Change: plan.Delete{Resource: r.Ref}, Phase: phase, Wave: r.Wave, Hook: true})
				break
			}
		}
	}
	return steps
}

// taskOfResource is the task of a resource that needs no change: later waves
// wait for its health.
func taskOfResource(op *operation, r *driver.Resource) (plan.Task, bool) {
	t := plan.Task{Address: r.Ref.Address(), Phase: plan.Sync, Wave: r.Wave, State: plan.Done}
	switch {
	case op.applying[t.Address]:
		t.State, t.Holds, t.Why = plan.Running, true, orDefault(r.Health.Message, "being applied")
	case op.failed[taskKey{t.Address, t.Phase}] != "":
		t.State, t.Why = plan.Failed, op.failed[taskKey{t.Address, t.Phase}]
	case r.Problem != nil:
		t.State, t.Why = plan.Failed, r.Problem.Message
		op.problem(r)
	case r.Cause == driver.CauseExtra:
		if r.Deleting && op.prune {
			t.State, t.Holds, t.Why, t.Wave = plan.Running, true, "being deleted", -r.Wave
			return t, true
		}
		if r.Guard != "" || !op.prune {
			op.report(v1alpha1.ResourceResult{
				Group: r.Ref.Group, Version: r.Ref.Version, Kind: r.Ref.Kind, Namespace: r.Ref.Namespace, Name: r.Ref.Name,
				Status: v1alpha1.ResultCodePruneSkipped, Message: "ignored (" + orDefault(r.Guard, "requires pruning") + ")",
				SyncPhase: v1alpha1.SyncPhaseSync,
			})
		}
		return t, false
	case op.scope == decide.Remove:
		return t, false
	case r.Health.Status != health.Healthy:
		t.State, t.Why = plan.Running, orDefault(r.Health.Message, string(r.Health.Status))
	}
	return t, true
}

// failDegraded fails what is degraded where others wait for it: they would wait
// in vain. Without any that wait, health is not the sync's concern.
func (p *pass) failDegraded(tasks []plan.Task, next plan.Schedule) bool {
	bad := map[plan.Address]bool{}
	for i := range p.st.comparison.Resources {
		if r := &p.st.comparison.Resources[i]; r.Hook == nil && r.Health.Status == health.Degraded {
			bad[r.Ref.Address()] = true
		}
	}
	if len(bad) == 0 || len(next.Blocked) == 0 || len(next.Ready) > 0 {
		return false
	}
	gate := next.Blocked[0].By
	failed := false
	for i := range tasks {
		if t := &tasks[i]; t.State == plan.Running && t.Address == gate && bad[t.Address] {
			t.State, failed = plan.Failed, true
		}
	}
	return failed
}

// problem reports a resource that can't be applied as things stand.
func (op *operation) problem(r *driver.Resource) {
	op.report(v1alpha1.ResourceResult{
		Group: r.Ref.Group, Version: r.Ref.Version, Kind: r.Ref.Kind, Namespace: r.Ref.Namespace, Name: r.Ref.Name,
		Status: v1alpha1.ResultCodeSyncFailed, Message: r.Problem.Message, SyncPhase: v1alpha1.SyncPhaseSync,
	})
}

// covers tells whether a resource belongs to the operation: by the resources
// that the user has chosen, and by the operation's scope.
func (op *operation) covers(r *driver.Resource) bool {
	if chosen := op.request.Sync.Resources; len(chosen) > 0 && !slices.ContainsFunc(chosen, func(c v1alpha1.SyncOperationResource) bool {
		return c.Group == r.Ref.Group && c.Kind == r.Ref.Kind && c.Name == r.Ref.Name && (c.Namespace == "" || c.Namespace == r.Ref.Namespace)
	}) {
		return false
	}
	drift := r.Cause == driver.CauseDrift || r.Cause == driver.CauseDeleted
	if drift && r.Answer == v1alpha1.DriftIgnore {
		return false
	}
	if !op.automated {
		return true
	}
	if drift && (r.Answer == v1alpha1.DriftReport || r.Answer == v1alpha1.DriftAdopt) {
		return op.reported && r.Answer == v1alpha1.DriftReport
	}
	if op.scope == decide.Heal {
		return drift || op.made[r.Ref.Address()]
	}
	return true
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}
