package v1alpha1

// The condition types of an Application. The first nine are Argo CD's.
const (
	// ConditionDeletionError says that the deletion failed.
	ConditionDeletionError ApplicationConditionType = "DeletionError"
	// ConditionInvalidSpecError says that the spec is wrong or not permitted.
	ConditionInvalidSpecError ApplicationConditionType = "InvalidSpecError"
	// ConditionComparisonError says that sources and destination cannot be
	// compared: a source cannot be read or rendered, a destination not reached.
	ConditionComparisonError ApplicationConditionType = "ComparisonError"
	// ConditionSyncError says that an automated sync failed or was refused.
	ConditionSyncError ApplicationConditionType = "SyncError"
	// ConditionUnknownError says that something unforeseen failed.
	ConditionUnknownError ApplicationConditionType = "UnknownError"
	// ConditionSharedResourceWarning says that another Application manages one of
	// the resources.
	ConditionSharedResourceWarning ApplicationConditionType = "SharedResourceWarning"
	// ConditionRepeatedResourceWarning says that a resource is declared twice.
	ConditionRepeatedResourceWarning ApplicationConditionType = "RepeatedResourceWarning"
	// ConditionModuleWarning tells of a module what should be known.
	ConditionModuleWarning ApplicationConditionType = "ModuleWarning"
	// ConditionExcludedResourceWarning says that a resource is of an excluded kind.
	ConditionExcludedResourceWarning ApplicationConditionType = "ExcludedResourceWarning"
	// ConditionOrphanedResourceWarning says that nothing manages some resources in
	// the destination's namespace.
	ConditionOrphanedResourceWarning ApplicationConditionType = "OrphanedResourceWarning"

	// ConditionUnimplementedField names fields that are set and that Plumb does not
	// implement yet.
	ConditionUnimplementedField ApplicationConditionType = "UnimplementedField"
	// ConditionShortenedStatusWarning says that the status does not list all
	// resources, because it would be too large for the API server.
	ConditionShortenedStatusWarning ApplicationConditionType = "ShortenedStatusWarning"
	// ConditionWaitingForDependency names the Application that is waited for.
	ConditionWaitingForDependency ApplicationConditionType = "WaitingForDependency"
	// ConditionWaitingForApproval names the plan that people are asked to approve.
	ConditionWaitingForApproval ApplicationConditionType = "WaitingForApproval"
	// ConditionPlanRejected says who has rejected the plan of what there is to do.
	ConditionPlanRejected ApplicationConditionType = "PlanRejected"
	// ConditionLedgerUnavailable says that nothing is changed, because what is done
	// can't be recorded.
	ConditionLedgerUnavailable ApplicationConditionType = "LedgerUnavailable"
	// ConditionSyncWindow names the sync window that holds a change back.
	ConditionSyncWindow ApplicationConditionType = "SyncWindow"
	// ConditionFrozen says that nothing is changed until somebody thaws.
	ConditionFrozen ApplicationConditionType = "Frozen"
	// ConditionDriftProposed names the branch or pull request that proposes to Git
	// what was changed where it runs.
	ConditionDriftProposed ApplicationConditionType = "DriftProposed"
	// ConditionAdoptError says why drift could not be proposed to Git.
	ConditionAdoptError ApplicationConditionType = "AdoptError"
	// ConditionPinned says that an Application is held at a revision, whatever Git
	// has.
	ConditionPinned ApplicationConditionType = "Pinned"
)

// The names under which an operation says what it asks for beyond Argo CD's
// fields, in its info list.
const (
	// InfoOverride asks for a sync through closed windows, freezes and missing
	// approvals. Its value is the reason. It takes the verb "override" on the
	// Application.
	InfoOverride = PlumbPrefix + "override"
)

// VerbOverride and VerbFreeze are the verbs that RBAC knows beyond Kubernetes'
// own: override on applications, freeze on appprojects.
const (
	VerbOverride = "override"
	VerbFreeze   = "freeze"
)

// The annotations that pin an Application. All but the first say who pinned it,
// when and why.
const (
	// AnnotationPin holds the revisions that an Application is held at, one for
	// each source, with commas between them.
	AnnotationPin       = PlumbPrefix + "pin"
	AnnotationPinBy     = PlumbPrefix + "pin-by"
	AnnotationPinAt     = PlumbPrefix + "pin-at"
	AnnotationPinReason = PlumbPrefix + "pin-reason"
)

// PinnedByFailure stands as who pinned an Application that was rolled back
// because it did not become healthy.
const PinnedByFailure = "syncPolicy.onFailure"

// The ConfigMaps that hold what is true of all projects.
const (
	// FreezeConfigMap freezes everything as long as it is there, in the namespace
	// plumb-system. Its keys are those of Freeze.
	FreezeConfigMap = "plumb-freeze"
	// GPGKeysConfigMap holds the public keys that GnuPG signatures are verified
	// with, as Argo CD has it: in the namespaces argocd and plumb-system.
	GPGKeysConfigMap = "argocd-gpg-keys-cm"
	// SignersConfigMap holds in its key allowed_signers the public keys that SSH
	// signatures are verified with, in OpenSSH's format, and in revoked_keys those
	// that are not believed any more.
	SignersConfigMap = "plumb-allowed-signers"
)

