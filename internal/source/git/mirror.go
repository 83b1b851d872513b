package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"github.com/plumb-dev/plumb/internal/source"
)

// mirror is one repository's bare copy on disk: the wanted commits only, each
// kept by the reference refs/plumb/<id>, which git writes last, so that a
// commit with a reference is whole. Writers hold a lock that other processes
// see; readers hold none.
type mirror struct {
	dir     string
	repo    string
	runner  *runner
	timeout time.Duration
	objects *catFile
	ctx     context.Context   // ends with the source
	start   func(func()) bool // runs a task that the source waits for
	fetches *atomic.Int64
	whole   bool // with the history, but without what its commits hold

	mu      sync.Mutex
	waiting []*want
	busy    bool
	used    map[string]time.Time // commits asked for in this process
	since   int                  // fetches since the last maintenance
	reset   time.Time            // when the mirror was last made anew
	healing sync.Mutex
}

// want is a commit that somebody waits for.
type want struct {
	id     string
	ref    string // where it was seen, "" for a bare commit id
	remote remote
	done   chan struct{}
	err    error
}

// remote is how a repository is reached with certain credentials.
type remote struct {
	url       string // as written; git applies the user's insteadOf
	effective string
	cred      source.Credentials
	key       string // the credentials' fingerprint
	tmp       string
}

// The bounds of a mirror.
const (
	keptCommits     = 24               // commits kept by a reference
	keptFor         = 15 * time.Minute // how long one that was just used is kept anyway
	maintainAfter   = 64               // fetches between maintenance
	resetEvery      = 30 * time.Second
	maintainTimeout = 15 * time.Minute
)

func (m *mirror) keepRef(id string) string { return filepath.Join(m.dir, "refs", "plumb", id) }

// has tells whether a commit is there, whole.
func (m *mirror) has(id string) bool {
	_, err := os.Stat(m.keepRef(id))
	return err == nil
}

// ensure brings a commit into the mirror. All who want something of one
// repository at one time share a fetch.
func (m *mirror) ensure(ctx context.Context, id, ref string, from remote) error {
	m.mu.Lock()
	m.used[id] = time.Now()
	if m.has(id) {
		m.mu.Unlock()
		return nil
	}
	w := m.join(id, ref, from)
	m.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the fetch of %s: %w", from.cred.Mask(m.repo), ctx.Err())
	}
}

// join adds a want, or finds the same one. m.mu is held.
func (m *mirror) join(id, ref string, from remote) *want {
	for _, w := range m.waiting {
		if w.id == id && w.remote.key == from.key {
			return w
		}
	}
	w := &want{id: id, ref: ref, remote: from, done: make(chan struct{})}
	m.waiting = append(m.waiting, w)
	if !m.busy {
		m.busy = m.start(m.work)
	}
	if !m.busy {
		w.err = errClosed
		close(w.done)
	}
	return w
}

