package forge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/connect"
	"github.com/plumb-dev/plumb/test/forge"
)

func TestHostIsAGitea(t *testing.T) {
	f := forge.Start(t)
	owner, other := f.User("owner", true), f.User("other", false)
	path := f.Repository(owner, "deploy")
	_, repo, ok := scm.Locate(f.URL + "/" + path)
	if !ok || repo.String() != path {
		t.Fatalf("located %v", repo)
	}
	h, err := connect.Host(connect.Config{Kind: scm.Gitea, Address: f.URL, Token: owner.Token})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	clone := f.Clone(owner, path)
	base := clone.Git("rev-parse", "HEAD")
	clone.Git("checkout", "-q", "-b", "feature")
	head := clone.Commit(map[string]string{"apps/a.yaml": "a: 1\n", "apps/b c.yaml": "b: 1\n"})
	clone.Git("push", "-q", "origin", "feature")
	opened, err := h.Pulls.Open(ctx, repo, scm.NewPull{Title: "a feature", Head: "feature", Base: "main"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Pulls.Get(ctx, repo, opened.Number)
	if err != nil {
		t.Fatal(err)
	}
	if p.HeadSHA != head || p.MergeBase != base || p.BaseBranch != "main" || p.Fork || p.State != scm.Open || p.Author != "owner" {
		t.Errorf("the pull request is %+v", p)
	}
	if all, err := h.Pulls.List(ctx, repo); err != nil || len(all) != 1 || all[0].HeadSHA != head {
		t.Errorf("listed %v, %v", all, err)
	}
	if files, err := h.Pulls.Files(ctx, repo, p.Number); err != nil || strings.Join(files.Names, ",") != "apps/a.yaml,apps/b c.yaml" || !files.Complete {
		t.Errorf("files %v, %v", files, err)
	}
	comments(t, h, repo, p.Number)
	statuses(t, f, owner, h, repo, head)
	for who, want := range map[string]bool{"owner": true, "other": false, "nobody": false} {
		if may, err := h.People.MayWrite(ctx, repo, who); err != nil || may != want {
			t.Errorf("%s may write: %v, %v", who, may, err)
		}
	}
	merged(t, f, h, repo, p, owner, other)
}

func comments(t *testing.T, h scm.Host, repo scm.Repo, number int) {
	t.Helper()
	ctx := t.Context()
	for i, text := range []string{"<!-- mark --> one", "<!-- mark --> two", "<!-- mark --> two"} {
		wrote, err := scm.Say(ctx, h, repo, number, "<!-- mark -->", text)
		if err != nil || wrote != (i < 2) {
			t.Errorf("said %d: %v, %v", i, wrote, err)
		}
	}
	if _, err := h.Comments.Create(ctx, repo, number, "a copy of <!-- mark -->"); err != nil {
		t.Fatal(err)
	}
	if c, ok, err := scm.Find(ctx, h, repo, number, "<!-- mark -->"); err != nil || !ok || c.Body != "<!-- mark --> two" || c.Author != "owner" {
		t.Errorf("found %+v %v %v", c, ok, err)
	}
	long := strings.Repeat("x", h.CommentBytes)
	if c, err := h.Comments.Create(ctx, repo, number, long); err != nil || len(c.Body) != len(long) {
		t.Errorf("a comment of %d bytes: %v", len(long), err)
	}
}

func statuses(t *testing.T, f *forge.Forge, as forge.User, h scm.Host, repo scm.Repo, sha string) {
	t.Helper()
	for _, state := range []scm.StatusState{scm.Pending, scm.Failure, scm.Success} {
		if err := h.Statuses.Set(t.Context(), repo, sha, scm.Status{Context: "plumb/shop/web", State: state, Description: string(state)}); err != nil {
			t.Fatal(err)
		}
	}
	var combined struct {
		State    string
		Statuses []struct{ Context, Status string }
	}
	f.Call(as, http.MethodGet, fmt.Sprintf("/repos/%s/commits/%s/status", repo, sha), nil, &combined)
	if len(combined.Statuses) != 1 || combined.State != "success" {
		t.Errorf("statuses are %+v: the last one of a context counts", combined)
	}
}

func merged(t *testing.T, f *forge.Forge, h scm.Host, repo scm.Repo, p scm.Pull, owner, other forge.User) {
	t.Helper()
	f.Call(other, http.MethodPost, fmt.Sprintf("/repos/%s/pulls/%d/reviews", repo, p.Number), map[string]string{"event": "APPROVED", "body": "fine"}, nil)
	f.Call(owner, http.MethodPost, fmt.Sprintf("/repos/%s/pulls/%d/merge", repo, p.Number), map[string]string{"Do": "merge"}, nil)
	now, err := h.Pulls.Get(t.Context(), repo, p.Number)
	if err != nil || now.State != scm.Merged || now.MergedBy != "owner" {
		t.Fatalf("after the merge it is %+v, %v", now, err)
	}
	m, ok, err := scm.MergeOf(t.Context(), h, repo, now.MergedAs)
	if err != nil || !ok || m.Pull.MergedBy != "owner" || strings.Join(m.ApprovedBy, ",") != "other" {
		t.Errorf("the merge of %s is %+v, %v, %v", now.MergedAs, m, ok, err)
	}
	if _, ok, err := scm.MergeOf(t.Context(), h, repo, p.MergeBase); ok || err != nil {
		t.Errorf("a commit without a pull request has one: %v", err)
	}
}

func TestHostDoesNotTellTheToken(t *testing.T) {
	f := forge.Start(t)
	f.User("owner", true)
	const canary = "c4n4ry-t0k3n-0123456789"
	h, err := connect.Host(connect.Config{Kind: scm.Gitea, Address: f.URL, Token: canary})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Pulls.List(t.Context(), scm.Repo{Owner: "owner", Name: "none"})
	if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "token is wrong") {
		t.Errorf("got %v", err)
	}
}
