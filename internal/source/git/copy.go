package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
