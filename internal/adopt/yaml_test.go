package adopt

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

const deployment = `# The shop's front.
apiVersion: apps/v1
kind: Deployment # the usual
metadata:
  name: web
  labels: {app: web, "tier": front}   # flow
spec:
  # how many
  replicas: 2   # two are enough
  template:
    metadata:
      annotations:
        note: |
          first line
            second line

        folded: >-
          one
          two
        single: 'it''s'
        double: "tab\tand # no comment"
    spec:
      containers:
      # the main one
      - name: web
        image: nginx:1.27   # pinned
        args: ["--port=80", '--quiet']
        env:
        - {name: A, value: "1"}
        - name: B
          value: two words
            folded plain
        ports:
        - containerPort: 80
          name: http
        # metrics
        - containerPort: 9090
          protocol: TCP
      # the helper
      - name: side
        image: "side:2"
---
apiVersion: v1
kind: Service
metadata:
  name: web
`

func pathTo(steps ...any) Path {
	var p Path
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			p = append(p, key(s))
		case int:
			p = append(p, Step{Index: s})
		case map[string]any:
			p = append(p, Step{Match: s})
		}
	}
	return p
}

func below(p Path, steps ...Step) Path { return append(slices.Clip(p), steps...) }

func named(name string) map[string]any { return map[string]any{"name": name} }

// lineDiff gives the lines that are gone (-) and new (+).
func lineDiff(before, after string) string {
	a, b := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	i, j := 0, 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	for j < len(a)-i && j < len(b)-i && a[len(a)-1-j] == b[len(b)-1-j] {
		j++
	}
	var out strings.Builder
	for _, l := range a[i : len(a)-j] {
		out.WriteString("-" + strings.TrimSuffix(l, "\n") + "\n")
	}
	for _, l := range b[i : len(b)-j] {
		out.WriteString("+" + strings.TrimSuffix(l, "\n") + "\n")
	}
	return out.String()
}

