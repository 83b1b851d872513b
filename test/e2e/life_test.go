package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func annotated(text string, annotations map[string]any) string {
	lines := []string{"  annotations:"}
	for k, v := range annotations {
		lines = append(lines, fmt.Sprintf("    %s: %q", k, v))
	}
	return strings.Replace(text, "metadata:\n", "metadata:\n"+strings.Join(lines, "\n")+"\n", 1)
}

func hook(name, phase string) string {
	return annotated(configMap(name, "ran"), map[string]any{"argocd.argoproj.io/hook": phase})
}

// says waits until a ConfigMap has a value.
func (w *world) says(t *testing.T, ns, name, want string) {
	t.Helper()
	eventually(t, name+" says "+want, func() (bool, string) {
		got := w.value(t, ".data.value", "configmap", name, "-n", ns)
		return got == want, got
	})
}

// gone waits until an object is not there any more.
func (w *world) gone(t *testing.T, args ...string) {
	t.Helper()
	eventually(t, strings.Join(args, " ")+" is gone", func() (bool, string) {
		return !w.exists(t, args...), "still there"
	})
}

func TestKilledEngineGoesOn(t *testing.T) {
	w := plumb(t)
	ns := kubetest.Namespace(t)
	files := map[string]string{"app/before.yaml": hook("before", "PreSync")}
	for i := range 40 {
		files[fmt.Sprintf("app/%d.yaml", i)] = configMap(fmt.Sprint("c", i), "1")
	}
	r := newRepository(t, files)
	w.declare(t, ns, application("killed", r.url(), "app", ns, nil))
	eventually(t, "the sync has begun", func() (bool, string) {
		return w.exists(t, "configmap", "before", "-n", ns), "nothing is there"
	})
	w.engine.Kill()
	later := map[string]string{"app/before.yaml": "", "app/new.yaml": configMap("new", "1")}
	for i := range 20 {
		later[fmt.Sprintf("app/%d.yaml", i)] = ""
	}
	r.commit(later)
	w.start(t)
	w.await(t, ns, "killed", "Synced", "Healthy")
	w.says(t, ns, "new", "1")
	eventually(t, "what has left Git is gone", func() (bool, string) {
		names := w.value(t, ".items[*].metadata.name", "configmap", "-n", ns)
		return len(strings.Fields(names)) <= 1+21+1, names // kube-root-ca.crt, 20 + new, and the hook
	})
	patchFinalizer(t, w, ns, "killed")
	w.kubectl(t, "", "delete", "applications.plumb.dev", "killed", "-n", ns)
	eventually(t, "nothing stays behind, the hook neither", func() (bool, string) {
		names := w.value(t, ".items[*].metadata.name", "configmap", "-n", ns)
		return names == "kube-root-ca.crt", names
	})
}

