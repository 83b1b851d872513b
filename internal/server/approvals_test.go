package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/artifact"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// approvalWorld is a namespace with an Application whose changes need approval.
type approvalWorld struct {
	t    *testing.T
	ns   string
	kube kubernetes.Interface
	api  dynamic.Interface
	user string
}

func newApprovalWorld(t *testing.T, repo repository) *approvalWorld {
	t.Helper()
	config := kubetest.Config(t)
	w := &approvalWorld{t: t, ns: kubetest.Namespace(t), kube: kubernetes.NewForConfigOrDie(config), api: dynamic.NewForConfigOrDie(config)}
	me, err := w.kube.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.user = me.Status.UserInfo.Username
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"namespace": w.ns, "name": "app"},
		"spec": map[string]any{
			"source": map[string]any{"repoURL": repo.dir, "path": "app"},
			"syncPolicy": map[string]any{
				"automated": map[string]any{"prune": true, "selfHeal": true},
				"approval":  map[string]any{"when": "always"},
			},
		},
	}}
	eventually(t, "the Application is created", func() error {
		_, err := w.api.Resource(applications).Namespace(w.ns).Create(t.Context(), app, metav1.CreateOptions{})
		return err
	})
	return w
}

// plans are those of the namespace, by name.
func (w *approvalWorld) plans() map[string]v1alpha1.Plan {
	w.t.Helper()
	list, err := w.api.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.PlanResource)).Namespace(w.ns).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]v1alpha1.Plan{}
	for _, item := range list.Items {
		var p v1alpha1.Plan
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &p); err != nil {
			w.t.Fatal(err)
		}
		all[p.Name] = p
	}
	return all
}

// waits gives the one plan that waits, which is none of the known.
func (w *approvalWorld) waits(what string, known ...string) v1alpha1.Plan {
	w.t.Helper()
	var found v1alpha1.Plan
	eventually(w.t, what, func() error {
		n := 0
		for _, p := range w.plans() {
			if p.Status.Phase == v1alpha1.PlanPending && !slices.Contains(known, p.Name) {
				found = p
			}
			if p.Status.Phase == v1alpha1.PlanPending {
				n++
			}
		}
		if n != 1 || found.Name == "" {
			return fmt.Errorf("%d plans wait", n)
		}
		return nil
	})
	return found
}

func (w *approvalWorld) becomes(name string, phase v1alpha1.PlanPhase) {
	w.t.Helper()
	eventually(w.t, name+" becomes "+string(phase), func() error {
		if p := w.plans()[name]; p.Status.Phase != phase {
			return fmt.Errorf("it is %s: %s", p.Status.Phase, p.Status.Message)
		}
		return nil
	})
}

// approve says yes as the admin, who is not the author.
func (w *approvalWorld) approve(p v1alpha1.Plan) {
	w.t.Helper()
	a := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Approval", "metadata": map[string]any{"generateName": "yes-"},
		"spec": map[string]any{
			"plan": p.Name, "digest": p.Spec.Digest, "decision": "Approve", "user": w.user, "reason": "looks good",
			"application": map[string]any{"group": "plumb.dev", "name": "app"},
		},
	}}
	eventually(w.t, "the approval is accepted", func() error {
		_, err := w.api.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.ApprovalResource)).Namespace(w.ns).Create(w.t.Context(), a, metav1.CreateOptions{})
		return err
	})
}

