package v1alpha1

import "testing"

func TestRedactURL(t *testing.T) {
	for repo, want := range map[string]string{
		"https://git.example/team/app":               "https://git.example/team/app",
		"https://dev:hunter2@git.example/team/app":   "https://dev:xxxxx@git.example/team/app",
		"https://ghp_token@git.example/team/app":     "https://xxxxx@git.example/team/app",
		"https://:hunter2@git.example/team/app":      "https://:xxxxx@git.example/team/app",
		"ssh://git@git.example/team/app":             "ssh://git@git.example/team/app",
		"ssh://git:hunter2@git.example/team/app":     "ssh://git:xxxxx@git.example/team/app",
		"git@git.example:team/app.git":               "git@git.example:team/app.git",
		"https://dev:hunter2%zz@git.example/team":    "https://xxxxx@git.example/team",
		"https://dev:hun@ter2%zz@git.example/team/x": "https://xxxxx@git.example/team/x",
		"file:///srv/git/app":                        "file:///srv/git/app",
		"registry.example/charts":                    "registry.example/charts",
		"":                                           "",
	} {
		if got := RedactURL(repo); got != want {
			t.Errorf("RedactURL(%q) is %q, want %q", repo, got, want)
		}
	}
}
