package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// Installed says which API groups serve Applications, and how.
type Installed struct {
	// Argo is set where argoproj.io Applications are Plumb's to hold.
	Argo bool
	// ArgoForeign is set where somebody else, as a rule Argo CD, has defined
	// argoproj.io Applications.
	ArgoForeign bool
	// ArgoStatusSubresource tells whether argoproj.io Applications have a status
	// of their own to write to.
	ArgoStatusSubresource bool
	// Guarded is set where the API server checks who may override, freeze and pin.
	Guarded bool
	// Approvable is set where it checks who approves.
	Approvable bool
	// guards are the objects by which it does, defined is when approvals could be made
	// for the first time.
	guards  []*guard
	defined time.Time
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// establishedTimeout is how long new definitions may take until they are served.
const establishedTimeout = time.Minute

// Install brings the definitions of Applications, AppProjects, Plans and Approvals,
// the policies that guard them, the roles that people are given and the
// control-plane namespaces to the API server, or up to date. Definitions of
// argoproj.io that are not Plumb's stay as they are, and are used only if
// argoObjects is set.
func Install(ctx context.Context, config *rest.Config, argoObjects bool, log *slog.Logger) (Installed, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return Installed{}, fmt.Errorf("make a client for definitions: %w", err)
	}
	installed, err := survey(ctx, client, argoObjects)
	if err != nil {
		return Installed{}, err
	}
	names, namespaces := []string{}, []string{SystemNamespace}
	groups := []string{v1alpha1.Group}
	if !installed.ArgoForeign {
		groups, namespaces = append(groups, v1alpha1.ArgoGroup), append(namespaces, ArgoNamespace)
	} else if !installed.Argo {
		log.Info("argoproj.io Applications belong to another program and are left alone; --argocd-objects takes them over")
	}
	var guards []*guard
	if guards, installed.Approvable, err = guardApprovals(ctx, client, log, policiesFile); err != nil {
		return Installed{}, err
	}
	installed.guards = guards
	if guards, installed.Guarded, err = guardGates(ctx, client, log); err != nil {
		return Installed{}, err
	}
	installed.guards = append(installed.guards, guards...)
	for _, group := range groups {
		for _, definition := range v1alpha1.CRDs(group) {
			name, err := applyDefinition(ctx, client, definition)
			if err != nil {
				return Installed{}, err
			}
			names = append(names, name)
		}
	}
	if err := EnsureNamespaces(ctx, config, namespaces...); err != nil {
		return Installed{}, err
	}
	if err := awaitEstablished(ctx, client, names); err != nil {
		return Installed{}, err
	}
	if err := installLate(ctx, client, log, &installed); err != nil {
		return Installed{}, err
	}
	return installed, nil
}

// installLate installs what needs the definitions.
func installLate(ctx context.Context, client dynamic.Interface, log *slog.Logger, installed *Installed) (err error) {
	var guards []*guard
	if installed.Approvable {
		if guards, installed.Approvable, err = guardApprovals(ctx, client, log, policiesOfPlansFile); err != nil {
			return err
		}
		installed.guards = append(installed.guards, guards...)
	}
	if guards, err = guardProjects(ctx, client, log); err != nil {
		return err
	}
	installed.guards = append(installed.guards, guards...)
	if guards, err = installRoles(ctx, client, log); err != nil {
		return err
	}
	installed.guards = append(installed.guards, guards...)
	installed.defined, err = definedAt(ctx, client)
	return err
}

// Served finds out which API groups serve Applications, without changing
// anything. Those that another program has defined count.
func Served(ctx context.Context, client dynamic.Interface) (Installed, error) {
	return survey(ctx, client, true)
}

// survey finds out whose argoproj.io Applications are.
func survey(ctx context.Context, client dynamic.Interface, argoObjects bool) (Installed, error) {
	name := v1alpha1.ApplicationResource + "." + v1alpha1.ArgoGroup
	crd, err := client.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && crd.GetLabels()[v1alpha1.LabelPartOf] == v1alpha1.LabelPartOfValue {
		return Installed{Argo: true, ArgoStatusSubresource: true}, nil
	}
	if err != nil {
		return Installed{}, fmt.Errorf("look for the definition %s: %w", name, err)
	}
	found := Installed{Argo: argoObjects, ArgoForeign: true}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version["name"] == v1alpha1.Version {
			_, found.ArgoStatusSubresource, _ = unstructured.NestedMap(version, "subresources", "status")
		}
	}
	return found, nil
}

// hashAnnotation tells which text a definition was applied with, so that a
// restart with the same one sends nothing.
const hashAnnotation = v1alpha1.PlumbPrefix + "definition"

func applyDefinition(ctx context.Context, client dynamic.Interface, text []byte) (string, error) {
	crd := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, crd); err != nil {
		return "", fmt.Errorf("read an embedded definition: %w", err)
	}
	name, hash := crd.GetName(), digest(text)
	live, err := client.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil && live.GetAnnotations()[hashAnnotation] == hash:
		return name, nil
	case err != nil && !apierrors.IsNotFound(err):
		return "", fmt.Errorf("look for the definition %s: %w", name, err)
	}
	annotations := crd.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[hashAnnotation] = hash
	crd.SetAnnotations(annotations)
	body, err := json.Marshal(crd)
	if err != nil {
		return "", fmt.Errorf("encode the definition %s: %w", name, err)
	}
	force := true
	_, err = client.Resource(definitions).Patch(ctx, name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	if err != nil {
		return "", fmt.Errorf("install the definition %s: %w", name, err)
	}
	return name, nil
}

func awaitEstablished(ctx context.Context, client dynamic.Interface, names []string) error {
	for _, name := range names {
		var last error
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, establishedTimeout, true, func(ctx context.Context) (bool, error) {
			crd, err := client.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				last = err
				return false, nil //nolint:nilerr // it is asked again, and told when there is no more time
			}
			last = nil
			return established(crd), nil
		})
		if err != nil {
			if last != nil {
				err = last
			}
			return fmt.Errorf("wait until the definition %s is served: %w", name, err)
		}
	}
	return nil
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["type"] == "Established" && condition["status"] == "True" {
			return true
		}
	}
	return false
}

// EnsureNamespaces makes the namespaces that are not there.
func EnsureNamespaces(ctx context.Context, config *rest.Config, names ...string) error {
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client for namespaces: %w", err)
	}
	for _, name := range names {
		_, err := client.Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
			_, err = client.Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: fieldManager})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make the namespace %s: %w", name, err)
		}
	}
	return nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
