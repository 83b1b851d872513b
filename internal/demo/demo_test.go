package demo

import (
	"slices"
	"testing"
)

func TestApplications(t *testing.T) {
	for name, test := range map[string]struct {
		infrastructure bool
		want           bool
		reason         string
	}{
		"With":    {true, true, "there is a tool that applies modules"},
		"Without": {false, false, "an Application that nothing can make true is no demo"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Demo{Dir: t.TempDir(), Infrastructure: test.infrastructure}
			if err := d.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			objects, err := d.Applications()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, o := range objects {
				names = append(names, o.GetName())
			}
			for _, of := range []string{"infra", "storefront"} {
				if slices.Contains(names, of) != test.want {
					t.Errorf("the Applications are %v (%s)", names, test.reason)
				}
			}
			if _, err := Git(t.Context(), d.Repository("infra"), "log", "-1"); (err == nil) != test.want {
				t.Errorf("the repository infra: %v (%s)", err, test.reason)
			}
		})
	}
}
