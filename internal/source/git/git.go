// Package git reads desired state from Git repositories. The git program does
// the transport, so that the user's configuration (insteadOf, proxies, ssh)
// holds; content is read straight from the object database of a bare, shallow
// mirror, without a checkout. It knows nothing of what the content means, and
// it gives what signatures were made of, but does not verify them.
package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"github.com/plumb-dev/plumb/internal/source"
)

// Options of a Source. Only CacheDir is needed.
type Options struct {
	// CacheDir holds the mirrors. Several processes may share it.
	CacheDir string
	// Program is git's name or path; "git" where empty.
	Program string
	// Env is added to the environment of every git command ("KEY=value").
	Env []string
	// PollInterval is how often a repository is asked for its references; 3
	// minutes where zero, never where negative. Local repositories are watched.
	PollInterval time.Duration
	// Timeout bounds one git command; 90 seconds where zero.
	Timeout time.Duration
	// MaxFileBytes is the largest file that is read; 10 MiB where zero.
	MaxFileBytes int64
	// NoSubmodules leaves submodules empty.
	NoSubmodules bool
	// Parallel bounds the commands that use the network at one time; 8 where zero.
	Parallel int
	// Debounce is how long a local repository must be quiet after a change; 20
	// milliseconds where zero.
	Debounce time.Duration
}

// Source is source.Source for Git repositories.
type Source struct {
	opts   Options
	runner *runner
	tmp    string
	ctx    context.Context
	stop   context.CancelFunc
	tasks  sync.WaitGroup

	trees   *lru[*directory]
	commits *lru[*commit]
	blobs   *lru[[]byte]
	fetches atomic.Int64
	lists   atomic.Int64

	life   sync.Mutex
	closed bool

	mu       sync.Mutex
	repos    map[string]*repository
	watchers map[int]func(string)
	nextID   int
}

var _ source.Source = (*Source)(nil)

// The memory that the caches of all repositories share, in bytes.
const (
	treeCacheBytes = 96 << 20
	blobCacheBytes = 48 << 20
	commitBytes    = 8 << 20
	idleProcess    = 2 * time.Minute
)

// New gives a source whose mirrors are in the options' directory.
func New(opts Options) (*Source, error) {
	if opts.CacheDir == "" {
		return nil, errors.New("git source: no cache directory given")
	}
	opts = withDefaults(opts)
	dir, err := prepareCache(opts.CacheDir)
	if err != nil {
		return nil, err
	}
	opts.CacheDir = dir
	ctx, stop := context.WithCancel(context.Background())
	s := &Source{
		opts: opts, ctx: ctx, stop: stop, tmp: filepath.Join(dir, "tmp"),
		runner:   newRunner(opts.Program, dir, os.Environ(), opts.Env, opts.Parallel),
		trees:    newLRU[*directory](treeCacheBytes),
		commits:  newLRU[*commit](commitBytes),
		blobs:    newLRU[[]byte](blobCacheBytes),
		repos:    map[string]*repository{},
		watchers: map[int]func(string){},
	}
	if err := s.runner.available(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("git source: %w", err)
	}
	return s, nil
}

func withDefaults(o Options) Options {
	if o.Program == "" {
		o.Program = "git"
	}
	if o.PollInterval == 0 {
		o.PollInterval = 3 * time.Minute
	}
	if o.Timeout == 0 {
		o.Timeout = 90 * time.Second
	}
	if o.MaxFileBytes == 0 {
		o.MaxFileBytes = 10 << 20
	}
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.Debounce == 0 {
		o.Debounce = 20 * time.Millisecond
	}
	return o
}

// prepareCache makes the directory and removes key files that a killed process
// may have left.
func prepareCache(dir string) (string, error) {
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return "", fmt.Errorf("git source: cache directory: %w", err)
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", fmt.Errorf("git source: cache directory: %w", err)
	}
	for _, pattern := range []string{"tmp/access-*", ".new-*"} {
		old, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range old {
			if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 15*time.Minute {
				_ = os.RemoveAll(path)
			}
		}
	}
	return dir, nil
}

