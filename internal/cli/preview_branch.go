package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/preview"
	"github.com/plumb-dev/plumb/internal/source"
)

const previewLong = `Shows what a branch would do if it were merged: to all Applications that follow
the branch it goes into, and that it touches. It is what Plumb says on pull
requests, computed here with your own rights on the repository and the
destinations, and changes nothing. Values of Secrets are masked.

The repository is a clone on this machine, whose commits need not be pushed, or a
URL. What an Application reads outside of its own path counts.

Exits with 1 where an Application could not be applied as it would be declared.`

// branchFlags are the flags of plumb preview.
type branchFlags struct {
	repo, base, head string
	noDiff           bool
}

func (c commandline) newPreviewCommand() *cobra.Command {
	var s selection
	var f branchFlags
	var o output
	cmd := &cobra.Command{
		Use:   "preview",
		Short: "Show what a branch would change if it were merged",
		Long:  previewLong,
		Example: `  plumb preview
  plumb preview --base main --head feature/blue
  plumb preview --repo https://git.example.com/shop/deploy --head feature/blue -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("a preview is of a branch, and of all Applications that it touches: for what a sync of one would do now use `plumb plan %s`", args[0])
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.previewBranch(cmd.Context(), s, f, &o)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	cmd.Flags().StringVar(&f.repo, "repo", ".", "`DIR` of a clone, or URL of the repository")
	cmd.Flags().StringVar(&f.base, "base", "", "`BRANCH` that it goes into (default: the repository's default branch)")
	cmd.Flags().StringVar(&f.head, "head", "", "`BRANCH` or commit to look at (default: what is checked out)")
	cmd.Flags().BoolVar(&f.noDiff, "no-diff", false, "leave out the lines that change")
	o.bind(cmd, "markdown", "json", "yaml")
	return cmd
}

func (c commandline) previewBranch(ctx context.Context, s selection, f branchFlags, o *output) error {
	options, err := s.listOptions()
	if err != nil {
		return err
	}
	found, err := c.connection.list(ctx, s.where(), options)
	if err != nil {
		return err
	}
	apps := make([]preview.App, len(found))
	for i := range found {
		apps[i] = preview.App{Key: found[i].key, Application: &found[i].Application}
	}
	change, err := f.change(ctx, apps)
	if err != nil {
		return err
	}
	p, end, err := c.newPreviewer(ctx)
	if err != nil {
		return err
	}
	defer end()
	report, err := preview.Look(ctx, p, apps, change)
	if err != nil {
		return err
	}
	if err := showReport(c.streams.Out, o, report, f, change); err != nil {
		return err
	}
	if report.Failed() > 0 {
		return exitError{code: 1}
	}
	return nil
}

// reportBytes is where a report ends that nobody would read.
const reportBytes = 64 << 20

func showReport(out io.Writer, o *output, r preview.Report, f branchFlags, c preview.Change) error {
	if o.machine() {
		return o.print(out, r)
	}
	style := preview.Style{
		Bytes: reportBytes, Title: fmt.Sprintf("Plumb preview of `%s` into `%s`", printable(cmp.Or(f.head, "HEAD")), printable(c.Base)),
		WithoutDiffs: f.noDiff,
	}
	_, err := io.WriteString(out, preview.Markdown(r, style))
	return err
}

// change finds out what is to be compared.
func (f branchFlags) change(ctx context.Context, apps []preview.App) (preview.Change, error) {
	if strings.Contains(f.repo, "://") && !strings.HasPrefix(f.repo, "file://") || strings.Contains(f.repo, "@") && strings.Contains(f.repo, ":") {
		return f.remote(ctx)
	}
	top, err := runGit(ctx, strings.TrimPrefix(f.repo, "file://"), "rev-parse", "--show-toplevel")
	if err != nil {
		return preview.Change{}, fmt.Errorf("%s is no clone of a repository: name one, or a URL, with --repo", f.repo)
	}
	c, err := f.commits(ctx, top)
	if err != nil {
		return c, err
	}
	places := candidates(ctx, top)
	for _, place := range places {
		for _, a := range apps {
			for _, s := range a.Spec.GetSources() {
				if source.SameRepo(place, s.RepoURL) {
					c.Places[s.RepoURL] = top
				}
			}
		}
		if len(c.Places) > 0 {
			c.Repo = place
			return c, nil
		}
	}
	return c, fmt.Errorf("no Application reads this repository (%s)", strings.Join(places, ", "))
}

// remote has the source resolve the names.
func (f branchFlags) remote(ctx context.Context) (preview.Change, error) {
	if f.head == "" {
		return preview.Change{}, errors.New("say which branch to look at, with --head")
	}
	branch := ""
	if out, err := runGit(ctx, ".", "ls-remote", "--symref", "--", f.repo, "HEAD"); err == nil {
		rest, _, _ := strings.Cut(out, "\tHEAD")
		branch = strings.TrimPrefix(rest, "ref: refs/heads/")
	}
	base := cmp.Or(f.base, branch)
	if base == "" {
		return preview.Change{}, errors.New("which branch is the repository's default one cannot be found out: say which it goes into, with --base")
	}
	return preview.Change{Repo: f.repo, Base: base, Default: base == branch, From: base, To: f.head}, nil
}

// commits finds those of the branches in a clone: the head, and where it has left
// the base.
func (f branchFlags) commits(ctx context.Context, top string) (preview.Change, error) {
	c := preview.Change{Places: map[string]string{}}
	branch, err := runGit(ctx, top, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
	branch = strings.TrimPrefix(branch, "origin/")
	if err != nil {
		for _, name := range []string{"main", "master"} {
			if _, err := runGit(ctx, top, "rev-parse", "--verify", "--quiet", "refs/heads/"+name); err == nil && branch == "" {
				branch = name
			}
		}
	}
	if c.Base = cmp.Or(f.base, branch); c.Base == "" {
		return c, errors.New("which branch is the repository's default one cannot be found out: say which it goes into, with --base")
	}
	c.Default = c.Base == branch
	var base string
	for _, name := range []string{"refs/remotes/origin/" + c.Base, "refs/heads/" + c.Base} {
		if base, err = runGit(ctx, top, "rev-parse", "--verify", "--quiet", name+"^{commit}"); err == nil {
			break
		}
	}
	if err != nil {
		return c, fmt.Errorf("there is no branch %q in %s", c.Base, top)
	}
	head := cmp.Or(f.head, "HEAD")
	for _, name := range []string{head, "refs/remotes/origin/" + head} {
		if c.To, err = runGit(ctx, top, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}"); err == nil {
			break
		}
	}
	if err != nil {
		return c, fmt.Errorf("there is no branch or commit %q in %s", head, top)
	}
	if c.From, err = runGit(ctx, top, "merge-base", base, c.To); err != nil {
		return c, fmt.Errorf("%s and %s have nothing in common", c.Base, head)
	}
	return c, nil
}

// candidates are the URLs that a clone may be known by, the likeliest first.
func candidates(ctx context.Context, top string) []string {
	var urls []string
	names, _ := runGit(ctx, top, "remote")
	for _, name := range slices.SortedFunc(slices.Values(strings.Fields(names)), func(a, b string) int {
		return cmp.Or(-cmp.Compare(b2i(a == "origin"), b2i(b == "origin")), cmp.Compare(a, b))
	}) {
		if url, err := runGit(ctx, top, "remote", "get-url", name); err == nil {
			urls = append(urls, source.MaskURL(url))
		}
	}
	return append(urls, filepath.ToSlash(top))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// git runs git in a directory that the user has named.
func runGit(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}
