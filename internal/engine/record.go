package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/plan"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// Ledger keeps a record of what was decided and done that nobody can rewrite.
type Ledger interface {
	// Append returns once the record would survive a crash. Where it can't be kept,
	// nothing is changed before it can.
	Append(ctx context.Context, r Record) error
}

// RecordKind says what a record tells of.
type RecordKind string

// The closed set of what the engine records.
const (
	RecordSyncStarted  RecordKind = "SyncStarted"
	RecordSyncFinished RecordKind = "SyncFinished"
	RecordPlanProposed RecordKind = "PlanProposed"
	RecordPlanApproved RecordKind = "PlanApproved"
	RecordPlanRejected RecordKind = "PlanRejected"
	RecordPlanStale    RecordKind = "PlanStale"
	RecordPlanExpired  RecordKind = "PlanExpired"
	RecordDriftFound   RecordKind = "DriftFound"
	// RecordDriftEnded: the drift is gone, and Plumb has not put it right.
	RecordDriftEnded RecordKind = "DriftEnded"
	// RecordOverridden: somebody was let through gates; RecordOverrideIgnored: somebody
	// had asked for that, and was not.
	RecordOverridden      RecordKind = "SyncOverridden"
	RecordOverrideIgnored RecordKind = "OverrideIgnored"
	// RecordRolledBack: a revision did not become healthy.
	RecordRolledBack RecordKind = "RolledBack"
	// RecordDriftHealed: Plumb has put it right.
	RecordDriftHealed RecordKind = "DriftHealed"
	// RecordAdopted: drift was proposed to Git.
	RecordAdopted RecordKind = "Adopted"
)

// Record is one entry of the ledger. It holds no secrets.
type Record struct {
	Time time.Time
	Kind RecordKind
	Key  Key
	UID  string
	// Project of the Application.
	Project string
	// Actor is who has done it: a user, or "plumb" where a policy has.
	Actor     string
	Revisions []string
	// Digest is that of the plan, Plan the name of the one that was approved, if any.
	Digest, Plan string
	Counts       plan.Counts
	// Operation identifies the sync.
	Operation string
	// Result is how it ended, in the words of an operation's phase.
	Result, Message string
}

// actorItself is Plumb acting by a policy.
const actorItself = "plumb"

// note keeps a record until it can be appended.
func (p *pass) note(r Record) {
	if p.e.Ledger == nil {
		return
	}
	p.st.records = append(p.st.records, p.complete(r))
}

// complete fills in what all records of a pass have in common.
func (p *pass) complete(r Record) Record {
	r.Time, r.Key, r.UID, r.Project = p.e.Clock.Now(), p.key, string(p.app.UID), p.app.Spec.GetProject()
	if r.Revisions == nil && p.st.desired != nil {
		r.Revisions = slices.Clone(p.st.desired.revisions)
	}
	if r.Actor == "" {
		r.Actor = actorItself
	}
	return r
}

// append makes sure of a record, and of all before it, before what it tells of is
// done. Where that fails, the Application says so, and is looked at again.
func (p *pass) append(ctx context.Context, more ...Record) bool {
	if p.e.Ledger == nil {
		return true
	}
	for len(p.st.records) > 0 {
		if !p.appendOne(ctx, p.st.records[0]) {
			return false
		}
		p.st.records = p.st.records[1:]
	}
	for _, r := range more {
		if !p.appendOne(ctx, p.complete(r)) {
			return false
		}
	}
	return true
}

func (p *pass) appendOne(ctx context.Context, r Record) bool {
	err := p.e.Ledger.Append(ctx, r)
	if err == nil {
		p.st.unrecorded = ""
		return true
	}
	p.st.unrecorded = fmt.Sprintf("nothing is changed, because the ledger can't be written: %v", err)
	p.e.Log.Warn("ledger not written", "application", p.key.String(), "error", err)
	p.e.queue.addAfter(p.key, time.Second)
	return false
}

// begun records that an operation is about to change something, once.
func (p *pass) begun(ctx context.Context, op *operation, steps []plan.Step) bool {
	if op.ledgered || op.dryRun {
		return true
	}
	whole := plan.New(steps)
	op.ledgered = p.append(ctx, Record{
		Kind: RecordSyncStarted, Actor: op.actor(), Digest: whole.Digest(), Plan: op.plan, Counts: whole.Count(),
		Operation: op.id, Message: op.kind() + ": " + orDefault(op.why, "continued"),
	})
	return op.ledgered
}

func (op *operation) actor() string {
	if op.automated {
		return actorItself
	}
	return orDefault(op.request.InitiatedBy.Username, "unknown")
}

// noteEnd records how an operation ended.
func (p *pass) noteEnd(op *operation, ok bool, message string) {
	if op.dryRun {
		return
	}
	result := v1alpha1.OperationSucceeded
	if !ok {
		result = v1alpha1.OperationFailed
	}
	p.note(Record{
		Kind: RecordSyncFinished, Actor: op.actor(), Plan: op.plan, Operation: op.id,
		Result: string(result), Message: op.kind() + ": " + message,
	})
}

func names(all []string) string {
	slices.Sort(all)
	const most = 20
	if len(all) > most {
		all = append(all[:most:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(all, ", ")
}
