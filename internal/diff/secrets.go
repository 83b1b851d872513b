package diff

import (
	"maps"
	"strings"
)

// Mask stands for a value of a Secret.
const Mask = "++++++++"

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// MaskSecret gives an object with the values of a Secret masked; any other
// object is given as it is. What is a mask already stays, so that one that says
// that the value changes goes on to say so.
func MaskSecret(object map[string]any) map[string]any {
	kind, _ := object["kind"].(string)
	version, _ := object["apiVersion"].(string)
	if kind != "Secret" || strings.Contains(version, "/") {
		return object
	}
	object = maps.Clone(object)
	for _, field := range []string{"data", "stringData"} {
		value, ok := object[field]
		if !ok {
			continue
		}
		values, ok := value.(map[string]any)
		if !ok {
			object[field] = maskValue(value)
			continue
		}
		masked := make(map[string]any, len(values))
		for key, v := range values {
			masked[key] = maskValue(v)
		}
		object[field] = masked
	}
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if _, ok := annotations[lastApplied]; ok {
		metadata, annotations = maps.Clone(metadata), maps.Clone(annotations)
		annotations[lastApplied] = maskValue(annotations[lastApplied])
		metadata["annotations"], object["metadata"] = annotations, metadata
	}
	return object
}

func maskValue(v any) any {
	if s, ok := v.(string); ok && (s == Mask || s == Mask+" (changed)") {
		return s
	}
	if v == nil {
		return nil
	}
	return Mask
}
