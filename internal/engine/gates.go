package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/window"
)

// Gates tells what holds an Application's changes back.
type Gates interface {
	// Windows are the sync windows of the Application's project, and where names
	// the project in messages.
	Windows(app *v1alpha1.Application, key Key) (windows window.Set, where string)
	// Freezes are those that may hold the Application, also such as are over.
	Freezes(app *v1alpha1.Application, key Key) []Frozen
	// Approval is what the Application's project asks for, or nil.
	Approval(app *v1alpha1.Application, key Key) *v1alpha1.ApprovalPolicy
	// Overridable says why nobody is let through, or nil: whether who asks for it
	// may, the API server has checked.
	Overridable() error
}

// Frozen is a freeze and where it comes from.
type Frozen struct {
	// Where names what is frozen: project shop, all projects.
	Where string
	v1alpha1.Freeze
}

// String says what is frozen, by whom, since when and why.
func (f Frozen) String() string {
	text := f.Where + " frozen by " + orDefault(f.By, "unknown")
	if f.At != nil {
		text += " since " + f.At.UTC().Format(time.RFC3339)
	}
	if f.Until != nil {
		text += " until " + f.Until.UTC().Format(time.RFC3339)
	}
	return text + ": " + orDefault(f.Reason, "no reason given")
}

// longestHold is how long until an Application is looked at again that is held
// back by windows of which nobody can say when they open.
const longestHold = time.Hour

// gates are what holds changes back now.
func (p *pass) gates() decide.Gates {
	g := decide.Gates{Exempt: p.exempt()}
	p.frozen = ""
	if p.e.Gates == nil {
		return g
	}
	p.freezes(&g)
	if p.deleting() {
		return g
	}
	now := p.e.Clock.Now()
	set, where := p.e.Gates.Windows(p.app, p.key)
	set = set.For(p.place())
	s := set.At(now)
	g.Opens = s.Opens
	if s.Closed != "" {
		g.Closed = s.Closed + " in " + where
	}
	if s.ManualClosed != "" {
		g.ManualClosed = s.ManualClosed + " in " + where
	}
	if p.requested() && p.app.Operation.InitiatedBy.Automated {
		g.ManualClosed = g.Closed // what a program asks for is nobody's wish
	}
	if op := p.st.running; op != nil {
		g.Overrun = set.MayGoOn(now, op.started, !op.automated)
	}
	return g
}

// freezes finds what is frozen, and has the Application looked at again when
// that ends.
func (p *pass) freezes(g *decide.Gates) {
	now := p.e.Clock.Now()
	var texts []string
	var until time.Time
	endless := false
	for _, f := range p.e.Gates.Freezes(p.app, p.key) {
		if !f.InForce(now) {
			continue
		}
		texts = append(texts, f.String())
		if f.Until == nil {
			endless = true
		} else if until.Before(f.Until.Time) {
			until = f.Until.Time
		}
	}
	g.Frozen = strings.Join(texts, "; ")
	p.frozen = g.Frozen
	if !until.IsZero() && !endless {
		g.FrozenUntil = until
		p.e.queue.addAfter(p.key, until.Sub(now))
	}
}

// place is what the project's windows are chosen by: as in Argo CD, what the
// destination says. One that says nothing is the cluster it means.
func (p *pass) place() window.Place {
	d := p.app.Spec.Destination
	out := window.Place{Application: p.app.Name, Namespace: orDefault(d.Namespace, p.target.Namespace)}
	for _, name := range []string{d.Name, d.Server} {
		if name != "" {
			out.Clusters = append(out.Clusters, name)
		}
	}
	if len(out.Clusters) == 0 {
		out.Clusters = []string{p.target.Server, p.cluster}
	}
	return out
}

// exempt tells whether gates do not hold for the sync under way, or for the one
// that is asked for.
func (p *pass) exempt() bool {
	if op := p.st.running; op != nil && op.dryRun || op == nil && p.requested() && p.app.Operation.Sync.DryRun {
		return true
	}
	return p.overridden()
}

// overridden tells whether the sync under way, or the one that is asked for, has
// been let through by somebody who may.
func (p *pass) overridden() bool {
	if op := p.st.running; op != nil {
		return p.overrides(op.request.Info)
	}
	return p.requested() && p.overrides(p.app.Operation.Info)
}

// overrides tells whether an operation goes through gates, and approvals that
// are missing.
func (p *pass) overrides(info []v1alpha1.Info) bool {
	return overrideReason(info) != "" && p.e.Gates != nil && p.e.Gates.Overridable() == nil
}

// overrideReason is why an operation asks to be let through; empty where it does
// not.
func overrideReason(info []v1alpha1.Info) string {
	return strings.TrimSpace(infoValue(info, v1alpha1.InfoOverride))
}

// tellOverride records that somebody was let through what would have held the
// sync.
func (p *pass) tellOverride(req *v1alpha1.Operation, g decide.Gates) {
	reason := overrideReason(req.Info)
	if reason == "" || req.Sync.DryRun || p.e.Gates == nil {
		return
	}
	if err := p.e.Gates.Overridable(); err != nil {
		p.record(RecordOverrideIgnored, req.InitiatedBy.Username, "the override was not honoured: "+err.Error())
		return
	}
	through := slices.DeleteFunc([]string{g.Frozen, g.ManualClosed, p.lacks()}, func(s string) bool { return s == "" })
	what := "nothing was in the way"
	if len(through) > 0 {
		what = "in spite of: " + strings.Join(through, "; ")
	}
	p.record(RecordOverridden, req.InitiatedBy.Username, fmt.Sprintf("sync forced by %s: %s (%s)", orDefault(req.InitiatedBy.Username, "unknown"), reason, what))
}

// lacks says which approval the sync under way goes without, if any.
func (p *pass) lacks() string {
	if p.when() == decide.Never || !p.compared {
		return ""
	}
	start := decide.Start{Scope: decide.Full}
	if d, waits := decide.Approve(start, p.standing(p.propose(start, p.st.running))).(decide.Await); waits {
		return d.For
	}
	return ""
}

// record writes down an act that somebody may be asked about later.
func (p *pass) record(kind RecordKind, actor, text string) {
	p.note(Record{Kind: kind, Actor: actor, Message: text})
	p.event(true, string(kind), text)
}

// hold keeps a change back. A sync under way may still end, if all of it is done.
func (p *pass) hold(ctx context.Context, d decide.Hold) bool {
	now := p.e.Clock.Now()
	switch {
	case !d.Until.IsZero():
		p.e.queue.addAfter(p.key, max(time.Second, d.Until.Sub(now)))
	case d.Gate == decide.SyncWindow:
		p.e.queue.addAfter(p.key, longestHold)
	}
	if p.st.running == nil {
		return false
	}
	p.holding = true
	return p.step(ctx)
}

// gateConditions say what holds changes back.
func (p *pass) gateConditions(add func(v1alpha1.ApplicationConditionType, string)) {
	if p.frozen != "" {
		add(v1alpha1.ConditionFrozen, p.frozen)
	}
	if h, ok := p.decision.(decide.Hold); ok && h.Gate == decide.SyncWindow {
		add(v1alpha1.ConditionSyncWindow, h.Why)
	}
}
