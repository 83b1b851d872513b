package engine

import (
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// TestInputsOfOtherProjects gives no output to an Application of another project,
// neither to a pass nor to a preview, and does not tell what there is.
func TestInputsOfOtherProjects(t *testing.T) {
	s := newStory(t)
	s.app("infra", func(a *v1alpha1.Application) { a.Spec.Project = "platform" })
	of := Key{v1alpha1.Group, "plumb", "infra"}
	s.e.outputs.publish(of, map[string]render.Value{"password": {JSON: []byte(`"canary"`), Sensitive: true}, "hidden": {JSON: []byte(`1`)}})
	for name, tc := range map[string]struct {
		reason, project, output string
		given                   bool
	}{
		"Same":    {"a project shares", "platform", "password", true},
		"Other":   {"a project is a fence", "tenant", "password", false},
		"Default": {"no project is one, too", "", "password", false},
		"Guess":   {"names of outputs are not told either", "tenant", "guess", false},
	} {
		s.app("web", func(a *v1alpha1.Application) {
			a.Spec.Project = tc.project
			a.Spec.Inputs = []v1alpha1.Input{{Name: "p", From: v1alpha1.InputSource{Application: v1alpha1.ApplicationRef{Name: "infra"}, Output: tc.output}}}
		})
		key := Key{v1alpha1.Group, "plumb", "web"}
		app, _ := s.api.Get(key)
		for what, ask := range map[string]func() (map[string]render.Value, error){
			"pass":    func() (map[string]render.Value, error) { return s.e.inputs(key, app) },
			"preview": func() (map[string]render.Value, error) { return s.e.previewInputs(app, key) },
		} {
			values, err := ask()
			if given := err == nil && len(values) == 1; given != tc.given {
				t.Errorf("%s, %s: %s: given %v, %v", name, what, tc.reason, values, err)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s, %s: it tells what there is: %v", name, what, err)
			}
		}
	}
}
