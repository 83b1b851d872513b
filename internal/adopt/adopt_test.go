package adopt

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/helm"
	"github.com/plumb-dev/plumb/internal/render/kustomize"
	"github.com/plumb-dev/plumb/internal/render/tofu"
	"github.com/plumb-dev/plumb/internal/render/yaml"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// scene is an Application whose sources are in memory, rendered by the real
// renderers.
type scene struct {
	t       *testing.T
	files   []map[string]string
	sources []Source
}

func newScene(t *testing.T, spec v1alpha1.ApplicationSource, files map[string]string) *scene {
	s := &scene{t: t}
	return s.source(spec, files)
}

func (s *scene) source(spec v1alpha1.ApplicationSource, files map[string]string) *scene {
	s.files = append(s.files, files)
	s.sources = append(s.sources, Source{Spec: spec, Tree: memtree.New(files)})
	return s
}

func (s *scene) render(ctx context.Context, edits Edits) (render.Bundle, error) {
	tools := render.Tools{Directory: yaml.Renderer{}, Kustomize: kustomize.Renderer{}, Helm: helm.Renderer{}, Tofu: tofu.Renderer{}}
	refs := map[string]render.Input{}
	var inputs []render.Input
	for i, src := range s.sources {
		in := render.Input{Source: src.Spec, Tree: Overlay(src.Tree, edits[i]), Path: src.Spec.Path}
		inputs = append(inputs, in)
		if src.Spec.Ref != "" {
			refs[src.Spec.Ref] = in
		}
	}
	var bundles []render.Bundle
	for _, in := range inputs {
		if in.Source.Ref != "" && in.Source.Path == "" {
			continue
		}
		b, err := tools.Render(ctx, render.Request{AppName: "web", Namespace: "shop", Input: in, Refs: refs})
		if err != nil {
			return b, err
		}
		bundles = append(bundles, b)
	}
	return render.Merge(bundles...), nil
}

