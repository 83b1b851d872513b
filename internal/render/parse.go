package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// maxDepth bounds how deep maps and lists may nest.
const maxDepth = 1_000

// Doc is one document of a file.
type Doc struct {
	// Line at which the document's content starts, from 1.
	Line  int
	Value any
}

// Parsing says how strict ParseYAML is, and how much it allows.
type Parsing struct {
	// LastKeyWins takes the last of several equal keys and warns, as Helm's users
	// are used to. Otherwise they are an error.
	LastKeyWins bool
	// Limits bound a file's size and what its aliases may expand to.
	Limits Limits
	// Warn is told of what is accepted but odd. May be nil.
	Warn func(string)
}

// ParseYAML gives the documents of a YAML (or JSON) text; empty ones are left
// out. Values are maps, slices, strings, booleans, nil and json.Number, as
// kubectl understands them (YAML 1.1).
func ParseYAML(file string, data []byte, p Parsing) ([]Doc, error) {
	lim := p.Limits.OrDefault()
	if int64(len(data)) > lim.FileBytes {
		return nil, Errorf(file, 0, "file has %d bytes, more than the limit of %d: %w", len(data), lim.FileBytes, ErrTooMuch)
	}
	data, err := decodeText(file, data)
	if err != nil {
		return nil, err
	}
	var docs []Doc
	for _, c := range splitYAML(data) {
		v, err := parseChunk(file, c, p, lim)
		if err != nil {
			return docs, err
		}
		if v != nil {
			docs = append(docs, Doc{Line: c.content, Value: v})
		}
	}
	return docs, nil
}

func parseChunk(file string, c chunk, p Parsing, lim Limits) (any, error) {
	if err := checkAliases(file, c.line-1, c.text, lim.TotalBytes); err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSONStrict(c.text)
	if err != nil && p.LastKeyWins && strings.Contains(err.Error(), "already set in map") {
		if p.Warn != nil {
			p.Warn(yamlError(file, c.line-1, err).Error() + "; the last value is used")
		}
		asJSON, err = yaml.YAMLToJSON(c.text)
	}
	if err != nil {
		return nil, yamlError(file, c.line-1, err)
	}
	v, err := decodeJSON(asJSON)
	if err != nil {
		return nil, Errorf(file, c.content, "invalid YAML: %v", err)
	}
	return v, nil
}

func decodeJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// ParseJSON gives the one value of a JSON text. Equal keys are an error.
func ParseJSON(file string, data []byte, lim Limits) (any, error) {
	lim = lim.OrDefault()
	if int64(len(data)) > lim.FileBytes {
		return nil, Errorf(file, 0, "file has %d bytes, more than the limit of %d: %w", len(data), lim.FileBytes, ErrTooMuch)
	}
	data, err := decodeText(file, data)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	at := func() int { return 1 + bytes.Count(data[:min(int(dec.InputOffset()), len(data))], []byte("\n")) }
	v, err := jsonValue(dec, 0)
	if err != nil {
		line := at()
		if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
			line = 1 + bytes.Count(data[:min(int(se.Offset), len(data))], []byte("\n"))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of the file")
		}
		return nil, Errorf(file, line, "invalid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, Errorf(file, at(), "more than one value: a JSON file holds one object (or one List)")
	}
	return v, nil
}

func jsonValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep: %w", maxDepth, ErrTooMuch)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := jsonValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	m := map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, dup := m[name]; dup {
			return nil, fmt.Errorf("key %q is set twice", name)
		}
		if m[name], err = jsonValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return m, err
}

