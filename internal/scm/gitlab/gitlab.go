// Package gitlab speaks with GitLab by its REST API, version 4. A merge request is
// a pull request here, and a note is a comment.
package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/rest"
)

// commentBytes is what is written into one note: GitLab takes a million
// characters, which nobody reads.
const commentBytes = 128 << 10

// developer is the least access level that may push.
const developer = 30

// New gives the host behind a client.
func New(c *rest.Client) scm.Host {
	return scm.Host{
		Kind: scm.GitLab, CommentBytes: commentBytes,
		Pulls: pulls{c}, Comments: comments{c}, Statuses: statuses{c}, People: people{c},
	}
}

type mergeRequest struct {
	IID           int       `json:"iid"`
	State         string    `json:"state"`
	Title         string    `json:"title"`
	WebURL        string    `json:"web_url"`
	Draft         bool      `json:"draft"`
	UpdatedAt     time.Time `json:"updated_at"`
	Author        user      `json:"author"`
	SHA           string    `json:"sha"`
	SourceBranch  string    `json:"source_branch"`
	TargetBranch  string    `json:"target_branch"`
	SourceProject int64     `json:"source_project_id"`
	TargetProject int64     `json:"target_project_id"`
	DiffRefs      struct {
		Base string `json:"base_sha"`
	} `json:"diff_refs"`
	MergedAt  *time.Time `json:"merged_at"`
	MergeUser *user      `json:"merge_user"`
	MergedBy  *user      `json:"merged_by"`
	MergeSHA  string     `json:"merge_commit_sha"`
	SquashSHA string     `json:"squash_commit_sha"`
}

type user struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
}

func (m mergeRequest) pull() scm.Pull {
	out := scm.Pull{
		Number: m.IID, Title: m.Title, Author: m.Author.Username, URL: m.WebURL, Draft: m.Draft, Updated: m.UpdatedAt,
		HeadBranch: m.SourceBranch, HeadSHA: m.SHA, BaseBranch: m.TargetBranch, MergeBase: m.DiffRefs.Base, State: scm.Open,
		Fork: m.SourceProject == 0 || m.SourceProject != m.TargetProject,
	}
	switch m.State {
	case "merged":
		out.State, out.MergedAs = scm.Merged, m.MergeSHA
		if m.MergeSHA == "" {
			out.MergedAs = m.SquashSHA
		}
		for _, by := range []*user{m.MergeUser, m.MergedBy} {
			if by != nil && out.MergedBy == "" {
				out.MergedBy = by.Username
			}
		}
		if m.MergedAt != nil {
			out.MergedAt = *m.MergedAt
		}
	case "closed":
		out.State = scm.Closed
	}
	return out
}

func at(repo scm.Repo) string { return "/projects/" + url.PathEscape(repo.String()) }

type pulls struct{ c *rest.Client }

func (h pulls) List(ctx context.Context, repo scm.Repo) ([]scm.Pull, error) {
	found, _, err := rest.Pages[mergeRequest](ctx, h.c, at(repo)+"/merge_requests?state=opened&order_by=updated_at&sort=desc&per_page=100", scm.MostPulls)
	if err != nil {
		return nil, fmt.Errorf("list the merge requests of %s: %w", repo, err)
	}
	out := make([]scm.Pull, len(found))
	for i, m := range found {
		out[i] = m.pull()
	}
	return out, nil
}

func (h pulls) Get(ctx context.Context, repo scm.Repo, number int) (scm.Pull, error) {
	var m mergeRequest
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/merge_requests/%d", at(repo), number), &m); err != nil {
		return scm.Pull{}, fmt.Errorf("read merge request %d of %s: %w", number, repo, err)
	}
	return m.pull(), nil
}

func (h pulls) Files(ctx context.Context, repo scm.Repo, number int) (scm.Files, error) {
	type diff struct {
		Old string `json:"old_path"`
		New string `json:"new_path"`
	}
	found, complete, err := rest.Pages[diff](ctx, h.c, fmt.Sprintf("%s/merge_requests/%d/diffs?per_page=100", at(repo), number), scm.MostFiles)
	if err != nil {
		return scm.Files{}, fmt.Errorf("list the files of merge request %d of %s: %w", number, repo, err)
	}
	out := scm.Files{Complete: complete}
	for _, d := range found {
		out.Names = append(out.Names, d.New)
		if d.Old != "" && d.Old != d.New {
			out.Names = append(out.Names, d.Old)
		}
	}
	return out, nil
}

func (h pulls) Open(ctx context.Context, repo scm.Repo, n scm.NewPull) (scm.Pull, error) {
	var m mergeRequest
	in := map[string]string{"title": n.Title, "description": n.Body, "source_branch": n.Head, "target_branch": n.Base}
	if _, err := h.c.Do(ctx, http.MethodPost, at(repo)+"/merge_requests", in, &m); err != nil {
		return scm.Pull{}, fmt.Errorf("open a merge request for %s of %s: %w", n.Head, repo, err)
	}
	return m.pull(), nil
}

