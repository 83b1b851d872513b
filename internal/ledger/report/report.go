// Package report works out, from the entries of a period, how delivery goes: the
// four figures of DORA, and what Plumb knows beside them. It is a function of
// entries: it reads nothing and knows no clock.
package report

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// Report is of a period.
type Report struct {
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Projects []Figures `json:"projects"` // by name
	Total    Figures   `json:"total"`
}

// Figures are those of a project, or of all.
type Figures struct {
	Project string `json:"project,omitempty"`

	// Changes are syncs that ended and whose plan changed something, or that do
	// not say so.
	Changes       int     `json:"changes"`
	ChangesPerDay float64 `json:"changesPerDay"`
	// LeadTime is from a commit to when its change was healthy.
	LeadTime Quantiles `json:"leadTime"`
	// Failed are changes that failed, made their Application degraded, or were
	// taken back.
	Failed      int     `json:"failed"`
	FailureRate float64 `json:"failureRate"` // of changes, from 0 to 1
	// Restore is from a failure to when the Application was in order again.
	Restore    Quantiles `json:"timeToRestore"`
	Unrestored int       `json:"unrestored"` // failures that had not ended

	Drifts     int       `json:"drifts"`
	DriftTime  Duration  `json:"driftTime"` // of all Applications together
	Drifting   int       `json:"drifting"`  // drifts that had not ended
	DriftEnd   Quantiles `json:"timeToEndDrift"`
	Approvals  int       `json:"approvals"`
	Rejections int       `json:"rejections"`
	Overrides  int       `json:"overrides"`
	RollBacks  int       `json:"rollBacks"`
}

// Quantiles sum up durations.
type Quantiles struct {
	Count int      `json:"count"`
	P50   Duration `json:"p50"`
	P90   Duration `json:"p90"`
}

// Duration is written in seconds.
type Duration time.Duration

// MarshalJSON writes seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).Seconds())
}

// Builder takes entries one after the other, so that a period need not fit into
// memory. What began before the period is counted only where it is asked to
// look at earlier entries too.
type Builder struct {
	since, until time.Time
	projects     map[string]*gathered
	applications map[entry.Application]*history
}

// gathered is what belongs to a project.
type gathered struct {
	Figures
	lead, restore, drift []time.Duration
}

// history is how far an Application has come.
type history struct {
	project string
	// The last change that ended.
	changed   bool // there is one, in the period
	failed    bool // it counts as a failure
	succeeded bool
	commits   []time.Time // that it brought, and that are not known to be healthy
	at        time.Time
	live      map[string]bool // the commits that it has had

	broken   time.Time // since when it is not in order
	drifting time.Time // since when it drifts
	// unseen is when that ended, unless it is found again soon.
	unseen time.Time
	// approved are those who have approved a plan, as long as it is the latest.
	plan     string
	approved map[string]bool
}

// NewBuilder reports on entries from since to before until.
func NewBuilder(since, until time.Time) *Builder {
	return &Builder{since: since, until: until, projects: map[string]*gathered{}, applications: map[entry.Application]*history{}}
}

// Of reports on entries, the oldest first.
func Of(entries []entry.Entry, since, until time.Time) Report {
	b := NewBuilder(since, until)
	for i := range entries {
		b.Add(&entries[i])
	}
	return b.Report()
}

// Add takes an entry. They come in the order in which they were recorded.
func (b *Builder) Add(e *entry.Entry) {
	if !e.Time.Before(b.until) {
		return
	}
	p := b.project(e.Project)
	in := !e.Time.Before(b.since)
	if e.Application.Name == "" {
		if in {
			p.decision(e.Kind)
		}
		return
	}
	h := b.history(e, p)
	switch e.Kind {
	case entry.SyncFinished:
		b.finished(e, h, p, in)
	case entry.Healthy:
		h.healthy(e.Time, p, in)
	case entry.Degraded:
		h.fail(e.Time, p)
	case entry.RolledBack, entry.Pinned:
		if in && e.Kind == entry.RolledBack {
			p.RollBacks++
		}
		h.fail(e.Time, p)
	case entry.DriftFound:
		b.foundDrift(e, h, p)
	case entry.DriftEnded, entry.Healed, entry.Adopted:
		if h.unseen = (time.Time{}); e.Details[entry.Unseen] != "" && !h.drifting.IsZero() {
			h.unseen = e.Time
			return
		}
		b.endDrift(h, p, e.Time, in)
	case entry.Approved:
		if in && h.approves(e) {
			p.decision(e.Kind)
		}
	case entry.ApplicationDeleted:
		h.end(p)
		b.endUnseen(h, p)
		b.endDrift(h, p, e.Time, in)
		delete(b.applications, keyOf(e.Application))
	default:
		if in {
			p.decision(e.Kind)
		}
	}
}

