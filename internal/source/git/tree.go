package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// tree is a repository's content at one commit. Everything is read from the
// object database when asked for, and cached by object id, which all commits
// and repositories share.
type tree struct {
	source   *Source
	repo     *repository
	from     remote
	id       objectID
	revision string
	ref      string
	depth    int // how many repositories this one is a submodule of

	subs sync.Map // objectID+path → *submodule
}

var (
	_ source.Tree   = (*tree)(nil)
	_ fs.ReadLinkFS = (*tree)(nil)
)

// The bounds of what a tree may hold.
const (
	maxTreeBytes   = 32 << 20
	maxCommitBytes = 4 << 20
	maxLinkBytes   = 4096
	maxLinks       = 40 // followed in one path
	maxDepth       = 8  // of submodules
)

// place is a spot in a tree: an entry of one of the repositories, and the
// directories above it.
type place struct {
	entry
	in   *tree  // the repository it is in
	path string // from that repository's root
}

// Revision is the commit.
func (t *tree) Revision() string { return t.revision }

func (t *tree) commit() (*commit, error) {
	if c, ok := t.source.commits.get(t.id); ok {
		return c, nil
	}
	raw, err := t.read(t.id, "commit", maxCommitBytes)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", t.revision, err)
	}
	c, err := parseCommit(raw)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", t.revision, err)
	}
	t.source.commits.put(t.id, c, int64(len(c.message)+len(c.author)+len(c.committer))+200)
	return c, nil
}

// read reads an object, healing the mirror once where that fails.
func (t *tree) read(id objectID, kind string, limit int64) ([]byte, error) {
	var out []byte
	err := t.healed(func() (err error) {
		out, err = t.repo.mirror.objects.read(id, kind, limit)
		return err
	})
	return out, err
}

func (t *tree) healed(read func() error) error {
	started := time.Now()
	err := read()
	if !errors.Is(err, errMissing) && !errors.Is(err, errCorrupt) {
		return err
	}
	ctx, cancel := context.WithTimeout(t.source.ctx, 3*t.source.opts.Timeout)
	defer cancel()
	if again := t.repo.mirror.heal(ctx, t.revision, t.ref, t.from, started); again != nil {
		return fmt.Errorf("%w; fetching it again: %w", err, explain(t.repo.url, t.from.cred, again))
	}
	return read()
}

func (t *tree) directory(id objectID) (*directory, error) {
	if d, ok := t.source.trees.get(id); ok {
		return d, nil
	}
	raw, err := t.read(id, "tree", maxTreeBytes)
	if err != nil {
		return nil, err
	}
	d, err := parseTree(raw, int(id.size))
	if err != nil {
		return nil, err
	}
	t.source.trees.put(id, d, d.cost)
	return d, nil
}

func (t *tree) root() (place, error) {
	c, err := t.commit()
	if err != nil {
		return place{}, err
	}
	return place{entry: entry{name: ".", mode: modeDir, id: c.tree}, in: t, path: "."}, nil
}

// validPath is fs.ValidPath, except that names need not be UTF-8: Git's are not.
func validPath(name string) bool {
	if name == "." {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return false
		}
	}
	return true
}

// walk finds a path. Symbolic links on the way are followed inside the tree,
// the last one only where follow says so.
func (t *tree) walk(name string, follow bool) (place, error) {
	if !validPath(name) {
		return place{}, fs.ErrInvalid
	}
	root, err := t.root()
	if err != nil {
		return place{}, err
	}
	todo := split(name)
	stack := []place{root}
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			if len(stack) == 1 {
				return place{}, fmt.Errorf("a symbolic link on the way to %q leads out of the repository", name)
			}
			stack = stack[:len(stack)-1]
			continue
		}
		next, err := stack[len(stack)-1].child(part)
		if err != nil {
			return place{}, err
		}
		if !next.isLink() || (len(todo) == 0 && !follow) {
			stack = append(stack, next)
			continue
		}
		if links++; links > maxLinks {
			return place{}, fmt.Errorf("symbolic links go round in circles at %q", next.path)
		}
		target, err := next.target()
		if err != nil {
			return place{}, err
		}
		if err := staysInside(stack, next, target); err != nil {
			return place{}, err
		}
		todo = append(split(target), todo...)
	}
	return stack[len(stack)-1], nil
}

