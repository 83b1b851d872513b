package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// mostDrift is how many drifts that last are told of, and mostEnded how many that
// have ended.
const (
	mostDrift = 50
	mostEnded = 20
)

// noteDrift notes drift that has come, changed and gone since the last pass, in the
// Application's history and for the ledger.
func (p *pass) noteDrift() {
	p.identify()
	if !p.compared || p.st.comparison.Busy {
		return
	}
	var now map[plan.Address]*driver.Resource
	for i := range p.st.comparison.Resources {
		r := &p.st.comparison.Resources[i]
		if (r.Cause == driver.CauseDrift || r.Cause == driver.CauseDeleted) && r.Answer != v1alpha1.DriftIgnore && !r.Deleting {
			if now == nil {
				now = map[plan.Address]*driver.Resource{}
			}
			now[r.Ref.Address()] = r
		}
	}
	if len(now) == 0 && !p.st.drifting {
		return
	}
	at := metav1.NewTime(p.e.Clock.Now().Truncate(time.Second))
	all, healed, gone := p.ended(now, at)
	came := p.came(now, at)
	all = append(all, came...)
	p.st.drifts, p.st.drifting = boundedDrift(all, len(all)), len(now) > 0
	p.recordDrift(came, healed, gone)
}

// ended brings what is known of drift up to date, and tells what of it has ended.
func (p *pass) ended(now map[plan.Address]*driver.Resource, at metav1.Time) (all []v1alpha1.DriftStatus, healed, gone endedDrift) {
	for _, d := range p.st.drifts {
		if d.Until != nil {
			all = append(all, d)
			continue
		}
		address := addressOfDrift(d)
		if r := now[address]; r != nil {
			fresh := driftStatus(r, d.Since)
			fresh.Manager, fresh.User, fresh.ImpersonatedBy = cmp.Or(fresh.Manager, d.Manager), d.User, d.ImpersonatedBy
			all = append(all, fresh)
			continue
		}
		d.Until, d.Ended = &at, v1alpha1.DriftGone
		if p.mended(string(address)) {
			d.Ended = v1alpha1.DriftReverted
			healed.add(d)
		} else {
			gone.add(d)
		}
		all = append(all, d)
	}
	return all, healed, gone
}

// endedDrift is what is told of drift that has ended, and who had made it.
type endedDrift struct{ texts, by []string }

func (e *endedDrift) add(d v1alpha1.DriftStatus) {
	text := string(addressOfDrift(d))
	var more []string
	if lasted := d.Until.Sub(d.Since.Time); lasted > 0 {
		more = append(more, fmt.Sprintf("after %s", lasted))
	}
	if d.User != "" {
		more = append(more, "changed by "+d.User)
		if !slices.Contains(e.by, d.User) {
			e.by = append(e.by, d.User)
		}
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	e.texts = append(e.texts, text)
}

// came gives the drift that is new.
func (p *pass) came(now map[plan.Address]*driver.Resource, at metav1.Time) []v1alpha1.DriftStatus {
	known := map[plan.Address]bool{}
	for _, d := range p.st.drifts {
		if d.Until == nil {
			known[addressOfDrift(d)] = true
		}
	}
	var out []v1alpha1.DriftStatus
	for address, r := range now {
		if known[address] {
			continue
		}
		d := driftStatus(r, at)
		t := traceOf(d)
		if r.Drift != nil {
			t.Written = r.Drift.Written
		}
		p.who(&d, t)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b v1alpha1.DriftStatus) int { return cmp.Compare(addressOfDrift(a), addressOfDrift(b)) })
	return out
}

const (
	// witnessPause is when to ask again who has changed something that nobody knows of
	// yet, and witnessTime, how long there is any use in it.
	witnessPause = 2 * time.Second
	witnessTime  = 30 * time.Second
)

// who finds out who has left a trace, and has the Application looked at again where that
// may be known later.
func (p *pass) who(d *v1alpha1.DriftStatus, t Trace) {
	if p.e.Witnesses == nil || isModule(p.app) {
		return
	}
	t.Server, t.Cluster = p.target.Server, p.cluster
	who, later := p.e.Witnesses.Who(t)
	d.User, d.ImpersonatedBy = who.User, who.Through
	if who.User == "" && later {
		p.e.queue.addAfter(p.key, max(witnessPause, p.e.Clock.Now().Sub(t.Found))) // ever more seldom
	}
}

func traceOf(d v1alpha1.DriftStatus) Trace {
	return Trace{
		Ref:     plan.Ref{Group: d.Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name},
		Deleted: d.Deleted, Manager: d.Manager, Found: d.Since.Time,
	}
}

