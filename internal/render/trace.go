package render

import (
	"io/fs"
	"strings"
	"sync"

	"github.com/plumb-dev/plumb/internal/source"
)

// look is one thing that a rendering looked at outside of its own directory.
type look struct {
	tree string // "" for the source's own, else the name of a ref
	path string
	how  lookKind
}

type lookKind byte

const (
	content  lookKind = iota // read, or listed
	presence                 // whether it is there, and what it is
)

// trace records what a rendering looked at, so that it is known later whether
// another rendering could give anything else.
type trace struct {
	mu          sync.Mutex
	looks       map[look]string
	revision    bool // the revision itself was asked for
	destination bool // what the destination is was asked for
}

func newTrace() *trace { return &trace{looks: map[look]string{}} }

// wrap gives a request whose trees record.
func (t *trace) wrap(req Request) Request {
	req.Input.Tree = &tracedTree{Tree: req.Input.Tree, trace: t, own: Clean(req.Input.Path)}
	refs := make(map[string]Input, len(req.Refs))
	for name, in := range req.Refs {
		in.Tree = &tracedTree{Tree: in.Tree, trace: t, key: name}
		refs[name] = in
	}
	req.Refs = refs
	return req
}

// holds says whether everything that was looked at is still the same.
func (t *trace) holds(req *Request) bool {
	for l, was := range t.looks {
		tree := req.Input.Tree
		if l.tree != "" {
			ref, ok := req.Refs[l.tree]
			if !ok || ref.Tree == nil {
				return false
			}
			tree = ref.Tree
		}
		if fingerprint(tree, l) != was {
			return false
		}
	}
	return true
}

// fingerprint is what a look sees; empty where there is nothing.
func fingerprint(tree source.Tree, l look) string {
	if l.how == content {
		return tree.ID(l.path)
	}
	info, err := tree.Stat(l.path)
	switch {
	case err != nil:
		return ""
	case info.IsDir():
		return "directory"
	}
	return "file"
}

// tracedTree records looks at paths outside of its own directory; that
// directory's identity counts as a whole. An empty own is none.
type tracedTree struct {
	source.Tree
	trace    *trace
	key, own string
}

func (t *tracedTree) note(path string, how lookKind) {
	if t.own == "." || (t.own != "" && (path == t.own || strings.HasPrefix(path, t.own+"/"))) {
		return
	}
	l := look{tree: t.key, path: path, how: how}
	t.trace.mu.Lock()
	defer t.trace.mu.Unlock()
	if _, known := t.trace.looks[l]; !known {
		t.trace.looks[l] = fingerprint(t.Tree, l)
	}
}

// Open is noted.
func (t *tracedTree) Open(name string) (fs.File, error) {
	t.note(name, content)
	return t.Tree.Open(name)
}

// ReadFile is noted.
func (t *tracedTree) ReadFile(name string) ([]byte, error) {
	t.note(name, content)
	return t.Tree.ReadFile(name)
}

// ReadDir is noted.
func (t *tracedTree) ReadDir(name string) ([]fs.DirEntry, error) {
	t.note(name, content)
	return t.Tree.ReadDir(name)
}

// Stat is noted: a file by its content (its size may matter), a directory by
// its being there.
func (t *tracedTree) Stat(name string) (fs.FileInfo, error) {
	info, err := t.Tree.Stat(name)
	if err == nil && !info.IsDir() {
		t.note(name, content)
	} else {
		t.note(name, presence)
	}
	return info, err
}

func (t *tracedTree) noteDestination() {
	t.trace.mu.Lock()
	defer t.trace.mu.Unlock()
	t.trace.destination = true
}

// Revision is noted.
func (t *tracedTree) Revision() string {
	t.trace.mu.Lock()
	defer t.trace.mu.Unlock()
	if t.key == "" {
		t.trace.revision = true
	}
	return t.Tree.Revision()
}

// ID is noted.
func (t *tracedTree) ID(path string) string {
	t.note(path, content)
	return t.Tree.ID(path)
}