func patchFinalizer(t *testing.T, w *world, ns, name string) {
	t.Helper()
	w.kubectl(t, "", "patch", "applications.plumb.dev", name, "-n", ns, "--type=merge", "-p",
		`{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
}

func TestLife(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *world, string){
		"heal and prune":                 testHealAndPrune,
		"drift without selfHeal":         testDriftIsShown,
		"what must not be pruned":        testNotPruned,
		"deletion in reverse order":      testDeletion,
		"deletion without a finalizer":   testDeletionWithout,
		"deletion while Git is gone":     testDeletionWithoutGit,
		"a dependent waits":              testDependsOn,
		"hooks run once for each change": testHooks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := plumb(t)
			test(t, w, kubetest.Namespace(t))
		})
	}
}

func testHealAndPrune(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{
		"app/web.yaml": deployment("web", "registry.example/web:1", nil), "app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1"),
	})
	w.declare(t, ns, application("life", r.url(), "app", ns, nil))
	w.await(t, ns, "life", "Synced", "Healthy")
	w.kubectl(t, "", "delete", "deployment", "web", "-n", ns)
	eventually(t, "the Deployment is there again", func() (bool, string) {
		return w.exists(t, "deployment", "web", "-n", ns), "missing"
	})
	w.kubectl(t, "", "scale", "deployment", "web", "--replicas=3", "-n", ns)
	eventually(t, "the scale is taken back", func() (bool, string) {
		got := w.value(t, ".spec.replicas", "deployment", "web", "-n", ns)
		return got == "1", got
	})
	w.kubectl(t, "", "patch", "configmap", "a", "-n", ns, "--type=merge", "-p", `{"data":{"value":"mine"}}`)
	w.says(t, ns, "a", "1")
	r.commit(map[string]string{"app/b.yaml": "", "app/a.yaml": configMap("a", "2")})
	w.says(t, ns, "a", "2")
	w.gone(t, "configmap", "b", "-n", ns)
	w.await(t, ns, "life", "Synced", "Healthy")
	if o := w.plumb(t, "history", "life", "-n", ns); o.code != 0 || len(strings.Split(strings.TrimSpace(o.stdout), "\n")) < 3 {
		t.Errorf("two syncs are not in the history: %s", o)
	}
}

func testDriftIsShown(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{"app/a.yaml": configMap("a", "declared")})
	w.declare(t, ns, application("drift", r.url(), "app", ns, func(s map[string]any) {
		s["syncPolicy"] = map[string]any{"automated": map[string]any{}}
	}))
	w.await(t, ns, "drift", "Synced", "Healthy")
	if o := w.plumb(t, "diff", "drift", "-n", ns); o.code != 0 || o.stdout != "" {
		t.Errorf("a diff of what is in sync: %s", o)
	}
	w.kubectl(t, "", "patch", "configmap", "a", "-n", ns, "--type=merge", "-p", `{"data":{"value":"drifted"}}`)
	w.await(t, ns, "drift", "OutOfSync", "Healthy")
	o := w.plumb(t, "diff", "drift", "-n", ns)
	if o.code != 1 || !strings.Contains(o.stdout, "-  value: drifted") || !strings.Contains(o.stdout, "+  value: declared") {
		t.Errorf("a diff of drift: %s", o)
	}
	if o := w.plumb(t, "sync", "drift", "-n", ns, "--wait"); o.code != 0 {
		t.Errorf("plumb sync: %s", o)
	}
	w.says(t, ns, "a", "declared")
	w.await(t, ns, "drift", "Synced", "Healthy")
}

func testNotPruned(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{
		"app/kept.yaml": annotated(configMap("kept", "1"), map[string]any{"argocd.argoproj.io/sync-options": "Prune=false"}),
		"app/a.yaml":    configMap("a", "1"),
	})
	w.declare(t, ns, application("guarded", r.url(), "app", ns, nil))
	w.await(t, ns, "guarded", "Synced", "Healthy")
	r.commit(map[string]string{"app/kept.yaml": "", "app/a.yaml": configMap("a", "2")})
	w.says(t, ns, "a", "2")
	w.await(t, ns, "guarded", "OutOfSync", "Healthy")
	r.commit(map[string]string{"app/a.yaml": "", "app/README.md": "nothing is left\n"})
	eventually(t, "that nothing is left is taken for a mistake", func() (bool, string) {
		a := w.app(t, ns, "guarded")
		message, _ := a.condition("SyncError")
		return strings.Contains(message, "allowEmpty"), a.String()
	})
	for _, name := range []string{"kept", "a"} {
		if !w.exists(t, "configmap", name, "-n", ns) {
			t.Errorf("%s was deleted", name)
		}
	}
}

func testDeletion(t *testing.T, w *world, ns string) {
	first := annotated(configMap("first", "1"), map[string]any{"argocd.argoproj.io/sync-wave": "-1"})
	first = strings.Replace(first, "metadata:\n", "metadata:\n  finalizers: [example.org/slow]\n", 1)
	second := annotated(configMap("second", "1"), map[string]any{"argocd.argoproj.io/sync-wave": "1"})
	second = strings.Replace(second, "metadata:\n", "metadata:\n  finalizers: [example.org/slow]\n", 1)
	r := newRepository(t, map[string]string{"app/first.yaml": first, "app/second.yaml": second})
	w.declare(t, ns, application("leaving", r.url(), "app", ns, nil))
	patchFinalizer(t, w, ns, "leaving")
	w.await(t, ns, "leaving", "Synced", "Healthy")
	w.kubectl(t, "", "delete", "applications.plumb.dev", "leaving", "-n", ns, "--wait=false")
	deleting := func(name string) string {
		return w.value(t, ".metadata.deletionTimestamp", "configmap", name, "-n", ns)
	}
	eventually(t, "the last wave goes", func() (bool, string) { return deleting("second") != "", "not asked to go" })
	if deleting("first") != "" {
		t.Error("the first wave goes before the last is gone")
	}
	release := func(name string) {
		w.kubectl(t, "", "patch", "configmap", name, "-n", ns, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	}
	release("second")
	eventually(t, "the first wave goes", func() (bool, string) { return deleting("first") != "", "not asked to go" })
	if !w.exists(t, "applications.plumb.dev", "leaving", "-n", ns) {
		t.Error("the Application is gone before what it holds")
	}
	release("first")
	w.gone(t, "applications.plumb.dev", "leaving", "-n", ns)
}

func testDeletionWithout(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{"app/a.yaml": configMap("a", "1")})
	w.declare(t, ns, application("orphaning", r.url(), "app", ns, nil))
	w.await(t, ns, "orphaning", "Synced", "Healthy")
	w.kubectl(t, "", "delete", "applications.plumb.dev", "orphaning", "-n", ns)
	// The next Application shows that the engine has seen the deletion.
	w.declare(t, ns, application("next", r.url(), "app", ns, nil))
	w.await(t, ns, "next", "Synced", "Healthy")
	if !w.exists(t, "configmap", "a", "-n", ns) {
		t.Error("what the Application held is gone with it, although it has no finalizer")
	}
}

func testDeletionWithoutGit(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{"app/a.yaml": configMap("a", "1")})
	w.declare(t, ns, application("gitless", r.url(), "app", ns, nil))
	patchFinalizer(t, w, ns, "gitless")
	w.await(t, ns, "gitless", "Synced", "Healthy")
	if err := os.Rename(r.dir, r.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "", "delete", "applications.plumb.dev", "gitless", "-n", ns)
	w.gone(t, "configmap", "a", "-n", ns)
}

func testDependsOn(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{
		"base/a.yaml": configMap("a", "1"), "top/b.yaml": configMap("b", "1"), "wrong/x.yaml": "apiVersion: v1\nkind: [\n",
	})
	w.declare(t, ns,
		application("base", r.url(), "wrong", ns, nil),
		application("top", r.url(), "top", ns, func(s map[string]any) { s["dependsOn"] = []any{map[string]any{"name": "base"}} }))
	patchFinalizer(t, w, ns, "base")
	patchFinalizer(t, w, ns, "top")
	eventually(t, "the dependent says for whom it waits", func() (bool, string) {
		a := w.app(t, ns, "top")
		message, _ := a.condition("WaitingForDependency")
		return strings.Contains(message, "base"), a.String()
	})
	if w.exists(t, "configmap", "b", "-n", ns) {
		t.Error("it did not wait")
	}
	w.kubectl(t, "", "patch", "applications.plumb.dev", "base", "-n", ns, "--type=merge", "-p", `{"spec":{"source":{"path":"base"}}}`)
	w.await(t, ns, "base", "Synced", "Healthy")
	w.await(t, ns, "top", "Synced", "Healthy")
	w.kubectl(t, "", "delete", "applications.plumb.dev", "base", "-n", ns, "--wait=false")
	eventually(t, "what others depend on waits to be deleted", func() (bool, string) {
		a := w.app(t, ns, "base")
		message, _ := a.condition("WaitingForDependency")
		return strings.Contains(message, "top"), a.String()
	})
	w.kubectl(t, "", "delete", "applications.plumb.dev", "top", "-n", ns, "--wait=false")
	w.gone(t, "applications.plumb.dev", "base", "-n", ns)
	w.gone(t, "configmap", "a", "-n", ns)
}

func testHooks(t *testing.T, w *world, ns string) {
	r := newRepository(t, map[string]string{
		"app/pre.yaml": hook("pre", "PreSync"), "app/a.yaml": configMap("a", "1"), "app/post.yaml": hook("post", "PostSync"),
	})
	w.declare(t, ns, application("hooked", r.url(), "app", ns, nil))
	w.await(t, ns, "hooked", "Synced", "Healthy")
	eventually(t, "the last hook has run", func() (bool, string) { return w.exists(t, "configmap", "post", "-n", ns), "" })
	uid := func() string { return w.value(t, ".metadata.uid", "configmap", "pre", "-n", ns) }
	first := uid()
	w.kubectl(t, "", "delete", "configmap", "a", "-n", ns)
	w.says(t, ns, "a", "1")
	if now := uid(); now != first {
		t.Error("a heal ran the hooks")
	}
	r.commit(map[string]string{"app/a.yaml": configMap("a", "2")})
	w.says(t, ns, "a", "2")
	eventually(t, "the hook has run for the commit", func() (bool, string) { now := uid(); return now != "" && now != first, now })
}
