package adopt

import (
	"strings"
	"testing"
)

// FuzzEditYAML looks for files that the editor goes down with, or that it breaks.
func FuzzEditYAML(f *testing.F) {
	for _, text := range []string{deployment, listed, "a: &x [1, *x]\n", "a: |2\n  b\n", "{a: b, c}\n", "? [a]\n: b\n", "a: 'b\n\n  c'\n", "- - - a\n", "a: !!binary x\n", "<<: {a: 1}\n", "a:\r\n  b\r\n", "%YAML 1.1\n---\na: b\n", "a: \"\\\n  b\"\n", "[a: b, c: {d: [e]}]", "a: {b: }\n"} {
		f.Add(text, "a", "b", "v", false)
		f.Add(text, "spec", "replicas", "two\nlines\n", true)
	}
	f.Fuzz(func(t *testing.T, text, outer, inner, value string, remove bool) {
		if len(text) > 4096 || strings.Count(text, "[")+strings.Count(text, "{") > 200 {
			return
		}
		for _, at := range []Path{{key(outer)}, {key(outer), key(inner)}, {key(outer), {Index: 0}}, {{Index: 1}, key(inner)}, {key(outer), {Match: named(inner)}}} {
			for _, v := range []any{value, map[string]any{inner: value}, []any{value, "x"}} {
				edited, err := EditYAML([]byte(text), 0, at, v, remove)
				if err != nil {
					continue
				}
				again, err := parse(edited)
				if err != nil {
					t.Fatalf("%q is broken by an edit: %q: %v", text, edited, err)
				}
				values, err := again.values()
				if err != nil {
					t.Fatal(err)
				}
				is, there := get(values[0], at)
				if remove && there || there && !equal(is, v) {
					t.Fatalf("%q at %s is %v: %q", text, at, is, edited)
				}
			}
		}
	})
}

// FuzzModules looks for files of modules that the editor goes down with.
func FuzzModules(f *testing.F) {
	f.Add(modules["infra/main.tf"], "name", "main", "other")
	f.Add("resource \"a\" \"b\" { x = { y = 1 } }", "x", "1", "2")
	f.Add("resource \"a\" \"b\" {\n x = [\n1,\n]\n}", "x", "1", "2")
	f.Fuzz(func(t *testing.T, text, name, declared, live string) {
		if len(text) > 4096 {
			return
		}
		for _, values := range [][2]any{{declared, live}, {[]any{declared}, []any{declared, live}}, {[]any{declared}, []any{live}}, {map[string]any{"y": declared}, map[string]any{"y": live}}} {
			e := newEditor(map[string][]byte{"main.tf": []byte(text)})
			edit, err := e.field("a.b", Field{Path: Path{key(name)}, Declared: values[0], Live: values[1], HasDeclared: true, HasLive: true})
			if err != nil || edit.text == nil {
				continue
			}
			if _, err := e.apply(edit); err == nil && len(attributes([]byte(text), "main.tf")) == 0 {
				t.Fatalf("%q was edited without an attribute", text)
			}
		}
	})
}
