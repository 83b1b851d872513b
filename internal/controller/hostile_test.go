package controller

import (
	"runtime"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// Whoever asks a running sync to end writes into the status, as the engine does.
func TestARequestToEndASyncIsNotOverwritten(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.Group, Namespace: kubetest.Namespace(t), Name: "ending"}
	w.create(t, key, plainSpec, nil)
	app, _ := w.Get(key)
	status := *app.Status.DeepCopy()
	status.OperationState = &v1alpha1.OperationState{
		Phase: v1alpha1.OperationRunning, StartedAt: metav1.NewTime(time.Now().Truncate(time.Second)),
		Operation: v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}},
	}
	if err := w.WriteStatus(t.Context(), app, key, status); err != nil {
		t.Fatal(err)
	}
	before, _ := w.Get(key)
	told := w.sink.count(key)
	_, err := w.client.Resource(resource(key.Group, v1alpha1.ApplicationResource)).Namespace(key.Namespace).Patch(t.Context(), key.Name,
		"application/merge-patch+json", []byte(`{"status":{"operationState":{"phase":"Terminating"}}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	status = *status.DeepCopy()
	status.OperationState.Message = "one or more tasks are running"
	if err := w.WriteStatus(t.Context(), before, key, status); err != nil {
		t.Fatal(err)
	}
	if got := w.live(t, key).Status.OperationState; got.Phase != v1alpha1.OperationTerminating || got.Message != status.OperationState.Message {
		t.Errorf("got %s: %s", got.Phase, got.Message)
	}
	eventually(t, "the engine is told", func() bool { return w.sink.count(key) > told })
	status.OperationState.Phase = v1alpha1.OperationFailed
	if err := w.WriteStatus(t.Context(), before, key, status); err != nil {
		t.Fatal(err)
	}
	if got := w.live(t, key).Status.OperationState; got.Phase != v1alpha1.OperationFailed {
		t.Errorf("an ended sync is %s", got.Phase)
	}
}

// A server that cannot start its work tries again every second, for days.
func TestAControllerThatIsNotStartedLeavesNothing(t *testing.T) {
	config := kubetest.Config(t)
	before := runtime.NumGoroutine()
	for range 50 {
		c, err := New(Options{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left of %d controllers", runtime.NumGoroutine()-before, 50)
		}
	}
}
