package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestKeySecrets(t *testing.T) {
	c := &Controller{keys: keySecrets{secrets: map[string]keySecret{}}}
	secret := func(name, project string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plumb-system", Name: name}, Data: map[string][]byte{"age.agekey": []byte(canary)}}
		if project != "" {
			s.Data["project"] = []byte(project)
		}
		return s
	}
	for _, s := range []*corev1.Secret{secret("all", "*"), secret("none", ""), secret("shop", "shop\n"), secret("ops", "ops")} {
		c.keySecretChanged(nil, s)
	}
	names := func(project string) []string {
		var out []string
		for _, s := range c.KeySecrets(project) {
			out = append(out, s.Name)
		}
		return out
	}
	for name, tc := range map[string]struct {
		reason, project string
		want            []string
	}{
		"its own":  {"and what is for all", "shop", []string{"plumb-system/all", "plumb-system/shop"}},
		"default":  {"a Secret that names no project is the default project's", "default", []string{"plumb-system/all", "plumb-system/none"}},
		"another":  {"no keys of others", "other", []string{"plumb-system/all"}},
		"the star": {"is no project", "*", []string{"plumb-system/all"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, names(tc.project)); diff != "" {
				t.Errorf("%s: %s", tc.reason, diff)
			}
		})
	}
	c.keySecretChanged(secret("shop", "shop"), secret("shop", "ops"))
	c.keySecretChanged(secret("all", "*"), nil)
	if diff := cmp.Diff([]string{"plumb-system/ops", "plumb-system/shop"}, names("ops")); diff != "" {
		t.Errorf("after a change: %s", diff)
	}
	if got := names("shop"); got != nil {
		t.Errorf("a Secret is still the project's that it was: %v", got)
	}
}
