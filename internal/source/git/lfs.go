package git

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"

	"github.com/plumb-dev/plumb/internal/source"
)

var (
	pointerStart = []byte("version https://git-lfs.github.com/spec/v1\n")
	pointerSize  = regexp.MustCompile(`(?m)^size (\d{1,18})$`)
)

// isPointer tells whether a file stands for one in Git LFS.
func isPointer(raw []byte) bool {
	return len(raw) < 1024 && bytes.HasPrefix(raw, pointerStart)
}

// smudge gives the file that a Git LFS pointer stands for, through the git-lfs
// program and its own store inside the mirror.
func (t *tree) smudge(name string, pointer []byte) ([]byte, error) {
	repo := t.from.cred.Mask(t.repo.url)
	if !t.from.cred.EnableLFS {
		return nil, &source.Error{Reason: source.ReasonRefused, Repo: repo, Message: fmt.Sprintf(
			"file %s is a Git LFS pointer: set enableLfs: \"true\" in the repository's Secret to read such files", printable(name))}
	}
	limit := t.source.opts.MaxFileBytes
	if m := pointerSize.FindSubmatch(pointer); m != nil {
		if size, err := strconv.ParseInt(string(m[1]), 10, 64); err == nil && size > limit {
			return nil, &sizeError{size, limit}
		}
	}
	a, err := newAccess(t.from.tmp, t.from.effective, t.from.cred)
	if err != nil {
		return nil, err
	}
	defer a.close()
	a.set("remote.origin.url", t.from.url)
	out, err := t.source.runner.run(t.source.ctx, call{
		gitDir: t.repo.mirror.dir, args: []string{"lfs", "smudge"}, access: a,
		stdin: bytes.NewReader(pointer), timeout: t.source.opts.Timeout, maxOut: limit,
	})
	if err != nil {
		if notInstalled.MatchString(err.Error()) {
			return nil, &source.Error{Reason: source.ReasonFailed, Repo: repo, Message: fmt.Sprintf(
				"file %s is in Git LFS, but the git-lfs program is not installed where Plumb runs: install it", printable(name))}
		}
		return nil, fmt.Errorf("file %s in Git LFS: %w", printable(name), explain(t.repo.url, t.from.cred, err))
	}
	return out, nil
}

var notInstalled = regexp.MustCompile(`(?i)'lfs' is not a git command`)
