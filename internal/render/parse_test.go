package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseYAML(t *testing.T) {
	cases := map[string]struct {
		reason, text string
		lastWins     bool
		want         []string
		err          string
		is           error
	}{
		"Documents":   {reason: "each document has the line of its content", text: "# c\na: 1\n---\n\n# c\nb: 2\n---\n---\nc: 3\n", want: []string{`2 {"a":1}`, `6 {"b":2}`, `9 {"c":3}`}},
		"CRLF":        {reason: "Windows' line ends", text: "a: 1\r\n---\r\nb: |\r\n  x\r\n  y\r\n", want: []string{`1 {"a":1}`, `3 {"b":"x\ny\n"}`}},
		"BOM":         {reason: "a byte order mark is no content", text: "\xef\xbb\xbfa: 1\n", want: []string{`1 {"a":1}`}},
		"UTF16":       {reason: "a file of Windows' Notepad", text: "\xff\xfea\x00:\x00 \x001\x00\n\x00", want: []string{`1 {"a":1}`}},
		"End":         {reason: "the end marker ends a document", text: "a: 1\n...\n---\nb: 2\n...\n", want: []string{`1 {"a":1}`, `4 {"b":2}`}},
		"Directive":   {reason: "a version directive is no content", text: "%YAML 1.1\n---\na: 1\n", want: []string{`3 {"a":1}`}},
		"SameLine":    {reason: "content behind the marker", text: "--- # comment\na: 1\n--- {b: 2}\n", want: []string{`2 {"a":1}`, `3 {"b":2}`}},
		"NoMarker":    {reason: "a marker stands alone at the start of a line", text: "a: |\n  ---\n  x\nb: ---x\n", want: []string{`1 {"a":"---\nx\n","b":"---x"}`}},
		"Empty":       {reason: "nothing", text: "\n# only\n---\n", want: nil},
		"YAML11":      {reason: "kubectl's YAML", text: "a: yes\nb: 0644\nc: 1e3\nd: 12345678901234567890\ne: ~\n1: x\n", want: []string{`1 {"1":"x","a":true,"b":420,"c":1000,"d":12345678901234567890,"e":null}`}},
		"Duplicate":   {reason: "a key twice is an error with its line", text: "x: 1\n---\na: 1\nb: 2\na: 3\n", err: `f.yaml:5: invalid YAML: key "a" already set in map`, want: []string{`1 {"x":1}`}},
		"LastWins":    {reason: "unless Helm's users expect otherwise", text: "a: 1\na: 3\n", lastWins: true, want: []string{`1 {"a":3}`}},
		"Syntax":      {reason: "the line counts from the file's start", text: "a: 1\n---\nb: 1\nc: [\n", err: "f.yaml:4: invalid YAML: did not find expected node content", want: []string{`1 {"a":1}`}},
		"Tab":         {reason: "a tab for indentation", text: "a:\n\tb: 1\n", err: "f.yaml:2: invalid YAML: found character that cannot start any token"},
		"UTF8":        {reason: "bytes that are no text", text: "a: 1\nb: \xff\xfe\n", err: "f.yaml:2: invalid UTF-8: byte 0xff"},
		"Control":     {reason: "characters that are no text", text: "a: 1\nb: \x00\n", err: "f.yaml:2: control character 0x00"},
		"Bomb":        {reason: "a billion laughs", text: "x: 1\n---\n" + laughs(9), err: "f.yaml:10: aliases expand to more than", is: ErrTooMuch, want: []string{`1 {"x":1}`}},
		"LongBomb":    {reason: "few aliases of a long text", text: "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a,", 200) + "]\n", err: "f.yaml:2: aliases expand", is: ErrTooMuch},
		"SelfAlias":   {reason: "an alias of itself", text: "a: &a [*a]\n", err: "f.yaml:1:"},
		"Aliases":     {reason: "honest aliases", text: "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  z: 2\n", want: []string{`1 {"a":{"x":1},"b":{"x":1},"c":{"x":1,"z":2}}`}},
		"Deep":        {reason: "nesting is bounded", text: strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), err: "f.yaml:"},
		"NotANumber":  {reason: "what JSON cannot say", text: "a: .nan\n", err: "f.yaml:1: invalid YAML"},
		"UnknownType": {reason: "tags select no types", text: "a: !!python/object x\n", want: []string{`1 {"a":"x"}`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			docs, err := ParseYAML("f.yaml", []byte(tc.text), Parsing{LastKeyWins: tc.lastWins})
			var got []string
			for _, d := range docs {
				text, _ := json.Marshal(d.Value)
				got = append(got, fmt.Sprintf("%d %s", d.Line, text))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
			checkError(t, tc.reason, err, tc.err, tc.is)
		})
	}
}

func checkError(t *testing.T, reason string, err error, want string, is error) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", reason, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s:\n got %v\nwant %s", reason, err, want)
	case is != nil && !errors.Is(err, is):
		t.Errorf("%s: %v is not %v", reason, err, is)
	}
}

func laughs(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	return b.String()
}

func TestParseJSON(t *testing.T) {
	cases := map[string]struct{ reason, text, want, err string }{
		"Object":    {reason: "an object", text: "{\"a\": 12345678901234567890, \"b\": [1, null]}\n", want: `{"a":12345678901234567890,"b":[1,null]}`},
		"Duplicate": {reason: "a key twice", text: "{\n\"a\": 1,\n\"a\": 2}", err: `f.json:3: invalid JSON: key "a" is set twice`},
		"Syntax":    {reason: "a comma too many", text: "{\n\"a\": 1,\n}", err: "f.json:3: invalid JSON"},
		"Short":     {reason: "an end too early", text: "{\"a\":", err: "f.json:1: invalid JSON: unexpected end"},
		"Two":       {reason: "one value in a file", text: "{}\n{}", err: "more than one value"},
		"Deep":      {reason: "nesting is bounded", text: strings.Repeat("[", 5_000), err: "nested more than"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v, err := ParseJSON("f.json", []byte(tc.text), Limits{})
			checkError(t, tc.reason, err, tc.err, nil)
			if got, _ := json.Marshal(v); err == nil && string(got) != tc.want {
				t.Errorf("%s: got %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func FuzzParseYAML(f *testing.F) {
	for _, s := range []string{"a: 1\n---\nb: 2\n", "--- {a: 1}\n...\n", laughs(3), "%YAML 1.1\n---\na: &x [*x]\n", "a: |\n  ---\n", "\xef\xbb\xbfa: 1", "a:\n\tb"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := ParseYAML("f", data, Parsing{Limits: Limits{FileBytes: 1 << 16, TotalBytes: 1 << 20}})
		lines := 1 + strings.Count(string(data), "\n")
		for _, d := range docs {
			if d.Line < 1 || d.Line > lines+strings.Count(string(data), "\r") {
				t.Errorf("document at line %d of %d", d.Line, lines)
			}
			if _, err := Canonical(d.Value); err != nil {
				t.Errorf("value has no canonical form: %v", err)
			}
		}
		if fe := (*FileError)(nil); err != nil && !errors.As(err, &fe) {
			t.Errorf("error without a place: %v", err)
		}
		Heads(data)
	})
}
