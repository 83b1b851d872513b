package tofu

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

const (
	// oldest is how old a plan may be that is applied as it is, where nobody says
	// so: what is live may have moved on since.
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
	if time.Since(k.at) > cmp.Or(a.MaxAge, oldest) {
		var problem *driver.Problem
		if k, problem = m.renew(ctx, a.Desired, k); problem != nil {
			return problem
		}
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
		if err := m.dropPlan(); err != nil { // one that has failed is not tried again
			return err
		}
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
	}
	return k, ""
}

// renew makes an old plan anew, and refuses one that says something else.
func (m *module) renew(ctx context.Context, want driver.Desired, k *known) (*known, *driver.Problem) {
	want.Full = false
	err := m.dropPlan()
	if err == nil {
		_, err = m.look(ctx, &want, k.spec, k.key, true)
	}
	switch {
	case err != nil:
		m.live.dirty(true)
		return nil, &driver.Problem{Reason: reasonFailed, Message: "not applied: the plan is old, and can't be made anew: " + explain(err).Error(), Transient: true}
	case m.known == nil || m.known.planned == nil || m.known.comparison.Plan.Digest() != k.comparison.Plan.Digest():
		return nil, m.staled("what there is has changed since the plan was made")
	}
	return m.known, nil
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
	ignored := m.ignored(k)
	p, err := m.plan(ctx, o)
	m.known = nil // its plan is gone from the folder
	if err != nil {
		return nil, &driver.Problem{Reason: reasonFailed, Message: explain(err).Error(), Transient: true}
	}
	for _, ch := range m.changes(p) {
		name := ch.ref().Name
		if ch.ref().Kind == outputKind || slices.Contains(ignored, name) && !ch.change.Risk().Destroys {
			continue // what is to be made depends on it: then it goes along
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

// running is an apply that is under way.
type running struct {
	m       *module
	spec    *spec
	before  driver.Comparison
	started time.Time
	lock    Lock
	report  func(driver.Result)
	cancel  context.CancelFunc
	ended   chan struct{}
	// whole is what the comparison was made for whose whole plan is applied.
	whole string

	mu       sync.Mutex
	left     map[string]plan.Step // by address
	progress map[string]run.Event
	told     time.Time
}

// start does something to the folder that goes on when the caller has returned.
func (m *module) start(r *running, do func(context.Context) error) {
	ctx, cancel := context.WithCancel(run.Detachable(m.d.life, m.d.life.Done()))
	r.cancel, r.ended = cancel, make(chan struct{})
	m.live.set(r)
	m.d.wait.Go(func() {
		defer close(r.ended)
		stop := r.save(ctx)
		err := do(ctx)
		stop()
		cancel()
		r.finish(err)
	})
}

// save saves the state now and then, for what happens to this machine.
func (r *running) save(ctx context.Context) (stop func()) {
	if r.spec.backend.own {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(saveEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			text, err := os.ReadFile(r.m.folder(r.spec).State(r.spec.Options.Workspace))
			if err != nil || r.m.saved(text) {
				continue
			}
			if _, err := readState(text); err != nil {
				continue // it is being written
			}
			_ = r.m.store(ctx, stateID(r.m.owner, r.spec.Options.Workspace), text) // at worst, it is saved at the end
		}
	}()
	return func() { close(done); <-ended }
}

// event takes what the program tells. What is done is reported at the end: not
// before the state that knows of it is saved.
func (r *running) event(e run.Event) {
	r.mu.Lock()
	was := r.progress[e.Address]
	if was.Elapsed > e.Elapsed && was.Action == e.Action {
		e.Elapsed = was.Elapsed
	}
	r.progress[e.Address] = e
	tell := was.Status != e.Status || was.Action != e.Action || time.Since(r.told) > time.Second
	if tell {
		r.told = time.Now()
	}
	r.mu.Unlock()
	if tell {
		r.m.d.tell(r.m.owner)
	}
}

func succeeded(s plan.Step, e run.Event) driver.Result {
	ref := s.Change.Target()
	verb := map[plan.Action]string{plan.ActionCreate: "created", plan.ActionUpdate: "updated", plan.ActionReplace: "replaced", plan.ActionDelete: "destroyed"}[s.Change.Action()]
	r := driver.Result{Step: s, Message: ref.Name + " " + verb}
	if e.Elapsed >= time.Second {
		r.Message += fmt.Sprintf(" after %s", e.Elapsed.Round(time.Second))
	}
	if s.Change.Action() != plan.ActionDelete {
		r.Held = &driver.Held{Ref: ref, Desired: heldMark, Applied: heldMark}
	}
	return r
}

// finish saves what an apply has done, and tells of it.
func (r *running) finish(err error) {
	m := r.m
	if errors.Is(err, run.ErrDetached) {
		r.rest(&driver.Problem{Reason: reasonCancelled, Message: "plumb is being stopped; the apply goes on, and is taken up again", Transient: true}, nil)
		return // the lock stays: nobody else must touch the state
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.d.life), time.Minute)
	defer cancel()
	if run.KindOf(err) == run.KindKilled {
		r.salvage(ctx)
	}
	saved := r.keep(ctx)
	m.mu.Lock()
	m.known, m.failed, m.state = nil, nil, stateDoc{}
	m.live.set(nil)
	if err == nil {
		m.unheld = nil
	}
	if m.applied = r.whole; err != nil || saved != nil || r.whole == "" {
		m.applied = ""
		m.live.dirty(true)
	}
	m.mu.Unlock()
	if saved != nil {
		m.d.o.Log.Error("the state is not saved yet; it is kept in the working folder", "application", string(m.owner), "error", saved)
		err = errors.Join(err, saved)
	}
	r.rest(problemOf(err), diagnosticsOf(err))
	if m.live.unwanted() {
		m.d.drop(m)
	}
	m.d.tell(m.owner)
}

// keep saves the state, for as long as it takes, and gives the lock back.
func (r *running) keep(ctx context.Context) error {
	if r.spec.backend.own {
		return nil
	}
	var err error
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		if err = r.m.saveState(ctx, r.spec); err == nil {
			break
		}
		if errors.Is(err, ErrNotHeld) { // what somebody else has made by now stays
			return errors.Join(err, r.m.giveLock(ctx, r.spec))
		}
		select {
		case <-ctx.Done():
			return err // the lock stays until the state is saved
		case <-r.m.d.life.Done():
			return err
		case <-time.After(pause):
		}
	}
	return r.m.giveLock(ctx, r.spec)
}

// completes tells whether what was last told of a resource ends its change.
func completes(of plan.Action, e run.Event) bool {
	if e.Status != run.Complete {
		return false
	}
	switch of {
	case plan.ActionCreate:
		return e.Action == "create"
	case plan.ActionUpdate:
		return e.Action == "update"
	case plan.ActionDelete:
		return e.Action == "delete"
	case plan.ActionReplace, plan.ActionForget: // the end of all tells
	}
	return false
}

// rest reports how each step has ended.
func (r *running) rest(p *driver.Problem, failed map[string]string) {
	r.mu.Lock()
	left := r.left
	r.left = nil
	progress := r.progress
	r.mu.Unlock()
	if r.report == nil {
		return
	}
	for name, s := range left {
		switch why := failed[name]; {
		case p == nil:
			r.report(succeeded(s, progress[name]))
		case why != "":
			r.report(driver.Result{Step: s, Message: why, Problem: &driver.Problem{Reason: reasonFailed, Message: why}})
		case completes(s.Change.Action(), progress[name]):
			r.report(succeeded(s, progress[name]))
		default:
			q := *p
			if len(failed) > 0 {
				q = driver.Problem{Reason: reasonFailed, Message: "not applied, since the apply failed before", Transient: true}
			}
			r.report(driver.Result{Step: s, Message: q.Message, Problem: &q})
		}
	}
}

func problemOf(err error) *driver.Problem {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, run.ErrStale):
		return &driver.Problem{Reason: reasonStale, Message: err.Error(), Transient: true}
	case errors.Is(err, context.Canceled):
		return &driver.Problem{Reason: reasonCancelled, Message: err.Error(), Transient: true}
	}
	return &driver.Problem{Reason: reasonFailed, Message: explain(err).Error(), Transient: run.KindOf(err) != run.KindConfig}
}

