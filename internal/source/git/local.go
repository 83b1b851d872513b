package git

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/plumb-dev/plumb/internal/source"
)

// localPath gives the directory that a URL means, if it is on this machine.
func localPath(effective string) (string, bool) {
	if strings.HasPrefix(strings.ToLower(effective), "file://") {
		u, err := url.Parse(effective)
		if err != nil || u.Host != "" && u.Host != "localhost" {
			return "", false
		}
		return u.Path, u.Path != ""
	}
	if strings.Contains(effective, "://") {
		return "", false
	}
	if _, _, scp := source.SplitSCP(effective); scp {
		return "", false
	}
	return effective, effective != ""
}

// gitDirs gives the directories in which a local repository keeps its
// references: one, or two for a linked work tree.
func gitDirs(path string) []string {
	for _, candidate := range []string{filepath.Join(path, ".git"), path + ".git", path} {
		info, err := os.Stat(candidate)
		if err != nil {
			continue
		}
		if !info.IsDir() {
			raw, err := os.ReadFile(candidate)
			target, ok := strings.CutPrefix(strings.TrimSpace(string(raw)), "gitdir: ")
			if err != nil || !ok {
				continue
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(path, target)
			}
			candidate = target
		}
		if _, err := os.Stat(filepath.Join(candidate, "HEAD")); err != nil {
			continue
		}
		dirs := []string{candidate}
		if raw, err := os.ReadFile(filepath.Join(candidate, "commondir")); err == nil {
			common := strings.TrimSpace(string(raw))
			if !filepath.IsAbs(common) {
				common = filepath.Join(candidate, common)
			}
			dirs = append(dirs, common)
		}
		return dirs
	}
	return nil
}

// localWatch calls changed soon after the references of a repository on this
// machine changed.
type localWatch struct {
	path     string
	debounce time.Duration
	changed  func()

	mu      sync.Mutex
	watcher *fsnotify.Watcher
	done    chan struct{}
}

// maxWatched bounds the directories watched for one repository; beyond, the
// poll finds what they miss.
const maxWatched = 2048

func newLocalWatch(path string, debounce time.Duration, changed func()) *localWatch {
	return &localWatch{path: path, debounce: debounce, changed: changed}
}

func (l *localWatch) running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watcher != nil
}

// start begins the watch, unless it runs or there is nothing to watch yet.
func (l *localWatch) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watcher != nil {
		return
	}
	dirs := gitDirs(l.path)
	if len(dirs) == 0 {
		return
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return // out of watches: the poll goes on
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			_ = w.Close()
			return
		}
		for _, refs := range []string{"refs", "reftable"} {
			addAll(w, filepath.Join(dir, refs))
		}
	}
	l.watcher, l.done = w, make(chan struct{})
	go l.run(w, dirs, l.done)
}

func (l *localWatch) close() {
	l.mu.Lock()
	w, done := l.watcher, l.done
	l.watcher = nil
	l.mu.Unlock()
	if w != nil {
		_ = w.Close()
		<-done
	}
}

// addAll watches a directory and those in it. What cannot be watched is left
// to the poll.
func addAll(w *fsnotify.Watcher, root string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // left to the poll
		}
		if len(w.WatchList()) >= maxWatched {
			return filepath.SkipAll
		}
		_ = w.Add(path)
		return nil
	})
}

func (l *localWatch) run(w *fsnotify.Watcher, dirs []string, done chan struct{}) {
	defer close(done)
	// The timer runs from the first change, not the last, so that a repository
	// that changes all the time is noticed too.
	var quiet <-chan time.Time
	wait := func() {
		if quiet == nil {
			quiet = time.After(l.debounce)
		}
	}
	for {
		select {
		case event, ok := <-w.Events:
			if !ok {
				return
			}
			if l.gone(w, event, dirs) {
				l.changed()
				return
			}
			if matters(event, dirs) {
				if event.Has(fsnotify.Create) {
					addAll(w, event.Name)
				}
				wait()
			}
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
			wait() // events were lost: ask
		case <-quiet:
			quiet = nil
			l.changed()
		}
	}
}

// gone ends the watch when the repository itself was removed or renamed: the
// poll starts it again when there is one.
func (l *localWatch) gone(w *fsnotify.Watcher, event fsnotify.Event, dirs []string) bool {
	if !event.Has(fsnotify.Remove) && !event.Has(fsnotify.Rename) {
		return false
	}
	for _, dir := range dirs {
		if filepath.Clean(event.Name) != filepath.Clean(dir) {
			continue
		}
		l.mu.Lock()
		if l.watcher == w {
			l.watcher = nil
		}
		l.mu.Unlock()
		_ = w.Close()
		return true
	}
	return false
}

// matters tells whether an event is about references.
func matters(event fsnotify.Event, dirs []string) bool {
	if event.Op == fsnotify.Chmod || strings.HasSuffix(event.Name, ".lock") {
		return false
	}
	for _, dir := range dirs {
		if filepath.Dir(event.Name) != filepath.Clean(dir) {
			continue
		}
		switch filepath.Base(event.Name) {
		case "HEAD", "packed-refs", "refs", "reftable":
			return true
		}
		return false
	}
	return true
}
