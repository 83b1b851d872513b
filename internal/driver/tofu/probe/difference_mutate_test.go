package probe_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/test/fakecloud"
)

// mutator changes what is, behind OpenTofu's back, and can undo it.
type mutator struct {
	w       *workspace
	r       *rand.Rand
	objects map[string]fakecloud.Object
	files   map[string][]byte // local files that resources made
	did     []string
}

func newMutator(w *workspace, r *rand.Rand) *mutator {
	m := &mutator{w: w, r: r, objects: map[string]fakecloud.Object{}, files: map[string][]byte{}}
	for _, o := range w.cloud.Objects() {
		m.objects[o.ID] = o
	}
	for _, pattern := range []string{"*.txt", "*.key"} {
		found, _ := filepath.Glob(filepath.Join(w.dir, pattern))
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				w.t.Fatal(err)
			}
			m.files[name] = text
		}
	}
	return m
}

// restore undoes all.
func (m *mutator) restore() {
	m.w.cloud.Heal()
	for id, o := range m.objects {
		if err := m.w.cloud.Change(id, func(body map[string]any) { clear(body); maps.Copy(body, o.Body) }); err != nil {
			m.w.t.Fatal(err)
		}
	}
	for name, text := range m.files {
		if err := os.WriteFile(name, text, 0o777); err != nil {
			m.w.t.Fatal(err)
		}
	}
	m.did = nil
}

// mutate makes one change.
func (m *mutator) mutate() {
	ids := slices.Sorted(maps.Keys(m.objects))
	if len(m.files) > 0 && m.r.IntN(5) == 0 || len(ids) == 0 {
		m.mutateFile()
		return
	}
	if len(ids) == 0 {
		m.did = append(m.did, "nothing")
		return
	}
	id := ids[m.r.IntN(len(ids))]
	switch m.r.IntN(10) {
	case 0: // it does not exist any more, until it does again
		if err := m.w.cloud.Inject(fakecloud.Fault{Op: "read", ID: id, Times: -1, Action: fakecloud.Fail, Status: 404}); err != nil {
			m.w.t.Fatal(err)
		}
		m.did = append(m.did, id+" deleted")
	default:
		m.mutateObject(id)
	}
}

func (m *mutator) mutateFile() {
	names := slices.Sorted(maps.Keys(m.files))
	if len(names) == 0 {
		m.did = append(m.did, "nothing")
		return
	}
	name := names[m.r.IntN(len(names))]
	m.did = append(m.did, filepath.Base(name)+" changed")
	var err error
	switch m.r.IntN(3) {
	case 0:
		err = os.Remove(name)
	case 1:
		err = os.WriteFile(name, []byte("other"), 0o600)
	default: // with the same content
		err = os.WriteFile(name, m.files[name], 0o600)
	}
	if err != nil && !os.IsNotExist(err) {
		m.w.t.Fatal(err)
	}
}

func (m *mutator) mutateObject(id string) {
	err := m.w.cloud.Change(id, func(body map[string]any) {
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(body)), func(key string) bool {
			return key == "id" || key == "name" && body["name"] == nil
		})
		key := keys[m.r.IntN(len(keys))]
		was := body[key]
		body[key] = m.other(was, key)
		m.did = append(m.did, fmt.Sprintf("%s.%s: %s -> %s", id, key, asJSON(was), asJSON(body[key])))
	})
	if err != nil {
		m.w.t.Fatal(err)
	}
}

func asJSON(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// other is another value of the same shape; now and then the same in another
// form, or none.
func (m *mutator) other(v any, key string) any {
	if m.r.IntN(8) == 0 && key != "name" && key != "key" && key != "title" {
		return nil
	}
	switch v := v.(type) {
	case nil:
		return m.invent(key)
	case string:
		return m.pickText(v)
	case bool:
		return !v
	case json.Number:
		return m.otherNumber(v, key)
	case []any:
		return m.otherList(v)
	case map[string]any:
		return m.otherMap(v)
	}
	return v
}

func (m *mutator) pickText(v string) string {
	return []string{v + "x", "", "canary-value", strings.ToUpper(v), v}[m.r.IntN(5)]
}

func (m *mutator) otherNumber(v json.Number, key string) any {
	f, err := strconv.ParseFloat(v.String(), 64)
	if err != nil {
		return v
	}
	switch m.r.IntN(4) {
	case 0:
		return json.Number(strconv.FormatFloat(f+1, 'f', -1, 64))
	case 1:
		return json.Number("7")
	case 2:
		return json.Number("0")
	default: // the same in another form
		if key == "number" && !strings.ContainsAny(v.String(), ".eE") {
			return json.Number(v.String() + ".0")
		}
		return v
	}
}

func (m *mutator) otherList(v []any) any {
	v = slices.Clone(v)
	switch {
	case len(v) == 0:
		return v
	case m.r.IntN(30) == 0: // in a set, that is an error
		return append(v, v[0])
	case m.r.IntN(4) == 0:
		return slices.Delete(v, 0, 1)
	case m.r.IntN(4) == 0:
		slices.Reverse(v)
		return v
	case m.r.IntN(4) == 0:
		return []any{}
	default:
		i := m.r.IntN(len(v))
		v[i] = m.otherInside(v[i])
		return v
	}
}

func (m *mutator) otherMap(v map[string]any) any {
	v = maps.Clone(v)
	keys := slices.Sorted(maps.Keys(v))
	if len(keys) == 0 {
		return map[string]any{"new": "value"}
	}
	i := m.r.IntN(len(keys))
	if m.r.IntN(5) == 0 && keys[i] != "key" {
		delete(v, keys[i])
		return v
	}
	v[keys[i]] = m.otherInside(v[keys[i]])
	return v
}

// otherInside is never none where a provider may not expect that.
func (m *mutator) otherInside(v any) any {
	for range 10 {
		if changed := m.other(v, ""); changed != nil || v == nil {
			return changed
		}
	}
	return v
}

// invent sets what was not set.
func (m *mutator) invent(key string) any {
	shapes := map[string]any{
		"number": json.Number("0.3"), "integer": json.Number("4"), "float": json.Number("0.7"), "bool": true, "dynamic": []any{"x"},
		"tags": map[string]any{"new": "tag"}, "map": map[string]any{"new": "value"}, "labels": map[string]any{"new": "label"},
		"list": []any{"new"}, "set": []any{"new"}, "number_set": []any{json.Number("2.5")}, "list_of_lists": []any{[]any{"x"}},
		"map_of_lists": map[string]any{"x": []any{"y"}}, "single_block": map[string]any{"key": "new"},
		"list_block": []any{map[string]any{"key": "new"}}, "set_block": []any{map[string]any{"key": "new", "kind": "plain"}},
		"nested": map[string]any{"key": "new"}, "nested_list": []any{map[string]any{"key": "new"}}, "nested_set": []any{map[string]any{"key": "new"}},
		"nested_map": map[string]any{"x": map[string]any{"key": "new"}}, "object": map[string]any{"name": "new"},
		"set_of_objects": []any{map[string]any{"name": "new"}}, "string": "new", "force_new": "new", "secret": "new-canary", "description": "new",
		"value": "new-canary", "public_ip": "1.2.3.4", "vpc_security_group_ids": []any{"sg-1"}, "user_data": "new",
	}
	return shapes[key]
}
