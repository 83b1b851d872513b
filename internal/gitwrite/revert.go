package gitwrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/source/git"
)

// Revert says what is to be taken back.
type Revert struct {
	// To is the revision whose content is to hold again: a commit in the history
	// of the base.
	To string
	// Paths of what it is about ("." for all). Only commits that touch them are
	// reverted.
	Paths []string
	// Whole reverts the commits as they are, with what else they have changed.
	// Otherwise nothing but the paths changes, so that nobody else is rolled back.
	Whole bool
	// Application is named in the branch, where the options name none.
	Application string
}

// Reverted is what was taken back.
type Reverted struct {
	Pushed
	// Commits that are undone, the latest first.
	Commits []Undone
	// Tree that the base is to have.
	Tree string
	// Files that change, with their contents as they are and as they will be where
	// those were asked for.
	Files []string
	// Diff is the change as git shows it.
	Diff string
}

// Undone is a commit that is taken back.
type Undone struct {
	Commit  string `json:"commit"`
	Subject string `json:"subject"`
	Author  string `json:"author"`
}

// maxDiff bounds a diff.
const maxDiff = 8 << 20

// Revert makes one commit that takes back all that has changed since a
// revision. Nothing is pushed where it is dry.
func (w *Writer) Revert(ctx context.Context, repo Repo, o Options, r Revert, dry bool) (Reverted, error) {
	if err := r.check(); err != nil {
		return Reverted{}, err
	}
	if o.Branch == "" && !o.Direct {
		o.Branch = ownBranch("rollback", r.Application, short(r.To))
	}
	var out Reverted
	commit := func(ctx context.Context, c *clone) (string, string, error) {
		var err error
		if out, err = c.revert(ctx, r); err != nil {
			return "", "", err
		}
		message := strings.TrimSpace(o.Message) + "\n\n" + out.list(r)
		if dry {
			return out.Tree, message, errDry
		}
		return out.Tree, message, nil
	}
	pushed, err := w.push(ctx, repo, o, 0, commit)
	if errors.Is(err, errDry) {
		return out, nil
	}
	out.Pushed = pushed
	return out, err
}

var errDry = errors.New("nothing is pushed")

func (r Revert) check() error {
	if len(r.To) < 7 || strings.Trim(r.To, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is no commit", clip(r.To))
	}
	if len(r.Paths) == 0 {
		return errors.New("no path is named that is to be reverted")
	}
	for _, p := range r.Paths {
		if p == "." {
			continue
		}
		if err := CheckPath(p); err != nil {
			return err
		}
	}
	return nil
}

func (out Reverted) list(r Revert) string {
	var b strings.Builder
	if r.Whole {
		fmt.Fprintf(&b, "This reverts commits since %s:\n\n", r.To)
	} else {
		fmt.Fprintf(&b, "This takes %s back to %s. Undone there are the commits:\n\n", strings.Join(r.Paths, ", "), r.To)
	}
	const most = 200
	for i, c := range out.Commits {
		if i == most {
			fmt.Fprintf(&b, "- and %d more\n", len(out.Commits)-most)
			break
		}
		fmt.Fprintf(&b, "- %s %s\n", c.Commit, line(c.Subject, ""))
	}
	return b.String()
}

func (c *clone) revert(ctx context.Context, r Revert) (Reverted, error) {
	var out Reverted
	to, err := c.ancestor(ctx, r.To)
	if err != nil {
		return out, err
	}
	if out.Commits, err = c.touching(ctx, to, r.Paths); err != nil {
		return out, err
	}
	switch {
	case len(out.Commits) == 0:
		out.Tree = c.baseTree
		return out, nil
	case r.Whole:
		out.Tree, err = c.revertEach(ctx, out.Commits)
	default:
		out.Tree, err = c.restore(ctx, to, r.Paths)
	}
	if err != nil {
		return out, err
	}
	return out, c.describe(ctx, &out)
}

// describe tells how the new tree differs from the base.
func (c *clone) describe(ctx context.Context, out *Reverted) error {
	names, err := c.run(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", c.baseTree, out.Tree)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		if name != "" {
			out.Files = append(out.Files, name)
		}
	}
	// The contents may have to be asked for.
	diff, err := c.git.Run(ctx, git.Command{Dir: c.dir, Remote: c.remote, MaxOutput: maxDiff, Args: []string{
		"diff-tree", "-r", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", c.baseTree, out.Tree,
	}})
	if err != nil {
		return c.remote.Explain(err)
	}
	out.Diff = string(diff)
	return nil
}

