package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/gitwrite"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/git"
)

// pushTimeout bounds one command of git that writes.
const pushTimeout = 5 * time.Minute

// opener opens pull requests. There may be none.
type opener interface {
	Open(ctx context.Context, repo, head, base, title, body string) (url string, err error)
}

// committer writes to the repositories of Applications, as the user: with the
// name and the credentials that git on this machine has.
type committer struct {
	writer *gitwrite.Writer
	who    gitwrite.Identity
	opener opener
}

func (c commandline) newCommitter(ctx context.Context) (*committer, error) {
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
	return &committer{writer: gitwrite.New(program), who: gitwrite.Identity{
		Name: configured(ctx, program, "user.name", "Plumb"), Email: configured(ctx, program, "user.email", "plumb@localhost"),
	}}, nil
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
	URL       string `json:"url,omitempty"`
	Unchanged bool   `json:"unchanged,omitempty"`
}

// done completes what is shown of a push.
func (c *committer) done(ctx context.Context, repo string, p gitwrite.Pushed, title, body string) (pushed, error) {
	out := pushed{Repository: source.MaskURL(repo), Base: p.Base, Branch: p.Branch, Commit: p.Commit, Unchanged: p.Unchanged}
	if p.Commit == "" || p.Branch == p.Base {
		return out, nil
	}
	out.URL = gitwrite.CompareURL(repo, p.Base, p.Branch)
	if c.opener != nil {
		url, err := c.opener.Open(ctx, repo, p.Branch, p.Base, title, body)
		if err != nil {
			return out, fmt.Errorf("the branch %s is pushed, but the pull request can't be opened: %w", p.Branch, err)
		}
		out.URL = url
	}
	return out, nil
}

// readOnly says why nothing can be committed to a source, as far as its
// declaration tells.
func readOnly(s v1alpha1.ApplicationSource, base string) string {
	switch {
	case s.IsHelmRepo():
		return "the chart " + s.Chart + " comes from a chart repository, which is not edited"
	case s.IsOCI():
		return "it comes from an OCI registry, which is not edited"
	case base == "" && len(s.TargetRevision) == 40 && strings.Trim(s.TargetRevision, "0123456789abcdef") == "":
		return "the source is held at a commit (targetRevision): name the branch to commit to with --base"
	case base == "" && strings.ContainsAny(s.TargetRevision, "*^~<>="):
		return "the source follows tags (targetRevision " + s.TargetRevision + "): name the branch to commit to with --base"
	}
	return ""
}

// baseOf is the branch that a source follows; empty for the default one.
func baseOf(s v1alpha1.ApplicationSource, base string) string {
	if base != "" {
		return base
	}
	if s.TargetRevision == "HEAD" {
		return ""
	}
	return strings.TrimPrefix(s.TargetRevision, "refs/heads/")
}

// commitFiles pushes files, a branch for each repository that they are in.
func (c *committer) commitFiles(ctx context.Context, a application, o adoptFlags, p adopt.Proposal) ([]pushed, error) {
	type place struct{ repo, base string }
	var places []place
	changes := map[place][]gitwrite.Change{}
	sources := a.sources()
	for _, f := range p.Files {
		at := place{sources[f.Source].RepoURL, baseOf(sources[f.Source], o.base)}
		if !slices.Contains(places, at) {
			places = append(places, at)
		}
		changes[at] = append(changes[at], gitwrite.Change{Path: f.Path, Before: f.Before, After: f.After})
	}
	message := adoptMessage(a, o, p)
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

// adoptMessage says what is adopted, and why it differed.
func adoptMessage(a application, o adoptFlags, p adopt.Proposal) string {
	var b strings.Builder
	b.WriteString(o.message)
	if o.message == "" {
		fmt.Fprintf(&b, "Adopt what runs into %s", a.key.Name)
	}
	fmt.Fprintf(&b, "\n\nThe Application %s was changed where it runs. This makes Git say so:\n\n", a.key)
	const most = 100
	for i, item := range p.Adopted {
		if i == most {
			fmt.Fprintf(&b, "- and %d more\n", len(p.Adopted)-most)
			break
		}
		fmt.Fprintf(&b, "- %s\n", itemText(item))
	}
	return b.String()
}

func itemText(item adopt.Item) string {
	if item.Field == "" {
		return printable(string(item.Ref.Address())) + ": deleted"
	}
	// Names of items come from what runs: none of them begins a line of its own.
	return fmt.Sprintf("%s %s: %s -> %s", printable(string(item.Ref.Address())), printable(item.Field), brief(item.Declared), brief(item.Live))
}

// brief writes a value in a few words.
func brief(v any) string {
	switch v := v.(type) {
	case nil:
		return "(none)"
	case map[string]any, []any:
		return "(…)"
	default:
		text := printable(fmt.Sprint(v))
		if runes := []rune(text); len(runes) > 60 {
			text = string(runes[:60]) + "…"
		}
		return text
	}
}
