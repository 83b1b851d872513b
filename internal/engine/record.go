package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/source"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// Ledger keeps a record of what was decided and done that nobody can rewrite.
type Ledger interface {
	// Append returns once the records would survive a crash: all or none of them. Where
	// they can't be kept, nothing is changed before they can.
	Append(ctx context.Context, records ...Record) error
}

// RecordKind says what a record tells of.
type RecordKind string

// The closed set of what the engine records.
const (
	RecordSyncStarted  RecordKind = "SyncStarted"
	RecordSyncFinished RecordKind = "SyncFinished"
	RecordPlanProposed RecordKind = "PlanProposed"
	// RecordApprovalGiven: somebody has approved a plan. RecordPlanApproved: somebody
	// was the last whose approval it needed.
	RecordApprovalGiven RecordKind = "ApprovalGiven"
	RecordPlanApproved  RecordKind = "PlanApproved"
	RecordPlanRejected  RecordKind = "PlanRejected"
	RecordPlanStale     RecordKind = "PlanStale"
	RecordPlanExpired   RecordKind = "PlanExpired"
	RecordDriftFound    RecordKind = "DriftFound"
	// RecordDriftEnded: the drift is gone, and Plumb has not put it right.
	RecordDriftEnded RecordKind = "DriftEnded"
	// RecordOverridden: somebody was let through gates; RecordOverrideIgnored: somebody
	// had asked for that, and was not.
	RecordOverridden      RecordKind = "SyncOverridden"
	RecordOverrideIgnored RecordKind = "OverrideIgnored"
	// RecordRolledBack: a revision did not become healthy, so that the Application is to
	// go back.
	RecordRolledBack RecordKind = "RolledBack"
	// RecordDriftHealed: Plumb has put it right.
	RecordDriftHealed RecordKind = "DriftHealed"
	// RecordAdopted: drift was proposed to Git.
	RecordAdopted RecordKind = "Adopted"
	// RecordHealthy: after a sync, or after it was degraded. RecordDegraded: whatever
	// the cause.
	RecordHealthy  RecordKind = "Healthy"
	RecordDegraded RecordKind = "Degraded"
)

// Record is one entry of the ledger. It holds no secrets.
type Record struct {
	Time time.Time
	Kind RecordKind
	Key  Key
	UID  string
	// Project of the Application.
	Project string
	// Actor is who has done it: a user, or "plumb" where a policy has. ActorThrough is
	// who has acted as him, if somebody has.
	Actor, ActorThrough string
	// Groups of the actor and the Reason that they gave, where they have decided about a
	// plan.
	Groups []string
	Reason string
	// Approvers are those who have approved what is done.
	Approvers []string
	// ChangedBy are the users who had changed what runs, of drift that has ended.
	ChangedBy []string
	Revisions []string
	// Repos and Commits are those of the revisions, in their order, where they are
	// known.
	Repos   []string
	Commits []source.Commit
	// Approved is set where a plan that is proposed needs nobody's word any more.
	Approved bool
	// Digest is that of the plan, Plan the name of the one that was approved, if any.
	Digest, Plan string
	Counts       plan.Counts
	// Operation identifies the sync.
	Operation string
	// Back is set where the sync goes back to the revision that was healthy last,
	// because a later one was not.
	Back bool
	// Resumed tells that an earlier process had begun the operation, and may have
	// recorded the same.
	Resumed bool
	// Result is how it ended, in the words of an operation's phase, or Canceled.
	Result, Message string
	// Health of the Application when a sync had ended, and Scope of the sync: what it
	// settles.
	Health string
	Scope  decide.Scope
}

// ResultCanceled is the result of a sync that another has taken the place of.
const ResultCanceled = "Canceled"

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
	if sources := p.app.Spec.GetSources(); len(sources) == len(r.Revisions) {
		for _, s := range sources {
			r.Repos = append(r.Repos, v1alpha1.RedactURL(s.RepoURL))
		}
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
	all := slices.Clone(p.st.records)
	for _, r := range more {
		all = append(all, p.complete(r))
	}
	if len(all) == 0 {
		return true
	}
	for i := range all {
		p.attribute(ctx, &all[i])
	}
	err := p.e.Ledger.Append(ctx, all...)
	if err == nil {
		p.st.records, p.st.unrecorded = nil, ""
		return true
	}
	p.unwritable = true
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
	op.digest, op.counts = whole.Digest(), whole.Count()
	op.ledgered = p.append(ctx, Record{
		Kind: RecordSyncStarted, Actor: op.actor(), Digest: op.digest, Plan: op.plan, Counts: op.counts,
		Approvers: op.approvers,
		Operation: op.id, Scope: op.scope, Resumed: op.resumed, Message: op.kind() + ": " + orDefault(op.why, "continued"),
	})
	return op.ledgered
}

