package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestJSONIsAsDocumented(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns := kubetest.Namespace(t)
	r := newRepository(t, map[string]string{
		"app/web.yaml": deployment("web", "registry.example/web:1", nil), "app/a.yaml": configMap("a", "1"),
		"app/hook.yaml": hook("before", "PreSync"), "app/old.yaml": configMap("old", "1"),
		"app/kept.yaml": annotated(configMap("kept", "1"), map[string]any{"argocd.argoproj.io/sync-options": "Prune=false"}),
	})
	w.declare(t, ns, application("web", r.url(), "app", ns, func(s map[string]any) { s["syncPolicy"] = map[string]any{} }))
	w.await(t, ns, "web", "OutOfSync", "Missing")
	// synced first, then everything differs in each way that there is.
	synced := w.plumb(t, "sync", "web", "-n", ns, "-o", "json")
	w.kubectl(t, "", "patch", "configmap", "a", "-n", ns, "--type=merge", "-p", `{"data":{"value":"mine"}}`)
	r.commit(map[string]string{
		"app/web.yaml": deployment("web", "registry.example/web:2", nil), "app/old.yaml": "", "app/kept.yaml": "",
		"app/new.yaml": configMap("new", "1"), "app/odd.yaml": manifest("example.org/v1", "Gadget", "odd", nil), "app/twice.yaml": configMap("new", "2"),
	})
	w.plumb(t, "refresh", "web", "-n", ns)
	invalid := filepath.Join(t.TempDir(), "invalid.yaml")
	writeFile(t, invalid, "apiVersion: plumb.dev/v1alpha1\nkind: Application\nmetadata: {name: x}\nspec: {sorce: {}}\n")
	outputs := map[string][]outcome{
		"sync":     {synced},
		"describe": {w.plumb(t, "describe", "web", "-n", ns, "-o", "json")},
		"diff":     {w.plumb(t, "diff", "web", "-n", ns, "-o", "json")},
		"plan":     {w.plumb(t, "plan", "web", "-n", ns, "-o", "json")},
		"tree":     {w.plumb(t, "tree", "web", "-n", ns, "-o", "json")},
		"history":  {w.plumb(t, "history", "web", "-n", ns, "-o", "json")},
		"version":  {w.plumb(t, "version", "-o", "json")},
		"health":   {w.plumb(t, "health", "-f", filepath.Join("testdata", "manifests", "single.yaml"), "-o", "json")},
		"validate": {
			w.plumb(t, "validate", "-f", invalid, "-o", "json"),
			w.plumb(t, "validate", "-f", filepath.Join("testdata", "manifests", "single.yaml"), "-o", "json"),
		},
	}
	for name, all := range outputs {
		schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "reference", "schemas", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			var got any
			if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
				t.Errorf("plumb %s does not print JSON: %v: %s", name, err, o)
				continue
			}
			if err := schema.Validate(got); err != nil {
				t.Errorf("plumb %s prints something else than is documented: %v\n%s", name, err, o.stdout)
			}
		}
	}
	if plan := outputs["plan"][0].stdout; !strings.Contains(plan, `"remarks"`) || !strings.Contains(plan, `"create"`) || !strings.Contains(plan, `"warnings"`) {
		t.Errorf("the plan has not all that there is to check:\n%s", plan)
	}
}
