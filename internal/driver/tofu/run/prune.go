package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// PruneStore removes packages of providers from a shared cache and its store that no
// folder uses and that were put there before a time. data are the Data of all
// folders. Init, which alone makes folders use packages, waits meanwhile.
func PruneStore(ctx context.Context, shared string, data []string, before time.Time) error {
	if _, err := os.Stat(shared); err != nil {
		return nil // there is nothing to remove
	}
	unlock, err := lockCache(ctx, shared)
	if err != nil {
		return err
	}
	defer unlock()
	used := map[string]bool{}
	for _, dir := range data {
		links, err := filepath.Glob(filepath.Join(dir, "providers", "*", "*", "*", "*", "*"))
		if err != nil {
			return fmt.Errorf("look for providers in use: %w", err)
		}
		for _, link := range links {
			if target, err := filepath.EvalSymlinks(link); err == nil {
				used[target], used[filepath.Dir(target)] = true, true
			}
		}
	}
	store, err := filepath.EvalSymlinks(storeOf(shared))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for providers: %w", err)
	}
	packages, err := filepath.Glob(filepath.Join(store, "*", "*", "*", "*", "*", "*"))
	if err != nil {
		return fmt.Errorf("look for providers: %w", err)
	}
	for _, pack := range packages {
		info, err := os.Lstat(pack)
		if err != nil || used[pack] || !info.ModTime().Before(before) {
			continue
		}
		// What init would link to again goes with the last of what was made of it.
		if name := strings.TrimPrefix(filepath.Dir(pack), store); !used[filepath.Dir(pack)] {
			err = os.RemoveAll(filepath.Join(cacheOf(shared), name))
		}
		if err = errors.Join(err, os.RemoveAll(pack)); err != nil {
			return fmt.Errorf("remove a provider that is not used: %w", err)
		}
		removeEmpty(filepath.Dir(pack), store)
	}
	return nil
}

// removeEmpty removes a folder, and those above it up to another, that are empty.
func removeEmpty(dir, top string) {
	for ; dir != top && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
	}
}

// Idle tells whether nothing is lost with a folder: no run is under way in it, and
// none has left a state that is kept nowhere else. stored tells of a state file's
// content whether it is.
func Idle(f Folder, stored func([]byte) bool) bool {
	if _, running := Running(f); running {
		return false
	}
	if left, err := filepath.Glob(filepath.Join(f.errored(), "*.tfstate")); err != nil || len(left) > 0 {
		return false
	}
	idle := true
	err := filepath.WalkDir(filepath.Join(f.Path, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".tfstate" {
			return err // what is no file is no state, whatever a program has called it
		}
		text, err := ReadOwn(path)
		idle = idle && (len(text) == 0 || stored(text))
		return err
	})
	return idle && (err == nil || errors.Is(err, fs.ErrNotExist))
}
