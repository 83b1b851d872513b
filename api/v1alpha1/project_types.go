package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AppProject is a fence around a team's Applications: which sources,
// destinations and kinds they may use, and whose identity applies them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=appprojects,singular=appproject,shortName=pproj;pprojs,categories=plumb
// +kubebuilder:printcolumn:name="Description",type=string,priority=1,JSONPath=`.spec.description`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AppProject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// Spec says what the project's Applications may do.
	Spec AppProjectSpec `json:"spec"`
	// Status is what Plumb observed last.
	// +optional
	Status AppProjectStatus `json:"status,omitempty,omitzero"`
}

// AppProjectList is a list of AppProjects.
//
// +kubebuilder:object:root=true
type AppProjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []AppProject `json:"items"`
}

// AppProjectSpec says what the Applications of a project may do.
type AppProjectSpec struct {
	// SourceRepos are the repositories that may be used: URLs or globs; a leading
	// "!" denies.
	// +optional
	SourceRepos []string `json:"sourceRepos,omitempty"`
	// Destinations are the clusters and namespaces that may be applied to, as
	// globs; a leading "!" denies.
	// +optional
	Destinations []ApplicationDestination `json:"destinations,omitempty"`
	// Description of the project.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Description string `json:"description,omitempty"`
	// SourceNamespaces are the namespaces, beside the project's own, in which
	// Applications of this project may live.
	// +optional
	SourceNamespaces []string `json:"sourceNamespaces,omitempty"`
	// ClusterResourceWhitelist are the cluster-scoped kinds that are allowed.
	// Without it none is.
	// +optional
	ClusterResourceWhitelist []ClusterResourceRestrictionItem `json:"clusterResourceWhitelist,omitempty"`
	// ClusterResourceBlacklist are cluster-scoped kinds that are denied.
	// +optional
	ClusterResourceBlacklist []ClusterResourceRestrictionItem `json:"clusterResourceBlacklist,omitempty"`
	// NamespaceResourceWhitelist are the namespaced kinds that are allowed.
	// Without it all are; an empty list allows none.
	// +optional
	NamespaceResourceWhitelist []metav1.GroupKind `json:"namespaceResourceWhitelist,omitzero"`
	// NamespaceResourceBlacklist are namespaced kinds that are denied.
	// +optional
	NamespaceResourceBlacklist []metav1.GroupKind `json:"namespaceResourceBlacklist,omitempty"`
	// DestinationServiceAccounts are the identities with which resources are
	// applied. The first that matches the destination counts.
	// +optional
	DestinationServiceAccounts []ApplicationDestinationServiceAccount `json:"destinationServiceAccounts,omitempty"`
	// PermitOnlyProjectScopedClusters allows only clusters that are registered for
	// this project.
	// +optional
	PermitOnlyProjectScopedClusters bool `json:"permitOnlyProjectScopedClusters,omitempty"`
	// Roles are named sets of rights within the project.
	// +optional
	Roles []ProjectRole `json:"roles,omitempty"`
	// OrphanedResources asks for reports of resources in the destination
	// namespaces that no Application manages.
	// +optional
	OrphanedResources *OrphanedResourcesMonitorSettings `json:"orphanedResources,omitempty"`
	// SyncWindows are times at which syncs are allowed or denied.
	// +optional
	SyncWindows SyncWindows `json:"syncWindows,omitempty"`
	// SignatureKeys are the GnuPG keys with which commits must be signed.
	// +optional
	SignatureKeys []SignatureKey `json:"signatureKeys,omitempty"`
	// SourceIntegrity says how sources must be signed.
	// +optional
	SourceIntegrity *SourceIntegrity `json:"sourceIntegrity,omitempty"`
	// Modules says what OpenTofu and Terraform modules may do.
	// +optional
	Modules *ModulePolicy `json:"modules,omitempty"`
	// Outputs says who else may use the outputs of the project's Applications.
	// +optional
	Outputs *OutputPolicy `json:"outputs,omitempty"`
	// Freeze stops all changes of the project's Applications: syncs, heals and
	// deletions. Setting, changing or removing it takes the verb "freeze" on the
	// AppProject.
	// +optional
	Freeze *Freeze `json:"freeze,omitempty"`
	// Approval is who must approve changes of all Applications of the project, at
	// least: their own syncPolicy.approval may ask for more, and for nothing less.
	// +optional
	Approval *ApprovalPolicy `json:"approval,omitempty"`
}