// identify finds out who has made drift of which that was not known when it was
// found.
func (p *pass) identify() {
	if p.e.Witnesses == nil || p.target.Server == "" {
		return
	}
	now := p.e.Clock.Now()
	for i := range p.st.drifts {
		if d := &p.st.drifts[i]; d.User == "" && now.Sub(d.Since.Time) < witnessTime {
			p.who(d, traceOf(*d))
		}
	}
}

// driftPause is how long the history of drift that came and went may wait to be
// written where nothing else is: a heal costs no write.
const driftPause = 30 * time.Second

// quiet tells whether a status has nothing new but drift that came and went.
func (p *pass) quiet(status v1alpha1.ApplicationStatus, now time.Time) bool {
	if equality.Semantic.DeepEqual(p.app.Status.Drift, status.Drift) || !equality.Semantic.DeepEqual(lasting(p.app.Status.Drift), lasting(status.Drift)) {
		return false
	}
	status.Drift = p.app.Status.Drift
	if !equality.Semantic.DeepEqual(p.app.Status, status) {
		return false
	}
	if p.st.quietUntil.IsZero() {
		p.st.quietUntil = now.Add(driftPause)
		p.e.queue.addAfter(p.key, driftPause)
	}
	return now.Before(p.st.quietUntil)
}

func lasting(all []v1alpha1.DriftStatus) []v1alpha1.DriftStatus {
	return slices.DeleteFunc(slices.Clone(all), func(d v1alpha1.DriftStatus) bool { return d.Until != nil })
}

// recordDrift tells the ledger.
func (p *pass) recordDrift(came []v1alpha1.DriftStatus, healed, gone endedDrift) {
	if len(came) > 0 {
		var texts []string
		for _, d := range came {
			text := string(addressOfDrift(d))
			if len(d.Fields) > 0 {
				text += " (" + strings.Join(few(d.Fields), " ") + ")"
			}
			if by := d.By(); by != "" {
				text += " by " + by
			}
			texts = append(texts, text)
		}
		who := whoDrifts(came)
		p.note(Record{Kind: RecordDriftFound, Actor: who.User, ActorThrough: who.Through, Message: "changed where it runs: " + names(texts)})
	}
	if len(healed.texts) > 0 {
		p.note(Record{Kind: RecordDriftHealed, ChangedBy: healed.by, Message: "as declared again: " + names(healed.texts)})
	}
	if len(gone.texts) > 0 {
		p.note(Record{Kind: RecordDriftEnded, ChangedBy: gone.by, Message: "as declared again: " + names(gone.texts)})
	}
}

// whoDrifts is who has changed all of it, if it was one.
func whoDrifts(came []v1alpha1.DriftStatus) Witnessed {
	var sole Witnessed
	for i, d := range came {
		who := Witnessed{d.User, d.ImpersonatedBy}
		switch {
		case d.User != "":
		case d.Manager != "":
			who.User = "manager:" + d.Manager // a name that its user has chosen: no proof of who it was
		default:
			who.User = "unknown"
		}
		if i > 0 && who != sole {
			return Witnessed{User: "unknown"}
		}
		sole = who
	}
	return sole
}

func driftStatus(r *driver.Resource, since metav1.Time) v1alpha1.DriftStatus {
	d := v1alpha1.DriftStatus{
		Group: r.Ref.Group, Kind: r.Ref.Kind, Namespace: r.Ref.Namespace, Name: r.Ref.Name,
		Deleted: r.Cause == driver.CauseDeleted, Since: since,
	}
	if r.Drift != nil {
		d.Fields, d.Manager = slices.Clone(r.Drift.Fields), r.Drift.Manager
	}
	return d
}

func addressOfDrift(d v1alpha1.DriftStatus) plan.Address {
	return plan.Ref{Group: d.Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}.Address()
}

// boundedDrift drops the oldest of what has ended, and the latest of what lasts.
func boundedDrift(all []v1alpha1.DriftStatus, most int) []v1alpha1.DriftStatus {
	ended, lasting := 0, 0
	for _, d := range all {
		if d.Until != nil {
			ended++
		}
	}
	return slices.DeleteFunc(all, func(d v1alpha1.DriftStatus) bool {
		if d.Until == nil {
			lasting++
			return lasting > most
		}
		ended--
		return ended >= mostEnded
	})
}

// mended tells whether an operation has put a resource right just now.
func (p *pass) mended(address string) bool {
	if op := p.st.running; op != nil && op.made[plan.Address(address)] {
		return true
	}
	e := p.st.ended
	return e != nil && e.op.made[plan.Address(address)]
}
