package kube_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
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
