package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

var appProjects = v1alpha1.GroupVersion.WithResource(v1alpha1.AppProjectResource)

// gated is an Application in a project of its own, which asks for signatures.
type gated struct {
	t       *testing.T
	client  dynamic.Interface
	kube    kubernetes.Interface
	ns      string
	project string
	repo    repository
	key     string
}

func newGated(t *testing.T) *gated {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("ssh-keygen is not installed: .ci/run installs it")
	}
	g := &gated{
		t: t, client: dynamic.NewForConfigOrDie(kubetest.Config(t)), kube: kubernetes.NewForConfigOrDie(kubetest.Config(t)),
		ns: kubetest.Namespace(t), repo: newRepository(t, map[string]string{"README": "gated\n"}), key: filepath.Join(t.TempDir(), "id"),
	}
	g.project = "gated-" + g.ns
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", g.key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(g.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SignersConfigMap, Namespace: controller.SystemNamespace},
		Data:       map[string]string{"allowed_signers": "ada@example.com " + string(public)},
	}
	maps := g.kube.CoreV1().ConfigMaps(controller.SystemNamespace)
	if _, err := maps.Create(t.Context(), signers, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		_ = maps.Delete(ctx, signers.Name, metav1.DeleteOptions{})
		_ = g.client.Resource(applications).Namespace(g.ns).Delete(ctx, "web", metav1.DeleteOptions{})
		_ = g.client.Resource(appProjects).Namespace(controller.SystemNamespace).Delete(ctx, g.project, metav1.DeleteOptions{})
	})
	return g
}

// commit makes a commit that sets the value, signed or not.
func (g *gated) commit(value string, signed bool) {
	g.t.Helper()
	if err := os.MkdirAll(filepath.Join(g.repo.dir, "app"), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.repo.dir, "app", "one.yaml"), []byte(configMap("one", value)), 0o644); err != nil {
		g.t.Fatal(err)
	}
	g.repo.git("add", "-A")
	args := []string{"commit", "-q", "-m", "value " + value}
	if signed {
		args = append([]string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + g.key}, append(args, "-S")...)
	}
	g.repo.git(args...)
}

func (g *gated) head() string { return g.repo.head() }

// set makes what the project has beside allowing everything this.
func (g *gated) set(more map[string]any) {
	g.t.Helper()
	p := controller.DefaultProject()
	p.APIVersion, p.Kind = v1alpha1.GroupVersion.String(), v1alpha1.AppProjectKind
	p.Name, p.Namespace = g.project, controller.SystemNamespace
	p.Spec.SourceIntegrity = &v1alpha1.SourceIntegrity{Git: &v1alpha1.SourceIntegrityGit{Policies: []v1alpha1.SourceIntegrityGitPolicy{{
		Repos: []v1alpha1.SourceIntegrityGitPolicyRepo{{URL: "*"}}, SSH: &v1alpha1.SourceIntegrityGitPolicySSH{Mode: v1alpha1.SourceIntegrityGitPolicyGPGModeHead},
	}}}}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	if err != nil {
		g.t.Fatal(err)
	}
	delete(object, "status")
	for k, v := range more {
		object["spec"].(map[string]any)[k] = v
	}
	projects := g.client.Resource(appProjects).Namespace(controller.SystemNamespace)
	_, err = projects.Apply(g.t.Context(), g.project, &unstructured.Unstructured{Object: object}, metav1.ApplyOptions{FieldManager: "test", Force: true})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *gated) patch(what map[string]any) {
	g.t.Helper()
	body, err := json.Marshal(what)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.client.Resource(applications).Namespace(g.ns).Patch(g.t.Context(), "web", types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		g.t.Fatal(err)
	}
}

// value waits until the live object has the value.
func (g *gated) value(what, want string) {
	g.t.Helper()
	eventually(g.t, what, func() error {
		cm, err := g.kube.CoreV1().ConfigMaps(g.ns).Get(g.t.Context(), "one", metav1.GetOptions{})
		if err == nil && cm.Data["value"] != want {
			err = fmt.Errorf("the value is %q, %s", cm.Data["value"], g.conditions())
		}
		return err
	})
}

func (g *gated) conditions() string { return g.conditionsOf("web") }

func (g *gated) conditionsOf(name string) string {
	app, err := g.client.Resource(applications).Namespace(g.ns).Get(g.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	list, _, _ := unstructured.NestedSlice(app.Object, "status", "conditions")
	return fmt.Sprint(list)
}

// says waits until the conditions have the words, while the live object has the
// value still.
func (g *gated) says(what, value string, words ...string) {
	g.t.Helper()
	eventually(g.t, what, func() error {
		for _, w := range words {
			if c := g.conditions(); !strings.Contains(c, w) {
				return errors.New(c)
			}
		}
		return nil
	})
	g.value(what+": nothing is changed", value)
}

func TestGates(t *testing.T) {
	r := runServer(t, t.TempDir(), nil)
	eventually(t, "the server leads", r.leads)
	g := newGated(t)
	g.set(nil)
	g.commit("1", true)
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application", "metadata": map[string]any{"namespace": g.ns, "name": "web"},
		"spec": map[string]any{
			"project": g.project, "source": map[string]any{"repoURL": g.repo.dir, "path": "app"},
			"syncPolicy": map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
		},
	}}
	if _, err := g.client.Resource(applications).Namespace(g.ns).Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	g.value("a signed commit is applied", "1")
	first := g.head()
	g.commit("2", false)
	g.says("an unsigned commit is refused", "1", "ComparisonError", "by t <t@example.com> is not signed", "spec.sourceIntegrity.git.policies[0] of project "+g.project)
	g.commit("3", true)
	g.value("the next signed one is applied", "3")

	g.set(map[string]any{"syncWindows": []any{map[string]any{"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": []any{"web"}}}})
	g.commit("4", true)
	g.says("a closed window holds", "3", "SyncWindow", "deny window 0 (* * * * * for 1h) is in force")
	user, err := g.kube.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g.patch(map[string]any{"operation": map[string]any{
		"sync": map[string]any{}, "initiatedBy": map[string]any{"username": user.Status.UserInfo.Username},
		"info": []any{map[string]any{"name": v1alpha1.InfoOverride, "value": "the shop is down"}},
	}})
	g.value("an override goes through", "4")

	g.set(map[string]any{"freeze": map[string]any{"reason": "launch", "by": user.Status.UserInfo.Username}})
	g.commit("5", true)
	g.says("a freeze holds", "4", "Frozen", "launch")
	g.set(nil)
	g.value("until it is thawed", "5")

	g.patch(map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.AnnotationPin: first}}})
	g.value("a pin goes back", "1")
	g.says("and is shown", "1", "Pinned", "pinned at "+first)
	g.patch(map[string]any{"metadata": map[string]any{"annotations": nil}})
	g.value("without it Git is followed again", "5")
}
