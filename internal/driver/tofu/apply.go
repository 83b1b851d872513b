package tofu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/plan"
)

const (
	// oldest is how old a plan may be that is applied: what is live may have moved
	// on since.
	oldest = 15 * time.Minute
	// saveEvery is how often the state of an apply that is under way is saved.
	saveEvery = 2 * time.Second
)

// Reasons of problems.
const (
	reasonStale     = "StalePlan"
	reasonLocked    = "StateLocked"
	reasonPrune     = "PruneRequired"
	reasonFailed    = "ApplyFailed"
	reasonCancelled = "Cancelled"
)

// Apply starts to make a plan true, and tells of each step when it has ended.
func (d *Driver) Apply(ctx context.Context, a driver.Apply, report func(driver.Result)) {
	all := func(p driver.Problem) {
		for _, s := range a.Steps {
			report(driver.Result{Step: s, Message: p.Message, Problem: &p})
		}
	}
	if ctx.Err() != nil {
		all(driver.Problem{Reason: reasonCancelled, Message: "not applied: " + ctx.Err().Error(), Transient: true})
		return
	}
	if a.DryRun {
		for _, s := range a.Steps {
			report(driver.Result{Step: s, Message: s.Change.Target().Name + ": " + string(s.Change.Action()) + " (dry run)"})
		}
		return
	}
	m, err := d.module(a.Desired.Target.Owner)
	if err != nil {
		all(driver.Problem{Reason: reasonCancelled, Message: err.Error(), Transient: true})
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.apply(ctx, a, report); p != nil {
		all(*p)
	}
}

// apply starts an apply, or says why not.
func (m *module) apply(ctx context.Context, a driver.Apply, report func(driver.Result)) *driver.Problem {
	if _, busy := m.underWay(); busy {
		return &driver.Problem{Reason: reasonLocked, Message: "an earlier run is still under way", Transient: true}
	}
	k, stale := m.current(&a.Desired)
	if stale != "" {
		return m.staled(stale)
	}
	planned, problem := m.choose(ctx, a, k)
	if problem != nil {
		return problem
	}
	whole := ""
	if planned == k.planned && len(k.spec.Options.Targets) == 0 {
		whole = k.key
	}
	lock := Lock{ID: lockID(), Operation: "apply", Who: who(), Version: "plumb", Created: time.Now().UTC(), Info: a.Operation}
	if !k.spec.backend.own {
		if p := m.lock(ctx, k.spec, lock); p != nil {
			return p
		}
	}
	r := &running{m: m, spec: k.spec, whole: whole, before: k.comparison, started: time.Now(), lock: lock, report: report, left: map[string]plan.Step{}, progress: map[string]run.Event{}}
	for _, s := range a.Steps {
		r.left[s.Change.Target().Name] = s
	}
	m.start(r, func(ctx context.Context) error {
		if err := acquire(ctx, m.d.applies); err != nil {
			return err
		}
		defer func() { <-m.d.applies }()
		return m.runner.Apply(ctx, planned, r.event)
	})
	return nil
}

// current is the plan that was shown, or why there is none that still holds.
func (m *module) current(want *driver.Desired) (*known, string) {
	k := m.known
	s, err := m.specOf(want)
	switch {
	case err != nil:
		return nil, err.Error()
	case s == nil || k == nil || k.planned == nil:
		return nil, "there is no plan"
	case s.key(want) != k.key:
		return nil, "the module, its variables or its options have changed since the plan was made"
	case time.Since(k.at) > oldest:
		return nil, fmt.Sprintf("the plan is older than %s", oldest)
	}
	return k, ""
}

func (m *module) staled(why string) *driver.Problem {
	m.live.dirty(true)
	return &driver.Problem{Reason: reasonStale, Message: "not applied: " + why + ": it is made anew", Transient: true}
}

// choose gives the plan that makes exactly the steps: the one that was shown, or,
// where some of its steps were chosen, one of these alone.
func (m *module) choose(ctx context.Context, a driver.Apply, k *known) (*run.Planned, *driver.Problem) {
	given := map[string]plan.Action{}
	for _, s := range a.Steps {
		given[s.Change.Target().Name] = s.Change.Action()
	}
	var missing, destroyed []string
	for _, s := range k.comparison.Plan.Steps {
		name := s.Change.Target().Name
		if s.Change.Risk().Destroys {
			destroyed = append(destroyed, name)
		}
		if given[name] != s.Change.Action() {
			missing = append(missing, name)
		}
	}
	for name := range given {
		if !slices.ContainsFunc(k.comparison.Plan.Steps, func(s plan.Step) bool { return s.Change.Target().Name == name }) {
			return nil, m.staled(name + " is not in the plan")
		}
	}
	whole := len(missing) == 0 && len(m.ignored(k)) == 0
	if len(destroyed) > 0 && !a.Prune && (whole || !a.Partial) {
		return nil, &driver.Problem{Reason: reasonPrune, Message: fmt.Sprintf(
			"not applied: the plan destroys %s (%s), and pruning is off: look at it with plumb diff, then sync with --prune or set automated.prune", count(len(destroyed), "resource"), some(destroyed))}
	}
	if whole {
		return k.planned, nil
	}
	return m.part(ctx, a, k, given)
}

// ignored are changes of the plan that are not to be made, because a drift rule
// says so.
func (m *module) ignored(k *known) []string {
	var names []string
	for _, ch := range m.changes(k.planned) {
		name := ch.ref().Name
		if !slices.ContainsFunc(k.comparison.Plan.Steps, func(s plan.Step) bool { return s.Change.Target().Name == name }) {
			names = append(names, name)
		}
	}
	return names
}

// part plans some resources alone. What it does beyond them (what they depend on)
// must be nothing.
func (m *module) part(ctx context.Context, a driver.Apply, k *known, given map[string]plan.Action) (*run.Planned, *driver.Problem) {
	o := run.PlanOptions{Destroy: k.spec.deleting}
	for name := range given {
		if !strings.HasPrefix(name, outputPrefix) {
			o.Targets = append(o.Targets, name)
		}
	}
	slices.Sort(o.Targets)
	p, err := m.plan(ctx, o)
	m.known = nil // its plan is gone from the folder
	if err != nil {
		return nil, &driver.Problem{Reason: reasonFailed, Message: explain(err).Error(), Transient: true}
	}
	for _, ch := range m.changes(p) {
		name := ch.ref().Name
		if ch.ref().Kind == outputKind {
			continue
		}
		if given[name] != ch.change.Action() {
			m.live.dirty(true)
			return nil, &driver.Problem{Reason: reasonStale, Message: fmt.Sprintf("not applied: alone, the chosen resources would also %s %s: choose it, too, or sync the whole Application", ch.change.Action(), name)}
		}
		if ch.change.Risk().Destroys && !a.Prune {
			return nil, &driver.Problem{Reason: reasonPrune, Message: fmt.Sprintf("not applied: it destroys %s, and pruning is off: sync with --prune", name)}
		}
	}
	if p.Plan == nil {
		if err := m.runner.Load(ctx, p); err != nil {
			return nil, &driver.Problem{Reason: reasonFailed, Message: err.Error(), Transient: true}
		}
	}
	return p, nil
}

// lock takes the state's lock, and sees that the state is still that of the plan.
func (m *module) lock(ctx context.Context, s *spec, lock Lock) *driver.Problem {
	if err := m.takeLock(ctx, s, lock); err != nil {
		return &driver.Problem{Reason: reasonLocked, Message: err.Error(), Transient: true}
	}
	before := m.state
	err := m.loadState(ctx, s)
	if err == nil && m.state.lineage == before.lineage && m.state.serial == before.serial {
		return nil
	}
	unlock := m.giveLock(ctx, s)
	if err = errors.Join(err, unlock); err != nil {
		return &driver.Problem{Reason: reasonLocked, Message: err.Error(), Transient: true}
	}
	return m.staled(fmt.Sprintf("the state has moved on since the plan was made (serial %d, now %d)", before.serial, m.state.serial))
}

func lockID() string { return strings.ToLower(rand.Text()) }

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", …"
}
