package tofu

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// Compare says how what a module declares stands to what there is. It costs a
// plan where the module, its variables or the state have changed, or a probe has
// found something; else nothing.
func (d *Driver) Compare(ctx context.Context, want driver.Desired) (driver.Comparison, error) {
	m, err := d.module(want.Target.Owner)
	if err != nil {
		return driver.Comparison{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, busy := m.underWay(); busy {
		return c, nil
	}
	c, err := m.compare(ctx, &want)
	if err != nil {
		return driver.Comparison{}, explain(err)
	}
	return c, nil
}

// explain gives an error of the state's lock in the driver's words.
func explain(err error) error {
	var l *run.LockedError
	if errors.As(err, &l) {
		return &LockedError{Lock{ID: l.ID, Operation: l.Operation, Info: l.Info, Who: l.Who, Version: l.Version, Created: l.Created, Path: l.Path}}
	}
	return err
}

func (m *module) compare(ctx context.Context, want *driver.Desired) (driver.Comparison, error) {
	s, err := m.specOf(want)
	if err != nil {
		return driver.Comparison{}, err
	}
	if s == nil {
		return m.nothing(ctx, want)
	}
	key := s.key(want)
	dirty := m.live.takeDirty()
	if f := m.failed; f != nil && f.key == key && !dirty && !want.Fresh && time.Now().Before(f.until) {
		return driver.Comparison{}, f.err
	}
	if k := m.known; k != nil && m.failed == nil && k.key == key && !dirty && !want.Fresh && !want.Full {
		k.comparison.Calls = 0
		return k.comparison, nil
	}
	c, err := m.look(ctx, want, s, key, dirty)
	switch {
	case errors.Is(err, errUnderWay):
		c, _ := m.underWay()
		return c, nil
	case err != nil && ctx.Err() != nil:
		m.live.dirty(dirty)
		return driver.Comparison{}, err
	case err != nil:
		return driver.Comparison{}, m.fail(key, err)
	}
	m.failed = nil
	return c, nil
}

// nothing is the comparison of an owner without a module: nothing is declared, and
// what is held can't be destroyed without one.
func (m *module) nothing(ctx context.Context, want *driver.Desired) (driver.Comparison, error) {
	text, err := m.d.o.States.Load(ctx, stateID(m.owner, ""))
	if err != nil {
		return driver.Comparison{}, err
	}
	doc, err := readState(text)
	if err != nil {
		return driver.Comparison{}, err
	}
	if m.discarded || doc.held == 0 && len(want.Inventory) == 0 {
		return driver.Comparison{Recorded: true}, nil
	}
	return driver.Comparison{}, fmt.Errorf("what the module has made (%d resources) can't be looked at or destroyed without it, and its source can't be read: make it readable again, or remove the finalizer to leave the resources", max(doc.held, len(want.Inventory)))
}

// untouched tells whether a module was never run and holds nothing: that it can't be
// run now does not keep its Application from being deleted.
func (m *module) untouched(ctx context.Context, want *driver.Desired) bool {
	if _, err := os.Stat(m.path("run")); !errors.Is(err, fs.ErrNotExist) || len(want.Inventory) > 0 {
		return false
	}
	text, err := m.d.o.States.Load(ctx, stateID(m.owner, ""))
	return err == nil && len(text) == 0
}

var errUnderWay = errors.New("an earlier run is under way")

// look finds out how things stand.
func (m *module) look(ctx context.Context, want *driver.Desired, s *spec, key string, dirty bool) (driver.Comparison, error) {
	if err := m.prepare(ctx, s); err != nil {
		if s.deleting && m.untouched(ctx, want) {
			return driver.Comparison{Recorded: true, Whole: true}, nil
		}
		return driver.Comparison{}, err
	}
	if !m.resumed {
		if err := m.resume(ctx, s); err != nil {
			return driver.Comparison{}, err
		}
	}
	if err := m.loadState(ctx, s); err != nil {
		return driver.Comparison{}, err
	}
	if err := m.giveLock(ctx, s); err != nil { // of a run that could not: its state is saved now
		return driver.Comparison{}, err
	}
	if err := m.lost(want, s); err != nil {
		return driver.Comparison{}, err
	}
	if s.deleting && m.state.held == 0 {
		return driver.Comparison{Recorded: true, Whole: true}, m.discard(ctx, s)
	}
	if m.applied == key && key != "" && !s.deleting {
		// A whole plan was just made true: a plan for it would say so. One is made
		// when there is time, for what does not stay as it was made.
		m.settle(key, time.Now().Add(m.d.interval(want)-m.d.o.Backstop))
	}
	m.applied = ""
	if at, clean := m.clean(key); clean && !dirty && !want.Full && !want.Fresh {
		c := m.inSync()
		m.remember(key, s, c, nil)
		m.verified = at
		m.schedule(want, 0) // a probe is soon to say whether it still holds
		return c, nil
	}
	kept := m.keptPlan()
	planned, err := m.plan(ctx, run.PlanOptions{Destroy: s.deleting, Targets: s.Options.Targets, Keep: kept.File})
	if err != nil {
		return driver.Comparison{}, err
	}
	m.unchanged = m.settledOnce(key)
	c := m.comparison(want, planned)
	if err := m.keepPlan(kept, key, planned, c.Plan.Digest(), want.Full); err != nil {
		return driver.Comparison{}, err
	}
	m.verified = time.Now()
	if want.Full {
		m.live.dirty(m.known != nil && m.known.comparison.Plan.Digest() != c.Plan.Digest())
		return c, nil
	}
	m.remember(key, s, c, planned)
	if c.Plan.Empty() && !s.deleting {
		m.settle(key, m.verified)
		m.past = nil // no longer in the state
	}
	m.looked(want, c)
	return c, nil
}

// lost tells whether there is no state at all, although resources were made: to
// go on without it would make them a second time, or leave them behind.
func (m *module) lost(want *driver.Desired, s *spec) error {
	if len(bytes.TrimSpace(m.state.text)) > 0 {
		return nil
	}
	n := 0
	for _, h := range want.Inventory {
		if h.Applied == heldMark && h.Ref.Kind != outputKind {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if _, err := os.Stat(m.tombstone()); err == nil && s.deleting {
		return nil // of the end of which an earlier process could not tell any more
	}
	where := "the state that Plumb keeps"
	if s.backend.own {
		where = fmt.Sprintf("the module's backend %q", s.backend.kind)
	}
	return fmt.Errorf("there is nothing in %s (workspace %s), although %s were made: to go on would make them again, or leave them behind; set the backend or workspace back to what it was, or put the state there with plumb state push (one without resources to begin anew)",
		where, cmp.Or(s.Options.Workspace, "default"), count(n, "resource"))
}

// plan runs the program.
func (m *module) plan(ctx context.Context, o run.PlanOptions) (*run.Planned, error) {
	if err := acquire(ctx, m.d.plans); err != nil {
		return nil, err
	}
	defer func() { <-m.d.plans }()
	if m.known != nil && m.known.planned != nil && m.known.planned.File != o.Keep {
		m.known.planned = nil // its plan gives way in the folder
	}
	if o.Keep == "" {
		if err := m.dropPlan(); err != nil {
			return nil, err
		}
	}
	p, err := m.runner.Plan(ctx, o)
	var locked *run.LockedError
	if errors.As(err, &locked) && m.runner.OwnLock(locked) {
		m.d.o.Log.Info("releasing the lock that a killed run has left", "application", string(m.owner), "lock", locked.ID)
		if err := m.runner.ForceUnlock(ctx, locked.ID); err != nil {
			return nil, err
		}
		p, err = m.runner.Plan(ctx, o)
	}
	if err != nil {
		return nil, refusedIfConfig(err)
	}
	return p, nil
}

func (m *module) remember(key string, s *spec, c driver.Comparison, p *run.Planned) {
	m.known = &known{key: key, spec: s, comparison: c, planned: p, at: time.Now(), shows: shown{drifted: drifted(c)}}
}

// comparison is what a plan says.
func (m *module) comparison(want *driver.Desired, p *run.Planned) driver.Comparison {
	c := driver.Comparison{Calls: 1, Recorded: true, Whole: true, Outputs: m.outputs()}
	byName := map[string]*driver.Resource{}
	for _, i := range m.state.resources {
		r := resourceOf(i)
		byName[i.ref.Name] = &r
	}
	var steps []plan.Step
	refused := ""
	if p.Plan != nil {
		for _, ch := range m.changes(p) {
			if u, ok := ch.change.(plan.Update); ok && u.From != "" {
				delete(byName, nameIn(u.From))
			}
			r := byName[ch.ref().Name]
			if r == nil {
				r = &driver.Resource{Ref: ch.ref(), Health: health.Health{Status: health.Missing}}
				byName[r.Ref.Name] = r
			}
			if !ch.into(r, want) {
				continue
			}
			if err := fenced(want, r.Ref); err != nil && r.Problem == nil {
				r.Problem = &driver.Problem{Reason: driver.ReasonNotPermitted, Message: err.Error()}
				refused = r.Ref.Name
				continue
			}
			steps = append(steps, plan.Step{Change: ch.change, Phase: plan.Sync})
		}
	}
	if refused != "" {
		steps = nil
		c.Notes = append(c.Notes, fmt.Sprintf("nothing of the plan is applied, because the project does not allow %s", refused))
	}
	c.Notes = append(slices.Clone(m.unheld), m.note()...)
	for _, w := range p.Warnings {
		c.Notes = append(c.Notes, w.String())
	}
	for _, r := range byName {
		c.Resources = append(c.Resources, *r)
	}
	slices.SortFunc(c.Resources, func(a, b driver.Resource) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) })
	c.Plan = plan.New(steps)
	return c
}

// nameIn is the name in an address of a resource without group and namespace.
func nameIn(a plan.Address) string {
	_, name, _ := strings.Cut(string(a), "/")
	return name
}

// inSync is the comparison where nothing differs.
func (m *module) inSync() driver.Comparison {
	c := driver.Comparison{Recorded: true, Whole: true, Outputs: m.outputs()}
	for _, i := range m.state.resources {
		c.Resources = append(c.Resources, resourceOf(i))
	}
	slices.SortFunc(c.Resources, func(a, b driver.Resource) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) })
	return c
}

