package v1alpha1

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Lookup returns the value of an annotation or label by its name without prefix,
// such as NameSyncWave. Plumb's own prefix goes before Argo CD's.
func Lookup(annotations map[string]string, name string) (value string, found bool) {
	if v, ok := annotations[PlumbPrefix+name]; ok {
		return v, true
	}
	v, ok := annotations[ArgoPrefix+name]
	return v, ok
}

// GetProject returns the name of the project, which is "default" if none is set.
func (s *ApplicationSpec) GetProject() string {
	if s.Project == "" {
		return DefaultProject
	}
	return s.Project
}

// HasMultipleSources says whether status and operations speak of sources and
// revisions rather than of one source and revision.
func (s *ApplicationSpec) HasMultipleSources() bool {
	return s.SourceHydrator == nil && len(s.Sources) > 0
}

// GetSources returns the sources to apply, whichever field they are in.
func (s *ApplicationSpec) GetSources() ApplicationSources {
	switch {
	case s.SourceHydrator != nil:
		return ApplicationSources{s.SourceHydrator.GetSyncSource()}
	case len(s.Sources) > 0:
		return s.Sources
	case s.Source != nil:
		return ApplicationSources{*s.Source}
	default:
		return nil
	}
}

// GetSource returns the first source, or an empty one.
func (s *ApplicationSpec) GetSource() ApplicationSource {
	if sources := s.GetSources(); len(sources) > 0 {
		return sources[0]
	}
	return ApplicationSource{}
}

// GetRevisionHistoryLimit returns how many past syncs to keep.
func (s *ApplicationSpec) GetRevisionHistoryLimit() int {
	if s.RevisionHistoryLimit == nil {
		return DefaultRevisionHistoryLimit
	}
	return int(max(0, min(*s.RevisionHistoryLimit, 1000)))
}

// IsAutomated says whether changes are applied without being asked.
func (s *ApplicationSpec) IsAutomated() bool {
	return s.SyncPolicy != nil && s.SyncPolicy.Automated.IsEnabled()
}

// GetRevision returns the revision to follow, which is HEAD if none is set.
func (s *ApplicationSource) GetRevision() string {
	if s.TargetRevision == "" {
		return DefaultRevision
	}
	return s.TargetRevision
}

// IsRef says whether other sources can refer to this one.
func (s *ApplicationSource) IsRef() bool { return s.Ref != "" }

// IsHelmRepo says whether the source is a chart from a Helm repository.
func (s *ApplicationSource) IsHelmRepo() bool { return s.Chart != "" }

// IsOCI says whether the source is in an OCI registry by its URL.
func (s *ApplicationSource) IsOCI() bool { return strings.HasPrefix(s.RepoURL, "oci://") }

// ExplicitType returns the renderer that the source's options ask for, "" where
// they leave it to detection, or an error where they ask for several.
func (s *ApplicationSource) ExplicitType() (ApplicationSourceType, error) {
	var asked []string
	for _, o := range []struct {
		set bool
		typ ApplicationSourceType
	}{
		{s.Kustomize != nil, ApplicationSourceTypeKustomize},
		{s.Helm != nil, ApplicationSourceTypeHelm},
		{s.Directory != nil, ApplicationSourceTypeDirectory},
		{s.Plugin != nil, ApplicationSourceTypePlugin},
		{s.Tofu != nil, ApplicationSourceTypeTofu},
	} {
		if o.set {
			asked = append(asked, string(o.typ))
		}
	}
	switch len(asked) {
	case 0:
		return "", nil
	case 1:
		return ApplicationSourceType(asked[0]), nil
	default:
		return "", fmt.Errorf("the source has options for %s: keep those of one", strings.Join(asked, " and "))
	}
}

// GetDrySource returns what is rendered.
func (h *SourceHydrator) GetDrySource() ApplicationSource {
	return ApplicationSource{
		RepoURL:        h.DrySource.RepoURL,
		Path:           h.DrySource.Path,
		TargetRevision: h.DrySource.TargetRevision,
		Helm:           h.DrySource.Helm,
		Kustomize:      h.DrySource.Kustomize,
		Directory:      h.DrySource.Directory,
		Plugin:         h.DrySource.Plugin,
	}
}

// GetSyncSource returns what is applied.
func (h *SourceHydrator) GetSyncSource() ApplicationSource {
	repo := h.SyncSource.RepoURL
	if repo == "" {
		repo = h.DrySource.RepoURL
	}
	return ApplicationSource{
		RepoURL:        repo,
		Path:           h.SyncSource.Path,
		TargetRevision: h.SyncSource.TargetBranch,
	}
}

