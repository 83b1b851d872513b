package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func commandIn(ctx context.Context, args ...string) (out, errs string, code int) {
	var o, e buffer
	code = run(ctx, args, Streams{In: strings.NewReader(""), Out: &o, Err: &e}, environment{NoColor: true, DataDir: "/nonexistent/plumb"})
	return o.String(), e.String(), code
}

// world is an API server with Plumb's definitions and a namespace for a test.
type world struct {
	t         *testing.T
	k         *connection
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config := kubetest.Config(t)
	if _, err := controller.Install(t.Context(), config, true, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	k := &connection{kubeconfig: kubetest.Kubeconfig(t)}
	if err := k.open(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, k: k, namespace: kubetest.Namespace(t)}
	w.eventually("the definitions are served", func() bool {
		for _, gv := range groups {
			if _, err := k.resource(gv.Group).List(t.Context(), metav1.ListOptions{Limit: 1}); err != nil {
				return false
			}
		}
		return true
	})
	return w
}

// plumb runs a command line against the world.
func (w *world) plumb(args ...string) (out, errs string, code int) {
	w.t.Helper()
	return commandIn(w.t.Context(), append(args, "--kubeconfig", w.k.kubeconfig)...)
}

// application creates an Application and gives it a status.
func (w *world) application(group, name, spec, status string) engine.Key {
	w.t.Helper()
	key := engine.Key{Group: group, Namespace: w.namespace, Name: name}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": name, "namespace": w.namespace, "labels": map[string]any{"test": w.namespace}},
	}}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		w.t.Fatal(err)
	}
	u.Object["spec"] = fields
	if _, err := w.k.object(key).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx := context.Background()
		_, _ = w.k.object(key).Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		_ = w.k.object(key).Delete(ctx, name, metav1.DeleteOptions{})
	})
	if status != "" {
		w.status(key, status)
	}
	return key
}

// status sets the status, as the engine would.
func (w *world) status(key engine.Key, status string) {
	w.t.Helper()
	var fields any
	if err := yaml.Unmarshal([]byte(status), &fields); err != nil {
		w.t.Fatal(err)
	}
	w.patch(key, map[string]any{"status": fields}, "status")
}

func (w *world) patch(key engine.Key, what map[string]any, subresources ...string) {
	w.t.Helper()
	patch, err := json.Marshal(what)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.k.object(key).Patch(w.t.Context(), key.Name, types.MergePatchType, patch, metav1.PatchOptions{}, subresources...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(key engine.Key) application {
	w.t.Helper()
	a, err := w.k.reload(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// eventually waits until something is so.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not so in time: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

const plainSpec = `
source: {repoURL: https://git.example/shop.git, path: apps/web, targetRevision: main}
destination: {server: https://kubernetes.default.svc, namespace: shop}
project: shop
`

const goodStatus = `
sync: {status: Synced, revision: 0123456789abcdef0123456789abcdef01234567}
health: {status: Healthy}
`
