package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/notify"
)

// applicationChanged makes events of how an Application was and is: its new state,
// and what has begun or ended to hold it.
func (n *notifications) applicationChanged(key engine.Key, old, now *v1alpha1.Application) {
	if !n.active.Load() {
		return
	}
	if now == nil {
		n.gone(key, old)
		return
	}
	e := n.event(key, now)
	if old == nil || old.UID != now.UID {
		n.tell(key, e)
		return
	}
	e.Before = notify.State{Sync: string(old.Status.Sync.Status), Health: string(old.Status.Health.Status)}
	n.tell(key, e)
	for _, named := range held(old, now) {
		one := e
		one.Trigger, one.Message, one.Actor = named.Trigger, named.Message, named.Actor
		n.tell(key, one)
	}
}

// tell takes an event, and never waits.
func (n *notifications) tell(key engine.Key, e notify.Event) {
	n.commits.take(about{Event: e, key: key, ask: n.serves.Load()})
}

// event is the news that an Application is as it is.
func (n *notifications) event(key engine.Key, app *v1alpha1.Application) notify.Event {
	e := notify.Event{Time: time.Now(), Application: applicationOf(app), Project: n.projectOf(app, key), Object: app}
	e.Commit.Revision = app.Status.Sync.Revision
	if e.Commit.Revision == "" && len(app.Status.Sync.Revisions) > 0 {
		e.Commit.Revision = app.Status.Sync.Revisions[0]
	}
	return e
}

// gone tells that an Application was deleted, unless it was told already when that
// began, and lets go of it.
func (n *notifications) gone(key engine.Key, last *v1alpha1.Application) {
	if last.DeletionTimestamp == nil {
		last = last.DeepCopy()
		now := metav1.Now()
		last.DeletionTimestamp = &now
	}
	n.tell(key, n.event(key, last))
	for _, other := range keysOf(key.Namespace, key.Name) {
		if _, there := n.apps.Get(other); there && other != key {
			return
		}
	}
	n.commits.take(about{key: key, forget: true})
}

// news is what has happened, without what is known of the Application.
type news struct {
	Trigger        notify.Trigger
	Message, Actor string
}

// held is what has begun, or ended, to hold an Application.
func held(old, now *v1alpha1.Application) []news {
	var out []news
	was, pinned := v1alpha1.PinOf(old.Annotations)
	pin, pins := v1alpha1.PinOf(now.Annotations)
	switch {
	case pins && (!pinned || !slices.Equal(was.Revisions, pin.Revisions)):
		out = append(out, news{notify.OnPinned, pin.String(), pin.By})
	case pinned && !pins:
		out = append(out, news{notify.OnUnpinned, "it follows Git again", ""})
	}
	for condition, trigger := range map[v1alpha1.ApplicationConditionType]notify.Trigger{
		v1alpha1.ConditionSyncWindow: notify.OnWindowBlocked,
		v1alpha1.ConditionFrozen:     notify.OnFrozen,
	} {
		if text := conditionOf(now, condition); text != "" && conditionOf(old, condition) == "" {
			out = append(out, news{trigger, text, ""})
		}
	}
	return out
}

func conditionOf(app *v1alpha1.Application, kind v1alpha1.ApplicationConditionType) string {
	for _, c := range app.Status.Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

// over tells of what is recorded, once it is; next may be nil.
func (n *notifications) over(next engine.Ledger) engine.Ledger { return notifying{next, n} }

// notifying is a ledger that tells of what it keeps.
type notifying struct {
	next engine.Ledger
	to   *notifications
}

// Append keeps records. To tell of them takes no time and can't fail.
func (n notifying) Append(ctx context.Context, records ...engine.Record) error {
	if n.next != nil {
		if err := n.next.Append(ctx, records...); err != nil {
			return err
		}
	}
	for _, r := range records {
		n.to.recorded(r)
	}
	return nil
}

// triggerOf is what subscribers know a record as; empty where it is told by the
// Application's state, or by nothing.
func triggerOf(r engine.Record) notify.Trigger {
	switch r.Kind {
	case engine.RecordPlanProposed:
		if r.Approved {
			return "" // by the pull request that it has come by
		}
		return notify.OnApprovalNeeded
	case engine.RecordPlanApproved:
		return notify.OnApproved
	case engine.RecordPlanRejected:
		return notify.OnRejected
	case engine.RecordPlanStale, engine.RecordPlanExpired:
		return notify.OnPlanStale
	case engine.RecordDriftFound:
		return notify.OnDriftDetected
	case engine.RecordDriftHealed, engine.RecordDriftEnded:
		return notify.OnDriftHealed
	case engine.RecordSyncFinished:
		// What was decided may still have to wait: for approval, for a window.
		if r.Back && r.Result == string(v1alpha1.OperationSucceeded) {
			return notify.OnRollback
		}
		return ""
	case engine.RecordOverridden:
		return notify.OnOverride
	case engine.RecordAdopted:
		return notify.OnAdopted
	default:
		return ""
	}
}

// recorded makes an event of a record.
func (n *notifications) recorded(r engine.Record) {
	trigger := triggerOf(r)
	if trigger == "" || !n.active.Load() {
		return
	}
	app, ok := n.apps.Get(r.Key)
	if !ok || string(app.UID) != r.UID {
		return
	}
	e := n.event(r.Key, app)
	e.ID = fmt.Sprintf("%s %s %d %s", r.Kind, r.UID, r.Time.UnixNano(), r.Digest)
	e.Trigger, e.Time, e.Message, e.Actor = trigger, r.Time, r.Message, r.Actor
	if pin, ok := v1alpha1.PinOf(app.Annotations); ok && trigger == notify.OnRollback {
		e.Message = pin.String()
	}
	if len(r.Revisions) > 0 {
		e.Commit.Revision = r.Revisions[0]
	}
	if r.Plan != "" || r.Digest != "" {
		e.Plan = &notify.Plan{Name: r.Plan, Digest: r.Digest, Create: r.Counts.Create, Update: r.Counts.Update, Replace: r.Counts.Replace, Delete: r.Counts.Delete}
	}
	n.tell(r.Key, e)
}