func (p *gathered) decision(kind entry.Kind) {
	switch kind {
	case entry.Approved:
		p.Approvals++
	case entry.Rejected:
		p.Rejections++
	case entry.Overridden:
		p.Overrides++
	default: // the others are no decisions
	}
}

func (b *Builder) project(name string) *gathered {
	p := b.projects[name]
	if p == nil {
		p = &gathered{Figures: Figures{Project: name}}
		b.projects[name] = p
	}
	return p
}

// keyOf leaves the UID out: entries of the same Application may lack it.
func keyOf(a entry.Application) entry.Application {
	a.UID = ""
	return a
}

func (b *Builder) history(e *entry.Entry, p *gathered) *history {
	key := keyOf(e.Application)
	h := b.applications[key]
	if h == nil {
		h = &history{}
		b.applications[key] = h
	}
	h.project = p.Project
	return h
}

// finished is the end of a sync.
func (b *Builder) finished(e *entry.Entry, h *history, p *gathered, in bool) {
	if e.Result == entry.Canceled || e.Result == entry.Unknown {
		return // what came after it tells
	}
	if e.Result == entry.Succeeded && e.Plan.Digest != "" && e.Plan.Counts.Total() == 0 {
		return // nothing was changed
	}
	if e.Details["scope"] == "heal" {
		return // it is the answer to drift, which has entries of its own
	}
	h.end(p)
	h.changed, h.failed, h.at, h.commits = in, false, e.Time, nil
	if in {
		p.Changes++
	}
	h.succeeded = e.Result == entry.Succeeded
	if !h.succeeded {
		h.fail(e.Time, p)
		return
	}
	for _, r := range e.Revisions {
		if t := r.CommittedAt; !t.IsZero() && t.Before(e.Time) && !h.live[r.Revision] && e.Details["scope"] != "delete" {
			h.commits = append(h.commits, t)
		}
		if r.Revision != "" {
			if h.live == nil {
				h.live = map[string]bool{}
			}
			h.live[r.Revision] = true // it is there again after a roll-back, or is synced once more
		}
	}
	if v, ok := e.Details["health"]; ok && v != string(entry.Healthy) {
		return // it becomes healthy, or not, in an entry of its own
	}
	h.restore(e.Time, p, in)
}

// fail is a failure: of the last change, unless there was none in the period.
func (h *history) fail(at time.Time, p *gathered) {
	if h.changed && !h.failed {
		h.failed = true
		p.Failed++
	}
	if h.broken.IsZero() {
		h.broken = at
	}
}

// healthy is an Application that has become healthy.
func (h *history) healthy(at time.Time, p *gathered, in bool) {
	h.restore(at, p, in)
	if h.succeeded {
		h.lead(at, p)
	}
}

func (h *history) lead(at time.Time, p *gathered) {
	for _, commit := range h.commits {
		if h.changed {
			p.lead = append(p.lead, at.Sub(commit))
		}
	}
	h.commits = nil
}

func (h *history) restore(at time.Time, p *gathered, in bool) {
	if !h.broken.IsZero() && in {
		p.restore = append(p.restore, at.Sub(h.broken))
	}
	h.broken = time.Time{}
}

// end is when nothing more is to be expected of the last change: its lead time
// ends with the sync where no entry said that it became healthy.
func (h *history) end(p *gathered) {
	if h.succeeded && !h.failed {
		h.lead(h.at, p)
	}
	h.commits, h.succeeded = nil, false
}

