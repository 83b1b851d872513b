package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func add(t *testing.T, b *Builder, file, text string) error {
	t.Helper()
	docs, err := ParseYAML(file, []byte(text), Parsing{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if err := b.Add(d.Value, file, d.Line); err != nil {
			return err
		}
	}
	return nil
}

func names(b Bundle) []string {
	var out []string
	for _, o := range b.Objects {
		out = append(out, string(o.Ref.Address()))
	}
	return out
}

func TestBuilder(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\n"
	cases := map[string]struct {
		reason, text string
		want         []string
		warnings     []string
		err          string
	}{
		"Object":     {reason: "an object", text: head + "metadata: {name: a, namespace: ns}\n", want: []string{"ConfigMap/ns/a"}},
		"List":       {reason: "lists are taken apart", text: "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n", want: []string{"apps/Deployment/a", "Secret/b"}},
		"TypedList":  {reason: "typed lists as well", text: "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n", want: []string{"ConfigMap/a"}},
		"NullList":   {reason: "a list of nothing", text: "apiVersion: v1\nkind: ConfigMapList\nitems: null\n"},
		"Repeated":   {reason: "the last one stays, with a warning", text: head + "metadata: {name: a}\ndata: {x: \"1\"}\n---\n" + head + "metadata: {name: b}\n---\n" + head + "metadata: {name: a}\n", want: []string{"ConfigMap/b", "ConfigMap/a"}, warnings: []string{"Resource /ConfigMap//a appeared 2 times among application resources. The last one counts: f.yaml:1, f.yaml:10."}},
		"Hook":       {reason: "a hook may have its name generated", text: head + "metadata: {generateName: a-, annotations: {argocd.argoproj.io/hook: Sync}}\n---\n" + head + "metadata: {generateName: a-, annotations: {helm.sh/hook: post-install}}\n", want: []string{"ConfigMap", "ConfigMap"}},
		"Generated":  {reason: "nothing else may", text: "\n" + head + "metadata: {generateName: a-}\n", err: "f.yaml:2: ConfigMap has metadata.generateName"},
		"NoName":     {reason: "a name is needed", text: head + "metadata: {}\n", err: "f.yaml:1: ConfigMap has no metadata.name"},
		"NoMeta":     {reason: "metadata is needed", text: head, err: "f.yaml:1: ConfigMap has no metadata"},
		"NoKind":     {reason: "a kind is needed", text: "apiVersion: v1\nmetadata: {name: a}\n", err: "f.yaml:1: object has no kind"},
		"NoVersion":  {reason: "an apiVersion is needed", text: "kind: X\nmetadata: {name: a}\n", err: "f.yaml:1: object has no apiVersion"},
		"NumberName": {reason: "a name is a string", text: head + "metadata: {name: 123}\n", err: "f.yaml:1: ConfigMap: metadata.name is a number, not a string: put it in quotes"},
		"Scalar":     {reason: "a text is no object", text: "hello\n", err: "f.yaml:1: a Kubernetes object is a map with apiVersion, kind and metadata, but this is a string"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder("Directory", Limits{})
			err := add(t, b, "f.yaml", tc.text)
			checkError(t, tc.reason, err, tc.err, nil)
			if err != nil {
				return
			}
			got := b.Bundle()
			if diff := cmp.Diff(tc.want, names(got)); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.warnings, got.Warnings); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	b := NewBuilder("Directory", Limits{})
	if err := add(t, b, "f.yaml", "kind: ConfigMap\nmetadata: {name: a}\ndata: {b: \"<&>\", a: \"1\"}\napiVersion: v1\n"); err != nil {
		t.Fatal(err)
	}
	got := b.Bundle()
	if want := `{"apiVersion":"v1","data":{"a":"1","b":"<&>"},"kind":"ConfigMap","metadata":{"name":"a"}}`; string(got.Objects[0].JSON) != want {
		t.Errorf("got %s, want %s", got.Objects[0].JSON, want)
	}
	if len(got.Hash) != 64 || len(got.Objects[0].Hash) != 64 || got.Hash == got.Objects[0].Hash {
		t.Errorf("hashes %s, %s", got.Hash, got.Objects[0].Hash)
	}
}

func TestLimits(t *testing.T) {
	b := NewBuilder("Directory", Limits{Objects: 1})
	err := add(t, b, "f.yaml", strings.Repeat("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: A, metadata: {name: a}}]\n---\n", 2))
	checkError(t, "objects are counted", err, "f.yaml:5: more than 1 objects in one Application", ErrTooMuch)
	b = NewBuilder("Directory", Limits{TotalBytes: 100})
	err = add(t, b, "f.yaml", "apiVersion: v1\nkind: A\nmetadata: {name: a}\nx: "+strings.Repeat("y", 100)+"\n")
	checkError(t, "bytes are counted", err, "f.yaml:1: more than 100 bytes of objects", ErrTooMuch)
}

func TestMerge(t *testing.T) {
	bundle := func(text string) Bundle {
		b := NewBuilder("Directory", Limits{})
		if err := add(t, b, "f.yaml", text); err != nil {
			t.Fatal(err)
		}
		return b.Bundle()
	}
	one := bundle("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: im/x}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n")
	two := bundle("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {initContainers: [{image: im/y}]}\n")
	got := Merge(one, two)
	if diff := cmp.Diff([]string{"Pod/b", "Pod/a"}, names(got)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"im/x", "im/y"}, got.Images); diff != "" {
		t.Error(diff)
	}
	if len(got.Warnings) != 1 || got.Objects[1].Hash != two.Objects[0].Hash {
		t.Errorf("the later source did not win: %v", got)
	}
}
