package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

// jqTimeout bounds one evaluation of one expression on one object.
const jqTimeout = time.Second

// skipSet holds the JSON pointers of one object that do not count.
type skipSet map[string]struct{}

func (s skipSet) has(pointer string) bool {
	if len(s) == 0 {
		return false
	}
	_, ok := s[pointer]
	return ok
}

// tracking is what Plumb itself writes on objects, which is never a difference.
var tracking = skipSet{
	"/metadata/labels/" + escapePointer(LabelManaged):         {},
	"/metadata/annotations/" + escapePointer(AnnotationOwner): {},
	"/metadata/annotations/" + escapePointer(AnnotationHost):  {},
}

// rule is one entry of ignoreDifferences, or an ignoring drift rule.
type rule struct {
	group, kind, name, namespace string
	globs                        bool
	pointers                     []string
	jq                           []*gojq.Code
	managers                     map[string]bool
}

func (r *rule) matches(ref plan.Ref) bool {
	if r.globs {
		return (r.group == "*" || r.group == ref.Group || (r.group == "" && r.kind == "")) &&
			(r.kind == "" || r.kind == "*" || r.kind == ref.Kind) &&
			glob(r.name, ref.Name) && glob(r.namespace, ref.Namespace)
	}
	return glob(r.group, ref.Group) && glob(r.kind, ref.Kind) && (r.group != "" || ref.Group == "") &&
		(r.name == "" || r.name == ref.Name) && (r.namespace == "" || r.namespace == ref.Namespace)
}

func glob(pattern, s string) bool {
	if pattern == "" || pattern == "*" || pattern == s {
		return true
	}
	ok, err := path.Match(pattern, s)
	return err == nil && ok
}

// ruleSet is what one Application says about differences, compiled.
type ruleSet struct {
	// id identifies the rules: equal rules have equal ids.
	id     string
	ignore []rule
	drift  []driftRule
	answer v1alpha1.DriftAction
}

type driftRule struct {
	rule
	action v1alpha1.DriftAction
}

// compileRules compiles an Application's rules. What cannot be compiled is an
// error that names the rule.
func compileRules(h hasher, ignore []v1alpha1.ResourceIgnoreDifferences, drift *v1alpha1.DriftPolicy) (*ruleSet, error) {
	set := &ruleSet{}
	if len(ignore) == 0 && drift == nil {
		return set, nil
	}
	b, err := json.Marshal(struct{ I, D any }{ignore, drift})
	if err != nil {
		return nil, fmt.Errorf("read ignoreDifferences: %w", err)
	}
	set.id = h.of(string(b))
	for i, d := range ignore {
		r := rule{group: d.Group, kind: d.Kind, name: d.Name, namespace: d.Namespace, pointers: d.JSONPointers}
		for _, expr := range d.JQPathExpressions {
			code, err := compileJQ(expr)
			if err != nil {
				return nil, fmt.Errorf("ignoreDifferences[%d]: jqPathExpressions: %q: %w", i, expr, err)
			}
			r.jq = append(r.jq, code)
		}
		if len(d.ManagedFieldsManagers) > 0 {
			r.managers = map[string]bool{}
			for _, m := range d.ManagedFieldsManagers {
				r.managers[m] = true
			}
		}
		set.ignore = append(set.ignore, r)
	}
	if drift != nil {
		set.answer = drift.Default
		set.addDrift(drift.Rules)
	}
	return set, nil
}

func (s *ruleSet) addDrift(rules []v1alpha1.DriftRule) {
	for _, d := range rules {
		r := rule{group: d.Group, kind: d.Kind, name: d.Name, namespace: d.Namespace, pointers: d.JSONPointers, globs: true}
		s.drift = append(s.drift, driftRule{r, d.Action})
	}
}

func compileJQ(expr string) (*gojq.Code, error) {
	query, err := gojq.Parse("path(" + expr + ")")
	if err != nil {
		return nil, err
	}
	return gojq.Compile(query)
}

// ruling is the part of a rule set that speaks of one resource; nil where none
// does. Its id tells whether two rulings are the same.
type ruling struct {
	id    string
	rules []*rule
}

