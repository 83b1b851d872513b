package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/source"
)

// LedgerOptions say where changes are recorded.
type LedgerOptions struct {
	// Off changes things without recording them.
	Off bool
	// Dir is the ledger's folder ("ledger" in the data directory).
	Dir string
	// Postgres is the address of the index's database; a file in Dir where it is empty.
	Postgres string
}

const (
	ledgerDir = "ledger"
	// How often a ledger that cannot be opened is tried again.
	openFirst = time.Second
	openMost  = 30 * time.Second
	// closeTime is how long the last checkpoint may take.
	closeTime = 15 * time.Second
	// mostLooked is how many entries are looked at for what was left unfinished.
	mostLooked = 20000
)

var errOpening = errors.New("it is being opened")

// recorder keeps the engine's records in the ledger while this server leads. As
// long as the ledger cannot be opened it refuses them, so that nothing is changed,
// and goes on trying.
type recorder struct {
	options  ledger.Options
	declared *declared
	mirror   *checkpoints
	log      *slog.Logger

	mu     sync.RWMutex
	opened *ledger.Ledger
	why    error // why it is not open
}

var _ engine.Ledger = (*recorder)(nil)

// newRecorder makes the recorder of a term of leading; nil where the ledger is
// off.
func (s *Server) newRecorder(told *informant) *recorder {
	if s.Ledger.Off {
		s.Log.Warn("the ledger is off: changes are not recorded")
		return nil
	}
	r := &recorder{log: s.Log, why: errOpening, mirror: newCheckpoints(s.counted(), s.Log)}
	r.options = ledger.Options{Dir: s.Ledger.Dir, Postgres: s.Ledger.Postgres, Log: s.Log, OnCheckpoint: r.mirror.take}
	r.declared = newDeclared(r, s.Log)
	r.declared.informant = told
	return r
}

// observer is what the controller tells of what is declared.
func (r *recorder) observer() controller.Declared {
	if r == nil {
		return nil
	}
	return r.declared
}

// start opens the ledger, and gives the function that closes it. Where opening
// works at once, it is open when start returns.
func (r *recorder) start(ctx context.Context, p *parts) (stop func()) {
	if r == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	err := r.open(ctx, p)
	var running sync.WaitGroup
	running.Go(func() {
		for wait := openFirst; err != nil; wait = min(2*wait, openMost) {
			r.log.Error("the ledger cannot be opened: nothing is changed before it can", "error", err, "again", wait)
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			err = r.open(ctx, p)
		}
		running.Go(func() { r.mirror.run(ctx) })
		r.declared.run(ctx, p)
	})
	return func() {
		cancel()
		running.Wait()
		r.close()
	}
}