func TestEditYAML(t *testing.T) {
	container := pathTo("spec", "template", "spec", "containers", named("web"))
	annotations := pathTo("spec", "template", "metadata", "annotations")
	for name, c := range map[string]struct {
		at     Path
		value  any
		remove bool
		want   string
		reason string
	}{
		"number":         {pathTo("spec", "replicas"), 3, false, "-  replicas: 2   # two are enough\n+  replicas: 3   # two are enough\n", "the comment stays"},
		"plain text":     {below(container, key("image")), "nginx:1.28", false, "-        image: nginx:1.27   # pinned\n+        image: nginx:1.28   # pinned\n", ""},
		"quoted text":    {pathTo("spec", "template", "spec", "containers", named("side"), "image"), "side:3", false, "-        image: \"side:2\"\n+        image: \"side:3\"\n", "the quotes stay"},
		"single quotes":  {below(annotations, key("single")), "that's", false, "-        single: 'it''s'\n+        single: 'that''s'\n", ""},
		"double quotes":  {below(annotations, key("double")), "a\tb", false, "-        double: \"tab\\tand # no comment\"\n+        double: \"a\\tb\"\n", ""},
		"needs quotes":   {below(container, key("image")), "yes", false, "-        image: nginx:1.27   # pinned\n+        image: \"yes\"   # pinned\n", "it would be a boolean to Kubernetes"},
		"literal":        {below(annotations, key("note")), "new\n  text\n", false, "-          first line\n-            second line\n+          new\n+            text\n", "the block's form stays"},
		"folded":         {below(annotations, key("folded")), "short", false, "-        folded: >-\n-          one\n-          two\n+        folded: short\n", ""},
		"folded plain":   {below(container, key("env"), Step{Match: named("B")}, key("value")), "other", false, "-          value: two words\n-            folded plain\n+          value: other\n", ""},
		"flow map":       {pathTo("metadata", "labels", "tier"), "back", false, "-  labels: {app: web, \"tier\": front}   # flow\n+  labels: {app: web, \"tier\": back}   # flow\n", ""},
		"flow map key":   {pathTo("metadata", "labels", "x"), "1", false, "-  labels: {app: web, \"tier\": front}   # flow\n+  labels: {app: web, \"tier\": front, x: \"1\"}   # flow\n", ""},
		"flow map less":  {pathTo("metadata", "labels", "app"), nil, true, "-  labels: {app: web, \"tier\": front}   # flow\n+  labels: {\"tier\": front}   # flow\n", ""},
		"flow in list":   {below(container, key("env"), Step{Match: named("A")}, key("value")), "2", false, "-        - {name: A, value: \"1\"}\n+        - {name: A, value: \"2\"}\n", ""},
		"flow list":      {below(container, key("args")), []any{"--port=81", "--quiet", "-v"}, false, "-        args: [\"--port=80\", '--quiet']\n+        args: [\"--port=81\", '--quiet', \"-v\"]\n", ""},
		"item by port":   {below(container, key("ports"), Step{Match: map[string]any{"containerPort": 80, "protocol": "TCP"}}, key("name")), "web", false, "-          name: http\n+          name: web\n", "protocol may be left out"},
		"new key":        {below(container, key("imagePullPolicy")), "Always", false, "+        imagePullPolicy: Always\n", "at the end of its map"},
		"new map":        {pathTo("spec", "strategy"), map[string]any{"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxSurge": json.Number("1")}}, false, "+  strategy:\n+    rollingUpdate:\n+      maxSurge: 1\n+    type: RollingUpdate\n", ""},
		"new item":       {below(container, key("env"), Step{Match: named("C")}), map[string]any{"name": "C", "value": "3"}, false, "+        - name: C\n+          value: \"3\"\n", ""},
		"deep":           {below(container, key("resources"), key("limits"), key("cpu")), "1", false, "+        resources:\n+          limits:\n+            cpu: \"1\"\n", "what is missing on the way is made"},
		"item is gone":   {below(container, key("ports"), Step{Match: map[string]any{"containerPort": 9090, "protocol": "TCP"}}), nil, true, "-        - containerPort: 9090\n-          protocol: TCP\n", ""},
		"container gone": {pathTo("spec", "template", "spec", "containers", named("side")), nil, true, "-      - name: side\n-        image: \"side:2\"\n", ""},
		"first key gone": {below(container, key("name")), nil, true, "-      - name: web\n-        image: nginx:1.27   # pinned\n+      - image: nginx:1.27   # pinned\n", "the dash stays"},
		"key gone":       {pathTo("spec", "replicas"), nil, true, "-  replicas: 2   # two are enough\n", ""},
		"block gone":     {below(annotations, key("note")), nil, true, "-        note: |\n-          first line\n-            second line\n", ""},
		"map for scalar": {pathTo("spec", "replicas"), map[string]any{"a": "b"}, false, "-  replicas: 2   # two are enough\n+  replicas:\n+    a: b   # two are enough\n", ""},
		"scalar for map": {below(container, key("env")), "x", false, "", ""},
		"unchanged":      {pathTo("spec", "replicas"), 2, false, "", "nothing is touched"},
		"gone already":   {pathTo("spec", "paused"), nil, true, "", ""},
		"multi-line":     {below(container, key("image")), "a\nb\n", false, "-        image: nginx:1.27   # pinned\n+        image: \"a\\nb\\n\"   # pinned\n", "a comment stands behind it"},
		"emptied":        {below(container, key("args")), []any{}, false, "-        args: [\"--port=80\", '--quiet']\n+        args: []\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := EditYAML([]byte(deployment), 0, c.at, c.value, c.remove)
			if err != nil {
				t.Fatalf("%s: %v", c.at, err)
			}
			if name == "scalar for map" {
				return
			}
			if diff := cmp.Diff(c.want, lineDiff(deployment, string(got))); diff != "" {
				t.Errorf("%s: %s", c.reason, diff)
			}
		})
	}
}

