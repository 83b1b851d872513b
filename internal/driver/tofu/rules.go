package tofu

import (
	"path"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

// answer is what the drift rules say of a resource that has drifted in the given
// attributes; none, where it is gone as a whole. The first rule that matches an
// attribute speaks for it.
//
// A resource is put right as a whole or not at all. So if one of its attributes is
// to be reported, none is put right without a person; else, one that is to be put
// right takes those along that are to be ignored.
func answer(p *v1alpha1.DriftPolicy, ref plan.Ref, fields []string) v1alpha1.DriftAction {
	if p == nil {
		return ""
	}
	if len(fields) == 0 {
		return answerTo(p, ref, "")
	}
	said := map[v1alpha1.DriftAction]bool{}
	for _, f := range fields {
		said[answerTo(p, ref, f)] = true
	}
	for _, a := range []v1alpha1.DriftAction{v1alpha1.DriftAdopt, v1alpha1.DriftReport, v1alpha1.DriftRevert, ""} {
		if said[a] {
			return a
		}
	}
	return v1alpha1.DriftIgnore
}

// answerTo is what the rules say of one attribute, or of a whole resource.
func answerTo(p *v1alpha1.DriftPolicy, ref plan.Ref, field string) v1alpha1.DriftAction {
	for i := range p.Rules {
		r := &p.Rules[i]
		kind := r.Kind == "" || r.Kind == "*" || r.Kind == ref.Kind
		name := r.Name == "" || r.Name == ref.Name
		if ok, err := path.Match(r.Name, ref.Name); err == nil && ok {
			name = true
		}
		if kind && name && covers(r.JSONPointers, field) {
			return r.Action
		}
	}
	return p.Default
}

// covers tells whether pointers name a field, or what it is part of. No pointers
// cover all.
func covers(pointers []string, field string) bool {
	return len(pointers) == 0 || field != "" && slices.ContainsFunc(pointers, func(p string) bool {
		return field == p || strings.HasPrefix(field, strings.TrimSuffix(p, "/")+"/")
	})
}
