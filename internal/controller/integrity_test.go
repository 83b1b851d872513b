package controller

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

const anyKey = "D56C4FCA57A46444"

func gpgPolicy(mode v1alpha1.SourceIntegrityGitPolicyGPGMode, urls ...string) v1alpha1.SourceIntegrityGitPolicy {
	p := v1alpha1.SourceIntegrityGitPolicy{GPG: &v1alpha1.SourceIntegrityGitPolicyGPG{Mode: mode, Keys: []string{anyKey}}}
	for _, u := range urls {
		p.Repos = append(p.Repos, v1alpha1.SourceIntegrityGitPolicyRepo{URL: u})
	}
	return p
}

func TestIntegrityOf(t *testing.T) {
	head, strict, none := v1alpha1.SourceIntegrityGitPolicyGPGModeHead, v1alpha1.SourceIntegrityGitPolicyGPGModeStrict, v1alpha1.SourceIntegrityGitPolicyGPGModeNone
	both := gpgPolicy(head, "*")
	both.SSH = &v1alpha1.SourceIntegrityGitPolicySSH{Mode: strict}
	for name, c := range map[string]struct {
		reason   string
		policies []v1alpha1.SourceIntegrityGitPolicy
		keys     []v1alpha1.SignatureKey
		repo     string
		want     string
		strict   bool
		problem  string
	}{
		"nothing":             {reason: "who asks for nothing gets nothing", repo: "https://a/b"},
		"keys":                {reason: "signatureKeys are for all", keys: []v1alpha1.SignatureKey{{KeyID: anyKey}}, repo: "https://a/b", want: "spec.signatureKeys"},
		"keys beside":         {reason: "but for those that a policy is for", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(strict, "https://a/*")}, keys: []v1alpha1.SignatureKey{{KeyID: anyKey}}, repo: "https://a/b", want: "spec.sourceIntegrity.git.policies[0]", strict: true},
		"glob":                {reason: "a star crosses slashes, as in Argo CD", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(head, "https://a/*")}, repo: "https://a/b/c", want: "spec.sourceIntegrity.git.policies[0]"},
		"other":               {reason: "others are not verified", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(head, "https://a/*")}, repo: "https://x/b"},
		"written otherwise":   {reason: "ssh does not escape a policy by https", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(head, "https://a.example/team/*")}, repo: "git@A.example:team/app.git", want: "spec.sourceIntegrity.git.policies[0]"},
		"left out":            {reason: "a policy leaves out what it says", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(head, "https://a/*", "!https://a/b.git")}, repo: "https://a/b.git"},
		"left out, otherwise": {reason: "and only that", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(head, "https://a/*", "!https://a/b.git")}, repo: "https://u@a/b", want: "spec.sourceIntegrity.git.policies[0]"},
		"off":                 {reason: "none verifies nothing, and goes before signatureKeys", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(none, "*")}, keys: []v1alpha1.SignatureKey{{KeyID: anyKey}}, repo: "https://a/b"},
		"two":                 {reason: "two policies are a mistake, not an opening", policies: []v1alpha1.SourceIntegrityGitPolicy{gpgPolicy(none, "*"), gpgPolicy(head, "https://a/*")}, repo: "https://a/b", problem: "policies[0] and spec.sourceIntegrity.git.policies[1] are both"},
		"gpg and ssh":         {reason: "the stricter mode counts", policies: []v1alpha1.SourceIntegrityGitPolicy{both}, repo: "https://a/b", want: "spec.sourceIntegrity.git.policies[0]", strict: true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.AppProjectSpec{SignatureKeys: c.keys}
			if c.policies != nil {
				spec.SourceIntegrity = &v1alpha1.SourceIntegrity{Git: &v1alpha1.SourceIntegrityGit{Policies: c.policies}}
			}
			r, err := compileProject("project shop", &v1alpha1.AppProject{Spec: spec})
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.integrityOf(c.repo)
			verdict(t, c.reason, err, c.problem)
			field := ""
			if got != nil {
				field = got.field
			}
			if field != c.want || got != nil && got.strict != c.strict {
				t.Errorf("%s: got %q", c.reason, field)
			}
		})
	}
}

func TestIntegrityThatCannotBeUnderstood(t *testing.T) {
	bad := gpgPolicy("sometimes", "*")
	noKey := gpgPolicy(v1alpha1.SourceIntegrityGitPolicyGPGModeHead, "*")
	noKey.GPG.Keys = []string{"ada"}
	for want, p := range map[string]v1alpha1.SourceIntegrityGitPolicy{
		"the mode \"sometimes\"":                         bad,
		"policies[0].gpg.keys[0]: \"ada\" is no id":      noKey,
		"policies[0] asks for nothing":                   {Repos: bad.Repos},
		"policies[0].repos[0].url: \"[a\" is no pattern": gpgPolicy(v1alpha1.SourceIntegrityGitPolicyGPGModeHead, "[a"),
	} {
		_, err := compileProject("project shop", &v1alpha1.AppProject{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: v1alpha1.AppProjectSpec{
			SourceIntegrity: &v1alpha1.SourceIntegrity{Git: &v1alpha1.SourceIntegrityGit{Policies: []v1alpha1.SourceIntegrityGitPolicy{p}}},
		}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
