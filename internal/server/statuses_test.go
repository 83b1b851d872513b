package server

import (
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/scm"
)

func TestStatusOf(t *testing.T) {
	auto := &v1alpha1.SyncPolicy{Automated: &v1alpha1.SyncPolicyAutomated{}}
	running := func(phase v1alpha1.OperationPhase) *v1alpha1.OperationState {
		return &v1alpha1.OperationState{Phase: phase, SyncResult: &v1alpha1.SyncOperationResult{Revision: "synced"}, Message: "c4n4ry"}
	}
	for name, tc := range map[string]struct {
		reason string
		policy *v1alpha1.SyncPolicy
		status v1alpha1.ApplicationStatus
		state  scm.StatusState
		of     string
	}{
		"new":         {"nothing is known", auto, v1alpha1.ApplicationStatus{}, "", ""},
		"running":     {"it is under way", auto, v1alpha1.ApplicationStatus{OperationState: running(v1alpha1.OperationRunning)}, scm.Pending, "synced"},
		"failed":      {"it has failed", auto, v1alpha1.ApplicationStatus{OperationState: running(v1alpha1.OperationFailed), Sync: v1alpha1.SyncStatus{Status: "OutOfSync", Revision: "now"}}, scm.Failure, "synced"},
		"mended":      {"a failure that is over is none", auto, v1alpha1.ApplicationStatus{OperationState: running(v1alpha1.OperationFailed), Sync: v1alpha1.SyncStatus{Status: "Synced", Revision: "now"}}, scm.Success, "now"},
		"healthy":     {"it is done", auto, v1alpha1.ApplicationStatus{OperationState: running(v1alpha1.OperationSucceeded), Sync: v1alpha1.SyncStatus{Status: "Synced", Revision: "now"}, Health: v1alpha1.HealthStatus{Status: "Healthy"}}, scm.Success, "now"},
		"progressing": {"it starts", auto, v1alpha1.ApplicationStatus{Sync: v1alpha1.SyncStatus{Status: "Synced", Revision: "now"}, Health: v1alpha1.HealthStatus{Status: "Progressing"}}, scm.Pending, "now"},
		"degraded":    {"it is there and does not work", auto, v1alpha1.ApplicationStatus{Sync: v1alpha1.SyncStatus{Status: "Synced", Revision: "now"}, Health: v1alpha1.HealthStatus{Status: "Degraded"}}, scm.Failure, "now"},
		"by hand":     {"somebody has to say so", nil, v1alpha1.ApplicationStatus{Sync: v1alpha1.SyncStatus{Status: "OutOfSync", Revision: "now"}}, scm.Pending, "now"},
		"approval":    {"somebody has to approve", &v1alpha1.SyncPolicy{Automated: auto.Automated, Approval: &v1alpha1.ApprovalPolicy{}}, v1alpha1.ApplicationStatus{Sync: v1alpha1.SyncStatus{Status: "OutOfSync", Revision: "now"}}, scm.Pending, "now"},
		"drift":       {"that is no news of the commit", auto, v1alpha1.ApplicationStatus{Sync: v1alpha1.SyncStatus{Status: "OutOfSync", Revision: "now"}}, "", ""},
		"unknown":     {"nobody knows", auto, v1alpha1.ApplicationStatus{Sync: v1alpha1.SyncStatus{Status: "Unknown", Revision: "now"}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{Source: &v1alpha1.ApplicationSource{}, SyncPolicy: tc.policy}, Status: tc.status}
			got, of := statusOf(app)
			if got.State != tc.state || tc.of != "" && (len(of) != 1 || of[0] != tc.of) {
				t.Errorf("%s: got %+v of %v", tc.reason, got, of)
			}
		})
	}
	if got := statusContext(engine.Key{Group: v1alpha1.GroupVersion.Group, Namespace: "shop", Name: "web"}, ""); got != "plumb/shop/web" {
		t.Errorf("the context is %s", got)
	}
}

func TestCommits(t *testing.T) {
	for revision, want := range map[string]bool{"": false, "1.2.3": false, "6dcb09b5b57875f334f61aebed695e2e4193db5e": true, "main": false} {
		if isCommit(revision) != want {
			t.Errorf("%q", revision)
		}
	}
}