// decodeText gives UTF-8 without a byte order mark, or says on which line the
// text is none.
func decodeText(file string, data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		data = data[3:]
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		data = utf16Text(data[2:], 0, 1)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		data = utf16Text(data[2:], 1, 0)
	}
	for i := 0; i < len(data); {
		c := data[i]
		if c < utf8.RuneSelf {
			if (c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f {
				return nil, Errorf(file, lineAt(data, i), "control character %#02x in a text file", c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return nil, Errorf(file, lineAt(data, i), "invalid UTF-8: byte %#02x", c)
		}
		i += n
	}
	return data, nil
}

func lineAt(data []byte, offset int) int { return 1 + bytes.Count(data[:offset], []byte("\n")) }

func utf16Text(data []byte, low, high int) []byte {
	units := make([]uint16, 0, len(data)/2)
	for i := 0; i+1 < len(data); i += 2 {
		units = append(units, uint16(data[i+low])|uint16(data[i+high])<<8)
	}
	return []byte(string(utf16.Decode(units)))
}

// chunk is the text of one document.
type chunk struct {
	line    int // of the text's first line
	content int // of the first line that is neither blank nor a comment
	text    []byte
}

// splitYAML cuts a stream at its document markers, which stand at the start of
// a line and nowhere else. Documents of blanks and comments are left out.
func splitYAML(data []byte) []chunk {
	var out []chunk
	cur := chunk{line: 1}
	start := 0
	flush := func(end int) {
		if cur.content > 0 {
			cur.text = data[start:end]
			out = append(out, cur)
		}
	}
	for pos, line := 0, 1; pos < len(data); line++ {
		end := bytes.IndexByte(data[pos:], '\n')
		if end < 0 {
			end = len(data)
		} else {
			end += pos + 1
		}
		text := data[pos:end]
		switch {
		case isMarker(text, "---"):
			flush(pos)
			// What follows the marker on its line belongs to the document.
			start, cur = pos+3, chunk{line: line}
			if hasContent(text[3:]) {
				cur.content = line
			}
		case isMarker(text, "..."):
			flush(pos)
			start, cur = end, chunk{line: line + 1}
		case cur.content == 0 && bytes.HasPrefix(text, []byte("%YAML")):
			start, cur = end, chunk{line: line + 1}
		case cur.content == 0 && hasContent(text):
			cur.content = line
		}
		pos = end
	}
	flush(len(data))
	return out
}

func isMarker(line []byte, mark string) bool {
	if !bytes.HasPrefix(line, []byte(mark)) {
		return false
	}
	return len(line) == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r' || line[3] == '\n'
}

func hasContent(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) > 0 && line[0] != '#'
}

// CheckAliases refuses a YAML text whose aliases would expand to more than
// limit bytes ("billion laughs"), before a library is asked to expand it.
func CheckAliases(file string, data []byte, limit int64) error {
	if bytes.IndexByte(data, '&') < 0 || bytes.IndexByte(data, '*') < 0 {
		return nil
	}
	for _, c := range splitYAML(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) {
		if err := checkAliases(file, c.line-1, c.text, limit); err != nil {
			return err
		}
	}
	return nil
}

func checkAliases(file string, offset int, text []byte, limit int64) error {
	if bytes.IndexByte(text, '&') < 0 || bytes.IndexByte(text, '*') < 0 {
		return nil
	}
	var root yamlv3.Node
	if err := yamlv3.Unmarshal(text, &root); err != nil {
		return nil //nolint:nilerr // the real parser says what is wrong
	}
	w := weigher{limit: limit, weight: map[*yamlv3.Node]int64{}}
	if w.weigh(&root, 0); w.line > 0 {
		return Errorf(file, offset+w.line, "aliases expand to more than %d bytes (an alias bomb?): %w", limit, ErrTooMuch)
	}
	if w.deep > 0 {
		return Errorf(file, offset+w.deep, "nested more than %d deep: %w", maxDepth, ErrTooMuch)
	}
	return nil
}

// weigher computes what a document would weigh with its aliases expanded,
// without expanding them.
type weigher struct {
	limit  int64
	weight map[*yamlv3.Node]int64 // of anchors; negative while it is computed
	line   int                    // of the alias that was too much
	deep   int
}

func (w *weigher) weigh(n *yamlv3.Node, depth int) int64 {
	if depth > maxDepth {
		w.deep = max(n.Line, 1)
		return 0
	}
	if n.Kind == yamlv3.AliasNode {
		if n.Alias == nil {
			return 0
		}
		got, known := w.weight[n.Alias]
		if !known {
			got = w.weigh(n.Alias, depth+1)
		}
		if got < 0 || got > w.limit {
			w.line = max(n.Line, 1)
			return w.limit + 1
		}
		return got
	}
	w.weight[n] = -1
	sum := int64(len(n.Value)) + 4
	for _, c := range n.Content {
		if sum += w.weigh(c, depth+1); sum > w.limit {
			if w.line == 0 {
				w.line = max(c.Line, 1)
			}
			sum = w.limit + 1
			break
		}
	}
	w.weight[n] = sum
	return sum
}

// Head is what a document of a file says of itself.
type Head struct {
	Kind, Name string
	Line       int
}

// Heads lists the documents of a file with the kind and name that they say on
// lines of their own. Renderers that lose lines find them again with it; it
// understands the usual layout, not all of YAML.
func Heads(data []byte) []Head {
	var out []Head
	for _, c := range splitYAML(data) {
		h := Head{Line: c.content}
		inMeta := false
		for line := range bytes.Lines(c.text) {
			text := strings.TrimRight(string(line), " \t\r\n")
			key, value, ok := strings.Cut(strings.TrimLeft(text, " "), ":")
			if !ok {
				continue
			}
			value = strings.Trim(strings.TrimSpace(value), `"'`)
			switch top := !strings.HasPrefix(text, " "); {
			case top && key == "kind":
				h.Kind = value
			case top:
				inMeta = key == "metadata"
			case inMeta && key == "name" && h.Name == "":
				h.Name = value
			}
		}
		out = append(out, h)
	}
	return out
}

// FindHead gives the line of the document that declares an object of the kind
// whose declared name is the longest that the final name contains, or 0.
func FindHead(heads []Head, kind, name string) int {
	best, line := -1, 0
	for _, h := range heads {
		if h.Kind == kind && strings.Contains(name, h.Name) && len(h.Name) > best {
			best, line = len(h.Name), h.Line
		}
	}
	return line
}
