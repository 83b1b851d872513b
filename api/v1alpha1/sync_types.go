package v1alpha1

import "time"

// SyncPolicy says when and how a destination is made to match its sources.
type SyncPolicy struct {
	// Automated applies changes without being asked.
	// +optional
	Automated *SyncPolicyAutomated `json:"automated,omitempty"`
	// SyncOptions change how resources are applied, such as CreateNamespace=true.
	// +optional
	SyncOptions SyncOptions `json:"syncOptions,omitempty"`
	// Retry says how often and when a failed sync is tried again.
	// +optional
	Retry *RetryStrategy `json:"retry,omitempty"`
	// ManagedNamespaceMetadata are labels and annotations for the namespace that
	// CreateNamespace=true creates.
	// +optional
	ManagedNamespaceMetadata *ManagedNamespaceMetadata `json:"managedNamespaceMetadata,omitempty"`

	// Approval asks people to approve plans before they are applied.
	// +optional
	Approval *ApprovalPolicy `json:"approval,omitempty"`
	// Drift says what happens when the destination is changed behind Plumb's back.
	// Without it: reverted with automated.selfHeal, else reported.
	// +optional
	Drift *DriftPolicy `json:"drift,omitempty"`
	// OnFailure says what happens when an Application is not healthy within
	// healthDeadline after the first sync to a new revision, or when that sync has
	// failed for good. rollback pins it to its last healthy revision. Default: none.
	// +optional
	// +kubebuilder:validation:Enum=rollback;none
	OnFailure OnFailure `json:"onFailure,omitempty"`
	// HealthDeadline is how long an Application may take to become healthy, such as
	// 10m. Default: 5m.
	// +optional
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(s|m|h))+$`
	// +kubebuilder:validation:MaxLength=32
	HealthDeadline string `json:"healthDeadline,omitempty"`
}

// OnFailure says what happens when a new revision does not become healthy.
type OnFailure string

// The answers to a revision that does not become healthy.
const (
	OnFailureNone     OnFailure = "none"
	OnFailureRollback OnFailure = "rollback"
)

// DefaultHealthDeadline is the deadline where none is set.
const DefaultHealthDeadline = 5 * time.Minute

// GetHealthDeadline returns how long an Application may take to become healthy.
func (p *SyncPolicy) GetHealthDeadline() time.Duration {
	if p == nil {
		return DefaultHealthDeadline
	}
	if d, err := time.ParseDuration(p.HealthDeadline); err == nil && d > 0 {
		return d
	}
	return DefaultHealthDeadline
}

// RollsBack says whether a revision that does not become healthy is rolled back.
func (p *SyncPolicy) RollsBack() bool { return p != nil && p.OnFailure == OnFailureRollback }

// SyncPolicyAutomated applies changes without being asked.
type SyncPolicyAutomated struct {
	// Enabled turns automated sync on and off. Default: true.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// Prune deletes resources that are no longer declared. Default: false.
	// +optional
	Prune *bool `json:"prune,omitempty"`
	// SelfHeal reverts changes that are made to the destination. Default: false.
	// +optional
	SelfHeal *bool `json:"selfHeal,omitempty"`
	// AllowEmpty lets a sync that declares nothing delete everything. Default:
	// false.
	// +optional
	AllowEmpty *bool `json:"allowEmpty,omitempty"`
}

// SyncOptions are options of a sync, each Name=value or a bare name.
type SyncOptions []string

// ManagedNamespaceMetadata are labels and annotations for a created namespace.
type ManagedNamespaceMetadata struct {
	// Labels to set on the namespace.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations to set on the namespace.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RetryStrategy says how often and when a failed sync is tried again.
type RetryStrategy struct {
	// Limit is how many times to try again. Zero is never, a negative number is
	// without end.
	// +optional
	Limit int64 `json:"limit,omitempty"`
	// Backoff is how long to wait between two tries.
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`
	// Refresh resolves the revision anew for each try.
	// +optional
	Refresh bool `json:"refresh,omitempty"`
}