// Close ends all processes and watches.
func (s *Source) Close() error {
	s.stop()
	s.life.Lock()
	s.closed = true
	s.life.Unlock()
	s.mu.Lock()
	repos := s.repos
	s.repos = map[string]*repository{}
	s.mu.Unlock()
	s.tasks.Wait()
	for _, r := range repos {
		r.close()
	}
	return nil
}

// start runs a task that Close waits for, unless the source is closed.
func (s *Source) start(task func()) bool {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return false
	}
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		task()
	}()
	return true
}

// Resolve gives the commit that a revision means now, from memory where the
// repository was seen before.
func (s *Source) Resolve(ctx context.Context, spec source.Spec, cred source.Credentials) (source.Resolved, error) {
	if err := checkRevision(spec.Revision); err != nil {
		return source.Resolved{}, refused(spec.Repo, cred, err)
	}
	r, err := s.repository(spec.Repo, cred)
	if err != nil {
		return source.Resolved{}, err
	}
	return r.view(cred).resolve(ctx, spec.Revision, spec.TagPrefix)
}

// Fetch gives the content of a commit. What is in the mirror is not asked for
// again.
func (s *Source) Fetch(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials) (source.Tree, error) {
	return s.fetch(ctx, spec.Repo, at, cred, 0)
}

func (s *Source) fetch(ctx context.Context, repoURL string, at source.Resolved, cred source.Credentials, depth int) (*tree, error) {
	id, ok := parseID(at.Revision)
	if !ok {
		return nil, refused(repoURL, cred, fmt.Errorf("%q is not a commit id", clip(at.Revision, 80)))
	}
	r, err := s.repository(repoURL, cred)
	if err != nil {
		return nil, err
	}
	v := r.view(cred)
	if err := v.mayRead(ctx, at.Revision); err != nil {
		return nil, err
	}
	from := v.remote()
	ref := at.Ref
	if checkRevision(ref) != nil {
		ref = ""
	}
	if err := r.mirror.ensure(ctx, at.Revision, ref, from); err != nil {
		return nil, explain(repoURL, cred, err)
	}
	t := &tree{source: s, repo: r, from: from, id: id, revision: at.Revision, ref: ref, depth: depth}
	if _, err := t.commit(); err != nil {
		return nil, explain(repoURL, cred, err)
	}
	return t, nil
}

// Describe gives a commit's author, date and message.
func (s *Source) Describe(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials) (source.Commit, error) {
	t, err := s.fetch(ctx, spec.Repo, at, cred, 0)
	if err != nil {
		return source.Commit{}, err
	}
	c, err := t.commit()
	if err != nil {
		return source.Commit{}, explain(spec.Repo, cred, err)
	}
	out := source.Commit{
		Revision: at.Revision, Author: c.author, Committer: c.committer, Message: c.message,
		Tags: t.repo.view(cred).tagsAt(at.Revision),
	}
	if !c.date.IsZero() {
		out.Date = c.date.Format(time.RFC3339)
	}
	return out, nil
}

// Watch calls moved until ctx is done. moved must return soon.
func (s *Source) Watch(ctx context.Context, moved func(repo string)) {
	s.mu.Lock()
	id := s.nextID
	s.nextID++
	s.watchers[id] = moved
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, id)
		s.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

func (s *Source) moved(repo string) {
	s.mu.Lock()
	calls := make([]func(string), 0, len(s.watchers))
	for _, f := range s.watchers {
		calls = append(calls, f)
	}
	s.mu.Unlock()
	for _, f := range calls {
		f(repo)
	}
}

// Refresh asks a repository again now, however its URL is written; all of them
// where it is empty.
func (s *Source) Refresh(repo string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for written, r := range s.repos {
		if repo == "" || source.SameRepo(repo, written) {
			r.refresh()
		}
	}
}

