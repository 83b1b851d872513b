// Package scm is the contract with the hosts of Git repositories, as far as they
// are more than Git: pull requests, comments on them, the statuses of commits,
// and who may do what. The folders below it implement it for GitHub, GitLab,
// Gitea and Forgejo, and Bitbucket.
//
// It knows neither Applications nor what is said in a comment, and reads no
// content of repositories: that is source's.
package scm

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// Kind is the software of a host.
type Kind string

// The closed set of kinds. Forgejo is Gitea here: their APIs are one.
const (
	GitHub          Kind = "github"
	GitLab          Kind = "gitlab"
	Gitea           Kind = "gitea"
	BitbucketCloud  Kind = "bitbucket"
	BitbucketServer Kind = "bitbucket-server"
)

// Repo names a repository at its host. Owner is a user, an organisation, a
// workspace, a project, or a path of groups.
type Repo struct{ Owner, Name string }

// String is the repository's path.
func (r Repo) String() string { return r.Owner + "/" + r.Name }

// State of a pull request.
type State string

// The closed set of states.
const (
	Open   State = "open"
	Merged State = "merged"
	Closed State = "closed" // without having been merged
)

// Pull is a pull request (a merge request).
type Pull struct {
	Number              int
	Title, Author, URL  string
	State               State
	Draft               bool
	Updated             time.Time
	HeadBranch, HeadSHA string
	// Fork is true where the head is in another repository: whoever wrote it needs
	// no rights on this one. It is also true where that is not known.
	Fork       bool
	BaseBranch string
	// MergeBase is the commit that the head has left the base at. Merge is what a
	// merge would give, and MergeParent the base's commit that it was made with,
	// where the host has made one for this head. Only Get gives them.
	MergeBase, Merge, MergeParent string
	// MergedBy, MergedAt and MergedAs tell of the merge where there was one.
	MergedBy string
	MergedAt time.Time
	MergedAs string
}

// Files are what a pull request changes.
type Files struct {
	// Names hold both names of a file that was renamed.
	Names []string
	// Complete is false where there are more.
	Complete bool
}

// NewPull is a pull request to open.
type NewPull struct {
	Title, Body, Head, Base string
}

// Comment on a pull request.
type Comment struct {
	ID           int64
	Author, Body string
	Created      time.Time
}

// StatusState says how a commit fared.
type StatusState string

// The closed set of states of a commit's status.
const (
	Pending StatusState = "pending"
	Success StatusState = "success"
	Failure StatusState = "failure"
)

// Status is one of a commit's: a later one with the same context takes its place.
type Status struct {
	Context     string
	State       StatusState
	Description string
	// URL to find out more, may be empty.
	URL string
}

// Approval is somebody's word for a pull request.
type Approval struct {
	User string
	// SHA is the commit that was looked at, where the host tells.
	SHA string
}

// Pulls are a host's pull requests.
type Pulls interface {
	// List gives the open ones, the last updated first, up to MostPulls.
	List(ctx context.Context, repo Repo) ([]Pull, error)
	Get(ctx context.Context, repo Repo, number int) (Pull, error)
	Files(ctx context.Context, repo Repo, number int) (Files, error)
	Open(ctx context.Context, repo Repo, p NewPull) (Pull, error)
	// OfCommit gives the merged one that has brought a commit, if there is one.
	OfCommit(ctx context.Context, repo Repo, sha string) (Pull, bool, error)
}

// MostPulls and MostFiles are how many are looked at.
const (
	MostPulls = 300
	MostFiles = 3000
)

// Comments are those on pull requests. List gives the oldest first.
type Comments interface {
	List(ctx context.Context, repo Repo, number int) ([]Comment, error)
	Create(ctx context.Context, repo Repo, number int, body string) (Comment, error)
	Update(ctx context.Context, repo Repo, number int, id int64, body string) error
}

// Statuses are those of commits.
type Statuses interface {
	Set(ctx context.Context, repo Repo, sha string, s Status) error
}

