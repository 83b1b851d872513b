package tofu

import (
	"context"
	"errors"
	"fmt"
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
			text, err := r.m.localState(r.m.folder(r.spec).State(r.spec.Options.Workspace))
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
	if saved == nil {
		m.salvaged()
	} else {
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
	return &driver.Problem{Reason: reasonFailed, Message: explain(err).Error(), Transient: !slices.Contains([]run.Kind{run.KindConfig, run.KindReach}, run.KindOf(err))}
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
	r := &running{m: m, spec: s, started: time.Now(), progress: map[string]run.Event{}}
	out, err := m.runner.Resume(ctx, r.event)
	if err != nil {
		return err
	}
	var failed error
	if out != nil && out.Err != nil {
		failed = out.Err
		m.d.o.Log.Info("an earlier run did not end well", "application", string(m.owner), "operation", out.Record.Operation, "error", failed)
	}
	if out != nil && out.Record.Unsettled() || len(m.salvageNoted()) > 0 {
		return m.resumeSalvage(ctx, r, failed)
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
