package controller

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// sink keeps what the engine would be told.
type sink struct {
	mu   sync.Mutex
	told []engine.Key
}

func (s *sink) Enqueue(keys ...engine.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, keys...)
}

func (s *sink) count(key engine.Key) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.told {
		if k == key {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never came true: %s", what)
}

// world is a controller on a real API server.
type world struct {
	*Controller
	sink    *sink
	client  dynamic.Interface
	kube    kubernetes.Interface
	renewed chan string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config := kubetest.Config(t)
	installed, err := Install(t.Context(), config, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{sink: &sink{}, renewed: make(chan string, 100)}
	w.Controller, err = New(Options{
		Config: config, Installed: installed,
		CredentialsChanged: func(repo string) { w.renewed <- repo },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.client = dynamic.NewForConfigOrDie(config)
	w.kube = kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if err := w.Start(ctx, w.sink); err != nil {
		t.Fatal(err)
	}
	return w
}

func resource(group, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: v1alpha1.Version, Resource: name}
}

// create makes an Application and waits until it is known.
func (w *world) create(t *testing.T, key engine.Key, spec map[string]any, meta map[string]any) {
	t.Helper()
	metadata := map[string]any{"namespace": key.Namespace, "name": key.Name}
	for k, v := range meta {
		metadata[k] = v
	}
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": key.Group + "/" + v1alpha1.Version, "kind": "Application", "metadata": metadata, "spec": spec,
	}}
	_, err := w.client.Resource(resource(key.Group, v1alpha1.ApplicationResource)).Namespace(key.Namespace).
		Create(t.Context(), obj, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, key.String()+" is known", func() bool { _, ok := w.Get(key); return ok && w.sink.count(key) > 0 })
}

func (w *world) patch(t *testing.T, key engine.Key, patch string) {
	t.Helper()
	_, err := w.client.Resource(resource(key.Group, v1alpha1.ApplicationResource)).Namespace(key.Namespace).
		Patch(t.Context(), key.Name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) live(t *testing.T, key engine.Key) *v1alpha1.Application {
	t.Helper()
	app, err := w.groups[key.Group].read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

var plainSpec = map[string]any{"source": map[string]any{"repoURL": "https://git.example/team/app", "path": "."}}

func TestStatusIsWrittenOnceAndReadBack(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	for _, group := range []string{v1alpha1.Group, v1alpha1.ArgoGroup} {
		key := engine.Key{Group: group, Namespace: ns, Name: "status"}
		w.create(t, key, plainSpec, nil)
		app, _ := w.Get(key)
		told := w.sink.count(key)
		status := *app.Status.DeepCopy()
		status.ObservedGeneration = app.Generation
		status.Sync.Status = v1alpha1.SyncStatusCodeSynced
		status.Inventory = []v1alpha1.InventoryEntry{{ID: "/ConfigMap/shop/settings", Version: "v1"}}
		if err := w.WriteStatus(t.Context(), app, key, status); err != nil {
			t.Fatal(err)
		}
		got, _ := w.Get(key)
		if diff := cmp.Diff(status, got.Status); diff != "" {
			t.Errorf("%s: status read right after it was written (-want +got):\n%s", group, diff)
		}
		written := w.live(t, key)
		if err := w.WriteStatus(t.Context(), got, key, status); err != nil {
			t.Fatal(err)
		}
		if again := w.live(t, key); again.ResourceVersion != written.ResourceVersion {
			t.Errorf("%s: an equal status was written again", group)
		}
		w.patch(t, key, `{"metadata":{"labels":{"changed":"meanwhile"}}}`)
		told++
		cleared := status
		cleared.Inventory, cleared.Sync.Status = nil, v1alpha1.SyncStatusCodeOutOfSync
		if err := w.WriteStatus(t.Context(), got, key, cleared); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cleared, w.live(t, key).Status); diff != "" {
			t.Errorf("%s: status with something removed (-want +got):\n%s", group, diff)
		}
		eventually(t, "the mirror has caught up", func() bool {
			mirrored, _ := w.groups[group].apps.Get(ns, "status")
			return mirrored.ResourceVersion == w.live(t, key).ResourceVersion
		})
		if n := w.sink.count(key); n != told {
			t.Errorf("%s: the engine's own writing led to %d passes", group, n-told)
		}
	}
}

func TestStatusOfAnotherObjectOfTheSameName(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.Group, Namespace: kubetest.Namespace(t), Name: "twin"}
	w.create(t, key, plainSpec, nil)
	first, _ := w.Get(key)
	apps := w.client.Resource(resource(key.Group, v1alpha1.ApplicationResource)).Namespace(key.Namespace)
	if err := apps.Delete(t.Context(), key.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion is known", func() bool { _, ok := w.Get(key); return !ok })
	if w.sink.count(key) < 2 {
		t.Error("the engine was not told of the deletion")
	}
	w.create(t, key, plainSpec, nil)
	status := v1alpha1.ApplicationStatus{SourceType: "Directory"}
	if err := w.WriteStatus(t.Context(), first, key, status); err != nil {
		t.Error(err)
	}
	if got := w.live(t, key).Status; got.SourceType != "" {
		t.Error("the status of an Application that is gone was written to another one")
	}
}

func TestSettle(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.ArgoGroup, Namespace: kubetest.Namespace(t), Name: "settle"}
	w.create(t, key, plainSpec, nil)
	w.patch(t, key, `{"operation":{"sync":{"prune":true}},"metadata":{"annotations":{"argocd.argoproj.io/refresh":"hard","keep":"me"}}}`)
	eventually(t, "the request is known", func() bool { a, _ := w.Get(key); return a.Operation != nil })
	told := w.sink.count(key)
	asked, _ := w.Get(key)
	if err := w.Settle(t.Context(), key, asked, false, true); err != nil {
		t.Fatal(err)
	}
	if a := w.live(t, key); a.Operation == nil || a.Annotations[v1alpha1.AnnotationRefresh] != "" || a.Annotations["keep"] != "me" {
		t.Errorf("after the refresh was settled: operation %v, annotations %v", a.Operation, a.Annotations)
	}
	if err := w.Settle(t.Context(), key, asked, true, true); err != nil {
		t.Fatal(err)
	}
	if a, _ := w.Get(key); a.Operation != nil || w.live(t, key).Operation != nil {
		t.Error("the operation was not settled")
	}
	if n := w.sink.count(key) - told; n > 1 {
		t.Errorf("settling led to %d passes", n)
	}

	// A request that is made while the last one is being settled must stay.
	w.patch(t, key, `{"operation":{"sync":{"revision":"old"}}}`)
	heard := w.live(t, key)
	w.patch(t, key, `{"operation":{"sync":{"revision":"new"}}}`)
	eventually(t, "the newer request is known", func() bool {
		a, _ := w.Get(key)
		return a.Operation != nil && a.Operation.Sync.Revision == "new"
	})
	if err := w.Settle(t.Context(), key, heard, true, false); err != nil {
		t.Fatal(err)
	}
	if a := w.live(t, key); a.Operation == nil || a.Operation.Sync.Revision != "new" {
		t.Errorf("a request was lost: %v", a.Operation)
	}
}

func TestRelease(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.Group, Namespace: kubetest.Namespace(t), Name: "release"}
	w.create(t, key, plainSpec, map[string]any{"finalizers": []any{
		"resources-finalizer.argocd.argoproj.io", "resources-finalizer.argocd.argoproj.io/background",
		"post-delete-finalizer.argocd.argoproj.io/cleanup", "plumb.dev/resources-finalizer", "example.com/other",
	}})
	if err := w.Release(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if n := len(w.live(t, key).Finalizers); n != 5 {
		t.Fatalf("an Application that nobody deletes was released: %d finalizers", n)
	}
	apps := w.client.Resource(resource(key.Group, v1alpha1.ApplicationResource)).Namespace(key.Namespace)
	if err := apps.Delete(t.Context(), key.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion is known", func() bool { a, ok := w.Get(key); return ok && a.DeletionTimestamp != nil })
	w.patch(t, key, `{"metadata":{"labels":{"changed":"meanwhile"}}}`)
	if err := w.Release(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"example.com/other"}, w.live(t, key).Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	w.patch(t, key, `{"metadata":{"finalizers":null}}`)
	eventually(t, "the Application is gone", func() bool { _, ok := w.Get(key); return !ok })
	if err := w.Release(t.Context(), key); err != nil {
		t.Errorf("release of what is gone: %v", err)
	}
}

func TestProjects(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	spec := map[string]any{"project": "fenced", "source": plainSpec["source"]}
	ours := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "fenced"}
	argo := engine.Key{Group: v1alpha1.ArgoGroup, Namespace: ns, Name: "fenced"}
	w.create(t, ours, spec, nil)
	w.create(t, argo, spec, nil)
	fence := func(key engine.Key) (engine.Fence, error) {
		app, _ := w.Get(key)
		return w.Fence(app, key)
	}
	_, err := fence(argo)
	verdict(t, "a project that is not there", err, "there is no project fenced: create the AppProject appprojects.argoproj.io in the namespace argocd")

	project := func(group, namespace string, spec map[string]any) {
		t.Helper()
		obj := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": group + "/" + v1alpha1.Version, "kind": "AppProject",
			"metadata": map[string]any{"namespace": namespace, "name": "fenced"}, "spec": spec,
		}}
		projects := w.client.Resource(resource(group, v1alpha1.AppProjectResource)).Namespace(namespace)
		if _, err := projects.Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = projects.Delete(context.Background(), "fenced", metav1.DeleteOptions{}) })
	}
	told := w.sink.count(argo)
	project(v1alpha1.ArgoGroup, ArgoNamespace, map[string]any{"sourceRepos": []any{"*"}})
	eventually(t, "the Application is looked at again", func() bool { return w.sink.count(argo) > told })
	_, err = fence(argo)
	verdict(t, "a namespace that is not listed", err, "does not accept Applications of the namespace "+ns)
	_, err = fence(ours)
	verdict(t, "a project of the other group", err, "there is no project fenced")

	told = w.sink.count(ours)
	project(v1alpha1.Group, ns, map[string]any{"sourceRepos": []any{"https://git.example/other/*"}})
	eventually(t, "the Application is looked at again", func() bool { return w.sink.count(ours) > told })
	f, err := fence(ours)
	verdict(t, "a project of the Application's own namespace", err, "")
	verdict(t, "its rules", f.AllowSource("https://git.example/team/app"), "project fenced (AppProject "+ns+"/fenced) does not allow the repository")

	project(v1alpha1.Group, SystemNamespace, map[string]any{"sourceRepos": []any{"*"}, "sourceNamespaces": []any{ns}, "roles": []any{map[string]any{"name": "r"}}})
	eventually(t, "the platform's project goes before the team's", func() bool {
		f, err := fence(ours)
		return err == nil && f.AllowSource("https://git.example/team/app") == nil
	})
	app, _ := w.Get(ours)
	if diff := cmp.Diff([]string{"spec.roles of AppProject plumb-system/fenced"}, w.Unimplemented(app, ours)); diff != "" {
		t.Errorf("fields that are not implemented (-want +got):\n%s", diff)
	}

	unnamed := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "unnamed"}
	w.create(t, unnamed, plainSpec, nil)
	f, err = fence(unnamed)
	verdict(t, "the default project that nobody has made", err, "")
	verdict(t, "it allows everything", f.AllowSource("https://anything"), "")
	verdict(t, "it allows everything", f.AllowDestination(v1alpha1.InClusterServer, "in-cluster", "kube-system"), "")
}

