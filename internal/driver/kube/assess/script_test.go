package assess

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

const healthKey = "resource.customizations.health."

func widget() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.org/v1", "kind": "Widget", "metadata": map[string]any{"name": "w"},
	}}
}

func TestOverrides(t *testing.T) {
	cases := map[string]struct {
		reason string
		data   map[string]string
		want   health.Health
	}{
		"exact": {"the key names the kind",
			map[string]string{healthKey + "example.org_Widget": `return {status = "Degraded", message = obj.metadata.name}`},
			health.Health{Status: health.Degraded, Message: "w"}},
		"wildcard": {"a star matches",
			map[string]string{healthKey + "*.org_*": `return {status = "Suspended"}`}, health.Health{Status: health.Suspended}},
		"exact before wildcard": {"the exact key goes first",
			map[string]string{healthKey + "*_*": `return {status = "Suspended"}`, healthKey + "example.org_Widget": `return {status = "Missing"}`},
			health.Health{Status: health.Missing}},
		"older form": {"one key for all kinds",
			map[string]string{"resource.customizations": "example.org/Widget:\n  health.lua: |\n    return {status = 'Degraded'}\n"},
			health.Health{Status: health.Degraded}},
		"no libraries": {"the standard library is closed by default",
			map[string]string{healthKey + "example.org_Widget": `return {status = "Healthy", message = string.upper("x")}`},
			health.Health{Status: health.Unknown, Message: "<string>:1: attempt to index a non-table object(nil) with key 'upper'"}},
		"libraries": {"it is opened by useOpenLibs",
			map[string]string{healthKey + "example.org_Widget": `return {status = "Healthy", message = string.upper("x")}`, "resource.customizations.useOpenLibs.example.org_Widget": "true"},
			health.Health{Status: health.Healthy, Message: "X"}},
		"bad word": {"only Argo CD's words are health",
			map[string]string{healthKey + "example.org_Widget": `return {status = "Fine"}`},
			health.Health{Status: health.Unknown, Message: "Lua returned an invalid health status"}},
		"nothing": {"Argo CD counts it as healthy",
			map[string]string{healthKey + "example.org_Widget": `return {}`}, health.Health{Status: health.Healthy}},
		"no table": {"a number is no health",
			map[string]string{healthKey + "example.org_Widget": `return 1`},
			health.Health{Status: health.Unknown, Message: "expect table output from Lua script, not number"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, New(WithOverrides(c.data)).Health(widget())); diff != "" {
				t.Errorf("%s (-want, +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestBrokenOverrides(t *testing.T) {
	a := New(WithOverrides(map[string]string{
		"resource.customizations":                                "a: [",
		healthKey + "a_b_c":                                      "return {}",
		healthKey + "example.org_Widget":                         `return {status = "Degraded"}`,
		healthKey + "[_Widget":                                   "return {}",
		"resource.customizations.useOpenLibs.example.org_Widget": "perhaps",
		"resource.compareoptions":                                "other settings do not matter",
	}))
	if got := a.Problems(); len(got) != 4 {
		t.Errorf("got %d problems: %v", len(got), got)
	}
	if got := a.Health(widget()); got.Status != health.Degraded {
		t.Errorf("what can be read is used: %v", got)
	}
}

func TestNoOverrides(t *testing.T) {
	a := New(WithOverrides(map[string]string{"resource.customizations": "null", healthKey + "example.org_Widget": `return {status = "Missing"}`}))
	if got := a.Health(widget()); got.Status != health.Missing {
		t.Errorf("got %v", got)
	}
}

func TestSandbox(t *testing.T) {
	cases := map[string]struct{ reason, script, message string }{
		"endless":     {"time is bounded", `while true do end`, "context deadline exceeded"},
		"syntax":      {"a broken script says where", `if`, "<string>"},
		"dofile":      {"no files", `dofile("/etc/passwd")`, "attempt to call a non-function object"},
		"require":     {"no files", `package.path = "/etc/?"; require("passwd")`, "module passwd not found"},
		"process":     {"no processes", `os.execute("true")`, "attempt to call a non-function object"},
		"environment": {"no environment", `os.getenv("HOME")`, "attempt to call a non-function object"},
		"io":          {"no files", `io.open("/etc/passwd")`, "attempt to index a non-table object(nil)"},
		"repeat":      {"memory is bounded", `string.rep("x", 2000000000)`, "larger than"},
		"recursion":   {"the stack is bounded", `function f() return 1 + f() end f()`, "stack overflow"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := New(WithOverrides(map[string]string{
				healthKey + "example.org_Widget":                         c.script,
				"resource.customizations.useOpenLibs.example.org_Widget": "true",
			})).Health(widget())
			if got.Status != health.Unknown || !strings.Contains(got.Message, c.message) {
				t.Errorf("%s: got %v, want Unknown with %q", c.reason, got, c.message)
			}
		})
	}
}

func TestRunsAreIndependent(t *testing.T) {
	a := New(WithOverrides(map[string]string{
		healthKey + "example.org_Widget": `seen = (seen or 0) + 1; return {status = "Healthy", message = tostring(seen)}`,
	}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				if got := a.Health(widget()); got.Message != "1" {
					t.Errorf("a run saw what another had set: %v", got)
					return
				}
			}
		}()
	}
	wg.Wait()
}

func TestOverridesGoBeforeArgo(t *testing.T) {
	a := New(WithOverrides(map[string]string{healthKey + "apps_Deployment": `return {status = "Suspended"}`}))
	got := a.Health(object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}"))
	if got.Status != health.Suspended {
		t.Errorf("got %v: the user's check goes before the built-in rule", got)
	}
}

func BenchmarkDeployment(b *testing.B) {
	a := New()
	obj := object(b, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, generation: 2, labels: {a: b, c: d}}
spec: {replicas: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i, env: [{name: A, value: B}]}]}}}
status:
  observedGeneration: 2
  replicas: 2
  updatedReplicas: 2
  availableReplicas: 2
  conditions:
  - {type: Available, status: "True", reason: MinimumReplicasAvailable, message: ok}
  - {type: Progressing, status: "True", reason: NewReplicaSetAvailable, message: ok}
`)
	b.ReportAllocs()
	for b.Loop() {
		a.Health(obj)
	}
}

func BenchmarkLua(b *testing.B) {
	a := New()
	obj := object(b, `
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: web, namespace: shop, generation: 2}
spec: {secretName: tls, dnsNames: [a.example.org, b.example.org], issuerRef: {name: x, kind: ClusterIssuer}}
status:
  notAfter: "2027-01-01T00:00:00Z"
  conditions:
  - {type: Ready, status: "True", reason: Ready, message: Certificate is up to date and has not expired}
`)
	b.ReportAllocs()
	for b.Loop() {
		a.Health(obj)
	}
}

func BenchmarkNoCheck(b *testing.B) {
	a := New()
	obj := object(b, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}")
	for b.Loop() {
		a.Health(obj)
	}
}
