package render

import (
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestWithInputs(t *testing.T) {
	inputs := map[string]Value{"settings.SHOP": {JSON: []byte(`"blue-cat"`)}}
	for name, test := range map[string]struct {
		kind   v1alpha1.ApplicationSourceType
		inputs map[string]Value
		values string
		err    string
		reason string
	}{
		"Helm":      {v1alpha1.ApplicationSourceTypeHelm, inputs, `{"settings":{"SHOP":"blue-cat"}}`, "", "they become values, by their path"},
		"Module":    {v1alpha1.ApplicationSourceTypeTofu, inputs, "", "", "they become variables elsewhere"},
		"Directory": {v1alpha1.ApplicationSourceTypeDirectory, inputs, "", "can't take values", "what is set is not ignored in silence"},
		"None":      {v1alpha1.ApplicationSourceTypeDirectory, nil, "", "", "most have none"},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := withInputs(v1alpha1.ApplicationSource{}, test.kind, test.inputs)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, not %q (%s)", err, test.err, test.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			values := ""
			if src.Helm != nil {
				values = string(src.Helm.ValuesObject.Raw)
			}
			if values != test.values {
				t.Errorf("values %s, not %s (%s)", values, test.values, test.reason)
			}
		})
	}
}