// diagnosticsOf are the errors of single resources, by address.
func diagnosticsOf(err error) map[string]string {
	var e *run.Error
	if !errors.As(err, &e) {
		return nil
	}
	out := map[string]string{}
	for _, d := range e.Errors() {
		if d.Address != "" && out[d.Address] == "" {
			out[d.Address] = d.String()
			if advice := d.Advice(); advice != "" {
				out[d.Address] += ": " + advice
			}
		}
	}
	return out
}

// resume takes up the run that an earlier process has left.
func (m *module) resume(ctx context.Context, s *spec) error {
	folder := m.folder(s)
	if rec, alive := run.Running(folder); alive && rec.Operation == "apply" {
		m.d.o.Log.Info("taking up an apply that an earlier process has begun", "application", string(m.owner), "process", rec.PID)
		lock := Lock{ID: lockID(), Operation: "apply", Who: who(), Version: "plumb", Created: rec.Started}
		if err := m.takeLock(ctx, s, lock); err != nil {
			return err
		}
		r := &running{m: m, spec: s, started: rec.Started, lock: lock, progress: map[string]run.Event{}}
		if doc, err := m.storedState(ctx, s); err == nil {
			m.state = doc
			r.before = m.inSync()
		}
		m.resumed = true
		m.start(r, func(ctx context.Context) error {
			out, err := m.runner.Resume(ctx, r.event)
			if out != nil {
				err = out.Err
			}
			return err
		})
		return errUnderWay
	}
	out, err := m.runner.Resume(ctx, nil)
	if err != nil {
		return err
	}
	if out != nil && out.Err != nil {
		m.d.o.Log.Info("an earlier run did not end well", "application", string(m.owner), "operation", out.Record.Operation, "error", out.Err)
	}
	// A lock that an earlier process has left keeps others away until the state of
	// its run is saved: then it is given back.
	if held, err := m.heldLock(); err != nil || held != "" {
		lock := Lock{ID: lockID(), Operation: "recover", Who: who(), Version: "plumb", Created: time.Now().UTC()}
		if err = errors.Join(err, m.takeLock(ctx, s, lock)); err != nil {
			return err
		}
	}
	m.resumed = true
	return nil
}