// foundAgain is how long after an end that nobody has seen drift that is found is the
// same one.
const foundAgain = 15 * time.Minute

// foundDrift begins a drift, or goes on with one: what a restarted server finds again
// has not begun anew.
func (b *Builder) foundDrift(e *entry.Entry, h *history, p *gathered) {
	if !h.unseen.IsZero() && e.Time.Sub(h.unseen) > foundAgain {
		b.endUnseen(h, p)
	}
	h.unseen = time.Time{}
	if h.drifting.IsZero() {
		h.drifting = e.Time
	}
}

func (b *Builder) endUnseen(h *history, p *gathered) {
	if at := h.unseen; !at.IsZero() {
		h.unseen = time.Time{}
		b.endDrift(h, p, at, !at.Before(b.since))
	}
}

// approves tells whether somebody has approved a plan who had not: an entry may be
// written twice where a server was killed.
func (h *history) approves(e *entry.Entry) bool {
	if e.Plan.Name == "" {
		return true
	}
	if h.plan != e.Plan.Name {
		h.plan, h.approved = e.Plan.Name, map[string]bool{}
	}
	again := h.approved[e.Actor.User]
	h.approved[e.Actor.User] = true
	return !again
}

func (b *Builder) endDrift(h *history, p *gathered, at time.Time, in bool) {
	if h.drifting.IsZero() {
		return
	}
	if in {
		p.Drifts++
		p.drift = append(p.drift, at.Sub(h.drifting))
		p.DriftTime += Duration(at.Sub(later(h.drifting, b.since)))
	}
	h.drifting = time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Report gives the figures. What has not ended is counted up to the period's end.
func (b *Builder) Report() Report {
	for _, h := range b.applications {
		p := b.project(h.project)
		h.end(p)
		if !h.broken.IsZero() {
			p.Unrestored++
		}
		b.endUnseen(h, p)
		if !h.drifting.IsZero() {
			p.Drifts++
			p.Drifting++
			p.DriftTime += Duration(b.until.Sub(later(h.drifting, b.since)))
		}
	}
	b.applications = map[entry.Application]*history{}
	r := Report{Since: b.since, Until: b.until, Projects: []Figures{}}
	var total gathered
	for _, p := range b.projects {
		total.add(p)
		if f := p.figures(b.until.Sub(b.since)); f != (Figures{Project: f.Project}) && f.Project != "" {
			r.Projects = append(r.Projects, f)
		}
	}
	slices.SortFunc(r.Projects, func(a, b Figures) int { return cmp.Compare(a.Project, b.Project) })
	r.Total = total.figures(b.until.Sub(b.since))
	return r
}

func (p *gathered) add(o *gathered) {
	p.Changes += o.Changes
	p.Failed += o.Failed
	p.Unrestored += o.Unrestored
	p.Drifts += o.Drifts
	p.Drifting += o.Drifting
	p.DriftTime += o.DriftTime
	p.Approvals += o.Approvals
	p.Rejections += o.Rejections
	p.Overrides += o.Overrides
	p.RollBacks += o.RollBacks
	p.lead = append(p.lead, o.lead...)
	p.restore = append(p.restore, o.restore...)
	p.drift = append(p.drift, o.drift...)
}

func (p *gathered) figures(period time.Duration) Figures {
	f := p.Figures
	f.LeadTime, f.Restore, f.DriftEnd = quantiles(p.lead), quantiles(p.restore), quantiles(p.drift)
	if f.Changes > 0 {
		f.FailureRate = float64(f.Failed) / float64(f.Changes)
	}
	if days := period.Hours() / 24; days > 0 {
		f.ChangesPerDay = float64(f.Changes) / days
	}
	return f
}

// quantiles are values that occur: of n, the least with so many not above it.
func quantiles(all []time.Duration) Quantiles {
	if len(all) == 0 {
		return Quantiles{}
	}
	all = slices.Clone(all)
	slices.Sort(all)
	at := func(percent int) Duration { return Duration(all[(len(all)*percent+99)/100-1]) }
	return Quantiles{Count: len(all), P50: at(50), P90: at(90)}
}
