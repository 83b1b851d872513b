package controller

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// access holds what has the API server itself see to it who may say what, and the
// roles that people are given.
//
//go:embed access/*.yaml
var access embed.FS

// The files of access, by when they are installed: policies that are there before
// what they guard leave no gap. gatesFile has who may override, freeze, pin and do
// without approvals, projectsFile who may take Applications out of projects.
const (
	policiesFile        = "access/1-policies.yaml"
	policiesOfPlansFile = "access/2-policies-of-plans.yaml"
	rolesFile           = "access/3-roles.yaml"
	gatesFile           = "access/4-gates.yaml"
	projectsFile        = "access/5-projects.yaml"
)

var accessResources = map[string]schema.GroupVersionResource{
	kindPolicy:      {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
	kindBinding:     {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
	kindClusterRole: {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
}

// installAccess brings the objects of a file to the API server, or up to date.
func installAccess(ctx context.Context, client dynamic.Interface, file string) ([]*guard, error) {
	objects, err := accessObjects(file)
	if err != nil {
		return nil, err
	}
	var all []*guard
	for _, object := range objects {
		live, err := applyAccess(ctx, client.Resource(accessResources[object.GetKind()]), object)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("install the %s %s: the API server serves no such kind: approvals need Kubernetes 1.30 or newer: %w", object.GetKind(), object.GetName(), err)
		}
		if err != nil {
			return nil, fmt.Errorf("install the %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		all = append(all, guardOf(file, live))
	}
	return all, nil
}

// installRoles is for people's comfort: where Plumb may not, others make them.
func installRoles(ctx context.Context, client dynamic.Interface, log *slog.Logger) ([]*guard, error) {
	roles, err := installAccess(ctx, client, rolesFile)
	if apierrors.IsForbidden(err) {
		log.Warn("cannot install the roles plumb-viewer, plumb-editor, plumb-approver, plumb-admin and plumb-auditor", "error", err)
		return nil, nil
	}
	return roles, err
}

// guardGates has the API server check who may override, freeze, pin and do without
// approvals, and tells whether it does.
func guardGates(ctx context.Context, client dynamic.Interface, log *slog.Logger) ([]*guard, bool, error) {
	gates, err := installAccess(ctx, client, gatesFile)
	switch {
	case err == nil:
		return gates, true, nil
	case unguarded(err):
		log.Warn("the API server does not check who may override, freeze, pin and do without approvals: overrides are not honoured, "+
			"who may update projects may freeze and thaw them, and who may update Applications may take their approval policies away", "error", err)
		return nil, false, nil
	}
	return nil, false, err
}

// guardProjects has the API server check who takes Applications out of projects that
// ask for approvals.
func guardProjects(ctx context.Context, client dynamic.Interface, log *slog.Logger) ([]*guard, error) {
	guards, err := installAccess(ctx, client, projectsFile)
	if unguarded(err) {
		log.Warn("the API server does not check who takes Applications out of projects that ask for approvals: who may update Applications may", "error", err)
		return nil, nil
	}
	return guards, err
}

// guardApprovals has the API server check who approves, and tells whether it does.
// Where it does not, approvals could be forged: then nobody is asked for any, and
// what needs one is not done.
func guardApprovals(ctx context.Context, client dynamic.Interface, log *slog.Logger, file string) ([]*guard, bool, error) {
	guards, err := installAccess(ctx, client, file)
	if unguarded(err) {
		log.Warn("the API server does not check who approves: what needs approval is not applied", "error", err)
		return nil, false, nil
	}
	return guards, err == nil, err
}

// unguarded tells whether an API server has no admission policies, or lets Plumb
// install none.
func unguarded(err error) bool {
	return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || apierrors.IsForbidden(err)
}

func accessObjects(file string) ([]*unstructured.Unstructured, error) {
	text, err := access.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		err := d.Decode(&object.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("read the embedded %s: %w", file, err)
		case len(object.Object) > 0:
			objects = append(objects, object)
		}
		if _, known := accessResources[object.GetKind()]; len(object.Object) > 0 && !known {
			return nil, fmt.Errorf("read the embedded %s: the kind %q is none of those that guard", file, object.GetKind())
		}
	}
}

// applyAccess brings an object to what it should be, also where it was so before:
// somebody may have weakened it since. A policy is replaced as a whole, because an
// exception that somebody has added weakens it, too. A role is left alone where
// somebody has said so in Kubernetes' own way (autoupdate). Where Plumb may not, and
// somebody else has installed the very same, that is enough.
func applyAccess(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	spec := object.Object["spec"]
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelPartOf] = v1alpha1.LabelPartOfValue
	object.SetLabels(labels)
	object.SetAnnotations(map[string]string{hashAnnotation: digest(text)})
	live, lookErr := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	var made *unstructured.Unstructured
	switch {
	case lookErr == nil && object.GetKind() == kindClusterRole && live.GetAnnotations()[autoupdate] == "false":
		return live, nil
	case lookErr == nil && object.GetKind() != kindClusterRole:
		object.SetResourceVersion(live.GetResourceVersion())
		made, err = client.Update(ctx, object, metav1.UpdateOptions{FieldManager: fieldManager})
	default:
		made, err = forceApply(ctx, client, object)
	}
	if apierrors.IsForbidden(err) && lookErr == nil && object.GetKind() != kindClusterRole && saysTheSame(live.Object["spec"], spec) {
		return live, nil
	}
	return made, err
}

// accessDefaults are what the API server adds to a policy that does not say it.
var accessDefaults = map[string]any{
	"failurePolicy": "Fail", "matchPolicy": "Equivalent", "scope": "*",
	"namespaceSelector": map[string]any{}, "objectSelector": map[string]any{},
}

// saysTheSame tells whether a live spec says what it should, and nothing else but
// what the API server has added.
func saysTheSame(live, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range l {
			expected, said := w[key]
			if !said {
				expected = accessDefaults[key]
			}
			if expected == nil || !saysTheSame(value, expected) {
				return false
			}
		}
		for key := range w {
			if _, there := l[key]; !there {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		return ok && len(l) == len(w) && sameItems(l, w)
	default:
		return equality.Semantic.DeepEqual(live, want)
	}
}

func sameItems(live, want []any) bool {
	for i := range want {
		if !saysTheSame(live[i], want[i]) {
			return false
		}
	}
	return true
}

func forceApply(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	force := true
	return client.Patch(ctx, object.GetName(), types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
}