func (h pulls) OfCommit(ctx context.Context, repo scm.Repo, sha string) (scm.Pull, bool, error) {
	found, _, err := rest.Pages[mergeRequest](ctx, h.c, at(repo)+"/repository/commits/"+rest.Escape(sha)+"/merge_requests?per_page=100", scm.MostPulls)
	if rest.NotFound(err) {
		return scm.Pull{}, false, nil
	}
	if err != nil {
		return scm.Pull{}, false, fmt.Errorf("find the merge request of commit %s of %s: %w", sha, repo, err)
	}
	for _, m := range found {
		if m.State == "merged" {
			merged := m.pull()
			full, err := h.Get(ctx, repo, m.IID) // the list does not say where it had left the branch
			merged.MergeBase = full.MergeBase
			return merged, err == nil, err
		}
	}
	return scm.Pull{}, false, nil
}

type note struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	Author    user      `json:"author"`
	System    bool      `json:"system"`
	CreatedAt time.Time `json:"created_at"`
}

type comments struct{ c *rest.Client }

func (h comments) List(ctx context.Context, repo scm.Repo, number int) ([]scm.Comment, error) {
	const most = 2000
	found, _, err := rest.Pages[note](ctx, h.c, fmt.Sprintf("%s/merge_requests/%d/notes?sort=asc&order_by=created_at&per_page=100", at(repo), number), most)
	if err != nil {
		return nil, fmt.Errorf("list the notes of merge request %d of %s: %w", number, repo, err)
	}
	var out []scm.Comment
	for _, n := range found {
		if !n.System {
			out = append(out, scm.Comment{ID: n.ID, Author: n.Author.Username, Body: n.Body, Created: n.CreatedAt})
		}
	}
	return out, nil
}

func (h comments) Create(ctx context.Context, repo scm.Repo, number int, body string) (scm.Comment, error) {
	var n note
	if _, err := h.c.Do(ctx, http.MethodPost, fmt.Sprintf("%s/merge_requests/%d/notes", at(repo), number), map[string]string{"body": body}, &n); err != nil {
		return scm.Comment{}, fmt.Errorf("comment on merge request %d of %s: %w", number, repo, err)
	}
	return scm.Comment{ID: n.ID, Author: n.Author.Username, Body: n.Body, Created: n.CreatedAt}, nil
}

func (h comments) Update(ctx context.Context, repo scm.Repo, number int, id int64, body string) error {
	if _, err := h.c.Do(ctx, http.MethodPut, fmt.Sprintf("%s/merge_requests/%d/notes/%d", at(repo), number, id), map[string]string{"body": body}, nil); err != nil {
		return fmt.Errorf("change the note on merge request %d of %s: %w", number, repo, err)
	}
	return nil
}

type statuses struct{ c *rest.Client }

// descriptionBytes is the longest description of a status.
const descriptionBytes = 255

func (h statuses) Set(ctx context.Context, repo scm.Repo, sha string, s scm.Status) error {
	state := map[scm.StatusState]string{scm.Pending: "pending", scm.Success: "success", scm.Failure: "failed"}[s.State]
	description := s.Description
	if len(description) > descriptionBytes {
		description = strings.ToValidUTF8(description[:descriptionBytes-3], "") + "…"
	}
	in := map[string]string{"state": state, "name": s.Context, "description": description}
	if s.URL != "" {
		in["target_url"] = s.URL
	}
	_, err := h.c.Do(ctx, http.MethodPost, at(repo)+"/statuses/"+rest.Escape(sha), in, nil)
	if err != nil && strings.Contains(err.Error(), "Cannot transition status") {
		return nil // GitLab refuses to set a status to what it is already
	}
	if err != nil {
		return fmt.Errorf("set the status %s of commit %s of %s: %w", s.Context, sha, repo, err)
	}
	return nil
}

type people struct{ c *rest.Client }

func (h people) MayWrite(ctx context.Context, repo scm.Repo, who string) (bool, error) {
	var found []user
	if _, err := h.c.Get(ctx, "/users?username="+url.QueryEscape(who), &found); err != nil {
		return false, fmt.Errorf("find the user %s: %w", who, err)
	}
	for _, u := range found {
		if !strings.EqualFold(u.Username, who) {
			continue
		}
		var member struct {
			Access int    `json:"access_level"`
			State  string `json:"state"`
		}
		_, err := h.c.Get(ctx, at(repo)+"/members/all/"+strconv.FormatInt(u.ID, 10), &member)
		if rest.NotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("find out what %s may do in %s: %w", who, repo, err)
		}
		return member.Access >= developer && (member.State == "" || member.State == "active"), nil
	}
	return false, nil
}

func (h people) Approvals(ctx context.Context, repo scm.Repo, number int) ([]scm.Approval, error) {
	var found struct {
		ApprovedBy []struct {
			User user `json:"user"`
		} `json:"approved_by"`
	}
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/merge_requests/%d/approvals", at(repo), number), &found); err != nil {
		return nil, fmt.Errorf("list the approvals of merge request %d of %s: %w", number, repo, err)
	}
	var out []scm.Approval // of which head GitLab does not say; it withdraws them on pushes where so configured
	for _, a := range found.ApprovedBy {
		out = append(out, scm.Approval{User: a.User.Username})
	}
	return out, nil
}
