package tofu

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
	probemodule "github.com/plumb-dev/plumb/internal/driver/tofu/probe/module"
)

// live is what of a module may be touched while something is done to its folder.
type live struct {
	mu      sync.Mutex
	current *running
	isDirty bool
	timer   *time.Timer
	round   int // of the timer: the tick of an earlier one has no next
	stopped bool
	// forgotten is set where the module is to be dropped when it is idle again.
	forgotten bool
	note      string
	unknowns  int
}

func (l *live) get() *running {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

func (l *live) set(r *running) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = r
}

// forget notes that nobody asks for the module any more, and tells whether it is
// idle.
func (l *live) forget() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgotten = true
	return l.current == nil
}

// wanted notes that somebody does.
func (l *live) wanted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgotten, l.stopped = false, false
}

func (l *live) unwanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forgotten
}

// detached tells whether a run goes on although nobody waits for it any more.
func (l *live) detached() bool { return l.get() != nil }

// dirty notes that the last comparison may hold no longer.
func (l *live) dirty(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isDirty = l.isDirty || yes
}

func (l *live) takeDirty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.isDirty
	l.isDirty = false
	return was
}

// quiet ends the probing of a module.
func (m *module) quiet() {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	m.live.stopped = true
	if m.live.timer != nil {
		m.live.timer.Stop()
	}
}

func (d *Driver) interval(want *driver.Desired) time.Duration {
	if i := want.Drift.GetInterval(); i > 0 {
		return max(i, time.Second/10)
	}
	return d.o.Interval
}

// schedule has a module probed after a while, and then at its interval. Probes of
// many modules are spread over the interval.
func (m *module) schedule(want *driver.Desired, first time.Duration) {
	interval := m.d.interval(want)
	if first <= 0 {
		first = time.Duration(rand.Int64N(int64(interval))) //nolint:gosec // only to spread the load
	}
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	if m.live.stopped {
		return
	}
	if m.live.timer != nil {
		m.live.timer.Stop()
	}
	m.live.round++
	round := m.live.round
	m.live.timer = time.AfterFunc(first, func() { m.tick(interval, round) })
}

// tick probes, and has the next tick come.
func (m *module) tick(interval time.Duration, round int) {
	m.d.mu.Lock()
	if m.d.closed {
		m.d.mu.Unlock()
		return
	}
	m.d.wait.Add(1)
	m.d.mu.Unlock()
	defer m.d.wait.Done()
	if acquire(m.d.life, m.d.probes) != nil {
		return
	}
	m.probe(m.d.life, interval)
	<-m.d.probes
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	if !m.live.stopped && m.live.round == round {
		m.live.timer = time.AfterFunc(interval, func() { m.tick(interval, round) })
	}
}

// looked takes what a plan has said after a probe: that some differences are no
// change, or that they are shown by now.
func (m *module) looked(want *driver.Desired, c driver.Comparison) {
	m.live.mu.Lock()
	doubt := m.pending
	m.pending = nil
	switch {
	case doubt == nil || doubt.scope != m.scope(): // it was read of another state
	case c.Plan.Empty() && m.harmless.again(doubt):
		if m.settled != doubt.scope { // of an earlier state or module nothing holds any more
			m.d.verdicts.Forget(m.settled)
			m.settled = doubt.scope
		}
		m.d.verdicts.Remember(doubt.scope, doubt.report)
	case c.Plan.Empty():
		m.harmless = doubt // somebody may have put it back just before the plan
	case doubt.report.Same():
		m.known.shows.same = true
	default:
		m.known.shows.differing = probe.NewVerdicts(1)
		m.known.shows.differing.Remember("", doubt.report)
	}
	m.live.mu.Unlock()
	m.schedule(want, m.d.interval(want))
}

// doubted is a report that differs from the state, and what it was read of.
type doubted struct {
	scope  string
	report probe.Report
}

// again tells whether another one says the same of the same state.
func (d *doubted) again(other *doubted) bool {
	if d == nil || other.scope != d.scope {
		return false
	}
	v := probe.NewVerdicts(1)
	v.Remember(d.scope, d.report)
	return !other.report.Same() && v.Settled(d.scope, other.report)
}

// shown is what a probe has said before the plan that a comparison was made of: as
// long as probes go on to say it, there is nothing new. It holds for this comparison
// alone: after a heal the same drift is one more, although the state is the same
// as before it.
type shown struct {
	differing *probe.Verdicts
	same      bool
	// drifted is set where the comparison shows a drift.
	drifted bool
}

func (s shown) has(r probe.Report) bool {
	if r.Same() {
		return s.same
	}
	return s.differing != nil && s.differing.Settled("", r)
}