// Freeze stops changes until it is taken back.
type Freeze struct {
	// Reason is why.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
	// By is who froze: the name that the API server knows the user by.
	// +kubebuilder:validation:MinLength=1
	By string `json:"by"`
	// At is when.
	// +optional
	At *metav1.Time `json:"at,omitempty"`
	// Until is when changes go on by themselves. Without it: when somebody thaws.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// OutputPolicy says who may use the outputs of a project's Applications.
type OutputPolicy struct {
	// SharedWith are other projects whose Applications may use the outputs, those
	// that are secret included: names or globs. Default: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	SharedWith []string `json:"sharedWith,omitempty"`
}

// ModulePolicy says what OpenTofu and Terraform modules of a project may do.
type ModulePolicy struct {
	// Providers are the sources of the providers that may be used, as globs:
	// hashicorp/*, registry.example.com/team/dns. Default: all.
	// +optional
	// +kubebuilder:validation:MaxItems=200
	Providers []string `json:"providers,omitempty"`
	// Backends are the kinds of backends that may be used. Default: all.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	Backends []string `json:"backends,omitempty"`
	// AllowLocalPrograms lets modules run programs on the machine that Plumb runs
	// on: provisioners and the data source "external".
	// +optional
	AllowLocalPrograms bool `json:"allowLocalPrograms,omitempty"`
}

// AppProjectStatus is what Plumb observed of a project.
type AppProjectStatus struct {
	// JWTTokensByRole are the tokens that were issued, by role.
	// +optional
	JWTTokensByRole map[string]JWTTokens `json:"jwtTokensByRole,omitempty"`
	// ObservedGeneration is the metadata.generation that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are what the user should know and may have to act on.
	// +optional
	Conditions []ApplicationCondition `json:"conditions,omitempty"`
}

// ClusterResourceRestrictionItem selects cluster-scoped resources by globs.
type ClusterResourceRestrictionItem struct {
	// Group is the API group.
	Group string `json:"group"`
	// Kind is the kind.
	Kind string `json:"kind"`
	// Name of the resource. Empty is any.
	// +optional
	Name string `json:"name,omitempty"`
}

// ApplicationDestinationServiceAccount is the identity for a destination.
type ApplicationDestinationServiceAccount struct {
	// Server is the URL of the cluster; a glob.
	Server string `json:"server"`
	// Namespace is the destination namespace; a glob.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// DefaultServiceAccount is the service account, as name or namespace:name.
	DefaultServiceAccount string `json:"defaultServiceAccount"`
}

// ProjectRole is a named set of rights within a project.
type ProjectRole struct {
	// Name of the role.
	Name string `json:"name"`
	// Description of the role.
	// +optional
	Description string `json:"description,omitempty"`
	// Policies are the rights, each as a Casbin policy line.
	// +optional
	Policies []string `json:"policies,omitempty"`
	// Groups are the groups of the identity provider that have the role.
	// +optional
	Groups []string `json:"groups,omitempty"`
	// JWTTokens are the tokens that were issued for the role.
	// +optional
	JWTTokens []JWTToken `json:"jwtTokens,omitempty"`
}

// JWTTokens is a list of issued tokens.
type JWTTokens struct {
	// Items are the tokens.
	// +optional
	Items []JWTToken `json:"items,omitempty"`
}

// JWTToken says when a token was issued; the token itself is kept nowhere.
type JWTToken struct {
	// IssuedAt is in seconds since 1970.
	IssuedAt int64 `json:"iat"`
	// ExpiresAt is in seconds since 1970. Zero is never.
	// +optional
	ExpiresAt int64 `json:"exp,omitempty"`
	// ID of the token.
	// +optional
	ID string `json:"id,omitempty"`
}

// OrphanedResourcesMonitorSettings asks for reports of unmanaged resources.
type OrphanedResourcesMonitorSettings struct {
	// Warn sets a condition on the Applications when there are such resources.
	// +optional
	Warn *bool `json:"warn,omitempty"`
	// Ignore are resources to leave out.
	// +optional
	Ignore []OrphanedResourceKey `json:"ignore,omitempty"`
}

// OrphanedResourceKey selects resources by globs.
type OrphanedResourceKey struct {
	// Group is the API group.
	// +optional
	Group string `json:"group,omitempty"`
	// Kind is the kind.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Name is the name.
	// +optional
	Name string `json:"name,omitempty"`
}

// SyncWindows is a list of windows.
type SyncWindows []SyncWindow

// SyncWindow is a time at which syncs are allowed or denied.
type SyncWindow struct {
	// Kind is allow or deny.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Schedule is when the window opens, in cron format.
	// +optional
	Schedule string `json:"schedule,omitempty"`
	// Duration is how long it stays open, such as 1h.
	// +optional
	Duration string `json:"duration,omitempty"`
	// TimeZone of the schedule. Default: UTC.
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// Applications that the window is for, as globs.
	// +optional
	Applications []string `json:"applications,omitempty"`
	// Namespaces that the window is for, as globs.
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`
	// Clusters that the window is for, as globs.
	// +optional
	Clusters []string `json:"clusters,omitempty"`
	// ManualSync allows syncs that somebody asks for while they are denied.
	// +optional
	ManualSync bool `json:"manualSync,omitempty"`
	// SyncOverrun lets a sync that began within the window end after it.
	// +optional
	SyncOverrun bool `json:"syncOverrun,omitempty"`
	// UseAndOperator asks for all of applications, namespaces and clusters to
	// match, instead of one.
	// +optional
	UseAndOperator bool `json:"andOperator,omitempty"`
	// Description of the window.
	// +optional
	Description string `json:"description,omitempty"`
}

// SignatureKey is a GnuPG key.
type SignatureKey struct {
	// KeyID of the key.
	KeyID string `json:"keyID"`
}

// SourceIntegrity says how sources must be signed.
type SourceIntegrity struct {
	// Git is the policy for Git repositories.
	Git *SourceIntegrityGit `json:"git"`
}

// SourceIntegrityGit says how Git repositories must be signed.
type SourceIntegrityGit struct {
	// Policies are the rules. The first that matches the repository counts.
	Policies []SourceIntegrityGitPolicy `json:"policies"`
}

// SourceIntegrityGitPolicy says how some Git repositories must be signed.
type SourceIntegrityGitPolicy struct {
	// Repos are the repositories.
	Repos []SourceIntegrityGitPolicyRepo `json:"repos"`
	// GPG is the policy for GnuPG signatures.
	// +optional
	GPG *SourceIntegrityGitPolicyGPG `json:"gpg,omitempty"`
	// SSH is the policy for SSH signatures. Beside gpg, a signature of either kind
	// is enough, and the stricter mode counts.
	// +optional
	SSH *SourceIntegrityGitPolicySSH `json:"ssh,omitempty"`
}

// SourceIntegrityGitPolicySSH says which SSH signatures are needed.
type SourceIntegrityGitPolicySSH struct {
	// Mode is none, head or strict.
	// +kubebuilder:validation:Enum=none;head;strict
	Mode SourceIntegrityGitPolicyGPGMode `json:"mode"`
	// Signers are the principals of the allowed signers who may sign, as globs.
	// Empty: all of them.
	// +optional
	Signers []string `json:"signers,omitempty"`
}

// SourceIntegrityGitPolicyRepo selects Git repositories.
type SourceIntegrityGitPolicyRepo struct {
	// URL of the repository; a glob.
	URL string `json:"url"`
}

// SourceIntegrityGitPolicyGPGMode says which commits must be signed.
type SourceIntegrityGitPolicyGPGMode string

// The signature modes.
const (
	SourceIntegrityGitPolicyGPGModeNone   SourceIntegrityGitPolicyGPGMode = "none"
	SourceIntegrityGitPolicyGPGModeHead   SourceIntegrityGitPolicyGPGMode = "head"
	SourceIntegrityGitPolicyGPGModeStrict SourceIntegrityGitPolicyGPGMode = "strict"
)

// SourceIntegrityGitPolicyGPG says which GnuPG signatures are needed.
type SourceIntegrityGitPolicyGPG struct {
	// Mode is none, head or strict.
	Mode SourceIntegrityGitPolicyGPGMode `json:"mode"`
	// Keys are the ids of the trusted keys.
	Keys []string `json:"keys"`
}
