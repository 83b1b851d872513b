package connect_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/connect"
)

const (
	canary = "c4n4ry-t0k3n"
	head   = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
	left   = "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc"
	merge  = "e5bd3914e2e596debea16f433f57875b5b90bcd6"
	tip    = "7638417db6d59f3c431d3e1f261cc637155684cd"
)

// fake answers with what a host's documentation shows, and keeps what it was told.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	heard map[string]map[string]any
	auth  string
}

// newFake answers requests ("GET /path?query", the query may be left out) with JSON.
// SELF stands for its own address.
func newFake(t *testing.T, answers map[string]string) *fake {
	f := &fake{heard: map[string]map[string]any{}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.auth = r.Header.Get("Authorization") + r.Header.Get("Private-Token")
		name := r.Method + " " + r.URL.EscapedPath()
		text, ok := answers[name+"?"+r.URL.RawQuery]
		if !ok {
			text, ok = answers[name]
		}
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"Not Found: %s?%s"}`, name, r.URL.RawQuery)
			return
		}
		body, _ := io.ReadAll(r.Body)
		var told map[string]any
		_ = json.Unmarshal(body, &told)
		f.heard[name] = told
		if next, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(next, "Link: ") {
			w.Header().Set("Link", strings.ReplaceAll(strings.TrimPrefix(next, "Link: "), "SELF", f.URL))
			text = rest
		}
		fmt.Fprint(w, strings.ReplaceAll(text, "SELF", f.URL))
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) told(name string) map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard[name]
}

const (
	githubPull = `{"number":7,"state":"open","title":"Amazing new feature","html_url":"https://github.com/octocat/hello/pull/7","draft":false,
 "updated_at":"2026-01-26T19:01:12Z","user":{"login":"octocat"},"mergeable":true,"merged":false,"merge_commit_sha":"` + merge + `",
 "head":{"ref":"new-topic","sha":"` + head + `","repo":{"id":1296269}},"base":{"ref":"main","sha":"` + left + `","repo":{"id":1296269}}}`
	githubMerged = `{"number":7,"state":"closed","merged":true,"merged_at":"2026-01-26T19:01:12Z","merged_by":{"login":"hubot"},"merge_commit_sha":"` + merge + `",
 "user":{"login":"octocat"},"head":{"ref":"new-topic","sha":"` + head + `","repo":null},"base":{"ref":"main","repo":{"id":1296269}}}`
)

var hosts = map[scm.Kind]struct {
	reason  string
	answers map[string]string
	// of a merged pull request
	mergedBy, approvedBy string
	// request by which a status is set, and what it is called there
	status, success string
	update          string
	mergeTried      bool
}{
	scm.GitHub: {
		"docs.github.com/rest, version 2022-11-28",
		map[string]string{
			"GET /api/v3/repos/octocat/hello/pulls":                            "Link: <SELF/api/v3/repositories/1296269/pulls?page=2>; rel=\"next\", <SELF/x>; rel=\"last\"\n[" + githubPull + "]",
			"GET /api/v3/repositories/1296269/pulls?page=2":                    "[" + strings.Replace(githubPull, `"repo":{"id":1296269}},"base"`, `"repo":{"id":5}},"base"`, 1) + "]",
			"GET /api/v3/repos/octocat/hello/pulls/7":                          githubPull,
			"GET /api/v3/repos/octocat/hello/git/commits/" + merge:             `{"sha":"` + merge + `","parents":[{"sha":"` + tip + `"},{"sha":"` + head + `"}]}`,
			"GET /api/v3/repos/octocat/hello/compare/main..." + head:           `{"merge_base_commit":{"sha":"` + left + `"},"status":"ahead"}`,
			"GET /api/v3/repos/octocat/hello/pulls/7/files":                    `[{"filename":"a.yaml","status":"added"},{"filename":"b.yaml","status":"renamed","previous_filename":"c.yaml"}]`,
			"POST /api/v3/repos/octocat/hello/pulls":                           githubPull,
			"GET /api/v3/repos/octocat/hello/issues/7/comments":                `[{"id":1,"body":"Me too","user":{"login":"octocat"},"created_at":"2026-04-14T16:00:49Z"}]`,
			"POST /api/v3/repos/octocat/hello/issues/7/comments":               `{"id":2,"body":"mark","user":{"login":"plumb"}}`,
			"PATCH /api/v3/repos/octocat/hello/issues/comments/1":              `{"id":1}`,
			"POST /api/v3/repos/octocat/hello/statuses/" + head:                `{"id":1,"state":"success"}`,
			"GET /api/v3/repos/octocat/hello/collaborators/octocat/permission": `{"permission":"write","role_name":"maintain","user":{"login":"octocat"}}`,
			"GET /api/v3/repos/octocat/hello/collaborators/reader/permission":  `{"permission":"read","role_name":"triage"}`,
			"GET /api/v3/repos/octocat/hello/commits/" + merge + "/pulls":      `[{"number":9,"merged_at":null},{"number":8,"merged_at":"2026-01-26T19:01:12Z"}]`,
			"GET /api/v3/repos/octocat/hello/commits/" + left + "/pulls":       `[]`,
			"GET /api/v3/repos/octocat/hello/pulls/8":                          strings.Replace(githubMerged, `"number":7`, `"number":8`, 1),
			"GET /api/v3/repos/octocat/hello/pulls/8/reviews":                  `[{"state":"APPROVED","commit_id":"` + head + `","user":{"login":"ada"}},{"state":"COMMENTED","commit_id":"` + head + `","user":{"login":"ada"}},{"state":"APPROVED","commit_id":"` + left + `","user":{"login":"old"}},{"state":"APPROVED","commit_id":"` + head + `","user":{"login":"no"}},{"state":"CHANGES_REQUESTED","commit_id":"` + head + `","user":{"login":"no"}},{"state":"APPROVED","commit_id":"` + head + `","user":{"login":"octocat"}}]`,
		},
		"hubot", "ada", "POST /api/v3/repos/octocat/hello/statuses/" + head, "success", "PATCH /api/v3/repos/octocat/hello/issues/comments/1", true,
	},
	scm.GitLab: {
		"docs.gitlab.com/api, version 4",
		map[string]string{
			"GET /api/v4/projects/octocat%2Fhello/merge_requests":                                  `[` + gitlabMerge("opened", 1) + `,` + gitlabMerge("opened", 2) + `]`,
			"GET /api/v4/projects/octocat%2Fhello/merge_requests/7":                                gitlabMerge("opened", 1),
			"GET /api/v4/projects/octocat%2Fhello/merge_requests/7/diffs":                          `[{"old_path":"a.yaml","new_path":"a.yaml","new_file":true},{"old_path":"c.yaml","new_path":"b.yaml","renamed_file":true}]`,
			"POST /api/v4/projects/octocat%2Fhello/merge_requests":                                 gitlabMerge("opened", 1),
			"GET /api/v4/projects/octocat%2Fhello/merge_requests/7/notes":                          `[{"id":1,"body":"Me too","author":{"username":"octocat"},"system":false},{"id":3,"body":"changed the title","system":true}]`,
			"POST /api/v4/projects/octocat%2Fhello/merge_requests/7/notes":                         `{"id":2,"body":"mark"}`,
			"PUT /api/v4/projects/octocat%2Fhello/merge_requests/7/notes/1":                        `{"id":1}`,
			"POST /api/v4/projects/octocat%2Fhello/statuses/" + head:                               `{"id":93,"status":"success"}`,
			"GET /api/v4/users?username=octocat":                                                   `[{"id":5,"username":"octocat"}]`,
			"GET /api/v4/users?username=reader":                                                    `[{"id":6,"username":"reader"}]`,
			"GET /api/v4/users?username=nobody":                                                    `[]`,
			"GET /api/v4/projects/octocat%2Fhello/members/all/5":                                   `{"id":5,"state":"active","access_level":30}`,
			"GET /api/v4/projects/octocat%2Fhello/members/all/6":                                   `{"id":6,"state":"active","access_level":20}`,
			"GET /api/v4/projects/octocat%2Fhello/repository/commits/" + merge + "/merge_requests": `[` + gitlabMerge("closed", 1) + `,` + gitlabMerge("merged", 1) + `]`,
			"GET /api/v4/projects/octocat%2Fhello/repository/commits/" + left + "/merge_requests":  `[]`,
			"GET /api/v4/projects/octocat%2Fhello/merge_requests/7/approvals":                      `{"approved":true,"approved_by":[{"user":{"username":"ada"}},{"user":{"username":"octocat"}}]}`,
		},
		"hubot", "ada", "POST /api/v4/projects/octocat%2Fhello/statuses/" + head, "success", "PUT /api/v4/projects/octocat%2Fhello/merge_requests/7/notes/1", false,
	},
	scm.BitbucketCloud: {
		"developer.atlassian.com/cloud/bitbucket/rest, 2.0",
		map[string]string{
			"GET /repositories/octocat/hello/pullrequests":                         `{"values":[` + cloudPull("OPEN", "{1}") + `],"next":"SELF/repositories/octocat/hello/pullrequests?page=2"}`,
			"GET /repositories/octocat/hello/pullrequests?page=2":                  `{"values":[` + cloudPull("OPEN", "{2}") + `]}`,
			"GET /repositories/octocat/hello/pullrequests/7":                       cloudPull("OPEN", "{1}"),
			"GET /repositories/octocat/hello/commit/" + head[:12]:                  `{"hash":"` + head + `"}`,
			"GET /repositories/octocat/hello/merge-base/" + tip[:12] + ".." + head: `{"hash":"` + left + `"}`,
			"GET /repositories/octocat/hello/pullrequests/7/diffstat":              `{"values":[{"old":null,"new":{"path":"a.yaml"}},{"old":{"path":"c.yaml"},"new":{"path":"b.yaml"}}]}`,
			"POST /repositories/octocat/hello/pullrequests":                        cloudPull("OPEN", "{1}"),
			"GET /repositories/octocat/hello/pullrequests/7/comments":              `{"values":[{"id":1,"content":{"raw":"Me too"},"user":{"nickname":"octocat"}},{"id":4,"deleted":true,"content":{"raw":""}}]}`,
			"POST /repositories/octocat/hello/pullrequests/7/comments":             `{"id":2,"content":{"raw":"mark"}}`,
			"PUT /repositories/octocat/hello/pullrequests/7/comments/1":            `{"id":1}`,
			"POST /repositories/octocat/hello/commit/" + head + "/statuses/build":  `{"key":"plumb/shop/web"}`,
			"GET /workspaces/octocat/permissions/repositories/hello":               `{"values":[{"permission":"write","user":{"nickname":"octocat"}},{"permission":"read","user":{"nickname":"reader"}},{"permission":"write","user":{"nickname":"twin"}},{"permission":"read","user":{"nickname":"twin"}}]}`,
			"GET /repositories/octocat/hello/commit/" + merge + "/pullrequests":    `{"values":[{"id":8}]}`,
			"GET /repositories/octocat/hello/commit/" + left + "/pullrequests":     `{"values":[]}`,
			"GET /repositories/octocat/hello/pullrequests/8":                       strings.Replace(cloudPull("MERGED", "{1}"), `"id":7`, `"id":8`, 1),
		},
		"hubot", "ada", "POST /repositories/octocat/hello/commit/" + head + "/statuses/build", "SUCCESSFUL", "PUT /repositories/octocat/hello/pullrequests/7/comments/1", false,
	},
	scm.BitbucketServer: {
		"developer.atlassian.com/server/bitbucket/rest",
		map[string]string{
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests?state=OPEN&limit=100&start=0":                                                    `{"values":[` + serverPull("OPEN", 1) + `],"isLastPage":false,"nextPageStart":1}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests?state=OPEN&limit=100&start=1":                                                    `{"values":[` + serverPull("OPEN", 2) + `],"isLastPage":true}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/7":                                                                               serverPull("OPEN", 1),
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/merge-base":                                                                    `{"id":"` + left + `"}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/changes":                                                                       `{"values":[{"path":{"toString":"a.yaml"}},{"path":{"toString":"b.yaml"},"srcPath":{"toString":"c.yaml"}}],"isLastPage":true}`,
			"POST /rest/api/latest/projects/octocat/repos/hello/pull-requests":                                                                                serverPull("OPEN", 1),
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/activities":                                                                    `{"values":[{"action":"COMMENTED","commentAction":"ADDED","comment":{"id":1,"version":3,"text":"Me too","author":{"name":"octocat"}}},{"action":"OPENED"}],"isLastPage":true}`,
			"POST /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/comments":                                                                     `{"id":2,"version":0,"text":"mark"}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/comments/1":                                                                    `{"id":1,"version":3,"text":"Me too"}`,
			"PUT /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/comments/1":                                                                    `{"id":1,"version":4}`,
			"POST /rest/build-status/1.0/commits/" + head:                                                                                                     ``,
			"GET /rest/api/latest/users?filter=octocat&permission=REPO_WRITE&permission.projectKey=octocat&permission.repositorySlug=hello&limit=100&start=0": `{"values":[{"name":"octocat2"},{"name":"octocat"}],"isLastPage":true}`,
			"GET /rest/api/latest/users": `{"values":[],"isLastPage":true}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/commits/" + merge + "/pull-requests": `{"values":[` + strings.Replace(serverPull("MERGED", 1), `"id":7`, `"id":8`, 1) + `],"isLastPage":true}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/commits/" + left + "/pull-requests":  `{"values":[],"isLastPage":true}`,
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/8":                     strings.Replace(serverPull("MERGED", 1), `"id":7`, `"id":8`, 1),
			"GET /rest/api/latest/projects/octocat/repos/hello/pull-requests/8/activities":          `{"values":[{"action":"MERGED","user":{"name":"hubot"}}],"isLastPage":true}`,
		},
		"hubot", "ada", "POST /rest/build-status/1.0/commits/" + head, "SUCCESSFUL", "PUT /rest/api/latest/projects/octocat/repos/hello/pull-requests/7/comments/1", false,
	},
}

