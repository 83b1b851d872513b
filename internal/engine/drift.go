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
	came := p.came(now)
	for _, r := range came {
		all = append(all, driftStatus(r, at))
	}
	p.st.drifts, p.st.drifting = boundedDrift(all, len(all)), len(now) > 0
	p.recordDrift(came, healed, gone)
}

// ended brings what is known of drift up to date, and tells what of it has ended.
func (p *pass) ended(now map[plan.Address]*driver.Resource, at metav1.Time) (all []v1alpha1.DriftStatus, healed, gone []string) {
	for _, d := range p.st.drifts {
		if d.Until != nil {
			all = append(all, d)
			continue
		}
		address := addressOfDrift(d)
		if r := now[address]; r != nil {
			fresh := driftStatus(r, d.Since)
			fresh.Manager = cmp.Or(fresh.Manager, d.Manager)
			all = append(all, fresh)
			continue
		}
		d.Until, d.Ended = &at, v1alpha1.DriftGone
		text := string(address)
		if lasted := at.Sub(d.Since.Time); lasted > 0 {
			text = fmt.Sprintf("%s (after %s)", text, lasted)
		}
		if p.mended(string(address)) {
			d.Ended = v1alpha1.DriftReverted
			healed = append(healed, text)
		} else {
			gone = append(gone, text)
		}
		all = append(all, d)
	}
	return all, healed, gone
}

// came gives the drift that is new.
func (p *pass) came(now map[plan.Address]*driver.Resource) []*driver.Resource {
	known := map[plan.Address]bool{}
	for _, d := range p.st.drifts {
		if d.Until == nil {
			known[addressOfDrift(d)] = true
		}
	}
	var out []*driver.Resource
	for address, r := range now {
		if !known[address] {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *driver.Resource) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) })
	return out
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
func (p *pass) recordDrift(came []*driver.Resource, healed, gone []string) {
	if len(came) > 0 {
		var texts, managers []string
		for _, r := range came {
			text := string(r.Ref.Address())
			if d := r.Drift; d != nil && len(d.Fields) > 0 {
				text += " (" + strings.Join(few(d.Fields), " ") + ")"
			}
			if d := r.Drift; d != nil && d.Manager != "" {
				text += " by " + d.Manager
				managers = append(managers, d.Manager)
			}
			texts = append(texts, text)
		}
		slices.Sort(managers)
		actor := "unknown"
		if managers = slices.Compact(managers); len(managers) == 1 {
			actor = "manager:" + managers[0] // a name that its user has chosen: no proof of who it was
		}
		p.note(Record{Kind: RecordDriftFound, Actor: actor, Message: "changed where it runs: " + names(texts)})
	}
	if len(healed) > 0 {
		p.note(Record{Kind: RecordDriftHealed, Message: "as declared again: " + names(healed)})
	}
	if len(gone) > 0 {
		p.note(Record{Kind: RecordDriftEnded, Message: "as declared again: " + names(gone)})
	}
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
