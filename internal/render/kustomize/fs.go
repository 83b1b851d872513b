package kustomize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// maxReads bounds how many files one build may read, counting repetitions, and
// maxVisits how often it may come to one kustomization: bases that are named
// twice on each level multiply.
const (
	maxReads  = 20_000
	maxVisits = 256
)

// maxPath bounds a path's length, which grows where a link leads to itself.
const maxPath = 4_096

// remoteDir is where fetched repositories appear, below the root.
const remoteDir = ".plumb-remote"

var errReadOnly = errors.New("the tree is read-only")

// treeFS gives kustomize the files of a tree, rooted at "/", after it has
// checked each kustomization that is read.
type treeFS struct {
	ctx       context.Context
	req       *render.Request
	tree      source.Tree
	limits    render.Limits
	root      string // of the build
	ownSchema bool
	edit      func(*types.Kustomization) error
	remotes   []remote
	files     map[string][]byte // fetched by URL, or made here
	reads     int
	visits    map[string]int
	bytes     int64
	// failed is the first refusal. It is kept here because kustomize tries
	// further, and reports what it met last.
	failed error
}

// remote is a fetched repository.
type remote struct {
	repo, revision string
	tree           source.Tree
}

func newTreeFS(ctx context.Context, req *render.Request, root string, ownSchema bool) *treeFS {
	return &treeFS{
		ctx: ctx, req: req, tree: req.Input.Tree, limits: req.Limits.OrDefault(), root: root,
		ownSchema: ownSchema, files: map[string][]byte{}, visits: map[string]int{},
	}
}

// at gives the tree that holds a path, and the path in it.
func (f *treeFS) at(p string) (source.Tree, string) {
	p = render.Clean(p)
	rest, ok := strings.CutPrefix(p, remoteDir+"/")
	if !ok {
		return f.tree, p
	}
	number, in, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(f.remotes) {
		return f.tree, p
	}
	return f.remotes[n].tree, render.Clean(in)
}

// shown is how a path is told to the user.
func (f *treeFS) shown(p string) string {
	if t, in := f.at(p); t != f.tree {
		for _, r := range f.remotes {
			if r.tree == t {
				return r.repo + "//" + in
			}
		}
	}
	return render.Clean(p)
}

func (f *treeFS) stat(p string) (fs.FileInfo, error) {
	if len(p) > maxPath {
		return nil, fmt.Errorf("path of %d bytes (a link that leads to itself?): %w", len(p), render.ErrTooMuch)
	}
	if data, ok := f.files[render.Clean(p)]; ok {
		return fileInfo{name: path.Base(p), size: int64(len(data))}, nil
	}
	t, in := f.at(p)
	return t.Stat(in)
}

// read reads a file without looking at what it says.
func (f *treeFS) read(p string) ([]byte, error) {
	if data, ok := f.files[render.Clean(p)]; ok {
		return data, nil
	}
	t, in := f.at(p)
	return render.ReadFile(t, in, f.limits.FileBytes)
}

func (f *treeFS) fail(err error) error {
	if f.failed == nil {
		f.failed = err
	}
	return err
}

// ReadFile reads a file, and refuses what must not reach kustomize.
func (f *treeFS) ReadFile(p string) ([]byte, error) {
	if err := f.ctx.Err(); err != nil {
		return nil, f.fail(context.Cause(f.ctx))
	}
	if f.failed != nil {
		return nil, f.failed
	}
	if f.reads++; f.reads > maxReads {
		return nil, f.fail(render.Errorf(f.root, 0, "the build reads more than %d files (do bases multiply?): %w", maxReads, render.ErrTooMuch))
	}
	if _, err := f.stat(p); err != nil {
		return nil, err
	}
	data, err := f.read(p)
	if err != nil {
		return nil, f.fail(err)
	}
	if f.bytes += int64(len(data)); f.bytes > f.limits.TotalBytes {
		return nil, f.fail(render.Errorf(f.shown(p), 0, "the build reads more than %d bytes: %w", f.limits.TotalBytes, render.ErrTooMuch))
	}
	data, err = f.vet(p, data)
	if err != nil {
		return nil, f.fail(err)
	}
	return data, nil
}