func TestEditYAMLForms(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		doc    int
		at     Path
		value  any
		remove bool
		want   string // empty: refused
		reason string
	}{
		"json":             {"{\n  \"a\": {\n    \"b\": 1,\n    \"c\": \"x\"\n  }\n}\n", 0, pathTo("a", "c"), "y", false, "{\n  \"a\": {\n    \"b\": 1,\n    \"c\": \"y\"\n  }\n}\n", ""},
		"json key":         {"{\n  \"a\": {\n    \"b\": 1\n  }\n}\n", 0, pathTo("a", "d"), map[string]any{"e": "f"}, false, "{\n  \"a\": {\n    \"b\": 1,\n    \"d\": {\n      \"e\": \"f\"\n    }\n  }\n}\n", ""},
		"json removal":     {"{\n  \"a\": 1,\n  \"b\": 2\n}\n", 0, pathTo("b"), nil, true, "{\n  \"a\": 1\n}\n", ""},
		"compact json":     {`{"a":{"b":1}}`, 0, pathTo("a", "c"), true, false, `{"a":{"b":1, "c": true}}`, ""},
		"indented lists":   {"a:\n  b:\n    - x\n    - y\n", 0, pathTo("a", "c"), []any{"z"}, false, "a:\n  b:\n    - x\n    - y\n  c:\n    - z\n", "as the file has them"},
		"four spaces":      {"a:\n    b: 1\n", 0, pathTo("a", "c", "d"), 1, false, "a:\n    b: 1\n    c:\n        d: 1\n", ""},
		"no last newline":  {"a: 1\nb: 2", 0, pathTo("c"), 3, false, "a: 1\nb: 2\nc: 3", ""},
		"last line gone":   {"a: 1\nb: 2", 0, pathTo("b"), nil, true, "a: 1", ""},
		"crlf":             {"a: 1\r\nb:\r\n  c: 2\r\n", 0, pathTo("b", "d"), "x", false, "a: 1\r\nb:\r\n  c: 2\r\n  d: x\r\n", ""},
		"bom":              {"\ufeffa: 1\n", 0, pathTo("a"), 2, false, "\ufeffa: 2\n", ""},
		"umlauts":          {"ä: \"ö\" # ü\n", 0, pathTo("ä"), "ß", false, "ä: \"ß\" # ü\n", "columns count runes"},
		"second document":  {"a: 1\n---\na: 1 # here\n", 1, pathTo("a"), 2, false, "a: 1\n---\na: 2 # here\n", ""},
		"marked documents": {"--- # one\na: 1\n...\n--- # two\na: 1\n...\n", 1, pathTo("b"), 2, false, "--- # one\na: 1\n...\n--- # two\na: 1\nb: 2\n...\n", ""},
		"empty value":      {"a:\nb: 1\n", 0, pathTo("a"), "x", false, "a: x\nb: 1\n", ""},
		"empty on the way": {"a:\nb: 1\n", 0, pathTo("a", "c"), "x", false, "a:\n  c: x\nb: 1\n", ""},
		"empty map":        {"a: {}\nb: 1\n", 0, pathTo("a", "c"), "x", false, "a:\n  c: x\nb: 1\n", ""},
		"empty list":       {"a: []\n", 0, pathTo("a", 0), "x", false, "a:\n- x\n", ""},
		"only key":         {"a:\n  b: 1\nc: 2\n", 0, pathTo("a", "b"), nil, true, "a: {}\nc: 2\n", ""},
		"only item":        {"a:\n- b\nc: 2\n", 0, pathTo("a", 0), nil, true, "a: []\nc: 2\n", ""},
		"anchor":           {"a: &x 1\nb: *x\n", 0, pathTo("a"), 2, false, "", "b would change as well"},
		"unused anchor":    {"a: &x 1\nb: 2\n", 0, pathTo("a"), 2, false, "a: &x 2\nb: 2\n", ""},
		"alias":            {"a: &x {c: 1}\nb: *x\n", 0, pathTo("b", "c"), 2, false, "", "a would change as well"},
		"alias itself":     {"a: &x 1\nb: *x\n", 0, pathTo("b"), 2, false, "a: &x 1\nb: 2\n", "nothing else changes"},
		"merge key":        {"a: &x {c: 1}\nb:\n  <<: *x\n  d: 1\n", 0, pathTo("b", "c"), 2, false, "a: &x {c: 1}\nb:\n  <<: *x\n  d: 1\n  c: 2\n", "the own key goes before"},
		"tag":              {"a: !!str 1\n", 0, pathTo("a"), "2", false, "a: !!str \"2\"\n", ""},
		"keep":             {"a: |+\n  x\n\n\nb: 1\n", 0, pathTo("a"), "y\n\n\n", false, "a: |+\n  y\n\n\nb: 1\n", ""},
		"indicator":        {"a: |2\n    x\nb: 1\n", 0, pathTo("b"), 2, false, "a: |2\n    x\nb: 2\n", ""},
		"nested dashes":    {"- - a\n  - b\n- c\n", 0, pathTo(0, 1), "d", false, "- - a\n  - d\n- c\n", ""},
		"middle item":      {"a:\n# one\n- 1\n# two\n- 2\n# three\n- 3\n", 0, pathTo("a"), []any{1, 3}, false, "a:\n# one\n- 1\n# two\n# three\n- 3\n", "the others are not touched"},
		"item between":     {"a:\n- x\n- z\n", 0, pathTo("a"), []any{"x", "w", "z"}, false, "a:\n- x\n- w\n- z\n", ""},
		"folded key":       {"? a\n: 1\n", 0, pathTo("a"), 2, false, "? a\n: 2\n", ""},
		"duplicate space":  {"a:   'x'   # c\n", 0, pathTo("a"), 5, false, "a:   5   # c\n", "no quotes for a number"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := EditYAML([]byte(c.file), c.doc, c.at, c.value, c.remove)
			if c.want == "" {
				if err == nil {
					t.Errorf("not refused (%s): %s", c.reason, got)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("%s: %s", c.reason, diff)
			}
		})
	}
}