// staysInside names the link that leads out of the tree.
func staysInside(stack []place, link place, target string) error {
	depth := len(stack) - 1
	out := strings.HasPrefix(target, "/")
	for _, part := range split(target) {
		if part == ".." {
			depth--
		} else {
			depth++
		}
		out = out || depth < 0
	}
	if out {
		return fmt.Errorf("symbolic link %s points to %q, outside of the repository: links must stay inside", printable(link.path), clip(target, 200))
	}
	return nil
}

func split(name string) []string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// child gives what a directory has under a name.
func (p place) child(name string) (place, error) {
	d, in, at, err := p.open()
	if err != nil {
		return place{}, err
	}
	e, ok := d.find(name)
	if !ok {
		return place{}, fs.ErrNotExist
	}
	return place{entry: e, in: in, path: path.Join(at, name)}, nil
}

var errNotDirectory = errors.New("not a directory")

// open gives a directory's entries, and for a submodule those of its root.
func (p place) open() (d *directory, in *tree, at string, err error) {
	switch {
	case p.isDir():
		d, err = p.in.directory(p.id)
		return d, p.in, p.path, err
	case p.isGitlink():
		sub, err := p.in.submodule(p)
		if err != nil || sub == nil {
			return &directory{}, p.in, p.path, err
		}
		root, err := sub.root()
		if err != nil {
			return nil, nil, "", err
		}
		return root.open()
	}
	return nil, nil, "", errNotDirectory
}

// target reads where a symbolic link points to.
func (p place) target() (string, error) {
	raw, err := p.in.blob(p.id, maxLinkBytes)
	if err != nil {
		return "", fmt.Errorf("read symbolic link %s: %w", printable(p.path), err)
	}
	return string(raw), nil
}

// blob reads a file's content, which the caller must not change.
func (t *tree) blob(id objectID, limit int64) ([]byte, error) {
	if raw, ok := t.source.blobs.get(id); ok {
		if int64(len(raw)) > limit {
			return nil, &sizeError{int64(len(raw)), limit}
		}
		return raw, nil
	}
	raw, err := t.read(id, "blob", limit)
	if err != nil {
		return nil, err
	}
	if len(raw) <= 256<<10 {
		t.source.blobs.put(id, raw, int64(len(raw))+128)
	}
	return raw, nil
}

// ID is the object id of what a path leads to. Where symbolic links below it
// lead out of it, their targets count too, since its content is theirs.
func (t *tree) ID(name string) string {
	p, err := t.walk(name, true)
	if err != nil {
		return ""
	}
	if !p.isDir() {
		return p.id.String()
	}
	outside := &linkScan{tree: p.in, root: p.path, left: 20_000}
	if err := outside.scan(p.id, p.path); err != nil {
		// Too large to look through: then everything counts.
		c, err := p.in.commit()
		if err != nil {
			return ""
		}
		outside.targets = []string{c.tree.String()}
	}
	if len(outside.targets) == 0 {
		return p.id.String()
	}
	sum := sha256.Sum256([]byte(strings.Join(outside.targets, "\n")))
	return p.id.String() + "-" + hex.EncodeToString(sum[:8])
}

// linkScan collects the identities of what links below a directory point to
// outside of it.
type linkScan struct {
	tree    *tree
	root    string
	left    int // directories that may still be read
	targets []string
}

var errScanLimit = errors.New("too many directories")

func (s *linkScan) scan(id objectID, at string) error {
	if s.left--; s.left < 0 {
		return errScanLimit
	}
	d, err := s.tree.directory(id)
	if err != nil {
		return err
	}
	for _, e := range d.entries {
		switch name := path.Join(at, e.name); {
		case e.isDir():
			if err := s.scan(e.id, name); err != nil {
				return err
			}
		case e.isLink():
			s.link(name)
		}
	}
	return nil
}

func (s *linkScan) link(name string) {
	p, err := s.tree.walk(name, true)
	switch {
	case err != nil:
		s.targets = append(s.targets, name+" "+err.Error())
	case p.in != s.tree || s.root != "." && p.path != s.root && !strings.HasPrefix(p.path, s.root+"/"):
		s.targets = append(s.targets, name+" "+p.id.String())
	}
}

// printable shows names that are not UTF-8 in a readable form.
func printable(name string) string {
	if strings.ToValidUTF8(name, "") == name {
		return name
	}
	return fmt.Sprintf("%q", name)
}
