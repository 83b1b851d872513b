package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
)

// project is an AppProject as it was read.
type project struct {
	v1alpha1.AppProject
	key engine.Key
}

func newProject(u *unstructured.Unstructured) (project, error) {
	p := project{key: engine.Key{Group: u.GroupVersionKind().Group, Namespace: u.GetNamespace(), Name: u.GetName()}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p.AppProject); err != nil {
		return project{}, fmt.Errorf("read AppProject %s: %w", p.key, err)
	}
	return p, nil
}

// projects is the client for the AppProjects of a namespace.
func (k *connection) projects(group, namespace string) dynamic.ResourceInterface {
	return k.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: v1alpha1.Version, Resource: v1alpha1.AppProjectResource}).Namespace(namespace)
}

// controlNamespace is where the control plane keeps the AppProjects of a group.
func controlNamespace(group string) string {
	if group == v1alpha1.ArgoGroup {
		return controller.ArgoNamespace
	}
	return controller.SystemNamespace
}

// projectsNamed gives the AppProjects that may be meant by NAME, NAMESPACE/NAME
// or GROUP/NAMESPACE/NAME.
func (k *connection) projectsNamed(ctx context.Context, name string) ([]project, error) {
	if err := k.open(); err != nil {
		return nil, err
	}
	want, err := parseName(name)
	if err != nil {
		return nil, err
	}
	var found []project
	for _, gv := range groups {
		if want.Group != "" && want.Group != gv.Group {
			continue
		}
		namespace := cmp.Or(want.Namespace, controlNamespace(gv.Group))
		u, err := k.projects(gv.Group, namespace).Get(ctx, want.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return nil, k.explain(err)
		}
		p, err := newProject(u)
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

// oneProject gives the AppProject that is meant by a name.
func (k *connection) oneProject(ctx context.Context, name string) (project, error) {
	found, err := k.projectsNamed(ctx, name)
	if err != nil {
		return project{}, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return project{}, noProject(name)
	}
	var names []string
	for _, p := range found {
		names = append(names, p.key.Group+"/"+p.key.Namespace+"/"+p.key.Name)
	}
	return project{}, fmt.Errorf("there are %d projects called %q: say which one: %s", len(found), name, strings.Join(names, ", "))
}

func noProject(name string) error {
	return fmt.Errorf("there is no project %q: `kubectl get appprojects -A` lists them (one that is in another namespace than the control plane's is NAMESPACE/NAME)", name)
}

// projectOf gives an Application's project, or nil where there is none or where it
// may not be read.
func (k *connection) projectOf(ctx context.Context, a application) *project {
	namespaces := []string{controlNamespace(a.key.Group)}
	if a.key.Group == v1alpha1.Group && !slices.Contains(namespaces, a.key.Namespace) {
		namespaces = append(namespaces, a.key.Namespace)
	}
	for _, ns := range namespaces {
		u, err := k.projects(a.key.Group, ns).Get(ctx, a.project(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil
		}
		p, err := newProject(u)
		if err != nil {
			return nil
		}
		return &p
	}
	return nil
}
