package render

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// object gives an object with its references replaced, or nil where it has none.
func (o *Opened) object(obj Object) (*Object, error) {
	mark := []byte(referenceMark)
	secret := obj.Ref.Group == "" && obj.Ref.Kind == "Secret"
	if !bytes.Contains(obj.JSON, mark) && !secret {
		return nil, nil
	}
	value, err := decodeJSON(obj.JSON)
	if err != nil {
		return nil, err
	}
	m, ok := value.(map[string]any)
	if !ok || referencesOff(m) {
		return nil, nil
	}
	w := &referenceWalk{opened: o, where: obj.Ref.Kind + " " + obj.Ref.Name + ": "}
	out := map[string]any{}
	for key, child := range m {
		path := key
		switch {
		case key == "apiVersion" || key == "kind":
		case key == "metadata":
			child, err = w.metadata(child)
		case key == "data" && secret:
			child, err = w.data(child)
		default:
			child, err = w.value(child, path)
		}
		if err != nil {
			return nil, err
		}
		out[key] = child
	}
	if !w.changed {
		return nil, nil
	}
	if obj.JSON, err = Canonical(out); err != nil {
		return nil, err
	}
	obj.Hash = hashText(string(obj.JSON))
	return &obj, nil
}

func referencesOff(object map[string]any) bool {
	meta, _ := object["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	return annotations[ReferencesAnnotation] == "false"
}

// referenceWalk replaces references in one value.
type referenceWalk struct {
	opened  *Opened
	where   string // of the value, before paths; empty where nothing is to be warned of
	changed bool
}

func (w *referenceWalk) value(v any, path string) (any, error) {
	switch v := v.(type) {
	case string:
		return w.text(v, path)
	case map[string]any:
		var out map[string]any
		for key, child := range v {
			now, err := w.value(child, join(path, key))
			if err != nil {
				return nil, err
			}
			if !same(now, child) {
				if out == nil {
					out = make(map[string]any, len(v))
					for k, c := range v {
						out[k] = c
					}
				}
				out[key] = now
			}
		}
		if out != nil {
			return out, nil
		}
		return v, nil
	case []any:
		var out []any
		for i, child := range v {
			now, err := w.value(child, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			if !same(now, child) {
				if out == nil {
					out = append(out, v...)
				}
				out[i] = now
			}
		}
		if out != nil {
			return out, nil
		}
		return v, nil
	}
	return v, nil
}

// same tells whether a walk has left a value as it was: what it changes it
// copies.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && fmt.Sprintf("%p", a) == fmt.Sprintf("%p", b)
	case []any:
		b, ok := b.([]any)
		return ok && len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
	case string:
		b, ok := b.(string)
		return ok && a == b
	}
	return fmt.Sprintf("%T%v", a, a) == fmt.Sprintf("%T%v", b, b)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (w *referenceWalk) text(s, path string) (any, error) {
	if !strings.Contains(s, referenceMark) {
		return s, nil
	}
	v, secrets, err := w.opened.opener.Resolve(s)
	w.opened.note(secrets)
	switch {
	case errors.Is(err, ErrNoCredentials):
		if w.where != "" {
			w.opened.mu.Lock()
			w.opened.left[w.where+path+" stays as it is: "+err.Error()] = true
			w.opened.mu.Unlock()
		}
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("%s%s: %w", w.where, path, err)
	}
	if now, ok := v.(string); ok && now == s {
		return s, nil
	}
	w.changed = true
	w.opened.mu.Lock()
	w.opened.references = true
	w.opened.mu.Unlock()
	return plainJSON(v)
}

// plainJSON gives a value in the types that JSON is decoded to.
func plainJSON(v any) (any, error) {
	switch v.(type) {
	case string, nil, bool:
		return v, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("a reference means a value that is none of JSON")
	}
	return decodeJSON(text)
}

// metadata leaves alone what tells which object it is.
func (w *referenceWalk) metadata(v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return v, nil
	}
	out := make(map[string]any, len(m))
	for key, child := range m {
		if key != "name" && key != "namespace" && key != "generateName" {
			var err error
			if child, err = w.value(child, "metadata."+key); err != nil {
				return nil, err
			}
		}
		out[key] = child
	}
	return out, nil
}

// data is that of a Secret. A reference in it may be in base64, as a chart or a
// kustomization has made it; what it means is so as well then.
func (w *referenceWalk) data(v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return v, nil
	}
	out := make(map[string]any, len(m))
	for key, child := range m {
		path := "data." + key
		text, _ := child.(string)
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Contains(decoded, []byte(referenceMark)) {
			if child, err = w.value(child, path); err != nil {
				return nil, err
			}
			out[key] = child
			continue
		}
		now, err := w.text(string(decoded), path)
		if err != nil {
			return nil, err
		}
		if s, ok := now.(string); ok {
			out[key] = base64.StdEncoding.EncodeToString([]byte(s))
			continue
		}
		asJSON, err := json.Marshal(now)
		if err != nil {
			return nil, fmt.Errorf("%s: the reference means a value that is none of JSON", path)
		}
		out[key] = base64.StdEncoding.EncodeToString(asJSON)
	}
	return out, nil
}
