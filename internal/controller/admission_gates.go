package controller

import (
	"bytes"
	"context"
	_ "embed"
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

// gatePolicies are the admission rules of who may override, freeze and pin.
//
//go:embed admission/gates.yaml
var gatePolicies []byte

// policyResources are where the kinds of admission rules are served.
var policyResources = map[string]schema.GroupVersionResource{
	"ValidatingAdmissionPolicy":        {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
	"ValidatingAdmissionPolicyBinding": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
}

// guard has the API server check who may override, freeze and pin, and tells
// whether it does.
func guard(ctx context.Context, client dynamic.Interface, log *slog.Logger) (bool, error) {
	err := applyPolicies(ctx, client, gatePolicies)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || apierrors.IsForbidden(err):
		log.Warn("the API server does not check who may override, freeze and pin: overrides are not honoured, and who may update projects may freeze and thaw them", "error", err)
		return false, nil
	}
	return false, err
}

// applyPolicies brings admission rules to the API server, or up to date.
func applyPolicies(ctx context.Context, client dynamic.Interface, text []byte) error {
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		policy := &unstructured.Unstructured{}
		if err := d.Decode(&policy.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an embedded admission policy: %w", err)
		}
		if len(policy.Object) == 0 {
			continue
		}
		if err := applyPolicy(ctx, client, policy); err != nil {
			return fmt.Errorf("install the %s %s: %w", policy.GetKind(), policy.GetName(), err)
		}
	}
}

func applyPolicy(ctx context.Context, client dynamic.Interface, policy *unstructured.Unstructured) error {
	resource, ok := policyResources[policy.GetKind()]
	if !ok {
		return errNoPolicy
	}
	text, err := json.Marshal(policy)
	if err != nil {
		return err
	}
	hash := digest(text)
	live, err := client.Resource(resource).Get(ctx, policy.GetName(), metav1.GetOptions{})
	if err == nil && live.GetAnnotations()[hashAnnotation] == hash {
		return nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	policy.SetAnnotations(map[string]string{hashAnnotation: hash})
	policy.SetLabels(map[string]string{v1alpha1.LabelPartOf: v1alpha1.LabelPartOfValue})
	if text, err = json.Marshal(policy); err != nil {
		return err
	}
	force := true
	_, err = client.Resource(resource).Patch(ctx, policy.GetName(), types.ApplyPatchType, text,
		metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	return err
}

var errNoPolicy = errors.New("it is no admission policy")
