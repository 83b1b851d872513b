package controller

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/artifact"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// as is a client of somebody.
func as(t *testing.T, user string, groups ...string) dynamic.Interface {
	t.Helper()
	config := rest.CopyConfig(kubetest.Config(t))
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	return dynamic.NewForConfigOrDie(config)
}

// grant binds a ClusterRole to subjects in a namespace; those with "group:" before
// them are groups.
func (w *world) grant(t *testing.T, namespace, role string, subjects ...string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-", Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, s := range subjects {
		subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: s}
		if group, ok := strings.CutPrefix(s, "group:"); ok {
			subject.Kind, subject.Name = "Group", group
		}
		binding.Subjects = append(binding.Subjects, subject)
	}
	if _, err := w.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// draftPlan is a plan as the engine makes it.
func draftPlan(key engine.Key, name string, authors []string, approvers ...v1alpha1.Approver) *v1alpha1.Plan {
	return &v1alpha1.Plan{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name},
		Spec: v1alpha1.PlanSpec{
			Application: v1alpha1.PlanApplication{Group: key.Group, Name: key.Name}, Reason: v1alpha1.PlanReasonSync, Scope: "sync",
			Desired: "d", Digest: "sha256:" + name, Authors: authors, Steps: []string{"abc"},
			Approval: v1alpha1.PlanApproval{Min: 1, NotAuthor: true, Approvers: approvers, ValidFor: "24h0m0s"},
		},
	}
}

// planned makes an Application and a plan of it.
func (w *world) planned(t *testing.T, key engine.Key, name, text string, authors []string, approvers ...v1alpha1.Approver) *v1alpha1.Plan {
	t.Helper()
	app, known := w.Get(key)
	if !known {
		w.create(t, key, plainSpec, nil)
		app, _ = w.Get(key)
	}
	plan, err := w.Plans().Propose(t.Context(), app, key, draftPlan(key, name, authors, approvers...), text)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// approvalOf is what a user says of a plan, as kubectl would send it.
func approvalOf(plan *v1alpha1.Plan, user string, change func(spec map[string]any)) *unstructured.Unstructured {
	spec := map[string]any{
		"plan": plan.Name, "digest": plan.Spec.Digest, "decision": "Approve", "user": user,
		"application": map[string]any{"group": plan.Spec.Application.Group, "name": plan.Spec.Application.Name},
	}
	if change != nil {
		change(spec)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Approval",
		"metadata": map[string]any{"generateName": "said-", "namespace": plan.Namespace}, "spec": spec,
	}}
}

var approvalsResource = v1alpha1.GroupVersion.WithResource(v1alpha1.ApprovalResource)

func submit(ctx context.Context, client dynamic.Interface, a *unstructured.Unstructured, dry bool) error {
	options := metav1.CreateOptions{}
	if dry {
		options.DryRun = []string{metav1.DryRunAll}
	}
	_, err := client.Resource(approvalsResource).Namespace(a.GetNamespace()).Create(ctx, a, options)
	return err
}

