package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"k8s.io/apimachinery/pkg/api/equality"
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
	// distrusted is set where it is signatures that nothing may be done for.
	distrusted bool
	compared   bool
	// pendingInput is why an input is not known yet, and rerouted is set where
	// another worker is to go on.
	pendingInput string
	rerouted     bool
	// fresh is set where somebody has asked to look at everything anew.
	fresh bool
	// nowhere is set where a deleted Application holds nothing and has no
	// destination.
	nowhere bool

	decision decide.Decision
	events   []Event
	// proposal is what people are asked about, if anything. unproposed is why they
	// can't be asked.
	proposal   *proposal
	unproposed string
	// merged is how what has changed has come, where a pull request may count as an
	// approval.
	merged *merged

	// frozen says what is frozen, held are the gates of the decision, and holding
	// is set while they keep a sync under way from going on.
	frozen  string
	held    decide.Gates
	holding bool
	// pin is what the Application is pinned to, and gitHas what its sources mean
	// meanwhile.
	pin    *v1alpha1.Pin
	gitHas string
	// unwritable is true where the ledger has refused something in this pass.
	unwritable bool

	// refresh is the request to refresh that this pass has heard, if any, and
	// generation that of the spec that it has looked at: both may be newer by the
	// time the status is written.
	refresh    *string
	generation int64
}

// maxSteps bounds how often one pass decides: an Application whose plan never
// settles must not keep a worker from the others. One that has more to do goes on
// after stepPause.
const (
	maxSteps  = 24
	stepPause = 200 * time.Millisecond
)

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
	if isModule(app) && e.queue.slowDown(key) {
		e.queue.add(key)
		return "rerouted"
	}
	p.rebind()
	p.takeLate()
	p.terminate()
	if p.paused() {
		return "paused"
	}
	p.hear()
	more := true
	for i := 0; more && i < maxSteps; i++ {
		p.look(ctx)
		if p.rerouted {
			e.queue.add(key)
			return "rerouted"
		}
		p.endBroken()
		p.noteDrift()
		p.arrived()
		p.lookAtMerges(ctx)
		f := p.facts()
		p.decision = decide.Gated(f, p.withApproval(decide.Next(f)))
		more = p.act(ctx) && ctx.Err() == nil
	}
	if more {
		e.queue.addAfter(key, stepPause)
	}
	if ctx.Err() != nil {
		return "stopped"
	}
	p.adopt()
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
		p.refresh = &kind
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
		Whole:     p.compared && p.st.comparison.Whole,
		Approve:   p.when(), Proposes: p.e.Plans != nil,
		Destroys: p.destroys(), Heals: st.heals, HealedAt: st.healedAt, HealProblem: st.healProblem,
	}
	if p.deleting() {
		f.Dependents, f.Nowhere = p.e.dependents(p.key), p.nowhere
		f.Held, f.Unconfirmed = p.leaving()
	} else {
		if cycle := p.e.cycle(p.key, p.app); cycle != "" {
			f.Refused, p.refused = cycle, cycle
		} else {
			f.Waiting = p.e.waiting(p.key, p.app)
		}
		if p.pendingInput != "" && st.desired == nil {
			f.Pending.Declared++ // whatever it is, it is not there
			f.Waiting = append(f.Waiting, p.pendingInput)
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
	p.pinPolicy(&f.Policy)
	p.held = p.gates()
	f.Gates, f.Trial = p.held, p.trial()
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
		if r.Hook == nil && !r.Ensured && r.Cause != driver.CauseExtra {
			n++
		}
	}
	return n
}

// pending counts the differences by what may be done about them.
func (p *pass) pending() decide.Pending {
	var n decide.Pending
	if !p.compared || p.st.comparison.Busy {
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
			case v1alpha1.DriftAdopt:
				n.DriftAdopt++
			default:
				n.DriftReport++
			}
		}
	}
	return n
}

// destroys counts what a plan destroys that is applied as a whole or not at all.
func (p *pass) destroys() int {
	if !p.compared || !p.st.comparison.Whole {
		return 0
	}
	n := p.st.comparison.Plan.Count()
	return n.Delete + n.Replace
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
	p.holding = false
	p.watchHold()
	switch d := p.decision.(type) {
	case decide.Start:
		asked := p.requested()
		if !p.settlePlans(ctx) {
			return false // what has become of the last one comes first
		}
		if asked {
			if why := unheardOf(p.app); why != "" {
				p.refuseRequest(why)
				return true
			}
		}
		p.start(d)
		if asked {
			p.tellOverride(&p.st.running.request, p.held)
			return p.acknowledge(ctx) && p.step(ctx)
		}
		return p.step(ctx)
	case decide.Idle:
		p.decline(d.Why)
	case decide.Await:
		return p.await(ctx, d)
	case decide.Continue:
		return p.permit(ctx) && p.step(ctx)
	case decide.Supersede:
		if len(p.st.running.applying) > 0 {
			return false // its end will be noticed: to break off does more harm
		}
		p.supersede(d.Why)
		return true
	case decide.BackOff:
		p.decline(d.Why)
		p.e.queue.addAfter(p.key, d.Until.Sub(p.e.Clock.Now()))
	case decide.Hold:
		return p.hold(ctx, d)
	case decide.Refuse:
		p.refuseRequest(d.Why)
		return true
	case decide.RollBack:
		return p.rollBack(ctx, d.Why)
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
	p.st.heard, p.st.heardRequest = p.app.Generation, p.app.Operation
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

// unheardOf says what of a request can't be followed, or nothing: to sync
// something else than what was asked for would be worse than to refuse.
func unheardOf(app *v1alpha1.Application) string {
	s := app.Operation.Sync
	if len(s.Manifests) > 0 {
		return "operation.sync.manifests is not implemented: what is synced comes from Git; use plumb diff --local to look at what you have"
	}
	asked := slices.Clone([]v1alpha1.ApplicationSource(s.Sources))
	if s.Source != nil {
		asked = []v1alpha1.ApplicationSource{*s.Source}
	}
	declared := slices.Clone([]v1alpha1.ApplicationSource(app.Spec.GetSources()))
	for _, sources := range [][]v1alpha1.ApplicationSource{asked, declared} {
		for i := range sources {
			sources[i].TargetRevision = "" // the request's revision says which
		}
	}
	if len(asked) > 0 && !equality.Semantic.DeepEqual(asked, declared) {
		return "operation.sync.source is not implemented where it differs from spec.source: sync an earlier revision (plumb sync --revision), or change spec.source"
	}
	return ""
}

// refuseRequest answers a request with an error.
func (p *pass) refuseRequest(why string) {
	p.st.heard, p.st.heardRequest = p.app.Generation, p.app.Operation
	op := &operation{scope: decide.Full, started: p.e.Clock.Now()}
	op.take(plainRequest(p.app.Operation))
	p.st.ended = &endedOperation{op: op, errored: true, message: why, at: op.started}
	p.event(true, "OperationCompleted", "sync refused: "+why)
}

// terminate ends a running operation that somebody has asked to end.
func (p *pass) terminate() {
	s := p.app.Status.OperationState
	op := p.st.running
	if op == nil || s == nil || s.Phase != v1alpha1.OperationTerminating && !op.terminating {
		return
	}
	op.terminating = true
	if len(op.applying) > 0 {
		if c, ok := p.st.driver.(driver.Canceller); ok {
			c.Cancel(p.key.Owner())
		}
		return // what is under way tells how it has ended
	}
	p.end(op, false, "operation terminated")
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