// actor is who has an operation done. Only what nobody has asked for is Plumb's own:
// who asks may say of himself what he likes.
func (op *operation) actor() string {
	name := op.request.InitiatedBy.Username
	switch {
	case op.automated && infoValue(op.request.Info, infoHeard) == "":
		return actorItself
	case name == actorItself:
		return "unknown, who claims to be " + actorItself
	}
	return orDefault(name, "unknown")
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
	r := Record{
		Kind: RecordSyncFinished, Actor: op.actor(), Plan: op.plan, Approvers: op.approvers, Operation: op.id, Scope: op.scope, Resumed: op.resumed,
		Digest: op.digest, Counts: op.counts, Health: string(p.appHealth()),
		Result: string(result), Message: op.kind() + ": " + message, Back: p.goesBack(op),
	}
	if ok && r.Back {
		p.st.goingBack = false
	}
	if !op.ledgered && !op.resumed {
		r.Digest = plan.New(nil).Digest() // nothing was begun
	}
	p.note(r)
}

// goesBack tells whether an operation goes back to what was healthy last.
func (p *pass) goesBack(op *operation) bool {
	if p.pin == nil || p.pin.By != v1alpha1.PinnedByFailure || op.scope != decide.Full || p.st.desired == nil || !slices.Equal(p.pin.Revisions, p.st.desired.revisions) {
		return false
	}
	h := p.app.Status.History
	return p.st.goingBack || len(h) > 0 && !slices.Equal(h[len(h)-1].RevisionsOf(), p.pin.Revisions)
}

// noteOvertaken corrects how the operation that was ended just now has ended.
func (p *pass) noteOvertaken() {
	if n := len(p.st.records); n > 0 && p.st.records[n-1].Kind == RecordSyncFinished {
		p.st.records[n-1].Result = ResultCanceled
	}
}

// noteHealth records that a sync has become healthy, and what was degraded and
// came back.
func (p *pass) noteHealth(before, after v1alpha1.ApplicationStatus) {
	if p.e.Ledger == nil || p.deleting() {
		return
	}
	was, is := before.Health.Status, after.Health.Status
	switch {
	case is == v1alpha1.HealthStatusCode(health.Degraded) && was != is:
		p.note(Record{Kind: RecordDegraded, Message: "not healthy: " + names(p.ailing())})
	case is == v1alpha1.HealthStatusCode(health.Healthy) && (was == v1alpha1.HealthStatusCode(health.Degraded) || p.proved(before.History, after.History)):
		p.note(Record{Kind: RecordHealthy, Message: "all resources are healthy"})
	}
}

// proved tells whether the last sync has become healthy, and did not end so.
func (p *pass) proved(before, after v1alpha1.RevisionHistories) bool {
	if len(after) == 0 || after[len(after)-1].HealthyAt == nil {
		return false
	}
	if n := len(before); n > 0 && before[n-1].ID == after[len(after)-1].ID && before[n-1].HealthyAt != nil {
		return false
	}
	return p.st.ended == nil || p.st.ended.health != string(health.Healthy)
}

// ailing names the degraded resources.
func (p *pass) ailing() []string {
	var out []string
	for i := range p.st.comparison.Resources {
		if r := &p.st.comparison.Resources[i]; r.Health.Status == health.Degraded {
			out = append(out, string(r.Ref.Address()))
		}
	}
	return out
}

// attribute says who has made the commits, and how they are signed.
func (p *pass) attribute(ctx context.Context, r *Record) {
	d := p.st.desired
	if d == nil || len(r.Revisions) == 0 || !slices.Equal(r.Revisions, d.revisions) {
		return
	}
	if !slices.Equal(d.described, d.revisions) {
		commits := p.e.commits.get(r.Repos, r.Revisions)
		if commits == nil {
			ctx, cancel := context.WithTimeout(ctx, describeTime)
			defer cancel()
			if commits = p.commits(ctx); commits == nil {
				return
			}
			p.e.commits.put(r.Repos, r.Revisions, commits)
		}
		d.commits, d.described = commits, slices.Clone(d.revisions)
	}
	r.Commits = slices.Clone(d.commits)
	for i := range r.Commits {
		r.Commits[i].Signature = source.Signature{}
		if i < len(d.signatures) {
			r.Commits[i].Signature = d.signatures[i]
		}
	}
}

// commitCache keeps what is known of commits: in a repository of many
// Applications all of them ask for the same one.
type commitCache struct {
	mu    sync.Mutex
	known map[string][]source.Commit
}

// cachedCommits bounds the cache.
const cachedCommits = 256

func commitsKey(repos, revisions []string) string {
	return strings.Join(repos, "\x00") + "\x01" + strings.Join(revisions, "\x00")
}

func (c *commitCache) get(repos, revisions []string) []source.Commit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[commitsKey(repos, revisions)]
}

// put keeps commits that all are known.
func (c *commitCache) put(repos, revisions []string, commits []source.Commit) {
	if len(repos) == 0 || slices.ContainsFunc(commits, func(c source.Commit) bool { return c.Author == "" }) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= cachedCommits {
		c.known = map[string][]source.Commit{}
	}
	c.known[commitsKey(repos, revisions)] = commits
}

func names(all []string) string {
	slices.Sort(all)
	const most = 20
	if len(all) > most {
		all = append(all[:most:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(all, ", ")
}
