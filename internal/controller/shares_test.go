package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestSameProject(t *testing.T) {
	project := func(namespace, uid string) *v1alpha1.AppProject {
		p := &v1alpha1.AppProject{}
		p.Namespace, p.Name, p.UID = namespace, "infra", "uid-1"
		if uid != "" {
			p.UID = "uid-2"
		}
		return p
	}
	for name, tc := range map[string]struct {
		reason string
		a, b   *v1alpha1.AppProject
		same   bool
	}{
		"Nobody's": {"the permissive one is everybody's", nil, nil, true},
		"One":      {"it is one, whatever its version", project("plumb-system", ""), project("plumb-system", ""), true},
		"Own":      {"whoever makes a project in his own namespace joins no other's", project("plumb-system", ""), project("tenant", "2"), false},
		"Made":     {"it is not the permissive one", project("plumb-system", ""), nil, false},
	} {
		if got := sameProject(tc.a, tc.b); got != tc.same {
			t.Errorf("%s: %s: %v", name, tc.reason, got)
		}
	}
}

// TestSharedWith gives outputs to other projects of the control plane only.
func TestSharedWith(t *testing.T) {
	project := func(namespace, name string, shared ...string) *v1alpha1.AppProject {
		p := &v1alpha1.AppProject{}
		p.Namespace, p.Name = namespace, name
		if shared != nil {
			p.Spec.Outputs = &v1alpha1.OutputPolicy{SharedWith: shared}
		}
		return p
	}
	for name, tc := range map[string]struct {
		reason string
		giver  *v1alpha1.AppProject
		taker  *v1alpha1.AppProject
		shared bool
	}{
		"Default":  {"nothing is shared if nobody says so", project("plumb-system", "net"), project("plumb-system", "shop"), false},
		"Named":    {"by its name", project("plumb-system", "net", "shop"), project("plumb-system", "shop"), true},
		"Glob":     {"by a pattern", project("plumb-system", "net", "team-*"), project("plumb-system", "team-a"), true},
		"Other":    {"another one is meant", project("plumb-system", "net", "team-*"), project("plumb-system", "shop"), false},
		"Backward": {"it goes one way", project("plumb-system", "net"), project("plumb-system", "shop", "net"), false},
		"Posing":   {"a tenant gives a project of his own the name of another", project("plumb-system", "net", "*"), project("tenant", "shop"), false},
		"Nobody's": {"there is no such project", project("plumb-system", "net", "*"), nil, false},
	} {
		if got := sharedWith(tc.giver, tc.taker); got != tc.shared {
			t.Errorf("%s: %s: %v", name, tc.reason, got)
		}
	}
}

// TestUnreadable keeps states from being read as variables, also the parts of large
// ones.
func TestUnreadable(t *testing.T) {
	for name, s := range map[string]*corev1.Secret{
		"a state":           {ObjectMeta: metav1.ObjectMeta{Name: "tfstate-default-infra", Namespace: "team", Labels: map[string]string{"tfstate": "true"}}},
		"a part of a state": {ObjectMeta: metav1.ObjectMeta{Name: "tfstate-default-infra-part-2-01020304", Namespace: "team"}},
	} {
		if readable(s, "default") == nil {
			t.Errorf("%s can be read", name)
		}
	}
}
