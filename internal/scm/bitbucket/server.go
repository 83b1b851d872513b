package bitbucket

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

// NewServer gives Bitbucket Data Center or Server behind a client, whose base is
// its address without "/rest".
func NewServer(c *rest.Client) scm.Host {
	h := server{c}
	return scm.Host{
		Kind: scm.BitbucketServer, CommentBytes: commentBytes,
		Pulls: serverPulls{h}, Comments: serverComments{h}, Statuses: serverStatuses{h}, People: serverPeople{h},
	}
}

type server struct{ c *rest.Client }

// at is where a repository is. Those for cloning have "scm/" before them, and
// those of users "~".
func (h server) at(repo scm.Repo) string {
	owner := strings.TrimPrefix(repo.Owner, "scm/")
	return "/rest/api/latest/projects/" + rest.Escape(owner) + "/repos/" + rest.Escape(repo.Name)
}

type serverPage[T any] struct {
	Values []T  `json:"values"`
	Last   bool `json:"isLastPage"`
	Next   int  `json:"nextPageStart"`
}

func serverPages[T any](ctx context.Context, c *rest.Client, path string, most int) ([]T, bool, error) {
	var all []T
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	for start := 0; ; {
		var page serverPage[T]
		if _, err := c.Get(ctx, path+separator+"limit=100&start="+strconv.Itoa(start), &page); err != nil {
			return nil, false, err
		}
		all = append(all, page.Values...)
		switch {
		case len(all) >= most:
			return all[:most], false, nil
		case page.Last || page.Next <= start:
			return all, true, nil
		}
		start = page.Next
	}
}

type serverUser struct {
	Name string `json:"name"`
}

type serverRef struct {
	DisplayID    string `json:"displayId"`
	LatestCommit string `json:"latestCommit"`
	Repository   struct {
		ID int64 `json:"id"`
	} `json:"repository"`
}

type serverReviewer struct {
	User     serverUser `json:"user"`
	Approved bool       `json:"approved"`
	Reviewed string     `json:"lastReviewedCommit"`
}

type serverPull struct {
	ID        int              `json:"id"`
	Title     string           `json:"title"`
	State     string           `json:"state"`
	Draft     bool             `json:"draft"`
	Updated   int64            `json:"updatedDate"`
	Closed    int64            `json:"closedDate"`
	From      serverRef        `json:"fromRef"`
	To        serverRef        `json:"toRef"`
	Author    serverReviewer   `json:"author"`
	Reviewers []serverReviewer `json:"reviewers"`
	Links     struct {
		Self []struct {
			Href string `json:"href"`
		} `json:"self"`
	} `json:"links"`
	Properties struct {
		Merge struct {
			ID string `json:"id"`
		} `json:"mergeCommit"`
	} `json:"properties"`
}

func (p serverPull) pull() scm.Pull {
	out := scm.Pull{
		Number: p.ID, Title: p.Title, Author: p.Author.User.Name, Draft: p.Draft, Updated: time.UnixMilli(p.Updated),
		HeadBranch: p.From.DisplayID, HeadSHA: p.From.LatestCommit, BaseBranch: p.To.DisplayID, State: scm.Open,
		Fork: p.From.Repository.ID == 0 || p.From.Repository.ID != p.To.Repository.ID,
	}
	if len(p.Links.Self) > 0 {
		out.URL = p.Links.Self[0].Href
	}
	switch p.State {
	case "MERGED":
		out.State, out.MergedAs, out.MergedAt = scm.Merged, p.Properties.Merge.ID, time.UnixMilli(p.Closed)
	case "DECLINED":
		out.State = scm.Closed
	}
	return out
}

type serverPulls struct{ server }

func (h serverPulls) List(ctx context.Context, repo scm.Repo) ([]scm.Pull, error) {
	found, _, err := serverPages[serverPull](ctx, h.c, h.at(repo)+"/pull-requests?state=OPEN", scm.MostPulls)
	if err != nil {
		return nil, fmt.Errorf("list the pull requests of %s: %w", repo, err)
	}
	out := make([]scm.Pull, len(found))
	for i, p := range found {
		out[i] = p.pull()
	}
	return out, nil
}

