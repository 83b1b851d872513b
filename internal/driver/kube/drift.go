package kube

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
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

// driftOf tells of changed fields, and who has changed them.
func driftOf(live map[string]any, fields []string) *driver.Drift {
	fields = slices.Sorted(slices.Values(fields))
	d := &driver.Drift{Fields: fields[:min(len(fields), driver.MostFields)]}
	latest := ""
	for _, entry := range (&unstructured.Unstructured{Object: live}).GetManagedFields() {
		if entry.Manager == FieldManager || entry.Subresource == "status" || entry.FieldsV1 == nil {
			continue // kubectl scale and autoscalers write by the subresource "scale"
		}
		var owned map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		at := ""
		if entry.Time != nil {
			at = entry.Time.UTC().Format(time.RFC3339)
		}
		if at >= latest && slices.ContainsFunc(fields, func(f string) bool { return owns(owned, f) }) {
			latest, d.Manager, d.Written = at, entry.Manager, time.Time{}
			if entry.Time != nil {
				d.Written = entry.Time.Time
			}
		}
	}
	return d
}

// owns tells whether a manager's fields hold the one at a pointer, or something of
// it. Items of lists are not told apart.
func owns(owned map[string]any, pointer string) bool {
	at := owned
	for _, part := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		if _, err := strconv.Atoi(part); err == nil && at["f:"+part] == nil {
			return true
		}
		next, ok := at["f:"+strings.NewReplacer("~1", "/", "~0", "~").Replace(part)].(map[string]any)
		if !ok {
			return false
		}
		at = next
	}
	return true
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