// Finalizers of an Application.
const (
	// ResourcesFinalizer deletes the resources before the Application.
	ResourcesFinalizer = "resources-finalizer.argocd.argoproj.io"
	// ResourcesFinalizerForeground does so with foreground propagation.
	ResourcesFinalizerForeground = "resources-finalizer.argocd.argoproj.io/foreground"
	// ResourcesFinalizerBackground does so with background propagation.
	ResourcesFinalizerBackground = "resources-finalizer.argocd.argoproj.io/background"
	// PreDeleteFinalizer runs PreDelete hooks.
	PreDeleteFinalizer = "pre-delete-finalizer.argocd.argoproj.io"
	// PostDeleteFinalizer runs PostDelete hooks. Argo CD also sets it with a
	// suffix, "/cleanup".
	PostDeleteFinalizer = "post-delete-finalizer.argocd.argoproj.io"
	// HookFinalizer is Argo CD's finalizer on hook resources.
	HookFinalizer = "argocd.argoproj.io/hook-finalizer"

	// PlumbResourcesFinalizer is Plumb's name for ResourcesFinalizer.
	PlumbResourcesFinalizer = "plumb.dev/resources-finalizer"
	// PlumbResourcesFinalizerForeground is Plumb's name for
	// ResourcesFinalizerForeground. A finalizer has one slash.
	PlumbResourcesFinalizerForeground = "plumb.dev/resources-finalizer-foreground"
	// PlumbResourcesFinalizerBackground is Plumb's name for
	// ResourcesFinalizerBackground.
	PlumbResourcesFinalizerBackground = "plumb.dev/resources-finalizer-background"
)

// The prefixes of annotations and labels. Every name below is read with both, and
// Plumb's own goes first: see Lookup.
const (
	// PlumbPrefix is the prefix of Plumb's own annotations and labels.
	PlumbPrefix = "plumb.dev/"
	// ArgoPrefix is the prefix of Argo CD's annotations and labels.
	ArgoPrefix = "argocd.argoproj.io/"
)

// Names of annotations on an Application, without prefix.
const (
	// NameRefresh asks for a comparison now: normal or hard.
	NameRefresh = "refresh"
	// NameHydrate asks for a hydration now.
	NameHydrate = "hydrate"
	// NameManifestGeneratePaths are the paths, besides the source's own, that
	// rendering reads.
	NameManifestGeneratePaths = "manifest-generate-paths"
	// NameSkipReconcile leaves the Application alone.
	NameSkipReconcile = "skip-reconcile"
	// NameManagedByURL is the address of the instance that manages it.
	NameManagedByURL = "managed-by-url"
	// NameDeletionApproved confirms deletions that need it, with a time.
	NameDeletionApproved = "deletion-approved"
	// NameLeaveBehind confirms that what an Application has made is left as it is
	// where its source becomes of another kind: the kind that it was of ("module" or
	// "manifests").
	NameLeaveBehind = "leave-behind"
)

// Names of annotations on managed resources, without prefix.
const (
	// NameSyncWave is the wave in which a resource is applied.
	NameSyncWave = "sync-wave"
	// NameHook makes a resource a hook.
	NameHook = "hook"
	// NameHookDeletePolicy says when a hook is deleted.
	NameHookDeletePolicy = "hook-delete-policy"
	// NameSyncOptions are sync options for one resource.
	NameSyncOptions = "sync-options"
	// NameCompareOptions are comparison options for one resource.
	NameCompareOptions = "compare-options"
	// NameTrackingID says which Application manages a resource.
	NameTrackingID = "tracking-id"
	// NameInstallationID says which installation manages a resource.
	NameInstallationID = "installation-id"
	// NameIgnoreHealthcheck leaves a resource out of the Application's health.
	NameIgnoreHealthcheck = "ignore-healthcheck"
	// NameIgnoreResourceUpdates leaves updates of an unmanaged resource unnoticed.
	NameIgnoreResourceUpdates = "ignore-resource-updates"
)

// Names of labels, without prefix, and their values.
const (
	// NameSecretType says what a Secret is for.
	NameSecretType = "secret-type"

	SecretTypeRepository      = "repository"
	SecretTypeRepoCreds       = "repo-creds" //nolint:gosec // the value of a label
	SecretTypeCluster         = "cluster"
	SecretTypeRepositoryWrite = "repository-write"
	SecretTypeRepoCredsWrite  = "repo-write-creds" //nolint:gosec // the value of a label
	// SecretTypeDecryption marks Secrets with what opens a project's secrets; only
	// with Plumb's own label.
	SecretTypeDecryption = "decryption"
	SecretTypeSCMCreds   = "scm-creds" //nolint:gosec // the value of a label

	// LabelProject names the project whose Applications may use a Secret.
	LabelProject = PlumbPrefix + "project"

	// LabelInstance is the label that Argo CD's label tracking sets on resources.
	LabelInstance = "app.kubernetes.io/instance"
)

