package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// stage is one Application on a real API server, and every request that its
// driver makes but watches.
type stage struct {
	*testing.T
	driver    *kube.Driver
	namespace string
	desired   driver.Desired
	client    dynamic.Interface
	requests  *requests
	shown     strings.Builder
}

// requests counts what is really sent.
type requests struct {
	mu   sync.Mutex
	sent []string
}

func (r *requests) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(q *http.Request) (*http.Response, error) {
		if q.URL.Query().Get("watch") == "" {
			what := q.Method + " " + q.URL.Path
			if q.URL.Query().Get("dryRun") != "" {
				what += " dry"
			}
			r.mu.Lock()
			r.sent = append(r.sent, what)
			r.mu.Unlock()
		}
		return next.RoundTrip(q)
	})
}

func (r *requests) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.sent
	r.sent = nil
	return out
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

func newStage(t *testing.T, change func(*kube.Options)) *stage {
	t.Helper()
	s := &stage{T: t, namespace: kubetest.Namespace(t), client: client(t), requests: &requests{}}
	s.restart(change)
	s.desired.Target = driver.Target{Owner: driver.Owner("test/" + s.namespace), Server: "https://here", Namespace: s.namespace}
	return s
}

// restart gives the stage a new driver, which knows nothing.
func (s *stage) restart(change func(*kube.Options)) {
	config := rest.CopyConfig(kubetest.Config(s.T))
	config.Wrap(s.requests.wrap)
	s.driver = newDriver(s.T, func(o *kube.Options) {
		o.Clusters = theCluster{config}
		if change != nil {
			change(o)
		}
	})
}

func (s *stage) declare(objects ...render.Object) {
	s.desired.Bundle = render.Bundle{Driver: "kube", Objects: objects}
	for _, o := range objects {
		s.desired.Bundle.Hash += o.Hash + ";"
	}
}

func (s *stage) compare() driver.Comparison {
	s.Helper()
	c, err := s.driver.Compare(s.Context(), s.desired)
	if err != nil {
		s.Fatalf("compare: %v", err)
	}
	fmt.Fprintf(&s.shown, "%+v\n", c)
	return c
}

func (s *stage) apply(steps []plan.Step) []driver.Result {
	s.Helper()
	return s.order(driver.Apply{Steps: steps, Operation: "op"})
}

// order applies steps tier by tier, as the engine does.
func (s *stage) order(a driver.Apply) []driver.Result {
	s.Helper()
	a.Desired = s.desired
	steps := a.Steps
	var mu sync.Mutex
	var out []driver.Result
	for len(steps) > 0 {
		n := slices.IndexFunc(steps, func(x plan.Step) bool {
			return x.Phase != steps[0].Phase || x.Wave != steps[0].Wave || x.Tier != steps[0].Tier
		})
		if n < 0 {
			n = len(steps)
		}
		a.Steps, steps = steps[:n], steps[n:]
		s.driver.Apply(s.Context(), a, func(r driver.Result) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, r)
		})
	}
	for _, r := range out {
		fmt.Fprintf(&s.shown, "%+v\n", r)
		if r.Problem != nil {
			fmt.Fprintf(&s.shown, "%+v\n", *r.Problem)
		}
		if !r.Step.Hook && r.Problem == nil && !a.DryRun {
			s.desired.Inventory = slices.DeleteFunc(s.desired.Inventory, func(h driver.Held) bool { return h.Ref.Address() == r.Step.Address() })
			if r.Held != nil {
				s.desired.Inventory = append(s.desired.Inventory, *r.Held)
			}
		}
	}
	return out
}

// sync makes what is declared true, in one go.
func (s *stage) sync() {
	s.Helper()
	for _, r := range s.apply(s.compare().Plan.Steps) {
		if r.Problem != nil {
			s.Fatalf("%s: %s", r.Step.Address(), r.Problem.Message)
		}
	}
	if c := s.compare(); !c.Plan.Empty() {
		s.Fatalf("after a sync there is still something to do: %s", steps(c))
	}
}

func steps(c driver.Comparison) string {
	var out []string
	for _, st := range c.Plan.Steps {
		out = append(out, fmt.Sprintf("%s/%d/%d %s %s", st.Phase, st.Wave, st.Tier, st.Change.Action(), st.Address()))
	}
	return strings.Join(out, "; ")
}

func (s *stage) resource(c driver.Comparison, name string) driver.Resource {
	s.Helper()
	for _, r := range c.Resources {
		if r.Ref.Name == name {
			return r
		}
	}
	s.Fatalf("no resource %s", name)
	return driver.Resource{}
}

// eventually waits for a comparison to be as it should be.
func (s *stage) eventually(what string, ok func(driver.Comparison) bool) driver.Comparison {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c := s.compare()
		if ok(c) {
			return c
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: not so: %s; %+v", what, steps(c), c.Resources)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *stage) in(resource string) dynamic.ResourceInterface {
	gvr, _ := schema.ParseResourceArg(resource)
	if gvr == nil {
		gvr = &schema.GroupVersionResource{Version: "v1", Resource: resource}
	}
	return s.client.Resource(*gvr).Namespace(s.namespace)
}

func (s *stage) get(resource, name string) *unstructured.Unstructured {
	s.Helper()
	o, err := s.in(resource).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return o
}

func (s *stage) patch(resource, name, patch string) {
	s.Helper()
	_, err := s.in(resource).Patch(s.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "someone"})
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) create(resource string, o map[string]any) {
	s.Helper()
	_, err := s.in(resource).Create(context.Background(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{FieldManager: "someone"})
	if err != nil {
		s.Fatal(err)
	}
}

func deployment(t *testing.T, name, image string, replicas int64) render.Object {
	return object(t, deploymentMap(name, image, replicas))
}

func deploymentMap(name, image string, replicas int64) map[string]any {
	labels := map[string]any{"app": name}
	return map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"replicas": replicas, "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec": map[string]any{"containers": []any{map[string]any{
					"name": "main", "image": image, "ports": []any{map[string]any{"containerPort": int64(80)}},
					"env": []any{map[string]any{"name": "A", "value": "1"}},
				}}},
			},
		},
	}
}
