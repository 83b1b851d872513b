// Package gitea speaks with Gitea and Forgejo by their REST API, which is one as
// far as it is used here.
package gitea

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/rest"
)

// commentBytes is what is written into one comment. Gitea itself has no limit
// that matters.
const commentBytes = 128 << 10

// New gives the host behind a client.
func New(c *rest.Client) scm.Host {
	return scm.Host{
		Kind: scm.Gitea, CommentBytes: commentBytes,
		Pulls: pulls{c}, Comments: comments{c}, Statuses: statuses{c}, People: people{c},
	}
}

type pull struct {
	Number    int        `json:"number"`
	State     string     `json:"state"`
	Title     string     `json:"title"`
	HTMLURL   string     `json:"html_url"`
	Draft     bool       `json:"draft"`
	UpdatedAt time.Time  `json:"updated_at"`
	User      user       `json:"user"`
	Head      branch     `json:"head"`
	Base      branch     `json:"base"`
	MergeBase string     `json:"merge_base"`
	Merged    bool       `json:"merged"`
	MergedAt  *time.Time `json:"merged_at"`
	MergedBy  *user      `json:"merged_by"`
	MergeSHA  string     `json:"merge_commit_sha"`
}

type user struct {
	Login string `json:"login"`
}

type branch struct {
	Ref    string `json:"ref"`
	SHA    string `json:"sha"`
	RepoID int64  `json:"repo_id"`
}

func (p pull) pull() scm.Pull {
	out := scm.Pull{
		Number: p.Number, Title: p.Title, Author: p.User.Login, URL: p.HTMLURL, Draft: p.Draft, Updated: p.UpdatedAt,
		HeadBranch: p.Head.Ref, HeadSHA: p.Head.SHA, BaseBranch: p.Base.Ref, State: scm.Open, MergeBase: p.MergeBase,
		Fork: p.Head.RepoID == 0 || p.Head.RepoID != p.Base.RepoID,
	}
	switch {
	case p.Merged:
		out.State, out.MergedAs = scm.Merged, p.MergeSHA
		if p.MergedBy != nil {
			out.MergedBy = p.MergedBy.Login
		}
		if p.MergedAt != nil {
			out.MergedAt = *p.MergedAt
		}
	case p.State == "closed":
		out.State = scm.Closed
	}
	return out
}

func at(repo scm.Repo) string {
	return "/repos/" + rest.Escape(repo.Owner) + "/" + rest.Escape(repo.Name)
}

type pulls struct{ c *rest.Client }

func (h pulls) List(ctx context.Context, repo scm.Repo) ([]scm.Pull, error) {
	found, _, err := rest.Pages[pull](ctx, h.c, at(repo)+"/pulls?state=open&sort=recentupdate&limit=50", scm.MostPulls)
	if err != nil {
		return nil, fmt.Errorf("list the pull requests of %s: %w", repo, err)
	}
	out := make([]scm.Pull, len(found))
	for i, p := range found {
		out[i] = p.pull()
	}
	return out, nil
}

func (h pulls) Get(ctx context.Context, repo scm.Repo, number int) (scm.Pull, error) {
	var p pull
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/pulls/%d", at(repo), number), &p); err != nil {
		return scm.Pull{}, fmt.Errorf("read pull request %d of %s: %w", number, repo, err)
	}
	return p.pull(), nil
}

func (h pulls) Files(ctx context.Context, repo scm.Repo, number int) (scm.Files, error) {
	type file struct {
		Filename string `json:"filename"`
		Previous string `json:"previous_filename"`
	}
	found, complete, err := rest.Pages[file](ctx, h.c, fmt.Sprintf("%s/pulls/%d/files?limit=50", at(repo), number), scm.MostFiles)
	if err != nil {
		return scm.Files{}, fmt.Errorf("list the files of pull request %d of %s: %w", number, repo, err)
	}
	out := scm.Files{Complete: complete}
	for _, f := range found {
		out.Names = append(out.Names, f.Filename)
		if f.Previous != "" {
			out.Names = append(out.Names, f.Previous)
		}
	}
	return out, nil
}

func (h pulls) Open(ctx context.Context, repo scm.Repo, n scm.NewPull) (scm.Pull, error) {
	var p pull
	in := map[string]string{"title": n.Title, "body": n.Body, "head": n.Head, "base": n.Base}
	if _, err := h.c.Do(ctx, http.MethodPost, at(repo)+"/pulls", in, &p); err != nil {
		return scm.Pull{}, fmt.Errorf("open a pull request for %s of %s: %w", n.Head, repo, err)
	}
	return p.pull(), nil
}

