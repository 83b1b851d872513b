package render

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

func TestDetect(t *testing.T) {
	cases := map[string]struct {
		reason string
		files  map[string]string
		src    v1alpha1.ApplicationSource
		want   v1alpha1.ApplicationSourceType
		err    string
	}{
		"Helm":      {reason: "Chart.yaml", files: map[string]string{"app/Chart.yaml": ""}, want: "Helm"},
		"Kustomize": {reason: "kustomization.yml", files: map[string]string{"app/kustomization.yml": ""}, want: "Kustomize"},
		"Capital":   {reason: "Kustomization", files: map[string]string{"app/Kustomization": ""}, want: "Kustomize"},
		"Both":      {reason: "a kustomization goes before a chart, as with Argo CD", files: map[string]string{"app/Chart.yaml": "", "app/kustomization.yaml": ""}, want: "Kustomize"},
		"Directory": {reason: "anything else", files: map[string]string{"app/x.yaml": "", "app/sub/Chart.yaml": ""}, want: "Directory"},
		"IsADir":    {reason: "a directory of that name is none", files: map[string]string{"app/Chart.yaml/x": ""}, want: "Directory"},
		"Explicit":  {reason: "options go before files", files: map[string]string{"app/Chart.yaml": ""}, src: v1alpha1.ApplicationSource{Directory: &v1alpha1.ApplicationSourceDirectory{}}, want: "Directory"},
		"Chart":     {reason: "a chart of a repository", src: v1alpha1.ApplicationSource{Chart: "x"}, want: "Helm"},
		"Two":       {reason: "two tools", src: v1alpha1.ApplicationSource{Helm: &v1alpha1.ApplicationSourceHelm{}, Kustomize: &v1alpha1.ApplicationSourceKustomize{}}, err: "source has options for several tools: Kustomize, Helm"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Detect(memtree.New(tc.files), "app", &tc.src)
			checkError(t, tc.reason, err, tc.err, nil)
			if got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func TestOverride(t *testing.T) {
	src := v1alpha1.ApplicationSource{
		RepoURL: "https://git/x", Path: "app", TargetRevision: "main",
		Kustomize: &v1alpha1.ApplicationSourceKustomize{NamePrefix: "p-", Images: v1alpha1.KustomizeImages{"a:1"}},
	}
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   func(*v1alpha1.ApplicationSource)
		err    string
	}{
		"None": {reason: "no files"},
		"Merge": {
			reason: "a merge patch: the Application's own file last", want: func(s *v1alpha1.ApplicationSource) {
				s.Kustomize.Images = v1alpha1.KustomizeImages{"a:3"}
				s.Kustomize.NameSuffix = "-s"
				s.Kustomize.NamePrefix = ""
			},
			files: map[string]string{
				"app/.argocd-source.yaml":      "kustomize: {images: [\"a:2\"], nameSuffix: -s, namePrefix: null}\n",
				"app/.argocd-source-shop.yaml": "kustomize: {images: [\"a:3\"]}\n",
				"app/.argocd-source-else.yaml": "kustomize: {images: [\"a:4\"]}\n",
			},
		},
		"Fenced": {
			reason: "where a source comes from stays",
			files:  map[string]string{"app/.argocd-source.yaml": "repoURL: https://evil\npath: ../..\nchart: x\ntargetRevision: dev\nref: r\nname: nm\n"},
		},
		"Empty":   {reason: "an empty file changes nothing", files: map[string]string{"app/.argocd-source.yaml": "# nothing\n"}},
		"Invalid": {reason: "an invalid file has a line", files: map[string]string{"app/.argocd-source.yaml": "a: 1\nb: [\n"}, err: "app/.argocd-source.yaml:2: invalid YAML"},
		"List":    {reason: "a list is no override", files: map[string]string{"app/.argocd-source.yaml": "- a\n"}, err: "app/.argocd-source.yaml:1: parameter overrides are a map"},
		"Type":    {reason: "a wrong type names the file", files: map[string]string{"app/.argocd-source.yaml": "kustomize: {images: 1}\n"}, err: "app/.argocd-source.yaml: json: cannot unmarshal"},
		"Bomb":    {reason: "aliases are bounded", files: map[string]string{"app/.argocd-source.yaml": laughs(9)}, err: "app/.argocd-source.yaml:"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Override(memtree.New(tc.files), "app", "shop", src, Limits{})
			checkError(t, tc.reason, err, tc.err, nil)
			if err != nil {
				return
			}
			want := src
			k := *src.Kustomize
			want.Kustomize = &k
			if tc.want != nil {
				tc.want(&want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
		})
	}
}

func FuzzOverride(f *testing.F) {
	f.Add("kustomize: {images: [a]}", "x")
	f.Add("helm: {valuesObject: {a: 1}}", "../x")
	f.Fuzz(func(t *testing.T, text, app string) {
		src := v1alpha1.ApplicationSource{RepoURL: "r", Path: "app"}
		tree := memtree.New(map[string]string{"app/.argocd-source.yaml": text})
		got, err := Override(tree, "app", app, src, Limits{})
		if err == nil && (got.RepoURL != "r" || got.Path != "app" || got.Chart != "" || got.Tofu != nil) {
			t.Errorf("an override moved the source: %+v", got)
		}
		_, _ = Detect(tree, "app", &got)
	})
}

func TestTools(t *testing.T) {
	render := func(files map[string]string, path string, src v1alpha1.ApplicationSource) error {
		_, err := Tools{Directory: fake{}}.Render(context.Background(), Request{Input: Input{Tree: memtree.At("abc", files), Path: path, Source: src}})
		return err
	}
	files := map[string]string{"app/x.yaml": "", "chart/Chart.yaml": ""}
	checkError(t, "a path that is there", render(files, "app", v1alpha1.ApplicationSource{}), "", nil)
	checkError(t, "a path with slashes", render(files, "/app/", v1alpha1.ApplicationSource{}), "", nil)
	checkError(t, "a path that is not there", render(files, "nope", v1alpha1.ApplicationSource{}), "nope: app path does not exist at revision abc", nil)
	checkError(t, "a path to a file", render(files, "app/x.yaml", v1alpha1.ApplicationSource{}), "app path is not a directory", nil)
	checkError(t, "a tool that is not there", render(files, "chart", v1alpha1.ApplicationSource{}), "source of type Helm: not supported", ErrUnsupported)
	checkError(t, "a plugin", render(files, "app", v1alpha1.ApplicationSource{Plugin: &v1alpha1.ApplicationSourcePlugin{}}), "source of type Plugin: not supported", ErrUnsupported)
}

type fake struct{}

func (fake) Render(context.Context, Request) (Bundle, error) { return Bundle{}, nil }

func TestResolve(t *testing.T) {
	cases := map[string]struct{ dir, ref, want, err string }{
		"Beside":   {dir: "a/b", ref: "c", want: "a/b/c"},
		"Up":       {dir: "a/b", ref: "../../c", want: "c"},
		"Root":     {dir: "a/b", ref: "/c", want: "c"},
		"ToRoot":   {dir: "a", ref: "..", want: "."},
		"Out":      {dir: "a", ref: "../../c", err: "leads out of the repository"},
		"OutAndIn": {dir: "a", ref: "../../repo/c", err: "leads out of the repository"},
		"RootOut":  {dir: "a", ref: "/../c", err: "leads out of the repository"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Resolve(tc.dir, tc.ref)
			checkError(t, name, err, tc.err, nil)
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
