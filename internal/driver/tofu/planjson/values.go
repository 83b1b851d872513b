package planjson

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/plumb-dev/plumb/internal/plan"
)

// What stands in place of values that are not shown.
const (
	Sensitive = "(sensitive value)"
	Unknown   = "(known after apply)"
)

// state is a value as it may be shown, with the hash of what it really is.
func (o Options) state(value, sensitive, unknown any) plan.State {
	object, ok := shown(value, sensitive, unknown).(map[string]any)
	if !ok {
		object = nil
	}
	return plan.State{Hash: o.hash(withUnknown(value, unknown)), Object: withoutNulls(object)}
}

func (o Options) hash(value any) string {
	b, err := json.Marshal(value)
	if err != nil { // it came out of JSON
		return ""
	}
	h := hmac.New(sha256.New, o.Salt)
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

// shown is a value without what is sensitive, and with what is not known yet
// marked. The marks have the value's shape.
func shown(value, sensitive, unknown any) any {
	if marked(sensitive) {
		return Sensitive
	}
	if marked(unknown) {
		return Unknown
	}
	switch v := value.(type) {
	case map[string]any:
		return shownMap(v, sensitive, unknown)
	case []any:
		return shownList(v, sensitive, unknown)
	case nil:
		return shownNothing(sensitive, unknown)
	default:
		return v
	}
}

func marked(marks any) bool {
	b, ok := marks.(bool)
	return ok && b
}

func shownMap(v map[string]any, sensitive, unknown any) map[string]any {
	secrets, _ := sensitive.(map[string]any)
	later, _ := unknown.(map[string]any)
	out := make(map[string]any, len(v)+len(later))
	for key, element := range v {
		out[key] = shown(element, secrets[key], later[key])
	}
	for key, mark := range later {
		if _, known := v[key]; !known && hasTrue(mark) {
			out[key] = shown(nil, secrets[key], mark)
		}
	}
	return out
}

func shownList(v []any, sensitive, unknown any) []any {
	secrets, _ := sensitive.([]any)
	later, _ := unknown.([]any)
	out := make([]any, max(len(v), len(later)))
	for i := range out {
		out[i] = shown(at(v, i), at(secrets, i), at(later, i))
	}
	return out
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// shownNothing is what becomes of a value of which only the marks are there.
func shownNothing(sensitive, unknown any) any {
	switch later := unknown.(type) {
	case map[string]any:
		if hasTrue(later) {
			return shownMap(nil, sensitive, later)
		}
	case []any:
		if hasTrue(later) {
			return shownList(nil, sensitive, later)
		}
	}
	return nil
}

// withUnknown is a value with what is not known yet marked, secrets and all.
func withUnknown(value, unknown any) any {
	if unknown == nil {
		return value
	}
	return shown(value, nil, unknown)
}

// withoutNulls leaves out attributes that are not set: schemas have many.
func withoutNulls(object map[string]any) map[string]any {
	for key, value := range object {
		switch v := value.(type) {
		case nil:
			delete(object, key)
		case map[string]any:
			withoutNulls(v)
		case []any:
			for _, element := range v {
				if m, ok := element.(map[string]any); ok {
					withoutNulls(m)
				}
			}
		}
	}
	return object
}
