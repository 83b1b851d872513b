package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
)

// Copy makes a directory a bare copy of a repository, with all its branches, tags
// and history, for other programs to clone from. What opens the repository is not
// in it. A copy that is there already is brought up to date.
func (s *Source) Copy(ctx context.Context, repoURL string, cred source.Credentials, dir string) error {
	if err := checkURL(repoURL); err != nil {
		return refused(repoURL, cred, err)
	}
	r := newRepository(s, repoURL) // of its own: nobody watches it
	defer r.stop()
	if _, err := r.effectiveURL(ctx); err != nil {
		return explain(repoURL, cred, err)
	}
	from := r.view(cred).remote()
	a, err := newAccess(from.tmp, from.effective, from.cred)
	if err != nil {
		return explain(repoURL, from.cred, err)
	}
	defer a.close()
	return explain(repoURL, from.cred, s.copyTo(ctx, dir, from, a))
}

// copiedName is what a commit may be called in a copy. Git reads more into other names
// (parents, reflogs, ranges), which could lead to another commit.
var copiedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*$`)

// CopyAt makes a directory a bare copy of a repository from which some commits can be
// had, with what they build on, and nothing else: by the names that they are given
// (branches, tags, commits), "" for what is got without one.
func (s *Source) CopyAt(ctx context.Context, repoURL string, cred source.Credentials, dir string, commits map[string]string) error {
	for name, commit := range commits {
		if name != "" && (!copiedName.MatchString(name) || strings.Contains(name, "..") || strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".")) {
			return refused(repoURL, cred, fmt.Errorf("the revision %q is not the name of a branch, tag or commit: name one", name))
		}
		if _, ok := parseID(commit); !ok {
			return refused(repoURL, cred, fmt.Errorf("%q is not the id of a commit", commit))
		}
	}
	if err := s.Copy(ctx, repoURL, cred, dir); err != nil {
		return err
	}
	return explain(repoURL, cred, s.narrow(ctx, dir, commits))
}

// narrow takes from a copy all references but those to some commits. Nobody clones
// from it meanwhile.
func (s *Source) narrow(ctx context.Context, dir string, commits map[string]string) error {
	var lines []string
	head := ""
	for _, name := range slices.Sorted(maps.Keys(commits)) {
		if _, err := s.runner.run(ctx, call{gitDir: dir, args: []string{"cat-file", "-e", commits[name] + "^{commit}"}, timeout: s.opts.Timeout}); err != nil {
			return fmt.Errorf("the copy has no commit %s (somebody has taken it back meanwhile): %w", commits[name], err)
		}
		ref := "refs/heads/" + name
		if _, id := parseID(name); id || name == "" { // no branch can be called so
			ref = "refs/heads/plumb-at-" + commits[name]
		}
		if head == "" || name == "" {
			head = ref
		}
		lines = append(lines, commits[name]+" "+ref+"\n")
	}
	slices.Sort(lines)
	refs := filepath.Join(dir, "refs")
	err := errors.Join(os.RemoveAll(refs), os.MkdirAll(filepath.Join(refs, "heads"), 0o700),
		os.WriteFile(filepath.Join(dir, "packed-refs"), []byte(strings.Join(slices.Compact(lines), "")), 0o600),
		os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: "+head+"\n"), 0o600))
	if err != nil {
		return fmt.Errorf("narrow the copy of a repository: %w", err)
	}
	return nil
}

func (s *Source) copyTo(ctx context.Context, dir string, from remote, a *access) error {
	long := 3 * s.opts.Timeout
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove a copy that is half made: %w", err)
		}
		if _, err := s.runner.run(ctx, call{args: []string{"init", "--quiet", "--bare", "--template=", "--initial-branch=plumb", "--", dir}, timeout: long}); err != nil {
			return err
		}
	}
	listed, err := s.runner.run(ctx, call{args: []string{"ls-remote", "--symref", "--", from.url, "HEAD"}, access: a, timeout: s.opts.Timeout})
	if err != nil {
		return err
	}
	_, err = s.runner.run(ctx, call{gitDir: dir, access: a, timeout: long, args: []string{
		"fetch", "--quiet", "--force", "--prune", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules", "--", from.url,
		"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*",
	}})
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(listed)) {
		rest, is := strings.CutPrefix(line, "ref: ")
		if branch, _, ok := strings.Cut(rest, "\t"); is && ok && strings.HasPrefix(branch, "refs/heads/") {
			_, err := s.runner.run(ctx, call{gitDir: dir, args: []string{"symbolic-ref", "HEAD", branch}, timeout: s.opts.Timeout})
			return err
		}
	}
	return nil
}
