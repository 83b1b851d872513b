package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
)

// pass is one look at one Application, from what is to what was done about it.
type pass struct {
	e   *Engine
	key Key
	app *v1alpha1.Application
	st  *state

	target  driver.Target
	fence   Fence
	cluster string
	want    driver.Desired

	// What was found out: why nothing may be done, why not all could be looked
	// at, whether it was the sources that failed, and whether live state is known.
	refused, unavailable string
	sourceFailed         bool
	compared             bool
	// fresh asks for references to secrets to be looked up again, once.
	fresh bool

	decision decide.Decision
	events   []Event
}

// maxSteps bounds how often one pass decides: an Application whose plan never
// settles must not keep a worker from the others.
const maxSteps = 24

// pass looks at an Application and does what is to be done now. It says what it
// decided last.
func (e *Engine) pass(ctx context.Context, key Key) string {
	app, ok := e.Applications.Get(key)
	if !ok {
		e.drop(key)
		return "gone"
	}
	st := e.state(key)
	st.load(app, e.Intents)
	e.watchInputs(key, app)
	p := &pass{e: e, key: key, app: app, st: st}
	p.terminate()
	if p.paused() {
		return "paused"
	}
	p.hear()
	for range maxSteps {
		p.look(ctx)
		p.decision = decide.Next(p.facts())
		if !p.act(ctx) || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return "stopped"
	}
	p.finish(ctx)
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", p.decision), "decide."))
}

// watchInputs has the Application looked at again when a repository or another
// Application that it depends on moves.
func (e *Engine) watchInputs(key Key, app *v1alpha1.Application) {
	sources := app.Spec.GetSources()
	repos := make([]string, len(sources))
	for i, s := range sources {
		repos[i] = s.RepoURL
	}
	before := e.repos.set(key, repos)
	e.forget(before)
	e.deps.set(key, dependenciesOf(key, app))
}

func (p *pass) deleting() bool { return p.app.DeletionTimestamp != nil }

func (p *pass) paused() bool {
	skip, _ := v1alpha1.Lookup(p.app.Annotations, v1alpha1.NameSkipReconcile)
	return skip == "true" && !p.deleting()
}

// hear takes up a request to refresh: caches are not believed this time.
func (p *pass) hear() {
	if kind, ok := v1alpha1.Lookup(p.app.Annotations, v1alpha1.NameRefresh); ok {
		for _, s := range p.app.Spec.GetSources() {
			if from, err := p.e.origin(s); err == nil {
				from.Refresh(s.RepoURL)
			}
		}
		p.fresh = true
		if kind == string(v1alpha1.RefreshTypeHard) {
			p.st.desired = nil
		}
	}
}

// facts gathers what the decision depends on.
func (p *pass) facts() decide.Facts {
	st, spec := p.st, &p.app.Spec
	f := decide.Facts{
		Now: p.e.Clock.Now(), Deleting: p.deleting(), Cascade: cascades(p.app),
		Refused: p.refused, Unavailable: p.unavailable,
		Policy: policyOf(spec.SyncPolicy), Held: len(st.held), Pending: p.pending(),
		Requested: p.requested(),
		Heals:     st.heals, HealedAt: st.healedAt, HealProblem: st.healProblem,
	}
	if p.deleting() {
		f.Dependents = p.e.dependents(p.key)
		f.Held, f.Unconfirmed = p.leaving()
	} else {
		if cycle := p.e.cycle(p.key, p.app); cycle != "" {
			f.Refused, p.refused = cycle, cycle
		} else {
			f.Waiting = p.e.waiting(p.key, p.app)
		}
	}
	if st.desired != nil {
		f.Desired = p.desiredHash()
		f.Empty = declaredCount(st.comparison) == 0
	}
	if st.last != nil {
		f.Last = &decide.Attempt{Desired: st.last.desired, Failed: st.last.failed, Failures: st.last.failures, At: st.last.at}
	}
	if op := st.running; op != nil {
		f.Running = &decide.Run{Desired: op.desired, Automated: op.automated, Scope: op.scope}
	}
	return f
}

// leaving counts what a deletion still has to delete, and what of it needs to be
// confirmed by somebody first. What is to be kept is not counted.
func (p *pass) leaving() (held, unconfirmed int) {
	if !p.compared {
		return len(p.st.held), 0
	}
	for i := range p.st.comparison.Resources {
		r := &p.st.comparison.Resources[i]
		switch {
		case r.Hook != nil || !r.Exists || r.Held.Keep:
		case r.Guard == "":
			held++
		case strings.Contains(r.Guard, "confirm"):
			held++
			unconfirmed++
		}
	}
	return held, unconfirmed
}

// desiredHash identifies what a sync now would make true; that of a deletion is
// its own, whatever the sources mean.
func (p *pass) desiredHash() string {
	if p.deleting() {
		return "deletion"
	}
	return p.st.desired.hash
}

func declaredCount(c driver.Comparison) int {
	n := 0
	for _, r := range c.Resources {
		if r.Hook == nil && r.Cause != driver.CauseExtra {
			n++
		}
	}
	return n
}