func (s *scene) bundle(edits Edits) render.Bundle {
	s.t.Helper()
	b, err := s.render(s.t.Context(), edits)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// drift makes live what is rendered, changed by a function, as a destination
// would store it.
func (s *scene) drift(kind, name string, change func(o map[string]any)) Drift {
	s.t.Helper()
	for _, o := range s.bundle(nil).Objects {
		if o.Ref.Kind != kind || o.Ref.Name != name {
			continue
		}
		declared, live := stored(o), stored(o)
		change(live)
		ref := o.Ref
		if ref.Namespace == "" {
			ref.Namespace = "shop"
		}
		return Drift{Ref: ref, Declared: declared, Live: live}
	}
	s.t.Fatalf("there is no %s %s", kind, name)
	return Drift{}
}

func stored(o render.Object) map[string]any {
	var v map[string]any
	if err := json.Unmarshal(o.JSON, &v); err != nil {
		panic(err)
	}
	v["metadata"].(map[string]any)["namespace"] = "shop"
	return v
}

func at(o map[string]any, steps ...any) map[string]any {
	v, _ := get(o, pathTo(steps...))
	m, _ := v.(map[string]any)
	return m
}

func (s *scene) propose(r Request) Proposal {
	s.t.Helper()
	r.Application, r.Sources, r.Render = "web", s.sources, s.render
	if r.Bundle.Driver == "" {
		r.Bundle = s.bundle(nil)
	}
	p, err := Propose(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// adopts proposes and shows what changes, by lines. After that, what is
// rendered has to be what is live: a plan would be empty.
func (s *scene) adopts(want string, drift ...Drift) Proposal {
	s.t.Helper()
	p := s.propose(Request{Drift: drift})
	for _, r := range p.Refused {
		s.t.Errorf("%s %s is refused: %s", r.Ref.Address(), r.Field, r.Reason)
	}
	if diff := cmp.Diff(want, s.shown(p)); diff != "" {
		s.t.Errorf("the files change otherwise: %s", diff)
	}
	s.empty(p, drift...)
	return p
}

func (s *scene) shown(p Proposal) string {
	var b strings.Builder
	for _, f := range p.Files {
		b.WriteString(f.Path + "\n" + lineDiff(string(f.Before), string(f.After)))
	}
	return b.String()
}

func (s *scene) empty(p Proposal, drift ...Drift) {
	s.t.Helper()
	edits := Edits{}
	for _, f := range p.Files {
		if edits[f.Source] == nil {
			edits[f.Source] = map[string][]byte{}
		}
		edits[f.Source][f.Path] = f.After
	}
	b, before := s.bundle(edits), s.bundle(nil)
	if len(b.Objects) != len(before.Objects) {
		s.t.Errorf("%d objects became %d", len(before.Objects), len(b.Objects))
	}
	for i, o := range b.Objects {
		want := stored(before.Objects[i])
		for _, d := range drift {
			if d.Ref.Kind == o.Ref.Kind && d.Ref.Name == o.Ref.Name {
				want = d.Live
			}
		}
		if left := Differences(stored(o), want); len(left) > 0 {
			s.t.Errorf("the next plan is not empty: %s %v", o.Ref.Address(), left)
		}
	}
}

func TestPlainYAML(t *testing.T) {
	s := newScene(t, v1alpha1.ApplicationSource{Path: "apps/web"}, map[string]string{"apps/web/all.yaml": deployment, "apps/other/x.yaml": "x"})
	s.adopts(`apps/web/all.yaml
-  replicas: 2   # two are enough
+  replicas: 5   # two are enough
   template:
`[:len("apps/web/all.yaml\n-  replicas: 2   # two are enough\n+  replicas: 5   # two are enough\n")],
		s.drift("Deployment", "web", func(o map[string]any) { at(o, "spec")["replicas"] = int64(5) }))
	web := s.drift("Deployment", "web", func(o map[string]any) {
		c := at(o, "spec", "template", "spec", "containers", named("web"))
		c["image"] = "nginx:1.28"
		c["resources"] = map[string]any{"limits": map[string]any{"cpu": "500m"}}
		c["env"] = append(c["env"].([]any), map[string]any{"name": "C", "value": "true"})
		delete(at(o, "metadata", "labels"), "tier")
	})
	p := s.propose(Request{Drift: []Drift{web}})
	if len(p.Refused) > 0 || len(p.Adopted) != 4 || len(p.Files) != 1 {
		t.Fatalf("%+v", p)
	}
	s.empty(p, web)
	for _, comment := range []string{"# The shop's front.", "# pinned", "# the helper", "# flow", "# metrics"} {
		if !strings.Contains(string(p.Files[0].After), comment) {
			t.Errorf("the comment %q is gone", comment)
		}
	}
}

func TestJSONManifest(t *testing.T) {
	s := newScene(t, v1alpha1.ApplicationSource{Path: "."}, map[string]string{"cm.json": `{
  "apiVersion": "v1",
  "kind": "ConfigMap",
  "metadata": {"name": "c"},
  "data": {
    "a": "1"
  }
}
`})
	s.adopts("cm.json\n-    \"a\": \"1\"\n+    \"a\": \"2\",\n+    \"b\": \"3\"\n", s.drift("ConfigMap", "c", func(o map[string]any) {
		at(o, "data")["a"], at(o, "data")["b"] = "2", "3"
	}))
}

const listed = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a}
  data: {x: "1"} # a's
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: b}
  data: {x: "1"} # b's
`

func TestListOfObjects(t *testing.T) {
	s := newScene(t, v1alpha1.ApplicationSource{Path: "."}, map[string]string{"l.yaml": listed})
	s.adopts("l.yaml\n-  data: {x: \"1\"} # b's\n+  data: {x: \"2\"} # b's\n", s.drift("ConfigMap", "b", func(o map[string]any) { at(o, "data")["x"] = "2" }))
}

func TestRefused(t *testing.T) {
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: x}\n"
	anchored := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: &v x, b: *v}\n"
	sops := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: x}\nsops: {mac: m, lastmodified: n}\n"
	set := func(field, name, value string) func(o map[string]any) {
		return func(o map[string]any) { at(o, field)[name] = value }
	}
	for name, c := range map[string]struct {
		files  map[string]string
		kind   string
		change func(o map[string]any)
		want   string
		spec   v1alpha1.ApplicationSource
	}{
		"secret":    {map[string]string{"s.yaml": secret}, "Secret", set("stringData", "p", "y"), "Secrets", v1alpha1.ApplicationSource{}},
		"masked":    {map[string]string{"c.yaml": anchored}, "ConfigMap", set("data", "a", "++++++++ (changed)"), "secret", v1alpha1.ApplicationSource{}},
		"anchor":    {map[string]string{"c.yaml": anchored}, "ConfigMap", set("data", "a", "y"), "anchor", v1alpha1.ApplicationSource{}},
		"sops":      {map[string]string{"c.yaml": sops}, "ConfigMap", set("data", "a", "y"), "SOPS", v1alpha1.ApplicationSource{}},
		"jsonnet":   {map[string]string{"c.jsonnet": `{apiVersion: "v1", kind: "ConfigMap", metadata: {name: "c"}, data: {a: "x"}}`}, "ConfigMap", set("data", "a", "y"), "program", v1alpha1.ApplicationSource{}},
		"read-only": {map[string]string{"c.yaml": strings.Replace(anchored, ", b: *v", "", 1)}, "ConfigMap", set("data", "a", "y"), "a tag", v1alpha1.ApplicationSource{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Path = "."
			s := newScene(t, c.spec, c.files)
			if name == "read-only" {
				s.sources[0].ReadOnly = "a tag can't be committed to"
			}
			objects := s.bundle(nil).Objects
			p := s.propose(Request{Drift: []Drift{s.drift(c.kind, objects[0].Ref.Name, c.change)}})
			if len(p.Files) > 0 || len(p.Refused) != 1 || !strings.Contains(p.Refused[0].Reason, c.want) {
				t.Fatalf("%+v", p)
			}
			if hidden := name == "secret" || name == "masked"; (p.Refused[0].Patch == "") != hidden {
				t.Errorf("the patch is %q", p.Refused[0].Patch)
			}
			var patch map[string]any
			if err := sigsyaml.Unmarshal([]byte(p.Refused[0].Patch), &patch); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSelectedFields(t *testing.T) {
	s := newScene(t, v1alpha1.ApplicationSource{Path: "."}, map[string]string{"d.yaml": deployment})
	d := s.drift("Deployment", "web", func(o map[string]any) {
		at(o, "spec")["replicas"] = int64(5)
		at(o, "spec", "template", "spec", "containers", named("side"))["image"] = "side:3"
	})
	for written, want := range map[string]string{
		"spec.replicas": "spec.replicas", "/spec/replicas": "spec.replicas", "spec.template": "spec.template.spec.containers[name=side].image",
		"spec.template.spec.containers[name=side]": "spec.template.spec.containers[name=side].image", "/spec/template/spec/containers/1/image": "spec.template.spec.containers[name=side].image",
		"spec.rep": "",
	} {
		p := s.propose(Request{Drift: []Drift{d}, Select: func(_ plan.Ref, f Path) bool { return f.Within(written) }})
		got := ""
		for _, a := range p.Adopted {
			got += a.Field
		}
		if got != want {
			t.Errorf("%s selects %q, want %q", written, got, want)
		}
	}
}

func TestDeletion(t *testing.T) {
	s := newScene(t, v1alpha1.ApplicationSource{Path: "."}, map[string]string{"d.yaml": deployment, "l.yaml": listed, "one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"})
	for kind, c := range map[string]struct{ kind, name, want string }{
		"second document": {"Service", "web", "d.yaml\n----\n-apiVersion: v1\n-kind: Service\n-metadata:\n-  name: web\n"},
		"first document":  {"Deployment", "web", ""},
		"item":            {"ConfigMap", "b", "l.yaml\n-- apiVersion: v1\n-  kind: ConfigMap\n-  metadata: {name: b}\n-  data: {x: \"1\"} # b's\n"},
		"whole file":      {"ConfigMap", "one", "one.yaml\n-apiVersion: v1\n-kind: ConfigMap\n-metadata: {name: one}\n"},
	} {
		t.Run(kind, func(t *testing.T) {
			d := s.drift(c.kind, c.name, func(map[string]any) {})
			d = Drift{Ref: d.Ref, Deleted: true}
			if p := s.propose(Request{Drift: []Drift{d}}); len(p.Files) > 0 || len(p.Refused) != 1 || !strings.Contains(p.Refused[0].Reason, "--deletions") {
				t.Errorf("unasked: %+v", p)
			}
			p := s.propose(Request{Drift: []Drift{d}, Deletions: true})
			if len(p.Refused) > 0 || len(p.Files) != 1 {
				t.Fatalf("%+v", p)
			}
			if c.want == "" {
				if got := string(p.Files[0].After); !strings.HasPrefix(got, "apiVersion: v1\nkind: Service\n") {
					t.Errorf("left is %s", got)
				}
				return
			}
			if diff := cmp.Diff(c.want, s.shown(p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The base and an overlay of a kustomization.
var kustomized = map[string]string{
	"base/kustomization.yaml": "resources: [deployment.yaml]\n",
	"base/deployment.yaml":    strings.SplitN(deployment, "---\n", 2)[0],
	"prod/kustomization.yaml": `# production
resources:
  - ../base   # the base
  - config.yaml
namePrefix: prod-
images:
  - name: nginx
    newTag: "1.27"   # what we run
replicas:
  - name: web
    count: 4
`,
	"prod/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: x # one\n",
}

func TestKustomize(t *testing.T) {
	container := func(o map[string]any, name string) map[string]any {
		return at(o, "spec", "template", "spec", "containers", named(name))
	}
	for name, c := range map[string]struct {
		kind, name string
		change     func(o map[string]any)
		want       string
	}{
		"images": {"Deployment", "prod-web", func(o map[string]any) { container(o, "web")["image"] = "nginx:1.28" },
			"prod/kustomization.yaml\n-    newTag: \"1.27\"   # what we run\n+    newTag: \"1.28\"   # what we run\n"},
		"other image": {"Deployment", "prod-web", func(o map[string]any) { container(o, "web")["image"] = "example.com/nginx:1.28" },
			"prod/kustomization.yaml\n-    newTag: \"1.27\"   # what we run\n+    newTag: \"1.28\"   # what we run\n+    newName: example.com/nginx\n"},
		"replicas": {"Deployment", "prod-web", func(o map[string]any) { at(o, "spec")["replicas"] = int64(6) },
			"prod/kustomization.yaml\n-    count: 4\n+    count: 6\n"},
		"own manifest": {"ConfigMap", "prod-c", func(o map[string]any) { at(o, "data")["a"] = "z" },
			"prod/config.yaml\n-  a: x # one\n+  a: z # one\n"},
		"from the base": {"Deployment", "prod-web", func(o map[string]any) { container(o, "side")["image"] = "side:3" },
			"prod/kustomization.yaml\n+patches:\n+  - path: plumb-adopt-deployment-prod-web.yaml\n+    target:\n+      name: web\n+      kind: Deployment\n" +
				"prod/plumb-adopt-deployment-prod-web.yaml\n+apiVersion: apps/v1\n+kind: Deployment\n+metadata:\n+  name: web\n+spec:\n+  template:\n+    spec:\n+      containers:\n+      - name: web\n+      - name: side\n+        image: side:3\n"},
		"gone": {"Deployment", "prod-web", func(o map[string]any) { delete(at(o, "spec", "template", "metadata", "annotations"), "note") },
			"prod/kustomization.yaml\n+patches:\n+  - path: plumb-adopt-deployment-prod-web.yaml\n+    target:\n+      name: web\n+      kind: Deployment\n" +
				"prod/plumb-adopt-deployment-prod-web.yaml\n+apiVersion: apps/v1\n+kind: Deployment\n+metadata:\n+  name: web\n+spec:\n+  template:\n+    metadata:\n+      annotations:\n+        note: null\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, v1alpha1.ApplicationSource{Path: "prod"}, kustomized)
			s.adopts(strings.ReplaceAll(c.want, "+      name: web\n+      kind: Deployment\n", "+      kind: Deployment\n+      name: web\n"), s.drift(c.kind, c.name, c.change))
		})
	}
	t.Run("several fields share a patch", func(t *testing.T) {
		s := newScene(t, v1alpha1.ApplicationSource{Path: "prod"}, kustomized)
		d := s.drift("Deployment", "prod-web", func(o map[string]any) {
			container(o, "side")["image"] = "side:3"
			container(o, "side")["args"] = []any{"-v"}
			at(o, "metadata", "labels")["new"] = "1"
			containers := at(o, "spec", "template", "spec")["containers"].([]any)
			at(o, "spec", "template", "spec")["containers"] = append(containers, map[string]any{"name": "third", "image": "t:1"})
			delete(at(o, "spec", "template", "metadata", "annotations"), "note")
		})
		p := s.propose(Request{Drift: []Drift{d}})
		if len(p.Refused) > 0 || len(p.Files) != 2 {
			t.Fatalf("%+v", p)
		}
		s.empty(p, d)
		if strings.Count(string(p.Files[0].After), "kind:") != 1 {
			t.Errorf("several patches:\n%s", p.Files[0].After)
		}
	})
	t.Run("deletion", func(t *testing.T) {
		files := maps.Clone(kustomized)
		files["prod/kustomization.yaml"], _, _ = strings.Cut(files["prod/kustomization.yaml"], "replicas:")
		s := newScene(t, v1alpha1.ApplicationSource{Path: "prod"}, files)
		d := s.drift("Deployment", "prod-web", func(map[string]any) {})
		p := s.propose(Request{Drift: []Drift{{Ref: d.Ref, Deleted: true}}, Deletions: true})
		if len(p.Refused) > 0 {
			t.Fatalf("%+v", p)
		}
	})
	t.Run("the Application itself sets it", func(t *testing.T) {
		s := newScene(t, v1alpha1.ApplicationSource{Path: "prod", Kustomize: &v1alpha1.ApplicationSourceKustomize{Images: v1alpha1.KustomizeImages{"nginx:1.29"}}}, kustomized)
		p := s.propose(Request{Drift: []Drift{s.drift("Deployment", "prod-web", func(o map[string]any) { container(o, "web")["image"] = "nginx:1.30" })}})
		if len(p.Files) > 0 || len(p.Refused) != 1 || p.Refused[0].Patch == "" {
			t.Errorf("%+v", p)
		}
	})
}

var chart = map[string]string{
	"chart/Chart.yaml":  "apiVersion: v2\nname: web\nversion: 1.0.0\n",
	"chart/values.yaml": "# defaults\nreplicas: 1\nimage:\n  repository: nginx\n  tag: \"1.27\"\nservice:\n  port: 80\npodAnnotations: {}\nresources: {}\nmode: fast\n",
	"chart/templates/all.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {mode: {{ .Values.mode }}, app: web}
spec:
  replicas: {{ .Values.replicas }}
  template:
    metadata:
      {{- with .Values.podAnnotations }}
      annotations: {{ toYaml . | nindent 8 }}
      {{- end }}
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
        args: ["--mode={{ .Values.mode }}", "--fixed"]
        resources: {{ toYaml .Values.resources | nindent 10 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
spec:
  ports:
  - port: {{ .Values.service.port }}
`,
	"env/prod.yaml": "# production values\nreplicas: 3   # enough\nimage:\n  tag: \"1.27\"  # pinned\n",
}

