package kustomize

import (
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/render"
)

// inputsFile is the name under which the root kustomization finds the outputs of
// other Applications.
const inputsFile = "plumb-inputs.generated.yaml"

// inputs is a ConfigMap of the outputs of other Applications, for replacements to
// take values from. It is for the build alone and not among what comes of it: see
// config.kubernetes.io/local-config in the Kubernetes' annotations' reference.
func inputs(values map[string]render.Value) ([]byte, error) {
	data := map[string]string{}
	for name, v := range values {
		data[name] = v.Text()
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": data,
		"metadata": map[string]any{"name": render.InputsConfigMap, "annotations": map[string]string{"config.kubernetes.io/local-config": "true"}},
	})
}
