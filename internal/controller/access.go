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
// without approvals.
const (
	policiesFile        = "access/1-policies.yaml"
	policiesOfPlansFile = "access/2-policies-of-plans.yaml"
	rolesFile           = "access/3-roles.yaml"
	gatesFile           = "access/4-gates.yaml"
)

var accessResources = map[string]schema.GroupVersionResource{
	"ValidatingAdmissionPolicy":        {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
	"ValidatingAdmissionPolicyBinding": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
	"ClusterRole":                      {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
}

// installAccess brings the objects of a file to the API server, or up to date.
func installAccess(ctx context.Context, client dynamic.Interface, file string) error {
	objects, err := accessObjects(file)
	if err != nil {
		return err
	}
	for _, object := range objects {
		err := applyAccess(ctx, client.Resource(accessResources[object.GetKind()]), object)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("install the %s %s: the API server serves no such kind: approvals need Kubernetes 1.30 or newer: %w", object.GetKind(), object.GetName(), err)
		}
		if err != nil {
			return fmt.Errorf("install the %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// installRoles is for people's comfort: where Plumb may not, others make them.
func installRoles(ctx context.Context, client dynamic.Interface, log *slog.Logger) error {
	err := installAccess(ctx, client, rolesFile)
	if apierrors.IsForbidden(err) {
		log.Warn("cannot install the roles plumb-viewer, plumb-editor, plumb-approver and plumb-admin", "error", err)
		return nil
	}
	return err
}

// guard has the API server check who may override, freeze, pin and do without
// approvals, and tells whether it does.
func guard(ctx context.Context, client dynamic.Interface, log *slog.Logger) (bool, error) {
	err := installAccess(ctx, client, gatesFile)
	switch {
	case err == nil:
		return true, nil
	case unguarded(err):
		log.Warn("the API server does not check who may override, freeze, pin and do without approvals: overrides are not honoured, "+
			"who may update projects may freeze and thaw them, and who may update Applications may take their approval policies away", "error", err)
		return false, nil
	}
	return false, err
}

// guardApprovals has the API server check who approves, and tells whether it does.
// Where it does not, approvals could be forged: then nobody is asked for any, and
// what needs one is not done.
func guardApprovals(ctx context.Context, client dynamic.Interface, log *slog.Logger, file string) (bool, error) {
	err := installAccess(ctx, client, file)
	if unguarded(err) {
		log.Warn("the API server does not check who approves: what needs approval is not applied", "error", err)
		return false, nil
	}
	return err == nil, err
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

// applyAccess brings an object to what it should be at every start, also where it
// was so before: somebody may have weakened it since. A policy is replaced as a
// whole, because an exception that somebody has added weakens it, too; what people
// add to a role is theirs. Where Plumb may not, and somebody else has installed the
// very same, that is enough.
func applyAccess(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	hash := digest(text)
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelPartOf] = v1alpha1.LabelPartOfValue
	object.SetLabels(labels)
	object.SetAnnotations(map[string]string{hashAnnotation: hash})
	live, lookErr := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if lookErr == nil && object.GetKind() != "ClusterRole" {
		object.SetResourceVersion(live.GetResourceVersion())
		_, err = client.Update(ctx, object, metav1.UpdateOptions{FieldManager: fieldManager})
	} else {
		err = forceApply(ctx, client, object)
	}
	if apierrors.IsForbidden(err) && lookErr == nil && live.GetAnnotations()[hashAnnotation] == hash {
		return nil
	}
	return err
}

func forceApply(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := true
	_, err = client.Patch(ctx, object.GetName(), types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	return err
}