// pending counts the differences by what may be done about them.
func (p *pass) pending() decide.Pending {
	var n decide.Pending
	if !p.compared {
		return n
	}
	for i := range p.st.comparison.Resources {
		r := &p.st.comparison.Resources[i]
		switch {
		case r.Hook != nil || r.Sync == driver.Synced:
		case r.Problem != nil:
			n.Problems++
			if r.Problem.Transient {
				n.Transient++
			}
		case r.Cause == driver.CauseExtra:
			if r.Guard == "" && !r.Deleting {
				n.Extra++
			}
		case r.Cause == driver.CauseMissing || r.Cause == driver.CauseDeclared:
			n.Declared++
		default:
			switch r.Answer {
			case v1alpha1.DriftRevert:
				n.DriftRevert++
			case v1alpha1.DriftIgnore:
			case "":
				n.DriftDefault++
			default: // report, and adopt, which is not built yet
				n.DriftReport++
			}
		}
	}
	return n
}

func policyOf(p *v1alpha1.SyncPolicy) decide.Policy {
	out := decide.Policy{Retry: decide.DefaultRetry}
	if p == nil {
		return out
	}
	if a := p.Automated; a.IsEnabled() {
		out.Automated, out.Prune, out.SelfHeal, out.AllowEmpty = true, a.GetPrune(), a.GetSelfHeal(), a.GetAllowEmpty()
	}
	if p.Retry != nil {
		out.Retry = retryOf(p.Retry)
	}
	return out
}

// retryOf reads a retry strategy; what it leaves out or gets wrong is the
// default (a wrong one is refused by the schema).
func retryOf(r *v1alpha1.RetryStrategy) decide.Retry {
	out := decide.DefaultRetry
	out.Limit = int(r.Limit)
	if base, err := r.Wait(0); err == nil {
		out.Base = base
	}
	if longest, err := r.Wait(1 << 10); err == nil && longest >= out.Base {
		out.Max = longest
	}
	if r.Backoff != nil && r.Backoff.Factor != nil && *r.Backoff.Factor >= 1 {
		out.Factor = float64(*r.Backoff.Factor)
	}
	return out
}

// act does what was decided, and tells whether to look and decide again.
func (p *pass) act(ctx context.Context) bool {
	switch d := p.decision.(type) {
	case decide.Start:
		asked := p.requested()
		if asked && len(p.app.Operation.Sync.Manifests) > 0 {
			p.refuseRequest("operation.sync.manifests is not implemented: what is synced comes from Git; use plumb diff --local to look at what you have")
			return true
		}
		p.start(d)
		if asked {
			return p.acknowledge(ctx) && p.step(ctx)
		}
		return p.step(ctx)
	case decide.Idle:
		p.decline(d.Why)
	case decide.Continue:
		return p.step(ctx)
	case decide.Supersede:
		p.supersede(d.Why)
		return true
	case decide.BackOff:
		p.decline(d.Why)
		p.e.queue.addAfter(p.key, d.Until.Sub(p.e.Clock.Now()))
	case decide.Release:
		if err := p.e.Applications.Release(ctx, p.key); err != nil {
			p.e.Log.Warn("release failed", "application", p.key.String(), "error", err)
			p.e.queue.addAfter(p.key, time.Second)
		}
	}
	return false
}

// requested tells whether somebody asks for a sync and was not heard yet. The
// generation tells a new request from one that is still there because the cache
// lags behind.
func (p *pass) requested() bool {
	return p.app.Operation != nil && p.app.Operation.Sync != nil && p.app.Generation > p.st.heard
}

// acknowledge shows the operation that was asked for as running, and takes the
// request back, before anything is done.
func (p *pass) acknowledge(ctx context.Context) bool {
	p.st.heard = p.app.Generation
	p.st.running.recorded = true
	if err := p.write(ctx, p.status()); err != nil {
		p.e.Log.Warn("operation not recorded", "application", p.key.String(), "error", err)
		p.e.queue.addAfter(p.key, time.Second)
		return false
	}
	p.settle(ctx)
	return true
}

// decline answers a request that can't be followed: whoever asked must not wait
// for ever.
func (p *pass) decline(why string) {
	if !p.requested() || p.st.running != nil || p.refused == "" && p.unavailable == "" {
		return
	}
	p.refuseRequest(why)
}

// refuseRequest answers a request with an error.
func (p *pass) refuseRequest(why string) {
	p.st.heard = p.app.Generation
	op := &operation{scope: decide.Full, started: p.e.Clock.Now()}
	op.take(p.app.Operation)
	p.st.ended = &endedOperation{op: op, errored: true, message: why, at: op.started}
	p.event(true, "OperationCompleted", "sync refused: "+why)
}

// terminate ends a running operation that somebody has asked to end.
func (p *pass) terminate() {
	s := p.app.Status.OperationState
	if p.st.running != nil && s != nil && s.Phase == v1alpha1.OperationTerminating {
		p.end(p.st.running, false, "operation terminated")
	}
}

// worst is the Application's health: the worst of its resources'.
func (p *pass) worst() health.Status {
	worst := health.Healthy
	for i := range p.st.comparison.Resources {
		r := &p.st.comparison.Resources[i]
		if r.Hook != nil || r.Cause == driver.CauseExtra {
			continue
		}
		worst = health.Worst(worst, r.Health.Status)
	}
	return worst
}
