package render

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestInputsOfCharts(t *testing.T) {
	in := func(text string) Value { return Value{JSON: json.RawMessage(text)} }
	for name, c := range map[string]struct {
		reason string
		helm   *v1alpha1.ApplicationSourceHelm
		inputs map[string]Value
		want   string
		err    string
	}{
		"Alone":     {reason: "a chart without options has values", inputs: map[string]Value{"a": in(`"x"`)}, want: `{"a":"x"}`},
		"Path":      {reason: "names are paths", inputs: map[string]Value{"db.host": in(`"x"`), "db.ports": in(`[1,2]`)}, want: `{"db":{"host":"x","ports":[1,2]}}`},
		"Types":     {reason: "a text that looks like a number stays a text", inputs: map[string]Value{"a": in(`"5"`), "b": in("5")}, want: `{"a":"5","b":5}`},
		"Object":    {reason: "other values stay", helm: &v1alpha1.ApplicationSourceHelm{ValuesObject: &runtime.RawExtension{Raw: []byte(`{"db":{"port":1},"c":2}`)}}, inputs: map[string]Value{"db.host": in(`"x"`)}, want: `{"c":2,"db":{"host":"x","port":1}}`},
		"Text":      {reason: "values in a text, too", helm: &v1alpha1.ApplicationSourceHelm{Values: "c: 2\n"}, inputs: map[string]Value{"a": in(`"x"`)}, want: `{"a":"x","c":2}`},
		"NoMap":     {reason: "a value that is no map holds none", helm: &v1alpha1.ApplicationSourceHelm{Values: "db: 2\n"}, inputs: map[string]Value{"db.host": in(`"x"`)}, err: "the input db.host: db is no map in the values"},
		"BadValues": {reason: "values that can't be read are told", helm: &v1alpha1.ApplicationSourceHelm{Values: "a: [\n"}, inputs: map[string]Value{"db": in(`"x"`)}, err: "helm.values: error converting YAML to JSON: yaml: line 1: did not find expected node content"},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.helm.DeepCopy()
			src, err := withInputs(v1alpha1.ApplicationSource{Helm: c.helm}, v1alpha1.ApplicationSourceTypeHelm, c.inputs)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("%s: got %v", c.reason, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(src.Helm.ValuesObject.Raw); got != c.want || src.Helm.Values != "" {
				t.Errorf("%s: got %s, want %s", c.reason, got, c.want)
			}
			if c.helm != nil && c.helm.Values != before.Values {
				t.Error("the declared source was changed")
			}
		})
	}
}
