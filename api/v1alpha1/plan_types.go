package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Plan is what Plumb would change for an Application, and that waits for people
// to approve it. Plumb alone makes plans. A plan says what was to be done when it
// was made: what differs from it later is never done because of it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=plans,singular=plan,categories=plumb
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.application.name`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Approvals",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Create",type=integer,JSONPath=`.spec.counts.create`
// +kubebuilder:printcolumn:name="Update",type=integer,JSONPath=`.spec.counts.update`
// +kubebuilder:printcolumn:name="Replace",type=integer,JSONPath=`.spec.counts.replace`
// +kubebuilder:printcolumn:name="Delete",type=integer,JSONPath=`.spec.counts.delete`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Plan struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// Spec says what would be changed. It never changes.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a plan never changes: another one is made when there is something else to do"
	Spec PlanSpec `json:"spec"`
	// Status says what has become of the plan. It is written by Plumb alone.
	// +optional
	// +structType=atomic
	Status PlanStatus `json:"status,omitempty,omitzero"`
}

// PlanList is a list of Plans.
//
// +kubebuilder:object:root=true
type PlanList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Plan `json:"items"`
}

// PlanReason says why there is a plan.
// +kubebuilder:validation:Enum=Sync;Drift;Rollback;Delete;Preview
type PlanReason string

// The reasons of plans.
const (
	// PlanReasonSync is a change of what is declared, or a sync that was asked for.
	PlanReasonSync PlanReason = "Sync"
	// PlanReasonDrift is a change of what is live.
	PlanReasonDrift PlanReason = "Drift"
	// PlanReasonRollback goes back to an earlier revision.
	PlanReasonRollback PlanReason = "Rollback"
	// PlanReasonDelete deletes what a deleted Application holds.
	PlanReasonDelete PlanReason = "Delete"
	// PlanReasonPreview shows what would be done, and is never done.
	PlanReasonPreview PlanReason = "Preview"
)

// PlanSpec is what would be changed, why, and who must approve it.
type PlanSpec struct {
	// Application that the plan is for. It is in the plan's namespace.
	Application PlanApplication `json:"application"`
	// Project of the Application.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Project string `json:"project,omitempty"`
	// Reason of the plan.
	Reason PlanReason `json:"reason"`
	// RequestedBy is who has asked for the sync, as far as somebody has.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	RequestedBy string `json:"requestedBy,omitempty"`
	// Scope is what of the differences the plan settles: all of them, drift alone,
	// or the deletion of all that is held.
	// +kubebuilder:validation:Enum=sync;heal;delete
	Scope string `json:"scope"`
	// Prune says whether what is no longer declared is deleted.
	// +optional
	Prune bool `json:"prune,omitempty"`
	// Revisions are the commits and versions that the plan was made from, by source.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Revisions []PlanRevision `json:"revisions,omitempty"`
	// Authors are the names, in lower case, under which those may be known to the
	// API server who have made the changes: they may not approve them where
	// approval.notAuthor is set.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=512
	Authors []string `json:"authors,omitempty"`
	// Desired identifies what is declared: manifests, inputs, values of secrets.
	// +kubebuilder:validation:MaxLength=128
	Desired string `json:"desired"`
	// Digest identifies the plan: all that is declared, each step with what is
	// before and after it, and who must approve. An approval is for a digest.
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest"`
	// Counts of the changes.
	Counts PlanCounts `json:"counts"`
	// Risk is what may be lost.
	// +optional
	Risk PlanRisk `json:"risk,omitempty,omitzero"`
	// Steps identify each step by its place and content. Only what is among them is
	// done.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20000
	// +kubebuilder:validation:items:MaxLength=32
	Steps []string `json:"steps,omitempty"`
	// Diff shows line by line what changes, with the values of secrets masked. It is
	// only the beginning where diffDigest is set.
	// +optional
	// +kubebuilder:validation:MaxLength=131072
	Diff string `json:"diff,omitempty"`
	// DiffDigest is the digest of the whole diff, where it is too large for this
	// object. `plumb diff` fetches it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	DiffDigest string `json:"diffDigest,omitempty"`
	// Approval is who must approve, as the policy was when the plan was made.
	Approval PlanApproval `json:"approval"`
}