func TestHelm(t *testing.T) {
	container := func(o map[string]any) map[string]any {
		return at(o, "spec", "template", "spec", "containers", named("web"))
	}
	for name, c := range map[string]struct {
		kind   string
		change func(o map[string]any)
		want   string
		bare   bool // without a file of values
	}{
		"value":          {"Deployment", func(o map[string]any) { at(o, "spec")["replicas"] = int64(7) }, "env/prod.yaml\n-replicas: 3   # enough\n+replicas: 7   # enough\n", false},
		"part of a text": {"Deployment", func(o map[string]any) { container(o)["image"] = "nginx:1.28" }, "env/prod.yaml\n-  tag: \"1.27\"  # pinned\n+  tag: \"1.28\"  # pinned\n", false},
		"a default":      {"Service", func(o map[string]any) { at(o, "spec")["ports"] = []any{map[string]any{"port": int64(81)}} }, "", false},
		"new annotation": {"Deployment", func(o map[string]any) {
			at(o, "spec", "template", "metadata")["annotations"] = map[string]any{"a": "b"}
		}, "env/prod.yaml\n+podAnnotations:\n+  a: b\n", false},
		"resources": {"Deployment", func(o map[string]any) {
			container(o)["resources"] = map[string]any{"limits": map[string]any{"cpu": "1"}}
		}, "env/prod.yaml\n+resources:\n+  limits:\n+    cpu: \"1\"\n", false},
		"own defaults": {"Deployment", func(o map[string]any) { at(o, "spec")["replicas"] = int64(7) }, "chart/values.yaml\n-replicas: 1\n+replicas: 7\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.ApplicationSource{Path: "chart", Helm: &v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"../env/prod.yaml"}}}
			if c.bare {
				spec.Helm = nil
			}
			s := newScene(t, spec, chart)
			d := s.drift(c.kind, "web", c.change)
			if c.want != "" {
				s.adopts(c.want, d)
				return
			}
			p := s.propose(Request{Drift: []Drift{d}})
			s.empty(p, d)
		})
	}
	spec := v1alpha1.ApplicationSource{Path: "chart", Helm: &v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"../env/prod.yaml"}}}
	t.Run("two fields of one value", func(t *testing.T) {
		s := newScene(t, spec, chart)
		both := func(o map[string]any) {
			at(o, "metadata", "labels")["mode"] = "slow"
			container(o)["args"] = []any{"--mode=slow", "--fixed"}
		}
		s.adopts("env/prod.yaml\n+mode: slow\n", s.drift("Deployment", "web", both))
		one := s.drift("Deployment", "web", func(o map[string]any) { at(o, "metadata", "labels")["mode"] = "slow" })
		if p := s.propose(Request{Drift: []Drift{one}}); len(p.Files) > 0 || !strings.Contains(p.Refused[0].Reason, "another place") {
			t.Errorf("only one of them: %+v", p)
		}
	})
	t.Run("a template's own text", func(t *testing.T) {
		s := newScene(t, spec, chart)
		d := s.drift("Deployment", "web", func(o map[string]any) { at(o, "metadata", "labels")["app"] = "shop" })
		if p := s.propose(Request{Drift: []Drift{d}}); len(p.Files) > 0 || len(p.Refused) != 1 || p.Refused[0].Patch == "" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("values of another repository", func(t *testing.T) {
		s := newScene(t, v1alpha1.ApplicationSource{Path: "chart", Helm: &v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"$values/env/prod.yaml"}}}, chart)
		s.sources[0].ReadOnly = "it is a chart repository"
		s.source(v1alpha1.ApplicationSource{Ref: "values"}, map[string]string{"env/prod.yaml": chart["env/prod.yaml"]})
		p := s.adopts("env/prod.yaml\n-replicas: 3   # enough\n+replicas: 7   # enough\n", s.drift("Deployment", "web", func(o map[string]any) { at(o, "spec")["replicas"] = int64(7) }))
		if p.Files[0].Source != 1 {
			t.Errorf("the file is of source %d", p.Files[0].Source)
		}
	})
	t.Run("only a default, and nothing to write it to", func(t *testing.T) {
		s := newScene(t, v1alpha1.ApplicationSource{Path: "chart"}, chart)
		s.sources[0].ReadOnly = "it is a chart repository"
		p := s.propose(Request{Drift: []Drift{s.drift("Deployment", "web", func(o map[string]any) { at(o, "spec")["replicas"] = int64(7) })}})
		if len(p.Files) > 0 || len(p.Refused) != 1 || !strings.Contains(p.Refused[0].Reason, "valuesObject") || !strings.Contains(p.Refused[0].Patch, "replicas: 7") {
			t.Errorf("%+v", p)
		}
	})
	t.Run("parameters of the Application", func(t *testing.T) {
		with := spec
		with.Helm = spec.Helm.DeepCopy()
		with.Helm.Parameters = []v1alpha1.HelmParameter{{Name: "replicas", Value: "9"}}
		s := newScene(t, with, chart)
		p := s.propose(Request{Drift: []Drift{s.drift("Deployment", "web", func(o map[string]any) { at(o, "spec")["replicas"] = int64(7) })}})
		if len(p.Files) > 0 || len(p.Refused) != 1 {
			t.Errorf("%+v", p)
		}
	})
}
