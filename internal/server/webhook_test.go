package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

func TestRepositoriesIn(t *testing.T) {
	for name, tc := range map[string]struct {
		query, body string
		used        string
		want        bool
	}{
		"plain":             {body: `{"repo":"https://git.example/a/b"}`, used: "https://git.example/a/b.git", want: true},
		"query":             {query: "https://git.example/a/b", used: "git@git.example:a/b.git", want: true},
		"github":            {body: `{"ref":"refs/heads/main","repository":{"html_url":"https://github.com/Org/Repo","default_branch":"main"}}`, used: "git@github.com:org/repo.git", want: true},
		"github form":       {body: "payload=" + url.QueryEscape(`{"repository":{"html_url":"https://github.com/org/repo"}}`), used: "https://github.com/org/repo", want: true},
		"github ssh port":   {body: `{"repository":{"html_url":"https://github.com/org/repo"}}`, used: "ssh://git@ssh.github.com:443/org/repo.git", want: true},
		"gitlab":            {body: `{"project":{"web_url":"https://gitlab.example/team/app","git_ssh_url":"git@gitlab.example:team/app.git"}}`, used: "ssh://git@gitlab.example:2222/team/app", want: true},
		"gitea":             {body: `{"repository":{"clone_url":"http://gitea.example:3000/a/b.git"}}`, used: "http://gitea.example:3000/a/b", want: true},
		"bitbucket cloud":   {body: `{"repository":{"links":{"html":{"href":"https://bitbucket.org/a/b"}}}}`, used: "https://user@bitbucket.org/a/b.git", want: true},
		"bitbucket server":  {body: `{"repository":{"links":{"clone":[{"name":"ssh","href":"ssh://git@bb.example:7999/a/b.git"}],"self":[{"href":"x"}]}}}`, used: "https://bb.example/a/b", want: true},
		"azure devops":      {body: `{"resource":{"repository":{"remoteUrl":"https://dev.azure.com/org/project/_git/repo"}}}`, used: "https://dev.azure.com/org/project/_git/repo", want: true},
		"another":           {body: `{"repository":{"html_url":"https://github.com/org/other"}}`, used: "https://github.com/org/repo"},
		"another host":      {body: `{"repository":{"html_url":"https://evil.example/org/repo"}}`, used: "https://github.com/org/repo"},
		"a longer path":     {body: `{"repo":"https://github.com/org/repo/more"}`, used: "https://github.com/org/repo"},
		"no alternative":    {body: `{"repo":"https://alternative.example/a/b"}`, used: "https://ernative.example/a/b"},
		"only a host":       {body: `{"repo":"https://github.com"}`, used: "https://github.com/org/repo"},
		"local":             {body: `{"repo":"file:///srv/git/app"}`, used: "/srv/git/app", want: true},
		"repo as an object": {body: `{"repo":{"x":1},"repository":{"html_url":"https://github.com/org/repo"}}`, used: "https://github.com/org/repo", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			named, err := repositoriesIn(tc.query, []byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := namesRepository(named, tc.used); got != tc.want {
				t.Errorf("names %s: got %v, want %v", tc.used, got, tc.want)
			}
		})
	}
	for _, body := range []string{"", "{}", "[]", "x", `{"repository":{"links":7}}`} {
		if named, err := repositoriesIn("", []byte(body)); err == nil {
			t.Errorf("payload %q names %v", body, named)
		}
	}
}

func TestAuthentic(t *testing.T) {
	secret, body := []byte("s3cr3t"), []byte(`{"repo":"x"}`)
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	sum := hex.EncodeToString(mac.Sum(nil))
	for name, tc := range map[string]struct {
		header, value string
		secret        []byte
		want          bool
	}{
		"no secret":         {want: true},
		"nothing":           {secret: secret},
		"github":            {"X-Hub-Signature-256", "sha256=" + sum, secret, true},
		"github, wrong":     {"X-Hub-Signature-256", "sha256=" + hex.EncodeToString([]byte("wrong")), secret, false},
		"github, SHA-1":     {"X-Hub-Signature", "sha1=" + sum[:40], secret, false},
		"gitea":             {"X-Gitea-Signature", sum, secret, true},
		"gitlab":            {"X-Gitlab-Token", "s3cr3t", secret, true},
		"gitlab, wrong":     {"X-Gitlab-Token", "s3cr3", secret, false},
		"bearer":            {"Authorization", "Bearer s3cr3t", secret, true},
		"empty token":       {"Authorization", "Bearer ", secret, false},
		"signature of none": {"X-Hub-Signature-256", "sha256=", secret, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/api/webhook", nil)
			if tc.header != "" {
				r.Header.Set(tc.header, tc.value)
			}
			if got := authentic(r, body, tc.secret); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
