package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/plumb-dev/plumb/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLargeStatusesAreShortened(t *testing.T) {
	healthy := &v1alpha1.HealthStatus{Status: v1alpha1.HealthStatusHealthy}
	status := func(n int) *v1alpha1.ApplicationStatus {
		s := &v1alpha1.ApplicationStatus{OperationState: &v1alpha1.OperationState{SyncResult: &v1alpha1.SyncOperationResult{}}}
		for i := range n {
			name := fmt.Sprintf("a-name-as-they-are-in-practice-%d", i)
			s.Resources = append(s.Resources, v1alpha1.ResourceStatus{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "some-namespace", Name: name, Status: v1alpha1.SyncStatusCodeSynced, Health: healthy})
			s.Inventory = append(s.Inventory, v1alpha1.InventoryEntry{ID: v1alpha1.InventoryID("apps", "Deployment", "some-namespace", name), Version: "v1", Desired: "ddckm2XzRFvItdPvjmqB", Applied: "l1HGc2UUZbMQYpYX2mln"})
			s.OperationState.SyncResult.Resources = append(s.OperationState.SyncResult.Resources, v1alpha1.ResourceResult{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "some-namespace", Name: name, Status: v1alpha1.ResultCodeSynced, Message: "deployment.apps/" + name + " configured"})
		}
		s.Resources[1].Status = v1alpha1.SyncStatusCodeOutOfSync
		s.OperationState.SyncResult.Resources[1].Status = v1alpha1.ResultCodeSyncFailed
		return s
	}
	now := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		reason                        string
		n, resources, results, warned int
	}{
		"ordinary":       {"all is there", 500, 500, 500, 0},
		"large":          {"results of what went well go first", 3000, 3000, 1, 0},
		"as large as it": {"may be: what is well goes, the rest stays", 8000, 1, 1, 1},
		"being deleted":  {"nothing is as it should be", 8000, 200, 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := status(c.n)
			before := s.OperationState
			if name == "being deleted" {
				for i := range s.Resources {
					s.Resources[i].Status = v1alpha1.SyncStatusCodeOutOfSync
					before.SyncResult.Resources[i].Status = v1alpha1.ResultCodeSyncFailed
				}
			}
			fit(s, nil, now)
			if len(s.Resources) != c.resources || len(s.OperationState.SyncResult.Resources) != c.results || len(s.Conditions) != c.warned || len(s.Inventory) != c.n {
				t.Errorf("%s: %d resources, %d results, %d conditions, %d in the inventory", c.reason, len(s.Resources), len(s.OperationState.SyncResult.Resources), len(s.Conditions), len(s.Inventory))
			}
			if tooLarge(s) {
				t.Error("it is still too large")
			}
			if len(before.SyncResult.Resources) != c.n {
				t.Error("what the status was made of has changed")
			}
			again := status(c.n)
			for i := range again.Resources {
				if name == "being deleted" {
					again.Resources[i].Status = v1alpha1.SyncStatusCodeOutOfSync
				}
			}
			fit(again, s.Conditions, metav1.NewTime(now.Add(time.Hour)))
			if diff := cmp.Diff(s.Conditions, again.Conditions); diff != "" {
				t.Errorf("the warning changes although nothing else does:\n%s", diff)
			}
		})
	}
}