// IsInCluster says whether the destination is the cluster that the Application
// lives in.
func (d ApplicationDestination) IsInCluster() bool {
	server := strings.TrimRight(d.Server, "/")
	return (server == "" || server == InClusterServer) && (d.Name == "" || d.Name == InClusterName)
}

// GetSyncOptions returns the sync options, of no policy too.
func (p *SyncPolicy) GetSyncOptions() SyncOptions {
	if p == nil {
		return nil
	}
	return p.SyncOptions
}

// GetRetry returns the retry strategy, or nil.
func (p *SyncPolicy) GetRetry() *RetryStrategy {
	if p == nil {
		return nil
	}
	return p.Retry
}

// IsEnabled says whether automated sync is on: it is there and not turned off.
func (a *SyncPolicyAutomated) IsEnabled() bool {
	return a != nil && (a.Enabled == nil || *a.Enabled)
}

// GetPrune says whether automated sync is on and prunes.
func (a *SyncPolicyAutomated) GetPrune() bool { return a.IsEnabled() && isTrue(a.Prune) }

// GetSelfHeal says whether automated sync is on and heals.
func (a *SyncPolicyAutomated) GetSelfHeal() bool { return a.IsEnabled() && isTrue(a.SelfHeal) }

// GetAllowEmpty says whether automated sync is on and may delete everything.
func (a *SyncPolicyAutomated) GetAllowEmpty() bool { return a.IsEnabled() && isTrue(a.AllowEmpty) }

func isTrue(b *bool) bool { return b != nil && *b }

// Has says whether the options hold this one, such as "CreateNamespace=true".
func (o SyncOptions) Has(option string) bool { return slices.Contains(o, option) }

// Get returns the value of an option by its key, such as SyncOptionPruneLast.
func (o SyncOptions) Get(key string) (value string, found bool) {
	for _, option := range o {
		if v, ok := strings.CutPrefix(option, key+"="); ok {
			return v, true
		}
	}
	return "", false
}

// IsTrue says whether an option is set to true.
func (o SyncOptions) IsTrue(key string) bool { return o.Has(key + "=true") }

