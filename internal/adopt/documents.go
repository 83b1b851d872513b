package adopt

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// errEncrypted is for files that only their own tool may change.
var errEncrypted = errors.New("the file is encrypted with SOPS: change it with the sops command")

// document is where an object is in a file.
type document struct {
	index int
	in    Path // of the object within the document, where that is a list
	value map[string]any
}

// isManifest tells whether a file is one that is edited here.
func isManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// editable parses a file that may be edited.
func editable(data []byte) ([]any, error) {
	f, err := parse(data)
	if err != nil {
		return nil, err
	}
	values, err := f.values()
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		m, _ := v.(map[string]any)
		if meta, ok := m["sops"].(map[string]any); ok && (meta["mac"] != nil || meta["lastmodified"] != nil) {
			return nil, errEncrypted
		}
	}
	return values, nil
}

// find gives the documents of a file that fit.
func find(data []byte, fits func(o map[string]any) bool) ([]document, error) {
	values, err := editable(data)
	if err != nil {
		return nil, err
	}
	var out []document
	for i, v := range values {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		if items, ok := m["items"].([]any); ok {
			for j, item := range items {
				if o, ok := item.(map[string]any); ok && fits(o) {
					out = append(out, document{i, Path{key("items"), {Index: j}}, o})
				}
			}
		}
		if fits(m) {
			out = append(out, document{i, nil, m})
		}
	}
	return out, nil
}

// is tells whether an object in a file is a resource.
func is(ref plan.Ref) func(map[string]any) bool {
	return func(o map[string]any) bool {
		if !sameKind(o, ref) || nameOf(o) != ref.Name {
			return false
		}
		ns := text2(o, "metadata", "namespace")
		return ns == "" || ns == ref.Namespace
	}
}

func sameKind(o map[string]any, ref plan.Ref) bool {
	version, _ := o["apiVersion"].(string)
	group := ""
	if g, _, ok := strings.Cut(version, "/"); ok {
		group = g
	}
	kind, _ := o["kind"].(string)
	return kind == ref.Kind && group == ref.Group
}

func nameOf(o map[string]any) string { return text2(o, "metadata", "name") }

func text2(o map[string]any, outer, inner string) string {
	m, _ := o[outer].(map[string]any)
	s, _ := m[inner].(string)
	return s
}

// plainFiles edits the manifest that declares an object.
func (s *session) plainFiles(i int, d Drift, f Field, at render.Object, reason *string) []candidate {
	name := at.File
	if name == "" {
		return nil
	}
	if !isManifest(name) {
		*reason = name + " is a program, not a manifest: its values are not edited"
		return nil
	}
	data, err := s.content(i, name)
	if errors.Is(err, fs.ErrNotExist) || data == nil {
		return nil
	}
	if err != nil {
		*reason = err.Error()
		return nil
	}
	docs, err := find(data, is(d.Ref))
	if err != nil {
		*reason = name + ": " + err.Error()
		return nil
	}
	var out []candidate
	for _, doc := range docs {
		edited, err := EditYAML(data, doc.index, append(doc.in[:len(doc.in):len(doc.in)], f.Path...), f.Live, !f.HasLive)
		if err != nil {
			*reason = name + ": " + err.Error()
			continue
		}
		out = append(out, candidate{source: i, files: map[string][]byte{name: edited}, file: name})
	}
	return out
}

// removeDocument takes an object's document out of its file, and a file away
// that holds nothing else.
func (s *session) removeDocument(i int, d Drift, name string) []candidate {
	if name == "" || !isManifest(name) {
		return nil
	}
	data, err := s.content(i, name)
	if err != nil || data == nil {
		return nil
	}
	docs, err := find(data, is(d.Ref))
	if err != nil || len(docs) != 1 {
		return nil
	}
	doc := docs[0]
	if doc.in != nil {
		edited, err := EditYAML(data, doc.index, doc.in, nil, true)
		if err != nil {
			return nil
		}
		return []candidate{{source: i, files: map[string][]byte{name: edited}, file: name}}
	}
	return []candidate{{source: i, files: map[string][]byte{name: withoutDocument(data, doc.index)}, file: name}}
}

// withoutDocument takes one document with its mark out of a file; nil where
// nothing stays.
func withoutDocument(data []byte, index int) []byte {
	f, err := parse(data)
	if err != nil || len(f.docs) == 1 {
		return nil
	}
	starts := f.documentStarts()
	// Documents without content have marks, too: those around the node count.
	at := f.at(f.docs[index].Line, f.docs[index].Column)
	from, to := 0, len(f.data)
	for _, s := range starts {
		if s <= at {
			from = s
		} else {
			to = s
			break
		}
	}
	if index == 0 && from == 0 && to < len(f.data) {
		return f.splice(0, f.afterLine(to), "")
	}
	return f.splice(from, to, "")
}

// documentStarts are the offsets of the lines that begin documents.
func (f *file) documentStarts() []int {
	var out []int
	for _, start := range f.lines {
		line := f.data[start:f.lineEnd(start)]
		if bytes.Equal(line, []byte("---")) || bytes.HasPrefix(line, []byte("--- ")) {
			out = append(out, start)
		}
	}
	return out
}

// leaf is a value in a file.
type leaf struct {
	path  Path
	value any
}

// leaves gives all values of a document, those within others after them.
func leaves(v any, at Path, out []leaf) []leaf {
	if len(out) > 5000 {
		return out
	}
	if len(at) > 0 {
		out = append(out, leaf{at, v})
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range ordered(v) {
			out = leaves(v[k], at.with(key(k)), out)
		}
	case []any:
		for i, e := range v {
			out = leaves(e, at.with(Step{Index: i}), out)
		}
	}
	return out
}
