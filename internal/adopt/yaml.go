package adopt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// file is a text of YAML or JSON, with the places of all that is in it. It is
// edited by bytes: what is not edited stays as it is written.
type file struct {
	data  []byte
	lines []int // where each line begins
	eol   string
	docs  []*yaml.Node // contents of the documents
	json  bool
	step  int // how far maps are indented
	dash  int // how far the dashes of lists are, within a map
	bom   bool
	nodes int
	open  map[*yaml.Node]bool // whose aliases are being followed
}

// maxNodes bounds what aliases expand to.
const maxNodes = 200_000

var bom = []byte("\xef\xbb\xbf")

// errOdd is for texts that are read, but not edited.
var errOdd = errors.New("the file is written in a way that is not edited")

func parse(data []byte) (*file, error) {
	f := &file{eol: "\n", step: 2}
	f.data, f.bom = bytes.CutPrefix(data, bom)
	if !utf8.Valid(f.data) || bytes.ContainsAny(f.data, "\u0085\u2028\u2029") {
		return nil, fmt.Errorf("%w: it is not plain UTF-8", errOdd)
	}
	if bytes.Contains(f.data, []byte("\r\n")) {
		f.eol = "\r\n"
	}
	if bytes.Count(f.data, []byte("\r")) != bytes.Count(f.data, []byte("\r\n")) {
		return nil, fmt.Errorf("%w: it has lines that end with a carriage return alone", errOdd)
	}
	f.lines = []int{0}
	for i, c := range f.data {
		if c == '\n' {
			f.lines = append(f.lines, i+1)
		}
	}
	for d := yaml.NewDecoder(bytes.NewReader(f.data)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("invalid YAML: %w", err)
		}
		if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
			f.docs = append(f.docs, doc.Content[0])
		}
	}
	f.habits()
	return f, nil
}

// habits finds out how the file is indented.
func (f *file) habits() {
	indented, flush, found := 0, 0, false
	var look func(n *yaml.Node)
	look = func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 {
			for i := 0; i+1 < len(n.Content); i += 2 {
				k, v := n.Content[i], n.Content[i+1]
				if v.Style&yaml.FlowStyle != 0 || v.Line == k.Line {
					continue
				}
				switch {
				case v.Kind == yaml.MappingNode && !found && v.Column > k.Column:
					f.step, found = v.Column-k.Column, true
				case v.Kind == yaml.SequenceNode && v.Column > k.Column:
					indented++
				case v.Kind == yaml.SequenceNode:
					flush++
				}
			}
		}
		for _, c := range n.Content {
			look(c)
		}
	}
	for _, d := range f.docs {
		look(d)
		f.json = f.json || d.Kind == yaml.MappingNode && d.Style&yaml.FlowStyle != 0 && len(d.Content) > 0 && d.Content[0].Style&yaml.DoubleQuotedStyle != 0
	}
	if indented > flush {
		f.dash = f.step
	}
}

// bytes is the whole text.
func (f *file) bytes() []byte {
	if f.bom {
		return append(bytes.Clone(bom), f.data...)
	}
	return f.data
}

// at gives the offset of a line and column, which counts runes.
func (f *file) at(line, column int) int {
	if line < 1 || line > len(f.lines) {
		return len(f.data)
	}
	i := f.lines[line-1]
	for ; column > 1 && i < len(f.data); column-- {
		_, size := utf8.DecodeRune(f.data[i:])
		i += size
	}
	return i
}

func (f *file) lineStart(i int) int { return bytes.LastIndexByte(f.data[:i], '\n') + 1 }

// lineEnd is where the line ends, before its break.
func (f *file) lineEnd(i int) int {
	if n := bytes.IndexByte(f.data[i:], '\n'); n >= 0 {
		if i += n; i > 0 && f.data[i-1] == '\r' {
			i--
		}
		return i
	}
	return len(f.data)
}