func drifted(c driver.Comparison) bool {
	return slices.ContainsFunc(c.Resources, func(r driver.Resource) bool {
		return r.Sync == driver.OutOfSync && (r.Cause == driver.CauseDrift || r.Cause == driver.CauseDeleted)
	})
}

// scope is all that may make a change of what was none.
func (m *module) scope() string {
	return fmt.Sprintf("%s %s %s %d", m.owner, m.known.key, m.state.lineage, m.state.serial)
}

// tries is how many probes in a row may know nothing before a plan has to tell.
const tries = 3

// probe asks the providers whether everything still is what the state says.
func (m *module) probe(ctx context.Context, interval time.Duration) {
	m.mu.Lock()
	if m.busy() || m.known == nil || m.known.spec.deleting {
		m.mu.Unlock()
		return
	}
	overdue := time.Since(m.verified) > m.d.o.Backstop
	subject, err := m.subjectNow(ctx)
	scope := m.scope()
	k := m.known
	m.mu.Unlock()
	if overdue {
		m.doubt()
		return
	}
	if err != nil {
		m.unknown(fmt.Sprintf("drift is looked for by plans, every %s, since providers can't be asked: %v", interval, err), true)
		return
	}
	report := subject.Check(ctx)
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	same := m.known == k
	shows := k.shows
	m.mu.Unlock()
	if !same {
		return // it was about another state of things
	}
	m.judge(scope, shows, report, interval)
}

func (m *module) judge(scope string, shows shown, report probe.Report, interval time.Duration) {
	settled := m.d.verdicts.Settled(scope, report)
	if shows.has(report) || settled && !shows.drifted {
		m.live.mu.Lock()
		if report.Same() {
			m.harmless = nil
		}
		m.live.unknowns, m.live.note = 0, ""
		m.live.mu.Unlock()
		return
	}
	if !settled && report.Count(probe.Differs)+report.Count(probe.Gone) == 0 {
		at := slices.IndexFunc(report.Results, func(r probe.Result) bool { return r.Verdict == probe.Unknown })
		r := report.Results[at]
		m.unknown(fmt.Sprintf("drift is looked for by plans, every %s, since the provider does not tell of %s: %s", interval, r.Address, r.Reason),
			r.Cause == probe.Configuration || r.Cause == probe.Unreadable || r.Cause == probe.NotInstalled)
		return
	}
	m.live.mu.Lock()
	m.pending = &doubted{scope, report}
	m.live.mu.Unlock()
	m.doubt()
}

// unknown notes that probes do not tell, and has a plan tell, if that is not just
// a passing weakness.
func (m *module) unknown(note string, lasting bool) {
	m.live.mu.Lock()
	m.live.unknowns++
	plan := lasting || m.live.unknowns >= tries
	if plan {
		m.live.note = note
		m.live.unknowns = 0
	}
	m.live.mu.Unlock()
	if plan {
		m.doubt()
	}
}

// doubt has the module planned anew.
func (m *module) doubt() {
	m.live.dirty(true)
	m.d.tell(m.owner)
}

// subjectNow is what is to be probed. m is locked.
func (m *module) subjectNow(ctx context.Context) (*probe.Subject, error) {
	s := m.known.spec
	id := fmt.Sprintf("%s %s %d %s", m.config, m.state.lineage, m.state.serial, m.content)
	if m.subject != nil && m.subjectID == id {
		return m.subject, nil
	}
	prober, err := m.d.theProber()
	if err != nil {
		return nil, err
	}
	text := m.state.text
	if text == nil {
		return nil, fmt.Errorf("the state was not read yet")
	}
	program, err := m.d.program(ctx, string(s.Options.Tool))
	if err != nil {
		return nil, err
	}
	c := m.configOf(s, program)
	var secrets []string
	texts := map[string]string{}
	for name, v := range c.Variables {
		texts[name] = v.Text
		if v.Sensitive {
			secrets = append(secrets, v.Text)
		}
	}
	var files []string
	for _, f := range s.VarFiles {
		rel, err := filepath.Rel(filepath.FromSlash(s.Dir), filepath.FromSlash(f))
		if err != nil {
			return nil, fmt.Errorf("find the files of values: %w", err)
		}
		files = append(files, filepath.ToSlash(rel))
	}
	subject, err := prober.Subject(probe.Target{
		State: text,
		Module: probemodule.Options{
			Root: m.path("module"), Dir: s.Dir, DataDir: m.folder(s).Data(), Workspace: s.Options.Workspace, Files: files, Texts: texts,
		},
		Env: c.Env, Secrets: append(secrets, c.Secrets...),
	})
	if err != nil {
		return nil, err
	}
	m.subject, m.subjectID = subject, id
	return subject, nil
}

// note is what people should know of how drift is looked for.
func (m *module) note() []string {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	if m.live.note == "" {
		return nil
	}
	return []string{m.live.note}
}
