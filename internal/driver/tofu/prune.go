package tofu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

const (
	// tidyEvery is how often it is looked for what is not used any more. The first
	// time after a start only providers are: which modules there are is known later.
	tidyEvery = 24 * time.Hour
	// unusedFor is how long a module's folder, and a provider, must not have been
	// used to be removed; unusedPreview, the same where folders are for previews.
	unusedFor, unusedPreview = 30 * 24 * time.Hour, 7 * 24 * time.Hour
)

// tidy removes what is not used any more, now and then.
func (d *Driver) tidy() {
	folders := d.o.Shared
	for {
		if err := d.prune(d.life, time.Now(), folders); err != nil && d.life.Err() == nil {
			d.o.Log.Warn("what is not used any more is not removed", "error", err)
		}
		select {
		case <-d.life.Done():
			return
		case <-time.After(tidyEvery):
			folders = true
		}
	}
}

func (d *Driver) prune(ctx context.Context, now time.Time, folders bool) error {
	before := now.Add(-unusedFor)
	if d.o.Shared {
		before = now.Add(-unusedPreview)
	}
	entries, err := os.ReadDir(filepath.Join(d.o.Dir, "apps"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for folders: %w", err)
	}
	var data []string
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		dir := filepath.Join(d.o.Dir, "apps", e.Name())
		if strings.HasPrefix(e.Name(), goneMark) { // a process was killed while it was removed
			errs = append(errs, os.RemoveAll(dir))
			continue
		}
		if folders {
			errs = append(errs, d.pruneFolder(dir, before))
		}
		data = append(data, run.Folder{Path: filepath.Join(dir, "run")}.Data())
	}
	if folders {
		errs = append(errs, d.pruneTombstones(before))
	}
	errs = append(errs, run.PruneStore(ctx, filepath.Join(d.o.Dir, "providers"), data, before))
	return errors.Join(errs...)
}

// goneMark begins the names of folders that are being removed.
const goneMark = ".gone-"

// pruneFolder removes a module's folder that was not used for long, and with which
// nothing is lost.
func (d *Driver) pruneFolder(dir string, before time.Time) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || !info.ModTime().Before(before) {
		return nil // it is gone by now
	}
	if d.o.Shared {
		l := flock.New(d.lockOf(filepath.Base(dir)))
		if got, err := l.TryLock(); err != nil || !got {
			return err
		}
		defer func() { _ = l.Unlock() }()
	}
	gone := filepath.Join(filepath.Dir(dir), goneMark+strconv.FormatUint(rand.Uint64(), 36)) //nolint:gosec // a name
	if moved, err := d.moveUnused(dir, gone); err != nil || !moved {
		return err
	}
	d.o.Log.Info("removing a working folder that was not used for long", "folder", filepath.Base(dir))
	m := &module{d: d, dir: dir}
	return errors.Join(os.RemoveAll(gone), os.RemoveAll(m.temp()))
}

// moveUnused moves a folder aside, unless somebody uses it.
func (d *Driver) moveUnused(dir, to string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.modules {
		if m.dir == dir {
			return false, nil
		}
	}
	m := &module{d: d, dir: dir}
	if !m.disposable() {
		return false, nil
	}
	if err := os.Rename(dir, to); err != nil {
		return false, fmt.Errorf("remove a folder: %w", err)
	}
	return true, nil
}

// disposable tells whether nothing is lost with a module's folder.
func (m *module) disposable() bool {
	for _, name := range []string{"lock", "saving", "aside"} {
		if _, err := os.Stat(m.path(name)); !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	return run.Idle(run.Folder{Path: m.path("run")}, m.saved)
}

func (d *Driver) pruneTombstones(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(d.o.Dir, "discarded"))
	if err != nil {
		return nil // there are none
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := map[string]bool{}
	for _, m := range d.modules {
		known[filepath.Base(m.dir)] = true
	}
	var errs []error
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !known[e.Name()] && info.ModTime().Before(before) {
			errs = append(errs, os.Remove(filepath.Join(d.o.Dir, "discarded", e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (d *Driver) lockOf(folder string) string { return filepath.Join(d.o.Dir, "locks", folder) }

// hold keeps other processes from a folder, where several share it, until the
// driver is closed or the module is forgotten; it waits for one that has it.
func (m *module) hold(ctx context.Context) error {
	if !m.d.o.Shared || m.held != nil {
		return nil
	}
	path := m.d.lockOf(filepath.Base(m.dir))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("lock the working folder: %w", err)
	}
	l := flock.New(path, flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return fmt.Errorf("wait for another command that looks at the same Application: %w", err)
	}
	m.held = l
	return nil
}

// release lets others have the folder.
func (m *module) release() {
	if m.held != nil {
		_ = m.held.Unlock()
		m.held = nil
	}
}