// Backoff is how long to wait between two tries.
type Backoff struct {
	// Duration is the first wait: seconds, or a duration such as 2m or 1h.
	// Default: 5s.
	// +optional
	Duration string `json:"duration,omitempty"`
	// Factor multiplies the wait after each failure. Default: 2.
	// +optional
	Factor *int64 `json:"factor,omitempty"`
	// MaxDuration is the longest wait. Default: 3m.
	// +optional
	MaxDuration string `json:"maxDuration,omitempty"`
}

// Operation asks for one action on an Application.
type Operation struct {
	// Sync asks for a sync.
	// +optional
	Sync *SyncOperation `json:"sync,omitempty"`
	// InitiatedBy is who asked.
	// +optional
	InitiatedBy OperationInitiator `json:"initiatedBy,omitempty,omitzero"`
	// Info is what a reader of this operation may want to know.
	// +optional
	Info []Info `json:"info,omitempty"`
	// Retry says how often and when the operation is tried again.
	// +optional
	Retry RetryStrategy `json:"retry,omitempty,omitzero"`
}

// OperationInitiator is who asked for an operation.
type OperationInitiator struct {
	// Username is the person who asked.
	// +optional
	Username string `json:"username,omitempty"`
	// Automated says that nobody asked: the policy did.
	// +optional
	Automated bool `json:"automated,omitempty"`
}

// SyncOperation is one sync.
type SyncOperation struct {
	// Revision to sync to. Default: what the source's targetRevision resolves to.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Revisions to sync to, one for each source.
	// +optional
	Revisions []string `json:"revisions,omitempty"`
	// Prune deletes resources that are no longer declared.
	// +optional
	Prune bool `json:"prune,omitempty"`
	// DryRun shows what would be done and does nothing.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// SyncStrategy says whether hooks run and whether force is used.
	// +optional
	SyncStrategy *SyncStrategy `json:"syncStrategy,omitempty"`
	// Resources limits the sync to some resources. Hooks then do not run.
	// +optional
	Resources []SyncOperationResource `json:"resources,omitempty"`
	// Source is used instead of the Application's, as for a rollback.
	// +optional
	Source *ApplicationSource `json:"source,omitempty"`
	// Sources are used instead of the Application's, as for a rollback.
	// +optional
	Sources ApplicationSources `json:"sources,omitempty"`
	// Manifests are used instead of what the sources give. For development.
	// +optional
	Manifests []string `json:"manifests,omitempty"`
	// SyncOptions are used instead of the policy's.
	// +optional
	SyncOptions SyncOptions `json:"syncOptions,omitempty"`
	// SelfHealAttemptsCount is how many times self-healing was tried at this
	// revision.
	// +optional
	SelfHealAttemptsCount int64 `json:"autoHealAttemptsCount,omitempty"`
}

// SyncOperationResource names one resource of a sync.
type SyncOperationResource struct {
	// Group is the API group.
	// +optional
	Group string `json:"group,omitempty"`
	// Kind is the kind.
	Kind string `json:"kind"`
	// Name is the name.
	Name string `json:"name"`
	// Namespace is the namespace. Empty is any.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// SyncStrategy says whether hooks run in a sync. Default: they do.
type SyncStrategy struct {
	// Apply applies without running hooks.
	// +optional
	Apply *SyncStrategyApply `json:"apply,omitempty"`
	// Hook applies and runs hooks.
	// +optional
	Hook *SyncStrategyHook `json:"hook,omitempty"`
}

// SyncStrategyApply applies without running hooks.
type SyncStrategyApply struct {
	// Force deletes and creates a resource that cannot be changed in place.
	// +optional
	Force bool `json:"force,omitempty"`
}

// SyncStrategyHook applies and runs hooks.
type SyncStrategyHook struct {
	SyncStrategyApply `json:",inline"`
}