func (m *module) storedState(ctx context.Context, s *spec) (stateDoc, error) {
	if s.backend.own {
		return stateDoc{}, errors.New("it is not asked while a run is under way")
	}
	text, err := m.d.o.States.Load(ctx, stateID(m.owner, s.Options.Workspace))
	if err != nil {
		return stateDoc{}, err
	}
	return readState(text)
}

// underWay is the comparison while an apply goes on: what is being changed is
// progressing, and there is no plan to do anything else.
func (m *module) underWay() (driver.Comparison, bool) {
	r := m.live.get()
	if r == nil {
		return driver.Comparison{}, false
	}
	c := r.before
	c.Plan, c.Calls, c.Notes, c.Busy, c.Recorded, c.Whole = plan.Plan{}, 0, nil, true, true, true
	c.Resources = slices.Clone(c.Resources)
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for i := range c.Resources {
		res := &c.Resources[i]
		seen[res.Ref.Name] = true
		r.show(res)
	}
	for name, e := range r.progress {
		if !seen[name] && e.Action != "read" && e.Action != "refresh" && name != "" {
			res := driver.Resource{Ref: planjson.Ref(name), Sync: driver.OutOfSync, Cause: driver.CauseMissing}
			r.show(&res)
			c.Resources = append(c.Resources, res)
		}
	}
	slices.SortFunc(c.Resources, func(a, b driver.Resource) int {
		return strings.Compare(string(a.Ref.Address()), string(b.Ref.Address()))
	})
	return c, true
}

// show shows how far a resource has come. r is locked.
func (r *running) show(res *driver.Resource) {
	e, known := r.progress[res.Ref.Name]
	_, left := r.left[res.Ref.Name]
	switch {
	case known && e.Status == run.Complete && e.Action == "delete":
		res.Health = health.Health{Status: health.Progressing, Message: "destroyed"}
		res.Deleting = true
	case known && e.Status == run.Complete && (e.Action == "create" || e.Action == "update"):
		res.Health, res.Exists = health.Health{Status: health.Healthy}, true
		res.Sync, res.Cause = driver.Synced, driver.CauseNone
		res.Held = driver.Held{Ref: res.Ref, Desired: heldMark, Applied: heldMark}
	case known && e.Status == run.Errored:
		res.Health = health.Health{Status: health.Degraded, Message: e.Message}
	case known && e.Action != "read" && e.Action != "refresh":
		text := map[string]string{"create": "being created", "update": "being updated", "delete": "being destroyed"}[e.Action]
		if text == "" {
			text = e.Action
		}
		if e.Elapsed >= time.Second {
			text += fmt.Sprintf(" (%s)", e.Elapsed.Round(time.Second))
		}
		res.Health = health.Health{Status: health.Progressing, Message: text}
		res.Deleting = e.Action == "delete" && res.Cause == driver.CauseExtra
	case left:
		res.Health = health.Health{Status: health.Progressing, Message: "waiting for its turn"}
	}
}

// cancel has an apply that is under way end early.
func (m *module) cancel() {
	if r := m.live.get(); r != nil {
		r.cancel()
	}
}

// await waits for an apply to end.
func (m *module) await() {
	if r := m.live.get(); r != nil {
		<-r.ended
	}
}

func (m *module) busy() bool { return m.live.get() != nil }

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