// The annotations and labels in full, with Argo CD's prefix.
const (
	AnnotationRefresh               = ArgoPrefix + NameRefresh
	AnnotationHydrate               = ArgoPrefix + NameHydrate
	AnnotationManifestGeneratePaths = ArgoPrefix + NameManifestGeneratePaths
	AnnotationSkipReconcile         = ArgoPrefix + NameSkipReconcile
	AnnotationManagedByURL          = ArgoPrefix + NameManagedByURL
	AnnotationDeletionApproved      = ArgoPrefix + NameDeletionApproved
	AnnotationSyncWave              = ArgoPrefix + NameSyncWave
	AnnotationHook                  = ArgoPrefix + NameHook
	AnnotationHookDeletePolicy      = ArgoPrefix + NameHookDeletePolicy
	AnnotationSyncOptions           = ArgoPrefix + NameSyncOptions
	AnnotationCompareOptions        = ArgoPrefix + NameCompareOptions
	AnnotationTrackingID            = ArgoPrefix + NameTrackingID
	AnnotationInstallationID        = ArgoPrefix + NameInstallationID
	AnnotationIgnoreHealthcheck     = ArgoPrefix + NameIgnoreHealthcheck
	AnnotationIgnoreResourceUpdates = ArgoPrefix + NameIgnoreResourceUpdates
	LabelSecretType                 = ArgoPrefix + NameSecretType
)

// The annotations and labels in full, with Plumb's prefix.
const (
	PlumbAnnotationRefresh               = PlumbPrefix + NameRefresh
	PlumbAnnotationHydrate               = PlumbPrefix + NameHydrate
	PlumbAnnotationManifestGeneratePaths = PlumbPrefix + NameManifestGeneratePaths
	PlumbAnnotationSkipReconcile         = PlumbPrefix + NameSkipReconcile
	PlumbAnnotationManagedByURL          = PlumbPrefix + NameManagedByURL
	PlumbAnnotationDeletionApproved      = PlumbPrefix + NameDeletionApproved
	PlumbAnnotationSyncWave              = PlumbPrefix + NameSyncWave
	PlumbAnnotationHook                  = PlumbPrefix + NameHook
	PlumbAnnotationHookDeletePolicy      = PlumbPrefix + NameHookDeletePolicy
	PlumbAnnotationSyncOptions           = PlumbPrefix + NameSyncOptions
	PlumbAnnotationCompareOptions        = PlumbPrefix + NameCompareOptions
	PlumbAnnotationTrackingID            = PlumbPrefix + NameTrackingID
	PlumbAnnotationInstallationID        = PlumbPrefix + NameInstallationID
	PlumbAnnotationIgnoreHealthcheck     = PlumbPrefix + NameIgnoreHealthcheck
	PlumbAnnotationIgnoreResourceUpdates = PlumbPrefix + NameIgnoreResourceUpdates
	PlumbLabelSecretType                 = PlumbPrefix + NameSecretType
)

// RefreshType is the value of the refresh annotation.
type RefreshType string

// The refresh types.
const (
	// RefreshTypeNormal compares again.
	RefreshTypeNormal RefreshType = "normal"
	// RefreshTypeHard compares again and believes no cache.
	RefreshTypeHard RefreshType = "hard"
)

// The sync options that mean something to Plumb, by key. As an option each is
// Key=value.
const (
	SyncOptionCreateNamespace          = "CreateNamespace"
	SyncOptionPrune                    = "Prune"
	SyncOptionPruneLast                = "PruneLast"
	SyncOptionPrunePropagationPolicy   = "PrunePropagationPolicy"
	SyncOptionDelete                   = "Delete"
	SyncOptionReplace                  = "Replace"
	SyncOptionForce                    = "Force"
	SyncOptionServerSideApply          = "ServerSideApply"
	SyncOptionClientSideApplyMigration = "ClientSideApplyMigration"
	SyncOptionValidate                 = "Validate"
	SyncOptionSkipDryRunOnMissing      = "SkipDryRunOnMissingResource"
	SyncOptionApplyOutOfSyncOnly       = "ApplyOutOfSyncOnly"
	SyncOptionFailOnSharedResource     = "FailOnSharedResource"
	SyncOptionRespectIgnoreDifferences = "RespectIgnoreDifferences"
)

// Defaults.
const (
	// DefaultProject is the project of an Application that names none.
	DefaultProject = "default"
	// DefaultRevision is the revision of a source that names none.
	DefaultRevision = "HEAD"
	// DefaultRevisionHistoryLimit is how many past syncs are kept.
	DefaultRevisionHistoryLimit = 10
	// InClusterServer is the server of the cluster that an Application lives in.
	InClusterServer = "https://kubernetes.default.svc"
	// InClusterName is the name of the cluster that an Application lives in.
	InClusterName = "in-cluster"
)
