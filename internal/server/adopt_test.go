package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// adopting is an Application whose drift is proposed to Git.
type adopting struct {
	t      *testing.T
	ns     string
	repo   repository
	client dynamic.Interface
	kube   kubernetes.Interface
}

const canary = "c4n4ry-adopted"

func newAdopting(t *testing.T) *adopting {
	a := &adopting{
		t: t, ns: kubetest.Namespace(t), client: dynamic.NewForConfigOrDie(kubetest.Config(t)), kube: kubernetes.NewForConfigOrDie(kubetest.Config(t)),
		repo: newRepository(t, map[string]string{
			"app/one.yaml":    "# kept\n" + configMap("one", "1") + "  other: a # kept too\n",
			"app/two.yaml":    configMap("two", "1"),
			"app/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: first\n",
		}),
	}
	createApplication(t, a.ns, "web", "file://"+a.repo.dir, "app")
	t.Cleanup(func() {
		_ = a.client.Resource(applications).Namespace(a.ns).Delete(context.Background(), "web", metav1.DeleteOptions{})
	})
	a.patchApplication(`{"spec": {"syncPolicy": {"drift": {"rules": [
		{"kind": "ConfigMap", "name": "one", "jsonPointers": ["/data/other"], "action": "ignore"},
		{"kind": "*", "action": "adopt"}
	]}}}}`)
	return a
}

