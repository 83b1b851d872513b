package adopt

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Step leads from a value into it: by a key of a map, or to an item of a list.
type Step struct {
	// Key of a map; empty for an item of a list.
	Key string
	// Index of the item, where Match is empty or for display as a pointer.
	Index int
	// Match is what the item is known by among the others: its merge key.
	Match map[string]any
}

// Path leads to a field of an object.
type Path []Step

func (p Path) with(s Step) Path { return append(slices.Clip(p), s) }

// String writes the path as people do: spec.containers[name=web].image.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.Key != "" && plainKey(s.Key):
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Key)
		case s.Key != "" || s.isKey():
			fmt.Fprintf(&b, "[%q]", s.Key)
		case len(s.Match) > 0:
			var parts []string
			for _, key := range slices.Sorted(maps.Keys(s.Match)) {
				parts = append(parts, fmt.Sprintf("%s=%v", key, s.Match[key]))
			}
			fmt.Fprintf(&b, "[%s]", strings.Join(parts, ","))
		default:
			fmt.Fprintf(&b, "[%d]", s.Index)
		}
	}
	return b.String()
}

// emptyKey stands for a key of a map that is the empty text.
const emptyKey = -1

func (s Step) isKey() bool { return s.Key != "" || s.Index == emptyKey }

func key(name string) Step {
	if name == "" {
		return Step{Index: emptyKey}
	}
	return Step{Key: name}
}

func plainKey(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// Pointer writes the path as RFC 6901 has it.
func (p Path) Pointer() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteByte('/')
		if s.isKey() {
			b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(s.Key))
		} else {
			b.WriteString(strconv.Itoa(s.Index))
		}
	}
	return b.String()
}

// Within tells whether the path is the one that is written, or below it. Both
// ways of writing are understood.
func (p Path) Within(written string) bool {
	for _, form := range []struct{ text, more string }{{p.String(), ".["}, {p.Pointer(), "/"}} {
		rest, ok := strings.CutPrefix(form.text, strings.TrimPrefix(written, "."))
		if ok && (rest == "" || strings.ContainsRune(form.more, rune(rest[0]))) {
			return true
		}
	}
	return false
}

// Field is one field that is live otherwise than it is declared.
type Field struct {
	Path Path
	// Declared and Live are the values; one that is not there is not set.
	Declared, Live       any
	HasDeclared, HasLive bool
}

// mergeKeys are what Kubernetes knows the items of lists by, the first that all
// items have counts. Any list of maps with a name is known by that.
var mergeKeys = map[string][][]string{
	"ports":                     {{"containerPort", "protocol"}, {"port", "protocol"}},
	"volumeMounts":              {{"mountPath"}},
	"volumeDevices":             {{"devicePath"}},
	"hostAliases":               {{"ip"}},
	"topologySpreadConstraints": {{"topologyKey", "whenUnsatisfiable"}},
	"ownerReferences":           {{"uid"}},
	"podIPs":                    {{"ip"}},
}

// defaults of merge keys that may be left out.
var defaults = map[string]any{"protocol": "TCP"}

// matches gives what each item of a list is known by, or nil where the items
// are not known by anything, or two by the same.
func matches(field string, lists ...[]any) [][]map[string]any {
	for _, keys := range append(slices.Clone(mergeKeys[field]), []string{"name"}) {
		if all := matchesBy(keys, lists); all != nil {
			return all
		}
	}
	return nil
}

func matchesBy(keys []string, lists [][]any) [][]map[string]any {
	out := make([][]map[string]any, len(lists))
	for n, list := range lists {
		seen := map[string]bool{}
		for _, item := range list {
			m, ok := item.(map[string]any)
			if !ok {
				return nil
			}
			match := map[string]any{}
			for _, k := range keys {
				v, ok := m[k]
				if !ok {
					v, ok = defaults[k]
				}
				if !ok {
					return nil
				}
				match[k] = v
			}
			if id := text(match); seen[id] {
				return nil
			} else {
				seen[id] = true
			}
			out[n] = append(out[n], match)
		}
	}
	return out
}

// text is a value's canonical form.
func text(v any) string {
	b, err := json.Marshal(normal(v))
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// number is a normalised number.
type number string

// normal makes values from all places comparable: numbers are of one type.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = normal(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = normal(e)
		}
		return out
	case json.Number:
		return numberOf(string(v))
	case float64:
		return numberOf(strconv.FormatFloat(v, 'g', -1, 64))
	case int:
		return number(strconv.Itoa(v))
	case int64:
		return number(strconv.FormatInt(v, 10))
	case uint64:
		return number(strconv.FormatUint(v, 10))
	}
	return v
}

