package server

import (
	"context"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// leftOpen is what the ledger tells the beginning of, and not the end.
type leftOpen struct {
	operations map[string]bool
	drifting   map[entry.Application]bool
	syncs      []entry.Entry
	drifts     []entry.Entry
}

// take looks at entries of leftOpenKinds, the latest first.
func (o *leftOpen) take(e entry.Entry) {
	switch e.Kind {
	case entry.SyncFinished:
		o.operations[e.Operation] = true
	case entry.SyncStarted:
		if !o.operations[e.Operation] {
			o.operations[e.Operation] = true
			o.syncs = append(o.syncs, e)
		}
	default:
		app := e.Application
		app.UID = ""
		if !o.drifting[app] && e.Kind == entry.DriftFound {
			o.drifts = append(o.drifts, e)
		}
		o.drifting[app] = true
	}
}

var leftOpenKinds = []entry.Kind{
	entry.SyncStarted, entry.SyncFinished, entry.DriftFound, entry.DriftEnded, entry.Healed, entry.Adopted, entry.ApplicationDeleted,
}

// settle records the end of what an earlier process has begun and nobody goes on
// with: it is not known.
func (r *recorder) settle(ctx context.Context, l *ledger.Ledger, p *parts) error {
	open := leftOpen{operations: map[string]bool{}, drifting: map[entry.Application]bool{}}
	looked := 0
	err := l.Each(ctx, entry.Query{Kinds: leftOpenKinds}, func(e entry.Entry) bool {
		if looked++; looked > mostLooked {
			return false
		}
		open.take(e)
		return true
	})
	if err != nil || len(open.syncs)+len(open.drifts) == 0 {
		return err
	}
	goes, drifts := p.resumable()
	var ends []entry.Entry
	for _, e := range open.syncs {
		if goes[e.Operation] {
			continue
		}
		e.Kind, e.Result = entry.SyncFinished, entry.Unknown
		e.Message = "Plumb was stopped before it had recorded the end; what was left to do is a sync of its own"
		ends = append(ends, e)
	}
	for _, e := range open.drifts {
		if drifts[e.Application] {
			continue
		}
		e.Kind, e.Details = entry.DriftEnded, map[string]string{entry.Unseen: "true"}
		e.Message = "Plumb was stopped before it had recorded the end; what still differs is found again"
		ends = append(ends, e)
	}
	for _, e := range ends {
		e.Time, e.Actor = time.Now(), entry.Actor{User: "plumb", Via: "the loop"}
		if _, err := l.Append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// resumable are the operations that the engine takes up again, and the Applications
// whose drift it knows of.
func (p *parts) resumable() (operations map[string]bool, drifting map[entry.Application]bool) {
	operations, drifting = map[string]bool{}, map[entry.Application]bool{}
	p.controller.Where(func(key engine.Key, app *v1alpha1.Application) bool {
		if s := app.Status.OperationState; s != nil && s.Phase.Running() {
			operations[engine.OperationID(s)] = true
		}
		for _, d := range app.Status.Drift {
			if d.Until == nil {
				drifting[entry.Application{Group: key.Group, Namespace: key.Namespace, Name: key.Name, UID: string(app.UID)}] = true
			}
		}
		return false
	})
	return operations, drifting
}
