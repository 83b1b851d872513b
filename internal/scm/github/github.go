// Package github speaks with GitHub, also with GitHub Enterprise, by its REST API.
package github

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/rest"
)

// commentBytes is the longest comment that GitHub takes.
const commentBytes = 65536

// Header is what GitHub wants with every request.
func Header() http.Header {
	return http.Header{"Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"}}
}

// New gives the host behind a client.
func New(c *rest.Client) scm.Host {
	return scm.Host{
		Kind: scm.GitHub, CommentBytes: commentBytes,
		Pulls: pulls{c}, Comments: comments{c}, Statuses: statuses{c}, People: people{c},
	}
}

type pull struct {
	Number    int       `json:"number"`
	State     string    `json:"state"`
	Title     string    `json:"title"`
	HTMLURL   string    `json:"html_url"`
	Draft     bool      `json:"draft"`
	UpdatedAt time.Time `json:"updated_at"`
	User      user      `json:"user"`
	Head      branch    `json:"head"`
	Base      branch    `json:"base"`
	Mergeable *bool     `json:"mergeable"`
	Merged    bool      `json:"merged"`
	MergedAt  time.Time `json:"merged_at"`
	MergedBy  user      `json:"merged_by"`
	MergeSHA  string    `json:"merge_commit_sha"`
}

type user struct {
	Login string `json:"login"`
}

type branch struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID int64 `json:"id"`
	} `json:"repo"`
}

func (p pull) pull() scm.Pull {
	out := scm.Pull{
		Number: p.Number, Title: p.Title, Author: p.User.Login, URL: p.HTMLURL, Draft: p.Draft, Updated: p.UpdatedAt,
		HeadBranch: p.Head.Ref, HeadSHA: p.Head.SHA, BaseBranch: p.Base.Ref, State: scm.Open,
		// A fork that was deleted has no repository any more.
		Fork: p.Head.Repo == nil || p.Base.Repo == nil || p.Head.Repo.ID != p.Base.Repo.ID,
	}
	switch {
	case p.Merged || !p.MergedAt.IsZero():
		out.State, out.MergedBy, out.MergedAt, out.MergedAs = scm.Merged, p.MergedBy.Login, p.MergedAt, p.MergeSHA
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
	found, _, err := rest.Pages[pull](ctx, h.c, at(repo)+"/pulls?state=open&sort=updated&direction=desc&per_page=100", scm.MostPulls)
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
	out := p.pull()
	if out.State != scm.Open {
		return out, nil
	}
	h.mergeOf(ctx, repo, p, &out)
	var compared struct {
		MergeBase struct {
			SHA string `json:"sha"`
		} `json:"merge_base_commit"`
	}
	// One commit to a page: only the base is asked for.
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/compare/%s...%s?per_page=1", at(repo), rest.Escape(p.Base.Ref), p.Head.SHA), &compared); err != nil {
		return scm.Pull{}, fmt.Errorf("find where pull request %d of %s has left %s: %w", number, repo, p.Base.Ref, err)
	}
	out.MergeBase = compared.MergeBase.SHA
	return out, nil
}

// mergeOf finds the merge that GitHub tries on its own, if it is of this head.
func (h pulls) mergeOf(ctx context.Context, repo scm.Repo, p pull, out *scm.Pull) {
	if p.Mergeable == nil || !*p.Mergeable || p.MergeSHA == "" {
		return
	}
	var commit struct {
		Parents []struct {
			SHA string `json:"sha"`
		} `json:"parents"`
	}
	_, err := h.c.Get(ctx, at(repo)+"/git/commits/"+rest.Escape(p.MergeSHA), &commit)
	if err == nil && len(commit.Parents) == 2 && commit.Parents[1].SHA == p.Head.SHA {
		out.Merge, out.MergeParent = p.MergeSHA, commit.Parents[0].SHA
	}
}

func (h pulls) Files(ctx context.Context, repo scm.Repo, number int) (scm.Files, error) {
	type file struct {
		Filename string `json:"filename"`
		Previous string `json:"previous_filename"`
	}
	found, complete, err := rest.Pages[file](ctx, h.c, fmt.Sprintf("%s/pulls/%d/files?per_page=100", at(repo), number), scm.MostFiles)
	if err != nil {
		return scm.Files{}, fmt.Errorf("list the files of pull request %d of %s: %w", number, repo, err)
	}
	out := scm.Files{Complete: complete && len(found) < scm.MostFiles}
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
	found, _, err := rest.Pages[pull](ctx, h.c, at(repo)+"/commits/"+rest.Escape(sha)+"/pulls?per_page=100", scm.MostPulls)
	if err != nil {
		return scm.Pull{}, false, fmt.Errorf("find the pull request of commit %s of %s: %w", sha, repo, err)
	}
	for _, p := range found {
		if !p.MergedAt.IsZero() {
			merged, err := h.Get(ctx, repo, p.Number) // the list does not say by whom
			return merged, err == nil, err
		}
	}
	return scm.Pull{}, false, nil
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

// mostComments is how many of one pull request are looked at.
const mostComments = 2000

func (h comments) List(ctx context.Context, repo scm.Repo, number int) ([]scm.Comment, error) {
	found, _, err := rest.Pages[comment](ctx, h.c, fmt.Sprintf("%s/issues/%d/comments?per_page=100", at(repo), number), mostComments)
	if err != nil {
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

// descriptionRunes is the longest description of a status.
const descriptionRunes = 140

func (h statuses) Set(ctx context.Context, repo scm.Repo, sha string, s scm.Status) error {
	in := map[string]string{"state": string(s.State), "context": s.Context, "description": short(s.Description)}
	if s.URL != "" {
		in["target_url"] = s.URL
	}
	if _, err := h.c.Do(ctx, http.MethodPost, at(repo)+"/statuses/"+rest.Escape(sha), in, nil); err != nil {
		return fmt.Errorf("set the status %s of commit %s of %s: %w", s.Context, sha, repo, err)
	}
	return nil
}

func short(text string) string {
	if r := []rune(text); len(r) > descriptionRunes {
		return string(r[:descriptionRunes-1]) + "…"
	}
	return text
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
	// Newer roles (maintain, custom ones) are told as the base role they grow from.
	return level.Permission == "admin" || level.Permission == "write", nil
}

func (h people) Approvals(ctx context.Context, repo scm.Repo, number int) ([]scm.Approval, error) {
	type review struct {
		State    string `json:"state"`
		CommitID string `json:"commit_id"`
		User     user   `json:"user"`
	}
	found, _, err := rest.Pages[review](ctx, h.c, fmt.Sprintf("%s/pulls/%d/reviews?per_page=100", at(repo), number), mostComments)
	if err != nil {
		return nil, fmt.Errorf("list the reviews of pull request %d of %s: %w", number, repo, err)
	}
	last := map[string]int{} // of each reviewer; a remark changes no verdict
	for i, r := range found {
		if state := strings.ToUpper(r.State); state == "APPROVED" || state == "CHANGES_REQUESTED" || state == "DISMISSED" {
			last[r.User.Login] = i
		}
	}
	var out []scm.Approval
	for i, r := range found {
		if n, ok := last[r.User.Login]; ok && n == i && strings.EqualFold(r.State, "APPROVED") {
			out = append(out, scm.Approval{User: r.User.Login, SHA: r.CommitID})
		}
	}
	return out, nil
}