func gitlabMerge(state string, from int) string {
	return fmt.Sprintf(`{"iid":7,"state":%q,"title":"test1","web_url":"http://gitlab.example.com/7","draft":false,"updated_at":"2026-04-29T08:46:00Z",
 "author":{"id":5,"username":"octocat"},"sha":%q,"source_branch":"new-topic","target_branch":"main","source_project_id":%d,"target_project_id":1,
 "diff_refs":{"base_sha":%q,"head_sha":%q,"start_sha":%q},"merge_user":{"username":"hubot"},"merged_at":"2026-04-29T08:46:00Z","merge_commit_sha":%q}`, state, head, from, left, head, tip, merge)
}

func cloudPull(state, from string) string {
	return fmt.Sprintf(`{"id":7,"state":%q,"title":"My Title","updated_on":"2026-04-29T08:46:00.000000+00:00","author":{"nickname":"octocat"},
 "source":{"commit":{"hash":%q},"branch":{"name":"new-topic"},"repository":{"uuid":%q}},
 "destination":{"commit":{"hash":%q},"branch":{"name":"main"},"repository":{"uuid":"{1}"}},
 "closed_by":{"nickname":"hubot"},"merge_commit":{"hash":%q},"participants":[{"user":{"nickname":"ada"},"approved":true},{"user":{"nickname":"no"},"approved":false}],
 "links":{"html":{"href":"https://bitbucket.org/octocat/hello/pull-requests/7"}}}`, state, head[:12], from, tip[:12], merge)
}

