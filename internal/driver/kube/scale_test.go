package kube_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/render"
)

func installed(o *kube.Options) { o.Installation = "this-one" }

// TestScale measures the driver beside a bare loop: PLUMB_SCALE Applications of
// four objects, twenty at once.
func TestScale(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("PLUMB_SCALE"))
	if err != nil {
		t.Skip("set PLUMB_SCALE to a number of Applications")
	}
	bare, ours := kubetest.Namespace(t), kubetest.Namespace(t)
	d := newDriver(t, installed)
	apps := make([]driver.Desired, n)
	for i := range apps {
		name := fmt.Sprintf("app-%d", i)
		objects := []render.Object{configMap(t, name, "1"), configMap(t, name+"-b", "1"), deployment(t, name, "img", 1),
			object(t, map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name},
				"spec": map[string]any{"clusterIP": "None", "selector": map[string]any{"app": name}, "ports": []any{map[string]any{"port": int64(80)}}}})}
		apps[i] = driver.Desired{Target: driver.Target{Owner: driver.Owner("scale/" + name), Server: "https://here", Namespace: ours},
			Bundle: render.Bundle{Hash: name, Objects: objects}}
	}
	took := bareLoop(t, bare, apps)
	t.Logf("bare loop: %v", took)

	before := memory()
	took = each(len(apps), func(i int) {
		c, err := d.Compare(t.Context(), apps[i])
		if err != nil {
			t.Error(err)
			return
		}
		var mu sync.Mutex
		d.Apply(t.Context(), driver.Apply{Desired: apps[i], Operation: "op", Steps: c.Plan.Steps}, func(r driver.Result) {
			mu.Lock()
			defer mu.Unlock()
			if r.Problem != nil {
				t.Error(r.Problem.Message)
				return
			}
			apps[i].Inventory = append(apps[i].Inventory, *r.Held)
		})
	})
	t.Logf("driver: %v, memory %d KiB more", took, (memory()-before)>>10)
	took = each(len(apps), func(i int) {
		if c, err := d.Compare(t.Context(), apps[i]); err != nil || c.Calls != 0 || !c.Plan.Empty() {
			t.Errorf("%v, %d calls, %s", err, c.Calls, steps(c))
		}
	})
	t.Logf("compare all, nothing changed: %v", took)
	again := newDriver(t, installed)
	before = memory()
	took = each(len(apps), func(i int) {
		if c, err := again.Compare(t.Context(), apps[i]); err != nil || !c.Plan.Empty() {
			t.Errorf("%v, %s", err, steps(c))
		}
	})
	t.Logf("compare all after a restart: %v, memory %d KiB more", took, (memory()-before)>>10)
}

func bareLoop(t *testing.T, namespace string, apps []driver.Desired) time.Duration {
	config := rest.CopyConfig(kubetest.Config(t))
	config.QPS = -1
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	force := true
	s := &stage{T: t, namespace: namespace, client: c}
	return each(len(apps), func(i int) {
		var wg sync.WaitGroup
		for _, o := range apps[i].Bundle.Objects {
			wg.Go(func() {
				resource := map[string]string{"ConfigMap": "configmaps", "Service": "services", "Deployment": "deployments.v1.apps"}[o.Ref.Kind]
				if _, err := s.in(resource).Patch(t.Context(), o.Ref.Name, types.ApplyPatchType, o.JSON, metav1.PatchOptions{FieldManager: "bare", Force: &force}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func each(n int, do func(int)) time.Duration {
	start := time.Now()
	next := make(chan int)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return time.Since(start)
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