// People are those who work on a repository.
type People interface {
	// MayWrite tells whether somebody may push to the repository.
	MayWrite(ctx context.Context, repo Repo, user string) (bool, error)
	// Approvals are those of a pull request that still count.
	Approvals(ctx context.Context, repo Repo, number int) ([]Approval, error)
}

// Host is all that is used of one.
type Host struct {
	Kind     Kind
	Pulls    Pulls
	Comments Comments
	Statuses Statuses
	People   People
	// CommentBytes is the longest comment that it takes.
	CommentBytes int
}

// Say makes a comment with the marker say the text, which must hold the marker:
// the oldest one that has it is changed, and only if none has, one is made. It
// tells whether anything was written.
func Say(ctx context.Context, h Host, repo Repo, number int, marker, text string) (bool, error) {
	found, ok, err := Find(ctx, h, repo, number, marker)
	if err != nil {
		return false, err
	}
	if !ok {
		_, err := h.Comments.Create(ctx, repo, number, text)
		return err == nil, err
	}
	if strings.TrimSpace(found.Body) == strings.TrimSpace(text) {
		return false, nil
	}
	return true, h.Comments.Update(ctx, repo, number, found.ID, text)
}

// Propose gives the open pull request of a branch of the repository itself, and
// opens one where there is none. It tells whether it has.
func Propose(ctx context.Context, h Host, repo Repo, p NewPull) (Pull, bool, error) {
	found, ok, err := Proposed(ctx, h, repo, p.Head, p.Base)
	if err != nil || ok {
		return found, false, err
	}
	found, err = h.Pulls.Open(ctx, repo, p)
	return found, err == nil, err
}

// Proposed gives the open pull request of a branch of the repository itself, if
// there is one.
func Proposed(ctx context.Context, h Host, repo Repo, head, base string) (Pull, bool, error) {
	open, err := h.Pulls.List(ctx, repo)
	if err != nil {
		return Pull{}, false, err
	}
	for _, o := range open {
		if o.HeadBranch == head && o.BaseBranch == base && !o.Fork {
			return o, true, nil
		}
	}
	return Pull{}, false, nil
}

// Find gives the oldest comment that holds a marker: whoever copies the marker
// into another one comes later.
func Find(ctx context.Context, h Host, repo Repo, number int, marker string) (Comment, bool, error) {
	all, err := h.Comments.List(ctx, repo, number)
	if err != nil {
		return Comment{}, false, err
	}
	var oldest Comment
	found := false
	for _, c := range all {
		if strings.Contains(c.Body, marker) && (!found || cmp.Compare(c.ID, oldest.ID) < 0) {
			oldest, found = c, true
		}
	}
	return oldest, found, nil
}

// Merge is who has brought a commit into a branch, and with whose word.
type Merge struct {
	Pull Pull
	// ApprovedBy are those who approved what was merged, in order; not who
	// approved an earlier head, nor the author.
	ApprovedBy []string
}

// MergeOf gives the pull request that a commit has come by, with who merged and
// who approved it. It is false where the commit was pushed without one, and where
// the host does not tell.
func MergeOf(ctx context.Context, h Host, repo Repo, sha string) (Merge, bool, error) {
	p, ok, err := h.Pulls.OfCommit(ctx, repo, sha)
	if err != nil || !ok || p.State != Merged {
		return Merge{}, false, err
	}
	approvals, err := h.People.Approvals(ctx, repo, p.Number)
	if err != nil {
		return Merge{}, false, err
	}
	m := Merge{Pull: p}
	known := map[string]bool{strings.ToLower(p.Author): true}
	for _, a := range approvals {
		name := strings.ToLower(a.User)
		if a.User == "" || known[name] || a.SHA != "" && !strings.EqualFold(a.SHA, p.HeadSHA) {
			continue
		}
		known[name] = true
		m.ApprovedBy = append(m.ApprovedBy, a.User)
	}
	return m, true, nil
}
