package tofu_test

import (
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/plan"
)

func TestAnswer(t *testing.T) {
	const ignore, report, revert = v1alpha1.DriftIgnore, v1alpha1.DriftReport, v1alpha1.DriftRevert
	rule := func(action v1alpha1.DriftAction, kind, name string, pointers ...string) v1alpha1.DriftRule {
		return v1alpha1.DriftRule{Kind: kind, Name: name, JSONPointers: pointers, Action: action}
	}
	owner := rule(ignore, "aws_vpc", "", "/tags/Owner")
	for name, tc := range map[string]struct {
		reason string
		rules  []v1alpha1.DriftRule
		fields []string
		want   v1alpha1.DriftAction
	}{
		"Field":       {"the only field is to be ignored", []v1alpha1.DriftRule{owner}, []string{"/tags/Owner"}, ignore},
		"Part":        {"what is below a pointer is, too", []v1alpha1.DriftRule{rule(ignore, "", "", "/tags")}, []string{"/tags/Owner", "/tags/Name"}, ignore},
		"Beginning":   {"a name that begins alike is another one", []v1alpha1.DriftRule{rule(ignore, "", "", "/tag")}, []string{"/tags/Owner"}, ""},
		"More":        {"another field has drifted, too", []v1alpha1.DriftRule{owner}, []string{"/tags/Owner", "/cidr_block"}, ""},
		"Put right":   {"it is put right as a whole", []v1alpha1.DriftRule{owner, rule(revert, "", "")}, []string{"/cidr_block", "/tags/Owner"}, revert},
		"Hold back":   {"what is to be reported holds the rest back", []v1alpha1.DriftRule{rule(report, "", "", "/cidr_block"), rule(revert, "", "")}, []string{"/cidr_block", "/tags/Name"}, report},
		"First":       {"the first rule counts", []v1alpha1.DriftRule{rule(report, "", "", "/tags/Owner"), owner}, []string{"/tags/Owner"}, report},
		"Gone":        {"a deletion is no matter of fields", []v1alpha1.DriftRule{owner}, nil, ""},
		"Gone, whole": {"but of the whole", []v1alpha1.DriftRule{owner, rule(ignore, "aws_vpc", "module.*")}, nil, ignore},
		"Kind":        {"it is of another type", []v1alpha1.DriftRule{rule(ignore, "aws_subnet", "", "/tags")}, []string{"/tags/Owner"}, ""},
		"Escaped":     {"a name with a slash", []v1alpha1.DriftRule{rule(ignore, "", "", "/tags/a~1b")}, []string{"/tags/a~1b"}, ignore},
	} {
		got := tofu.Answer(&v1alpha1.DriftPolicy{Rules: tc.rules}, plan.Ref{Kind: "aws_vpc", Name: "module.net.aws_vpc.main"}, tc.fields)
		if got != tc.want {
			t.Errorf("%s: %s: %q, should be %q", name, tc.reason, got, tc.want)
		}
	}
}

// TestDriftOfFields ignores some attributes, and puts others right.
func TestDriftOfFields(t *testing.T) {
	s := calm(t)
	rules := []v1alpha1.DriftRule{{Kind: "cloud_vpc", Name: "cloud_vpc.*", JSONPointers: []string{"/tags/Owner"}, Action: v1alpha1.DriftIgnore}}
	with := func(tag string) driver.Desired {
		d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + subnet("c", "a") + vpc("b", "10.1.0.0/16", tag))
		d.Drift.Rules = rules
		return d
	}
	d := with("1")
	s.sync(d)
	w := world{s.cloud}
	ref := object("cloud_vpc", "a", "").Ref
	id, _, _ := w.find(ref)
	own := func() {
		t.Helper()
		if err := s.cloud.Change(id, func(body map[string]any) { body["tags"].(map[string]any)["Owner"] = "them" }); err != nil {
			t.Fatal(err)
		}
	}
	own()
	d.Fresh = true
	s.planned(d)
	d = with("2") // something else is declared anew
	s.good(s.apply(d, s.planned(d, "update cloud_vpc.b"), false))
	d.Fresh = true
	s.planned(d)
	owner := func() (any, bool) {
		for _, o := range s.cloud.Objects() {
			if o.ID == id {
				v, ok := o.Body["tags"].(map[string]any)["Owner"]
				return v, ok
			}
		}
		return nil, false
	}
	if v, ok := owner(); !ok || v != "them" {
		t.Errorf("what is to be ignored was put back: %v", v)
	}
	w.Edit(t, ref, "theirs") // a field that is not to be ignored
	c := s.planned(d, "update cloud_vpc.a")
	for _, r := range c.Resources {
		if r.Ref == ref && (r.Cause != driver.CauseDrift || r.Answer != "") {
			t.Errorf("%s: cause %q, answer %q", ref.Name, r.Cause, r.Answer)
		}
	}
	s.good(s.apply(d, c, false))
	s.planned(d)
	if _, ok := owner(); ok {
		t.Error("a resource is not put right as a whole")
	}
	// What depends on something ignored takes it along.
	own()
	d = with("2")
	d.Bundle = module(map[string]string{"main.tf": idempotent + vpc("a", "10.0.0.0/16", "1") + subnet("c", "a") + subnet("d", "a") + vpc("b", "10.1.0.0/16", "2")})
	s.good(s.apply(d, s.planned(d, "create cloud_subnet.d"), false))
	s.planned(d)
	s.accounted()
}
