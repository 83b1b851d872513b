package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/health"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pins holds Applications at revisions.
type Pins interface {
	// Pin writes a pin into an Application, unless it has one.
	Pin(ctx context.Context, app *v1alpha1.Application, key Key, pin v1alpha1.Pin) error
}

// trial is a revision that has been synced, or tried to, and was not healthy yet.
type trial struct {
	revisions []string
	since     time.Time
	// held is set while the sync is held back: that time does not count.
	held bool
}

// trialFrom takes up the trial that an earlier process watched.
func trialFrom(app *v1alpha1.Application) *trial {
	t := app.Status.Trial
	if t == nil {
		return nil
	}
	return &trial{revisions: t.Revisions, since: t.Since.Time, held: slices.ContainsFunc(app.Status.Conditions, func(c v1alpha1.ApplicationCondition) bool {
		return c.Type == v1alpha1.ConditionSyncWindow || c.Type == v1alpha1.ConditionFrozen
	})}
}

// watchHold begins a trial's time anew when what held the sync back is gone.
func (p *pass) watchHold() {
	t := p.st.trial
	if t == nil {
		return
	}
	_, held := p.decision.(decide.Hold)
	if t.held && !held {
		t.since = p.e.Clock.Now()
	}
	t.held = held
}

// pinTo makes the pinned revisions those that are wanted, unless a sync asks for
// others. It tells whether to go on.
func (p *pass) pinTo(ctx context.Context, r *request) bool {
	pin, ok := v1alpha1.PinOf(p.app.Annotations)
	if p.pin, p.gitHas = nil, ""; !ok || p.deleting() {
		return true
	}
	p.pin = &pin
	if err := pin.Fits(len(p.app.Spec.GetSources())); err != nil {
		p.refused = err.Error()
		return false
	}
	declared := *r
	declared.revisions = nil
	if now, err := p.e.resolve(ctx, declared); err == nil {
		var revisions []string
		for _, s := range now {
			revisions = append(revisions, s.at.Revision)
		}
		p.gitHas = shortRevisions(revisions)
	}
	if len(r.revisions) == 0 {
		r.revisions = pin.Revisions
	}
	return true
}

// pinPolicy lets an Application go back by itself that has been pinned because
// it failed, also where syncs are not automated: nobody is there to ask for it.
func (p *pass) pinPolicy(policy *decide.Policy) {
	if p.pin != nil && p.pin.By == v1alpha1.PinnedByFailure {
		policy.Automated = true
	}
}

// watchTrial begins to watch whether a new revision becomes healthy.
func (p *pass) watchTrial(op *operation) {
	if op.scope != decide.Full || op.dryRun || len(op.request.Sync.Resources) > 0 || p.st.desired == nil || !p.app.Spec.SyncPolicy.RollsBack() {
		return
	}
	revisions := p.st.desired.revisions
	if t := p.st.trial; t != nil && slices.Equal(t.revisions, revisions) || p.provenAt(revisions) {
		return
	}
	p.st.trial = &trial{revisions: revisions, since: op.started}
}

// provenAt tells whether the last sync was to these revisions, and became
// healthy: whatever ails it now is not their fault.
func (p *pass) provenAt(revisions []string) bool {
	h := p.app.Status.History
	n := len(h)
	return n > 0 && h[n-1].HealthyAt != nil && slices.Equal(h[n-1].RevisionsOf(), revisions)
}

// trial is what the decision needs to know of the revision that is watched.
func (p *pass) trial() *decide.Trial {
	t := p.st.trial
	if op := p.st.running; op != nil && op.awaits {
		return nil // what waits for people is not late
	}
	if t == nil || p.st.desired == nil || p.deleting() || !p.app.Spec.SyncPolicy.RollsBack() || !slices.Equal(t.revisions, p.st.desired.revisions) {
		return nil
	}
	out := &decide.Trial{
		Since: t.since, Deadline: p.app.Spec.SyncPolicy.GetHealthDeadline(), Healthy: p.sound(),
		Suspended: p.compared && p.worst() == health.Suspended, Pinned: p.pin != nil, Held: t.held,
	}
	out.Broken = p.refused != "" && !p.sourceFailed && p.st.running == nil && p.lastFailed()
	if h, ok := p.lastHealthy(); ok && p.e.Pins != nil {
		out.To = shortRevisions(h.RevisionsOf())
	}
	if left := t.since.Add(out.Deadline).Sub(p.e.Clock.Now()); left > 0 {
		p.e.queue.addAfter(p.key, left)
	}
	return out
}

// sound tells whether what was synced last is there and healthy.
func (p *pass) sound() bool {
	return p.compared && p.st.running == nil && !p.lastFailed() && !p.sourceFailed && p.refused == "" && p.worst() == health.Healthy
}

// lastFailed tells whether the last sync was to what is desired now, and failed.
func (p *pass) lastFailed() bool {
	l := p.st.last
	return l != nil && l.failed && p.st.desired != nil && l.desired == p.desiredHash()
}

