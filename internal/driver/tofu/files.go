package tofu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// write replaces the files of the module in its folder. Files that the last one
// had and this one has not are removed; what runs leave stays.
func (m *module) write(s *spec) error {
	if err := os.MkdirAll(m.path("module"), 0o700); err != nil {
		return fmt.Errorf("write the module: %w", err)
	}
	// What the module has run may have left links there, and worse than links.
	root, err := os.OpenRoot(m.path("module"))
	if err != nil {
		return fmt.Errorf("write the module: %w", err)
	}
	defer func() { _ = root.Close() }()
	var before []string
	if text, err := os.ReadFile(m.path("files.json")); err == nil {
		_ = json.Unmarshal(text, &before) // at worst, old files stay
	}
	for name, text := range s.Files {
		if err := place(root, filepath.FromSlash(name), text); err != nil {
			return fmt.Errorf("write the module: %w", err)
		}
	}
	for _, name := range before {
		if _, kept := s.Files[name]; !kept && filepath.IsLocal(filepath.FromSlash(name)) {
			if err := root.Remove(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("write the module: %w", err)
			}
		}
	}
	names, err := json.Marshal(slices.Sorted(maps.Keys(s.Files)))
	if err != nil {
		return fmt.Errorf("write the module: %w", err)
	}
	return writeFile(m.path("files.json"), names)
}

// place writes a file of the module, unless it is there.
func place(root *os.Root, name string, text []byte) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().IsRegular():
		if have, err := root.ReadFile(name); err == nil && string(have) == string(text) {
			return nil
		}
	default:
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return root.WriteFile(name, text, 0o600)
}

// writeFile replaces a file at once, so that there is always a whole one.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// mostRead bounds what is read of a file that a module could have put there.
const mostRead = 256 << 20

// errNotRegular is returned for what is no file, or too long.
var errNotRegular = errors.New("it is not a regular file, or too long")

// readRegular reads a file that a module could have put there, also just now: no
// link out of the folder, and nothing that never comes to an end.
func readRegular(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > mostRead {
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), errNotRegular)
	}
	return io.ReadAll(io.LimitReader(f, mostRead))
}