// PlanApplication names the Application of a plan.
type PlanApplication struct {
	// Group is the API group of the Application.
	// +kubebuilder:validation:Enum="plumb.dev";"argoproj.io"
	Group string `json:"group"`
	// Name of the Application.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// UID of the Application: another one of its name is not meant.
	// +optional
	UID types.UID `json:"uid,omitempty"`
}

// PlanRevision is one commit or version that a plan was made from.
type PlanRevision struct {
	// RepoURL is the source's repository.
	// +kubebuilder:validation:MaxLength=2048
	RepoURL string `json:"repoURL"`
	// Revision is the commit, or the version of a chart.
	// +kubebuilder:validation:MaxLength=512
	Revision string `json:"revision"`
	// Author of the commit, and AuthorEmail.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Author string `json:"author,omitempty"`
	// AuthorEmail is the address of the author.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	AuthorEmail string `json:"authorEmail,omitempty"`
	// Subject is the first line of the commit's message.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Subject string `json:"subject,omitempty"`
	// Date of the commit.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Date string `json:"date,omitempty"`
	// Signature says who has signed the commit, where that was verified.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Signature string `json:"signature,omitempty"`
}

// PlanCounts counts the changes of a plan.
type PlanCounts struct {
	// Create is how many resources are created.
	Create int `json:"create"`
	// Update is how many resources are changed in place.
	Update int `json:"update"`
	// Replace is how many resources are deleted and created anew.
	Replace int `json:"replace"`
	// Delete is how many resources are deleted.
	Delete int `json:"delete"`
	// Forget is how many resources are no longer managed, and left as they are.
	// +optional
	Forget int `json:"forget,omitempty"`
	// Hooks is how many hooks run.
	// +optional
	Hooks int `json:"hooks,omitempty"`
}

// PlanRisk is what may be lost by a plan.
type PlanRisk struct {
	// Destroys is how many resources cease to be, and do not come back.
	// +optional
	Destroys int `json:"destroys,omitempty"`
	// Replaces is how many resources are deleted and created anew.
	// +optional
	Replaces int `json:"replaces,omitempty"`
	// Secrets is how many of the changed resources are Secrets.
	// +optional
	Secrets int `json:"secrets,omitempty"`
	// Irreversible is how many changes a revert of the commit does not undo.
	// +optional
	Irreversible int `json:"irreversible,omitempty"`
	// Addresses of the resources that are destroyed or replaced; of many, the first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=1024
	Addresses []string `json:"addresses,omitempty"`
}

// PlanApproval is who must approve a plan.
type PlanApproval struct {
	// Min is how many people must approve.
	Min int32 `json:"min"`
	// Approvers are who may. None: whoever may approve the Application.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Approvers []Approver `json:"approvers,omitempty"`
	// NotAuthor says that the approval of those does not count who have made the
	// changes.
	// +optional
	NotAuthor bool `json:"notAuthor,omitempty"`
	// ValidFor is how long an approval holds.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	ValidFor string `json:"validFor,omitempty"`
	// PullRequest says that the pull request by which a change has come may be taken
	// for its approval.
	// +optional
	PullRequest bool `json:"pullRequest,omitempty"`
}

// PlanPhase says what has become of a plan.
// +kubebuilder:validation:Enum=Pending;Approved;Rejected;Stale;Applying;Applied;Failed;Expired
type PlanPhase string

// The phases of plans.
const (
	// PlanPending waits for approvals.
	PlanPending PlanPhase = "Pending"
	// PlanApproved has all approvals, and is about to be applied.
	PlanApproved PlanPhase = "Approved"
	// PlanRejected was rejected by somebody.
	PlanRejected PlanPhase = "Rejected"
	// PlanStale was overtaken: what it would do is no longer what there is to do.
	PlanStale PlanPhase = "Stale"
	// PlanApplying is being applied.
	PlanApplying PlanPhase = "Applying"
	// PlanApplied was applied.
	PlanApplied PlanPhase = "Applied"
	// PlanFailed could not be applied. It is tried again while its approvals hold.
	PlanFailed PlanPhase = "Failed"
	// PlanExpired was approved, and not applied before the approvals expired.
	PlanExpired PlanPhase = "Expired"
)

