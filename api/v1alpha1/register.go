package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

const (
	// Group is Plumb's own API group.
	Group = "plumb.dev"
	// ArgoGroup is the API group of Argo CD, under which the same kinds are served.
	ArgoGroup = "argoproj.io"
	// Version is the one version of both groups.
	Version = "v1alpha1"

	// ApplicationKind is the kind of an Application in both groups.
	ApplicationKind = "Application"
	// AppProjectKind is the kind of an AppProject in both groups.
	AppProjectKind = "AppProject"
	// ApplicationResource is the plural name of Application in URLs and RBAC rules.
	ApplicationResource = "applications"
	// AppProjectResource is the plural name of AppProject in URLs and RBAC rules.
	AppProjectResource = "appprojects"

	// PlanKind and ApprovalKind are kinds of Plumb's own group alone, PlanResource
	// and ApprovalResource their plural names.
	PlanKind         = "Plan"
	PlanResource     = "plans"
	ApprovalKind     = "Approval"
	ApprovalResource = "approvals"
)

var (
	// GroupVersion is Plumb's own group and version.
	GroupVersion = schema.GroupVersion{Group: Group, Version: Version}
	// ArgoGroupVersion is Argo CD's group and version.
	ArgoGroupVersion = schema.GroupVersion{Group: ArgoGroup, Version: Version}
)

// AddToScheme registers the types as plumb.dev/v1alpha1.
func AddToScheme(s *runtime.Scheme) error { return addTo(s, GroupVersion) }

// AddArgoToScheme registers the same types as argoproj.io/v1alpha1.
//
// A scheme that holds both groups cannot say which of them a Go value belongs
// to. Clients therefore use one scheme for each group: see NewScheme.
func AddArgoToScheme(s *runtime.Scheme) error { return addTo(s, ArgoGroupVersion) }

// NewScheme returns a scheme that holds the types under gv alone, which is
// GroupVersion or ArgoGroupVersion. Typed clients are built with it.
func NewScheme(gv schema.GroupVersion) *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(addTo(s, gv)) // cannot fail: the scheme is empty
	return s
}

func addTo(s *runtime.Scheme, gv schema.GroupVersion) error {
	s.AddKnownTypes(gv, &Application{}, &ApplicationList{}, &AppProject{}, &AppProjectList{})
	if gv.Group == Group {
		s.AddKnownTypes(gv, &Plan{}, &PlanList{}, &Approval{}, &ApprovalList{})
	}
	metav1.AddToGroupVersion(s, gv)
	return nil
}