// vet checks what a file says, and gives what kustomize is to read instead.
func (f *treeFS) vet(p string, data []byte) ([]byte, error) {
	shown := f.shown(p)
	// Whatever its name, kustomize may be told to take it for resources.
	if err := render.CheckAliases(shown, data, f.limits.TotalBytes); err != nil {
		return nil, err
	}
	if err := refuseRemotePlugin(shown, data); err != nil {
		return nil, err
	}
	if !render.IsKustomization(path.Base(p)) {
		return data, nil
	}
	if f.visits[p]++; f.visits[p] > maxVisits {
		return nil, render.Errorf(shown, 0, "the build comes to this kustomization more than %d times (do bases multiply?): %w", maxVisits, render.ErrTooMuch)
	}
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		return nil, kustomizationError(shown, data, err)
	}
	k.FixKustomization()
	if render.Clean(path.Dir(p)) == f.root {
		if err := f.edit(&k); err != nil {
			return nil, render.At(shown, 0, err)
		}
		if len(f.req.Inputs) > 0 {
			text, err := inputs(f.req.Inputs)
			if err != nil {
				return nil, render.At(shown, 0, err)
			}
			f.files[render.Clean(f.root+"/"+inputsFile)] = text
			k.Resources = append([]string{inputsFile}, k.Resources...)
		}
	}
	c := checker{fs: f, file: shown, dir: render.Clean(path.Dir(p)), data: data}
	if err := c.check(&k); err != nil {
		return nil, err
	}
	out, err := yaml.Marshal(&k)
	return out, render.At(shown, 0, err)
}

// CleanedAbs splits a path into directory and file.
func (f *treeFS) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	p = absolute(p)
	info, err := f.stat(p)
	if err != nil {
		return "", "", fmt.Errorf("%q: %w", render.Clean(p), plain(err))
	}
	if info.IsDir() {
		return filesys.ConfirmedDir(p), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(p)), path.Base(p), nil
}

func plain(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// IsDir says whether there is a directory.
func (f *treeFS) IsDir(p string) bool {
	info, err := f.stat(p)
	return err == nil && info.IsDir()
}

// Exists says whether there is anything.
func (f *treeFS) Exists(p string) bool {
	_, err := f.stat(p)
	return err == nil
}

// ReadDir lists the names in a directory.
func (f *treeFS) ReadDir(p string) ([]string, error) {
	t, in := f.at(p)
	entries, err := t.ReadDir(in)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Glob lists the paths that match a pattern.
func (f *treeFS) Glob(pattern string) ([]string, error) {
	t, in := f.at(pattern)
	found, err := fs.Glob(t, in)
	for i := range found {
		found[i] = absolute(strings.TrimSuffix(render.Clean(pattern), in) + found[i])
	}
	return found, err
}

// Walk visits a directory.
func (f *treeFS) Walk(p string, visit filepath.WalkFunc) error {
	t, in := f.at(p)
	prefix := strings.TrimSuffix(absolute(p), absolute(in))
	return fs.WalkDir(t, in, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return visit(prefix+absolute(name), nil, err)
		}
		info, err := d.Info()
		return visit(prefix+absolute(name), info, err)
	})
}

// Open opens a file for reading.
func (f *treeFS) Open(p string) (filesys.File, error) {
	data, err := f.ReadFile(p)
	if err != nil {
		return nil, err
	}
	return &file{Reader: bytes.NewReader(data), info: fileInfo{name: path.Base(p), size: int64(len(data))}}, nil
}

// The tree is never written to.

func (*treeFS) Create(string) (filesys.File, error) { return nil, errReadOnly }
func (*treeFS) Mkdir(string) error                  { return errReadOnly }
func (*treeFS) MkdirAll(string) error               { return errReadOnly }
func (*treeFS) RemoveAll(string) error              { return errReadOnly }
func (*treeFS) WriteFile(string, []byte) error      { return errReadOnly }

type file struct {
	*bytes.Reader
	info os.FileInfo
}

func (*file) Write([]byte) (int, error)    { return 0, errReadOnly }
func (*file) Close() error                 { return nil }
func (f *file) Stat() (os.FileInfo, error) { return f.info, nil }
