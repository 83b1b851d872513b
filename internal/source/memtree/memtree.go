// Package memtree is a source.Tree in memory: for tests, and for content that
// never came from a repository, such as an unpacked chart. Identities are
// computed as Git computes them (of content alone, never of place), but with
// SHA-256. It knows nothing of fetching.
package memtree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

const linkMark = "\x00symlink\x00"

// maxLinks bounds how many symbolic links one path may go through.
const maxLinks = 40

// Link is the content that makes a file of New a symbolic link to target,
// which is relative to the directory of the link.
func Link(target string) string { return linkMark + target }

// New gives a tree of the files, whose names are slash-separated paths from
// the root. Directories are those that the names imply. The revision is the
// content's digest.
func New(files map[string]string) source.Tree {
	t := FromFiles(toBytes(files), "")
	t.revision = t.ID(".")
	return t
}

func toBytes(files map[string]string) map[string][]byte {
	out := make(map[string][]byte, len(files))
	for name, content := range files {
		out[name] = []byte(content)
	}
	return out
}

// At gives a tree of the files that says it is at the given revision.
func At(revision string, files map[string]string) source.Tree {
	return FromFiles(toBytes(files), revision)
}

// FromFiles gives a tree at a revision. It keeps the contents, uncopied.
func FromFiles(files map[string][]byte, revision string) *Tree {
	t := &Tree{revision: revision, root: newDir(".")}
	for name, content := range files {
		t.add(path.Clean("/" + name)[1:], content)
	}
	t.root.digest()
	return t
}

// Tree is a tree in memory. It is immutable.
type Tree struct {
	revision string
	root     *node
}

type node struct {
	name     string
	id       string
	content  []byte
	target   string // of a symbolic link
	children map[string]*node
}

func newDir(name string) *node { return &node{name: name, children: map[string]*node{}} }

func (t *Tree) add(name string, content []byte) {
	dir := t.root
	parts := strings.Split(name, "/")
	for _, p := range parts[:len(parts)-1] {
		next := dir.children[p]
		if next == nil || next.children == nil {
			next = newDir(p)
			dir.children[p] = next
		}
		dir = next
	}
	last := parts[len(parts)-1]
	n := &node{name: last, content: content}
	if bytes.HasPrefix(content, []byte(linkMark)) {
		n.target, n.content = string(content[len(linkMark):]), nil
	}
	dir.children[last] = n
}

func (n *node) digest() string {
	h := sha256.New()
	switch {
	case n.children != nil:
		for _, c := range n.sorted() {
			fmt.Fprintf(h, "%s\x00%s\x00", c.name, c.digest())
		}
	case n.target != "":
		fmt.Fprintf(h, "link %s", n.target)
	default:
		fmt.Fprintf(h, "blob %d\x00", len(n.content))
		h.Write(n.content)
	}
	n.id = hex.EncodeToString(h.Sum(nil))[:40]
	return n.id
}

func (n *node) sorted() []*node {
	out := make([]*node, 0, len(n.children))
	for _, c := range n.children {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// find walks to a path. With follow, a link at the end is followed as well.
func (t *Tree) find(op, name string, follow bool) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	rest, at := strings.Split(name, "/"), []*node{t.root}
	if name == "." {
		rest = nil
	}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		cur := at[len(at)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 1 {
				return nil, &fs.PathError{Op: op, Path: name, Err: fmt.Errorf("symbolic link leads out of the tree: %w", fs.ErrPermission)}
			}
			at = at[:len(at)-1]
			continue
		}
		next := cur.children[part]
		if next == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		if next.target == "" || (len(rest) == 0 && !follow) {
			at = append(at, next)
			continue
		}
		if links++; links > maxLinks {
			return nil, &fs.PathError{Op: op, Path: name, Err: fmt.Errorf("too many symbolic links")}
		}
		if path.IsAbs(next.target) {
			return nil, &fs.PathError{Op: op, Path: name, Err: fmt.Errorf("symbolic link leads out of the tree: %w", fs.ErrPermission)}
		}
		rest = append(strings.Split(next.target, "/"), rest...)
	}
	return at[len(at)-1], nil
}

// Open opens a file or directory.
func (t *Tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.children != nil {
		return &openDir{node: n, entries: n.entries()}, nil
	}
	return &openFile{node: n, Reader: bytes.NewReader(n.content)}, nil
}

// ReadFile gives a file's content.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.find("read", name, true)
	if err != nil {
		return nil, err
	}
	if n.children != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("is a directory")}
	}
	return bytes.Clone(n.content), nil
}

// ReadDir lists a directory, sorted by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if n.children == nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fmt.Errorf("not a directory")}
	}
	return n.entries(), nil
}

// Stat describes a file, following links.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name, true)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// Lstat describes a file, or the link itself.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) {
	n, err := t.find("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// ReadLink gives the target of a link.
func (t *Tree) ReadLink(name string) (string, error) {
	n, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.target == "" {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.target, nil
}

// Revision is what the tree was made with.
func (t *Tree) Revision() string { return t.revision }

// ID is the digest of the content at a path, following links; empty where
// there is nothing. What links below a directory lead to counts as well.
func (t *Tree) ID(name string) string {
	n, err := t.find("id", name, true)
	if err != nil {
		return ""
	}
	targets := t.targets(name, n, nil)
	if len(targets) == 0 {
		return n.id
	}
	sum := sha256.Sum256([]byte(strings.Join(targets, "\n")))
	return n.id + "-" + hex.EncodeToString(sum[:8])
}

func (t *Tree) targets(at string, dir *node, into []string) []string {
	for _, c := range dir.sorted() {
		name := path.Join(at, c.name)
		switch {
		case c.children != nil:
			into = t.targets(name, c, into)
		case c.target != "":
			if to, err := t.find("id", name, true); err == nil {
				into = append(into, to.id)
			} else {
				into = append(into, "")
			}
		}
	}
	return into
}

func (n *node) entries() []fs.DirEntry {
	out := make([]fs.DirEntry, 0, len(n.children))
	for _, c := range n.sorted() {
		out = append(out, fs.FileInfoToDirEntry(info{c}))
	}
	return out
}

type info struct{ n *node }

func (i info) Name() string       { return i.n.name }
func (i info) Size() int64        { return int64(len(i.n.content)) }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.n.children != nil }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	switch {
	case i.n.children != nil:
		return fs.ModeDir | 0o755
	case i.n.target != "":
		return fs.ModeSymlink | 0o777
	}
	return 0o644
}

type openFile struct {
	node *node
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return info{f.node}, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	node    *node
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return info{d.node}, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.node.name, Err: fmt.Errorf("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := d.entries
		d.entries = nil
		return out, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	out := d.entries[:n]
	d.entries = d.entries[n:]
	return out, nil
}
