package engine

import (
	"encoding/json"
	"fmt"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// statusBytes is what a status may have: etcd takes 1.5 MiB for an object, and
	// the Application has a spec as well.
	statusBytes = 1200 << 10
	// fewResources never make a status too large.
	fewResources = 1000
	// keptResults and keptResources are how many results of failed resources, and
	// how many resources that are not as they should be, are kept then.
	keptResults   = 200
	keptResources = 200
)

// fit leaves out of a status that is too large for the API server what can be
// had elsewhere: the results of resources that went well, then the resources
// that are Synced and Healthy, and all but some of the others. The inventory and
// hooks stay whole. before are the
// conditions as they were.
func fit(s *v1alpha1.ApplicationStatus, before []v1alpha1.ApplicationCondition, now metav1.Time) {
	if len(s.Resources) < fewResources && len(s.Inventory) < fewResources {
		return
	}
	if !tooLarge(s) {
		return
	}
	if op := s.OperationState; op != nil && op.SyncResult != nil {
		short, result := *op, *op.SyncResult
		result.Resources = nil
		for _, r := range op.SyncResult.Resources {
			if (r.Status != v1alpha1.ResultCodeSynced && r.Status != v1alpha1.ResultCodePruned || r.HookType != "") && len(result.Resources) < keptResults {
				result.Resources = append(result.Resources, r)
			}
		}
		short.SyncResult, s.OperationState = &result, &short
	}
	left := 0
	if tooLarge(s) {
		all := s.Resources
		s.Resources = nil
		for _, r := range all {
			wrong := r.Status != v1alpha1.SyncStatusCodeSynced || r.Health != nil && r.Health.Status != v1alpha1.HealthStatusHealthy
			if r.Hook || wrong && len(s.Resources) < keptResources {
				s.Resources = append(s.Resources, r)
			}
		}
		left = len(all) - len(s.Resources)
	}
	if left == 0 {
		return
	}
	c := v1alpha1.ApplicationCondition{
		Type: v1alpha1.ConditionShortenedStatusWarning, LastTransitionTime: &now,
		Message: fmt.Sprintf("the Application has too many resources to list them all in its status: %d of %d are left out of status.resources, those that are Synced and Healthy first; split it into several Applications to see all", left, left+len(s.Resources)),
	}
	for _, b := range before {
		if b.Type == c.Type && b.Message == c.Message {
			c.LastTransitionTime = b.LastTransitionTime
		}
	}
	s.Conditions = append(s.Conditions, c)
}

func tooLarge(s *v1alpha1.ApplicationStatus) bool {
	text, err := json.Marshal(s)
	return err == nil && len(text) > statusBytes
}
