// Package diff shows a change line by line. It knows changes and how a Secret is
// masked, and neither drivers nor who looks.
package diff

import (
	"fmt"
	"maps"

	"github.com/aymanbagabas/go-udiff"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/plan"
)

// Difference is one change, fit to be shown: without what the server keeps of an
// object for itself, and with the values of Secrets masked.
type Difference struct {
	Action   plan.Action    `json:"action"`
	Resource plan.Ref       `json:"resource"`
	Drift    bool           `json:"drift,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Before   map[string]any `json:"before,omitempty"`
	After    map[string]any `json:"after,omitempty"`
	Diff     string         `json:"diff"`
}

// Of gives the lines that a change changes.
func Of(change plan.Change) (Difference, error) {
	d := Difference{Action: change.Action(), Resource: change.Target()}
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
	d.Before, d.After = withoutNoise(before.Object), withoutNoise(after.Object)
	a, err := text(d.Before)
	if err != nil {
		return d, err
	}
	b, err := text(d.After)
	if err != nil {
		return d, err
	}
	address := string(d.Resource.Address())
	d.Diff = udiff.Unified("live/"+address, "git/"+address, a, b)
	if d.Diff == "" && before.Hash != after.Hash {
		d.Diff = "  (only what is masked or kept by the server differs)\n"
	}
	return d, nil
}

// Title says in a line what is changed.
func (d Difference) Title() string {
	title := string(d.Action) + " " + string(d.Resource.Address())
	switch {
	case d.Drift:
		title += " (changed where it runs, not in Git)"
	case d.Reason != "":
		title += " (" + d.Reason + ")"
	}
	return title
}

// withoutNoise leaves out what the server keeps of an object for itself. The
// values of Secrets are masked once more, whoever was to do it before.
func withoutNoise(object map[string]any) map[string]any {
	if object == nil {
		return nil
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
	return MaskSecret(object)
}

func text(object map[string]any) (string, error) {
	if object == nil {
		return "", nil
	}
	b, err := yaml.Marshal(object)
	if err != nil {
		return "", fmt.Errorf("write %v as YAML: %w", object["kind"], err)
	}
	return string(b), nil
}
