package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/gitwrite"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/git"
)

// pushTimeout bounds one command of git that writes.
const pushTimeout = 5 * time.Minute

// opener opens pull requests.
type opener interface {
	// Open gives the page of the pull request of a branch, which it opens where
	// there is none. It is empty where nothing is known with which to open one.
	Open(ctx context.Context, repo, head, base, title, body string) (url string, err error)
}

// committer writes to the repositories of Applications, as the user: with the
// name and the credentials that git on this machine has.
type committer struct {
	writer *gitwrite.Writer
	who    gitwrite.Identity
	opener opener
	// must is set where a pull request has been asked for.
	must bool
}

func (c commandline) newCommitter(ctx context.Context, pulls pullRequestFlag) (*committer, error) {
	dir := c.env.CacheDir
	if dir == "" {
		var err error
		if dir, err = serverDataDir(); err != nil {
			return nil, err
		}
	}
	program, err := git.NewProgram(ctx, git.Options{CacheDir: filepath.Join(dir, "git-write"), Timeout: pushTimeout})
	if err != nil {
		return nil, err
	}
	out := &committer{writer: gitwrite.New(program), must: pulls == pullRequestAlways, who: gitwrite.Identity{
		Name: configured(ctx, program, "user.name", "Plumb"), Email: configured(ctx, program, "user.email", "plumb@localhost"),
	}}
	if pulls != pullRequestNever {
		out.opener = c.env.Hosts
	}
	return out, nil
}

// configured is what the user has told git.
func configured(ctx context.Context, program *git.Program, key, orElse string) string {
	out, err := program.Run(ctx, git.Command{Args: []string{"config", "--get", key}})
	if text := strings.TrimSpace(string(out)); err == nil && text != "" {
		return text
	}
	return orElse
}

// pushed is a branch that was pushed, as it is shown.
type pushed struct {
	Repository string `json:"repository"`
	Base       string `json:"base"`
	Branch     string `json:"branch,omitempty"`
	Commit     string `json:"commit,omitempty"`
	// URL on which a pull request can be opened, or that of the one opened.
	URL string `json:"url,omitempty"`
	// PullRequest is true where there is one, at URL.
	PullRequest bool `json:"pullRequest,omitempty"`
	Unchanged   bool `json:"unchanged,omitempty"`
}

// done completes what is shown of a push.
func (c *committer) done(ctx context.Context, repo string, p gitwrite.Pushed, title, body string) (pushed, error) {
	out := pushed{Repository: source.MaskURL(repo), Base: p.Base, Branch: p.Branch, Commit: p.Commit, Unchanged: p.Unchanged}
	if p.Commit == "" || p.Branch == p.Base {
		return out, nil
	}
	out.URL = gitwrite.CompareURL(repo, p.Base, p.Branch)
	if c.opener == nil {
		return out, nil
	}
	url, err := c.opener.Open(ctx, repo, p.Branch, p.Base, title, body)
	switch {
	case err != nil:
		return out, fmt.Errorf("the branch %s is pushed, but the pull request can't be opened: %w", p.Branch, err)
	case url != "":
		out.URL, out.PullRequest = url, true
	case c.must:
		return out, fmt.Errorf("the branch %s is pushed, but no pull request is opened: there is no token for %s in the environment (GH_TOKEN, GITLAB_TOKEN, GITEA_TOKEN, or PLUMB_GIT_HOST and PLUMB_GIT_HOST_TOKEN)",
			p.Branch, out.Repository)
	}
	return out, nil
}

// commitFiles pushes files, a branch for each repository that they are in.
func (c *committer) commitFiles(ctx context.Context, a application, o adoptFlags, p adopt.Proposal) ([]pushed, error) {
	type place struct{ repo, base string }
	var places []place
	changes := map[place][]gitwrite.Change{}
	sources := a.sources()
	for _, f := range p.Files {
		at := place{sources[f.Source].RepoURL, adopt.Base(sources[f.Source], o.base)}
		if !slices.Contains(places, at) {
			places = append(places, at)
		}
		changes[at] = append(changes[at], gitwrite.Change{Path: f.Path, Before: f.Before, After: f.After})
	}
	message := adopt.Message(o.message, a.key.Name, a.key.String(), p.Adopted)
	title, body, _ := strings.Cut(message, "\n\n")
	var out []pushed
	for _, at := range places {
		branch := o.branch
		if branch == "" {
			branch = gitwrite.BranchName("adopt", a.key.Name, changes[at])
		}
		result, err := c.writer.Commit(ctx, gitwrite.Repo{URL: at.repo}, gitwrite.Options{
			Base: at.base, Branch: branch, Message: message, Author: c.who,
		}, changes[at])
		if err != nil {
			return out, err
		}
		shown, err := c.done(ctx, at.repo, result, title, body)
		out = append(out, shown)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}
