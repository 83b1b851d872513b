package kube_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/plan"
)

// through gives the stage a new driver whose requests go through a transport.
func (s *stage) through(wrap func(http.RoundTripper) http.RoundTripper) {
	config := rest.CopyConfig(kubetest.Config(s.T))
	config.Wrap(wrap)
	s.restart(func(o *kube.Options) { o.Clusters, o.Installation = theCluster{config}, "this-one" })
}

// The API server of a group may be away while its objects are all there.
func TestAGroupThatIsAwayIsNotGone(t *testing.T) {
	for what, deleting := range map[string]bool{"pruned": false, "deleted with its Application": true} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t, installed)
			s.declare(configMap(t, "a", "1"), deployment(t, "web", "img", 1))
			s.sync()
			var away atomic.Bool
			away.Store(true)
			s.through(func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(q *http.Request) (*http.Response, error) {
					if q.URL.Path == "/apis" || q.URL.Path == "/api" {
						q = q.Clone(q.Context())
						q.Header.Set("Accept", "application/json")
					}
					if q.URL.Path == "/apis/apps/v1" && away.Load() {
						r := forbidden(q)
						r.StatusCode = http.StatusServiceUnavailable
						return r, nil
					}
					return next.RoundTrip(q)
				})
			})
			s.declare(configMap(t, "a", "1"))
			s.desired.Deleting = deleting
			c := s.compare()
			r := s.resource(c, "web")
			if !r.Exists || r.Problem == nil || !r.Problem.Transient || r.Sync != driver.Unknown || c.Plan.Count().Delete > 1 {
				t.Errorf("what can't be seen must not be taken for gone: %+v %+v", r, r.Problem)
			}
			away.Store(false)
			s.eventually("it is pruned when its group is back", func(c driver.Comparison) bool {
				return strings.Contains(steps(c), "delete apps/Deployment/"+s.namespace+"/web")
			})
		})
	}
}

func TestWhatMayNotBeWatchedIsNotGone(t *testing.T) {
	s := newStage(t, installed)
	s.declare(configMap(t, "a", "1"), deployment(t, "web", "img", 1))
	s.sync()
	s.through(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(q *http.Request) (*http.Response, error) {
			if strings.HasSuffix(q.URL.Path, "/deployments") {
				return forbidden(q), nil
			}
			return next.RoundTrip(q)
		})
	})
	s.declare(configMap(t, "a", "1"))
	if r := s.resource(s.compare(), "web"); !r.Exists || r.Problem == nil {
		t.Errorf("what can't be seen must not be taken for gone: %+v", r)
	}
}

// Others copy objects with all their labels and annotations: replicators of
// Secrets, hierarchical namespaces, operators. Plumb has not made these.
func TestCopiesAreNotPruned(t *testing.T) {
	s := newStage(t, installed)
	s.declare(configMap(t, "a", "1"))
	s.sync()
	original := s.get("configmaps", "a")
	s.create("configmaps", map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"value": "1"},
		"metadata": map[string]any{
			"name": "copy", "labels": original.Object["metadata"].(map[string]any)["labels"],
			"annotations": original.Object["metadata"].(map[string]any)["annotations"],
		},
	})
	s.restart(installed)
	if c := s.compare(); c.Plan.Count().Delete != 0 {
		t.Errorf("somebody else's copy would be deleted: %s", steps(c))
	}
}

// A guard that somebody puts on an object at the last moment counts.
func TestALateGuardCounts(t *testing.T) {
	s := newStage(t, nil)
	s.declare(configMap(t, "a", "1"), configMap(t, "b", "1"))
	s.sync()
	var once sync.Once
	s.through(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(q *http.Request) (*http.Response, error) {
			if q.Method == http.MethodDelete {
				once.Do(func() {
					s.patch("configmaps", "b", `{"metadata":{"annotations":{"argocd.argoproj.io/sync-options":"Prune=false"}}}`)
				})
			}
			return next.RoundTrip(q)
		})
	})
	s.declare(configMap(t, "a", "1"))
	s.apply(s.compare().Plan.Steps)
	s.get("configmaps", "b")
}

func TestANamespaceThatIsEnsuredIsNotDeclared(t *testing.T) {
	s := newStage(t, nil)
	s.desired.SyncOptions = v1alpha1.SyncOptions{"CreateNamespace=true"}
	s.declare()
	if r := s.resource(s.compare(), s.namespace); !r.Ensured {
		t.Errorf("got %+v", r)
	}
}

