package archive

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// tree is source.Tree over one archive of a store.
type tree struct {
	store    *Store
	digest   string
	top      bool
	revision string
}

var _ source.Tree = (*tree)(nil)

// Revision is what the archive's owner calls it: a chart's version, a digest.
func (t *tree) Revision() string { return t.revision }

// ID is a digest of what is at a path.
func (t *tree) ID(name string) string {
	c, err := t.store.load(t.digest, t.top)
	if err != nil || !fs.ValidPath(name) {
		return ""
	}
	if n := c.root.find(name); n != nil {
		return n.id
	}
	return ""
}

func (t *tree) find(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	c, err := t.store.load(t.digest, t.top)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	n := c.root.find(name)
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// ReadFile gives a file's content.
func (t *tree) ReadFile(name string) ([]byte, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsDirectory}
	}
	if n.tooBig {
		return nil, &fs.PathError{Op: "open", Path: name, Err: &source.Error{Reason: source.ReasonTooLarge, Message: fmt.Sprintf(
			"file %s has %d bytes, over the limit of %d for one file", name, n.size, t.store.limits.FileBytes)}}
	}
	return bytes.Clone(n.content), nil
}

// ReadDir lists a directory, sorted by name.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDirectory}
	}
	out := make([]fs.DirEntry, len(n.sorted))
	for i, e := range n.sorted {
		out[i] = fs.FileInfoToDirEntry(fileInfo{e, e.name})
	}
	return out, nil
}

// Stat describes what is at a path.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return fileInfo{n, path.Base(name)}, nil
}

// Open opens a file or directory.
func (t *tree) Open(name string) (fs.File, error) {
	info, err := t.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openDir{info: info, name: name, entries: entries}, nil
	}
	raw, err := t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &openFile{bytes.NewReader(raw), info}, nil
}

var (
	errIsDirectory  = fmt.Errorf("is a directory")
	errNotDirectory = fmt.Errorf("not a directory")
)

type fileInfo struct {
	node *node
	name string
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.node.size }
func (i fileInfo) ModTime() time.Time { return i.node.when }
func (i fileInfo) IsDir() bool        { return i.node.isDir() }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() fs.FileMode {
	switch {
	case i.node.isDir():
		return fs.ModeDir | 0o755
	case i.node.exec:
		return 0o755
	}
	return 0o644
}

type openFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fs.FileInfo
	name    string
	entries []fs.DirEntry
	at      int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errIsDirectory}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.entries[d.at:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	d.at += len(rest)
	return slices.Clone(rest), nil
}
