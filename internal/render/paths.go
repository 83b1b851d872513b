package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
)

// ErrOutside is wrapped where a reference leads out of the repository.
var ErrOutside = errors.New("leads out of the repository")

// Resolve gives the path in the tree that ref means where it is written in the
// directory dir: relative to it, or with a leading slash to the root.
func Resolve(dir, ref string) (string, error) {
	p := ref
	if !strings.HasPrefix(ref, "/") {
		p = dir + "/" + ref
	}
	// Cleaning against a root would hide an escape, so count the steps.
	depth := 0
	for _, part := range strings.Split(p, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", fmt.Errorf("%q %w", ref, ErrOutside)
			}
		default:
			depth++
		}
	}
	return Clean(p), nil
}

// Clean gives the path in the form that fs.FS wants: no leading slash, and "."
// for the root.
func Clean(p string) string {
	p = path.Clean("/" + p)[1:]
	if p == "" {
		return "."
	}
	return p
}

// Exists says whether there is a file or directory at a path.
func Exists(tree source.Tree, p string) bool {
	_, err := tree.Stat(p)
	return err == nil
}

// IsDir says whether there is a directory at a path.
func IsDir(tree source.Tree, p string) bool {
	info, err := tree.Stat(p)
	return err == nil && info.IsDir()
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(tree source.Tree, p string, limit int64) ([]byte, error) {
	info, err := tree.Stat(p)
	if err != nil {
		return nil, fileError(p, err)
	}
	if info.IsDir() {
		return nil, Errorf(p, 0, "is a directory")
	}
	if info.Size() > limit {
		return nil, Errorf(p, 0, "file has %d bytes, more than the limit of %d: %w", info.Size(), limit, ErrTooMuch)
	}
	data, err := tree.ReadFile(p)
	if err != nil {
		return nil, fileError(p, err)
	}
	return data, nil
}

// fileError says the path once, whatever the tree says.
func fileError(p string, err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fs.ErrNotExist
	}
	return At(p, 0, err)
}