// work fetches until nobody waits.
func (m *mirror) work() {
	for {
		m.mu.Lock()
		batch := nextBatch(m.waiting)
		if len(batch) == 0 {
			m.busy = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		m.fetchBatch(batch)
		m.mu.Lock()
		m.waiting = without(m.waiting, batch)
		m.mu.Unlock()
		for _, w := range batch {
			close(w.done)
		}
		m.maintainIfDue()
	}
}

// nextBatch takes the wants that share the first one's credentials.
func nextBatch(waiting []*want) (batch []*want) {
	for _, w := range waiting {
		if w.remote.key == waiting[0].remote.key && len(batch) < 100 {
			batch = append(batch, w)
		}
	}
	return batch
}

func without(all, gone []*want) []*want {
	var rest []*want
	for _, w := range all {
		keep := true
		for _, g := range gone {
			keep = keep && g != w
		}
		if keep {
			rest = append(rest, w)
		}
	}
	return rest
}

// fetchBatch brings all of the batch, setting each one's error.
func (m *mirror) fetchBatch(batch []*want) {
	ctx, cancel := context.WithTimeout(m.ctx, 3*m.timeout)
	defer cancel()
	fail := func(err error) {
		for _, w := range batch {
			w.err = explain(m.repo, w.remote.cred, err)
		}
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		fail(err)
		return
	}
	defer unlock()
	if err := m.prepare(ctx, batch[0].id); err != nil {
		fail(err)
		return
	}
	access, err := newAccess(batch[0].remote.tmp, batch[0].remote.effective, batch[0].remote.cred)
	if err != nil {
		fail(err)
		return
	}
	defer access.close()
	if len(batch) > 1 && m.fetchShallow(ctx, access, batch) == nil {
		return
	}
	for _, w := range batch {
		w.err = explain(m.repo, w.remote.cred, m.fetchOne(ctx, access, w))
	}
}

// fetchOne tries the cheap way first, heals a broken mirror, and takes the
// whole history where the server gives nothing less.
func (m *mirror) fetchOne(ctx context.Context, a *access, w *want) error {
	if m.has(w.id) { // another process was faster
		return nil
	}
	err := m.fetchShallow(ctx, a, []*want{w})
	if err != nil && broken.MatchString(err.Error()) {
		if again := m.renew(ctx, w.id); again != nil {
			return again
		}
		err = m.fetchShallow(ctx, a, []*want{w})
	}
	if err != nil && absent.MatchString(err.Error()) {
		return notThere(m.repo, a.cred, w.id)
	}
	if err != nil && refusedShallow.MatchString(err.Error()) {
		if full := m.fetchAll(ctx, a, w.remote.url); full != nil {
			return full
		}
		err = m.adopt(ctx, w.id)
		if err != nil {
			return notThere(m.repo, a.cred, w.id)
		}
	}
	return err
}

func (m *mirror) fetchShallow(ctx context.Context, a *access, batch []*want) error {
	args := []string{"--depth=1", "--", batch[0].remote.url}
	if m.whole {
		args[0] = "--filter=tree:0"
	}
	for _, w := range batch {
		args = append(args, "+"+w.id+":refs/plumb/"+w.id)
	}
	return m.fetch(ctx, a, args)
}

// fetchAll brings every branch and tag with its history.
func (m *mirror) fetchAll(ctx context.Context, a *access, url string) error {
	var args []string
	if _, err := os.Stat(filepath.Join(m.dir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	args = append(args, "--", url, "+refs/heads/*:refs/plumb-all/heads/*", "+refs/tags/*:refs/plumb-all/tags/*")
	return m.fetch(ctx, a, args)
}

func (m *mirror) fetch(ctx context.Context, a *access, args []string) error {
	m.fetches.Add(1)
	m.mu.Lock()
	m.since++
	m.mu.Unlock()
	fixed := []string{"fetch", "--quiet", "--force", "--no-tags", "--no-prune", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules"}
	_, err := m.runner.run(ctx, call{gitDir: m.dir, args: append(fixed, args...), access: a, timeout: m.timeout})
	return err
}

// adopt makes a commit that came with a full fetch one that is kept.
func (m *mirror) adopt(ctx context.Context, id string) error {
	_, err := m.runner.run(ctx, call{gitDir: m.dir, args: []string{"update-ref", "refs/plumb/" + id, id + "^{commit}"}, timeout: m.timeout})
	if err != nil {
		_, err = m.runner.run(ctx, call{gitDir: m.dir, args: []string{"update-ref", "refs/plumb/" + id, id}, timeout: m.timeout})
	}
	return err
}

// lengthen gives the full id of a shortened commit id, for which the whole
// history is needed.
func (m *mirror) lengthen(ctx context.Context, short string, hexLen int, from remote) (string, error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := m.prepare(ctx, strings.Repeat("0", hexLen)); err != nil {
		return "", err
	}
	parse := call{gitDir: m.dir, args: []string{"rev-parse", "--verify", "--quiet", short + "^{commit}"}, timeout: m.timeout}
	if out, err := m.runner.run(ctx, parse); err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	a, err := newAccess(from.tmp, from.effective, from.cred)
	if err != nil {
		return "", err
	}
	defer a.close()
	if err := m.fetchAll(ctx, a, from.url); err != nil {
		return "", err
	}
	out, err := m.runner.run(ctx, parse)
	return strings.TrimSpace(string(out)), err
}

// lock keeps other processes from writing to the mirror.
func (m *mirror) lock(ctx context.Context) (unlock func(), err error) {
	l := flock.New(m.dir + ".lock")
	if _, err := l.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock the mirror %s: %w", filepath.Base(m.dir), err)
	}
	now := time.Now()
	_ = os.Chtimes(m.dir+".lock", now, now) // Prune goes by it
	return func() { _ = l.Unlock() }, nil
}

// prepare makes the mirror ready to be written to, whatever a killed process
// left of it. The lock is held.
func (m *mirror) prepare(ctx context.Context, sample string) error {
	m.removeLeftovers()
	format := "sha1"
	if len(sample) == 64 {
		format = "sha256"
	}
	if m.usable(format) {
		return nil
	}
	return m.create(ctx, format)
}

// usable tells whether the mirror has its parts and the right kind of ids.
func (m *mirror) usable(format string) bool {
	for _, part := range []string{"HEAD", "config", "objects", "refs/plumb"} {
		if info, err := os.Stat(filepath.Join(m.dir, part)); err != nil || (!info.IsDir() && info.Size() == 0) {
			return false
		}
	}
	config, err := os.ReadFile(filepath.Join(m.dir, "config"))
	return err == nil && strings.Contains(strings.ToLower(string(config)), "objectformat = sha256") == (format == "sha256")
}

// create makes an empty mirror beside the place and moves it there, so that
// none is ever half made.
func (m *mirror) create(ctx context.Context, format string) error {
	fresh, err := os.MkdirTemp(filepath.Dir(m.dir), ".new-")
	if err != nil {
		return fmt.Errorf("create the mirror: %w", err)
	}
	defer os.RemoveAll(fresh)
	_, err = m.runner.run(ctx, call{args: []string{"init", "--quiet", "--bare", "--template=", "--initial-branch=plumb", "--object-format=" + format, "--", fresh}, timeout: m.timeout})
	if err != nil {
		return fmt.Errorf("create the mirror: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(fresh, "refs", "plumb"), 0o700); err != nil {
		return fmt.Errorf("create the mirror: %w", err)
	}
	if _, err := os.Stat(m.dir); err == nil {
		old := fresh + "-old"
		if err := os.Rename(m.dir, old); err != nil {
			return fmt.Errorf("put the broken mirror aside: %w", err)
		}
		defer os.RemoveAll(old)
	}
	if err := os.Rename(fresh, m.dir); err != nil {
		return fmt.Errorf("create the mirror: %w", err)
	}
	m.objects.restart()
	return nil
}

// renew replaces a broken mirror by an empty one.
func (m *mirror) renew(ctx context.Context, sample string) error {
	format := "sha1"
	if len(sample) == 64 {
		format = "sha256"
	}
	m.mu.Lock()
	m.reset = time.Now()
	m.mu.Unlock()
	return m.create(ctx, format)
}

// heal is for a commit of which an object turned out to be missing or broken
// when it was read at a moment: a commit that maintenance dropped is fetched
// again, anything else means that the mirror is damaged and starts anew.
func (m *mirror) heal(ctx context.Context, id, ref string, from remote, readAt time.Time) error {
	m.healing.Lock()
	defer m.healing.Unlock()
	m.mu.Lock()
	renewed := m.reset
	m.mu.Unlock()
	if m.has(id) && renewed.Before(readAt) {
		if time.Since(renewed) < resetEvery {
			return errors.New("the mirror was made anew just now and is damaged again: check the disk")
		}
		unlock, err := m.lock(ctx)
		if err != nil {
			return err
		}
		err = m.renew(ctx, id)
		unlock()
		if err != nil {
			return err
		}
	}
	return m.ensure(ctx, id, ref, from)
}

// removeLeftovers removes what a killed git left. The lock is held, so nobody
// is using these files.
func (m *mirror) removeLeftovers() {
	for _, pattern := range []string{
		"*.lock", "refs/plumb/*.lock", "refs/plumb-all/*/*.lock", "objects/info/*.lock", "objects/pack/*.lock",
		"objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/tmp_*", "objects/??/tmp_obj_*", "shallow_*",
	} {
		found, _ := filepath.Glob(filepath.Join(m.dir, pattern))
		for _, file := range found {
			_ = os.RemoveAll(file)
		}
	}
}

// maintainIfDue drops commits that nobody asked for lately and packs the rest.
func (m *mirror) maintainIfDue() {
	m.mu.Lock()
	due := m.since >= maintainAfter
	m.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, maintainTimeout)
	defer cancel()
	_ = m.maintain(ctx) // a mirror that could not be packed is only larger
}

func (m *mirror) maintain(ctx context.Context) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	m.mu.Lock()
	m.since = 0
	m.mu.Unlock()
	m.removeLeftovers()
	if err := m.dropOld(); err != nil {
		return err
	}
	_, err = m.runner.run(ctx, call{
		gitDir: m.dir, timeout: maintainTimeout,
		args: []string{"-c", "gc.packRefs=false", "-c", "pack.threads=1", "gc", "--quiet", "--prune=now"},
	})
	return err
}

// dropOld removes the references of commits over the number that is kept,
// except those in use.
func (m *mirror) dropOld() error {
	dir := filepath.Join(m.dir, "refs", "plumb")
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the mirror's commits: %w", err)
	}
	when := func(e fs.DirEntry) time.Time {
		m.mu.Lock()
		t, ok := m.used[e.Name()]
		m.mu.Unlock()
		if info, err := e.Info(); !ok && err == nil {
			t = info.ModTime()
		}
		return t
	}
	byAge := sortedBy(files, when)
	for _, e := range byAge[min(keptCommits, len(byAge)):] {
		if time.Since(when(e)) < keptFor && len(byAge) < 10*keptCommits {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop a commit from the mirror: %w", err)
		}
		m.mu.Lock()
		delete(m.used, e.Name())
		m.mu.Unlock()
	}
	return nil
}
