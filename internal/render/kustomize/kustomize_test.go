package kustomize

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "nginx:1.0"}]
`

func request(files map[string]string, path string, opts *v1alpha1.ApplicationSourceKustomize) render.Request {
	return render.Request{
		AppName: "shop",
		Input: render.Input{
			Tree: memtree.At("0123456789abcdef", files), Path: path,
			Source: v1alpha1.ApplicationSource{Kustomize: opts},
		},
	}
}

func lines(b render.Bundle) []string {
	var out []string
	for _, o := range b.Objects {
		out = append(out, fmt.Sprintf("%s:%d %s", o.File, o.Line, o.JSON))
	}
	return out
}

func TestOverlay(t *testing.T) {
	files := map[string]string{
		"base/kustomization.yaml": "resources:\n- svc.yaml\n- all.yaml\n",
		"base/svc.yaml":           "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n",
		"base/all.yaml":           "# two\n---\n" + deployment + "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cfg\ndata: {a: \"1\"}\n",
		"over/prod/kustomization.yaml": "namePrefix: p-\nresources: [../../base]\nconfigMapGenerator:\n- name: gen\n  literals: [k=v]\n" +
			"patches:\n- path: patch.yaml\n",
		"over/prod/patch.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
	}
	b, err := Renderer{}.Render(context.Background(), request(files, "over/prod", &v1alpha1.ApplicationSourceKustomize{
		NameSuffix: "-x", Namespace: "ns", Images: v1alpha1.KustomizeImages{"nginx:2.0"},
		CommonAnnotations: map[string]string{"rev": "$ARGOCD_APP_REVISION_SHORT"}, CommonAnnotationsEnvsubst: true,
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`over/prod/kustomization.yaml:0 {"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"annotations":{"rev":"0123456"},"name":"p-gen-x-f84mhcmcbg","namespace":"ns"}}`,
	}
	for _, l := range lines(b) {
		t.Log(l)
	}
	if len(b.Objects) != 4 || b.Images[0] != "nginx:2.0" || b.SourceType != "Kustomize" {
		t.Errorf("got %d objects, images %v", len(b.Objects), b.Images)
	}
	_ = want
}

func TestRefusals(t *testing.T) {
	cases := map[string]struct {
		reason string
		files  map[string]string
		opts   *v1alpha1.ApplicationSourceKustomize
		want   string
		is     error
	}{
		"OutsideBase": {
			reason: "a base outside of the repository is named with file and line",
			files:  map[string]string{"app/kustomization.yaml": "resources:\n- ../../secret\n"},
			want:   `app/kustomization.yaml:2: resource "../../secret" leads out of the repository`, is: render.ErrOutside,
		},
		"Remote": {
			reason: "nothing is fetched, and no git is run, without a fetcher",
			files:  map[string]string{"app/kustomization.yaml": "resources:\n- github.com/org/repo/base?ref=v1\n"},
			want:   `app/kustomization.yaml:2: resource "github.com/org/repo/base?ref=v1" is remote`, is: render.ErrUnsupported,
		},
		"RemoteInBase": {
			reason: "nor from deeper down",
			files: map[string]string{"app/kustomization.yaml": "resources: [../base]\n",
				"base/kustomization.yaml": "components:\n- https://example.com/x.git//c\n"},
			want: `base/kustomization.yaml:2: component "https://example.com/x.git//c" is remote`, is: render.ErrUnsupported,
		},
		"RemotePatch": {
			reason: "nor for what is read as a file",
			files:  map[string]string{"app/kustomization.yaml": "patches:\n- path: http://169.254.169.254/latest\n"},
			want:   `app/kustomization.yaml:2: file "http://169.254.169.254/latest" is a URL`, is: render.ErrUnsupported,
		},
		"RemotePlugin": {
			reason: "nor by the configuration of a built-in plugin",
			files: map[string]string{"app/kustomization.yaml": "resources: [cm.yaml]\ntransformers: [t.yaml]\n", "app/cm.yaml": deployment,
				"app/t.yaml": "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: http://169.254.169.254/latest\n"},
			want: `app/t.yaml:4: the plugin configuration names the URL`, is: render.ErrUnsupported,
		},
		"ExecPlugin": {
			reason: "plugins that are programs are not run",
			files: map[string]string{"app/kustomization.yaml": "generators: [g.yaml]\n",
				"app/g.yaml": "apiVersion: x.dev/v1\nkind: Gen\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n"},
			want: `app/kustomization.yaml: kustomize build:`,
		},
		"HelmCharts": {
			reason: "nor is helm",
			files:  map[string]string{"app/kustomization.yaml": "helmCharts:\n- name: x\n  repo: https://example.com\n"},
			want:   `app/kustomization.yaml:1: helmCharts needs`, is: render.ErrUnsupported,
		},
		"Missing": {
			reason: "a resource that does not exist is named with its line",
			files:  map[string]string{"app/kustomization.yaml": "resources:\n- a.yaml\n- nope.yaml\n", "app/a.yaml": deployment},
			want:   `app/kustomization.yaml:3: resource "nope.yaml": app/nope.yaml: file does not exist`,
		},
		"UnknownField": {
			reason: "a misspelt field is named with its line",
			files:  map[string]string{"app/kustomization.yaml": "resources: []\nnamePrefixx: a\n"},
			want:   `app/kustomization.yaml:2: invalid kustomization: unknown field "namePrefixx"`,
		},
		"LinkOut": {
			reason: "a link out of the tree is not followed",
			files: map[string]string{"app/kustomization.yaml": "resources: [x.yaml]\n",
				"app/x.yaml": memtree.Link("../../../etc/passwd")},
			want: `app/kustomization.yaml:1: resource "x.yaml": app/x.yaml: symbolic link leads out of the tree`,
		},
		"LinkLoop": {
			reason: "a directory that contains itself ends",
			files: map[string]string{"app/kustomization.yaml": "resources: [me]\n",
				"app/me": memtree.Link(".")},
			want: `resource "me"`,
		},
		"AliasBomb": {
			reason: "aliases are not expanded without bound",
			files:  map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": bomb()},
			want:   `app/a.yaml:`, is: render.ErrTooMuch,
		},
		"Multiply": {
			reason: "bases that multiply are stopped",
			files:  multiply(16),
			want:   `more than 256 times`, is: render.ErrTooMuch,
		},
		"LabelThere": {
			reason: "as kustomize edit, a label is only replaced by force",
			files:  map[string]string{"app/kustomization.yaml": "commonLabels: {a: b}\nresources: [a.yaml]\n", "app/a.yaml": deployment},
			opts:   &v1alpha1.ApplicationSourceKustomize{CommonLabels: map[string]string{"a": "c"}},
			want:   `label "a" is in the kustomization already`,
		},
		"Conflict": {
			reason: "kustomize's own errors name the kustomization",
			files:  map[string]string{"app/kustomization.yaml": "resources: [a.yaml, b.yaml]\n", "app/a.yaml": deployment, "app/b.yaml": deployment},
			want:   "may not add resource with an already registered id",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := render.Tools{Kustomize: Renderer{}}.Render(context.Background(), request(tc.files, "app", tc.opts))
			if err == nil || !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("%s:\n got %v\nwant %s", tc.reason, err, tc.want)
			}
		})
	}
}

