package adopt

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// EditYAML sets a value in a document of a file of YAML or JSON, or removes it.
// Only the bytes of what changes are touched. It refuses where more than the
// field would change: through an alias, say.
func EditYAML(data []byte, document int, at Path, value any, remove bool) ([]byte, error) {
	f, err := parse(data)
	if err != nil {
		return nil, err
	}
	if document < 0 || document >= len(f.docs) {
		return nil, fmt.Errorf("there is no document %d", document)
	}
	before, err := f.values()
	if err != nil {
		return nil, err
	}
	want := slices.Clone(before)
	want[document] = with(before[document], at, value, remove)
	is, there := get(before[document], at)
	var ops []op
	switch {
	case remove && !there || !remove && there && equal(is, value):
		return data, nil
	case remove:
		ops = []op{{path: at, remove: true}}
	case there:
		ops = steps(at, is, value)
	default:
		ops = []op{{path: at, value: value}}
	}
	for _, o := range ops {
		edited, err := f.apply(document, o)
		if err != nil {
			return nil, err
		}
		if f, err = parse(edited); err != nil {
			return nil, fmt.Errorf("%w (%w)", errOdd, err)
		}
		if document >= len(f.docs) {
			return nil, errOdd
		}
	}
	after, err := f.values()
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(normal(want), normal(after)) {
		return nil, errElsewhere
	}
	return f.bytes(), nil
}

// errElsewhere is for edits that would not do what they are to do, or more.
var errElsewhere = errors.New("it can't be edited alone: what is written there is used in another place, too (an anchor), or written in a way that is not edited")

// place is a node on the way of a path.
type place struct {
	node   *yaml.Node
	parent *yaml.Node // nil at the top
	index  int        // in the parent's content: of the value
	flow   bool       // somewhere within { } or [ ]
	indent int        // of the map or list that it is in
}

// apply makes one edit.
func (f *file) apply(document int, o op) ([]byte, error) {
	at := place{node: f.docs[document], indent: -1}
	for i, s := range o.path {
		n := at.node
		rest, last := o.path[i+1:], i == len(o.path)-1
		if n.Kind == yaml.AliasNode {
			return nil, fmt.Errorf("%w: an alias (*%s) stands there", errElsewhere, n.Value)
		}
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && !o.remove {
			return f.replace(at, with(nil, o.path[i:], o.value, false))
		}
		var child int
		switch {
		case s.isKey() && n.Kind == yaml.MappingNode:
			child = keyIndex(n, s.Key)
		case !s.isKey() && n.Kind == yaml.SequenceNode:
			v, err := f.value(n)
			if err != nil {
				return nil, err
			}
			child = s.matchItem(v.([]any))
		default:
			return nil, fmt.Errorf("%s is not what the field is in", o.path[:i])
		}
		switch {
		case last && o.insert && n.Kind == yaml.SequenceNode:
			return f.insertItem(at, s.Index, o.value)
		case child < 0 && o.remove:
			return f.bytes(), nil
		case child < 0 && n.Kind == yaml.MappingNode:
			return f.insertKey(at, s.Key, with(nil, rest, o.value, false))
		case child < 0:
			return f.insertItem(at, len(n.Content), with(s.seed(rest), rest, o.value, false))
		case last && o.remove && n.Kind == yaml.MappingNode:
			return f.removeKey(at, child)
		case last && o.remove:
			return f.removeItem(at, child)
		}
		next := place{node: n.Content[child], parent: n, index: child, flow: at.flow || isFlow(n), indent: f.column(f.begin(n))}
		at = next
	}
	return f.replace(at, o.value)
}

// keyIndex is where a key's value is in a map's content.
func keyIndex(n *yaml.Node, name string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name && n.Content[i].Kind == yaml.ScalarNode && n.Content[i].ShortTag() != "!!merge" {
			return i + 1
		}
	}
	return -1
}

// splice puts a text in the place of bytes.
func (f *file) splice(from, to int, with string) []byte {
	edited := *f
	edited.data = slices.Concat(f.data[:from], []byte(with), f.data[to:])
	return edited.bytes()
}