// open opens the ledger, and records of what an earlier process has begun that
// nobody has seen the end.
func (r *recorder) open(ctx context.Context, p *parts) error {
	l, err := ledger.Open(ctx, r.options)
	if err == nil {
		if err = r.settle(ctx, l, p); err != nil {
			err = errors.Join(err, l.Close(context.WithoutCancel(ctx)))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why = err; err != nil {
		return err
	}
	r.opened = l
	r.log.Info("recording changes", "ledger", r.options.Dir)
	return nil
}

func (r *recorder) close() {
	r.mu.Lock()
	l := r.opened
	r.opened, r.why = nil, ledger.ErrClosed
	r.mu.Unlock()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		r.log.Error("the ledger was not closed properly", "error", err)
	}
	r.mirror.write(ctx)
}

// ledger is the open one, or why there is none.
func (r *recorder) ledger() (*ledger.Ledger, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.opened == nil {
		return nil, r.why
	}
	return r.opened, nil
}

// Append records what the engine tells. Nothing begins where its end might not be
// recorded.
func (r *recorder) Append(ctx context.Context, records ...engine.Record) error {
	l, err := r.ledger()
	if err != nil {
		return err
	}
	var entries []entry.Entry
	for _, rec := range records {
		if rec.Kind == engine.RecordSyncStarted || rec.Kind == engine.RecordPlanProposed {
			if err := l.Health(); err != nil {
				return err
			}
		}
		e := entryOf(rec)
		if rec.Resumed {
			page, err := l.Query(ctx, entry.Query{Operation: e.Operation, Kinds: []entry.Kind{e.Kind}, Limit: 1})
			if err != nil {
				return fmt.Errorf("look whether operation %s is recorded: %w", e.Operation, err)
			}
			if len(page.Entries) > 0 {
				continue
			}
		}
		entries = append(entries, e)
	}
	_, err = l.Append(ctx, entries...)
	return err
}

// write records what is no record of the engine's.
func (r *recorder) write(ctx context.Context, e entry.Entry) error {
	l, err := r.ledger()
	if err != nil {
		return err
	}
	_, err = l.Append(ctx, e)
	return err
}

// entryOf is a record of the engine's as the ledger has it.
func entryOf(r engine.Record) entry.Entry {
	e := entry.Entry{
		Time: r.Time, Kind: entryKind(r.Kind), Project: r.Project, Operation: r.Operation, Message: r.Message,
		Application: entry.Application{Group: r.Key.Group, Namespace: r.Key.Namespace, Name: r.Key.Name, UID: r.UID},
		Actor:       entry.Actor{User: r.Actor, Groups: r.Groups}, Result: resultOf(r.Result),
		Plan: entry.Plan{Name: r.Plan, Digest: r.Digest, Counts: entry.Counts{
			Create: r.Counts.Create, Update: r.Counts.Update, Replace: r.Counts.Replace, Delete: r.Counts.Delete + r.Counts.Forget,
		}},
	}
	if r.Actor == "plumb" {
		e.Actor.Via = "the loop"
	}
	for name, value := range map[string]string{
		"health": r.Health, "scope": string(r.Scope), "reason": r.Reason, "approvedBy": strings.Join(r.Approvers, ", "),
		entry.ImpersonatedBy: r.ActorThrough, entry.ChangedBy: strings.Join(r.ChangedBy, entry.Between),
	} {
		if value == "" {
			continue
		}
		if e.Details == nil {
			e.Details = map[string]string{}
		}
		e.Details[name] = value
	}
	for i, revision := range r.Revisions {
		v := entry.Revision{Revision: revision}
		if i < len(r.Repos) {
			v.Repo = r.Repos[i]
		}
		if i < len(r.Commits) {
			describe(&v, r.Commits[i])
		}
		e.Revisions = append(e.Revisions, v)
	}
	return e
}

func describe(v *entry.Revision, c source.Commit) {
	v.Author, v.AuthorEmail = c.AuthorName(), c.AuthorEmail()
	if at, err := time.Parse(time.RFC3339, c.Date); err == nil {
		v.CommittedAt = at
	}
	v.Signature = entry.Signature{Status: string(c.Signature.Status), Key: c.Signature.Key, Signer: c.Signature.Signer}
}

// entryKind is the ledger's word. Those that are missing here are the same.
func entryKind(k engine.RecordKind) entry.Kind {
	switch k {
	case engine.RecordPlanApproved, engine.RecordApprovalGiven:
		return entry.Approved
	case engine.RecordPlanRejected:
		return entry.Rejected
	case engine.RecordPlanExpired:
		return entry.PlanStale
	case engine.RecordDriftHealed:
		return entry.Healed
	case engine.RecordOverridden:
		return entry.Overridden
	case engine.RecordOverrideIgnored:
		return entry.Refused
	default:
		return entry.Kind(k)
	}
}

func resultOf(result string) entry.Result {
	switch result {
	case "":
		return ""
	case string(v1alpha1.OperationSucceeded):
		return entry.Succeeded
	case engine.ResultCanceled:
		return entry.Canceled
	}
	return entry.Failed
}