func TestTheServerRefusesApprovals(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	key := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "web"}
	w.grant(t, ns, "plumb-approver", "ann", "dora", "oidc:dora@example.com", "https://login#dora@example.com", `CORP\dora`, "group:leads")
	w.grant(t, ns, "plumb-viewer", "vera")
	w.grant(t, ns, "plumb-editor", "eddi")
	plan := w.planned(t, key, "web-1a2b3c4", "", []string{"dora", "dora@example.com"})
	limited := w.planned(t, key, "web-2a2b3c4", "", []string{"dora"}, v1alpha1.Approver{Group: "leads"})
	set := func(field string, value any) func(map[string]any) {
		return func(spec map[string]any) { spec[field] = value }
	}
	leads := []any{"leads"}
	// Policies and parameters take a moment to be in force.
	eventually(t, "the author is refused", func() bool {
		err := submit(t.Context(), as(t, "dora"), approvalOf(plan, "dora", nil), true)
		return err != nil && strings.Contains(err.Error(), "has made the change")
	})
	eventually(t, "the approvers are known", func() bool {
		err := submit(t.Context(), as(t, "ann"), approvalOf(limited, "ann", nil), true)
		return err != nil && strings.Contains(err.Error(), "not among the approvers")
	})
	for name, c := range map[string]struct {
		reason   string
		client   dynamic.Interface
		approval *unstructured.Unstructured
		want     string // of the refusal; empty: accepted
	}{
		"Ann":        {"who may approve, and is not the author, may", as(t, "ann"), approvalOf(plan, "ann", nil), ""},
		"Forged":     {"nobody speaks for others", as(t, "ann"), approvalOf(plan, "bob", nil), "spec.user must be who approves, and that is you, ann"},
		"Admin":      {"not even an admin speaks for others", w.client, approvalOf(plan, "ann", nil), "spec.user must be who approves"},
		"Groups":     {"nobody claims groups", as(t, "ann"), approvalOf(plan, "ann", set("groups", leads)), "groups that you are in"},
		"NoRight":    {"to look is not to approve", as(t, "vera"), approvalOf(plan, "vera", nil), "forbidden"},
		"Editor":     {"to change is not to approve", as(t, "eddi"), approvalOf(plan, "eddi", nil), "forbidden"},
		"Author":     {"who made the change does not approve it", as(t, "dora"), approvalOf(plan, "dora", nil), "has made the change"},
		"AuthorOIDC": {"nor under the name that the identity provider gives", as(t, "oidc:dora@example.com"), approvalOf(plan, "oidc:dora@example.com", nil), "has made the change"},
		"AuthorHash": {"whatever the prefix ends in", as(t, "https://login#dora@example.com"), approvalOf(plan, "https://login#dora@example.com", nil), "has made the change"},
		"AuthorCorp": {"nor a backslash", as(t, `CORP\dora`), approvalOf(plan, `CORP\dora`, nil), "has made the change"},
		"Reject":     {"who made the change may take it back", as(t, "dora"), approvalOf(plan, "dora", set("decision", "Reject")), ""},
		"Digest":     {"what was looked at is what is approved", as(t, "ann"), approvalOf(plan, "ann", set("digest", "sha256:00")), "spec.digest is not that of the plan"},
		"Elsewhere":  {"a right on another Application is none on this one", as(t, "ann"), approvalOf(plan, "ann", set("application", map[string]any{"group": "plumb.dev", "name": "mine"})), "spec.application is not that of the plan"},
		"NotAmong":   {"the policy says who", as(t, "ann"), approvalOf(limited, "ann", nil), "not among the approvers"},
		"Among":      {"a group that the user is in, and names", as(t, "lee", "leads"), approvalOf(limited, "lee", set("groups", leads)), ""},
		"Unnamed":    {"a group that is not recorded does not count", as(t, "lee", "leads"), approvalOf(limited, "lee", nil), "must be named in spec.groups"},
	} {
		t.Run(name, func(t *testing.T) {
			err := submit(t.Context(), c.client, c.approval, true)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: %v", c.reason, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%s: got %v, want %q", c.reason, err, c.want)
			}
		})
	}
	t.Run("Immutable", func(t *testing.T) { approvalsNeverChange(t, w, plan) })
	t.Run("Plans", func(t *testing.T) { plansAreMadeByPlumbAlone(t, w, plan) })
	t.Run("OneName", func(t *testing.T) { aRightOnOneApplication(t, w, plan) })
}

// approvalsNeverChange: neither what somebody has said, nor a plan.
func approvalsNeverChange(t *testing.T, w *world, plan *v1alpha1.Plan) {
	made, err := as(t, "ann").Resource(approvalsResource).Namespace(plan.Namespace).Create(t.Context(), approvalOf(plan, "ann", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.Resource(approvalsResource).Namespace(plan.Namespace).
		Patch(t.Context(), made.GetName(), "application/merge-patch+json", []byte(`{"spec":{"decision":"Reject"}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "never changes") {
		t.Errorf("an approval was changed: %v", err)
	}
	_, err = w.client.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.PlanResource)).Namespace(plan.Namespace).
		Patch(t.Context(), plan.Name, "application/merge-patch+json", []byte(`{"spec":{"authors":[]}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "a plan never changes") {
		t.Errorf("a plan was changed: %v", err)
	}
}

// plansAreMadeByPlumbAlone, whatever rights on the resource somebody has.
func plansAreMadeByPlumbAlone(t *testing.T, w *world, plan *v1alpha1.Plan) {
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "test-plans-" + plan.Namespace},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.Group}, Resources: []string{"plans", "plans/status"}, Verbs: []string{"get", "create", "update", "patch"}}},
	}
	if _, err := w.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.kube.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, metav1.DeleteOptions{})
	})
	w.grant(t, plan.Namespace, role.Name, "mallory")
	client := as(t, "mallory").Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.PlanResource)).Namespace(plan.Namespace)
	for name, try := range map[string]func() error{
		"make": func() error {
			_, err := client.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "plumb.dev/v1alpha1", "kind": "Plan", "metadata": map[string]any{"name": "web-forged"},
				"spec": map[string]any{
					"application": map[string]any{"group": "plumb.dev", "name": "web"}, "reason": "Sync", "scope": "sync", "desired": "d", "digest": "sha256:00",
					"counts": map[string]any{"create": int64(0), "update": int64(0), "replace": int64(0), "delete": int64(0)}, "approval": map[string]any{"min": int64(1)},
				},
			}}, metav1.CreateOptions{})
			return err
		},
		"status": func() error {
			_, err := client.Patch(t.Context(), plan.Name, "application/merge-patch+json", []byte(`{"status":{"phase":"Approved"}}`), metav1.PatchOptions{}, "status")
			return err
		},
		"number": func() error {
			_, err := client.Patch(t.Context(), plan.Name, "application/merge-patch+json", []byte(`{"metadata":{"annotations":{"plumb.dev/plan-number":"99"}}}`), metav1.PatchOptions{})
			return err
		},
	} {
		eventually(t, name+" is refused by the policy", func() bool {
			err := try()
			if err == nil {
				t.Fatalf("%s: accepted", name)
			}
			return strings.Contains(err.Error(), "plans are made by Plumb alone")
		})
	}
}

