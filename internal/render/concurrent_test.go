package render_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/helm"
	"github.com/plumb-dev/plumb/internal/render/kustomize"
	"github.com/plumb-dev/plumb/internal/render/yaml"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

var tools = render.Tools{Directory: yaml.Renderer{}, Kustomize: kustomize.Renderer{}, Helm: helm.Renderer{}}

// objects are the usual four of an Application.
const objects = `apiVersion: v1
kind: ConfigMap
metadata: {name: cfg}
data: {a: "1", b: "2"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "registry.example.com/web:1.0", ports: [{containerPort: 80}]}
`

func mixed() source.Tree {
	return memtree.New(map[string]string{
		"plain/a.yaml":                   objects,
		"base/kustomization.yaml":        "resources: [a.yaml]\n",
		"base/a.yaml":                    objects,
		"overlay/kustomization.yaml":     "resources: [../base]\nnamePrefix: p-\nnamespace: ns\nreplicas: [{name: web, count: 3}]\nimages: [{name: registry.example.com/web, newTag: \"2.0\"}]\npatches: [{patch: '[{\"op\": \"replace\", \"path\": \"/data/a\", \"value\": \"9\"}]', target: {kind: ConfigMap}}]\n",
		"schema/kustomization.yaml":      "resources: [thing.yaml]\nopenapi: {path: schema.json}\npatches: [{path: patch.yaml}]\n",
		"schema/schema.json":             `{"definitions":{"v1.Thing":{"properties":{"spec":{"$ref":"#/definitions/v1.ThingSpec"}},"x-kubernetes-group-version-kind":[{"group":"x.dev","kind":"Thing","version":"v1"}]},"v1.ThingSpec":{"properties":{"items":{"items":{"$ref":"#/definitions/v1.Item"},"type":"array","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}}},"v1.Item":{"properties":{"name":{"type":"string"},"v":{"type":"string"}}}}}`,
		"schema/thing.yaml":              "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{name: a, v: \"1\"}, {name: b, v: \"1\"}]}\n",
		"schema/patch.yaml":              "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{name: b, v: \"2\"}]}\n",
		"noschema/kustomization.yaml":    "resources: [../schema/base]\npatches: [{path: patch.yaml}]\n",
		"noschema/patch.yaml":            "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{name: b, v: \"2\"}]}\n",
		"schema/base/kustomization.yaml": "resources: [thing.yaml]\n",
		"schema/base/thing.yaml":         "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{name: a, v: \"1\"}, {name: b, v: \"1\"}]}\n",
		"chart/Chart.yaml":               "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"chart/values.yaml":              "n: 3\n",
		"chart/templates/_h.tpl":         "{{ define \"labels\" }}\napp: {{ .Release.Name | quote }}\nrel: {{ .Chart.Version }}\n{{ end }}",
		"chart/templates/a.yaml":         "{{ range until (int .Values.n) }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c-{{ . }}\n  labels: {{- include \"labels\" $ | nindent 4 }}\n{{ end }}\n" + "---\n" + objects,
	})
}

func request(tree source.Tree, path string) render.Request {
	return render.Request{AppName: "app", Namespace: "ns", KubeVersion: "v1.36.3", Input: render.Input{Tree: tree, Path: path}}
}

// TestConcurrent renders everything at once, and gets what it gets alone;
// kustomize's schema is global to the process.
func TestConcurrent(t *testing.T) {
	tree, paths := mixed(), []string{"plain", "overlay", "schema", "noschema", "chart"}
	want := map[string]string{}
	for _, p := range paths {
		b, err := tools.Render(context.Background(), request(tree, p))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		want[p] = b.Hash
	}
	if want["schema"] == want["noschema"] {
		t.Fatal("the schema makes no difference")
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				p := paths[(i+j)%len(paths)]
				b, err := tools.Render(context.Background(), request(tree, p))
				if err != nil || b.Hash != want[p] {
					t.Errorf("%s: %v, hash %s, want %s", p, err, b.Hash, want[p])
				}
			}
		})
	}
	wg.Wait()
}

// TestMonorepo says what a commit costs: one Application's directory changed,
// so one Application is rendered.
func TestMonorepo(t *testing.T) {
	files := map[string]string{"base/kustomization.yaml": "resources: [a.yaml]\n", "base/a.yaml": objects}
	for i := range 50 {
		files[fmt.Sprintf("apps/%d/a.yaml", i)] = objects
		files[fmt.Sprintf("over/%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../../base]\nnamePrefix: p%d-\n", i)
	}
	cache := render.NewCache(64 << 20)
	pass := func() uint64 {
		before, tree := cache.Renderings(), memtree.New(files)
		for i := range 50 {
			for _, p := range []string{fmt.Sprintf("apps/%d", i), fmt.Sprintf("over/%d", i)} {
				if _, _, err := cache.Render(t.Context(), request(tree, p), tools); err != nil {
					t.Fatal(err)
				}
			}
		}
		return cache.Renderings() - before
	}
	for _, tc := range []struct {
		reason, file, content string
		want                  uint64
	}{
		{reason: "the first time all are rendered", want: 100},
		{reason: "nothing changed", want: 0},
		{reason: "one Application changed", file: "apps/7/a.yaml", content: objects + "---\n" + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", want: 1},
		{reason: "something else changed", file: "README.md", content: "hello", want: 0},
		{reason: "the base of fifty changed", file: "base/a.yaml", content: "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", want: 50},
		{reason: "a file beside the base changed", file: "base/OTHER.md", content: "x", want: 0},
	} {
		if tc.file != "" {
			files[tc.file] = tc.content
		}
		if got := pass(); got != tc.want {
			t.Errorf("%s: %d renderings, want %d", tc.reason, got, tc.want)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	tree := mixed()
	for _, p := range []string{"plain", "overlay", "chart"} {
		b.Run(p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tools.Render(context.Background(), request(tree, p)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(p+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := tools.Render(context.Background(), request(tree, p)); err != nil {
						b.Error(err)
					}
				}
			})
		})
		b.Run(p+"/cached", func(b *testing.B) {
			cache := render.NewCache(1 << 20)
			for b.Loop() {
				if _, _, err := cache.Render(context.Background(), request(tree, p), tools); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