func serverPull(state string, from int) string {
	return fmt.Sprintf(`{"id":7,"state":%q,"title":"Talking","updatedDate":1769454072000,"closedDate":1769454072000,"author":{"user":{"name":"octocat"}},
 "fromRef":{"displayId":"new-topic","latestCommit":%q,"repository":{"id":%d}},"toRef":{"displayId":"main","latestCommit":%q,"repository":{"id":1}},
 "reviewers":[{"user":{"name":"ada"},"approved":true,"lastReviewedCommit":%q},{"user":{"name":"old"},"approved":true,"lastReviewedCommit":%q}],
 "links":{"self":[{"href":"http://link/7"}]},"properties":{"mergeCommit":{"id":%q}}}`, state, head, from, tip, head, left, merge)
}

func TestContracts(t *testing.T) {
	for kind, tc := range hosts {
		t.Run(string(kind), func(t *testing.T) {
			f := newFake(t, tc.answers)
			c := connect.Config{Kind: kind, Address: f.URL, Token: canary}
			if kind == scm.BitbucketCloud {
				c.API = f.URL
			}
			h, err := connect.Host(c)
			if err != nil {
				t.Fatal(err)
			}
			repo, ctx := scm.Repo{Owner: "octocat", Name: "hello"}, t.Context()
			all, err := h.Pulls.List(ctx, repo)
			if err != nil || len(all) != 2 || all[0].Fork || !all[1].Fork {
				t.Errorf("listed %+v, %v", all, err)
			}
			if !strings.Contains(f.auth, canary) {
				t.Error("the token was not sent")
			}
			p, err := h.Pulls.Get(ctx, repo, 7)
			if err != nil {
				t.Fatal(err)
			}
			got := []any{p.Number, p.Author, p.HeadSHA, p.HeadBranch, p.BaseBranch, p.MergeBase, p.State, p.Fork, p.Updated.IsZero()}
			if diff := cmp.Diff([]any{7, "octocat", head, "new-topic", "main", left, scm.Open, false, false}, got); diff != "" {
				t.Errorf("by %s:\n%s", tc.reason, diff)
			}
			if tc.mergeTried && (p.Merge != merge || p.MergeParent != tip) {
				t.Errorf("the merge on trial is %s of %s", p.Merge, p.MergeParent)
			}
			files, err := h.Pulls.Files(ctx, repo, 7)
			if err != nil || strings.Join(files.Names, ",") != "a.yaml,b.yaml,c.yaml" || !files.Complete {
				t.Errorf("files %+v, %v", files, err)
			}
			if p, err := h.Pulls.Open(ctx, repo, scm.NewPull{Title: "t", Body: "b", Head: "new-topic", Base: "main"}); err != nil || p.Number != 7 {
				t.Errorf("opened %+v, %v", p, err)
			}
			speaks(t, f, h, repo, tc.update)
			if err := h.Statuses.Set(ctx, repo, head, scm.Status{Context: "plumb/shop/web", State: scm.Success, Description: strings.Repeat("ä", 300)}); err != nil {
				t.Error(err)
			}
			if told := f.told(tc.status); told["state"] != tc.success || len(told["description"].(string)) > 600 {
				t.Errorf("the status was %v", told)
			}
			for who, want := range map[string]bool{"octocat": true, "reader": false, "nobody": false, "twin": false} {
				if kind == scm.GitLab && who == "twin" {
					continue
				}
				if may, err := h.People.MayWrite(ctx, repo, who); err != nil || may != want {
					t.Errorf("%s may write: %v, %v", who, may, err)
				}
			}
			m, ok, err := scm.MergeOf(ctx, h, repo, merge)
			if err != nil || !ok || m.Pull.MergedBy != tc.mergedBy || strings.Join(m.ApprovedBy, ",") != tc.approvedBy {
				t.Errorf("merged %+v, %v, %v", m, ok, err)
			}
			if told := kind == scm.GitLab || kind == scm.Gitea; told && m.Pull.MergeBase != left {
				t.Errorf("it had left the branch at %q", m.Pull.MergeBase)
			}
			if _, ok, err := scm.MergeOf(ctx, h, repo, left); ok || err != nil {
				t.Errorf("a commit without a pull request has one: %v", err)
			}
		})
	}
}