// A version of a kind may be served no longer while its objects live on in another.
func TestAVersionThatIsGoneIsNotItsObjects(t *testing.T) {
	s := newStage(t, nil)
	group := s.namespace + ".example.org"
	version := func(name string, served, storage bool) map[string]any {
		return map[string]any{"name": name, "served": served, "storage": storage,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}
	}
	crd := func(old bool) map[string]any {
		return map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
			"metadata": map[string]any{"name": "gadgets." + group},
			"spec": map[string]any{"group": group, "scope": "Namespaced",
				"names":    map[string]any{"kind": "Gadget", "plural": "gadgets", "singular": "gadget", "listKind": "GadgetList"},
				"versions": []any{version("v1", old, false), version("v2", true, true)}},
		}
	}
	gvr := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	t.Cleanup(func() {
		_ = s.client.Resource(gvr).Delete(context.Background(), "gadgets."+group, metav1.DeleteOptions{})
	})
	gadget := object(t, map[string]any{"apiVersion": group + "/v1", "kind": "Gadget", "metadata": map[string]any{"name": "g"}})
	if _, err := s.client.Resource(gvr).Create(t.Context(), &unstructured.Unstructured{Object: crd(true)}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.declare(gadget)
	s.eventually("the kind is served", func(c driver.Comparison) bool { return s.resource(c, "g").Problem == nil && !c.Plan.Empty() })
	s.eventually("it is made", func(c driver.Comparison) bool { s.apply(c.Plan.Steps); return s.compare().Plan.Empty() })
	patch, err := json.Marshal(map[string]any{"spec": crd(false)["spec"]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Resource(gvr).Patch(t.Context(), "gadgets."+group, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.declare()
	s.desired.Deleting = true
	v2 := s.client.Resource(schema.GroupVersionResource{Group: group, Version: "v2", Resource: "gadgets"}).Namespace(s.namespace)
	v1 := s.client.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "gadgets"}).Namespace(s.namespace)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := v1.List(t.Context(), metav1.ListOptions{}); apierrors.IsNotFound(err) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the old version is still served")
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if o, err := v2.Get(t.Context(), "g", metav1.GetOptions{}); apierrors.IsNotFound(err) || err == nil && o.GetDeletionTimestamp() != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the object is not deleted")
		}
		c, err := s.driver.Compare(t.Context(), s.desired)
		if err != nil {
			continue // it is said that it can't be seen
		}
		if _, err := v2.Get(t.Context(), "g", metav1.GetOptions{}); err == nil && len(c.Resources) == 0 {
			t.Fatal("the object is there and is taken for gone")
		}
		s.driver.Apply(t.Context(), driver.Apply{Desired: s.desired, Steps: c.Plan.Steps}, func(driver.Result) {})
	}
}

// What breaks on one object must not end the process that holds all the others.
func TestPanicsStayWhereTheyAre(t *testing.T) {
	s := newStage(t, nil)
	s.declare(configMap(t, "a", "1"))
	s.restart(func(o *kube.Options) {
		o.Assess = func(*unstructured.Unstructured) health.Health { panic("a health check breaks") }
	})
	s.sync()
	s.eventually("its health is not known", func(c driver.Comparison) bool {
		return s.resource(c, "a").Health.Status == health.Unknown
	})
	s.restart(func(o *kube.Options) {
		o.Requests = func(_, verb string) {
			if verb == "dry-run" || verb == "patch" {
				panic("a request breaks")
			}
		}
	})
	caught := func(do func()) (v any) {
		defer func() { v = recover() }()
		do()
		return nil
	}
	s.patch("configmaps", "a", `{"data":{"value":"2"}}`)
	s.declare(configMap(t, "a", "3"))
	if caught(func() { _, _ = s.driver.Compare(t.Context(), s.desired) }) == nil {
		t.Error("a panic of a comparison is not the caller's")
	}
	step := plan.Step{Change: plan.Update{Resource: plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: s.namespace, Name: "a"}}}
	if caught(func() {
		s.driver.Apply(t.Context(), driver.Apply{Desired: s.desired, Steps: []plan.Step{step}}, func(driver.Result) {})
	}) == nil {
		t.Error("a panic of a step is not the caller's")
	}
}
