package kube

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// The masks that stand for the values of Secrets.
const (
	masked        = "++++++++"
	maskedChanged = "++++++++ (changed)"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func isSecret(group, kind string) bool { return group == "" && kind == "Secret" }

// maskSecrets masks the values of a Secret before and after a change, either of
// which may be nil. It changes both.
func maskSecrets(before, after map[string]any) {
	values := secretValues(before)
	values = append(values, secretValues(after)...)
	for _, field := range []string{"data", "stringData"} {
		b, _ := before[field].(map[string]any)
		a, _ := after[field].(map[string]any)
		for key, value := range a {
			old, was := b[key]
			if was && !reflect.DeepEqual(old, value) {
				a[key] = maskedChanged
			} else {
				a[key] = masked
			}
		}
		for key := range b {
			b[key] = masked
		}
		maskOdd(before, field)
		maskOdd(after, field)
	}
	for _, o := range []map[string]any{before, after} {
		if o == nil {
			continue
		}
		annotations, _ := at(o, "metadata", "annotations").(map[string]any)
		for key, v := range annotations {
			s, _ := v.(string)
			if key == lastApplied || s != maskText(s, values) {
				annotations[key] = masked
			}
		}
	}
}

// maskOdd masks a data field that is not a map, which no API server stores.
func maskOdd(object map[string]any, field string) {
	if v, ok := object[field]; ok && v != nil {
		if _, isMap := v.(map[string]any); !isMap {
			object[field] = masked
		}
	}
}

// secretValues gives the values of a Secret, both as they are stored and as
// they are meant.
func secretValues(object map[string]any) []string {
	var out []string
	data, _ := object["data"].(map[string]any)
	for _, v := range data {
		s, _ := v.(string)
		out = append(out, s)
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			out = append(out, string(b))
		}
	}
	plain, _ := object["stringData"].(map[string]any)
	for _, v := range plain {
		if s, ok := v.(string); ok {
			out = append(out, s, base64.StdEncoding.EncodeToString([]byte(s)))
		}
	}
	return out
}

// maskText masks the given values in a text. Very short values would mask
// everything, and are masked only where they are all there is.
func maskText(s string, values []string) string {
	values = slices.Clone(values)
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // a value may be part of another
	for _, v := range values {
		if len(v) >= 4 {
			s = strings.ReplaceAll(s, v, masked)
		} else if s == v && v != "" {
			s = masked
		}
	}
	return s
}

// scalars gives every value of a Secret's data in the forms in which a message
// may quote it, whatever its type.
func scalars(body []byte) []string {
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return nil
	}
	out := secretValues(object)
	for _, field := range []string{"data", "stringData"} {
		m, _ := object[field].(map[string]any)
		for _, v := range m {
			if b, err := json.Marshal(v); err == nil {
				out = append(out, strings.Trim(string(b), `"`))
			}
		}
	}
	return out
}
