package kube_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/drivertest"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/driver/kube/assess"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// theCluster is the one destination of most tests.
type theCluster struct{ config *rest.Config }

func (c theCluster) Config(string) (*rest.Config, error) { return c.config, nil }

func newDriver(t *testing.T, change func(*kube.Options)) *kube.Driver {
	t.Helper()
	o := kube.Options{Clusters: theCluster{kubetest.Config(t)}, Assess: assess.New().Health}
	if change != nil {
		change(&o)
	}
	d := kube.New(o)
	t.Cleanup(d.Close)
	return d
}

// object makes a render.Object as a renderer does.
func object(t *testing.T, content map[string]any) render.Object {
	t.Helper()
	b, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	u := unstructured.Unstructured{Object: content}
	gvk := u.GroupVersionKind()
	return render.Object{JSON: b, Hash: hex.EncodeToString(sum[:]), Ref: plan.Ref{
		Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName(),
	}}
}

func configMap(t *testing.T, name, value string) render.Object {
	return object(t, map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name}, "data": map[string]any{"value": value}})
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{New: func(t *testing.T) drivertest.Setup {
		namespace := kubetest.Namespace(t)
		return drivertest.Setup{
			Driver: newDriver(t, func(o *kube.Options) { o.Installation = namespace }),
			Target: func(owner driver.Owner) driver.Target {
				return driver.Target{Owner: owner, Server: "https://here", Namespace: namespace}
			},
			Object: func(name, value string) render.Object { return configMap(t, name, value) },
			World:  world{namespace, client(t)},
			Secret: func(name, value string) render.Object {
				return object(t, map[string]any{"apiVersion": "v1", "kind": "Secret",
					"metadata": map[string]any{"name": name}, "stringData": map[string]any{"value": value}})
			},
			Invalid: func(name string) render.Object {
				return object(t, map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
					"metadata": map[string]any{"name": name}, "data": map[string]any{"not/allowed": "x"}})
			},
			Annotate: annotate,
		}
	}})
}

func annotate(o render.Object, annotations map[string]string) render.Object {
	var u unstructured.Unstructured
	if err := json.Unmarshal(o.JSON, &u.Object); err != nil {
		panic(err)
	}
	u.SetAnnotations(annotations)
	b, err := json.Marshal(u.Object)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b)
	o.JSON, o.Hash = b, hex.EncodeToString(sum[:])
	return o
}

func client(t *testing.T) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type world struct {
	namespace string
	client    dynamic.Interface
}

func (w world) of(ref plan.Ref) dynamic.ResourceInterface {
	resource := map[string]string{"ConfigMap": "configmaps", "Secret": "secrets"}[ref.Kind]
	return w.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace(w.namespace)
}

func (w world) Edit(t *testing.T, ref plan.Ref, value string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]any{"value": value}})
	if err == nil {
		_, err = w.of(ref).Patch(t.Context(), ref.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "someone"})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w world) Delete(t *testing.T, ref plan.Ref) {
	t.Helper()
	if err := w.of(ref).Delete(t.Context(), ref.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w world) Value(t *testing.T, ref plan.Ref) (string, bool) {
	t.Helper()
	o, err := w.of(ref).Get(context.Background(), ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	v, _, _ := unstructured.NestedString(o.Object, "data", "value")
	return v, true
}
