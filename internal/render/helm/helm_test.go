package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

const chartYAML = "apiVersion: v2\nname: web\nversion: 1.0.0\n"

func chartOf(template string, more ...string) map[string]string {
	files := map[string]string{"web/Chart.yaml": chartYAML, "web/templates/t.yaml": template}
	for i := 0; i+1 < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

func request(files map[string]string, opts *v1alpha1.ApplicationSourceHelm) render.Request {
	return render.Request{
		AppName: "shop", Namespace: "ns", Project: "default", KubeVersion: "v1.36.3", APIVersions: []string{"x.dev/v1/Thing"},
		Input: render.Input{
			Tree: memtree.At("0123456789abcdef", files), Path: "web",
			Source: v1alpha1.ApplicationSource{Helm: opts, Path: "web", RepoURL: "https://git/x"},
		},
	}
}

func configMap(data string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n" + data
}

// data gives the data of the first object, as JSON.
func data(t *testing.T, b render.Bundle) string {
	t.Helper()
	text := string(b.Objects[0].JSON)
	_, text, _ = strings.Cut(text, `"data":`)
	text, _, _ = strings.Cut(text, `,"kind"`)
	return text
}

func TestValues(t *testing.T) {
	tmpl := configMap("  a: {{ .Values.a | quote }}\n  b: {{ .Values.b.c | toJson | quote }}\n")
	cases := map[string]struct {
		reason string
		opts   v1alpha1.ApplicationSourceHelm
		files  []string
		want   string
		err    string
	}{
		"Defaults": {reason: "the chart's own values", want: `{"a":"chart","b":"1"}`},
		"Files": {
			reason: "later files go before earlier ones", want: `{"a":"two","b":"2"}`,
			opts:  v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"v1.yaml", "../env/v2.yaml"}},
			files: []string{"web/v1.yaml", "a: one\nb: {c: 2}\n", "env/v2.yaml", "a: two\n"},
		},
		"RootFile": {
			reason: "a leading slash is the repository's root", want: `{"a":"two","b":"1"}`,
			opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"/env/v2.yaml"}}, files: []string{"env/v2.yaml", "a: two\n"},
		},
		"Glob": {
			reason: "a pattern gives its files in order, those named by themselves at their place", want: `{"a":"a","b":"1"}`,
			opts:  v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"env/**/*.yaml", "env/a.yaml"}},
			files: []string{"web/env/a.yaml", "a: a\n", "web/env/x/b.yaml", "a: b\n"},
		},
		"GlobNothing": {
			reason: "a pattern that matches nothing is an error", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"no/*.yaml"}},
			err: `helm.valueFiles: "no/*.yaml": the pattern matches no file`,
		},
		"Missing": {
			reason: "a missing file is an error", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"nope.yaml"}},
			err: "value file web/nope.yaml does not exist",
		},
		"IgnoreMissing": {
			reason: "unless it is said to be optional", want: `{"a":"chart","b":"1"}`,
			opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"nope.yaml", "n/*.yaml"}, IgnoreMissingValueFiles: true},
		},
		"Outside": {
			reason: "values are in the repository", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"../../etc/passwd"}},
			err: `helm.valueFiles: "../../etc/passwd" leads out of the repository`,
		},
		"Remote": {
			reason: "URLs need a fetcher", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"https://x.dev/v.yaml"}},
			err: "is remote",
		},
		"Scheme": {
			reason: "other schemes are refused", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"file:///etc/passwd"}},
			err: `the URL scheme "file" is not allowed`,
		},
		"Ref": {
			reason: "$ref is another source's root", want: `{"a":"ref shop","b":"1"}`,
			opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"$values/$ARGOCD_APP_NAME/v.yaml"}},
		},
		"NoRef": {
			reason: "a ref that is none is said", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"$vals/x.yaml"}},
			err: `no source has ref "vals"`,
		},
		"Order": {
			reason: "files, then values, then parameters", want: `{"a":"set","b":"\"001\""}`,
			opts: v1alpha1.ApplicationSourceHelm{
				ValueFiles: []string{"v1.yaml"}, Values: "a: inline\nb: {c: 9}\n",
				Parameters: []v1alpha1.HelmParameter{{Name: "a", Value: "set"}, {Name: "b.c", Value: "001", ForceString: true}},
			},
			files: []string{"web/v1.yaml", "a: one\n"},
		},
		"Object": {
			reason: "valuesObject goes before values", want: `{"a":"object","b":"1"}`,
			opts: v1alpha1.ApplicationSourceHelm{Values: "a: text\n", ValuesObject: &runtime.RawExtension{Raw: []byte(`{"a":"object"}`)}},
		},
		"Commas": {
			reason: "commas do not cut a parameter, and build variables are put in", want: `{"a":"x,y 0123456","b":"[1,2]"}`,
			opts: v1alpha1.ApplicationSourceHelm{Parameters: []v1alpha1.HelmParameter{{Name: "a", Value: "x,y $ARGOCD_APP_REVISION_SHORT"}, {Name: "b.c", Value: "{1,2}"}}},
		},
		"FileParameter": {
			reason: "a parameter from a file", want: `{"a":"content, with comma\n","b":"1"}`,
			opts:  v1alpha1.ApplicationSourceHelm{FileParameters: []v1alpha1.HelmFileParameter{{Name: "a", Path: "files/x.txt"}}},
			files: []string{"web/files/x.txt", "content, with comma\n"},
		},
		"Invalid": {
			reason: "an invalid file has a line", opts: v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"v1.yaml"}},
			files: []string{"web/v1.yaml", "a: 1\nb: [\nc: 2\n"}, err: "web/v1.yaml:3: invalid YAML",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			req := request(chartOf(tmpl, append(tc.files, "web/values.yaml", "a: chart\nb: {c: 1}\n")...), &tc.opts)
			req.Refs = map[string]render.Input{"values": {Tree: memtree.New(map[string]string{"shop/v.yaml": "a: ref shop\n"}), Path: "."}}
			b, err := Renderer{}.Render(context.Background(), req)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("%s: got %v, want %s", tc.reason, err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, data(t, b)); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestRelease(t *testing.T) {
	tmpl := configMap(`  r: "{{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.IsInstall }} {{ .Release.IsUpgrade }} {{ .Release.Revision }} {{ .Release.Service }}"
  k: "{{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.APIVersions.Has "x.dev/v1/Thing" }} {{ .Capabilities.APIVersions.Has "apps/v1" }} {{ .Capabilities.APIVersions.Has "no/v1" }}"
  l: "{{ len (lookup "v1" "Secret" "ns" "x") }} {{ getHostByName "localhost" }}"
`)
	b, err := Renderer{}.Render(context.Background(), request(chartOf(tmpl), nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"k":"v1.36.3 true true false","l":"0 ","r":"shop ns true false 1 Helm"}`
	if diff := cmp.Diff(want, data(t, b)); diff != "" {
		t.Error(diff)
	}
	b, err = Renderer{}.Render(context.Background(), request(chartOf(tmpl), &v1alpha1.ApplicationSourceHelm{
		ReleaseName: "rel", Namespace: "other", KubeVersion: "1.20", APIVersions: []string{"no/v1"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want = `{"k":"v1.20 false true true","l":"0 ","r":"rel other true false 1 Helm"}`
	if diff := cmp.Diff(want, data(t, b)); diff != "" {
		t.Error(diff)
	}
}

func TestOrderHooksAndCRDs(t *testing.T) {
	files := chartOf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n---apiVersion: v1\nkind: ConfigMap\nmetadata: {name: glued}\n",
		"web/crds/c.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: c}\n",
		"web/templates/NOTES.txt", "no: [yaml",
		"web/templates/_p.tpl", `{{ define "x" }}{{ end }}`,
		"web/templates/hooks.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: pre, annotations: {helm.sh/hook: \"pre-install,pre-upgrade\"}}\n---\n"+
			"apiVersion: v1\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\n---\n"+
			"apiVersion: v1\nkind: Pod\nmetadata: {name: odd, annotations: {helm.sh/hook: crd-install}}\n",
	)
	cases := map[string]struct {
		reason string
		opts   v1alpha1.ApplicationSourceHelm
		want   []string
	}{
		"All": {
			reason: "CRDs, manifests by kind, hooks; unknown hooks are left out as Helm leaves them",
			want:   []string{"CustomResourceDefinition/c web/crds/c.yaml:1", "ConfigMap/glued web/templates/t.yaml:9", "Service/s web/templates/t.yaml:5", "Deployment/d web/templates/t.yaml:1", "Pod/test web/templates/hooks.yaml:5", "Job/pre web/templates/hooks.yaml:1"},
		},
		"Skip": {
			reason: "without CRDs and tests", opts: v1alpha1.ApplicationSourceHelm{SkipCrds: true, SkipTests: true},
			want: []string{"ConfigMap/glued web/templates/t.yaml:9", "Service/s web/templates/t.yaml:5", "Deployment/d web/templates/t.yaml:1", "Job/pre web/templates/hooks.yaml:1"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := Renderer{}.Render(context.Background(), request(files, &tc.opts))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range b.Objects {
				got = append(got, fmt.Sprintf("%s/%s %s:%d", o.Ref.Kind, o.Ref.Name, o.File, o.Line))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	cases := map[string]struct {
		reason string
		files  map[string]string
		opts   *v1alpha1.ApplicationSourceHelm
		limits render.Limits
		want   string
		is     error
	}{
		"ParseError": {reason: "a template that is none", files: chartOf("a: 1\n{{ if }}\n"), want: "web/templates/t.yaml:2: missing value for if"},
		"ExecError":  {reason: "a value that is missing", files: chartOf("a: 1\nb: {{ .Values.x.y.z }}\n"), want: "web/templates/t.yaml:2: executing \"web/templates/t.yaml\" at <.Values.x.y.z>: nil pointer evaluating interface {}.y"},
		"Fail":       {reason: "fail says its message alone", files: chartOf("\n\n{{ fail \"set the host\" }}\n"), want: "web/templates/t.yaml:3: set the host"},
		"InPartial": {
			reason: "an error in a partial is where the partial is", files: chartOf("a: {{ include \"p\" . }}\n", "web/templates/_p.tpl", "{{ define \"p\" }}\n{{ required \"host!\" .Values.host }}{{ end }}"),
			want: "web/templates/_p.tpl:2: host! (rendering web/templates/t.yaml:1)",
		},
		"NotYAML":     {reason: "output that is no YAML", files: chartOf("a: 1\nb: [\nc: 1\n"), want: "web/templates/t.yaml: line 3 of what the template gives: invalid YAML"},
		"NoKind":      {reason: "output that is no object", files: chartOf("a: 1\n"), want: "web/templates/t.yaml:1: object has no apiVersion"},
		"Loop":        {reason: "a loop without end is stopped", files: chartOf("{{ range 1000000000000 }}{{ end }}"), limits: render.Limits{RenderMillis: 300}, want: "rendering took more than 300ms", is: render.ErrTooMuch},
		"LoopOut":     {reason: "and one that writes", files: chartOf("{{ range 1000000000000 }}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{ end }}"), limits: render.Limits{TotalBytes: 1 << 20}, want: "a template gives more than", is: render.ErrTooMuch},
		"LoopInTpl":   {reason: "and one that is made by a template", files: chartOf("{{ tpl \"{{ range 1000000000000 }}{{ end }}\" . }}"), limits: render.Limits{RenderMillis: 300}, want: "rendering took more than", is: render.ErrTooMuch},
		"Recursion":   {reason: "includes end", files: chartOf(`{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`), want: "nested reference name: a"},
		"Recursion2":  {reason: "templates end", files: chartOf(`{{ define "a" }}{{ template "b" . }}{{ end }}{{ define "b" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`), want: "nested reference name"},
		"Until":       {reason: "a list is bounded", files: chartOf("{{ range until 2000000000 }}x{{ end }}"), want: "more than 1000000 items", is: render.ErrTooMuch},
		"Seq":         {reason: "a sequence is bounded", files: chartOf("{{ seq 1 2000000000 }}"), want: "more than 1000000 items", is: render.ErrTooMuch},
		"Repeat":      {reason: "a text is bounded", files: chartOf("{{ repeat 2000000000 \"abc\" }}"), want: "a text of more than", is: render.ErrTooMuch},
		"Double":      {reason: "doubling is bounded", files: chartOf("{{ $x := \"abcdefgh\" }}{{ range until 60 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}"), want: "more than", is: render.ErrTooMuch},
		"Printf":      {reason: "a format is bounded", files: chartOf("{{ $x := repeat 1000000 \"%[1]s\" }}{{ printf $x $x }}"), want: "more than", is: render.ErrTooMuch},
		"Cycle":       {reason: "a value that contains itself", files: chartOf("{{ $d := dict }}{{ $_ := set $d \"a\" $d }}{{ toYamlPretty $d }}"), want: "contains itself", is: render.ErrTooMuch},
		"CycleOut":    {reason: "a value that contains itself, put out", files: chartOf("{{ $d := dict }}{{ $_ := set $d \"a\" $d }}{{ $d }}"), want: "contains itself", is: render.ErrTooMuch},
		"CycleKey":    {reason: "or made a key", files: chartOf("{{ $d := dict }}{{ $_ := set $d \"a\" $d }}{{ $e := dict $d 1 }}"), want: "contains itself", is: render.ErrTooMuch},
		"DAG":         {reason: "a value that repeats itself", files: chartOf("{{ $d := dict \"a\" 1 }}{{ range until 60 }}{{ $d = dict \"a\" $d \"b\" $d }}{{ end }}{{ toJson $d }}"), want: "more than", is: render.ErrTooMuch},
		"Replace":     {reason: "a replacement is bounded", files: chartOf("{{ $x := repeat 1000000 \"a\" }}{{ replace \"a\" $x $x }}"), want: "more than", is: render.ErrTooMuch},
		"FromYaml":    {reason: "an alias bomb in a template's text", files: chartOf("{{ $b := \"" + strings.ReplaceAll(bomb(), "\n", "\\n") + "\" }}{{ fromYaml $b }}"), want: "aliases expand", is: render.ErrTooMuch},
		"Bomb":        {reason: "an alias bomb in the values", files: chartOf("a: 1", "web/values.yaml", bomb()), want: "web/values.yaml:", is: render.ErrTooMuch},
		"BombOut":     {reason: "an alias bomb in the output", files: chartOf(bomb()), want: "aliases expand", is: render.ErrTooMuch},
		"Nesting":     {reason: "blocks do not nest without bound", files: chartOf(strings.Repeat("{{if 1}}", 2000) + strings.Repeat("{{end}}", 2000)), want: "blocks nest", is: render.ErrTooMuch},
		"Archive":     {reason: "an archive of archives is bounded", files: chartOf("a: 1", "web/charts/x-1.0.0.tgz", tgz(tgzFile{"x/big", strings.Repeat("0", 3<<20)})), limits: render.Limits{TotalBytes: 1 << 20}, want: "web/charts/x-1.0.0.tgz: the chart has more than", is: render.ErrTooMuch},
		"ArchiveOut":  {reason: "an archive's paths stay inside", files: chartOf("a: 1", "web/charts/x-1.0.0.tgz", tgz(tgzFile{"x/../../y", "z"})), want: "outside of the chart's directory"},
		"Dependency":  {reason: "a dependency that is not there", files: chartOf("a: 1", "web/Chart.yaml", chartYAML+"dependencies: [{name: db, version: 1.x, repository: \"https://charts.dev\"}]\n"), want: "web/Chart.yaml: dependency db: found in Chart.yaml, but missing in charts/ directory", is: render.ErrUnsupported},
		"Library":     {reason: "a library is no application", files: chartOf("a: 1", "web/Chart.yaml", chartYAML+"type: library\n"), want: "library charts are not installable"},
		"KubeVersion": {reason: "a chart for other versions", files: chartOf("a: 1", "web/Chart.yaml", chartYAML+"kubeVersion: \"<1.30.0\"\n"), want: "chart requires kubeVersion: <1.30.0"},
		"LongName":    {reason: "a release name has 53 characters", files: chartOf("a: 1"), opts: &v1alpha1.ApplicationSourceHelm{ReleaseName: strings.Repeat("a", 54)}, want: "set helm.releaseName"},
		"Schema": {
			reason: "values that do not fit the schema", files: chartOf("a: 1", "web/values.yaml", "port: x\n", "web/values.schema.json", `{"properties":{"port":{"type":"integer"}}}`),
			want: "web/values.schema.json: values don't meet the specifications of the schema(s) in the following chart(s):\nweb: - at '/port': got string, want integer",
		},
		"SchemaFile": {
			reason: "a schema reads no local files", files: chartOf("a: 1", "web/values.schema.json", `{"$ref":"file:///etc/passwd"}`),
			want: "a schema may only refer to itself",
		},
		"LinkOut":  {reason: "no link leads out", files: chartOf("a: 1", "web/files/x", memtree.Link("../../../etc/passwd")), want: "web/files/x: symbolic link leads out of the tree"},
		"BigFile":  {reason: "a file is bounded", files: chartOf("a: 1", "web/files/x", strings.Repeat("x", 2000)), limits: render.Limits{FileBytes: 1000}, want: "web/files/x: file has 2000 bytes", is: render.ErrTooMuch},
		"Env":      {reason: "templates do not see the environment", files: chartOf("{{ env \"HOME\" }}"), want: `function "env" not defined`},
		"NoChart":  {reason: "a directory that is no chart", files: map[string]string{"web/a.yaml": "a: 1"}, opts: &v1alpha1.ApplicationSourceHelm{}, want: "web: no Chart.yaml in this directory"},
		"BadChart": {reason: "a Chart.yaml that is none", files: map[string]string{"web/Chart.yaml": "a: [\n"}, want: "web/Chart.yaml:"},
		"UTF8":     {reason: "output that is no text", files: chartOf("a: \xff\n"), want: "invalid UTF-8"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			req := request(tc.files, tc.opts)
			req.Limits = tc.limits
			_, err := render.Tools{Helm: Renderer{}, Directory: Renderer{}}.Render(context.Background(), req)
			if err == nil || !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("%s:\n got %v\nwant %s", tc.reason, err, tc.want)
			}
		})
	}
}

// TestStops says that what is given up on does not go on in the background.
func TestStops(t *testing.T) {
	for name, tmpl := range map[string]string{
		"Range":  "{{ range 1000000000000000 }}{{ end }}",
		"Nested": "{{ $l := until 100000 }}{{ range $l }}{{ range $l }}{{ range $l }}{{ end }}{{ end }}{{ end }}",
		"Tpl":    "{{ tpl \"{{ range 1000000000000000 }}{{ end }}\" . }}",
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			go func() {
				_, err := Renderer{}.Render(ctx, request(chartOf(tmpl), nil))
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the template goes on")
			}
		})
	}
}

func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	return b.String()
}

type tgzFile struct{ name, content string }

func tgz(files ...tgzFile) string {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		_ = tw.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Typeflag: tar.TypeReg, Mode: 0o644})
		_, _ = tw.Write([]byte(f.content))
	}
	_ = tw.Close()
	_ = zw.Close()
	return buf.String()
}

type fetcher struct{ asked *[]string }

func (c fetcher) FetchChart(_ context.Context, repo, name, version string) (source.Tree, error) {
	*c.asked = append(*c.asked, repo+" "+name+" "+version)
	return memtree.New(map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: " + name + "\nversion: 1.2.3\n", "values.yaml": "x: fetched\n",
		"templates/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {x: {{ .Values.x | quote }}, g: {{ .Values.global.g | quote }}}\n",
	}), nil
}

func TestDependencies(t *testing.T) {
	sub := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {x: {{ .Values.x | quote }}}\n"
	}
	files := map[string]string{
		"web/Chart.yaml": chartYAML + `dependencies:
- {name: remote, version: ^1.0.0, repository: "https://charts.dev"}
- {name: local, version: 0.1.0, repository: "file://../shared/local", condition: local.enabled}
- {name: packed, version: 0.1.0, repository: "https://charts.dev", alias: nick, import-values: [{child: exp, parent: imported}]}
- {name: off, version: 0.1.0, repository: "https://charts.dev", tags: [extra]}
`,
		"web/Chart.lock":                     "dependencies: [{name: remote, version: 1.2.3, repository: \"https://charts.dev\"}]\n",
		"web/values.yaml":                    "global: {g: G}\nlocal: {enabled: false}\ntags: {extra: false}\nnick: {x: over}\n",
		"web/templates/t.yaml":               configMap("  i: {{ .Values.imported.e | quote }}\n"),
		"shared/local/Chart.yaml":            "apiVersion: v2\nname: local\nversion: 0.1.0\n",
		"shared/local/templates/c.yaml":      sub("local"),
		"web/charts/packed-0.1.0.tgz":        tgz(tgzFile{"packed/Chart.yaml", "apiVersion: v2\nname: packed\nversion: 0.1.0\n"}, tgzFile{"packed/values.yaml", "exp: {e: imported}\n"}, tgzFile{"packed/templates/c.yaml", sub("packed")}),
		"web/charts/off/Chart.yaml":          "apiVersion: v2\nname: off\nversion: 0.1.0\n",
		"web/charts/off/templates/c.yaml":    sub("off"),
		"web/charts/plain/Chart.yaml":        "apiVersion: v2\nname: plain\nversion: 0.1.0\ntype: library\n",
		"web/charts/plain/templates/_h.tpl":  `{{ define "plain" }}p{{ end }}`,
		"web/charts/plain/templates/no.yaml": "not: rendered",
	}
	asked := []string{}
	req := request(files, &v1alpha1.ApplicationSourceHelm{Parameters: []v1alpha1.HelmParameter{{Name: "local.enabled", Value: "true"}}})
	req.Charts = fetcher{&asked}
	b, err := Renderer{}.Render(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range b.Objects {
		got = append(got, o.File+" "+string(o.JSON))
	}
	want := []string{
		`web/charts/local/templates/c.yaml {"apiVersion":"v1","data":{"x":null},"kind":"ConfigMap","metadata":{"name":"local"}}`,
		`web/charts/nick/templates/c.yaml {"apiVersion":"v1","data":{"x":"over"},"kind":"ConfigMap","metadata":{"name":"packed"}}`,
		`web/charts/remote/templates/c.yaml {"apiVersion":"v1","data":{"g":"G","x":"fetched"},"kind":"ConfigMap","metadata":{"name":"remote"}}`,
		`web/templates/t.yaml {"apiVersion":"v1","data":{"i":"imported"},"kind":"ConfigMap","metadata":{"name":"shop"}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"https://charts.dev remote 1.2.3"}, asked); diff != "" {
		t.Errorf("what was fetched, at the locked version:\n%s", diff)
	}
}

func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	for name, tc := range map[string]struct{ template, want string }{
		"fail":     {`{{ fail .Values.db.password }}`, "++++++++"},
		"in words": {`{{ fail (printf "%s is too weak for %s" .Values.db.password .Values.db.user) }}`, "++++++++ is too weak for admin"},
		"list":     {`{{ fail (first .Values.apiKeys) }}`, "++++++++"},
		"default":  {`{{ fail .Values.token }}`, "++++++++"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(chartOf("a: b\n"+tc.template+"\n", "web/values.yaml", "token: canary-token\n"),
				&v1alpha1.ApplicationSourceHelm{Values: "db: {password: canary-1, user: admin}\napiKeys: [canary-2]\n"})
			_, err := Renderer{}.Render(t.Context(), req)
			if err == nil {
				t.Fatal("it did not fail")
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), "canary") {
					t.Errorf("the error shows a secret: %v", e)
				}
			}
			if want := "web/templates/t.yaml:2: " + tc.want; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the error is %q, want %q", err, want)
			}
		})
	}
}
