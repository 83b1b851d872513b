package assess

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/internal/health"
)

// rule assesses objects of one built-in kind.
type rule func(obj *unstructured.Unstructured) (health.Health, error)

// ruleFor gives the rule for a built-in kind, or nil. The kinds and what is said
// of them are Argo CD's.
func ruleFor(group, kind string) rule {
	switch key(group, kind) {
	case "apps/Deployment":
		return deploymentHealth
	case "apps/StatefulSet":
		return statefulSetHealth
	case "apps/ReplicaSet":
		return replicaSetHealth
	case "apps/DaemonSet":
		return daemonSetHealth
	case "Pod":
		return podHealth
	case "batch/Job":
		return jobHealth
	case "Service":
		return serviceHealth
	case "networking.k8s.io/Ingress", "extensions/Ingress":
		return ingressHealth
	case "PersistentVolumeClaim":
		return claimHealth
	case "autoscaling/HorizontalPodAutoscaler":
		return autoscalerHealth
	case "apiregistration.k8s.io/APIService":
		return apiServiceHealth
	case "argoproj.io/Workflow":
		return workflowHealth
	}
	return nil
}

// meta is what the rules read of an object's metadata.
type meta struct {
	Name        string            `json:"name"`
	Generation  int64             `json:"generation"`
	Annotations map[string]string `json:"annotations"`
}

// condition is a Kubernetes condition.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// find gives the first condition of a type, or nil.
func find(conditions []condition, kind string) *condition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}

// read fills the part of an object that a rule looks at. name is what Argo CD
// calls the kind in its messages.
func read(obj *unstructured.Unstructured, name string, into any, versions ...string) error {
	if !slices.Contains(versions, obj.GetAPIVersion()) {
		return fmt.Errorf("unsupported %s GVK: %s", name, obj.GroupVersionKind())
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, into); err != nil {
		return fmt.Errorf("failed to convert unstructured %s to typed: %w", name, err)
	}
	return nil
}

func healthy(format string, args ...any) (health.Health, error) {
	return health.Health{Status: health.Healthy, Message: fmt.Sprintf(format, args...)}, nil
}

func progressing(format string, args ...any) (health.Health, error) {
	return health.Health{Status: health.Progressing, Message: fmt.Sprintf(format, args...)}, nil
}

func is(s health.Status, message string) (health.Health, error) {
	return health.Health{Status: s, Message: message}, nil
}
