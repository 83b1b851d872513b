package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// settle is the shortest time between two writes of a status in which nothing
// but the words of its resources' health has changed.
const settle = time.Second

// stalePause is how long until an Application is looked at again whose source
// did not answer: that it answers again is no news that a source tells.
const stalePause = 30 * time.Second

// finish is the one place that records a pass: status and events.
func (p *pass) finish(ctx context.Context) {
	defer func() {
		for _, ev := range p.events {
			p.e.Events.Record(ev)
		}
	}()
	p.append(ctx)
	if _, released := p.decision.(decide.Release); released {
		return
	}
	p.publish(ctx)
	status := p.status()
	now := p.e.Clock.Now()
	if wait := p.patience(now); wait > 0 {
		p.e.queue.addAfter(p.key, wait)
		return
	}
	if since := now.Sub(p.st.written); since < settle && sameButForWords(p.app.Status, status) {
		if !equality.Semantic.DeepEqual(p.app.Status.Resources, status.Resources) {
			p.e.queue.addAfter(p.key, settle-since)
		}
	} else if err := p.write(ctx, status); err != nil {
		p.e.Log.Warn("status not written", "application", p.key.String(), "error", err)
		p.e.queue.addAfter(p.key, time.Second)
		return
	}
	p.settlePlans(ctx)
	p.settle(ctx)
	p.append(ctx) // what the status has shown
	if p.st.unrecorded != "" && !p.unwritable {
		p.st.unrecorded = "" // nothing waits for the ledger any more
		p.e.queue.add(p.key)
	}
}

const (
	// startTime is how long the news of a sync's end may wait for the health of
	// what it made.
	startTime = 2 * time.Second
	// busyTime is how long it may wait for Applications that have not been looked
	// at yet: to make things true comes before telling of it.
	busyTime = 5 * time.Second
	// busyStep is how often to see whether they still wait.
	busyStep = time.Second
)

// patience is how long to wait with the news that an automated sync has
// succeeded. While what it made is still starting: most become healthy within a
// moment, and then one write tells both. And while others queue.
func (p *pass) patience(now time.Time) time.Duration {
	ended := p.st.ended
	if ended == nil || !ended.ok || !ended.op.automated || !ended.op.recorded && !p.st.intended || p.unavailable != "" {
		return 0
	}
	switch p.worst() {
	case health.Progressing:
		return ended.at.Add(startTime).Sub(now)
	case health.Healthy:
		if p.e.queue.depth() > p.e.Workers {
			return min(busyStep, ended.at.Add(busyTime).Sub(now))
		}
	default: // the news is bad, or tells of no work: at once
	}
	return 0
}

// settle takes back the requests that were heard.
func (p *pass) settle(ctx context.Context) {
	kind, refresh := v1alpha1.Lookup(p.app.Annotations, v1alpha1.NameRefresh)
	refresh = refresh && p.refresh != nil && kind == *p.refresh // one that came since is for the next pass
	if op := p.st.heardRequest; op != nil && equality.Semantic.DeepEqual(op, p.app.Operation) {
		p.st.heard = max(p.st.heard, p.app.Generation) // something else was changed beside it
	}
	operation := p.app.Operation != nil && p.app.Generation <= p.st.heard
	if !refresh && !operation {
		return
	}
	if err := p.e.Applications.Settle(ctx, p.key, p.app, operation, refresh); err != nil {
		p.e.Log.Warn("request not taken back", "application", p.key.String(), "error", err)
		p.e.queue.addAfter(p.key, time.Second)
		return
	}
	if operation {
		p.st.heardRequest = nil
	}
}

// write makes the status the given one, where it differs.
func (p *pass) write(ctx context.Context, status v1alpha1.ApplicationStatus) error {
	if equality.Semantic.DeepEqual(p.app.Status, status) {
		p.fulfil()
		return nil
	}
	now := p.e.Clock.Now()
	if p.quiet(status, now) {
		p.fulfil()
		return nil
	}
	status.ReconciledAt = &metav1.Time{Time: now.Truncate(time.Second)}
	p.transitions(p.app.Status, status)
	if err := p.e.Applications.WriteStatus(ctx, p.app, p.key, status); err != nil {
		return err
	}
	p.noteHealth(p.app.Status, status)
	p.st.written, p.st.quietUntil = now, time.Time{}
	p.st.ended = nil
	p.fulfil()
	if fresh, ok := p.e.Applications.Get(p.key); ok {
		p.app = fresh
	}
	return nil
}

// fulfil lets go of the intents: the inventory that was written tells them all.
func (p *pass) fulfil() {
	if p.st.intended {
		p.e.Intents.Fulfil(p.st.uid)
		p.st.intended = false
	}
}