func (h pulls) OfCommit(ctx context.Context, repo scm.Repo, sha string) (scm.Pull, bool, error) {
	var p pull
	_, err := h.c.Get(ctx, at(repo)+"/commits/"+rest.Escape(sha)+"/pull", &p)
	if rest.NotFound(err) {
		return scm.Pull{}, false, nil
	}
	if err != nil {
		return scm.Pull{}, false, fmt.Errorf("find the pull request of commit %s of %s: %w", sha, repo, err)
	}
	return p.pull(), p.Merged, nil
}

type comment struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	User      user      `json:"user"`
	CreatedAt time.Time `json:"created_at"`
}

func (c comment) comment() scm.Comment {
	return scm.Comment{ID: c.ID, Author: c.User.Login, Body: c.Body, Created: c.CreatedAt}
}

type comments struct{ c *rest.Client }

func (h comments) List(ctx context.Context, repo scm.Repo, number int) ([]scm.Comment, error) {
	var found []comment // all of them: this list has no pages
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/issues/%d/comments", at(repo), number), &found); err != nil {
		return nil, fmt.Errorf("list the comments of pull request %d of %s: %w", number, repo, err)
	}
	out := make([]scm.Comment, len(found))
	for i, c := range found {
		out[i] = c.comment()
	}
	return out, nil
}

func (h comments) Create(ctx context.Context, repo scm.Repo, number int, body string) (scm.Comment, error) {
	var c comment
	if _, err := h.c.Do(ctx, http.MethodPost, fmt.Sprintf("%s/issues/%d/comments", at(repo), number), map[string]string{"body": body}, &c); err != nil {
		return scm.Comment{}, fmt.Errorf("comment on pull request %d of %s: %w", number, repo, err)
	}
	return c.comment(), nil
}

func (h comments) Update(ctx context.Context, repo scm.Repo, number int, id int64, body string) error {
	if _, err := h.c.Do(ctx, http.MethodPatch, fmt.Sprintf("%s/issues/comments/%d", at(repo), id), map[string]string{"body": body}, nil); err != nil {
		return fmt.Errorf("change the comment on pull request %d of %s: %w", number, repo, err)
	}
	return nil
}

type statuses struct{ c *rest.Client }

func (h statuses) Set(ctx context.Context, repo scm.Repo, sha string, s scm.Status) error {
	in := map[string]string{"state": string(s.State), "context": s.Context, "description": s.Description, "target_url": s.URL}
	if _, err := h.c.Do(ctx, http.MethodPost, at(repo)+"/statuses/"+rest.Escape(sha), in, nil); err != nil {
		return fmt.Errorf("set the status %s of commit %s of %s: %w", s.Context, sha, repo, err)
	}
	return nil
}

type people struct{ c *rest.Client }

func (h people) MayWrite(ctx context.Context, repo scm.Repo, who string) (bool, error) {
	var level struct {
		Permission string `json:"permission"`
	}
	_, err := h.c.Get(ctx, at(repo)+"/collaborators/"+rest.Escape(who)+"/permission", &level)
	if rest.NotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find out what %s may do in %s: %w", who, repo, err)
	}
	switch level.Permission {
	case "write", "admin", "owner":
		return true, nil
	}
	return false, nil
}

func (h people) Approvals(ctx context.Context, repo scm.Repo, number int) ([]scm.Approval, error) {
	type review struct {
		State     string `json:"state"`
		CommitID  string `json:"commit_id"`
		Stale     bool   `json:"stale"`
		Dismissed bool   `json:"dismissed"`
		User      *user  `json:"user"`
	}
	const most = 500
	found, _, err := rest.Pages[review](ctx, h.c, fmt.Sprintf("%s/pulls/%d/reviews?limit=50", at(repo), number), most)
	if err != nil {
		return nil, fmt.Errorf("list the reviews of pull request %d of %s: %w", number, repo, err)
	}
	last := map[string]int{}
	for i, r := range found {
		if r.User != nil && (r.State == "APPROVED" || r.State == "REQUEST_CHANGES") {
			last[strings.ToLower(r.User.Login)] = i
		}
	}
	var out []scm.Approval
	for i, r := range found {
		if r.User == nil || r.State != "APPROVED" || r.Stale || r.Dismissed {
			continue
		}
		if n, ok := last[strings.ToLower(r.User.Login)]; ok && n == i {
			out = append(out, scm.Approval{User: r.User.Login, SHA: r.CommitID})
		}
	}
	return out, nil
}
