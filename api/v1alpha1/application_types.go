package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Application is desired state in Git, a destination, and the policy that holds
// one to the other.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=applications,singular=application,shortName=papp;papps,categories=plumb
// +kubebuilder:printcolumn:name="Sync Status",type=string,JSONPath=`.status.sync.status`
// +kubebuilder:printcolumn:name="Health Status",type=string,JSONPath=`.status.health.status`
// +kubebuilder:printcolumn:name="Revision",type=string,priority=1,JSONPath=`.status.sync.revision`
// +kubebuilder:printcolumn:name="Project",type=string,priority=1,JSONPath=`.spec.project`
// +kubebuilder:printcolumn:name="Operation",type=string,priority=1,JSONPath=`.status.operationState.phase`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.dependsOn) || self.spec.dependsOn.all(d, d.name != self.metadata.name || has(d.group) || has(d.__namespace__))",message="an Application cannot depend on itself: remove its own name from spec.dependsOn",fieldPath=".spec.dependsOn"
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// Spec says what is desired, where, and how it is held there.
	Spec ApplicationSpec `json:"spec"`
	// Status is what Plumb observed last. It is written by Plumb alone, and so it
	// is one field to server-side apply: to track who owns each of its leaves
	// would cost the API server more than all the rest of a write.
	// +optional
	// +structType=atomic
	Status ApplicationStatus `json:"status,omitempty,omitzero"`
	// Operation asks for one sync, now. Plumb removes it when it begins and
	// reports in status.operationState.
	// +optional
	Operation *Operation `json:"operation,omitempty"`
}

// ApplicationList is a list of Applications.
//
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Application `json:"items"`
}

// ApplicationSpec is the desired state of an Application: sources, destination
// and policy.
//
// When several kinds of source are given, sourceHydrator goes before sources and
// sources before source, as in Argo CD.
//
// +kubebuilder:validation:XValidation:rule="has(self.source) || (has(self.sources) && size(self.sources) > 0) || has(self.sourceHydrator)",message="a source is missing: set spec.source, spec.sources or spec.sourceHydrator"
// +kubebuilder:validation:XValidation:rule="!has(self.destination) || !has(self.destination.server) || !has(self.destination.name) || size(self.destination.server) == 0 || size(self.destination.name) == 0",message="a destination has a server or a name, not both: remove one of them",fieldPath=".destination"
type ApplicationSpec struct {
	// Source is where the desired state comes from.
	// +optional
	Source *ApplicationSource `json:"source,omitempty"`
	// Sources are several places that the desired state comes from. A source with
	// a ref can be named by the Helm value files of the others. When set, source
	// is ignored.
	// +optional
	Sources ApplicationSources `json:"sources,omitempty"`
	// SourceHydrator renders one branch and keeps the result in another, which is
	// then applied. When set, source and sources are ignored.
	// +optional
	SourceHydrator *SourceHydrator `json:"sourceHydrator,omitempty"`

	// Destination is the cluster and namespace to apply to. Without it, that is
	// the cluster and the namespace of the Application itself.
	// +optional
	Destination ApplicationDestination `json:"destination,omitempty,omitzero"`
	// Project is the name of the AppProject that fences this Application in.
	// Default: "default".
	// +optional
	Project string `json:"project,omitempty"`

	// SyncPolicy says when and how the destination is made to match the sources.
	// Without it, differences are shown and a sync has to be asked for.
	// +optional
	SyncPolicy *SyncPolicy `json:"syncPolicy,omitempty"`
	// IgnoreDifferences are parts of resources that may differ from what is
	// declared.
	// +optional
	IgnoreDifferences IgnoreDifferences `json:"ignoreDifferences,omitempty"`
	// Info is what a reader of this Application may want to know: links, contacts.
	// +optional
	Info []Info `json:"info,omitempty"`
	// RevisionHistoryLimit is how many past syncs status.history keeps.
	// Default: 10. Zero keeps none.
	// +optional
	RevisionHistoryLimit *int64 `json:"revisionHistoryLimit,omitempty"`

	// DependsOn are Applications that must be synced and healthy before this one
	// is applied, and that are deleted only after it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	DependsOn []ApplicationRef `json:"dependsOn,omitempty"`
	// Inputs are values taken from the outputs of other Applications.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Inputs []Input `json:"inputs,omitempty"`
}

// ApplicationDestination names a cluster and a namespace.
type ApplicationDestination struct {
	// Server is the URL of the cluster's API server, as registered.
	// https://kubernetes.default.svc is the cluster that the Application lives in.
	// +optional
	Server string `json:"server,omitempty"`
	// Name is the registered name of the cluster, instead of its server.
	// "in-cluster" is the cluster that the Application lives in.
	// +optional
	Name string `json:"name,omitempty"`
	// Namespace is where namespaced resources go that name no namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// IgnoreDifferences is a list of parts of resources that may differ.
type IgnoreDifferences []ResourceIgnoreDifferences

// ResourceIgnoreDifferences selects resources and, within them, the fields that
// may differ from what is declared.
type ResourceIgnoreDifferences struct {
	// Group is the API group of the resources; "*" is any.
	// +optional
	Group string `json:"group,omitempty"`
	// Kind is the kind of the resources; "*" is any.
	Kind string `json:"kind"`
	// Name is the name of the resource. Empty is any.
	// +optional
	Name string `json:"name,omitempty"`
	// Namespace is the namespace of the resource. Empty is any.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// JSONPointers are fields by RFC 6901 pointer, such as /spec/replicas.
	// +optional
	JSONPointers []string `json:"jsonPointers,omitempty"`
	// JQPathExpressions are fields by jq path, such as
	// .spec.template.spec.containers[].resources.
	// +optional
	JQPathExpressions []string `json:"jqPathExpressions,omitempty"`
	// ManagedFieldsManagers are field managers whose fields may differ.
	// +optional
	ManagedFieldsManagers []string `json:"managedFieldsManagers,omitempty"`
}

// Info is one named piece of information. A value that is a URL is shown as a
// link.
type Info struct {
	// Name of the information.
	Name string `json:"name"`
	// Value of the information.
	Value string `json:"value"`
}
