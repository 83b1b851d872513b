package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// fail makes the error of an operation on a path, in the words of io/fs where
// they fit, naming file and size where a limit was hit.
func (t *tree) fail(op, name string, err error) error {
	var over *sizeError
	var known *source.Error
	switch {
	case errors.As(err, &known):
		return &fs.PathError{Op: op, Path: name, Err: known}
	case errors.As(err, &over):
		err = &source.Error{Reason: source.ReasonTooLarge, Repo: t.from.cred.Mask(t.repo.url), Message: fmt.Sprintf(
			"file %s has %d bytes, over the limit of %d for one file: keep it out of the application's path, or raise the limit",
			printable(name), over.size, over.limit)}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
		err = &source.Error{Reason: source.ReasonFailed, Repo: t.from.cred.Mask(t.repo.url), Message: t.from.cred.Mask(err.Error()), Err: err}
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// ReadFile gives a file's content; symbolic links are followed inside the tree.
func (t *tree) ReadFile(name string) ([]byte, error) {
	p, err := t.walk(name, true)
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	if p.fileMode().IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	raw, err := p.content(name)
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	return raw, nil
}

// content reads a file, which the caller may change.
func (p place) content(name string) ([]byte, error) {
	raw, err := p.in.blob(p.id, p.in.source.opts.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	if isPointer(raw) {
		return p.in.smudge(name, raw)
	}
	return bytes.Clone(raw), nil
}

// ReadDir lists a directory, sorted by name.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	p, err := t.walk(name, true)
	if err != nil {
		return nil, t.fail("readdir", name, err)
	}
	d, in, at, err := p.open()
	if err != nil {
		return nil, t.fail("readdir", name, err)
	}
	out := make([]fs.DirEntry, len(d.entries))
	for i, e := range d.entries {
		out[i] = dirEntry{place{entry: e, in: in, path: path.Join(at, e.name)}}
	}
	return out, nil
}

// Stat describes what a path leads to.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	p, err := t.walk(name, true)
	if err != nil {
		return nil, t.fail("stat", name, err)
	}
	info, err := p.info(path.Base(name))
	if err != nil {
		return nil, t.fail("stat", name, err)
	}
	return info, nil
}

// Lstat describes a path, and a symbolic link itself.
func (t *tree) Lstat(name string) (fs.FileInfo, error) {
	p, err := t.walk(name, false)
	if err != nil {
		return nil, t.fail("lstat", name, err)
	}
	info, err := p.info(path.Base(name))
	if err != nil {
		return nil, t.fail("lstat", name, err)
	}
	return info, nil
}

// ReadLink gives what a symbolic link points to, wherever that is.
func (t *tree) ReadLink(name string) (string, error) {
	p, err := t.walk(name, false)
	if err != nil {
		return "", t.fail("readlink", name, err)
	}
	if !p.isLink() {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := p.target()
	if err != nil {
		return "", t.fail("readlink", name, err)
	}
	return target, nil
}

// Open opens a file or directory.
func (t *tree) Open(name string) (fs.File, error) {
	p, err := t.walk(name, true)
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	info, err := p.info(path.Base(name))
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	if info.IsDir() {
		entries, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openDir{name: name, info: info, entries: entries}, nil
	}
	raw, err := t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: bytes.NewReader(raw), info: fileInfo{name: info.Name(), mode: info.Mode(), size: int64(len(raw)), when: info.ModTime()}}, nil
}

func (p place) info(name string) (fs.FileInfo, error) {
	info := fileInfo{name: name, mode: p.fileMode()}
	if c, err := p.in.commit(); err == nil {
		info.when = c.date
	}
	if info.mode.IsDir() {
		return info, nil
	}
	if raw, ok := p.in.source.blobs.get(p.id); ok {
		info.size = int64(len(raw))
		return info, nil
	}
	err := p.in.healed(func() (err error) {
		info.size, err = p.in.repo.mirror.objects.size(p.id, "blob")
		return err
	})
	return info, err
}

type dirEntry struct{ place }

func (e dirEntry) Name() string      { return e.name }
func (e dirEntry) IsDir() bool       { return e.fileMode().IsDir() }
func (e dirEntry) Type() fs.FileMode { return e.fileMode().Type() }
func (e dirEntry) Info() (fs.FileInfo, error) {
	info, err := e.info(e.name)
	if err != nil {
		return nil, e.in.fail("lstat", e.path, err)
	}
	return info, nil
}

func (e dirEntry) String() string { return fs.FormatDirEntry(e) }

type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
	when time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.when }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) String() string     { return fs.FormatFileInfo(i) }

type openFile struct {
	*bytes.Reader
	info fileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	name    string
	info    fs.FileInfo
	entries []fs.DirEntry
	at      int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.entries[d.at:]
	if n <= 0 {
		d.at = len(d.entries)
		return slices.Clone(rest), nil
	}
	if len(rest) == 0 {
		return nil, io.EOF
	}
	rest = rest[:min(n, len(rest))]
	d.at += len(rest)
	return slices.Clone(rest), nil
}
