package kube

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

// answerTo gives the answer to a drift of a resource whose changed fields are
// at the given pointers (none: it was deleted). Each field is answered by the
// first rule that speaks of it; the strictest answer counts for the resource.
// Empty means that no rule speaks.
func (s *ruleSet) answerTo(ref plan.Ref, changed []string) v1alpha1.DriftAction {
	if s == nil || len(s.drift) == 0 && s.answer == "" {
		return ""
	}
	if len(changed) == 0 {
		return s.answerField(ref, "")
	}
	var worst v1alpha1.DriftAction
	for i, p := range changed {
		a := s.answerField(ref, p)
		if i == 0 || strictness(a) > strictness(worst) {
			worst = a
		}
	}
	return worst
}

func (s *ruleSet) answerField(ref plan.Ref, pointer string) v1alpha1.DriftAction {
	for i := range s.drift {
		r := &s.drift[i]
		if !r.matches(ref) {
			continue
		}
		if len(r.pointers) == 0 {
			return r.action
		}
		for _, p := range r.pointers {
			if pointer == p || strings.HasPrefix(pointer, p+"/") {
				return r.action
			}
		}
	}
	return s.answer
}

// strictness orders the answers. That no rule speaks leaves it to the
// Application's policy, which comes before every answer but to revert.
func strictness(a v1alpha1.DriftAction) int {
	switch a {
	case v1alpha1.DriftIgnore:
		return 0
	case v1alpha1.DriftReport:
		return 1
	case v1alpha1.DriftAdopt:
		return 2
	case v1alpha1.DriftRevert:
		return 4
	default:
		return 3
	}
}

// differing gives the JSON pointers at which two objects differ.
func differing(a, b any, at string, out []string) []string {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		for k, x := range am {
			out = differing(x, bm[k], at+"/"+escapePointer(k), out)
		}
		for k, y := range bm {
			if _, both := am[k]; !both {
				out = append(out, at+"/"+escapePointer(k))
			}
			_ = y
		}
		return out
	}
	al, aok := a.([]any)
	bl, bok := b.([]any)
	if aok && bok && len(al) == len(bl) {
		for i := range al {
			out = differing(al[i], bl[i], at+"/"+strconv.Itoa(i), out)
		}
		return out
	}
	if !reflect.DeepEqual(a, b) {
		out = append(out, at)
	}
	return out
}
