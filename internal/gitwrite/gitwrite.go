// Package gitwrite makes commits in Git repositories and pushes them, without a
// clone to work in: it fetches as little as may be into a bare copy, builds the
// new tree in an index of its own, and throws the copy away. It knows nothing of
// what files mean, nor of pull requests.
package gitwrite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/git"
)

// OwnPrefix begins the names of branches that are Plumb's own: only such may be
// overwritten.
const OwnPrefix = "plumb/"

// ownTrailer marks commits on branches that are Plumb's own.
const ownTrailer = "Plumb-Branch"

// attempts are how often a push is tried on a head that moves.
const attempts = 5

// Repo is a repository with what opens it.
type Repo struct {
	URL         string
	Credentials source.Credentials
}

// Identity is a person, or Plumb.
type Identity struct{ Name, Email string }

// Change is one file as it was when the change was made up, and as it is to be.
// Nil is no file.
type Change struct {
	Path          string
	Before, After []byte
}

// Options say how a commit is made.
type Options struct {
	// Base is the branch that it is made on; that of HEAD where empty.
	Base string
	// Branch to push to. Where it is the base, it has to be Direct.
	Branch string
	Direct bool
	// Message, without trailers.
	Message string
	// Author and committer of the commit.
	Author Identity
	// Asked are who wanted it: they are named in trailers.
	Asked []Identity
	// At is the commit's date.
	At time.Time
}

// Pushed is what has become of it.
type Pushed struct {
	Base, Branch string
	// Commit that the branch is at now, and its parent on the base. Both are empty
	// where the base is as wanted already.
	Commit, Parent string
	// Unchanged is true where nothing had to be pushed.
	Unchanged bool
}

// ConflictError says that files have changed in the way of a change.
type ConflictError struct {
	Files  []string
	Branch string
	// Reverting is the commit that could not be reverted, if it was that.
	Reverting string
}

func (e *ConflictError) Error() string {
	if e.Reverting != "" {
		return fmt.Sprintf("commit %s can't be reverted on %s without conflicts in %s: revert it by hand (git revert %s), or go back to a later revision",
			short(e.Reverting), e.Branch, strings.Join(e.Files, ", "), short(e.Reverting))
	}
	return fmt.Sprintf("%s has changed on %s meanwhile: try again", strings.Join(e.Files, ", "), e.Branch)
}

// Writer makes commits.
type Writer struct{ git *git.Program }

// New gives a writer that runs git by the given program.
func New(program *git.Program) *Writer { return &Writer{program} }

// BranchName is the name of Plumb's own branch for changes: the same changes of
// the same Application get the same name.
func BranchName(purpose, application string, changes []Change) string {
	h := sha256.New()
	for _, c := range changes {
		fmt.Fprintf(h, "%q %t %x %x\n", c.Path, c.After == nil, sha256.Sum256(c.Before), sha256.Sum256(c.After))
	}
	return ownBranch(purpose, application, hex.EncodeToString(h.Sum(nil))[:8])
}

// StandingBranch is the name of Plumb's own branch for something that lasts while
// its changes change: the same identity gets the same name.
func StandingBranch(purpose, application, identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return ownBranch(purpose, application, hex.EncodeToString(sum[:])[:8])
}

func ownBranch(purpose, application, hash string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, application)
	if len(name) > 100 {
		name = name[:100]
	}
	return OwnPrefix + purpose + "/" + name + "-" + hash
}

// Commit changes files on a branch. It is idempotent: what is pushed already is
// not pushed again.
func (w *Writer) Commit(ctx context.Context, repo Repo, o Options, changes []Change) (Pushed, error) {
	if len(changes) == 0 {
		return Pushed{}, errors.New("there is nothing to commit")
	}
	for _, c := range changes {
		if err := CheckPath(c.Path); err != nil {
			return Pushed{}, err
		}
	}
	return w.push(ctx, repo, o, 1, func(ctx context.Context, c *clone) (string, string, error) {
		tree, err := c.edit(ctx, changes)
		return tree, o.Message, err
	})
}

// build makes the tree that a commit on the clone's base is to have, and its
// message.
type build func(ctx context.Context, c *clone) (tree, message string, err error)

// push makes a commit of what build gives on the head of the base, and again on
// the new head where that has moved meanwhile.
func (w *Writer) push(ctx context.Context, repo Repo, o Options, depth int, commit build) (Pushed, error) {
	if err := o.check(); err != nil {
		return Pushed{}, err
	}
	var last error
	for try := range attempts {
		if try > 0 {
			select {
			case <-ctx.Done():
				return Pushed{}, ctx.Err()
			case <-time.After(time.Duration(try) * 100 * time.Millisecond):
			}
		}
		p, err := w.attempt(ctx, repo, o, depth, commit)
		if !errors.Is(err, errMoved) {
			return p, err
		}
		last = err
	}
	return Pushed{}, fmt.Errorf("push to %s: %w after %d attempts: try again", o.Branch, last, attempts)
}

func (o Options) check() error {
	if o.Base != "" {
		if err := git.CheckBranch(o.Base); err != nil {
			return fmt.Errorf("base: %w", err)
		}
	}
	if o.Direct && o.Branch == "" {
		return nil
	}
	return git.CheckBranch(o.Branch)
}

// errMoved says that a branch was pushed to by somebody else at the same time.
var errMoved = errors.New("the branch keeps moving")

func (w *Writer) attempt(ctx context.Context, repo Repo, o Options, depth int, commit build) (Pushed, error) {
	remote, err := w.git.Reach(ctx, repo.URL, repo.Credentials)
	if err != nil {
		return Pushed{}, err
	}
	defer remote.Close()
	c, err := w.clone(ctx, remote, o, depth)
	if err != nil {
		return Pushed{}, err
	}
	defer c.remove()
	tree, message, err := commit(ctx, c)
	if err != nil {
		return Pushed{}, err
	}
	done := Pushed{Base: c.base, Branch: c.branch}
	if tree == c.baseTree {
		done.Unchanged = true
		return done, nil
	}
	done.Parent = c.head
	if same, err := c.branchHas(ctx, tree); err != nil || same {
		done.Commit, done.Unchanged = c.tip, true
		return done, err
	}
	if err := c.mayOverwrite(ctx, o); err != nil {
		return Pushed{}, err
	}
	if done.Commit, err = c.commit(ctx, o, tree, message); err != nil {
		return Pushed{}, err
	}
	return done, c.push(ctx, done.Commit, o.Direct)
}

// CheckPath refuses what is no path of a file within a repository, and what git
// itself lives in.
func CheckPath(name string) error {
	if !fs.ValidPath(name) || name == "." || len(name) > 4096 || strings.ContainsAny(name, "\\") {
		return fmt.Errorf("%q is no path of a file in the repository", clip(name))
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%q is no path of a file in the repository", clip(name))
		}
	}
	for _, part := range strings.Split(strings.ToLower(name), "/") {
		if trimmed := strings.TrimRight(part, ". "); trimmed == ".git" || trimmed == "git~1" {
			return fmt.Errorf("%q belongs to git itself", clip(name))
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

func short(commit string) string { return commit[:min(len(commit), 10)] }
