package cli

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// shape is what may be written at one place of an object.
type shape interface {
	// kind of value: "object", "array", "string", "integer", "number",
	// "boolean", or "" where anything may be written.
	kind() string
	// field gives the shape of a key, or false where there is no such key.
	field(name string) (shape, bool)
	// fields are the known keys.
	fields() []string
	// item is the shape of a list's items.
	item() shape
}

// anyShape allows everything.
type anyShape struct{}

func (anyShape) kind() string               { return "" }
func (anyShape) field(string) (shape, bool) { return anyShape{}, true }
func (anyShape) fields() []string           { return nil }
func (anyShape) item() shape                { return anyShape{} }

// schemaShape is the shape that a definition's schema describes. Types are left
// to the schema's own validation.
type schemaShape struct {
	s *structural.Structural
	// meta is the shape of metadata, at the root.
	meta shape
}

func (schemaShape) kind() string { return "" }

func (s schemaShape) field(name string) (shape, bool) {
	if s.meta != nil {
		switch name {
		case "metadata":
			return s.meta, true
		case "apiVersion", "kind":
			return anyShape{}, true
		}
	}
	if p, ok := s.s.Properties[name]; ok {
		return schemaShape{s: &p}, true
	}
	if a := s.s.AdditionalProperties; a != nil {
		if a.Structural == nil {
			return anyShape{}, true
		}
		return schemaShape{s: a.Structural}, true
	}
	if s.s.XPreserveUnknownFields || s.s.Type != "object" {
		return anyShape{}, true
	}
	return nil, false
}

func (s schemaShape) fields() []string {
	var names []string
	for n := range s.s.Properties {
		names = append(names, n)
	}
	if s.meta != nil {
		names = append(names, "apiVersion", "kind", "metadata")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s schemaShape) item() shape {
	if s.s.Items == nil {
		return anyShape{}
	}
	return schemaShape{s: s.s.Items}
}

// goShape is the shape that a Go type of Kubernetes' API describes.
type goShape struct{ t reflect.Type }

var (
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
	byteSlice   = reflect.TypeFor[[]byte]()
)

// shapeOf gives the shape of a type.
func shapeOf(t reflect.Type) shape {
	if t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler) {
		return anyShape{}
	}
	if t.Kind() == reflect.Pointer {
		return shapeOf(t.Elem())
	}
	if t.Kind() == reflect.Interface {
		return anyShape{}
	}
	return goShape{t}
}

func (g goShape) kind() string {
	if g.t == byteSlice {
		return "string"
	}
	switch g.t.Kind() {
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	}
	return ""
}

func (g goShape) field(name string) (shape, bool) {
	switch g.t.Kind() {
	case reflect.Map:
		return shapeOf(g.t.Elem()), true
	case reflect.Struct:
		for key, t := range jsonFields(g.t) {
			if key == name {
				return shapeOf(t), true
			}
		}
		return nil, false
	}
	return anyShape{}, true
}

func (g goShape) fields() []string {
	if g.t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for key := range jsonFields(g.t) {
		names = append(names, key)
	}
	slices.Sort(names)
	return names
}

func (g goShape) item() shape {
	if g.t.Kind() == reflect.Slice || g.t.Kind() == reflect.Array {
		return shapeOf(g.t.Elem())
	}
	return anyShape{}
}

// jsonFields gives the keys of a struct's JSON, those of embedded structs
// included.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case name != "":
			out[name] = f.Type
		case f.Anonymous:
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				for k, v := range jsonFields(inner) {
					out[k] = v
				}
			}
		default:
			out[f.Name] = f.Type
		}
	}
	return out
}

// walk finds what is written where it may not be.
func walk(value any, text *yamlv3.Node, s shape, path string) []finding {
	if value == nil {
		return nil
	}
	if want := s.kind(); want != "" && want != kindOf(value) && !(want == "number" && kindOf(value) == "integer") {
		return []finding{{
			Line: lineOf(text), Severity: severityError, Field: path,
			Message: fmt.Sprintf("must be %s, is %s", article(want), describeValue(value)),
		}}
	}
	var out []finding
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			out = append(out, walkField(key, child, text, s, path)...)
		}
	case []any:
		for i, child := range v {
			out = append(out, walk(child, itemAt(text, i), s.item(), fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return out
}

func walkField(key string, value any, text *yamlv3.Node, s shape, path string) []finding {
	at, child := keyAt(text, key)
	inner, known := s.field(key)
	where := joinField(path, key)
	if known {
		if child == nil {
			child = text // by a merge key: the mapping is as near as can be known
		}
		return walk(value, child, inner, where)
	}
	f := finding{Line: lineOf(at), Severity: severityError, Field: where, Message: fmt.Sprintf("unknown field %q", key)}
	if f.Line == 0 {
		f.Line = lineOf(text)
	}
	if likely := similar(key, s.fields()); likely != "" {
		f.Message += fmt.Sprintf(", did you mean %q?", likely)
	}
	return []finding{f}
}

func joinField(path, key string) string {
	switch {
	case strings.ContainsAny(key, "./[]"):
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func lineOf(n *yamlv3.Node) int {
	if n == nil {
		return 0
	}
	return n.Line
}

func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "number"
	}
	return ""
}

func article(kind string) string {
	switch kind {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "integer":
		return "a whole number"
	case "boolean":
		return "true or false"
	}
	return "a " + kind
}

// describeValue says what a value is, without telling it: it may be a secret.
func describeValue(v any) string {
	switch v.(type) {
	case bool:
		return "a boolean (put it in quotes to make it a string)"
	case int64, float64:
		return "a number (put it in quotes to make it a string)"
	}
	return article(kindOf(v))
}

// locate gives the line at which a field is written, by its path
// ("spec.sources[1].path"); that of the nearest field around it where it is not.
func locate(text *yamlv3.Node, path string) int {
	line := lineOf(text)
	for _, part := range splitField(path) {
		var next, at *yamlv3.Node
		if part.index >= 0 {
			next = itemAt(text, part.index)
			at = next
		} else {
			at, next = keyAt(text, part.key)
		}
		if next == nil {
			return line
		}
		line, text = at.Line, next
	}
	return line
}

type fieldPart struct {
	key   string
	index int
}

func splitField(path string) []fieldPart {
	var out []fieldPart
	for path != "" {
		if path[0] == '[' {
			inner, rest, _ := strings.Cut(path[1:], "]")
			part := fieldPart{inner, -1}
			if n := 0; len(inner) > 0 {
				if _, err := fmt.Sscanf(inner, "%d", &n); err == nil && strconv.Itoa(n) == inner {
					part.index = n
				}
			}
			out, path = append(out, part), strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		out = append(out, fieldPart{path[:end], -1})
		path = strings.TrimPrefix(path[end:], ".")
	}
	return out
}