// replace puts a value in the place of a node.
func (f *file) replace(at place, value any) ([]byte, error) {
	n := at.node
	from := f.begin(n)
	to, err := f.end(n, at.indent)
	if err != nil {
		return nil, err
	}
	if n.Kind == yaml.AliasNode {
		return f.splice(from, to, f.inline(value, 0)), nil
	}
	w := f.writer(at.flow)
	if isScalar(value) {
		text := w.scalar(value, n.Style)
		if s, ok := value.(string); ok && !at.flow && multiline(s) && onlySpace(f.data[to:f.lineEnd(to)]) && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
			text = f.literal(s, f.contentIndent(n, from, at.indent))
		}
		if n.Kind != yaml.ScalarNode && !at.flow && at.parent != nil && at.parent.Kind == yaml.MappingNode && n.Anchor == "" {
			if colon := f.afterColon(at); onlySpace(f.data[colon:from]) {
				return f.splice(colon, to, " "+text), nil
			}
		}
		if from > 0 && (f.data[from-1] == ':' || f.data[from-1] == '-') {
			text = " " + text
		}
		return f.splice(from, to, text), nil
	}
	if at.flow || empty(value) {
		text := f.inline(value, f.column(f.lineStart(from)+indentOf(f.data[f.lineStart(from):])))
		if n.Kind != yaml.ScalarNode && !at.flow && at.parent != nil && at.parent.Kind == yaml.MappingNode && n.Anchor == "" {
			if colon := f.afterColon(at); onlySpace(f.data[colon:from]) {
				return f.splice(colon, to, " "+text), nil
			}
		}
		if from > 0 && (f.data[from-1] == ':' || f.data[from-1] == '-') {
			text = " " + text
		}
		return f.splice(from, to, text), nil
	}
	return f.replaceByBlock(at, from, to, value)
}

func (f *file) replaceByBlock(at place, from, to int, value any) ([]byte, error) {
	w := f.writer(false)
	switch {
	case at.node.Anchor != "":
		return nil, errElsewhere
	case at.parent == nil:
		return f.splice(from, to, w.block(value, 0)), nil
	case at.parent.Kind == yaml.SequenceNode:
		dash := f.dashOf(at.parent, at.index)
		return f.splice(dash+1, to, " "+w.block(value, f.column(dash)+2)), nil
	}
	colon := f.afterColon(at)
	return f.splice(colon, to, w.under(value, at.indent)), nil
}

// afterColon is the offset behind a key's colon.
func (f *file) afterColon(at place) int {
	k := at.parent.Content[at.index-1]
	i, err := f.end(k, at.indent)
	if err != nil {
		return f.begin(at.node)
	}
	for i < len(f.data) && f.data[i] != ':' {
		i++
	}
	return min(i+1, len(f.data))
}

// contentIndent is how far the lines of a literal text are indented.
func (f *file) contentIndent(n *yaml.Node, from, indent int) int {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		for next := f.afterLine(from); next < len(f.data); next = f.afterLine(next) {
			line := f.data[next:f.lineEnd(next)]
			if len(line) > indentOf(line) {
				if i := indentOf(line); i > indent {
					return i
				}
				break
			}
		}
	}
	return max(indent, 0) + f.step
}

func indentOf(line []byte) int {
	for i, c := range line {
		if c != ' ' {
			return i
		}
	}
	return len(line)
}

func onlySpace(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return !isSpace(c) })
}

// insertKey adds a key at the end of a map.
func (f *file) insertKey(at place, name string, value any) ([]byte, error) {
	n := at.node
	end, err := f.end(n, at.indent)
	if err != nil {
		return nil, err
	}
	flow := at.flow || isFlow(n)
	w := f.writer(flow)
	style := yaml.Style(0)
	if len(n.Content) > 0 {
		style = n.Content[0].Style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)
	}
	k := w.scalar(name, style)
	if !flow {
		i := f.lineEnd(end)
		indent := f.column(f.begin(n))
		return f.splice(i, i, f.eol+spaces(indent)+k+":"+w.value(value, indent)), nil
	}
	if len(n.Content) == 0 && !at.flow && !f.json && at.parent != nil && at.parent.Kind == yaml.MappingNode && n.Anchor == "" {
		return f.replaceByBlock(at, f.begin(n), end, map[string]any{name: value})
	}
	return f.insertFlow(n, end, firsts(n), func(indent int) string { return k + ": " + f.inline(value, indent) })
}

// firsts are what begins each entry of a map.
func firsts(n *yaml.Node) []*yaml.Node {
	var out []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		out = append(out, n.Content[i])
	}
	return out
}

// insertFlow adds an entry at the end of { } or [ ].
func (f *file) insertFlow(n *yaml.Node, end int, entries []*yaml.Node, entry func(indent int) string) ([]byte, error) {
	if f.data[end-1] != '}' && f.data[end-1] != ']' {
		return nil, errOdd
	}
	if len(entries) == 0 {
		return f.splice(f.begin(n)+1, end-1, entry(indentOf(f.data[f.lineStart(f.begin(n)):]))), nil
	}
	after, err := f.end(n.Content[len(n.Content)-1], 0)
	if err != nil {
		return nil, err
	}
	last := f.begin(entries[len(entries)-1])
	if line := f.data[f.lineStart(last):last]; onlySpace(line) {
		return f.splice(after, after, ","+f.eol+string(line)+entry(len(line))), nil
	}
	return f.splice(after, after, ", "+entry(indentOf(f.data[f.lineStart(last):]))), nil
}