// of gives what the rules say of a resource's differences.
func (s *ruleSet) of(ref plan.Ref) *ruling {
	if s == nil || len(s.ignore) == 0 {
		return nil
	}
	var out *ruling
	for i := range s.ignore {
		if s.ignore[i].matches(ref) {
			if out == nil {
				out = &ruling{id: s.id}
			}
			out.rules = append(out.rules, &s.ignore[i])
		}
	}
	return out
}

func (r *ruling) key() string {
	if r == nil {
		return ""
	}
	return r.id
}

// skip gives the pointers of an object that do not count.
func (r *ruling) skip(object map[string]any) skipSet {
	if r == nil {
		return tracking
	}
	skip := make(skipSet, len(tracking)+4)
	for p := range tracking {
		skip[p] = struct{}{}
	}
	for _, rule := range r.rules {
		for _, p := range rule.pointers {
			skip[p] = struct{}{}
		}
		for _, code := range rule.jq {
			evaluate(code, object, skip)
		}
		for _, e := range managedFields(object) {
			manager, _ := e["manager"].(string)
			if fields, ok := e["fieldsV1"].(map[string]any); ok && rule.managers[manager] {
				walkFields(fields, object, nil, func(_ []string, pointer string, _ any, _ bool) { skip[pointer] = struct{}{} })
			}
		}
	}
	return skip
}

// evaluate adds the paths that an expression selects. An expression that fails
// on an object selects nothing in it, as it does for Argo CD.
func evaluate(code *gojq.Code, object map[string]any, skip skipSet) {
	ctx, cancel := context.WithTimeout(context.Background(), jqTimeout)
	defer cancel()
	iter := code.RunWithContext(ctx, jqInput(object))
	for range 10_000 {
		v, ok := iter.Next()
		if !ok {
			return
		}
		steps, ok := v.([]any)
		if !ok { // an error, or no path
			return
		}
		var pointer strings.Builder
		for _, s := range steps {
			pointer.WriteByte('/')
			switch s := s.(type) {
			case string:
				pointer.WriteString(escapePointer(s))
			case int:
				pointer.WriteString(strconv.Itoa(s))
			}
		}
		if pointer.Len() > 0 {
			skip[pointer.String()] = struct{}{}
		}
	}
}

// jqInput copies an object into the number types that gojq knows.
func jqInput(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = jqInput(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = jqInput(x)
		}
		return l
	case int64:
		return int(v)
	default:
		return v
	}
}

// remove deletes the skipped pointers from an object, which it changes.
func (s skipSet) remove(object map[string]any) {
	for p := range s {
		removePointer(object, strings.Split(strings.TrimPrefix(p, "/"), "/"))
	}
	dropMarked(object)
}

// removed marks list items that are gone, so that indexes stay true until all
// are.
type removed struct{}

func removePointer(v any, steps []string) {
	for i, step := range steps {
		last := i == len(steps)-1
		switch node := v.(type) {
		case map[string]any:
			key := unescapePointer(step)
			if last {
				delete(node, key)
				return
			}
			v = node[key]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(node) {
				return
			}
			if last {
				node[n] = removed{}
				return
			}
			v = node[n]
		default:
			return
		}
	}
}

func dropMarked(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = dropMarked(x)
		}
		return v
	case []any:
		kept := v[:0]
		for _, x := range v {
			if _, gone := x.(removed); !gone {
				kept = append(kept, dropMarked(x))
			}
		}
		return kept
	default:
		return v
	}
}

// copyPointer makes what is at a pointer in one object what it is in another.
func copyPointer(to, from map[string]any, pointer string) {
	steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	value, ok := lookup(from, steps)
	if !ok {
		removePointer(to, steps)
		return
	}
	parent, ok := lookup(to, steps[:len(steps)-1])
	if !ok {
		return
	}
	last := steps[len(steps)-1]
	switch node := parent.(type) {
	case map[string]any:
		node[unescapePointer(last)] = value
	case []any:
		if i, err := strconv.Atoi(last); err == nil && i >= 0 && i < len(node) {
			node[i] = value
		}
	}
}

func lookup(v any, steps []string) (any, bool) {
	for _, s := range steps {
		switch node := v.(type) {
		case map[string]any:
			x, ok := node[unescapePointer(s)]
			if !ok {
				return nil, false
			}
			v = x
		case []any:
			i, err := strconv.Atoi(s)
			if err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}