// aRightOnOneApplication is none on another.
func aRightOnOneApplication(t *testing.T, w *world, plan *v1alpha1.Plan) {
	for name, rule := range map[string]rbacv1.PolicyRule{
		"test-web-":   {APIGroups: []string{v1alpha1.Group}, Resources: []string{"applications"}, ResourceNames: []string{"web"}, Verbs: []string{"approve"}},
		"test-other-": {APIGroups: []string{v1alpha1.Group}, Resources: []string{"applications"}, ResourceNames: []string{"other"}, Verbs: []string{"approve"}},
	} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name + plan.Namespace}, Rules: []rbacv1.PolicyRule{
			rule, {APIGroups: []string{v1alpha1.Group}, Resources: []string{"approvals"}, Verbs: []string{"create"}},
		}}
		if _, err := w.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = w.kube.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, metav1.DeleteOptions{})
		})
		w.grant(t, plan.Namespace, role.Name, strings.TrimSuffix(name, "-"))
	}
	eventually(t, "who may approve web does", func() bool {
		return submit(t.Context(), as(t, "test-web"), approvalOf(plan, "test-web", nil), true) == nil
	})
	eventually(t, "who may approve another does not", func() bool {
		err := submit(t.Context(), as(t, "test-other"), approvalOf(plan, "test-other", nil), true)
		return err != nil && strings.Contains(err.Error(), `verb "approve"`)
	})
}

func TestPlansAreKeptAndPruned(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	store := artifact.Open(t.TempDir())
	w.Plans().artifacts = store
	key := engine.Key{Group: v1alpha1.ArgoGroup, Namespace: ns, Name: "web"}
	long := strings.Repeat("+ a line that is added\n", 10_000)
	first := w.planned(t, key, "web-first", long, nil)
	if n := len(first.Spec.Diff); n > headBytes || n < headBytes/2 || !strings.HasSuffix(first.Spec.Diff, "\n") {
		t.Errorf("the head has %d bytes", n)
	}
	if whole, err := store.Get(first.Spec.DiffDigest); err != nil || whole != long {
		t.Errorf("the whole diff: %d bytes, %v", len(whole), err)
	}
	told := w.sink.count(key)
	// Its admission hears of plans by a watch of its own.
	eventually(t, "the API server takes the approval", func() bool {
		return submit(t.Context(), w.client, approvalOf(first, adminOf(t, w), nil), false) == nil
	})
	eventually(t, "the approval is known", func() bool { return len(w.Plans().Approvals(first)) == 1 && w.sink.count(key) > told })
	status := v1alpha1.PlanStatus{Phase: v1alpha1.PlanApplied, Progress: "1/1"}
	if err := w.Plans().WriteStatus(t.Context(), first, status); err != nil {
		t.Fatal(err)
	}
	if got := w.Plans().Of(key); len(got) != 1 || got[0].Status.Phase != v1alpha1.PlanApplied {
		t.Fatalf("what was written is not known at once: %v", got)
	}
	eventually(t, "the approval goes with its plan", func() bool {
		a := w.Plans().Approvals(first)
		return len(a) == 1 && len(a[0].OwnerReferences) == 1 && a[0].OwnerReferences[0].UID == first.UID
	})
	waits := w.planned(t, key, "web-waits", "", nil)
	for i := range keptPlans {
		plan := w.planned(t, key, fmt.Sprintf("web-%d", i), "", nil)
		if all := w.Plans().Of(key); all[0].Name != plan.Name {
			t.Fatalf("the newest is %s, not %s", all[0].Name, plan.Name)
		}
		if err := w.Plans().WriteStatus(t.Context(), plan, status); err != nil {
			t.Fatal(err)
		}
	}
	w.Plans().prune(t.Context(), key)
	known := map[string]bool{}
	for _, plan := range w.Plans().Of(key) {
		known[plan.Name] = true
	}
	if known[first.Name] || !known[waits.Name] || !known[fmt.Sprintf("web-%d", keptPlans-1)] {
		t.Errorf("the plans are %v", known)
	}
	if _, err := store.Get(first.Spec.DiffDigest); err == nil {
		t.Error("the diff of a plan that is gone is still there")
	}
}

// adminOf is who the admin client is, to the API server.
func adminOf(t *testing.T, w *world) string {
	t.Helper()
	review, err := w.kube.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo.Username
}