// removeFlow takes an entry out of { } or [ ].
func (f *file) removeFlow(n *yaml.Node, entries, lasts []*yaml.Node, i int) ([]byte, error) {
	from := f.begin(entries[i])
	to, err := f.end(lasts[i], 0)
	if err != nil {
		return nil, err
	}
	switch {
	case len(entries) == 1:
		end, err := f.end(n, 0)
		if err != nil {
			return nil, err
		}
		return f.splice(f.begin(n)+1, end-1, ""), nil
	case i == 0:
		return f.splice(from, f.begin(entries[1]), ""), nil
	}
	before, err := f.end(lasts[i-1], 0)
	if err != nil {
		return nil, err
	}
	return f.splice(before, to, ""), nil
}

// removeKey takes a key out of a map; child is where its value is.
func (f *file) removeKey(at place, child int) ([]byte, error) {
	n := at.node
	if at.flow || isFlow(n) {
		var lasts []*yaml.Node
		for i := 1; i < len(n.Content); i += 2 {
			lasts = append(lasts, n.Content[i])
		}
		return f.removeFlow(n, firsts(n), lasts, child/2)
	}
	if n.Content[child].Anchor != "" {
		return nil, errElsewhere
	}
	if len(n.Content) == 2 {
		return f.replace(at, map[string]any{})
	}
	from := f.begin(n.Content[child-1])
	to, err := f.end(n.Content[child], f.column(f.begin(n)))
	if err != nil {
		return nil, err
	}
	if onlySpace(f.data[f.lineStart(from):from]) {
		return f.removeLines(from, to), nil
	}
	if child != 1 {
		return nil, errOdd
	}
	return f.splice(from, f.begin(n.Content[2]), ""), nil
}

// removeLines takes out the lines from one offset to another.
func (f *file) removeLines(from, to int) []byte {
	from, to = f.lineStart(from), f.afterLine(to)
	if to == len(f.data) && from > 0 && f.data[to-1] != '\n' {
		from = f.lineEnd(from - 1)
	}
	return f.splice(from, to, "")
}

// dashOf is the offset of an item's dash.
func (f *file) dashOf(n *yaml.Node, i int) int {
	first := f.begin(n)
	if i == 0 {
		return first
	}
	column := f.column(first)
	for line := n.Content[i].Line; line >= n.Line; line-- {
		at := f.at(line, column+1)
		if at < len(f.data) && f.data[at] == '-' && onlySpace(f.data[f.lineStart(at):at]) {
			return at
		}
	}
	return first
}

// insertItem puts an item into a list, before the one at an index.
func (f *file) insertItem(at place, i int, value any) ([]byte, error) {
	n := at.node
	end, err := f.end(n, at.indent)
	if err != nil {
		return nil, err
	}
	w := f.writer(false)
	if at.flow || isFlow(n) {
		if len(n.Content) == 0 && !at.flow && !f.json && at.parent != nil && at.parent.Kind == yaml.MappingNode && n.Anchor == "" {
			return f.replaceByBlock(at, f.begin(n), end, []any{value})
		}
		if i < len(n.Content) {
			b := f.begin(n.Content[i])
			return f.splice(b, b, f.inline(value, f.column(b))+", "), nil
		}
		return f.insertFlow(n, end, n.Content, func(indent int) string { return f.inline(value, indent) })
	}
	column := f.column(f.begin(n))
	item := spaces(column) + "- " + w.block(value, column+2)
	if i == 0 {
		dash := f.lineStart(f.dashOf(n, 0))
		if !onlySpace(f.data[dash:f.begin(n)]) {
			return nil, errOdd
		}
		return f.splice(dash, dash, item+f.eol), nil
	}
	if i < len(n.Content) {
		if end, err = f.end(n.Content[i-1], column); err != nil {
			return nil, err
		}
	}
	end = f.lineEnd(end)
	return f.splice(end, end, f.eol+item), nil
}

// removeItem takes an item out of a list.
func (f *file) removeItem(at place, i int) ([]byte, error) {
	n := at.node
	if at.flow || isFlow(n) {
		return f.removeFlow(n, n.Content, n.Content, i)
	}
	if n.Content[i].Anchor != "" {
		return nil, errElsewhere
	}
	if len(n.Content) == 1 {
		return f.replace(at, []any{})
	}
	dash := f.dashOf(n, i)
	if !onlySpace(f.data[f.lineStart(dash):dash]) {
		return nil, errOdd
	}
	end, err := f.end(n.Content[i], f.column(dash))
	if err != nil {
		return nil, err
	}
	return f.removeLines(dash, end), nil
}