// afterLine is where the next line begins.
func (f *file) afterLine(i int) int {
	if n := bytes.IndexByte(f.data[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(f.data)
}

// column of an offset, from 0, in spaces.
func (f *file) column(i int) int { return utf8.RuneCount(f.data[f.lineStart(i):i]) }

// begin is where a node's value begins, behind its anchor and tag.
func (f *file) begin(n *yaml.Node) int {
	i := f.at(n.Line, n.Column)
	for i < len(f.data) && (f.data[i] == '&' || f.data[i] == '!') && n.Kind != yaml.AliasNode {
		for i < len(f.data) && !isSpace(f.data[i]) {
			i++
		}
		for i < len(f.data) && isSpace(f.data[i]) {
			i++
		}
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

func isNothing(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// end is where a node ends. indent is that of the map or list that it is in.
func (f *file) end(n *yaml.Node, indent int) (int, error) {
	i := f.begin(n)
	switch n.Kind {
	case yaml.AliasNode:
		return min(i+1+len(n.Value), len(f.data)), nil
	case yaml.ScalarNode:
		return f.scalarEnd(n, i, indent)
	case yaml.MappingNode, yaml.SequenceNode:
		return f.collectionEnd(n, i)
	default:
		return 0, errOdd
	}
}

func (f *file) collectionEnd(n *yaml.Node, i int) (int, error) {
	if i >= len(f.data) {
		return i, nil
	}
	open := f.data[i]
	end := i + 1
	if len(n.Content) > 0 {
		var err error
		if end, err = f.end(n.Content[len(n.Content)-1], f.column(i)); err != nil {
			return 0, err
		}
	}
	if !isFlow(n) || open != '{' && open != '[' {
		return end, nil
	}
	for end < len(f.data) {
		switch c := f.data[end]; {
		case c == '}' || c == ']':
			return end + 1, nil
		case c == '#':
			end = f.lineEnd(end)
		case isSpace(c), c == ',', c == ':':
			end++
		default:
			return 0, errOdd
		}
	}
	return 0, errOdd
}

func (f *file) scalarEnd(n *yaml.Node, i, indent int) (int, error) {
	if isNothing(n) || i >= len(f.data) {
		return min(i, len(f.data)), nil
	}
	switch f.data[i] {
	case '"':
		for j := i + 1; j < len(f.data); j++ {
			switch f.data[j] {
			case '\\':
				j++
			case '"':
				return j + 1, nil
			}
		}
		return 0, errOdd
	case '\'':
		for j := i + 1; j < len(f.data); j++ {
			if f.data[j] != '\'' {
				continue
			}
			if j+1 < len(f.data) && f.data[j+1] == '\'' {
				j++
				continue
			}
			return j + 1, nil
		}
		return 0, errOdd
	case '|', '>':
		return f.blockEnd(i, indent), nil
	}
	return f.plainEnd(n.Value, i)
}

// plainEnd follows a plain scalar over the lines that it is folded from.
func (f *file) plainEnd(value string, i int) (int, error) {
	for j := 0; j < len(value); {
		if i >= len(f.data) {
			return 0, errOdd
		}
		c := value[j]
		if c != ' ' && c != '\n' {
			if f.data[i] != c {
				return 0, errOdd
			}
			i, j = i+1, j+1
			continue
		}
		run, breaks := i, 0
		for run < len(f.data) && isSpace(f.data[run]) {
			if f.data[run] == '\n' {
				breaks++
			}
			run++
		}
		switch {
		case breaks == 0 && c == ' ' && f.data[i] == ' ':
			i, j = i+1, j+1
		case breaks == 1 && c == ' ':
			i, j = run, j+1
		case breaks > 1 && strings.HasPrefix(value[j:], strings.Repeat("\n", breaks-1)):
			i, j = run, j+breaks-1
		default:
			return 0, errOdd
		}
	}
	return i, nil
}

// blockEnd is where a literal or folded text ends: at the end of its last line.
func (f *file) blockEnd(i, indent int) int {
	header := string(f.data[i:f.lineEnd(i)])
	header, _, _ = strings.Cut(header, "#")
	content := -1
	for _, c := range header[1:] {
		if c >= '1' && c <= '9' {
			content = max(indent, 0) + int(c-'0')
		}
	}
	keep := strings.Contains(header, "+")
	end := f.lineEnd(i)
	for next := f.afterLine(i); next < len(f.data); next = f.afterLine(next) {
		stop := f.lineEnd(next)
		line := string(f.data[next:stop])
		if strings.Trim(line, " ") == "" {
			if keep {
				end = stop
			}
			continue
		}
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		if content < 0 {
			content = max(spaces, indent+1)
		}
		if spaces < content {
			break
		}
		end = stop
	}
	return end
}

// value gives what a node means.
func (f *file) value(n *yaml.Node) (any, error) {
	f.nodes, f.open = 0, map[*yaml.Node]bool{}
	return f.valueOf(n, 0)
}

func (f *file) valueOf(n *yaml.Node, depth int) (any, error) {
	if f.nodes++; f.nodes > maxNodes || depth > 1000 {
		return nil, fmt.Errorf("%w: its aliases expand to too much", errOdd)
	}
	switch n.Kind {
	case yaml.AliasNode:
		if f.open[n.Alias] {
			return nil, fmt.Errorf("%w: the anchor &%s contains itself", errOdd, n.Value)
		}
		f.open[n.Alias] = true
		v, err := f.valueOf(n.Alias, depth+1)
		delete(f.open, n.Alias)
		return v, err
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := f.valueOf(c, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		return f.mapOf(n, depth)
	default: // a scalar
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int", "!!float":
		return numberOf(n.Value), nil
	}
	return n.Value, nil
}

func (f *file) mapOf(n *yaml.Node, depth int) (any, error) {
	out, merged := map[string]any{}, map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v, err := f.valueOf(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if n.Content[i].ShortTag() != "!!merge" {
			out[n.Content[i].Value] = v
			continue
		}
		from := []any{v}
		if list, ok := v.([]any); ok {
			from = list
		}
		for _, one := range from {
			m, _ := one.(map[string]any)
			for k, v := range m {
				if _, ok := merged[k]; !ok {
					merged[k] = v
				}
			}
		}
	}
	for k, v := range merged {
		if _, ok := out[k]; !ok {
			out[k] = v
		}
	}
	return out, nil
}

// values are the meanings of all documents.
func (f *file) values() ([]any, error) {
	out := make([]any, len(f.docs))
	for i, d := range f.docs {
		var err error
		if out[i], err = f.value(d); err != nil {
			return nil, err
		}
	}
	return out, nil
}