// heldMark is what an inventory holds of a resource: what there is to know of it
// is in the state.
const heldMark = "state"

func resourceOf(i instance) driver.Resource {
	r := driver.Resource{
		Ref: i.ref, Sync: driver.Synced, Exists: true, Health: health.Health{Status: health.Healthy},
		Held: driver.Held{Ref: i.ref, Desired: heldMark, Applied: heldMark},
	}
	if i.tainted {
		r.Health = health.Health{Status: health.Degraded, Message: "tainted: it was not made completely, and is to be replaced"}
	}
	return r
}

func fenced(want *driver.Desired, ref plan.Ref) error {
	if want.Fence == nil || ref.Kind == outputKind {
		return nil
	}
	return want.Fence(ref, false)
}

// clean tells whether nothing was left to do for exactly this module at exactly
// this state, be it in an earlier process, and when a plan last said so.
func (m *module) clean(key string) (time.Time, bool) {
	var s stamp
	text, err := os.ReadFile(m.path("clean.json"))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return time.Time{}, false
	}
	return s.Verified, s.Key == key && s.Lineage == m.state.lineage && s.Serial == m.state.serial
}

type stamp struct {
	Key, Lineage string
	Serial       int64
	// Verified is when a plan has looked at everything.
	Verified time.Time
}

func (m *module) settle(key string, verified time.Time) {
	text, err := json.Marshal(stamp{key, m.state.lineage, m.state.serial, verified})
	if err == nil {
		err = writeFile(m.path("clean.json"), text)
	}
	if err != nil {
		m.d.o.Log.Debug("not noted that a module is in sync", "application", string(m.owner), "error", err)
	}
}
