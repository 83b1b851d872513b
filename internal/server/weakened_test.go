package server

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/audit"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// TestForgedApprovals lets somebody weaken the policies while no server runs, and
// approve in another's name: that does not count, and people are asked again.
func TestForgedApprovals(t *testing.T) {
	dir := t.TempDir()
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1")})
	r := runServer(t, dir, nil)
	eventually(t, "the server leads", r.leads)
	w := newApprovalWorld(t, repo)
	plan := w.waits("the plan waits")
	r.stop()

	bindings := w.api.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"})
	say := func(actions string) {
		t.Helper()
		_, err := bindings.Patch(t.Context(), "approvals.plumb.dev", types.MergePatchType, []byte(`{"spec":{"validationActions":[`+actions+`]}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	forged := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Approval", "metadata": map[string]any{"name": "forged"},
		"spec": map[string]any{
			"plan": plan.Name, "digest": plan.Spec.Digest, "decision": "Approve", "user": "the-boss",
			"application": map[string]any{"group": "plumb.dev", "name": "app"},
		},
	}}
	approvals := w.api.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.ApprovalResource)).Namespace(w.ns)
	if _, err := approvals.Create(t.Context(), forged, metav1.CreateOptions{}); err == nil {
		t.Fatal("the API server takes a forged approval")
	}
	say(`"Audit"`)
	eventually(t, "the approval is forged", func() error {
		_, err := approvals.Create(t.Context(), forged, metav1.CreateOptions{})
		return err
	})
	say(`"Deny"`) // as if nothing had been

	r = runServer(t, dir, nil)
	eventually(t, "the server leads again", r.leads)
	eventually(t, "the plan says that the approval does not count", func() error {
		p := w.plans()[plan.Name]
		if p.Status.Phase != v1alpha1.PlanPending || !strings.Contains(p.Status.Message, "the approval forged in the name of the-boss does not count") {
			return fmt.Errorf("it is %s: %s", p.Status.Phase, p.Status.Message)
		}
		return nil
	})
	if err := bindings.Delete(t.Context(), "approvals.plumb.dev", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what is removed is put back at once", func() error {
		if _, err := bindings.Get(t.Context(), "approvals.plumb.dev", metav1.GetOptions{}); err != nil {
			return err
		}
		if r.metric(t, "plumb_admission_policies_restored_total", "") < 1 || r.metric(t, "plumb_admission_policies_in_force", "") != 1 {
			return errors.New("the metrics do not tell")
		}
		return nil
	})
	tells(t, filepath.Join(dir, ledgerDir), entry.Query{}, "the ledger tells, too", entry.PermissionChanged, func(e entry.Entry) bool {
		return strings.Contains(e.Message, "ValidatingAdmissionPolicyBinding approvals.plumb.dev was removed; Plumb has put it back")
	})
	eventually(t, "an event tells, too", func() error {
		list, err := w.kube.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=approvals.plumb.dev"})
		if err == nil && (len(list.Items) == 0 || list.Items[0].Reason != "PutBack") {
			err = fmt.Errorf("%+v", list.Items)
		}
		return err
	})
	eventually(t, "who approves once the policies are in force is heard", func() error {
		if p := w.plans()[plan.Name]; p.Status.Phase == v1alpha1.PlanApplied {
			return nil
		}
		w.approve(plan)
		time.Sleep(500 * time.Millisecond) // they are objects
		return errors.New("not yet")
	})
}

// TestWhoWeakenedAGuard asks about the very object.
func TestWhoWeakenedAGuard(t *testing.T) {
	d := newDeclared(nil, slog.New(slog.DiscardHandler))
	d.Guard(controller.GuardChange{
		Kind: "ValidatingAdmissionPolicy", Name: "plans.plumb.dev", What: "was removed", Removed: true,
	})
	all := d.take()
	if len(all) != 1 || len(d.entries(all[0])) != 1 {
		t.Fatalf("got %+v", all)
	}
	q, ok := openEntry{now: all[0]}.question()
	want := audit.Object{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies", Name: "plans.plumb.dev"}
	if !ok || !q.Deleted || q.Object != want || q.Seen.IsZero() {
		t.Errorf("got %+v", q)
	}
}
