package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMask(t *testing.T) {
	texts := NewTexts([]string{"hunter2-password", "hunter2", "abc", "true", "", "line-one-long\nline-two-long\n", `a"quoted"one`})
	for name, tc := range map[string]struct{ reason, text, want string }{
		"alone":       {"the text itself", "hunter2", masked},
		"inside":      {"part of another", "x hunter2 y", "x " + masked + " y"},
		"longest":     {"the longer goes before the shorter", "hunter2-password", masked},
		"base64":      {"as a Secret stores it", "aHVudGVyMg==", masked},
		"short":       {"masked where it is all", "abc", masked},
		"short in it": {"left alone inside of others", "abcdef", "abcdef"},
		"boolean":     {"tells nothing", "true", "true"},
		"line":        {"one of several", "see line-two-long", "see " + masked},
		"quoted":      {"as JSON writes it", `{"p":"a\"quoted\"one"}`, `{"p":"` + masked + `"}`},
		"nothing":     {"left alone", "hunter", "hunter"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := texts.Mask(tc.text); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestMaskError(t *testing.T) {
	texts := NewTexts([]string{"hunter2-password"})
	err := texts.MaskError(Errorf("a.yaml", 3, "cannot unmarshal !!str `hunter2...` of hunter2-password: %w", fs.ErrNotExist))
	if got, want := err.Error(), "a.yaml:3: cannot unmarshal !!str `++++++++` of ++++++++: file does not exist"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the error is no longer what it was")
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%v %+v", e, e), "hunter2") {
			t.Errorf("it shows %v", e)
		}
	}
}

func TestMaskObjects(t *testing.T) {
	texts := NewTexts([]string{"hunter2"})
	for name, tc := range map[string]struct {
		reason              string
		before, after, b, a string
	}{
		"made":          {"there is nothing before", `null`, `{"x":"is hunter2","y":1}`, `null`, `{"x":"is ++++++++","y":1}`},
		"deleted":       {"there is nothing after", `{"x":["hunter2"]}`, `null`, `{"x":["++++++++"]}`, `null`},
		"unchanged":     {"nothing to tell", `{"x":"hunter2"}`, `{"x":"hunter2"}`, `{"x":"++++++++"}`, `{"x":"++++++++"}`},
		"rotated":       {"what was there was a secret as well", `{"x":"earlier"}`, `{"x":"hunter2"}`, `{"x":"++++++++"}`, `{"x":"++++++++ (changed)"}`},
		"rotated in it": {"likewise", `{"x":"db://earlier@h"}`, `{"x":"db://hunter2@h"}`, `{"x":"++++++++"}`, `{"x":"db://++++++++@h"}`},
		"taken out":     {"it is no longer one", `{"x":"hunter2"}`, `{"x":"plain"}`, `{"x":"++++++++"}`, `{"x":"++++++++ (changed)"}`},
		"others":        {"left alone", `{"x":"a","n":{"l":[1,"b"]}}`, `{"x":"c","n":{"l":[2,"b"]}}`, `{"x":"a","n":{"l":[1,"b"]}}`, `{"x":"c","n":{"l":[2,"b"]}}`},
		"another shape": {"all of it is looked at", `{"x":{"y":"hunter2"}}`, `{"x":"hunter2"}`, `{"x":{"y":"++++++++"}}`, `{"x":"++++++++"}`},
		"longer list":   {"what is added, too", `{"x":["a"]}`, `{"x":["a","hunter2"]}`, `{"x":["a"]}`, `{"x":["a","++++++++"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after, wantB, wantA map[string]any
			for text, into := range map[string]*map[string]any{tc.before + " ": &before, tc.after + "  ": &after, tc.b + "   ": &wantB, tc.a + "    ": &wantA} {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			texts.MaskObjects(before, after)
			if diff := cmp.Diff(wantB, before); diff != "" {
				t.Errorf("%s: before: %s", tc.reason, diff)
			}
			if diff := cmp.Diff(wantA, after); diff != "" {
				t.Errorf("%s: after: %s", tc.reason, diff)
			}
		})
	}
}