// TestEditsDoWhatTheyAreToDo makes random edits of random documents in random
// styles: what a reader of YAML gets is what was wanted, in all documents.
func TestEditsDoWhatTheyAreToDo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	const rounds = 3000
	for range rounds {
		g := &gen{r: r, step: 2 + 2*r.IntN(2), dash: r.IntN(2) == 0}
		v := g.mapping(3)
		text := "# top\n" + g.write(v, 0) + "---\nother: 1 # stays\n"
		at, value, remove := g.edit(v)
		want := with(v, at, value, remove)
		got, err := EditYAML([]byte(text), 0, at, value, remove)
		if err != nil {
			refused++
			if refused > rounds/20 {
				t.Fatalf("refused too often: %v\n%s at %s: %v", err, text, at, value)
			}
			continue
		}
		first, _, _ := strings.Cut(string(got), "---\n")
		var is any
		if err := sigsyaml.Unmarshal([]byte(first), &is); err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
		if is == nil {
			is = map[string]any{}
		}
		if !reflect.DeepEqual(normal(want), normal(is)) {
			t.Fatalf("at %s set %v (remove %v):\n%s\nbecame\n%s\n%s", at, value, remove, text, got, cmp.Diff(normal(want), normal(is)))
		}
		if !strings.HasPrefix(string(got), "# top\n") || !strings.HasSuffix(string(got), "---\nother: 1 # stays\n") {
			t.Fatalf("a comment is gone:\n%s\nbecame\n%s", text, got)
		}
	}
	t.Logf("%d of %d refused", refused, rounds)
}

