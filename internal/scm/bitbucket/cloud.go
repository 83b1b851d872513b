// Package bitbucket speaks with Bitbucket Cloud by its REST API 2.0, and with
// Bitbucket Data Center and Server by theirs.
package bitbucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/rest"
)

// commentBytes is the longest comment that both take.
const commentBytes = 32768

// NewCloud gives Bitbucket Cloud behind a client.
func NewCloud(c *rest.Client) scm.Host {
	h := cloud{c}
	return scm.Host{
		Kind: scm.BitbucketCloud, CommentBytes: commentBytes,
		Pulls: cloudPulls{h}, Comments: cloudComments{h}, Statuses: cloudStatuses{h}, People: cloudPeople{h},
	}
}

type cloud struct{ c *rest.Client }

// cloudPage is one page of a list.
type cloudPage[T any] struct {
	Values []T    `json:"values"`
	Next   string `json:"next"`
}

func cloudPages[T any](ctx context.Context, c *rest.Client, path string, most int) ([]T, bool, error) {
	var all []T
	for path != "" {
		var page cloudPage[T]
		if _, err := c.Get(ctx, path, &page); err != nil {
			return nil, false, err
		}
		all = append(all, page.Values...)
		if len(all) >= most {
			return all[:most], false, nil
		}
		path = page.Next
	}
	return all, true, nil
}

type cloudUser struct {
	Nickname string `json:"nickname"`
	UUID     string `json:"uuid"`
}

type cloudEnd struct {
	Commit struct {
		Hash string `json:"hash"`
	} `json:"commit"`
	Branch struct {
		Name string `json:"name"`
	} `json:"branch"`
	Repository *struct {
		UUID string `json:"uuid"`
	} `json:"repository"`
}

type cloudPull struct {
	ID           int       `json:"id"`
	State        string    `json:"state"`
	Title        string    `json:"title"`
	Draft        bool      `json:"draft"`
	UpdatedOn    time.Time `json:"updated_on"`
	Author       cloudUser `json:"author"`
	Source       cloudEnd  `json:"source"`
	Destination  cloudEnd  `json:"destination"`
	ClosedBy     cloudUser `json:"closed_by"`
	Participants []struct {
		User     cloudUser `json:"user"`
		Approved bool      `json:"approved"`
	} `json:"participants"`
	MergeCommit *struct {
		Hash string `json:"hash"`
	} `json:"merge_commit"`
	Links struct {
		HTML struct {
			Href string `json:"href"`
		} `json:"html"`
	} `json:"links"`
}

func (p cloudPull) pull() scm.Pull {
	from, to := p.Source.Repository, p.Destination.Repository
	out := scm.Pull{
		Number: p.ID, Title: p.Title, Author: p.Author.Nickname, URL: p.Links.HTML.Href, Draft: p.Draft, Updated: p.UpdatedOn,
		HeadBranch: p.Source.Branch.Name, HeadSHA: p.Source.Commit.Hash, BaseBranch: p.Destination.Branch.Name, State: scm.Open,
		Fork: from == nil || to == nil || from.UUID != to.UUID,
	}
	switch p.State {
	case "MERGED":
		out.State, out.MergedBy, out.MergedAt = scm.Merged, p.ClosedBy.Nickname, p.UpdatedOn
		if p.MergeCommit != nil {
			out.MergedAs = p.MergeCommit.Hash
		}
	case "DECLINED", "SUPERSEDED":
		out.State = scm.Closed
	}
	return out
}

func (h cloud) at(repo scm.Repo) string {
	return "/repositories/" + rest.Escape(repo.Owner) + "/" + rest.Escape(repo.Name)
}

type cloudPulls struct{ cloud }

func (h cloudPulls) List(ctx context.Context, repo scm.Repo) ([]scm.Pull, error) {
	found, _, err := cloudPages[cloudPull](ctx, h.c, h.at(repo)+"/pullrequests?state=OPEN&sort=-updated_on&pagelen=50", scm.MostPulls)
	if err != nil {
		return nil, fmt.Errorf("list the pull requests of %s: %w", repo, err)
	}
	out := make([]scm.Pull, len(found))
	for i, p := range found {
		out[i] = p.pull()
	}
	return out, nil
}