func (a *adopting) patchApplication(patch string) {
	a.t.Helper()
	_, err := a.client.Resource(applications).Namespace(a.ns).Patch(a.t.Context(), "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
}

// live changes what runs.
func (a *adopting) live(name, patch string) {
	a.t.Helper()
	_, err := a.kube.CoreV1().ConfigMaps(a.ns).Patch(a.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *adopting) git(args ...string) string {
	out, err := exec.Command("git", append([]string{"-C", a.repo.dir}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return string(out)
}

func (a *adopting) branches() []string {
	return strings.Fields(a.git("for-each-ref", "--format=%(refname:short)", "refs/heads/plumb"))
}

// condition gives the message of a condition of the Application; empty for none.
func (a *adopting) condition(kind string) (string, error) {
	app, err := a.client.Resource(applications).Namespace(a.ns).Get(a.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	all, _, _ := unstructured.NestedSlice(app.Object, "status", "conditions")
	for _, c := range all {
		if c := c.(map[string]any); c["type"] == kind {
			return c["message"].(string), nil
		}
	}
	return "", nil
}

// says waits until a condition has the text.
func (a *adopting) says(what, kind, text string) {
	a.t.Helper()
	eventually(a.t, what, func() error {
		got, err := a.condition(kind)
		if err == nil && (got == "") != (text == "") || !strings.Contains(got, text) {
			err = fmt.Errorf("%s says %q", kind, got)
		}
		return err
	})
}

// proposes waits until the one branch holds the text in a file.
func (a *adopting) proposes(what, file, text string) {
	a.t.Helper()
	eventually(a.t, what, func() error {
		all := a.branches()
		if len(all) != 1 {
			return fmt.Errorf("the branches are %v", all)
		}
		if got := a.git("show", all[0]+":"+file); !strings.Contains(got, text) {
			return errors.New(got)
		}
		return nil
	})
}

func (a *adopting) synced() {
	a.t.Helper()
	eventually(a.t, "all is synced", func() error {
		sync, _ := status(a.t, a.ns, "web")
		message, err := a.condition(v1alpha1.ConditionDriftProposed)
		if sync != "Synced" || message != "" {
			return fmt.Errorf("it is %s: %s", sync, message)
		}
		return err
	})
}

func TestDriftIsProposedToGit(t *testing.T) {
	r := runServer(t, t.TempDir(), func(o *Options) { o.adoptPause = 200 * time.Millisecond; o.PollInterval = time.Second })
	eventually(t, "the server leads", r.leads)
	a := newAdopting(t)
	a.synced()

	hook := filepath.Join(a.repo.dir, ".git", "hooks", "pre-receive")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho nobody pushes >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.live("one", `{"data": {"value": "7", "other": "b"}}`)
	a.says("a refused push is told", v1alpha1.ConditionAdoptError, "right to push")
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	a.proposes("it is tried again", "app/one.yaml", `value: "7"`)
	a.says("the branch is named", v1alpha1.ConditionDriftProposed, a.branches()[0])
	a.says("nothing is wrong any more", v1alpha1.ConditionAdoptError, "")
	want := strings.Replace(a.git("show", "main:app/one.yaml"), `"1"`, `"7"`, 1)
	if got := a.git("show", a.branches()[0]+":app/one.yaml"); got != want {
		t.Errorf("more than the one value has changed:\n%s", got)
	}
	first := a.git("rev-parse", a.branches()[0])

	a.live("one", `{"data": {"value": "8"}}`)
	a.proposes("the branch follows the drift", "app/one.yaml", `value: "8"`)
	if n := strings.Count(a.git("log", "--oneline", "main.."+a.branches()[0]), "\n"); n != 1 {
		t.Errorf("the branch has %d commits", n)
	}
	if a.git("rev-parse", a.branches()[0]) == first {
		t.Error("the branch has not moved")
	}
	a.deletion()
	cm, err := a.kube.CoreV1().ConfigMaps(a.ns).Get(t.Context(), "one", metav1.GetOptions{})
	if err != nil || cm.Data["value"] != "8" {
		t.Errorf("what is proposed is not healed: %v %v", cm.Data, err)
	}
	a.secret()

	pushed := a.git("rev-parse", a.branches()[0])
	r.stop() // another process finds what the first has proposed
	r = runServer(t, t.TempDir(), func(o *Options) { o.adoptPause = 200 * time.Millisecond; o.PollInterval = time.Second })
	eventually(t, "the next server leads", r.leads)
	a.says("it says so still", v1alpha1.ConditionDriftProposed, a.branches()[0])
	a.repo.git("merge", "-q", "--no-edit", a.branches()[0])
	if a.git("rev-parse", a.branches()[0]) != pushed {
		t.Error("the same drift was pushed again")
	}
	a.synced()
	if cm, err = a.kube.CoreV1().ConfigMaps(a.ns).Get(t.Context(), "one", metav1.GetOptions{}); err != nil || cm.Data["value"] != "8" {
		t.Errorf("after the merge it is %v, %v", cm.Data, err)
	}
}

// deletion has something taken out of Git that was deleted where it ran.
func (a *adopting) deletion() {
	a.t.Helper()
	if err := a.kube.CoreV1().ConfigMaps(a.ns).Delete(a.t.Context(), "two", metav1.DeleteOptions{}); err != nil {
		a.t.Fatal(err)
	}
	eventually(a.t, "the deletion is proposed", func() error {
		if files := a.git("ls-tree", "--name-only", a.branches()[0], "app/"); strings.Contains(files, "two.yaml") {
			return errors.New(files)
		}
		return nil
	})
}

// secret checks that what a Secret holds goes nowhere; it is put right by hand.
func (a *adopting) secret() {
	a.t.Helper()
	secrets := a.kube.CoreV1().Secrets(a.ns)
	patch := func(value string) {
		if _, err := secrets.Patch(a.t.Context(), "s", types.MergePatchType, []byte(`{"stringData": {"password": "`+value+`"}}`), metav1.PatchOptions{}); err != nil {
			a.t.Fatal(err)
		}
	}
	patch(canary)
	a.says("Secrets are refused", v1alpha1.ConditionAdoptError, "never written to Git")
	if got := a.git("log", "-p", "--all"); strings.Contains(got, canary) {
		a.t.Error("a secret is in Git")
	}
	app, err := a.client.Resource(applications).Namespace(a.ns).Get(a.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	if text, _ := app.MarshalJSON(); strings.Contains(string(text), canary) {
		a.t.Error("a secret is in the status")
	}
	patch("first")
	a.says("the Secret is as declared again", v1alpha1.ConditionAdoptError, "")
}
