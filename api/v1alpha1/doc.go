// Package v1alpha1 holds the Kubernetes types of Plumb's API: Application and
// AppProject.
//
// One set of Go types serves two API groups. GroupVersion (plumb.dev/v1alpha1)
// is Plumb's own; ArgoGroupVersion (argoproj.io/v1alpha1) takes Argo CD's
// manifests as they are, because the JSON is a superset of Argo CD's, field for
// field. A caller always knows by its client which group it works with: after
// decoding a list, the TypeMeta of the items is empty, as everywhere in
// Kubernetes.
//
// `kubectl get applications` picks one of the two groups when both are served:
// kube-apiserver orders groups of equal priority by name, so it is argoproj.io.
// `kubectl get applications.plumb.dev` and the short names papp and pproj always
// mean Plumb's own group; app, apps, appproj and appprojs are Argo CD's.
//
// The package knows nothing of clients, clusters, Git or rendering: it imports
// apimachinery only, and its methods do no I/O.
//
// +kubebuilder:object:generate=true
// +groupName=plumb.dev
package v1alpha1

//go:generate go tool -modfile=../../tools/go.mod controller-gen object crd:crdVersions=v1 paths=. output:object:dir=. output:crd:artifacts:config=crds
//go:generate go -C ../../tools run ./crdfinish ../api/v1alpha1/crds