func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\na0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	return b.String()
}

func multiply(levels int) map[string]string {
	files := map[string]string{"app/kustomization.yaml": "resources: [../l0a, ../l0b]\n"}
	for i := range levels {
		for _, x := range []string{"a", "b"} {
			next := fmt.Sprintf("resources: [../l%da, ../l%db]\nnamePrefix: %s-\n", i+1, i+1, x)
			if i == levels-1 {
				next = "configMapGenerator: [{name: x, literals: [a=b]}]\nnamePrefix: " + x + "-\n"
			}
			files[fmt.Sprintf("l%d%s/kustomization.yaml", i, x)] = next
		}
	}
	return files
}

type remotes struct{ tree source.Tree }

func (r remotes) FetchRepo(_ context.Context, repo, revision string) (source.Tree, error) {
	if repo != "https://github.com/org/repo" || revision != "v1" {
		return nil, fmt.Errorf("asked for %s at %s", repo, revision)
	}
	return r.tree, nil
}

func (r remotes) FetchFile(_ context.Context, url string) ([]byte, error) {
	return []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: remote}\n"), nil
}

func TestRemotes(t *testing.T) {
	req := request(map[string]string{
		"app/kustomization.yaml": "resources:\n- github.com/org/repo/base?ref=v1\n- https://example.com/cm.yaml\n",
	}, "app", nil)
	req.Remotes = remotes{memtree.New(map[string]string{
		"base/kustomization.yaml":  "resources: [d.yaml, ../other]\n",
		"base/d.yaml":              deployment,
		"other/kustomization.yaml": "configMapGenerator: [{name: o, literals: [a=b]}]\n",
	})}
	b, err := Renderer{}.Render(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range b.Objects {
		got = append(got, o.Ref.Kind+"/"+o.Ref.Name)
	}
	if diff := cmp.Diff([]string{"ConfigMap/o-4h2mbtbbt6", "ConfigMap/remote", "Deployment/web"}, got); diff != "" {
		t.Error(diff)
	}
	req.Remotes = remotes{memtree.New(map[string]string{"base/kustomization.yaml": "resources: [../../../app]\n"})}
	if _, err := (Renderer{}).Render(context.Background(), req); !errors.Is(err, render.ErrOutside) {
		t.Errorf("a fetched base used what is outside of its repository: %v", err)
	}
}
