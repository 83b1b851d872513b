package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/test/forge"
)

// TestPullRequestsApprove merges pull requests on a real Gitea into what needs
// approval.
func TestPullRequestsApprove(t *testing.T) {
	h := newHosted(t, 2, -1, func(o *Options) { o.previewPause = 200 * time.Millisecond })
	h.hook()
	reviewer := h.reviewer()
	h.policy("a000")
	for i, style := range []string{"merge", "squash", "rebase"} {
		value := fmt.Sprint("merged ", i)
		head := h.branch(style, value)
		number := h.open(h.owner, style)
		h.says(number, "an approval of this pull request")
		h.approve(reviewer, number, head)
		h.approve(h.someone, number, head) // who has no rights
		h.merge(number, style)
		h.runs(value)
		plan := h.plan("a000")
		if pulls := plan.Status.PullRequests; plan.Status.Phase == v1alpha1.PlanPending || len(pulls) != 1 || !slices.Equal(pulls[0].ApprovedBy, []string{"reviewer at " + strings.TrimPrefix(h.f.URL, "http://")}) ||
			pulls[0].URL != fmt.Sprintf("%s/%s/pulls/%d", h.f.URL, h.repo, number) {
			t.Errorf("%s: the plan is %+v", style, plan.Status)
		}
	}
	head := h.branch("alone", "by its author")
	number := h.open(h.owner, "alone")
	h.says(number, "by its author") // all previews are counted below
	h.approve(h.someone, number, head)
	h.merge(number, "merge")
	h.waits("has 0 of 1 approvals of what was merged")
	h.clone.Git("checkout", "-q", "main")
	h.clone.Git("pull", "-q", "--ff-only")
	h.clone.Commit(map[string]string{"apps/a000/one.yaml": configMap("a000", "pushed")})
	h.clone.Git("push", "-q", "origin", "main")
	h.waits("has not come by one")
	h.again()
}

// again has a preview made again when its base has moved.
func (h *hosted) again() {
	h.t.Helper()
	h.clone.Git("checkout", "-q", "-b", "other")
	h.clone.Commit(map[string]string{"apps/a001/one.yaml": configMap("a001", "theirs")})
	h.clone.Git("push", "-q", "origin", "other")
	number := h.open(h.owner, "other")
	if first := h.says(number, "a001", "theirs"); strings.Contains(first.Body, "Rebase it") {
		h.t.Errorf("the branch is up to date, and it says\n%s", first.Body)
	}
	h.clone.Git("checkout", "-q", "main")
	h.clone.Commit(map[string]string{"README.md": "elsewhere"})
	h.clone.Git("push", "-q", "origin", "main")
	h.clone.Commit(map[string]string{"apps/a001/one.yaml": configMap("a001", "ours")})
	h.clone.Git("push", "-q", "origin", "main")
	h.says(number, "a001", "theirs", "Rebase it")
	eventually(h.t, "all previews are counted", func() error {
		if n := h.r.metric(h.t, "plumb_previews_total", "changes"); n < 6 {
			return fmt.Errorf("there are %v", n)
		}
		return nil
	})
}

// reviewer makes one who may write.
func (h *hosted) reviewer() forge.User {
	h.t.Helper()
	who := h.f.User("reviewer", false)
	h.f.Call(h.owner, http.MethodPut, "/repos/"+h.repo+"/collaborators/reviewer", map[string]string{"permission": "write"}, nil)
	return who
}

// policy has an Application wait for approvals, those of pull requests among them.
func (h *hosted) policy(name string) {
	h.t.Helper()
	const patch = `{"spec":{"syncPolicy":{"approval":{"pullRequest":true}}}}`
	client := dynamic.NewForConfigOrDie(kubetest.Config(h.t))
	if _, err := client.Resource(applications).Namespace(h.ns).Patch(h.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// branch is one with two commits of the first Application, and gives its head.
func (h *hosted) branch(name, value string) string {
	h.t.Helper()
	h.clone.Git("fetch", "-q", "origin")
	h.clone.Git("checkout", "-q", "-B", name, "origin/main")
	h.clone.Commit(map[string]string{"apps/a000/one.yaml": configMap("a000", value+", nearly")})
	head := h.clone.Commit(map[string]string{"apps/a000/one.yaml": configMap("a000", value), "README.md": value})
	h.clone.Git("push", "-q", "origin", name)
	return head
}

func (h *hosted) approve(as forge.User, number int, head string) {
	h.t.Helper()
	h.f.Call(as, http.MethodPost, fmt.Sprintf("/repos/%s/pulls/%d/reviews", h.repo, number), map[string]string{"event": "APPROVED", "body": "fine", "commit_id": head}, nil)
}

func (h *hosted) merge(number int, style string) {
	h.t.Helper()
	eventually(h.t, "Gitea merges", func() error { // it wants to look at a push first
		return h.f.Try(h.owner, http.MethodPost, fmt.Sprintf("/repos/%s/pulls/%d/merge", h.repo, number), map[string]string{"Do": style}, nil)
	})
}

// runs waits until the first Application's ConfigMap has a value.
func (h *hosted) runs(want string) {
	h.t.Helper()
	kube := kubernetes.NewForConfigOrDie(kubetest.Config(h.t))
	eventually(h.t, "it runs "+want, func() error {
		cm, err := kube.CoreV1().ConfigMaps(h.ns).Get(h.t.Context(), "a000", metav1.GetOptions{})
		if err == nil && cm.Data["value"] != want {
			plan := h.plan("a000")
			return fmt.Errorf("it is %q; the last plan is %s: %s", cm.Data["value"], plan.Status.Phase, plan.Status.Message)
		}
		return err
	})
}

// waits waits until the last plan of the first Application waits for people, and says why.
func (h *hosted) waits(why string) {
	h.t.Helper()
	eventually(h.t, "a plan waits because it "+why, func() error {
		if plan := h.plan("a000"); plan.Status.Phase != v1alpha1.PlanPending || !strings.Contains(plan.Status.Message, why) {
			return fmt.Errorf("it is %s: %s", plan.Status.Phase, plan.Status.Message)
		}
		return nil
	})
}

// plan is the last one of an Application.
func (h *hosted) plan(name string) v1alpha1.Plan {
	h.t.Helper()
	client := dynamic.NewForConfigOrDie(kubetest.Config(h.t))
	list, err := client.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.PlanResource)).Namespace(h.ns).List(h.t.Context(), metav1.ListOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	var last v1alpha1.Plan
	number := 0
	for _, item := range list.Items {
		var plan v1alpha1.Plan
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &plan); err != nil {
			h.t.Fatal(err)
		}
		n := 0
		if _, err := fmt.Sscan(plan.Annotations[v1alpha1.PlumbPrefix+"plan-number"], &n); err == nil && plan.Spec.Application.Name == name && n > number {
			last, number = plan, n
		}
	}
	return last
}
