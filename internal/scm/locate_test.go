package scm_test

import (
	"testing"

	"github.com/plumb-dev/plumb/internal/scm"
)

func TestLocate(t *testing.T) {
	for url, want := range map[string]string{
		"https://github.com/org/app.git":             "github.com org/app",
		"git@github.com:org/app.git":                 "github.com org/app",
		"ssh://git@ssh.github.com:443/org/app":       "github.com org/app",
		"https://u:p@gitlab.example:8443/a/b/c/app/": "gitlab.example:8443 a/b/c/app",
		"ssh://git@git.example:2222/org/app":         "git.example org/app",
		"file:///srv/app":                            "",
		"/srv/app":                                   "",
		"C:\\repos\\app":                             "",
		"https://github.com/app":                     "",
		"oci://registry.example/org/app":             "",
	} {
		host, repo, ok := scm.Locate(url)
		got := host + " " + repo.String()
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%s is %q, want %q", url, got, want)
		}
	}
}

func TestUnder(t *testing.T) {
	for name, tc := range map[string]struct {
		repo, above string
		want        int
	}{
		"host":           {"git@git.example:org/app.git", "https://git.example", 1},
		"host and slash": {"https://git.example/org/app", "https://git.example/", 1},
		"group":          {"https://git.example/Org/app", "https://git.example/org", 4},
		"repository":     {"ssh://git@git.example:2222/org/app", "https://git.example/org/app.git", 8},
		"other group":    {"https://git.example/organ/app", "https://git.example/org", 0},
		"other host":     {"https://git.example.evil/org/app", "https://git.example", 0},
		"other port":     {"https://git.example:8443/org/app", "https://git.example:9443", 0},
		"nothing":        {"https://git.example/org/app", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := scm.Under(tc.repo, tc.above); got != tc.want || ok != (tc.want > 0) {
				t.Errorf("got %d %v", got, ok)
			}
		})
	}
}
