package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPullRequestsAreOpenedOnceWithTheTokenOfTheirHostOnly(t *testing.T) {
	var open []map[string]any
	made := 0
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "token c4n4ry" {
			t.Errorf("the token sent is %q", got)
		}
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/api/v1/repos/team/app/pulls":
			var in struct{ Title, Head, Base string }
			_ = json.NewDecoder(r.Body).Decode(&in)
			made++
			repo := map[string]any{"full_name": "team/app", "id": 1}
			open = append(open, map[string]any{
				"number": made, "state": "open", "title": in.Title, "html_url": fmt.Sprintf("https://git.example.com/team/app/pulls/%d", made),
				"head": map[string]any{"ref": in.Head, "sha": strings.Repeat("a", 40), "repo": repo, "repo_id": 1},
				"base": map[string]any{"ref": in.Base, "repo": repo, "repo_id": 1}, "user": map[string]any{"login": "ada"},
			})
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(open[len(open)-1])
		case r.Method == http.MethodGet && r.URL.Query().Get("page") < "2":
			_ = json.NewEncoder(w).Encode(open)
		default:
			_, _ = w.Write([]byte("[]"))
		}
	}))
	defer host.Close()
	env := map[string]string{
		"PLUMB_GIT_HOST": host.URL, "PLUMB_GIT_HOST_TYPE": "forgejo", "PLUMB_GIT_HOST_TOKEN": "c4n4ry", "GITLAB_TOKEN": "glpat",
	}
	tokens := hostTokensOf(func(name string) string { return env[name] })
	for range 2 {
		url, err := tokens.Open(t.Context(), host.URL+"/team/app.git", "plumb/adopt/web-1", "main", "Adopt", "")
		if err != nil || url != "https://git.example.com/team/app/pulls/1" {
			t.Fatalf("%q, %v", url, err)
		}
	}
	if made != 1 {
		t.Errorf("%d pull requests were opened", made)
	}
	for _, other := range []string{"https://git.elsewhere.example/team/app", "file:///srv/app.git", "https://github.com/team/app"} {
		if url, err := tokens.Open(t.Context(), other, "b", "main", "t", ""); url != "" || err != nil {
			t.Errorf("%s is no business of this token: %q, %v", other, url, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", tokens, tokens, tokens); strings.Contains(text, "c4n4ry") || strings.Contains(text, "glpat") {
		t.Errorf("tokens are printed: %s", text)
	}
}

func TestPullRequestFlag(t *testing.T) {
	cases := map[string]struct {
		args   []string
		want   string
		reason string
	}{
		"pin without a reason":  {[]string{"rollback", "web", "--pin"}, "say why with --reason", "it is shown until the pin is gone"},
		"pin with a branch":     {[]string{"rollback", "web", "--pin", "--reason", "x", "--branch", "b"}, "makes no commit", "a pin is no commit"},
		"reason without pin":    {[]string{"rollback", "web", "--reason", "x"}, "for --pin", "a commit has a message"},
		"push and pull request": {[]string{"rollback", "web", "--push", "--pull-request"}, "--push is without --pull-request", "there is no branch to merge"},
		"neither true nor not":  {[]string{"adopt", "web", "--pull-request=perhaps"}, "neither true nor false", "flags are strict"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, errs, code := commandIn(t.Context(), c.args...)
			if code == 0 || !strings.Contains(errs, c.want) {
				t.Errorf("%s: exit %d: %s", c.reason, code, errs)
			}
		})
	}
}