// transitions tells of what users care about when it changes.
func (p *pass) transitions(before, after v1alpha1.ApplicationStatus) {
	// The end of a sync is told by itself, and a beginning is no change.
	silent := p.st.ended != nil || before.Sync.Status == ""
	if !silent && before.Sync.Status != after.Sync.Status {
		p.event(false, "ResourceUpdated", fmt.Sprintf("Updated sync status: %s -> %s", before.Sync.Status, after.Sync.Status))
	}
	if !silent && before.Health.Status != after.Health.Status {
		p.event(false, "ResourceUpdated", fmt.Sprintf("Updated health status: %s -> %s", before.Health.Status, after.Health.Status))
	}
	for _, c := range after.Conditions {
		known := slices.ContainsFunc(before.Conditions, func(b v1alpha1.ApplicationCondition) bool { return b.Type == c.Type && b.Message == c.Message })
		if !known && c.Type == v1alpha1.ConditionDriftProposed {
			p.event(false, c.Type, c.Message)
		}
		if !known && v1alpha1.IsError(c.Type) {
			p.event(true, c.Type, c.Message)
		}
	}
}

func (p *pass) event(warning bool, reason, message string) {
	p.events = append(p.events, Event{Key: p.key, UID: string(p.app.UID), Warning: warning, Reason: reason, Message: message})
}

