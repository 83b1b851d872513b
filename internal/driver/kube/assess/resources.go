package assess

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

// loadBalancerReady looks at the part of a Service's or Ingress' status that is filled
// once it can be reached from outside.
func loadBalancerReady(obj *unstructured.Unstructured) bool {
	list, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "status", "loadBalancer", "ingress")
	ingress, _ := list.([]any)
	return len(ingress) > 0
}

func serviceHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var s struct {
		Spec struct {
			Type string `json:"type"`
		} `json:"spec"`
	}
	if err := read(obj, "Service", &s, "v1"); err != nil {
		return health.Health{}, err
	}
	if s.Spec.Type == "LoadBalancer" && !loadBalancerReady(obj) {
		return is(health.Progressing, "")
	}
	return is(health.Healthy, "")
}

func ingressHealth(obj *unstructured.Unstructured) (health.Health, error) {
	if !loadBalancerReady(obj) {
		return is(health.Progressing, "")
	}
	return is(health.Healthy, "")
}

func claimHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var c struct {
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
	}
	if err := read(obj, "PersistentVolumeClaim", &c, "v1"); err != nil {
		return health.Health{}, err
	}
	switch c.Status.Phase {
	case "Bound":
		return is(health.Healthy, "")
	case "Pending":
		return is(health.Progressing, "")
	case "Lost":
		return is(health.Degraded, "")
	}
	return is(health.Unknown, "")
}

// v1Conditions is where the first version of the autoscaler keeps its
// conditions.
const v1Conditions = "autoscaling.alpha.kubernetes.io/conditions"

func autoscalerHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var a struct {
		Metadata meta `json:"metadata"`
		Status   struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := read(obj, "HPA", &a, "autoscaling/v1", "autoscaling/v2"); err != nil {
		return health.Health{}, err
	}
	conditions := a.Status.Conditions
	if obj.GetAPIVersion() == "autoscaling/v1" {
		conditions = nil
		if text, ok := a.Metadata.Annotations[v1Conditions]; ok {
			if err := json.Unmarshal([]byte(text), &conditions); err != nil {
				return health.Health{}, fmt.Errorf("failed to convert conditions annotation to typed: %w", err)
			}
		}
	}
	for _, c := range conditions {
		if cannotScale(c) {
			return is(health.Degraded, c.Message)
		}
	}
	for _, c := range conditions {
		if (c.Type == "AbleToScale" || c.Type == "ScalingLimited") && c.Status == "True" {
			return is(health.Healthy, c.Message)
		}
	}
	return is(health.Progressing, "Waiting to Autoscale")
}

func cannotScale(c condition) bool {
	switch c.Type {
	case "AbleToScale":
		return c.Reason == "FailedGetScale" || c.Reason == "FailedUpdateScale"
	case "ScalingActive":
		switch c.Reason {
		case "FailedGetResourceMetric", "FailedGetObjectMetric", "FailedGetPodsMetric",
			"FailedGetExternalMetric", "FailedComputeMetricsReplicas", "InvalidSelector":
			return true
		}
	}
	return false
}

func apiServiceHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var s struct {
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := read(obj, "APIService", &s, "apiregistration.k8s.io/v1", "apiregistration.k8s.io/v1beta1"); err != nil {
		return health.Health{}, err
	}
	available := find(s.Status.Conditions, "Available")
	switch {
	case available == nil:
		return progressing("Waiting to be processed")
	case available.Status == "True":
		return healthy("%s: %s", available.Reason, available.Message)
	}
	return progressing("%s: %s", available.Reason, available.Message)
}

func workflowHealth(obj *unstructured.Unstructured) (health.Health, error) {
	phase, _, _ := unstructured.NestedString(obj.Object, "status", "phase")
	message, _, _ := unstructured.NestedString(obj.Object, "status", "message")
	switch phase {
	case "", "Pending", "Running":
		return is(health.Progressing, message)
	case "Succeeded":
		return is(health.Healthy, message)
	case "Failed", "Error":
		return is(health.Degraded, message)
	}
	return is(health.Unknown, message)
}
