package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/artifact"
)

// plan makes a Plan as the engine does.
func (w *world) plan(name string, authors []string, phase v1alpha1.PlanPhase, change func(*v1alpha1.PlanSpec)) {
	w.t.Helper()
	p := &v1alpha1.Plan{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.PlanKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.PlanSpec{
			Application: v1alpha1.PlanApplication{Group: v1alpha1.Group, Name: "web"}, Reason: v1alpha1.PlanReasonSync, Scope: "sync",
			Desired: "d", Digest: "sha256:" + name, Authors: authors, Counts: v1alpha1.PlanCounts{Update: 1, Delete: 2},
			Risk:      v1alpha1.PlanRisk{Destroys: 2, Secrets: 1},
			Revisions: []v1alpha1.PlanRevision{{RepoURL: "https://git.example/web.git", Revision: strings.Repeat("a", 40), Author: "Eve", AuthorEmail: "eve@example.com", Subject: "bigger"}},
			Diff:      "update apps/Deployment/shop/web\n-  replicas: 2\n+  replicas: 3\n",
			Approval:  v1alpha1.PlanApproval{Min: 2, NotAuthor: true},
		},
	}
	if change != nil {
		change(&p.Spec)
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	if err != nil {
		w.t.Fatal(err)
	}
	made, err := w.k.plans(w.namespace).Create(w.t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	made.Object["status"] = map[string]any{"phase": string(phase), "progress": "0/2"}
	if _, err := w.k.plans(w.namespace).UpdateStatus(w.t.Context(), made, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// settles repeats a command until it says something: policies and their parameters
// take a moment to be in force.
func (w *world) settles(want string, args ...string) {
	w.t.Helper()
	last := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, errs, _ := w.plumb(args...)
		if last = out + errs; strings.Contains(last, want) {
			return
		}
	}
	w.t.Fatalf("plumb %v never says %q: %s", args, want, last)
}

func TestPlans(t *testing.T) {
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", plainSpec, `
sync: {status: OutOfSync}
health: {status: Healthy}
plan: {digest: "sha256:0", name: web-waits, update: 1}
`)
	me := w.k.username(t.Context())
	w.plan("web-waits", []string{"eve@example.com"}, v1alpha1.PlanPending, nil)
	w.plan("web-mine", []string{me}, v1alpha1.PlanPending, nil)
	w.plan("web-old", nil, v1alpha1.PlanApplied, nil)
	n := "-n" + w.namespace
	w.settles("may not approve it: somebody else must", "approve", "web-mine", n)
	for name, c := range map[string]struct {
		reason    string
		args      []string
		code      int
		out, errs string
	}{
		"List":     {"what waits is listed", []string{"plans", n}, 0, "web-waits", ""},
		"Changes":  {"with what it changes", []string{"plans", "web", n}, 0, "~1 -2", ""},
		"All":      {"what is over on demand", []string{"plans", n, "--all"}, 0, "Applied", ""},
		"Names":    {"by kubectl's names", []string{"plans", n, "-o", "name"}, 0, "plan.plumb.dev/web-waits\n", ""},
		"Get":      {"what waits is marked", []string{"get", n}, 0, "OutOfSync (plan web-waits waits)", ""},
		"Describe": {"and how to approve it", []string{"describe", "web", n}, 0, "plumb approve web-waits", ""},
		"Diff":     {"the diff tells who, and what", []string{"diff", "web-waits", n}, 1, "Eve <eve@example.com>: bigger", ""},
		"DiffRisk": {"and the risk", []string{"diff", "plan/web-waits", n}, 1, "deletes 2 resources, touches 1 Secret", ""},
		"DiffJSON": {"also for programs", []string{"diff", "plan/web-waits", n, "-o", "json"}, 1, `"whole": true`, ""},
		"NoPlan":   {"a wrong name is an error", []string{"diff", "plan/web-none", n}, 2, "", `there is no plan "web-none"`},
		"Several":  {"an Application for which several wait does not do", []string{"approve", "web", n}, 1, "", "several plans wait"},
		"Over":     {"what is over is not approved", []string{"approve", "web-old", n}, 1, "", "does not wait: it is applied"},
		"Approve":  {"by who may", []string{"approve", "web-waits", n, "--reason", "fine"}, 0, "approved as " + me, ""},
		"Reject":   {"the author may take it back", []string{"reject", "web-mine", n}, 0, "rejected as " + me, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := w.plumb(c.args...)
			if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
				t.Errorf("%s: exit %d\n%s%s", c.reason, code, out, errs)
			}
		})
	}
}

func TestLargeDiffsAreFetched(t *testing.T) {
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", plainSpec, "")
	dir := t.TempDir()
	w.k.dataDir = dir
	digest, err := artifact.Open(dir + "/engine/artifacts").Put("all of it\n")
	if err != nil {
		t.Fatal(err)
	}
	w.plan("web-large", nil, v1alpha1.PlanPending, func(s *v1alpha1.PlanSpec) { s.Diff, s.DiffDigest = "the beginning\n", digest })
	w.plan("web-lost", nil, v1alpha1.PlanPending, func(s *v1alpha1.PlanSpec) { s.Diff, s.DiffDigest = "the beginning\n", artifact.Digest("lost") })
	for name, want := range map[string]planDiff{"web-large": {Diff: "all of it\n", Whole: true}, "web-lost": {Diff: "the beginning\n"}} {
		out, errs, code := w.plumb("diff", name, "-n", w.namespace, "-o", "json", "--data-dir", dir)
		var got planDiff
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 {
			t.Fatalf("%s: exit %d, %v\n%s", name, code, err, errs)
		}
		if got.Diff != want.Diff || got.Whole != want.Whole {
			t.Errorf("%s: %+v", name, got.Diff)
		}
	}
}