func (h cloudPulls) Get(ctx context.Context, repo scm.Repo, number int) (scm.Pull, error) {
	var p cloudPull
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/pullrequests/%d", h.at(repo), number), &p); err != nil {
		return scm.Pull{}, fmt.Errorf("read pull request %d of %s: %w", number, repo, err)
	}
	out := p.pull()
	if out.State != scm.Open || out.Fork {
		return out, nil
	}
	var full struct { // pull requests have shortened hashes
		Hash string `json:"hash"`
	}
	if _, err := h.c.Get(ctx, h.at(repo)+"/commit/"+rest.Escape(out.HeadSHA), &full); err != nil {
		return scm.Pull{}, fmt.Errorf("read the head of pull request %d of %s: %w", number, repo, err)
	}
	out.HeadSHA = full.Hash
	if _, err := h.c.Get(ctx, h.at(repo)+"/merge-base/"+rest.Escape(p.Destination.Commit.Hash+".."+full.Hash), &full); err != nil {
		return scm.Pull{}, fmt.Errorf("find where pull request %d of %s has left %s: %w", number, repo, out.BaseBranch, err)
	}
	out.MergeBase = full.Hash
	return out, nil
}

func (h cloudPulls) Files(ctx context.Context, repo scm.Repo, number int) (scm.Files, error) {
	type side struct {
		Path string `json:"path"`
	}
	type stat struct {
		Old *side `json:"old"`
		New *side `json:"new"`
	}
	found, complete, err := cloudPages[stat](ctx, h.c, fmt.Sprintf("%s/pullrequests/%d/diffstat?pagelen=100", h.at(repo), number), scm.MostFiles)
	if err != nil {
		return scm.Files{}, fmt.Errorf("list the files of pull request %d of %s: %w", number, repo, err)
	}
	out := scm.Files{Complete: complete}
	for _, s := range found {
		for _, side := range []*side{s.New, s.Old} {
			if side != nil && (len(out.Names) == 0 || out.Names[len(out.Names)-1] != side.Path) {
				out.Names = append(out.Names, side.Path)
			}
		}
	}
	return out, nil
}

func (h cloudPulls) Open(ctx context.Context, repo scm.Repo, n scm.NewPull) (scm.Pull, error) {
	end := func(name string) map[string]any { return map[string]any{"branch": map[string]string{"name": name}} }
	in := map[string]any{"title": n.Title, "description": n.Body, "source": end(n.Head), "destination": end(n.Base)}
	var p cloudPull
	if _, err := h.c.Do(ctx, http.MethodPost, h.at(repo)+"/pullrequests", in, &p); err != nil {
		return scm.Pull{}, fmt.Errorf("open a pull request for %s of %s: %w", n.Head, repo, err)
	}
	return p.pull(), nil
}

func (h cloudPulls) OfCommit(ctx context.Context, repo scm.Repo, sha string) (scm.Pull, bool, error) {
	found, _, err := cloudPages[cloudPull](ctx, h.c, h.at(repo)+"/commit/"+rest.Escape(sha)+"/pullrequests", scm.MostPulls)
	if rest.NotFound(err) {
		return scm.Pull{}, false, nil
	}
	if err != nil {
		return scm.Pull{}, false, fmt.Errorf("find the pull request of commit %s of %s: %w", sha, repo, err)
	}
	for _, p := range found {
		full, err := h.Get(ctx, repo, p.ID) // the list leaves out nearly all of it
		if err != nil {
			return scm.Pull{}, false, err
		}
		if full.State == scm.Merged {
			return full, true, nil
		}
	}
	return scm.Pull{}, false, nil
}

type cloudComment struct {
	ID      int64     `json:"id"`
	Created time.Time `json:"created_on"`
	Deleted bool      `json:"deleted"`
	User    cloudUser `json:"user"`
	Content struct {
		Raw string `json:"raw"`
	} `json:"content"`
}

func (c cloudComment) comment() scm.Comment {
	return scm.Comment{ID: c.ID, Author: c.User.Nickname, Body: c.Content.Raw, Created: c.Created}
}

type cloudComments struct{ cloud }

