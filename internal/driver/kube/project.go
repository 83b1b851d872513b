package kube

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"hash"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// FieldManager is the name under which Plumb owns fields.
const FieldManager = "plumb"

// maxDepth bounds how deep fields are followed; no real object is near it.
const maxDepth = 256

// visit is told of each owned leaf: its path in FieldsV1's own words, the JSON
// pointer of the value it stands for, the value, and whether there is one.
type visit func(path []string, pointer string, value any, present bool)

// walkFields follows fields (the content of a managedFields entry) through an
// object and tells visit of each leaf, in a stable order.
func walkFields(fields map[string]any, object any, skip skipSet, fn visit) {
	w := fieldWalker{skip: skip, fn: fn}
	w.node(fields, object, true, "")
}

type fieldWalker struct {
	skip skipSet
	fn   visit
	path []string
}

func (w *fieldWalker) node(fields map[string]any, value any, present bool, pointer string) {
	if w.skip.has(pointer) || len(w.path) > maxDepth {
		return
	}
	if len(fields) == 0 {
		w.fn(w.path, pointer, value, present)
		return
	}
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, key := range keys {
		child, _ := fields[key].(map[string]any)
		w.child(key, child, value, pointer)
	}
}

func (w *fieldWalker) child(key string, fields map[string]any, value any, pointer string) {
	w.path = append(w.path, key)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	kind, name, ok := strings.Cut(key, ":")
	switch {
	case key == ".":
		w.fn(w.path, pointer, nil, value != nil)
	case !ok:
	case kind == "f":
		m, _ := value.(map[string]any)
		v, present := m[name]
		w.node(fields, v, present, pointer+"/"+escapePointer(name))
	case kind == "k":
		v, i := findKeyed(value, name)
		w.node(fields, v, i >= 0, pointer+"/"+strconv.Itoa(i))
	case kind == "v":
		v, i := findValue(value, name)
		w.node(fields, v, i >= 0, pointer+"/"+strconv.Itoa(i))
	case kind == "i":
		v, i := findIndex(value, name)
		w.node(fields, v, i >= 0, pointer+"/"+strconv.Itoa(i))
	}
}

func findKeyed(list any, key string) (any, int) {
	var want map[string]any
	items, _ := list.([]any)
	if decodeJSON([]byte(key), &want) != nil {
		return nil, -1
	}
	for i, item := range items {
		m, _ := item.(map[string]any)
		if m != nil && hasAll(m, want) {
			return item, i
		}
	}
	return nil, -1
}

func hasAll(m, want map[string]any) bool {
	for k, v := range want {
		if have, ok := m[k]; !ok || !reflect.DeepEqual(have, v) {
			return false
		}
	}
	return true
}

func findValue(list any, value string) (any, int) {
	items, _ := list.([]any)
	var want any
	if decodeJSON([]byte(value), &want) != nil {
		return nil, -1
	}
	for i, item := range items {
		if reflect.DeepEqual(item, want) {
			return item, i
		}
	}
	return nil, -1
}

func findIndex(list any, index string) (any, int) {
	items, _ := list.([]any)
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(items) {
		return nil, -1
	}
	return items[i], i
}

func escapePointer(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func unescapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
}

// hasher makes the marks that are remembered of objects. With a key they tell
// nothing about the content to those who do not have it.
type hasher struct{ key []byte }

func (h hasher) new() hash.Hash {
	if len(h.key) == 0 {
		return sha256.New()
	}
	return hmac.New(sha256.New, h.key)
}

func mark(h hash.Hash) string { return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:15]) }

// of gives the mark of some strings.
func (h hasher) of(parts ...string) string {
	sum := h.new()
	for _, p := range parts {
		sum.Write([]byte(strconv.Itoa(len(p))))
		sum.Write([]byte{':'})
		sum.Write([]byte(p))
	}
	return mark(sum)
}

// projection is the mark of what an object holds in the fields that Plumb owns,
// of which fields these are, and of nothing else. It is empty where Plumb owns
// none. What is in skip does not count, be it owned or not.
func (h hasher) projection(object map[string]any, skip skipSet) string {
	fields := ownedFields(object)
	if len(fields) == 0 {
		return ""
	}
	sum := h.new()
	walkFields(fields, object, skip, func(path []string, _ string, value any, present bool) {
		for _, p := range path {
			sum.Write([]byte(p))
			sum.Write([]byte{0})
		}
		if !present {
			sum.Write([]byte{1, 1})
			return
		}
		b, err := json.Marshal(value)
		if err != nil { // only values that came out of JSON are ever here
			b = []byte("?")
		}
		sum.Write(b)
		sum.Write([]byte{1})
	})
	return mark(sum)
}

// ownedFields is what Plumb applied, as the API server keeps it.
func ownedFields(object map[string]any) map[string]any {
	for _, e := range managedFields(object) {
		if e["manager"] == FieldManager && e["operation"] == "Apply" && noSubresource(e) {
			fields, _ := e["fieldsV1"].(map[string]any)
			return fields
		}
	}
	return nil
}

func noSubresource(entry map[string]any) bool {
	s, _ := entry["subresource"].(string)
	return s == ""
}

func managedFields(object map[string]any) []map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	list, _ := metadata["managedFields"].([]any)
	entries := make([]map[string]any, 0, len(list))
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			entries = append(entries, m)
		}
	}
	return entries
}
