package probe

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

func differing(prints ...string) Report {
	r := Report{Results: []Result{{Address: "same", Verdict: Same}}}
	for _, mark := range prints {
		r.Results = append(r.Results, Result{Address: mark, Verdict: Differs, fingerprint: mark})
	}
	return r
}

func TestVerdicts(t *testing.T) {
	v := NewVerdicts(3)
	for name, c := range map[string]struct {
		report Report
		want   bool
		reason string
	}{
		"empty":         {Report{}, true, "there is nothing that could differ"},
		"same":          {differing(), true, "nothing differs"},
		"unknown":       {Report{Results: []Result{{}}}, false, "what is not known is not the same"},
		"new":           {differing("a"), false, "no plan has said so"},
		"not printable": {differing(""), false, "what cannot be recognised is never settled"},
	} {
		if got := v.Settled("s", c.report); got != c.want {
			t.Errorf("%s: got %v: %s", name, got, c.reason)
		}
	}
	v.Remember("s", differing("a"))
	v.Remember("s", differing("b"))
	v.Remember("s", differing())
	v.Remember("s", Report{Results: []Result{{Verdict: Differs, fingerprint: "c"}, {}}})
	for name, c := range map[string]struct {
		scope  string
		report Report
		want   bool
		reason string
	}{
		"remembered":   {"s", differing("a"), true, "a plan has said so"},
		"other":        {"s", differing("c"), false, "a plan that was made while something was unknown says nothing of it"},
		"both":         {"s", differing("a", "b"), false, "two differences that are no change each may be one together"},
		"other scope":  {"t", differing("a"), false, "another commit makes another plan"},
		"with unknown": {"s", Report{Results: append(differing("a").Results, Result{})}, false, "what is not known is not the same"},
	} {
		if got := v.Settled(c.scope, c.report); got != c.want {
			t.Errorf("%s: got %v: %s", name, got, c.reason)
		}
	}
	text, err := json.Marshal(v)
	if err != nil || strings.Contains(string(text), `"a"`) && len(text) < 20 {
		t.Fatal(string(text), err)
	}
	again := NewVerdicts(3)
	if err := json.Unmarshal(text, again); err != nil || !again.Settled("s", differing("b")) {
		t.Errorf("it is not read back: %v", err)
	}
	for _, mark := range []string{"x", "y", "z"} {
		v.Remember("s", differing(mark))
	}
	if v.Settled("s", differing("a")) || !v.Settled("s", differing("z")) {
		t.Error("the oldest is to be forgotten, and it alone")
	}
	v.Forget("s")
	if v.Settled("s", differing("z")) {
		t.Error("a scope that was forgotten is remembered")
	}
	if err := json.Unmarshal(text, &Verdicts{}); err == nil {
		t.Error("one without a limit was read")
	}
}

func TestFingerprint(t *testing.T) {
	a, b := cty.StringVal("a"), cty.StringVal("b")
	prints := map[string]string{}
	for name, mark := range map[string]string{
		"one": fingerprint("x", "", a, b), "turned": fingerprint("x", "", b, a), "address": fingerprint("y", "", a, b),
		"deposed": fingerprint("x", "1", a, b), "gone": fingerprint("x", "", a), "none": fingerprint("x", "", a, cty.NilVal),
		"type": fingerprint("x", "", a, cty.NullVal(cty.String)), "number": fingerprint("x", "", cty.StringVal("1"), cty.NumberIntVal(1)),
	} {
		if other, ok := prints[mark]; ok || mark == "" {
			t.Errorf("%s and %s have one fingerprint", name, other)
		}
		prints[mark] = name
	}
}

func TestMask(t *testing.T) {
	m := newMasker([]string{"canary/1 2\"x", "multi\nline-secret", "abc", "YWJj longer"})
	for _, said := range []string{
		"token canary/1 2\"x here", `quoted "canary/1 2\"x"`, "url canary%2F1+2%22x", "line-secret alone", "base64 Y2FuYXJ5LzEgMiJ4",
	} {
		if got := m.text(said); strings.Contains(got, "canary") || strings.Contains(got, "line-secret") || strings.Contains(got, "Y2FuYXJ5") || !strings.Contains(got, hidden) {
			t.Errorf("%q is shown as %q", said, got)
		}
	}
	if got := m.text("abc is too short to be a secret"); !strings.HasPrefix(got, "abc") {
		t.Errorf("got %q", got)
	}
	if got := m.text(strings.Repeat("x", 10000)); len(got) > maxReason+10 {
		t.Errorf("a reason has %d bytes", len(got))
	}
	if got := environmentSecrets([]string{"AWS_SECRET_ACCESS_KEY=a1", "PATH=/bin", "GITHUB_TOKEN=t1", "odd"}); strings.Join(got, " ") != "a1 t1" {
		t.Errorf("got %q", got)
	}
}

func TestShow(t *testing.T) {
	secret := cty.StringVal("canary").Mark(Sensitive)
	for name, v := range map[string]cty.Value{
		"plain": secret, "map": cty.MapVal(map[string]cty.Value{"a": secret, "b": cty.StringVal("shown")}),
		"list": cty.ListVal([]cty.Value{secret, cty.StringVal("x")}), "set": cty.SetVal([]cty.Value{secret}),
		"object": cty.ObjectVal(map[string]cty.Value{"a": cty.ListVal([]cty.Value{cty.ObjectVal(map[string]cty.Value{"x": secret})})}),
		"number": cty.NumberIntVal(4242).Mark(Sensitive), "whole": cty.MapVal(map[string]cty.Value{"a": cty.StringVal("canary")}).Mark(Sensitive),
	} {
		if got := Show(v); strings.Contains(got, "canary") || strings.Contains(got, "4242") || !strings.Contains(got, hidden) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := Show(cty.ObjectVal(map[string]cty.Value{"a": cty.NullVal(cty.String), "b": cty.NumberFloatVal(1.5)})); got != `{"a":null,"b":1.5}` {
		t.Errorf("got %s", got)
	}
}