// endBroken ends an operation that has changed something, where what is declared keeps
// from finding out what is left to do: a module, say, whose plans fail since its apply
// has.
func (p *pass) endBroken() {
	op := p.st.running
	if op == nil || op.awaits || len(op.applying) > 0 || len(op.made) == 0 || p.refused == "" || p.sourceFailed {
		return
	}
	why := ""
	if len(op.failed) == 0 {
		why = "what is left to do can't be found out: " + p.refused
	}
	p.end(op, false, why)
}

// lastHealthy is the latest sync that became healthy, of the same sources at
// other revisions.
func (p *pass) lastHealthy() (v1alpha1.RevisionHistory, bool) {
	same := slices.DeleteFunc(slices.Clone(p.app.Status.History), func(h v1alpha1.RevisionHistory) bool { return !p.ofSources(&h) })
	return same.LastHealthy(p.st.desired.revisions)
}

func (p *pass) ofSources(h *v1alpha1.RevisionHistory) bool {
	declared := p.app.Spec.GetSources()
	then := []v1alpha1.ApplicationSource(h.Sources)
	if len(then) == 0 {
		then = []v1alpha1.ApplicationSource{h.Source}
	}
	return len(h.RevisionsOf()) == len(declared) && slices.EqualFunc(then, declared, func(a, b v1alpha1.ApplicationSource) bool {
		return a.RepoURL == v1alpha1.RedactURL(b.RepoURL) && a.Chart == b.Chart
	})
}

// rollBack pins the Application to the revision that was healthy last. What is
// to be changed for that is then planned, and held back, as any other change.
func (p *pass) rollBack(ctx context.Context, why string) bool {
	if op := p.st.running; op != nil {
		if len(op.applying) > 0 {
			return false // its end will be noticed: to break off does more harm
		}
		p.end(op, false, why+"; it goes back")
	}
	h, ok := p.lastHealthy()
	if !ok {
		return false
	}
	failed := shortRevisions(p.st.desired.revisions)
	pin := v1alpha1.Pin{
		Revisions: h.RevisionsOf(), By: v1alpha1.PinnedByFailure, At: p.e.Clock.Now().UTC().Format(time.RFC3339),
		Reason: fmt.Sprintf("%s failed: %s", failed, why),
	}
	if err := p.e.Pins.Pin(ctx, p.app, p.key, pin); err != nil {
		p.e.Log.Warn("not rolled back", "application", p.key.String(), "error", err)
		p.e.queue.addAfter(p.key, time.Second)
		return false
	}
	p.record(RecordRolledBack, v1alpha1.PinnedByFailure, fmt.Sprintf("goes back from %s to %s: %s", failed, shortRevisions(pin.Revisions), why))
	p.st.goingBack = true
	fresh, ok := p.e.Applications.Get(p.key)
	if ok {
		p.app = fresh
	}
	return ok
}

// recordHealth writes down which revisions became healthy, and which have yet to.
func (p *pass) recordHealth(s *v1alpha1.ApplicationStatus, now metav1.Time) {
	if p.sound() && !p.deleting() {
		p.st.trial = nil
		n := len(s.History)
		if n > 0 && s.History[n-1].HealthyAt == nil && p.st.desired != nil && slices.Equal(s.History[n-1].RevisionsOf(), p.st.desired.revisions) {
			s.History = slices.Clone(s.History)
			s.History[n-1].HealthyAt = &now
		}
	}
	s.Trial = nil
	if t := p.st.trial; t != nil && p.app.Spec.SyncPolicy.RollsBack() {
		s.Trial = &v1alpha1.RevisionTrial{Revisions: t.revisions, Since: metav1.NewTime(t.since.Truncate(time.Second))}
	}
}

// pinConditions say that the Application is pinned, and what Git has meanwhile.
func (p *pass) pinConditions(add func(v1alpha1.ApplicationConditionType, string)) {
	if pin, ok := v1alpha1.PinOf(p.app.Annotations); ok && p.pin == nil && !p.deleting() {
		p.pin = &pin // the pass did not come as far as to look at it
	}
	t := p.trial()
	late := t != nil && !t.Healthy && !t.Suspended && !p.e.Clock.Now().Before(t.Since.Add(t.Deadline))
	if p.pin == nil {
		if late && t.To == "" {
			add(v1alpha1.ConditionSyncError, fmt.Sprintf("not healthy within %s, and no earlier revision is known to have been healthy that it could be rolled back to", t.Deadline))
		}
		return
	}
	text := p.pin.String()
	if p.gitHas != "" && p.gitHas != shortRevisions(p.pin.Revisions) {
		text += "; Git has " + p.gitHas + " meanwhile"
	}
	if late {
		text += fmt.Sprintf("; it is not healthy there either after %s, and stays", t.Deadline)
	}
	add(v1alpha1.ConditionPinned, text+" (plumb unpin "+p.key.Name+" follows Git again)")
}

// shortRevisions are revisions as people know them.
func shortRevisions(revisions []string) string {
	out := slices.Clone(revisions)
	for i, r := range out {
		if len(r) >= 40 && strings.Trim(r, "0123456789abcdef") == "" {
			out[i] = r[:7]
		}
	}
	return strings.Join(out, ", ")
}