func speaks(t *testing.T, f *fake, h scm.Host, repo scm.Repo, update string) {
	t.Helper()
	if wrote, err := scm.Say(t.Context(), h, repo, 7, "Me too", "Me too!"); err != nil || !wrote {
		t.Errorf("changed: %v, %v", wrote, err)
	}
	if f.told(update) == nil {
		t.Error("the comment was not changed in place")
	}
	if wrote, err := scm.Say(t.Context(), h, repo, 7, "Me too", "Me too"); err != nil || wrote {
		t.Errorf("the same was said again: %v, %v", wrote, err)
	}
	if wrote, err := scm.Say(t.Context(), h, repo, 7, "mark", "a mark"); err != nil || !wrote {
		t.Errorf("made: %v, %v", wrote, err)
	}
}

func TestGitHubApp(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	f := newFake(t, map[string]string{
		"POST /api/v3/app/installations/12/access_tokens": `{"token":"` + canary + `","expires_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`,
		"GET /api/v3/repos/o/r/pulls":                     `[]`,
	})
	h, err := connect.Host(connect.Config{Kind: scm.GitHub, Address: f.URL, App: connect.App{ID: 3, Installation: 12, PrivateKey: string(text)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Pulls.List(t.Context(), scm.Repo{Owner: "o", Name: "r"}); err != nil {
		t.Fatal(err)
	}
	if f.auth != "Bearer "+canary {
		t.Error("the App's token was not sent")
	}
	if _, err := connect.Host(connect.Config{Kind: scm.GitHub, Address: f.URL, App: connect.App{ID: 3, PrivateKey: "c4n4ry"}}); err == nil || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("a broken App gives %v", err)
	}
}

func TestUnknownHost(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		config connect.Config
		want   string
	}{
		"software": {"nobody can guess it", connect.Config{Address: "https://git.example.com", Token: "t"}, "say type"},
		"type":     {"a misspelt type", connect.Config{Kind: "gitbucket", Address: "https://git.example.com", Token: "t"}, "is not known"},
		"token":    {"nothing to show", connect.Config{Address: "https://github.com"}, "no token"},
		"api":      {"an address that is none", connect.Config{Kind: scm.Gitea, API: "git.example.com", Token: "t"}, "no URL"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := connect.Host(tc.config); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v", tc.reason, err)
			}
		})
	}
}
