package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ApplicationStatus is what Plumb observed of an Application and did for it.
type ApplicationStatus struct {
	// ObservedGeneration is the metadata.generation that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Sync compares the sources with the destination.
	// +optional
	Sync SyncStatus `json:"sync,omitempty,omitzero"`
	// Health is the worst health of the resources.
	// +optional
	Health HealthStatus `json:"health,omitempty,omitzero"`
	// Conditions are what the user should know and may have to act on.
	// +optional
	Conditions []ApplicationCondition `json:"conditions,omitempty"`
	// OperationState is the running operation, or else the last one.
	// +optional
	OperationState *OperationState `json:"operationState,omitempty"`
	// Plan summarises what a sync would change now.
	// +optional
	Plan *PlanSummary `json:"plan,omitempty"`
	// Drift is what was changed where it runs: what lasts, and the latest of what
	// has ended, the latest last.
	// +optional
	// +listType=atomic
	Drift []DriftStatus `json:"drift,omitempty"`
	// Resources are the managed resources with their state.
	// +optional
	Resources []ResourceStatus `json:"resources,omitempty"`
	// Inventory is what Plumb applied for this Application and answers for:
	// only what is listed here is ever pruned.
	// +optional
	// +listType=atomic
	Inventory []InventoryEntry `json:"inventory,omitempty"`
	// History are the past successful syncs, the latest last.
	// +optional
	History RevisionHistories `json:"history,omitempty"`
	// Trial is the revision that has yet to become healthy, where onFailure asks
	// for a watch on that.
	// +optional
	Trial *RevisionTrial `json:"trial,omitempty"`
	// Outputs are the outputs of a module that are not sensitive.
	// +optional
	// +listType=atomic
	Outputs []ApplicationOutput `json:"outputs,omitempty"`
	// Summary is what a list of Applications shows of this one.
	// +optional
	Summary ApplicationSummary `json:"summary,omitempty,omitzero"`
	// SourceType is the kind of renderer that the source needed.
	// +optional
	SourceType ApplicationSourceType `json:"sourceType,omitempty"`
	// SourceTypes are the kinds of renderer that the sources needed.
	// +optional
	SourceTypes []ApplicationSourceType `json:"sourceTypes,omitempty"`
	// ReconciledAt is when the sources and the destination were last compared.
	// +optional
	ReconciledAt *metav1.Time `json:"reconciledAt,omitempty"`
	// ObservedAt is kept for readers of Argo CD's status. Not written.
	// +optional
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`
	// ResourceHealthSource says where the health of resources is kept.
	// Empty: in resources.
	// +optional
	ResourceHealthSource ResourceHealthLocation `json:"resourceHealthSource,omitempty"`
	// ControllerNamespace is the namespace of the controller that wrote this.
	// +optional
	ControllerNamespace string `json:"controllerNamespace,omitempty"`
	// SourceHydrator is the state of the source hydrator.
	// +optional
	SourceHydrator SourceHydratorStatus `json:"sourceHydrator,omitempty,omitzero"`
}

// ResourceHealthLocation says where the health of resources is kept.
type ResourceHealthLocation string

// The places where the health of resources is kept.
const (
	ResourceHealthLocationInline  ResourceHealthLocation = ""
	ResourceHealthLocationAppTree ResourceHealthLocation = "appTree"
)

// SyncStatusCode says whether something is as declared.
type SyncStatusCode string

// The sync status codes.
const (
	SyncStatusCodeUnknown   SyncStatusCode = "Unknown"
	SyncStatusCodeSynced    SyncStatusCode = "Synced"
	SyncStatusCodeOutOfSync SyncStatusCode = "OutOfSync"
)

// SyncStatus compares the sources with the destination.
type SyncStatus struct {
	// Status is Synced, OutOfSync or Unknown.
	// +optional
	Status SyncStatusCode `json:"status,omitempty"`
	// ComparedTo is what was compared.
	// +optional
	ComparedTo ComparedTo `json:"comparedTo,omitempty,omitzero"`
	// Revision is the commit or chart version that was compared.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Revisions are those of each source.
	// +optional
	Revisions []string `json:"revisions,omitempty"`
}

// ComparedTo is what was compared with the destination.
type ComparedTo struct {
	// Source that was compared.
	// +optional
	Source ApplicationSource `json:"source,omitempty,omitzero"`
	// Sources that were compared.
	// +optional
	Sources ApplicationSources `json:"sources,omitempty"`
	// Destination that was compared.
	// +optional
	Destination ApplicationDestination `json:"destination,omitempty,omitzero"`
	// IgnoreDifferences that were left out.
	// +optional
	IgnoreDifferences IgnoreDifferences `json:"ignoreDifferences,omitempty"`
}

// HealthStatusCode is a health, in Argo CD's words.
type HealthStatusCode string

// The health status codes, from best to worst as Argo CD orders them.
const (
	HealthStatusHealthy     HealthStatusCode = "Healthy"
	HealthStatusSuspended   HealthStatusCode = "Suspended"
	HealthStatusProgressing HealthStatusCode = "Progressing"
	HealthStatusMissing     HealthStatusCode = "Missing"
	HealthStatusDegraded    HealthStatusCode = "Degraded"
	HealthStatusUnknown     HealthStatusCode = "Unknown"
)

// HealthStatus is the health of an Application or of a resource.
type HealthStatus struct {
	// Status is Healthy, Progressing, Degraded, Suspended, Missing or Unknown.
	// +optional
	Status HealthStatusCode `json:"status,omitempty"`
	// Message says why.
	// +optional
	Message string `json:"message,omitempty"`
	// LastTransitionTime is when the status changed last.
	// +optional
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
}

// ApplicationConditionType is the type of a condition. The types that end in
// Error stop a sync; those that end in Warning do not.
type ApplicationConditionType = string

// ApplicationCondition is something the user should know of.
type ApplicationCondition struct {
	// Type is the type of the condition.
	Type ApplicationConditionType `json:"type"`
	// Message says what, where, why, and what to do next.
	Message string `json:"message"`
	// LastTransitionTime is when the condition came up.
	// +optional
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
}

// OperationPhase is how far an operation is.
type OperationPhase string

// The phases of an operation.
const (
	OperationRunning     OperationPhase = "Running"
	OperationTerminating OperationPhase = "Terminating"
	OperationFailed      OperationPhase = "Failed"
	OperationError       OperationPhase = "Error"
	OperationSucceeded   OperationPhase = "Succeeded"
)

// OperationState is a running or finished operation.
type OperationState struct {
	// Operation is what was asked for.
	Operation Operation `json:"operation"`
	// Phase is how far it is.
	Phase OperationPhase `json:"phase"`
	// Message says what it does, or why it ended so.
	// +optional
	Message string `json:"message,omitempty"`
	// SyncResult is what the sync did.
	// +optional
	SyncResult *SyncOperationResult `json:"syncResult,omitempty"`
	// StartedAt is when it began.
	StartedAt metav1.Time `json:"startedAt"`
	// FinishedAt is when it ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// RetryCount is how many times it was tried again.
	// +optional
	RetryCount int64 `json:"retryCount,omitempty"`
}

// SyncOperationResult is what a sync did.
type SyncOperationResult struct {
	// Revision that was synced.
	// +optional
	Revision string `json:"revision"`
	// Revisions of each source that were synced.
	// +optional
	Revisions []string `json:"revisions,omitempty"`
	// Source that was synced.
	// +optional
	Source ApplicationSource `json:"source,omitempty,omitzero"`
	// Sources that were synced.
	// +optional
	Sources ApplicationSources `json:"sources,omitempty"`
	// Resources are the results, one for each resource and hook.
	// +optional
	Resources ResourceResults `json:"resources,omitempty"`
	// ManagedNamespaceMetadata that was set.
	// +optional
	ManagedNamespaceMetadata *ManagedNamespaceMetadata `json:"managedNamespaceMetadata,omitempty"`
}

// ResultCode is what a sync did with a resource.
type ResultCode string

// The result codes.
const (
	ResultCodeSynced       ResultCode = "Synced"
	ResultCodeSyncFailed   ResultCode = "SyncFailed"
	ResultCodePruned       ResultCode = "Pruned"
	ResultCodePruneSkipped ResultCode = "PruneSkipped"
)

// HookType is when a hook runs.
type HookType string

// The hook types.
const (
	HookTypePreSync    HookType = "PreSync"
	HookTypeSync       HookType = "Sync"
	HookTypePostSync   HookType = "PostSync"
	HookTypeSkip       HookType = "Skip"
	HookTypeSyncFail   HookType = "SyncFail"
	HookTypePreDelete  HookType = "PreDelete"
	HookTypePostDelete HookType = "PostDelete"
)

// SyncPhase is the part of a sync in which a resource is applied.
type SyncPhase string

// The phases of a sync.
const (
	SyncPhasePreSync  SyncPhase = "PreSync"
	SyncPhaseSync     SyncPhase = "Sync"
	SyncPhasePostSync SyncPhase = "PostSync"
	SyncPhaseSyncFail SyncPhase = "SyncFail"
)

// ResourceResult is what a sync did with one resource or hook.
type ResourceResult struct {
	// Group is the API group.
	// +optional
	Group string `json:"group"`
	// Version is the API version.
	// +optional
	Version string `json:"version"`
	// Kind is the kind.
	// +optional
	Kind string `json:"kind"`
	// Namespace is the namespace.
	// +optional
	Namespace string `json:"namespace"`
	// Name is the name.
	// +optional
	Name string `json:"name"`
	// Status is what was done. Empty for hooks that are not finished.
	// +optional
	Status ResultCode `json:"status,omitempty"`
	// Message says what was done, or why it failed.
	// +optional
	Message string `json:"message,omitempty"`
	// HookType is set for hooks.
	// +optional
	HookType HookType `json:"hookType,omitempty"`
	// HookPhase is how far the hook, or the resource's health, is.
	// +optional
	HookPhase OperationPhase `json:"hookPhase,omitempty"`
	// SyncPhase is the phase in which it was applied.
	// +optional
	SyncPhase SyncPhase `json:"syncPhase,omitempty"`
	// Images are the container images of the resource.
	// +optional
	Images []string `json:"images,omitempty"`
}

// ResourceResults is a list of results.
type ResourceResults []ResourceResult

// RevisionHistory is one past sync.
type RevisionHistory struct {
	// ID numbers the syncs of an Application.
	ID int64 `json:"id"`
	// Revision that was synced.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Revisions of each source that were synced.
	// +optional
	Revisions []string `json:"revisions,omitempty"`
	// Source that was synced.
	// +optional
	Source ApplicationSource `json:"source,omitempty,omitzero"`
	// Sources that were synced.
	// +optional
	Sources ApplicationSources `json:"sources,omitempty"`
	// DeployStartedAt is when the sync began.
	// +optional
	DeployStartedAt *metav1.Time `json:"deployStartedAt,omitempty"`
	// DeployedAt is when the sync ended.
	DeployedAt metav1.Time `json:"deployedAt"`
	// InitiatedBy is who asked for the sync.
	// +optional
	InitiatedBy OperationInitiator `json:"initiatedBy,omitempty,omitzero"`
	// HealthyAt is when the Application was first seen healthy with it.
	// +optional
	HealthyAt *metav1.Time `json:"healthyAt,omitempty"`
}

// RevisionTrial is a revision that has been synced, or tried to, and has not
// been healthy yet.
type RevisionTrial struct {
	// Revisions of each source.
	Revisions []string `json:"revisions"`
	// Since is when the first sync to it began.
	Since metav1.Time `json:"since"`
}

// RevisionHistories is a list of past syncs, the latest last.
type RevisionHistories []RevisionHistory

// ResourceStatus is the state of one managed resource.
type ResourceStatus struct {
	// Group is the API group.
	// +optional
	Group string `json:"group,omitempty"`
	// Version is the API version.
	// +optional
	Version string `json:"version,omitempty"`
	// Kind is the kind.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Namespace is the namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Name is the name.
	// +optional
	Name string `json:"name,omitempty"`
	// Status is Synced, OutOfSync or Unknown.
	// +optional
	Status SyncStatusCode `json:"status,omitempty"`
	// Health is the health, where the kind has one.
	// +optional
	Health *HealthStatus `json:"health,omitempty"`
	// Hook says that the resource is a hook.
	// +optional
	Hook bool `json:"hook,omitempty"`
	// RequiresPruning says that it is no longer declared.
	// +optional
	RequiresPruning bool `json:"requiresPruning,omitempty"`
	// RequiresDeletionConfirmation says that it is deleted only when confirmed.
	// +optional
	RequiresDeletionConfirmation bool `json:"requiresDeletionConfirmation,omitempty"`
	// SyncWave is the wave in which it is applied.
	// +optional
	SyncWave int64 `json:"syncWave,omitempty"`
}

// DriftStatus is one resource that was changed where it runs.
type DriftStatus struct {
	// Group is the API group.
	// +optional
	Group string `json:"group,omitempty"`
	// Kind is the kind.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Namespace is the namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Name is the name.
	// +optional
	Name string `json:"name,omitempty"`
	// Deleted says that it was deleted.
	// +optional
	Deleted bool `json:"deleted,omitempty"`
	// Fields that were changed, as JSON pointers; the first of them, where they are
	// many.
	// +optional
	// +listType=atomic
	Fields []string `json:"fields,omitempty"`
	// Manager is the field manager that has last changed one of them, as far as the
	// destination tells.
	// +optional
	Manager string `json:"manager,omitempty"`
	// User who has changed it, where Plumb hears the audit events of the destination's
	// API server.
	// +optional
	User string `json:"user,omitempty"`
	// ImpersonatedBy is who has acted as the user, if somebody has.
	// +optional
	ImpersonatedBy string `json:"impersonatedBy,omitempty"`
	// Since is when it was found.
	Since metav1.Time `json:"since"`
	// Until is when it was found to have ended.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// Ended says how: Reverted by Plumb, or Gone by itself or by somebody else, or
	// because Git has changed.
	// +optional
	Ended string `json:"ended,omitempty"`
}

// The ways in which drift ends.
const (
	DriftReverted = "Reverted"
	DriftGone     = "Gone"
)

// ApplicationOutput is an output of a module.
type ApplicationOutput struct {
	// Name of the output.
	Name string `json:"name"`
	// Value of the output; one that is not a string as JSON.
	Value string `json:"value"`
}

// ApplicationSummary is what a list of Applications shows of each.
type ApplicationSummary struct {
	// ExternalURLs are the addresses at which the Application can be reached.
	// +optional
	ExternalURLs []string `json:"externalURLs,omitempty"`
	// Images are the container images that it runs.
	// +optional
	Images []string `json:"images,omitempty"`
	// IsAppOfApps says that its resources are Applications.
	// +optional
	IsAppOfApps bool `json:"isAppOfApps,omitempty"`
}

// InventoryEntry is one resource that Plumb applied. The names are short because
// an Application can have thousands of them.
type InventoryEntry struct {
	// ID is group/Kind/namespace/name. Group and namespace may be empty, the
	// slashes stay: /ConfigMap/shop/settings, /Namespace//shop.
	ID string `json:"id"`
	// Version is the API version it was applied with.
	// +optional
	Version string `json:"v,omitempty"`
	// Desired is the hash of what was declared.
	// +optional
	Desired string `json:"d,omitempty"`
	// Applied is the hash of what the destination stored of it.
	// +optional
	Applied string `json:"a,omitempty"`
}

// PlanSummary counts what a plan changes.
type PlanSummary struct {
	// Digest identifies the plan.
	Digest string `json:"digest"`
	// Name of the Plan that waits for approval, where one does.
	// +optional
	Name string `json:"name,omitempty"`
	// Create is how many resources are created.
	// +optional
	Create int `json:"create,omitempty"`
	// Update is how many resources are changed in place.
	// +optional
	Update int `json:"update,omitempty"`
	// Replace is how many resources are deleted and created anew.
	// +optional
	Replace int `json:"replace,omitempty"`
	// Delete is how many resources are deleted.
	// +optional
	Delete int `json:"delete,omitempty"`
	// Forget is how many resources are let go without being deleted.
	// +optional
	Forget int `json:"forget,omitempty"`
}

// SourceHydratorStatus is the state of a source hydrator.
type SourceHydratorStatus struct {
	// CurrentOperation is the running or last hydration.
	// +optional
	CurrentOperation *HydrateOperation `json:"currentOperation,omitempty"`
	// LastSuccessfulOperation is the last hydration that succeeded.
	// +optional
	LastSuccessfulOperation *SuccessfulHydrateOperation `json:"lastSuccessfulOperation,omitempty"`
	// LastComparedDryRevision is the last commit of the dry source looked at.
	// +optional
	LastComparedDryRevision string `json:"lastComparedDryRevision,omitempty"`
}

// HydrateOperationPhase is how far a hydration is.
// +kubebuilder:validation:Enum=Hydrating;Failed;Hydrated
type HydrateOperationPhase string

// The phases of a hydration.
const (
	HydrateOperationPhaseHydrating HydrateOperationPhase = "Hydrating"
	HydrateOperationPhaseFailed    HydrateOperationPhase = "Failed"
	HydrateOperationPhaseHydrated  HydrateOperationPhase = "Hydrated"
)

// HydrateOperation is one hydration.
type HydrateOperation struct {
	// StartedAt is when it began.
	// +optional
	StartedAt metav1.Time `json:"startedAt,omitempty,omitzero"`
	// FinishedAt is when it ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// Phase is how far it is.
	Phase HydrateOperationPhase `json:"phase"`
	// Message says what it does, or why it failed.
	Message string `json:"message"`
	// DrySHA is the commit that was rendered.
	// +optional
	DrySHA string `json:"drySHA,omitempty"`
	// HydratedSHA is the commit that holds the result.
	// +optional
	HydratedSHA string `json:"hydratedSHA,omitempty"`
	// SourceHydrator is what it was asked to do.
	// +optional
	SourceHydrator SourceHydrator `json:"sourceHydrator,omitempty,omitzero"`
}

// SuccessfulHydrateOperation is a hydration that succeeded.
type SuccessfulHydrateOperation struct {
	// DrySHA is the commit that was rendered.
	// +optional
	DrySHA string `json:"drySHA,omitempty"`
	// HydratedSHA is the commit that holds the result.
	// +optional
	HydratedSHA string `json:"hydratedSHA,omitempty"`
	// SourceHydrator is what it was asked to do.
	// +optional
	SourceHydrator SourceHydrator `json:"sourceHydrator,omitempty,omitzero"`
}
