package assess

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

func deploymentHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var d struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Paused   bool   `json:"paused"`
			Replicas *int32 `json:"replicas"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64       `json:"observedGeneration"`
			Replicas           int32       `json:"replicas"`
			Updated            int32       `json:"updatedReplicas"`
			Available          int32       `json:"availableReplicas"`
			Conditions         []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := read(obj, "Deployment", &d, "apps/v1"); err != nil {
		return health.Health{}, err
	}
	st, wanted := d.Status, d.Spec.Replicas
	moving := find(st.Conditions, "Progressing")
	switch {
	case d.Spec.Paused:
		return is(health.Suspended, "Deployment is paused")
	case d.Metadata.Generation > st.ObservedGeneration:
		return progressing("Waiting for rollout to finish: observed deployment generation less than desired generation")
	case moving != nil && moving.Reason == "ProgressDeadlineExceeded":
		h, err := progressing("Deployment %q exceeded its progress deadline", d.Metadata.Name)
		h.Status = health.Degraded
		return h, err
	case wanted != nil && st.Updated < *wanted:
		return progressing("Waiting for rollout to finish: %d out of %d new replicas have been updated...", st.Updated, *wanted)
	case st.Replicas > st.Updated:
		return progressing("Waiting for rollout to finish: %d old replicas are pending termination...", st.Replicas-st.Updated)
	case st.Available < st.Updated:
		return progressing("Waiting for rollout to finish: %d of %d updated replicas are available...", st.Available, st.Updated)
	}
	return healthy("")
}

func replicaSetHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var r struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Replicas *int32 `json:"replicas"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64       `json:"observedGeneration"`
			Available          int32       `json:"availableReplicas"`
			Conditions         []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := read(obj, "ReplicaSet", &r, "apps/v1"); err != nil {
		return health.Health{}, err
	}
	st, wanted := r.Status, r.Spec.Replicas
	failure := find(st.Conditions, "ReplicaFailure")
	switch {
	case r.Metadata.Generation > st.ObservedGeneration:
		return progressing("Waiting for rollout to finish: observed replica set generation less than desired generation")
	case failure != nil && failure.Status == "True":
		return is(health.Degraded, failure.Message)
	case wanted != nil && st.Available < *wanted:
		return progressing("Waiting for rollout to finish: %d out of %d new replicas are available...", st.Available, *wanted)
	}
	return healthy("")
}

func statefulSetHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var s struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Replicas *int32 `json:"replicas"`
			Strategy struct {
				Type          string `json:"type"`
				RollingUpdate *struct {
					Partition *int32 `json:"partition"`
				} `json:"rollingUpdate"`
			} `json:"updateStrategy"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64  `json:"observedGeneration"`
			Ready              int32  `json:"readyReplicas"`
			Current            int32  `json:"currentReplicas"`
			Updated            int32  `json:"updatedReplicas"`
			CurrentRevision    string `json:"currentRevision"`
			UpdateRevision     string `json:"updateRevision"`
		} `json:"status"`
	}
	if err := read(obj, "StatefulSet", &s, "apps/v1"); err != nil {
		return health.Health{}, err
	}
	st, wanted, rolling := s.Status, s.Spec.Replicas, s.Spec.Strategy.RollingUpdate
	switch {
	case st.ObservedGeneration == 0 || s.Metadata.Generation > st.ObservedGeneration:
		return progressing("Waiting for statefulset spec update to be observed...")
	case wanted != nil && st.Ready < *wanted:
		return progressing("Waiting for %d pods to be ready...", *wanted-st.Ready)
	case s.Spec.Strategy.Type == "RollingUpdate" && rolling != nil:
		if wanted != nil && rolling.Partition != nil && st.Updated < *wanted-*rolling.Partition {
			return progressing("Waiting for partitioned roll out to finish: %d out of %d new pods have been updated...",
				st.Updated, *wanted-*rolling.Partition)
		}
		return healthy("partitioned roll out complete: %d new pods have been updated...", st.Updated)
	case s.Spec.Strategy.Type == "OnDelete":
		return healthy("statefulset has %d ready pods", st.Ready)
	case st.UpdateRevision != st.CurrentRevision:
		return progressing("waiting for statefulset rolling update to complete %d pods at revision %s...", st.Updated, st.UpdateRevision)
	}
	return healthy("statefulset rolling update complete %d pods at revision %s...", st.Current, st.CurrentRevision)
}

func daemonSetHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var d struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Strategy struct {
				Type string `json:"type"`
			} `json:"updateStrategy"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64 `json:"observedGeneration"`
			Desired            int32 `json:"desiredNumberScheduled"`
			Updated            int32 `json:"updatedNumberScheduled"`
			Available          int32 `json:"numberAvailable"`
		} `json:"status"`
	}
	if err := read(obj, "DaemonSet", &d, "apps/v1"); err != nil {
		return health.Health{}, err
	}
	st := d.Status
	switch {
	case d.Metadata.Generation > st.ObservedGeneration:
		return progressing("Waiting for rollout to finish: observed daemon set generation less than desired generation")
	case d.Spec.Strategy.Type == "OnDelete":
		return healthy("daemon set %d out of %d new pods have been updated", st.Updated, st.Desired)
	case st.Updated < st.Desired:
		return progressing("Waiting for daemon set %q rollout to finish: %d out of %d new pods have been updated...",
			d.Metadata.Name, st.Updated, st.Desired)
	case st.Available < st.Desired:
		return progressing("Waiting for daemon set %q rollout to finish: %d of %d updated pods are available...",
			d.Metadata.Name, st.Available, st.Desired)
	}
	return healthy("")
}

func jobHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var j struct {
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := read(obj, "Job", &j, "batch/v1"); err != nil {
		return health.Health{}, err
	}
	var ended, failed, suspended bool
	var message, failure string
	for _, c := range j.Status.Conditions {
		switch c.Type {
		case "Failed":
			ended, failed, failure = true, true, c.Message
		case "Complete":
			ended, message = true, c.Message
		case "Suspended":
			ended, message = true, c.Message
			suspended = suspended || c.Status == "True"
		}
	}
	switch {
	case !ended:
		return is(health.Progressing, message)
	case failed:
		return is(health.Degraded, failure)
	case suspended:
		return is(health.Suspended, message)
	}
	return is(health.Healthy, message)
}