// ParseSyncOptions reads the sync-options or compare-options annotation of a
// resource: options with commas between them.
func ParseSyncOptions(annotation string) SyncOptions {
	var out SyncOptions
	for part := range strings.SplitSeq(annotation, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// The back-off of a retry strategy that sets none.
const (
	DefaultRetryDuration    = 5 * time.Second
	DefaultRetryMaxDuration = 3 * time.Minute
	DefaultRetryFactor      = 2
)

// MayRetry says whether a sync that failed and was tried again retried times may
// be tried once more.
func (r *RetryStrategy) MayRetry(retried int64) bool {
	return r != nil && (r.Limit < 0 || retried < r.Limit)
}

// Wait returns how long to wait before the next try, after retried tries beyond
// the first.
func (r *RetryStrategy) Wait(retried int64) (time.Duration, error) {
	wait, longest, factor := DefaultRetryDuration, DefaultRetryMaxDuration, int64(DefaultRetryFactor)
	if r != nil && r.Backoff != nil {
		var err error
		if wait, err = parseWait("duration", r.Backoff.Duration, wait); err != nil {
			return 0, err
		}
		if longest, err = parseWait("maxDuration", r.Backoff.MaxDuration, longest); err != nil {
			return 0, err
		}
		if r.Backoff.Factor != nil && *r.Backoff.Factor > 0 {
			factor = *r.Backoff.Factor
		}
	}
	for ; retried > 0 && factor > 1 && wait > 0 && wait < longest; retried-- {
		if wait > longest/time.Duration(factor) {
			return longest, nil
		}
		wait *= time.Duration(factor)
	}
	return min(wait, longest), nil
}

// parseWait reads a duration as Argo CD does: a number of seconds, or a Go
// duration.
func parseWait(field, s string, byDefault time.Duration) (time.Duration, error) {
	if s == "" {
		return byDefault, nil
	}
	if seconds, err := strconv.ParseInt(s, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("syncPolicy.retry.backoff.%s: %q is no duration: write seconds, or 30s, 2m, 1h", field, s)
	}
	return d, nil
}

// GetInterval returns the probing interval, or zero where none is set or it is
// too long to be one.
func (p *DriftPolicy) GetInterval() time.Duration {
	if p == nil {
		return 0
	}
	d, err := time.ParseDuration(p.Interval)
	if err != nil {
		return 0
	}
	return d
}

// IsRequired says whether any plans need approval.
func (p *ApprovalPolicy) IsRequired() bool { return p.GetWhen() != ApproveNever }

// GetWhen says which plans need approval, of no policy too.
func (p *ApprovalPolicy) GetWhen() ApprovalWhen {
	switch {
	case p == nil || p.Required != nil && !*p.Required:
		return ApproveNever
	case p.When == "":
		return ApproveAlways
	}
	return p.When
}

// DefaultApprovalValidity is how long an approval holds where nothing else is said.
const DefaultApprovalValidity = 24 * time.Hour

// Snapshot is who must approve a plan by this policy, or by none.
func (p *ApprovalPolicy) Snapshot() PlanApproval {
	out := PlanApproval{Min: 1, NotAuthor: true, ValidFor: DefaultApprovalValidity.String()}
	if p == nil {
		return out
	}
	out.Min, out.Approvers = max(1, p.MinApprovals), slices.Clone(p.Approvers)
	out.NotAuthor = p.NotAuthor == nil || *p.NotAuthor
	out.PullRequest = isTrue(p.PullRequest)
	if d, err := time.ParseDuration(p.ValidFor); err == nil && d > 0 {
		out.ValidFor = d.String()
	}
	return out
}

// AtLeast is a policy that asks for all that both ask for.
func (p *ApprovalPolicy) AtLeast(floor *ApprovalPolicy) *ApprovalPolicy {
	switch {
	case !floor.IsRequired():
		return p
	case !p.IsRequired():
		return floor
	}
	out := floor.DeepCopy()
	if p.GetWhen() != floor.GetWhen() {
		out.When = ApproveAlways
	}
	out.MinApprovals = max(p.MinApprovals, floor.MinApprovals)
	if len(floor.Approvers) == 0 {
		out.Approvers = p.Approvers
	} else if both := slices.DeleteFunc(slices.Clone(p.Approvers), func(a Approver) bool { return !slices.Contains(floor.Approvers, a) }); len(both) > 0 {
		out.Approvers = both
	}
	a, b := p.Snapshot(), floor.Snapshot()
	notAuthor, pull := a.NotAuthor || b.NotAuthor, a.PullRequest && b.PullRequest
	out.PullRequest = &pull
	out.NotAuthor, out.ValidFor = &notAuthor, min(a.Validity(), b.Validity()).String()
	return out
}

// Validity is how long an approval of the plan holds.
func (a *PlanApproval) Validity() time.Duration {
	if d, err := time.ParseDuration(a.ValidFor); err == nil && d > 0 {
		return d
	}
	return DefaultApprovalValidity
}

// Admits says whether somebody is among the approvers.
func (a *PlanApproval) Admits(user string, groups []string) bool {
	return len(a.Approvers) == 0 || slices.ContainsFunc(a.Approvers, func(r Approver) bool {
		return r.User != "" && r.User == user || r.Group != "" && slices.Contains(groups, r.Group)
	})
}

// Open says whether a plan in this phase may still be applied.
func (p PlanPhase) Open() bool {
	switch p {
	case "", PlanPending, PlanApproved, PlanApplying, PlanFailed:
		return true
	default:
		return false
	}
}

// Completed says whether an operation has ended.
func (p OperationPhase) Completed() bool {
	return p == OperationFailed || p == OperationError || p == OperationSucceeded
}

// Running says whether an operation goes on, or is being stopped.
func (p OperationPhase) Running() bool {
	return p == OperationRunning || p == OperationTerminating
}

// IsError says whether a condition type stops a sync.
func IsError(t ApplicationConditionType) bool { return strings.HasSuffix(t, "Error") }

// LastRevisionHistory returns the latest sync.
func (h RevisionHistories) LastRevisionHistory() RevisionHistory {
	if len(h) == 0 {
		return RevisionHistory{}
	}
	return h[len(h)-1]
}

// Trunc returns the latest n syncs.
func (h RevisionHistories) Trunc(n int) RevisionHistories {
	return h[max(0, len(h)-max(0, n)):]
}

// InventoryID returns the id of an inventory entry.
func InventoryID(group, kind, namespace, name string) string {
	return group + "/" + kind + "/" + namespace + "/" + name
}

// Split returns the parts of the entry's id. ok is false where it has not four.
func (e InventoryEntry) Split() (group, kind, namespace, name string, ok bool) {
	parts := strings.SplitN(e.ID, "/", 4)
	if len(parts) != 4 {
		return "", "", "", "", false
	}
	return parts[0], parts[1], parts[2], parts[3], true
}

// By is who has changed a resource: the user where that is known, and by which field
// manager.
func (d *DriftStatus) By() string {
	var more []string
	if d.User == "" {
		return d.Manager
	}
	if d.ImpersonatedBy != "" {
		more = append(more, "by way of "+d.ImpersonatedBy)
	}
	if d.Manager != "" {
		more = append(more, d.Manager)
	}
	if len(more) == 0 {
		return d.User
	}
	return d.User + " (" + strings.Join(more, ", ") + ")"
}