func TestCredentialsFollowTheirSecrets(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.Group, Namespace: kubetest.Namespace(t), Name: "private"}
	w.create(t, key, map[string]any{"source": map[string]any{"repoURL": "https://private.example/team/app.git"}}, nil)
	told := w.sink.count(key)
	secrets := w.kube.CoreV1().Secrets(ArgoNamespace)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: key.Namespace, Labels: map[string]string{v1alpha1.LabelSecretType: "repo-creds"}},
		StringData: map[string]string{"url": "https://private.example/team", "username": "u", "password": canary},
	}
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = secrets.Delete(context.Background(), secret.Name, metav1.DeleteOptions{}) })
	eventually(t, "the Application is looked at again", func() bool { return w.sink.count(key) > told })
	if got := <-w.renewed; got != "https://private.example/team/app.git" {
		t.Errorf("told of %s", got)
	}
	cred, err := w.For("https://private.example/team/app", "default")
	if err != nil || cred.Password != canary {
		t.Errorf("credentials of the user %q, error %v", cred.Username, err)
	}
	if err := secrets.Delete(t.Context(), secret.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the credentials are gone", func() bool {
		cred, err := w.For("https://private.example/team/app", "default")
		return err == nil && cred.Password == ""
	})
	if !slices.Contains(w.Repositories(), "https://private.example/team/app.git") {
		t.Error("the repository is not listed")
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.Group, Namespace: kubetest.Namespace(t), Name: "events"}
	w.create(t, key, plainSpec, nil)
	app, _ := w.Get(key)
	for range 3 {
		w.Record(engine.Event{Key: key, UID: string(app.UID), Reason: "OperationCompleted", Message: "synced"})
	}
	eventually(t, "one Event counts all three", func() bool {
		list, err := w.kube.CoreV1().Events(key.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items) == 1 && list.Items[0].Count == 3 && list.Items[0].InvolvedObject.UID == app.UID &&
			list.Items[0].InvolvedObject.APIVersion == "plumb.dev/v1alpha1"
	})
}

func TestForeignDefinitionIsLeftAlone(t *testing.T) {
	config := kubetest.Config(t)
	if _, err := Install(t.Context(), config, false, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	client := dynamic.NewForConfigOrDie(config)
	name := v1alpha1.ApplicationResource + "." + v1alpha1.ArgoGroup
	label := func(value string) {
		t.Helper()
		body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelPartOf: value}}})
		if _, err := client.Resource(definitions).Patch(context.Background(), name, "application/merge-patch+json", body, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label("argocd")
	t.Cleanup(func() { label(v1alpha1.LabelPartOfValue) })
	for asked, want := range map[bool]Installed{
		false: {ArgoForeign: true, ArgoStatusSubresource: true, Guarded: true, Approvable: true},
		true:  {Argo: true, ArgoForeign: true, ArgoStatusSubresource: true, Guarded: true, Approvable: true},
	} {
		before, err := client.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Install(t.Context(), config, asked, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Installed{})); diff != "" {
			t.Errorf("asked for: %v (-want +got):\n%s", asked, diff)
		}
		after, err := client.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if before.GetResourceVersion() != after.GetResourceVersion() {
			t.Error("a definition of another program was changed")
		}
	}
}
