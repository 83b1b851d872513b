package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/plumb-dev/plumb/internal/source"
)

// dirTree is a directory on this machine as a tree. Symbolic links are followed
// inside of it only.
type dirTree struct {
	readable
	root *os.Root
	dir  string
}

// readable is what an os.Root's file system can do.
type readable interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	fs.ReadLinkFS
}

var _ source.Tree = (*dirTree)(nil)

// openTree opens the tree that a directory is part of, which is that of the Git
// repository around it, so that a kustomization finds its bases. It gives the
// directory's path in the tree.
func openTree(dir string) (*dirTree, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, "", fmt.Errorf("read the directory: %w", err)
	}
	if !info.IsDir() {
		return nil, "", fmt.Errorf("%s is a file: name the directory that it is in", dir)
	}
	top := dir
	for parent := dir; ; parent = filepath.Dir(parent) {
		if exists(filepath.Join(parent, ".git")) {
			top = parent
			break
		}
		if parent == filepath.Dir(parent) {
			break
		}
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, "", fmt.Errorf("open the directory: %w", err)
	}
	within, err := filepath.Rel(top, dir)
	if err != nil {
		return nil, "", err
	}
	return &dirTree{readable: root.FS().(readable), root: root, dir: top}, filepath.ToSlash(within), nil
}

func (t *dirTree) Close() error { return t.root.Close() }

// Revision says that the content is not from a commit.
func (t *dirTree) Revision() string { return "local" }

// ID is a digest of the names and contents at a path.
func (t *dirTree) ID(name string) string {
	sum := sha256.New()
	err := fs.WalkDir(t.readable, path.Clean(name), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		fmt.Fprintf(sum, "%s %s\n", p, e.Type())
		if e.Type().IsRegular() {
			content, err := t.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, "%d\n%s\n", len(content), content)
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}