// sameButForWords tells whether two statuses differ at most in what resources
// say of their health.
func sameButForWords(a, b v1alpha1.ApplicationStatus) bool {
	a.Resources, b.Resources = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

// status is what the Application's status should be after what the pass found.
// What has not changed keeps its times.
func (p *pass) status() v1alpha1.ApplicationStatus {
	now := metav1.NewTime(p.e.Clock.Now().Truncate(time.Second))
	s := p.app.Status
	s.ObservedGeneration = p.generation
	s.Conditions = p.conditions(s.Conditions, now)
	s.Inventory = heldToStatus(p.st.held)
	if op := p.st.running; op == nil || !op.automated || op.recorded || p.st.unrecorded != "" { // else it is told with the end of the heal
		s.Drift = boundedDrift(slices.Clone(p.st.drifts), mostDrift)
	}
	p.syncStatus(&s)
	if p.compared {
		s.Resources = resourceStatuses(p.st.comparison)
		s.Outputs = p.outputStatus()
	}
	h := v1alpha1.HealthStatusCode(p.appHealth())
	if s.Health.Status != h {
		s.Health = v1alpha1.HealthStatus{Status: h, LastTransitionTime: &now}
	}
	p.operationStatus(&s)
	p.proposed(&s)
	p.recordHealth(&s, now)
	fit(&s, p.app.Status.Conditions, now)
	return s
}

// appHealth is Unknown as long as live state is not known.
func (p *pass) appHealth() health.Status {
	if !p.compared {
		return health.Unknown
	}
	return p.worst()
}

func (p *pass) syncStatus(s *v1alpha1.ApplicationStatus) {
	spec := &p.app.Spec
	s.Sync.ComparedTo = v1alpha1.ComparedTo{Destination: spec.Destination, IgnoreDifferences: spec.IgnoreDifferences}
	if spec.HasMultipleSources() {
		s.Sync.ComparedTo.Sources = spec.Sources.Redacted()
	} else {
		s.Sync.ComparedTo.Source = spec.GetSource().Redacted()
	}
	s.Plan = nil
	if !p.compared || p.sourceFailed || p.refused != "" {
		s.Sync.Status = v1alpha1.SyncStatusCodeUnknown
		return
	}
	s.Sync.Status = overall(p.st.comparison)
	d := p.st.desired
	s.Sync.Revision, s.Sync.Revisions = revisionsOf(spec, d.revisions)
	s.SourceType, s.SourceTypes = "", nil
	for _, t := range d.sourceTypes {
		s.SourceTypes = append(s.SourceTypes, v1alpha1.ApplicationSourceType(t))
	}
	if !spec.HasMultipleSources() && len(s.SourceTypes) > 0 {
		s.SourceType, s.SourceTypes = s.SourceTypes[0], nil
	}
	s.Summary.Images = d.bundle.Images
	if c := p.st.comparison.Plan; !c.Empty() {
		n := c.Count()
		s.Plan = &v1alpha1.PlanSummary{Digest: c.Digest(), Create: n.Create, Update: n.Update, Replace: n.Replace, Delete: n.Delete, Forget: n.Forget}
	}
}

func revisionsOf(spec *v1alpha1.ApplicationSpec, revisions []string) (one string, many []string) {
	if spec.HasMultipleSources() {
		return "", revisions
	}
	if len(revisions) > 0 {
		return revisions[0], nil
	}
	return "", nil
}

// overall is Synced if all resources are, Unknown if one of them is.
func overall(c driver.Comparison) v1alpha1.SyncStatusCode {
	out := v1alpha1.SyncStatusCodeSynced
	for i := range c.Resources {
		r := &c.Resources[i]
		switch {
		case r.Hook != nil:
		case r.Sync == driver.Unknown:
			return v1alpha1.SyncStatusCodeUnknown
		case r.Sync == driver.OutOfSync:
			out = v1alpha1.SyncStatusCodeOutOfSync
		}
	}
	return out
}

func resourceStatuses(c driver.Comparison) []v1alpha1.ResourceStatus {
	out := make([]v1alpha1.ResourceStatus, 0, len(c.Resources))
	for i := range c.Resources {
		r := &c.Resources[i]
		if r.Hook != nil && !r.Exists {
			continue
		}
		s := v1alpha1.ResourceStatus{
			Group: r.Ref.Group, Version: r.Ref.Version, Kind: r.Ref.Kind, Namespace: r.Ref.Namespace, Name: r.Ref.Name,
			Status: v1alpha1.SyncStatusCode(r.Sync), Hook: r.Hook != nil, SyncWave: int64(r.Wave),
			RequiresPruning: r.Cause == driver.CauseExtra && r.Exists,
		}
		s.RequiresDeletionConfirmation = strings.Contains(r.Guard, "confirm")
		if r.Hook != nil {
			s.Status = ""
		}
		if r.Health.Status != "" {
			s.Health = &v1alpha1.HealthStatus{Status: v1alpha1.HealthStatusCode(r.Health.Status), Message: r.Health.Message}
		}
		out = append(out, s)
	}
	return out
}

// conditions say what the user should know, and keep the time of those that
// stay as they are.
func (p *pass) conditions(before []v1alpha1.ApplicationCondition, now metav1.Time) []v1alpha1.ApplicationCondition {
	var out []v1alpha1.ApplicationCondition
	add := func(kind v1alpha1.ApplicationConditionType, message string) {
		c := v1alpha1.ApplicationCondition{Type: kind, Message: message, LastTransitionTime: &now}
		for _, b := range before {
			if b.Type == kind && b.Message == message {
				c.LastTransitionTime = b.LastTransitionTime
			}
		}
		out = append(out, c)
	}
	if p.refused != "" && p.distrusted {
		add(v1alpha1.ConditionComparisonError, p.refused)
	} else if p.refused != "" {
		add(v1alpha1.ConditionInvalidSpecError, p.refused)
	}
	if p.unavailable != "" {
		kind := v1alpha1.ConditionComparisonError
		if p.deleting() {
			kind = v1alpha1.ConditionDeletionError
		}
		add(kind, p.unavailable)
	}
	if d := p.st.desired; d != nil && d.stale != "" && p.unavailable == "" {
		add(v1alpha1.ConditionComparisonError, d.stale)
		p.e.queue.addAfter(p.key, stalePause)
	}
	fields := append(v1alpha1.Unimplemented(&p.app.Spec), p.e.Projects.Unimplemented(p.app, p.key)...)
	if len(fields) > 0 {
		add(v1alpha1.ConditionUnimplementedField, "Plumb does not implement yet, and does not honour: "+strings.Join(fields, ", "))
	}
	p.gateConditions(add)
	p.pinConditions(add)
	p.decisionConditions(add)
	p.approvalConditions(add)
	p.adoptConditions(before, add)
	if _, told := p.decision.(decide.Wait); p.pendingInput != "" && !told {
		add(v1alpha1.ConditionWaitingForDependency, "waiting for "+p.pendingInput)
	}
	if p.st.unpublished != "" {
		add(v1alpha1.ConditionComparisonError, p.st.unpublished)
	}
	if p.compared {
		resourceConditions(p.st, add)
	}
	if p.e.Notices != nil {
		for _, c := range p.e.Notices.Notices(p.app, p.key) {
			add(c.Type, c.Message)
		}
	}
	return out
}

// decisionConditions say what came of the last sync, and what the next waits for.
func (p *pass) decisionConditions(add func(v1alpha1.ApplicationConditionType, string)) {
	if w, ok := p.decision.(decide.Wait); ok {
		add(v1alpha1.ConditionWaitingForDependency, w.For)
	}
	l := p.st.last
	failed := l != nil && l.failed && p.st.desired != nil && l.desired == p.desiredHash() && p.refused == ""
	if failed && p.st.running == nil {
		kind := v1alpha1.ConditionSyncError
		if p.deleting() {
			kind = v1alpha1.ConditionDeletionError
		}
		add(kind, l.message)
		return
	}
	if idle, ok := p.decision.(decide.Idle); ok && strings.HasPrefix(idle.Why, "auto-sync would") {
		add(v1alpha1.ConditionSyncError, idle.Why)
	}
	if b, ok := p.decision.(decide.BackOff); ok && p.unavailable == "" && !failed && p.st.running == nil {
		add(v1alpha1.ConditionSyncError, b.Why)
	}
}

// resourceConditions warn of single resources.
func resourceConditions(st *state, add func(v1alpha1.ApplicationConditionType, string)) {
	var shared, problems []string
	for i := range st.comparison.Resources {
		r := &st.comparison.Resources[i]
		switch {
		case r.Problem == nil:
		case r.Problem.Reason == driver.ReasonShared:
			shared = append(shared, r.Problem.Message)
		default:
			problems = append(problems, string(r.Ref.Address())+": "+r.Problem.Message)
		}
	}
	if len(shared) > 0 {
		add(v1alpha1.ConditionSharedResourceWarning, strings.Join(few(shared), "; "))
	}
	if len(problems) > 0 {
		add(v1alpha1.ConditionComparisonError, strings.Join(few(problems), "; "))
	}
	if len(st.comparison.Notes) > 0 {
		add(v1alpha1.ConditionModuleWarning, strings.Join(few(st.comparison.Notes), "; "))
	}
	if st.desired != nil && st.desired.bundle.Module != nil && len(st.desired.bundle.Warnings) > 0 {
		add(v1alpha1.ConditionModuleWarning, strings.Join(few(st.desired.bundle.Warnings), "; "))
		return
	}
	if st.desired != nil && len(st.desired.bundle.Warnings) > 0 {
		add(v1alpha1.ConditionRepeatedResourceWarning, strings.Join(few(st.desired.bundle.Warnings), "; "))
	}
}

// few keeps conditions readable where hundreds of resources ail alike.
func few(all []string) []string {
	const most = 5
	if len(all) <= most {
		return all
	}
	return append(slices.Clone(all[:most]), fmt.Sprintf("and %d more", len(all)-most))
}

// operationStatus writes the operation that runs or has ended in this pass, and
// the history if it succeeded.
func (p *pass) operationStatus(s *v1alpha1.ApplicationStatus) {
	if op := p.st.running; op != nil && op.recorded {
		phase := v1alpha1.OperationRunning
		if op.terminating {
			phase = v1alpha1.OperationTerminating
		}
		s.OperationState = p.operationState(op, phase, op.progress())
		return
	}
	ended := p.st.ended
	if ended == nil {
		return
	}
	phase := v1alpha1.OperationFailed
	if ended.ok {
		phase = v1alpha1.OperationSucceeded
	}
	if ended.errored {
		phase = v1alpha1.OperationError
	}
	s.OperationState = p.operationState(ended.op, phase, ended.message)
	finished := metav1.NewTime(ended.at.Truncate(time.Second))
	s.OperationState.FinishedAt = &finished
	op := ended.op
	if !ended.ok || op.dryRun || op.scope != decide.Full || len(op.request.Sync.Resources) > 0 || p.st.desired == nil {
		return
	}
	next := p.historyEntry(s, finished)
	if n := len(s.History); n > 0 && s.History[n-1].DeployStartedAt != nil && s.History[n-1].DeployStartedAt.Time.Equal(s.OperationState.StartedAt.Time) &&
		slices.Equal(s.History[n-1].RevisionsOf(), next.RevisionsOf()) { // two of different revisions may begin in one second
		return // already there
	}
	s.History = append(slices.Clone(s.History), next).Trunc(p.app.Spec.GetRevisionHistoryLimit())
}

func (p *pass) operationState(op *operation, phase v1alpha1.OperationPhase, message string) *v1alpha1.OperationState {
	s := op.state(phase, message)
	if p.st.desired != nil {
		spec := &p.app.Spec
		s.SyncResult.Revision, s.SyncResult.Revisions = revisionsOf(spec, p.st.desired.revisions)
		if spec.HasMultipleSources() {
			s.SyncResult.Sources = spec.Sources.Redacted()
		} else {
			s.SyncResult.Source = spec.GetSource().Redacted()
		}
	}
	return s
}

func (p *pass) historyEntry(s *v1alpha1.ApplicationStatus, at metav1.Time) v1alpha1.RevisionHistory {
	r := s.OperationState.SyncResult
	started := s.OperationState.StartedAt
	return v1alpha1.RevisionHistory{
		ID: s.History.LastRevisionHistory().ID + min(1, int64(len(s.History))), Revision: r.Revision, Revisions: r.Revisions,
		Source: r.Source, Sources: r.Sources, DeployStartedAt: &started, DeployedAt: at,
		InitiatedBy: s.OperationState.Operation.InitiatedBy,
	}
}

// progress says what a running operation waits for.
func (op *operation) progress() string {
	if op.awaits {
		return orDefault(op.wait, "waiting for approval")
	}
	if len(op.running) > 0 && len(op.blocked) > 0 {
		return "waiting for " + strings.Join(few(op.running), "; ")
	}
	if len(op.running) > 0 {
		return "waiting for completion of " + strings.Join(few(op.running), "; ")
	}
	return "one or more tasks are running"
}
