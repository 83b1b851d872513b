package adopt

import (
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

func TestAnswered(t *testing.T) {
	web := plan.Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	replicas, image := Path{{Key: "spec"}, {Key: "replicas"}}, Path{{Key: "spec"}, {Key: "image"}}
	rule := func(a v1alpha1.DriftAction, pointers ...string) v1alpha1.DriftRule {
		return v1alpha1.DriftRule{Group: "apps", Kind: "Deployment", Name: "w*", JSONPointers: pointers, Action: a}
	}
	cases := map[string]struct {
		policy *v1alpha1.DriftPolicy
		field  Path
		want   bool
		reason string
	}{
		"no policy":       {nil, replicas, false, "nothing is adopted unless somebody says so"},
		"default":         {&v1alpha1.DriftPolicy{Default: "adopt"}, replicas, true, "it is the default"},
		"field":           {&v1alpha1.DriftPolicy{Rules: []v1alpha1.DriftRule{rule("adopt", "/spec/replicas")}}, replicas, true, "the rule names it"},
		"other field":     {&v1alpha1.DriftPolicy{Rules: []v1alpha1.DriftRule{rule("adopt", "/spec/replicas")}}, image, false, "the rule names another one"},
		"prefix of a key": {&v1alpha1.DriftPolicy{Rules: []v1alpha1.DriftRule{rule("adopt", "/spec/rep")}}, replicas, false, "a pointer names whole keys"},
		"below":           {&v1alpha1.DriftPolicy{Rules: []v1alpha1.DriftRule{rule("adopt", "/spec")}}, replicas, true, "it is below"},
		"deletion":        {&v1alpha1.DriftPolicy{Rules: []v1alpha1.DriftRule{rule("adopt", "/spec")}}, nil, false, "rules of fields do not speak of deletions"},
		"ignored first":   {&v1alpha1.DriftPolicy{Default: "adopt", Rules: []v1alpha1.DriftRule{rule("ignore", "/spec/replicas")}}, replicas, false, "the first rule counts"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Answered(c.policy, web, c.field); got != c.want {
				t.Errorf("%v: %s", got, c.reason)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	ref := plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "web"}
	text := Message("", "web", "shop/web", []Item{{Ref: ref, Field: "data.a", Declared: "1", Live: "2\x1b[31m\u202e"}, {Ref: ref}})
	for _, want := range []string{"Adopt what runs into web\n\n", "data.a: 1 -> 2?[31m?\n", ": deleted\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}