func (h cloudComments) List(ctx context.Context, repo scm.Repo, number int) ([]scm.Comment, error) {
	const most = 2000
	found, _, err := cloudPages[cloudComment](ctx, h.c, fmt.Sprintf("%s/pullrequests/%d/comments?sort=created_on&pagelen=100", h.at(repo), number), most)
	if err != nil {
		return nil, fmt.Errorf("list the comments of pull request %d of %s: %w", number, repo, err)
	}
	var out []scm.Comment
	for _, c := range found {
		if !c.Deleted {
			out = append(out, c.comment())
		}
	}
	return out, nil
}

func content(body string) map[string]any {
	return map[string]any{"content": map[string]string{"raw": body}}
}

func (h cloudComments) Create(ctx context.Context, repo scm.Repo, number int, body string) (scm.Comment, error) {
	var c cloudComment
	if _, err := h.c.Do(ctx, http.MethodPost, fmt.Sprintf("%s/pullrequests/%d/comments", h.at(repo), number), content(body), &c); err != nil {
		return scm.Comment{}, fmt.Errorf("comment on pull request %d of %s: %w", number, repo, err)
	}
	return c.comment(), nil
}

func (h cloudComments) Update(ctx context.Context, repo scm.Repo, number int, id int64, body string) error {
	if _, err := h.c.Do(ctx, http.MethodPut, fmt.Sprintf("%s/pullrequests/%d/comments/%d", h.at(repo), number, id), content(body), nil); err != nil {
		return fmt.Errorf("change the comment on pull request %d of %s: %w", number, repo, err)
	}
	return nil
}

type cloudStatuses struct{ cloud }

func (h cloudStatuses) Set(ctx context.Context, repo scm.Repo, sha string, s scm.Status) error {
	if _, err := h.c.Do(ctx, http.MethodPost, h.at(repo)+"/commit/"+rest.Escape(sha)+"/statuses/build", buildStatus(s, h.c), nil); err != nil {
		return fmt.Errorf("set the status %s of commit %s of %s: %w", s.Context, sha, repo, err)
	}
	return nil
}

// keyBytes is the longest key of a build status.
const keyBytes = 40

// buildStatus is a status in Bitbucket's words. It wants a URL, whatever it is.
func buildStatus(s scm.Status, c *rest.Client) map[string]string {
	state := map[scm.StatusState]string{scm.Pending: "INPROGRESS", scm.Success: "SUCCESSFUL", scm.Failure: "FAILED"}[s.State]
	key := s.Context
	if len(key) > keyBytes {
		sum := sha256.Sum256([]byte(key))
		key = key[:keyBytes-9] + "-" + hex.EncodeToString(sum[:4])
	}
	url := s.URL
	if url == "" {
		url = c.Base().Scheme + "://" + strings.TrimPrefix(c.Base().Host, "api.")
	}
	description := s.Description
	if len(description) > 255 {
		description = strings.ToValidUTF8(description[:252], "") + "…"
	}
	return map[string]string{"state": state, "key": key, "name": s.Context, "description": description, "url": url}
}

type cloudPeople struct{ cloud }

func (h cloudPeople) MayWrite(ctx context.Context, repo scm.Repo, who string) (bool, error) {
	type permission struct {
		Permission string    `json:"permission"`
		User       cloudUser `json:"user"`
	}
	const most = 5000
	path := "/workspaces/" + rest.Escape(repo.Owner) + "/permissions/repositories/" + rest.Escape(repo.Name) + "?pagelen=100"
	found, _, err := cloudPages[permission](ctx, h.c, path, most)
	if err != nil {
		return false, fmt.Errorf("find out what %s may do in %s: %w", who, repo, err)
	}
	match := 0
	may := false
	for _, p := range found {
		if p.User.Nickname == who {
			match++
			may = p.Permission == "write" || p.Permission == "admin"
		}
	}
	return may && match == 1, nil // nicknames are not unique: then nobody knows who it was
}

func (h cloudPeople) Approvals(ctx context.Context, repo scm.Repo, number int) ([]scm.Approval, error) {
	var p cloudPull
	if _, err := h.c.Get(ctx, fmt.Sprintf("%s/pullrequests/%d", h.at(repo), number), &p); err != nil {
		return nil, fmt.Errorf("read the approvals of pull request %d of %s: %w", number, repo, err)
	}
	var out []scm.Approval
	for _, who := range p.Participants {
		if who.Approved {
			out = append(out, scm.Approval{User: who.User.Nickname})
		}
	}
	return out, nil
}
