package adopt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// writer writes new values in the habits of a file.
type writer struct {
	f    *file
	flow bool
}

func (f *file) writer(flow bool) writer { return writer{f, flow} }

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

func empty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// value writes what stands behind a key and its colon.
func (w writer) value(v any, indent int) string {
	switch {
	case empty(v):
		return " " + w.f.inline(v, indent)
	case !isScalar(v):
		return w.under(v, indent)
	}
	if s, ok := v.(string); ok && multiline(s) {
		return " " + w.f.literal(s, indent+w.f.step)
	}
	return " " + w.scalar(v, 0)
}

// under writes a map or list on the lines below a key.
func (w writer) under(v any, indent int) string {
	if _, list := v.([]any); list {
		indent += w.f.dash
	} else {
		indent += w.f.step
	}
	return w.f.eol + spaces(indent) + w.block(v, indent)
}

// block writes a value in lines; the first is where it is put.
func (w writer) block(v any, indent int) string {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
		var lines []string
		for _, k := range ordered(v) {
			lines = append(lines, w.scalar(k, 0)+":"+w.value(v[k], indent))
		}
		return strings.Join(lines, w.f.eol+spaces(indent))
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		var lines []string
		for _, e := range v {
			lines = append(lines, "- "+w.block(e, indent+2))
		}
		return strings.Join(lines, w.f.eol+spaces(indent))
	case string:
		if multiline(v) {
			return w.f.literal(v, indent)
		}
	}
	return w.scalar(v, 0)
}

// rank puts the keys first that people put first.
var rank = map[string]int{"apiVersion": -5, "kind": -4, "metadata": -3, "name": -2, "key": -1}

func ordered(m map[string]any) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), cmp.Compare(a, b))
	})
}

// multiline tells whether a text is best written in lines, and can be.
func multiline(s string) bool {
	if !strings.Contains(strings.TrimRight(s, "\n"), "\n") && !(strings.HasSuffix(s, "\n") && len(s) > 1) {
		return false
	}
	return !strings.HasPrefix(s, " ") && !strings.HasPrefix(s, "\n") && strings.Trim(s, "\n ") != "" &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && (!unicode.IsPrint(r) || r == '\u00a0') })
}

// literal writes a text in lines.
func (f *file) literal(s string, indent int) string {
	body := strings.TrimRight(s, "\n")
	header := "|"
	switch breaks := len(s) - len(body); {
	case breaks == 0:
		header = "|-"
	case breaks > 1:
		header, body = "|+", s[:len(s)-1]
	}
	var b strings.Builder
	b.WriteString(header)
	for line := range strings.SplitSeq(body, "\n") {
		b.WriteString(f.eol)
		if line != "" {
			b.WriteString(spaces(indent) + line)
		}
	}
	return b.String()
}

// scalar writes one value in a style, where that can hold it.
func (w writer) scalar(v any, style yaml.Style) string {
	s, ok := v.(string)
	switch {
	case !ok:
		return plainValue(v)
	case w.f.json, style&yaml.DoubleQuotedStyle != 0:
		return quoted(s)
	case style&yaml.SingleQuotedStyle != 0 && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	case plain(s, w.flow):
		return s
	}
	return quoted(s)
}

func plainValue(v any) string {
	switch v := normal(v).(type) {
	case nil:
		return "null"
	case number:
		return string(v)
	default:
		return fmt.Sprint(v)
	}
}

func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

var (
	odd     = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|\.nan|[-+]?\.inf|~|<<|=)$`)
	numeric = regexp.MustCompile(`^[-+.0-9][-+.:_,0-9eE]*$|^[-+]?0[xXoObB]`)
)

// plain tells whether a text can stand without quotes, to any reader of YAML.
func plain(s string, flow bool) bool {
	if s == "" || strings.TrimSpace(s) != s || odd.MatchString(s) || numeric.MatchString(s) ||
		strings.ContainsAny(s[:1], "-?:,[]{}#&*!|>'\"%@`=") || strings.HasSuffix(s, ":") ||
		strings.Contains(s, ": ") || strings.Contains(s, " #") ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '\u00a0' }) {
		return false
	}
	if flow && strings.ContainsAny(s, ",[]{}:#\"'") {
		return false
	}
	var v any
	if sigsyaml.Unmarshal([]byte(s), &v) != nil {
		return false
	}
	is, ok := v.(string)
	return ok && is == s
}

// inline writes a value within one line, or as JSON over several in a file that
// is JSON.
func (f *file) inline(v any, indent int) string {
	if f.json {
		if isScalar(v) {
			return f.writer(true).scalar(v, 0)
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if bytes.Count(f.data, []byte("\n")) > 1 {
			e.SetIndent(spaces(indent), spaces(f.jsonStep()))
		}
		if e.Encode(forJSON(v)) != nil {
			return "null"
		}
		return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\n", f.eol)
	}
	w := f.writer(true)
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, k := range ordered(v) {
			parts = append(parts, w.scalar(k, 0)+": "+f.inline(v[k], indent))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, f.inline(e, indent))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return w.scalar(v, 0)
}

// jsonStep is how far a file of JSON is indented.
func (f *file) jsonStep() int {
	if len(f.docs) > 0 && len(f.docs[0].Content) > 0 && f.docs[0].Content[0].Line > f.docs[0].Line {
		return max(1, f.docs[0].Content[0].Column-f.docs[0].Column)
	}
	return 2
}

// forJSON gives values that encoding/json writes as numbers.
func forJSON(v any) any {
	switch v := normal(v).(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = forJSON(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = forJSON(e)
		}
		return out
	case number:
		return json.Number(v)
	default:
		return v
	}
}