func numberOf(s string) number {
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return number(strconv.FormatInt(i, 10))
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if f == math.Trunc(f) && math.Abs(f) < 1e15 {
			return number(strconv.FormatInt(int64(f), 10))
		}
		return number(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return number(s)
}

func equal(a, b any) bool { return reflect.DeepEqual(normal(a), normal(b)) }

// Differences gives the fields in which what is live differs from what is
// declared.
func Differences(declared, live map[string]any) []Field {
	var d differ
	d.maps(nil, declared, live)
	return d.fields
}

type differ struct{ fields []Field }

func (d *differ) maps(at Path, declared, live map[string]any) {
	all := map[string]bool{}
	for k := range declared {
		all[k] = true
	}
	for k := range live {
		all[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		a, hasA := declared[k]
		b, hasB := live[k]
		d.values(at.with(key(k)), a, b, hasA, hasB)
	}
}

func (d *differ) values(at Path, a, b any, hasA, hasB bool) {
	if hasA == hasB && equal(a, b) {
		return
	}
	if hasA && hasB {
		switch a := a.(type) {
		case map[string]any:
			if b, ok := b.(map[string]any); ok && len(a) > 0 && len(b) > 0 {
				d.maps(at, a, b)
				return
			}
		case []any:
			if b, ok := b.([]any); ok && d.lists(at, a, b) {
				return
			}
		}
	}
	d.fields = append(d.fields, Field{Path: at, Declared: a, Live: b, HasDeclared: hasA, HasLive: hasB})
}

// lists compares lists whose items are known by keys, unless only their order
// differs.
func (d *differ) lists(at Path, a, b []any) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	known := matches(at[len(at)-1].Key, a, b)
	if known == nil {
		return false
	}
	position := map[string]int{}
	for i, m := range known[1] {
		position[text(m)] = i
	}
	last := -1
	for _, m := range known[0] {
		if i, ok := position[text(m)]; ok {
			if i < last {
				return false // the order has changed as well
			}
			last = i
		}
	}
	for i, m := range known[0] {
		step := Step{Index: i, Match: m}
		j, ok := position[text(m)]
		if !ok && len(a) == len(b) && !slices.ContainsFunc(known[0], func(o map[string]any) bool { return equal(o, known[1][i]) }) {
			// One item in the place of another: what it is known by has changed.
			d.values(at.with(Step{Index: i}), a[i], b[i], true, true)
			delete(position, text(known[1][i]))
			continue
		}
		if !ok {
			d.values(at.with(step), a[i], nil, true, false)
			continue
		}
		d.values(at.with(step), a[i], b[j], true, true)
		delete(position, text(m))
	}
	for j, m := range known[1] {
		if _, added := position[text(m)]; added {
			d.values(at.with(Step{Index: len(a), Match: m}), nil, b[j], false, true)
		}
	}
	return true
}

// matchItem finds the item of a list that a step leads to, or -1.
func (s Step) matchItem(list []any) int {
	if len(s.Match) == 0 {
		if s.Index < len(list) && s.Index >= 0 {
			return s.Index
		}
		return -1
	}
	return slices.IndexFunc(list, func(item any) bool {
		m, ok := item.(map[string]any)
		if !ok {
			return false
		}
		for k, want := range s.Match {
			is, ok := m[k]
			if !ok {
				is = defaults[k]
			}
			if !equal(is, want) {
				return false
			}
		}
		return true
	})
}

// get gives the value at a path.
func get(v any, p Path) (any, bool) {
	for _, s := range p {
		switch {
		case s.isKey():
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			if v, ok = m[s.Key]; !ok {
				return nil, false
			}
		default:
			list, ok := v.([]any)
			if !ok {
				return nil, false
			}
			i := s.matchItem(list)
			if i < 0 {
				return nil, false
			}
			v = list[i]
		}
	}
	return v, true
}

// with gives a copy of a value with another one at a path, or without what is
// there. What is missing on the way is made.
func with(v any, p Path, value any, remove bool) any {
	if len(p) == 0 {
		return value
	}
	s, rest := p[0], p[1:]
	if s.isKey() {
		m, _ := v.(map[string]any)
		out := maps.Clone(m)
		if out == nil {
			out = map[string]any{}
		}
		if remove && len(rest) == 0 {
			delete(out, s.Key)
			return out
		}
		if _, there := out[s.Key]; remove && !there {
			return out
		}
		out[s.Key] = with(out[s.Key], rest, value, remove)
		return out
	}
	list, _ := v.([]any)
	out := slices.Clone(list)
	i := s.matchItem(out)
	switch {
	case i < 0 && remove:
	case i < 0:
		out = append(out, with(s.seed(rest), rest, value, false))
	case remove && len(rest) == 0:
		out = slices.Delete(out, i, i+1)
	default:
		out[i] = with(out[i], rest, value, remove)
	}
	return out
}

// seed is what a new item begins with: what it is to be known by.
func (s Step) seed(rest Path) any {
	if len(rest) == 0 || len(s.Match) == 0 {
		return nil
	}
	return maps.Clone(s.Match)
}
