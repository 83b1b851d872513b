package controller

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
// what they guard leave no gap.
const (
	policiesFile        = "access/1-policies.yaml"
	policiesOfPlansFile = "access/2-policies-of-plans.yaml"
	rolesFile           = "access/3-roles.yaml"
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

func accessObjects(file string) ([]*unstructured.Unstructured, error) {
	text, err := access.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, part := range bytes.Split(text, []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(part, &object.Object); err != nil {
			return nil, fmt.Errorf("read the embedded %s: %w", file, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func applyAccess(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	hash := digest(text)
	live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err == nil && live.GetAnnotations()[hashAnnotation] == hash {
		return nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelPartOf] = v1alpha1.LabelPartOfValue
	object.SetLabels(labels)
	object.SetAnnotations(map[string]string{hashAnnotation: hash})
	if text, err = json.Marshal(object); err != nil {
		return err
	}
	force := true
	_, err = client.Patch(ctx, object.GetName(), types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	return err
}