// gen makes documents up.
type gen struct {
	r    *rand.Rand
	step int
	dash bool
	n    int
}

func (g *gen) scalar() any {
	return []any{"plain", "two words", "yes", "1.5", "it's: odd # not", "", "line\nline\n", "a\n\n b", "-dash", "nginx:1.27", "2001-01-01", "ünïcode", int64(7), 1.5, true, nil}[g.r.IntN(16)]
}

func (g *gen) any(depth int) any {
	switch n := g.r.IntN(4); {
	case depth > 0 && n == 0:
		return g.mapping(depth - 1)
	case depth > 0 && n == 1:
		list := []any{}
		for range g.r.IntN(3) + 1 {
			list = append(list, g.any(depth-1))
		}
		return list
	}
	return g.scalar()
}

func (g *gen) mapping(depth int) map[string]any {
	m := map[string]any{}
	for range g.r.IntN(4) + 1 {
		g.n++
		m[fmt.Sprintf("k%d", g.n)] = g.any(depth)
	}
	return m
}

func (g *gen) edit(v any) (Path, any, bool) {
	var at Path
	for {
		switch x := v.(type) {
		case map[string]any:
			keys := ordered(x)
			if len(keys) == 0 || g.r.IntN(6) == 0 {
				return at.with(key("new")), g.any(2), false
			}
			k := keys[g.r.IntN(len(keys))]
			at, v = at.with(key(k)), x[k]
		case []any:
			if len(x) == 0 {
				return at, g.any(2), false
			}
			i := g.r.IntN(len(x))
			at, v = at.with(Step{Index: i}), x[i]
		default:
			return at, g.any(2), g.r.IntN(3) == 0
		}
		if g.r.IntN(4) == 0 {
			return at, g.any(2), g.r.IntN(2) == 0
		}
	}
}

// write writes a value in random styles, with comments.
func (g *gen) write(v any, indent int) string {
	f := &file{eol: "\n", step: g.step}
	if g.dash {
		f.dash = g.step
	}
	var b strings.Builder
	switch v := v.(type) {
	case map[string]any:
		for _, k := range ordered(v) {
			if g.r.IntN(4) == 0 {
				b.WriteString(spaces(indent) + "# about " + k + "\n")
			}
			b.WriteString(spaces(indent) + k + ":")
			b.WriteString(g.behind(f, v[k], indent))
		}
	case []any:
		for _, e := range v {
			switch {
			case isScalar(e), empty(e), g.r.IntN(3) == 0:
				b.WriteString(spaces(indent) + "- " + f.inline(e, 0) + g.comment() + "\n")
			default:
				body := g.write(e, indent+2)
				trimmed := strings.TrimLeft(body, " ")
				if strings.HasPrefix(trimmed, "#") {
					b.WriteString(spaces(indent) + "-\n" + body)
				} else {
					b.WriteString(spaces(indent) + "- " + trimmed)
				}
			}
		}
	}
	return b.String()
}

func (g *gen) comment() string {
	if g.r.IntN(4) != 0 {
		return ""
	}
	return "  # c"
}

func (g *gen) behind(f *file, v any, indent int) string {
	w := f.writer(false)
	if s, ok := v.(string); ok && multiline(s) {
		return " " + f.literal(s, indent+f.step) + "\n"
	}
	if v == nil && g.r.IntN(2) == 0 {
		return "\n"
	}
	if isScalar(v) {
		return " " + w.scalar(v, []yaml.Style{0, yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle}[g.r.IntN(3)]) + g.comment() + "\n"
	}
	if empty(v) || g.r.IntN(4) == 0 {
		return " " + f.inline(v, 0) + g.comment() + "\n"
	}
	inner := indent + f.step
	if _, list := v.([]any); list {
		inner = indent + f.dash
	}
	return g.comment() + "\n" + g.write(v, inner)
}