func (h serverPulls) Get(ctx context.Context, repo scm.Repo, number int) (scm.Pull, error) {
	var p serverPull
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/pull-requests/%d", h.at(repo), number), &p); err != nil {
		return scm.Pull{}, fmt.Errorf("read pull request %d of %s: %w", number, repo, err)
	}
	out := p.pull()
	switch out.State {
	case scm.Merged:
		by, err := h.mergedBy(ctx, repo, number)
		out.MergedBy = by
		return out, err
	case scm.Open:
		var base struct {
			ID string `json:"id"`
		}
		path := fmt.Sprintf("%s/pull-requests/%d/merge-base", h.at(repo), number)
		if _, err := h.c.Get(ctx, path, &base); err != nil && !rest.NotFound(err) {
			return scm.Pull{}, fmt.Errorf("find where pull request %d of %s has left %s: %w", number, repo, out.BaseBranch, err)
		}
		if out.MergeBase = base.ID; base.ID == "" { // older ones do not tell: the tip is near enough
			out.MergeBase = p.To.LatestCommit
		}
	case scm.Closed:
	}
	return out, nil
}

func (h serverPulls) mergedBy(ctx context.Context, repo scm.Repo, number int) (string, error) {
	type activity struct {
		Action string     `json:"action"`
		User   serverUser `json:"user"`
	}
	const most = 1000
	found, _, err := serverPages[activity](ctx, h.c, fmt.Sprintf("%s/pull-requests/%d/activities", h.at(repo), number), most)
	if err != nil {
		return "", fmt.Errorf("find who merged pull request %d of %s: %w", number, repo, err)
	}
	for _, a := range found {
		if a.Action == "MERGED" {
			return a.User.Name, nil
		}
	}
	return "", nil
}

func (h serverPulls) Files(ctx context.Context, repo scm.Repo, number int) (scm.Files, error) {
	type path struct {
		Text string `json:"toString"`
	}
	type change struct {
		Path   path  `json:"path"`
		Source *path `json:"srcPath"`
	}
	found, complete, err := serverPages[change](ctx, h.c, fmt.Sprintf("%s/pull-requests/%d/changes", h.at(repo), number), scm.MostFiles)
	if err != nil {
		return scm.Files{}, fmt.Errorf("list the files of pull request %d of %s: %w", number, repo, err)
	}
	out := scm.Files{Complete: complete}
	for _, c := range found {
		out.Names = append(out.Names, c.Path.Text)
		if c.Source != nil && c.Source.Text != "" {
			out.Names = append(out.Names, c.Source.Text)
		}
	}
	return out, nil
}

func (h serverPulls) Open(ctx context.Context, repo scm.Repo, n scm.NewPull) (scm.Pull, error) {
	ref := func(name string) map[string]string { return map[string]string{"id": "refs/heads/" + name} }
	var p serverPull
	in := map[string]any{"title": n.Title, "description": n.Body, "fromRef": ref(n.Head), "toRef": ref(n.Base)}
	if _, err := h.c.Do(ctx, http.MethodPost, h.at(repo)+"/pull-requests", in, &p); err != nil {
		return scm.Pull{}, fmt.Errorf("open a pull request for %s of %s: %w", n.Head, repo, err)
	}
	return p.pull(), nil
}

func (h serverPulls) OfCommit(ctx context.Context, repo scm.Repo, sha string) (scm.Pull, bool, error) {
	found, _, err := serverPages[serverPull](ctx, h.c, h.at(repo)+"/commits/"+rest.Escape(sha)+"/pull-requests", scm.MostPulls)
	if rest.NotFound(err) {
		return scm.Pull{}, false, nil
	}
	if err != nil {
		return scm.Pull{}, false, fmt.Errorf("find the pull request of commit %s of %s: %w", sha, repo, err)
	}
	for _, p := range found {
		if p.State == "MERGED" {
			full, err := h.Get(ctx, repo, p.ID)
			return full, err == nil, err
		}
	}
	return scm.Pull{}, false, nil
}

type serverComment struct {
	ID      int64      `json:"id"`
	Version int        `json:"version"`
	Text    string     `json:"text"`
	Author  serverUser `json:"author"`
	Created int64      `json:"createdDate"`
}