func (w *approvalWorld) password() string {
	s, err := w.kube.CoreV1().Secrets(w.ns).Get(w.t.Context(), "keys", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(s.Data["password"])
}

func secretFile(value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {password: " + value + "}\n"
}

// TestApprovals takes plans through what may come between: a restart, a commit, a
// secret, drift. Nothing is done that was not approved as it is.
func TestApprovals(t *testing.T) {
	dir, said := t.TempDir(), &witness{}
	logs := func(o *Options) { o.Log = slog.New(slog.NewTextHandler(said, nil)) }
	repo := newRepository(t, map[string]string{
		"app/one.yaml": configMap("one", "1"), "app/keys.yaml": secretFile("one-" + planted),
		// What the API server makes up for these differs each time it is asked.
		"app/service.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, ports: [{port: 80}]}\n",
		"app/job.yaml":     "apiVersion: batch/v1\nkind: Job\nmetadata: {name: job}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}\n",
	})
	r := runServer(t, dir, logs)
	eventually(t, "the server leads", r.leads)
	w := newApprovalWorld(t, repo)

	first := w.waits("the first plan waits")
	if first.Spec.Counts.Create != 4 || first.Spec.Risk.Secrets != 1 || !slices.Contains(first.Spec.Authors, "t@example.com") {
		t.Errorf("the plan says %+v, %+v, %v", first.Spec.Counts, first.Spec.Risk, first.Spec.Authors)
	}
	if !strings.Contains(first.Spec.Diff, "++++++++") || !strings.Contains(first.Spec.Diff, "nodePort") {
		t.Errorf("the diff does not show what the server would store, or masks nothing:\n%s", first.Spec.Diff)
	}
	r.stop()
	r = runServer(t, dir, logs)
	eventually(t, "the server leads again", r.leads)
	w.refresh()
	if all := w.plans(); len(all) != 1 || all[first.Name].Status.Phase != v1alpha1.PlanPending {
		t.Fatalf("a restart has changed the plans: %v", phases(all))
	}
	if w.password() != "" {
		t.Fatal("the Secret was made without approval")
	}
	w.approve(first)
	w.becomes(first.Name, v1alpha1.PlanApplied)
	if got := w.password(); got != "one-"+planted {
		t.Errorf("the password is %q", got)
	}

	repo.commit(map[string]string{"app/keys.yaml": secretFile("two-" + planted)})
	second := w.waits("a changed secret waits", first.Name)
	repo.commit(map[string]string{"app/keys.yaml": secretFile("three-" + planted)})
	third := w.waits("another one waits in its place", first.Name, second.Name)
	w.becomes(second.Name, v1alpha1.PlanStale)
	w.approve(second) // too late
	if _, err := w.kube.CoreV1().ConfigMaps(w.ns).Patch(t.Context(), "one", "application/merge-patch+json", []byte(`{"data":{"value":"mine"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	fourth := w.waits("with drift, there is something else to approve", first.Name, second.Name, third.Name)
	w.becomes(third.Name, v1alpha1.PlanStale)
	w.approve(third) // too late
	w.refresh()
	if got := w.password(); got != "one-"+planted {
		t.Errorf("what was not approved was done: the password is %q", got)
	}
	w.approve(fourth)
	w.becomes(fourth.Name, v1alpha1.PlanApplied)
	if got := w.password(); got != "three-"+planted {
		t.Errorf("the password is %q", got)
	}
	w.deletion()
	artifacts(t, r, dir)
	w.saysNothing(dir, said)
}

// deletion needs approval, too.
func (w *approvalWorld) deletion() {
	w.t.Helper()
	apps := w.api.Resource(applications).Namespace(w.ns)
	if _, err := apps.Patch(w.t.Context(), "app", "application/merge-patch+json", []byte(`{"metadata":{"finalizers":["plumb.dev/resources-finalizer-background"]}}`), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
	if err := apps.Delete(w.t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	p := w.waits("the deletion waits")
	if p.Spec.Reason != v1alpha1.PlanReasonDelete || p.Spec.Risk.Destroys != 4 || w.password() == "" {
		w.t.Errorf("%+v", p.Spec)
	}
	w.approve(p)
	eventually(w.t, "the Application is gone", func() error {
		if _, err := apps.Get(w.t.Context(), "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return errors.New("it is there")
		}
		return nil
	})
	if w.password() != "" {
		w.t.Error("the Secret is still there")
	}
}

// artifacts are given to whoever knows their digest.
func artifacts(t *testing.T, r *running, dir string) {
	t.Helper()
	digest, err := artifact.Open(filepath.Join(dir, ArtifactsDir)).Put("a large diff")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{digest: http.StatusOK, artifact.Digest("another"): http.StatusNotFound, "..%2f..%2fserver.address": http.StatusNotFound} {
		code, text, err := r.get("/api/artifacts/" + path)
		if err != nil || code != want || want == http.StatusOK && text != "a large diff" {
			t.Errorf("%s: %d %q %v", path, code, text, err)
		}
	}
}

func phases(all map[string]v1alpha1.Plan) []string {
	var out []string
	for name, p := range all {
		out = append(out, name+" "+string(p.Status.Phase))
	}
	return out
}

// refresh has the Application looked at, and waits until it was.
func (w *approvalWorld) refresh() {
	w.t.Helper()
	apps := w.api.Resource(applications).Namespace(w.ns)
	if _, err := apps.Patch(w.t.Context(), "app", "application/merge-patch+json", []byte(`{"metadata":{"annotations":{"plumb.dev/refresh":"hard"}}}`), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the Application is looked at", func() error {
		app, err := apps.Get(w.t.Context(), "app", metav1.GetOptions{})
		if err == nil && app.GetAnnotations()["plumb.dev/refresh"] != "" {
			err = errors.New("not yet")
		}
		return err
	})
}

// saysNothing looks for the planted secret in all that is said of plans.
func (w *approvalWorld) saysNothing(dir string, said *witness) {
	w.t.Helper()
	texts := map[string]string{"the log": said.String()}
	for _, resource := range []string{v1alpha1.PlanResource, v1alpha1.ApprovalResource, v1alpha1.ApplicationResource} {
		list, err := w.api.Resource(v1alpha1.GroupVersion.WithResource(resource)).Namespace(w.ns).List(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		text, _ := json.Marshal(list)
		texts[resource] = string(text)
	}
	events, err := w.kube.CoreV1().Events(w.ns).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	text, _ := json.Marshal(events)
	texts["events"] = string(text)
	_ = filepath.WalkDir(filepath.Join(dir, ArtifactsDir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, _ := os.ReadFile(path)
			texts[path] = string(text)
		}
		return nil
	})
	for what, text := range texts {
		for _, value := range []string{planted, base64.StdEncoding.EncodeToString([]byte("one-" + planted)), base64.StdEncoding.EncodeToString([]byte("three-" + planted))} {
			if at := strings.Index(text, value); at >= 0 {
				w.t.Errorf("%s: a secret is shown: %s", what, text[max(0, at-200):min(len(text), at+60)])
			}
		}
	}
}
