package hclfile

import (
	"strings"
	"testing"
)

func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ reason, file, text, err string }{
		"HCL":       {reason: "an ordinary file", file: "a.tf", text: "locals {\n  a = [1, { b = \"${c}\" }]\n}\n"},
		"JSON":      {reason: "an ordinary file", file: "a.tf.json", text: `{"locals": {"a": [1]}}`},
		"Brackets":  {reason: "nested brackets end no process", file: "a.tf", text: "a = " + strings.Repeat("[", 1_000_00), err: "Too complex"},
		"Templates": {reason: "nested templates end no process", file: "a.tf", text: "a = " + strings.Repeat(`"${`, 1000), err: "Too complex"},
		"Signs":     {reason: "signs nest without brackets", file: "a.tf", text: "a = " + strings.Repeat("-", 10_000) + "1", err: "Too complex"},
		"Objects":   {reason: "JSON nests, too", file: "a.tf.json", text: strings.Repeat(`{"a":`, 10_000), err: "Too complex"},
		"Large":     {reason: "a file that is too large", file: "a.tf", text: strings.Repeat("#", MaxBytes+1), err: "Too complex"},
		"Syntax":    {reason: "mistakes are told with their place", file: "a.tf", text: "a = {\n", err: "a.tf:2,1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := Parse([]byte(c.text), c.file)
			if got := diags.Error(); diags.HasErrors() != (c.err != "") || c.err != "" && !strings.Contains(got, c.err) {
				t.Errorf("%s: got %s", c.reason, got)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a.tf", "locals { a = 1 }")
	f.Add("a.tf.json", `{"locals": {}}`)
	f.Fuzz(func(_ *testing.T, name, text string) {
		Parse([]byte(text), name)
		ParseExpression([]byte(text), name)
	})
}