// Forget ends the watch of a repository that no Application uses any more. Its
// mirror stays until Prune.
func (s *Source) Forget(repo string) {
	s.mu.Lock()
	r := s.repos[repo]
	delete(s.repos, repo)
	s.mu.Unlock()
	if r != nil {
		r.stop()
		r.close()
	}
}

// Prune removes mirrors that no process used for that long.
func (s *Source) Prune(unused time.Duration) error {
	locks, err := filepath.Glob(filepath.Join(s.opts.CacheDir, "*.git.lock"))
	if err != nil {
		return fmt.Errorf("list the mirrors: %w", err)
	}
	for _, lock := range locks {
		dir := strings.TrimSuffix(lock, ".lock")
		info, err := os.Stat(lock)
		if err != nil || time.Since(info.ModTime()) < unused || s.inUse(dir) {
			continue
		}
		if err := removeMirror(dir); err != nil {
			return fmt.Errorf("remove an unused mirror: %w", err)
		}
	}
	return nil
}

// removeMirror removes a mirror that no process is writing to.
func removeMirror(dir string) error {
	l := flock.New(dir + ".lock")
	if ok, err := l.TryLock(); err != nil || !ok {
		return err
	}
	defer func() { _ = l.Unlock() }()
	return os.RemoveAll(dir)
}

func (s *Source) inUse(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		if r.mirror.dir == dir || r.past.dir == dir {
			return true
		}
	}
	return false
}

// repository gives what is known of a repository, by its URL as written.
func (s *Source) repository(repoURL string, cred source.Credentials) (*repository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.repos[repoURL]; ok {
		return r, nil
	}
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	if err := checkURL(repoURL); err != nil {
		return nil, refused(repoURL, cred, err)
	}
	r := newRepository(s, repoURL)
	s.repos[repoURL] = r
	return r, nil
}

func (s *Source) mirrorDir(repoURL string) string {
	sum := sha256.Sum256([]byte(repoURL))
	return filepath.Join(s.opts.CacheDir, hex.EncodeToString(sum[:12])+".git")
}

func refused(repo string, cred source.Credentials, err error) error {
	return &source.Error{Reason: source.ReasonRefused, Repo: cred.Mask(repo), Message: cred.Mask(err.Error())}
}

var remoteHelper = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)

// checkURL refuses what git would take for an option or for a program to run.
func checkURL(repoURL string) error {
	switch {
	case repoURL == "":
		return errors.New("the repository's URL (repoURL) is empty")
	case len(repoURL) > 4096 || strings.ContainsAny(repoURL, "\x00\n\r"):
		return errors.New("the repository's URL is too long or has a line break in it")
	case strings.HasPrefix(repoURL, "-"):
		return errors.New("a repository's URL must not begin with \"-\"")
	case remoteHelper.MatchString(repoURL):
		return errors.New("URLs that name a remote helper (\"helper::address\") are not allowed")
	}
	scheme, rest, ok := strings.Cut(repoURL, "://")
	if !ok {
		if host, _, scp := source.SplitSCP(repoURL); scp && strings.HasPrefix(host, "-") {
			return errors.New("a host name must not begin with \"-\"")
		}
		return nil
	}
	switch strings.ToLower(scheme) {
	case "https", "http", "ssh", "git", "file", "git+ssh", "ssh+git":
	default:
		return fmt.Errorf("URLs with %q are not allowed for Git: use https, ssh, git or file", clip(scheme, 20)+"://")
	}
	if strings.HasPrefix(rest, "-") || strings.Contains(rest, "@-") {
		return errors.New("a host name must not begin with \"-\"")
	}
	return nil
}

// checkRevision refuses what no revision looks like.
func checkRevision(revision string) error {
	switch {
	case strings.HasPrefix(revision, "-"):
		return errors.New("a revision (targetRevision) must not begin with \"-\"")
	case len(revision) > 1024 || strings.ContainsAny(revision, "\x00\n\r\t"):
		return errors.New("the revision (targetRevision) is too long or has control characters in it")
	}
	return nil
}
