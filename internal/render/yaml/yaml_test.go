package yaml

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// run renders the files of a txtar archive, with more as pairs of name and
// content.
func run(archive string, opts *v1alpha1.ApplicationSourceDirectory, limits render.Limits, more ...string) (render.Bundle, error) {
	files := map[string]string{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		files[f.Name] = string(f.Data)
	}
	for i := 0; i+1 < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return render.Tools{Directory: Renderer{}}.Render(context.Background(), render.Request{
		AppName: "shop", Limits: limits,
		Input: render.Input{Tree: memtree.New(files), Path: "app", Source: v1alpha1.ApplicationSource{Directory: opts}},
	})
}

const tree = `
-- app/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a2}
-- app/b.yml --
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: b}}
-- app/c.json --
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
-- app/readme.md --
no
-- app/values.yaml --
some: values
-- app/template.yaml --
{{ if x }}
a: {{ b }}
{{ end }}
-- app/package.json --
{"name": "x"}
-- app/skipped.yaml --
# +argocd:skip-file-rendering
apiVersion: v1
kind: ConfigMap
metadata: {name: skipped}
-- app/sub/d.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: d}
-- app/sub/deep/e.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: e}
-- else/f.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: f}
`

func TestDirectory(t *testing.T) {
	top := []string{"a1 app/a.yaml:1", "a2 app/a.yaml:5", "b app/b.yml:1", "c app/c.json:1"}
	below := []string{"d app/sub/d.yaml:1", "e app/sub/deep/e.yaml:1"}
	cases := map[string]struct {
		reason string
		opts   v1alpha1.ApplicationSourceDirectory
		more   []string
		want   []string
	}{
		"Top":     {reason: "the directory's own manifests, and nothing that is none", want: top},
		"Recurse": {reason: "those below as well", opts: v1alpha1.ApplicationSourceDirectory{Recurse: true}, want: append(append([]string{}, top...), below...)},
		"Include": {reason: "a star matches slashes, braces are alternatives", opts: v1alpha1.ApplicationSourceDirectory{Recurse: true, Include: "{a.yaml,sub/*.yaml}"}, want: append(top[:2:2], below...)},
		"Exclude": {reason: "exclude goes before include", opts: v1alpha1.ApplicationSourceDirectory{Recurse: true, Include: "*.yaml", Exclude: "sub/deep/*"}, want: append(top[:2:2], below[0])},
		"Link": {
			reason: "a link to a file of the tree is read, one to nothing skipped, one to a directory left alone",
			more:   []string{"app/l.yaml", memtree.Link("../else/f.yaml"), "app/gone.yaml", memtree.Link("nope.yaml"), "app/dir.yaml", memtree.Link("../else")},
			want:   append(append([]string{}, top...), "f app/l.yaml:1"),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := run(tree, &tc.opts, render.Limits{}, tc.more...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range b.Objects {
				got = append(got, fmt.Sprintf("%s %s:%d", o.Ref.Name, o.File, o.Line))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSkippedFilesAreNamed(t *testing.T) {
	b, err := run(tree, &v1alpha1.ApplicationSourceDirectory{}, render.Limits{}, "app/mkdocs.yaml", "nav: [\n")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(b.Warnings, func(w string) bool {
		return strings.HasPrefix(w, "app/mkdocs.yaml:1: ") && strings.HasSuffix(w, "skipped")
	}) {
		t.Errorf("a file that is neither YAML nor a manifest: warnings %q", b.Warnings)
	}
}

func TestRefusals(t *testing.T) {
	const good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	cases := map[string]struct {
		reason string
		files  []string
		opts   v1alpha1.ApplicationSourceDirectory
		limits render.Limits
		want   string
		is     error
	}{
		"Syntax":     {reason: "a manifest with an error", files: []string{"app/x.yaml", good + "data: [\n"}, want: "app/x.yaml:4: invalid YAML"},
		"Unfinished": {reason: "an error before all of a manifest is there", files: []string{"app/x.yaml", "apiVersion: v1\nkind: [\n"}, want: "app/x.yaml:2: invalid YAML"},
		"SecondDoc":  {reason: "a later document with an error, whatever it looks like", files: []string{"app/x.yaml", good + "---\na: [\n"}, want: "app/x.yaml:5: invalid YAML"},
		"NoKind":     {reason: "a manifest that forgot its kind", files: []string{"app/x.yaml", "apiVersion: v1\nkind:\nmetadata: {name: x}\n"}, want: "app/x.yaml:1: object has no kind"},
		"Duplicate":  {reason: "a key twice", files: []string{"app/x.yaml", good + "data: {a: b}\ndata: {a: c}\n"}, want: `app/x.yaml:5: invalid YAML: key "data" already set`},
		"JSON":       {reason: "JSON with an error", files: []string{"app/x.json", "{\n\"kind\": }"}, want: "app/x.json:2: invalid JSON"},
		"Big":        {reason: "a huge file, whatever it is", files: []string{"app/x.yaml", strings.Repeat("x", 2000)}, limits: render.Limits{FileBytes: 1000}, want: "app/x.yaml: file has 2000 bytes, more than the limit of 1000", is: render.ErrTooMuch},
		"Total":      {reason: "many files", files: []string{"app/x.yaml", strings.Repeat("#", 600), "app/y.yaml", strings.Repeat("#", 600)}, limits: render.Limits{TotalBytes: 1000}, want: "app/y.yaml: with this file", is: render.ErrTooMuch},
		"LinkOut":    {reason: "a link out of the tree", files: []string{"app/x.yaml", memtree.Link("../../etc/passwd")}, want: "app/x.yaml: symbolic link leads out of the tree"},
		"LinkLoop":   {reason: "a link to itself", files: []string{"app/x.yaml", memtree.Link("x.yaml")}, want: "app/x.yaml: too many symbolic links"},
		"UTF8":       {reason: "bytes that are no text", files: []string{"app/x.yaml", good + "data: {a: \xff}\n"}, want: "app/x.yaml:4: invalid UTF-8"},
		"Pattern":    {reason: "a pattern that cannot be read prunes nothing", files: []string{"app/x.yaml", good}, opts: v1alpha1.ApplicationSourceDirectory{Include: "[a-"}, want: "directory.include"},
		"JsonnetErr": {reason: "jsonnet's own place", files: []string{"app/x.jsonnet", "{\n  a: error 'no',\n}"}, want: "app/x.jsonnet:2: jsonnet: RUNTIME ERROR: no"},
		"JsonnetRec": {reason: "recursion without end", files: []string{"app/x.jsonnet", "local f(x) = f(x + 1) + 1; f(0)"}, want: "max stack frames exceeded"},
		"ImportOut":  {reason: "imports stay in the tree", files: []string{"app/x.jsonnet", "importstr '../../etc/passwd'"}, want: `import "../../etc/passwd"`, is: nil},
		"ImportAbs":  {reason: "imports are relative", files: []string{"app/x.jsonnet", "importstr '/etc/passwd'"}, want: "absolute path"},
		"ImportLink": {reason: "imports follow no link out of the tree", files: []string{"app/x.jsonnet", "importstr 'l'", "app/l", memtree.Link("/etc/passwd")}, want: "leads out of the tree"},
		"LibOut":     {reason: "libraries are in the tree", files: []string{"app/x.jsonnet", "{}"}, opts: v1alpha1.ApplicationSourceDirectory{Jsonnet: v1alpha1.ApplicationSourceJsonnet{Libs: []string{"../x"}}}, want: "directory.jsonnet.libs", is: render.ErrOutside},
		"JsonnetRun": {reason: "a loop without end is given up on", files: []string{"app/x.jsonnet", "std.foldl(function(a, b) a + b, std.range(1, 20000000), 0)"}, limits: render.Limits{RenderMillis: 50}, want: "rendering took more than 50ms", is: render.ErrTooMuch},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := run("", &tc.opts, tc.limits, tc.files...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("%s:\n got %v\nwant %s", tc.reason, err, tc.want)
			}
		})
	}
}

func TestJsonnet(t *testing.T) {
	const files = `
-- app/one.jsonnet --
local lib = import 'lib.libsonnet';
local own = import 'sub/own.libsonnet';
function(name='none') [lib.cm(name + std.extVar('app')), own, null]
-- app/sub/own.libsonnet --
(import '../../vendor/lib.libsonnet').cm('own' + std.extVar('n'))
-- vendor/lib.libsonnet --
{ cm(name):: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: name } } }
`
	b, err := run(files, &v1alpha1.ApplicationSourceDirectory{Jsonnet: v1alpha1.ApplicationSourceJsonnet{
		Libs:    []string{"vendor"},
		ExtVars: []v1alpha1.JsonnetVar{{Name: "app", Value: "-$ARGOCD_APP_NAME"}, {Name: "n", Value: "1 + 1", Code: true}},
		TLAs:    []v1alpha1.JsonnetVar{{Name: "name", Value: "top"}},
	}}, render.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range b.Objects {
		got = append(got, o.File+" "+string(o.JSON))
	}
	want := []string{
		`app/one.jsonnet {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"top-shop"}}`,
		`app/one.jsonnet {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"own2"}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