// ancestor gives the whole id of a commit in the history of the base.
func (c *clone) ancestor(ctx context.Context, revision string) (string, error) {
	absent := fmt.Errorf("commit %s is not in the history of the branch %s: `git log %s` shows what there is to go back to", short(revision), c.base, c.base)
	id, err := c.id(ctx, revision+"^{commit}")
	if err != nil {
		return "", c.remote.Refuse(absent)
	}
	if _, err := c.git.Run(ctx, git.Command{Dir: c.dir, Args: []string{"merge-base", "--is-ancestor", id, c.head}}); err != nil {
		if git.ExitCode(err) == 1 {
			return "", c.remote.Refuse(absent)
		}
		return "", c.remote.Explain(err)
	}
	return id, nil
}

// touching gives the commits since a revision that touch the paths, merges as
// one.
func (c *clone) touching(ctx context.Context, since string, paths []string) ([]Undone, error) {
	args := []string{"--literal-pathspecs", "log", "-z", "--first-parent", "--format=%H%x09%an%x09%s", since + ".." + c.head, "--"}
	out, err := c.run(ctx, append(args, pathspecs(paths)...)...)
	if err != nil {
		return nil, err
	}
	var all []Undone
	for entry := range strings.SplitSeq(out, "\x00") {
		if parts := strings.SplitN(entry, "\t", 3); len(parts) == 3 {
			all = append(all, Undone{parts[0], parts[2], parts[1]})
		}
	}
	return all, nil
}

func pathspecs(paths []string) []string {
	if slices.Contains(paths, ".") {
		return nil
	}
	return paths
}

// restore makes the base's tree with the paths as they were.
func (c *clone) restore(ctx context.Context, to string, paths []string) (string, error) {
	if slices.Contains(paths, ".") {
		return c.id(ctx, to+"^{tree}")
	}
	var lines bytes.Buffer
	now, err := c.list(ctx, c.head, true, paths...)
	if err != nil {
		return "", err
	}
	for _, e := range now {
		fmt.Fprintf(&lines, "0 %s\t%s\x00", c.zero, e.path)
	}
	then, err := c.list(ctx, to, true, paths...)
	if err != nil {
		return "", err
	}
	if len(then) == 0 {
		return "", c.remote.Refuse(fmt.Errorf("there was no %s at %s", strings.Join(paths, ", "), short(to)))
	}
	for _, e := range then {
		fmt.Fprintf(&lines, "%s %s\t%s\x00", e.mode, e.id, e.path)
	}
	return c.tree(ctx, &lines)
}

// revertEach reverts the commits one after the other, as git does, on a work
// tree that holds no files but those in conflict.
func (c *clone) revertEach(ctx context.Context, commits []Undone) (string, error) {
	work := filepath.Join(c.dir, "plumb-work")
	if err := os.MkdirAll(filepath.Join(c.dir, "info"), 0o700); err != nil {
		return "", fmt.Errorf("make a work tree: %w", err)
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return "", fmt.Errorf("make a work tree: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "info", "sparse-checkout"), []byte("/.plumb-nothing\n"), 0o600); err != nil {
		return "", fmt.Errorf("make a work tree: %w", err)
	}
	in := func(args ...string) git.Command {
		fixed := []string{"-c", "core.bare=false", "-c", "core.sparseCheckout=true", "-c", "merge.renormalize=false", "-c", "rerere.enabled=false", "-c", "commit.gpgSign=false"}
		return git.Command{Dir: c.dir, Args: append(fixed, args...), Remote: c.remote, MaxOutput: 64 << 20,
			Env: []string{"GIT_WORK_TREE=" + work, "GIT_AUTHOR_NAME=Plumb", "GIT_AUTHOR_EMAIL=plumb@localhost", "GIT_COMMITTER_NAME=Plumb", "GIT_COMMITTER_EMAIL=plumb@localhost"}}
	}
	for _, args := range [][]string{{"update-ref", "--no-deref", "HEAD", c.head}, {"read-tree", "-m", "-u", c.head}} {
		if _, err := c.git.Run(ctx, in(args...)); err != nil {
			return "", c.remote.Explain(err)
		}
	}
	for _, commit := range commits {
		args := []string{"revert", "--no-commit"}
		if _, err := c.id(ctx, commit.Commit+"^2"); err == nil {
			args = append(args, "--mainline=1")
		}
		if _, err := c.git.Run(ctx, in(append(args, commit.Commit)...)); err != nil {
			out, listErr := c.git.Run(ctx, in("diff", "--name-only", "--diff-filter=U", "-z"))
			if files := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); listErr == nil && files[0] != "" {
				return "", &ConflictError{Files: files, Branch: c.base, Reverting: commit.Commit}
			}
			return "", c.remote.Explain(err)
		}
	}
	out, err := c.git.Run(ctx, in("write-tree"))
	if err != nil {
		return "", c.remote.Explain(err)
	}
	return strings.TrimSpace(string(out)), nil
}
