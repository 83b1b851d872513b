package adopt

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// Overlay gives a tree with some files changed. It has identities of its own
// wherever something is changed.
func Overlay(tree source.Tree, files map[string][]byte) source.Tree {
	if len(files) == 0 {
		return tree
	}
	there := map[string][]byte{}
	for name, content := range files {
		if content != nil {
			there[name] = content
		}
	}
	return &overlay{Tree: tree, files: files, above: memtree.FromFiles(there, tree.Revision())}
}

type overlay struct {
	source.Tree
	files map[string][]byte
	above source.Tree
}

func (o *overlay) gone(name string) error {
	if content, ok := o.files[name]; ok && content == nil {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// in tells whether a file is one of the changed ones.
func (o *overlay) in(name string) bool { return o.files[name] != nil }

// Open opens a changed file, or one of the tree below.
func (o *overlay) Open(name string) (fs.File, error) {
	if err := o.gone(name); err != nil {
		return nil, err
	}
	if o.in(name) || o.only(name) {
		return o.above.Open(name)
	}
	return o.Tree.Open(name)
}

// only tells whether a directory is there only by what was added.
func (o *overlay) only(name string) bool {
	if _, err := o.Tree.Stat(name); err == nil {
		return false
	}
	_, err := o.above.Stat(name)
	return err == nil
}

// ReadFile reads a changed file, or one of the tree below.
func (o *overlay) ReadFile(name string) ([]byte, error) {
	if err := o.gone(name); err != nil {
		return nil, err
	}
	if o.in(name) {
		return o.above.ReadFile(name)
	}
	return o.Tree.ReadFile(name)
}

// Stat is of a changed file, or of one of the tree below.
func (o *overlay) Stat(name string) (fs.FileInfo, error) {
	if err := o.gone(name); err != nil {
		return nil, err
	}
	if o.in(name) || o.only(name) {
		return o.above.Stat(name)
	}
	return o.Tree.Stat(name)
}

// ReadDir lists what both trees hold.
func (o *overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	below, err := o.Tree.ReadDir(name)
	above, aboveErr := o.above.ReadDir(name)
	if err != nil {
		if aboveErr == nil {
			return above, nil
		}
		return nil, err
	}
	all := map[string]fs.DirEntry{}
	for _, e := range below {
		if o.gone(path.Join(name, e.Name())) == nil {
			all[e.Name()] = e
		}
	}
	for _, e := range above {
		if _, known := all[e.Name()]; !known || !e.IsDir() {
			all[e.Name()] = e
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) }), nil
}

// ID is another one wherever something is changed.
func (o *overlay) ID(name string) string {
	id := o.Tree.ID(name)
	h, touched := sha256.New(), false
	fmt.Fprintf(h, "%s\n", id)
	for _, changed := range slices.Sorted(maps.Keys(o.files)) {
		if name != "." && changed != name && !strings.HasPrefix(changed, name+"/") {
			continue
		}
		touched = true
		fmt.Fprintf(h, "%q %t %x\n", changed, o.files[changed] == nil, sha256.Sum256(o.files[changed]))
	}
	if !touched {
		return id
	}
	if _, err := o.Stat(name); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))[:40]
}
