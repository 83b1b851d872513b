package preview

import (
	"maps"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/plan"
)

// Difference is one change, line by line.
type Difference struct {
	Action   plan.Action  `json:"action"`
	Resource plan.Address `json:"resource"`
	Drift    bool         `json:"drift,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	// Irreversible is true where a revert does not bring it back.
	Irreversible bool   `json:"irreversible,omitempty"`
	Diff         string `json:"diff"`
}

func differenceOf(change plan.Change) Difference {
	d := Difference{Action: change.Action(), Resource: change.Target().Address(), Irreversible: change.Risk().Irreversible}
	var before, after plan.State
	switch c := change.(type) {
	case plan.Create:
		after = c.After
	case plan.Update:
		before, after, d.Drift = c.Before, c.After, c.Drift
	case plan.Replace:
		before, after, d.Reason = c.Before, c.After, c.Reason
	case plan.Delete:
		before = c.Before
	case plan.Forget: // it stays as it is
		before, after = c.Before, c.Before
	}
	address := string(d.Resource)
	d.Diff = udiff.Unified("live/"+address, "git/"+address, yamlOf(before.Object), yamlOf(after.Object))
	if d.Diff == "" && before.Hash != after.Hash {
		d.Diff = "  (only what is masked or kept by the server differs)\n"
	}
	return d
}

// yamlOf leaves out what the server keeps of an object for itself, and masks the
// values of Secrets once more, whoever was to do it before.
func yamlOf(object map[string]any) string {
	if object == nil {
		return ""
	}
	object = maps.Clone(object)
	delete(object, "status")
	if metadata, ok := object["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		for _, key := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
			delete(metadata, key)
		}
		object["metadata"] = metadata
	}
	maskSecret(object)
	text, err := yaml.Marshal(object)
	if err != nil {
		return "(it cannot be shown)\n"
	}
	return string(text)
}

const (
	mask        = "++++++++"
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// maskSecret masks the values of a Secret. What is a mask already stays: it may
// say that the value changes.
func maskSecret(object map[string]any) {
	kind, _ := object["kind"].(string)
	version, _ := object["apiVersion"].(string)
	if kind != "Secret" || strings.Contains(version, "/") {
		return
	}
	for _, field := range []string{"data", "stringData"} {
		values, ok := object[field].(map[string]any)
		if !ok {
			if object[field] != nil {
				object[field] = mask
			}
			continue
		}
		values = maps.Clone(values)
		for key, v := range values {
			if s, ok := v.(string); !ok || s != mask && s != mask+" (changed)" {
				values[key] = mask
			}
		}
		object[field] = values
	}
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if _, ok := annotations[lastApplied]; ok {
		annotations = maps.Clone(annotations)
		annotations[lastApplied] = mask
		metadata["annotations"] = annotations // metadata is a clone
	}
}
