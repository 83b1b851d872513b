package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// InputsConfigMap is the name of the ConfigMap in which a kustomization finds the
// outputs of other Applications, to replace with.
const InputsConfigMap = "plumb-inputs"

// withInputs gives a source into whose parameters the outputs of other
// Applications are written, where its tool has parameters: as values of a chart,
// by their path ("database.host").
func withInputs(src v1alpha1.ApplicationSource, kind v1alpha1.ApplicationSourceType, inputs map[string]Value) (v1alpha1.ApplicationSource, error) {
	switch {
	case len(inputs) == 0 || kind == v1alpha1.ApplicationSourceTypeTofu || kind == v1alpha1.ApplicationSourceTypeKustomize:
		return src, nil // they are variables there, or replaced with
	case kind != v1alpha1.ApplicationSourceTypeHelm:
		return src, fmt.Errorf("spec.inputs: a source of type %s can't take values from others: only Helm charts (as values), kustomizations (by replacements) and OpenTofu modules (as variables) can", kind)
	}
	helm := &v1alpha1.ApplicationSourceHelm{}
	if src.Helm != nil {
		helm = src.Helm.DeepCopy()
	}
	values := map[string]any{}
	if helm.ValuesObject != nil && len(helm.ValuesObject.Raw) > 0 {
		if err := json.Unmarshal(helm.ValuesObject.Raw, &values); err != nil {
			return src, fmt.Errorf("helm.valuesObject: %w", err)
		}
	} else if helm.Values != "" {
		parsed, err := parseValues(helm.Values)
		if err != nil {
			return src, err
		}
		values = parsed
	}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		var v any
		if err := json.Unmarshal(inputs[name].JSON, &v); err != nil {
			return src, fmt.Errorf("the input %s cannot be understood: %w", name, err)
		}
		if err := put(values, strings.Split(name, "."), v); err != nil {
			return src, fmt.Errorf("the input %s: %w", name, err)
		}
	}
	raw, err := json.Marshal(values)
	if err != nil {
		return src, fmt.Errorf("helm.valuesObject: %w", err)
	}
	helm.ValuesObject, helm.Values = &runtime.RawExtension{Raw: raw}, ""
	src.Helm = helm
	return src, nil
}

func put(into map[string]any, path []string, v any) error {
	for ; len(path) > 1; path = path[1:] {
		next, ok := into[path[0]].(map[string]any)
		if !ok && into[path[0]] != nil {
			return fmt.Errorf("%s is no map in the values", path[0])
		}
		if next == nil {
			next = map[string]any{}
			into[path[0]] = next
		}
		into = next
	}
	into[path[0]] = v
	return nil
}

func parseValues(text string) (map[string]any, error) {
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		return nil, fmt.Errorf("helm.values: %w", err)
	}
	return values, nil
}