func (c serverComment) comment() scm.Comment {
	return scm.Comment{ID: c.ID, Author: c.Author.Name, Body: c.Text, Created: time.UnixMilli(c.Created)}
}

type serverComments struct{ server }

func (h serverComments) List(ctx context.Context, repo scm.Repo, number int) ([]scm.Comment, error) {
	type activity struct {
		Action  string         `json:"action"`
		Did     string         `json:"commentAction"`
		Comment *serverComment `json:"comment"`
	}
	const most = 2000
	found, _, err := serverPages[activity](ctx, h.c, fmt.Sprintf("%s/pull-requests/%d/activities", h.at(repo), number), most)
	if err != nil {
		return nil, fmt.Errorf("list the comments of pull request %d of %s: %w", number, repo, err)
	}
	var out []scm.Comment
	for i := len(found) - 1; i >= 0; i-- { // the newest come first
		if a := found[i]; a.Action == "COMMENTED" && a.Comment != nil && (a.Did == "ADDED" || a.Did == "") {
			out = append(out, a.Comment.comment())
		}
	}
	return out, nil
}

func (h serverComments) Create(ctx context.Context, repo scm.Repo, number int, body string) (scm.Comment, error) {
	var c serverComment
	if _, err := h.c.Do(ctx, http.MethodPost, fmt.Sprintf("%s/pull-requests/%d/comments", h.at(repo), number), map[string]string{"text": body}, &c); err != nil {
		return scm.Comment{}, fmt.Errorf("comment on pull request %d of %s: %w", number, repo, err)
	}
	return c.comment(), nil
}

func (h serverComments) Update(ctx context.Context, repo scm.Repo, number int, id int64, body string) error {
	path := fmt.Sprintf("%s/pull-requests/%d/comments/%d", h.at(repo), number, id)
	var now serverComment
	_, err := h.c.Get(ctx, path, &now) // a change names the version that it changes
	if err == nil {
		_, err = h.c.Do(ctx, http.MethodPut, path, map[string]any{"text": body, "version": now.Version}, nil)
	}
	if err != nil {
		return fmt.Errorf("change the comment on pull request %d of %s: %w", number, repo, err)
	}
	return nil
}

type serverStatuses struct{ server }

func (h serverStatuses) Set(ctx context.Context, repo scm.Repo, sha string, s scm.Status) error {
	if _, err := h.c.Do(ctx, http.MethodPost, "/rest/build-status/1.0/commits/"+rest.Escape(sha), buildStatus(s, h.c), nil); err != nil {
		return fmt.Errorf("set the status %s of commit %s of %s: %w", s.Context, sha, repo, err)
	}
	return nil
}

type serverPeople struct{ server }

func (h serverPeople) MayWrite(ctx context.Context, repo scm.Repo, who string) (bool, error) {
	// All who have the right by whatever way: their own, a group's, the project's.
	for _, permission := range []string{"REPO_WRITE", "REPO_ADMIN"} {
		query := url.Values{
			"filter": {who}, "permission": {permission}, "permission.projectKey": {strings.TrimPrefix(repo.Owner, "scm/")},
			"permission.repositorySlug": {repo.Name},
		}
		const most = 1000
		found, _, err := serverPages[serverUser](ctx, h.c, "/rest/api/latest/users?"+query.Encode(), most)
		if err != nil {
			return false, fmt.Errorf("find out what %s may do in %s: %w", who, repo, err)
		}
		for _, u := range found {
			if u.Name == who {
				return true, nil
			}
		}
	}
	return false, nil
}

func (h serverPeople) Approvals(ctx context.Context, repo scm.Repo, number int) ([]scm.Approval, error) {
	var p serverPull
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/pull-requests/%d", h.at(repo), number), &p); err != nil {
		return nil, fmt.Errorf("read the approvals of pull request %d of %s: %w", number, repo, err)
	}
	var out []scm.Approval
	for _, r := range p.Reviewers {
		if r.Approved {
			out = append(out, scm.Approval{User: r.User.Name, SHA: r.Reviewed})
		}
	}
	return out, nil
}