// PlanStatus says what has become of a plan.
type PlanStatus struct {
	// Phase is Pending, Approved, Rejected, Stale, Applying, Applied, Failed or
	// Expired.
	// +optional
	Phase PlanPhase `json:"phase,omitempty"`
	// Message says more of it.
	// +optional
	Message string `json:"message,omitempty"`
	// Progress is how many of the approvals there are: 1/2.
	// +optional
	Progress string `json:"progress,omitempty"`
	// Approvals are those that count.
	// +optional
	// +listType=atomic
	Approvals []PlanApprovalRecord `json:"approvals,omitempty"`
	// PullRequests are those that were taken for the approval of the plan.
	// +optional
	// +listType=atomic
	PullRequests []PlanPullRequest `json:"pullRequests,omitempty"`
	// Conditions: Waiting, while the plan waits for people.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PlanPullRequest is a merged pull request that was taken for an approval. People
// are named as their host knows them.
type PlanPullRequest struct {
	// URL of the pull request.
	URL string `json:"url"`
	// Revision that has come by it.
	// +optional
	Revision string `json:"revision,omitempty"`
	// MergedBy is who has merged it, MergedAt when.
	// +optional
	MergedBy string `json:"mergedBy,omitempty"`
	// MergedAt is when it was merged.
	MergedAt metav1.Time `json:"mergedAt"`
	// ApprovedBy are those who have approved what was merged, and count.
	// +listType=atomic
	ApprovedBy []string `json:"approvedBy"`
}

// PlanApprovalRecord is what somebody has said of a plan.
type PlanApprovalRecord struct {
	// Name of the Approval, or the URL of the pull request.
	Name string `json:"name"`
	// Decision is Approve or Reject.
	Decision ApprovalDecision `json:"decision"`
	// User who has said so, as the API server knows them; of a pull request, as its
	// host does, followed by " at " and the host.
	User string `json:"user"`
	// Groups of the user.
	// +optional
	// +listType=atomic
	Groups []string `json:"groups,omitempty"`
	// At is when.
	At metav1.Time `json:"at"`
	// Reason that was given.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// Approval is what somebody says of a Plan. Whoever creates it says so in their own
// name: the API server sees to it that spec.user is who sent the request.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=approvals,singular=approval,categories=plumb
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.spec.plan`
// +kubebuilder:printcolumn:name="Decision",type=string,JSONPath=`.spec.decision`
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Approval struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// Spec is what is said. It never changes.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an approval never changes: delete it to withdraw it, and create another one"
	Spec ApprovalSpec `json:"spec"`
}

// ApprovalList is a list of Approvals.
//
// +kubebuilder:object:root=true
type ApprovalList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Approval `json:"items"`
}

// ApprovalDecision is what somebody says of a plan.
// +kubebuilder:validation:Enum=Approve;Reject
type ApprovalDecision string

// The decisions.
const (
	// DecisionApprove lets the plan be applied.
	DecisionApprove ApprovalDecision = "Approve"
	// DecisionReject keeps the plan from being applied.
	DecisionReject ApprovalDecision = "Reject"
)

// ApprovalSpec is what somebody says of a plan.
type ApprovalSpec struct {
	// Plan is the name of the Plan, in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Plan string `json:"plan"`
	// Digest of the Plan: what was looked at.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest"`
	// Application of the Plan.
	Application ApprovalApplication `json:"application"`
	// Decision is Approve or Reject.
	Decision ApprovalDecision `json:"decision"`
	// User who says so. It must be who creates the Approval.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	User string `json:"user"`
	// Groups of the user, as far as they matter: the user must be in all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:MaxLength=1024
	Groups []string `json:"groups,omitempty"`
	// Reason for people to read.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Reason string `json:"reason,omitempty"`
}

// ApprovalApplication names the Application of an approval.
type ApprovalApplication struct {
	// Group is the API group of the Application.
	// +kubebuilder:validation:Enum="plumb.dev";"argoproj.io"
	Group string `json:"group"`
	// Name of the Application.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
