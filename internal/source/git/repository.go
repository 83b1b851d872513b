package git

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// repository is what is known of one repository: its mirror, and what it
// advertised to each of the credentials it was asked with.
type repository struct {
	source *Source
	url    string        // as written
	wire   string        // what git is given: without a password in it
	inURL  *url.Userinfo // the user and password that were in it
	mirror *mirror
	past   *mirror // the history, without what its commits hold; empty until asked for
	ctx    context.Context
	stop   context.CancelFunc
	kick   chan struct{}
	local  *localWatch

	mu         sync.Mutex
	views      map[string]*view
	generation uint64 // raised by every refresh
	effective  string
	polling    bool
}

// maxViews bounds how many credentials one repository is asked with.
const maxViews = 16

func newRepository(s *Source, repoURL string) *repository {
	ctx, stop := context.WithCancel(s.ctx)
	dir := s.mirrorDir(repoURL)
	wire, inURL := withoutPassword(repoURL)
	r := &repository{
		source: s, url: repoURL, wire: wire, inURL: inURL, ctx: ctx, stop: stop,
		kick:   make(chan struct{}, 1),
		views:  map[string]*view{},
		mirror: s.newMirror(repoURL, dir),
		past:   s.newMirror(repoURL, strings.TrimSuffix(dir, ".git")+"-history.git"),
	}
	r.past.whole = true
	return r
}

func (s *Source) newMirror(repoURL, dir string) *mirror {
	return &mirror{
		dir: dir, repo: repoURL, runner: s.runner, timeout: s.opts.Timeout, fetches: &s.fetches,
		ctx: s.ctx, start: s.start,
		used:    map[string]time.Time{},
		objects: &catFile{runner: s.runner, gitDir: dir, idle: idleProcess},
	}
}

// close ends the processes that read the mirrors.
func (r *repository) close() {
	r.mirror.objects.close()
	r.past.objects.close()
}

// withoutPassword takes a password out of a URL, so that it reaches git by
// another way than its arguments.
func withoutPassword(repoURL string) (string, *url.Userinfo) {
	u, err := url.Parse(repoURL)
	if err != nil || u.User == nil || u.Scheme != "https" && u.Scheme != "http" {
		return repoURL, nil
	}
	if _, ok := u.User.Password(); !ok {
		return repoURL, nil
	}
	user := u.User
	u.User = nil
	return u.String(), user
}

// view gives what the repository shows to certain credentials.
func (r *repository) view(cred source.Credentials) *view {
	if r.inURL != nil && cred.Password == "" && cred.BearerToken == "" {
		cred.Username = r.inURL.Username()
		cred.Password, _ = r.inURL.Password()
	}
	key := cred.Fingerprint()
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.views[key]; ok {
		v.used = time.Now()
		return v
	}
	if len(r.views) >= maxViews {
		r.dropOldestView()
	}
	v := &view{repo: r, cred: cred, key: key, used: time.Now(), asked: map[question]string{}}
	r.views[key] = v
	return v
}

func (r *repository) dropOldestView() {
	oldest := ""
	for key, v := range r.views {
		if oldest == "" || v.used.Before(r.views[oldest].used) {
			oldest = key
		}
	}
	delete(r.views, oldest)
}

// refresh makes everything known of the repository old, and asks it again.
func (r *repository) refresh() {
	r.mu.Lock()
	r.generation++
	r.mu.Unlock()
	r.wake()
}

// effectiveURL applies the user's insteadOf, once.
func (r *repository) effectiveURL(ctx context.Context) (string, error) {
	r.mu.Lock()
	known := r.effective
	r.mu.Unlock()
	if known != "" {
		return known, nil
	}
	out, err := r.source.runner.run(ctx, call{args: []string{"ls-remote", "--get-url", "--", r.wire}, timeout: r.source.opts.Timeout})
	if err != nil {
		return "", err
	}
	effective := strings.TrimSuffix(string(out), "\n")
	if err := checkEffective(effective); err != nil {
		return "", &source.Error{Reason: source.ReasonRefused, Message: err.Error()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.effective = effective
	return effective, nil
}

// checkEffective is for what the user's own configuration made of a URL.
func checkEffective(effective string) error {
	if effective == "" || strings.HasPrefix(effective, "-") {
		return errors.New("git's configuration (insteadOf) maps the URL to one that begins with \"-\"")
	}
	return nil
}

// watch starts the poll of a repository that was asked for the first time, and
// the watch of one on this machine, before it is asked, so that nothing that
// happens afterwards is missed.
func (r *repository) watch(effective string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.polling || r.ctx.Err() != nil {
		return
	}
	r.polling = true
	if dir, ok := localPath(effective); ok {
		r.local = newLocalWatch(dir, r.source.opts.Debounce, r.refresh)
		r.local.start()
	}
	r.source.start(r.poll)
}

// poll asks the repository now and then, and whenever it was kicked.
func (r *repository) poll() {
	if r.local != nil {
		defer r.local.close()
	}
	for {
		timer := time.NewTimer(r.nextPoll())
		due := false
		select {
		case <-r.ctx.Done():
			timer.Stop()
			return
		case <-r.kick:
			timer.Stop()
		case <-timer.C:
			due = true
			if r.local != nil {
				r.local.start()
			}
		}
		r.askAll(due)
	}
}

// nextPoll is the interval, less or more a tenth; sooner after a failure.
func (r *repository) nextPoll() time.Duration {
	interval := r.source.opts.PollInterval
	if r.local != nil && !r.local.running() && interval > 0 {
		interval = min(interval, 5*time.Second)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if interval < 0 {
		interval = 365 * 24 * time.Hour
	}
	for _, v := range r.views {
		if v.failures > 0 {
			interval = min(interval, backoff(v.failures))
		}
	}
	return interval*9/10 + time.Duration(rand.Int64N(int64(interval)/5+1)) //nolint:gosec // spreads load, hides nothing
}

func backoff(failures int) time.Duration {
	return min(2*time.Second<<min(failures-1, 6), time.Minute)
}

// askAll renews every view when the poll is due, else those that a refresh made
// old.
func (r *repository) askAll(due bool) {
	r.mu.Lock()
	views := make([]*view, 0, len(r.views))
	for _, v := range r.views {
		if due || v.seen < r.generation {
			views = append(views, v)
		}
	}
	r.mu.Unlock()
	for _, v := range views {
		_ = v.ask(r.ctx) // kept in the view, for who resolves next
	}
}

// question is what somebody resolved.
type question struct{ revision, tagPrefix string }

// view is what a repository shows to certain credentials. Its fields are
// guarded by repo.mu.
type view struct {
	repo *repository
	cred source.Credentials
	key  string

	used     time.Time
	refs     *refs // what was last seen, nil if never
	seen     uint64
	err      error // of the last time it was asked
	failures int
	retryAt  time.Time
	asked    map[question]string
	pending  *pending
}

// pending is a question to the repository that is under way.
type pending struct {
	done chan struct{}
	err  error
}

func (v *view) remote() remote {
	v.repo.mu.Lock()
	defer v.repo.mu.Unlock()
	return remote{url: v.repo.wire, effective: v.repo.effective, cred: v.cred, key: v.key, tmp: v.repo.source.tmp}
}

// fresh gives what was last seen, if it need not be asked for.
func (v *view) fresh() (*refs, error, bool) {
	v.repo.mu.Lock()
	defer v.repo.mu.Unlock()
	if v.seen < v.repo.generation || v.refs == nil && v.err == nil {
		return nil, nil, false
	}
	if v.err != nil && (v.refs == nil || !source.Passing(v.err)) && time.Now().After(v.retryAt) {
		return nil, nil, false
	}
	return v.refs, v.err, true
}

// current gives what the repository advertises, asking it where needed. Where
// the repository is down, what was last seen holds, and stale says so.
func (v *view) current(ctx context.Context) (*refs, string, error) {
	r, err, ok := v.fresh()
	if !ok {
		if r, err = v.askSince(ctx); ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
	}
	switch {
	case err == nil && r == nil:
		return nil, "", errClosed
	case err == nil:
		return r, "", nil
	case r != nil && source.Passing(err):
		return r, err.Error(), nil
	}
	return nil, "", err
}

// askSince asks until the answer is younger than the last refresh before the
// call: one that was under way already may be older.
func (v *view) askSince(ctx context.Context) (*refs, error) {
	v.repo.mu.Lock()
	wanted := v.repo.generation
	v.repo.mu.Unlock()
	for {
		if err := v.ask(ctx); ctx.Err() != nil || errors.Is(err, errClosed) {
			return nil, err
		}
		v.repo.mu.Lock()
		r, err, seen := v.refs, v.err, v.seen
		v.repo.mu.Unlock()
		if seen >= wanted {
			return r, err
		}
	}
}

// ask lists the repository's references, sharing the answer with who asks at
// the same time.
func (v *view) ask(ctx context.Context) error {
	r := v.repo
	r.mu.Lock()
	p := v.pending
	if p == nil {
		p = &pending{done: make(chan struct{})}
		started := r.source.start(func() {
			p.err = v.list()
			close(p.done)
		})
		if !started {
			r.mu.Unlock()
			return errClosed
		}
		v.pending = p
	}
	r.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// list asks the repository and keeps what it says.
func (v *view) list() error {
	r := v.repo
	effective, err := r.effectiveURL(r.ctx)
	if err == nil {
		r.watch(effective)
	}
	r.mu.Lock()
	generation := r.generation
	r.mu.Unlock()
	var seen *refs
	if err == nil {
		seen, err = v.lsRemote(effective)
	}
	err = explain(r.url, v.cred, err)

	r.mu.Lock()
	before := v.err
	v.pending = nil
	v.seen = generation
	v.err = err
	if err == nil {
		v.failures = 0
		if v.refs == nil || v.refs.digest != seen.digest {
			v.refs = seen
		}
	} else {
		v.failures++
		v.retryAt = time.Now().Add(backoff(v.failures))
		if !source.Passing(err) {
			v.refs = nil
			r.effective = "" // the user may mend the configuration
		}
	}
	moved := v.recheck() || source.ReasonOf(before) != source.ReasonOf(err)
	again := v.seen < r.generation
	first := len(v.asked) == 0
	r.mu.Unlock()
	if again || err != nil {
		r.wake()
	}
	if moved && !first {
		r.source.moved(r.url)
	}
	return err
}

// wake makes the poll look for what is old, and when to ask next.
func (r *repository) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// recheck answers again what was asked before, and tells whether an answer is
// another now. repo.mu is held.
func (v *view) recheck() bool {
	if v.refs == nil {
		return false
	}
	moved := false
	for q, answer := range v.asked {
		now, _ := v.refs.resolve(q.revision, q.tagPrefix)
		if now.id != answer {
			v.asked[q] = now.id
			moved = true
		}
	}
	return moved
}

func (v *view) lsRemote(effective string) (*refs, error) {
	a, err := newAccess(v.repo.source.tmp, effective, v.cred)
	if err != nil {
		return nil, err
	}
	defer a.close()
	v.repo.source.lists.Add(1)
	out, err := v.repo.source.runner.run(v.repo.ctx, call{
		args: []string{"ls-remote", "--quiet", "--symref", "--", v.repo.wire}, access: a,
		timeout: v.repo.source.opts.Timeout, maxOut: 96 << 20,
	})
	if err != nil {
		return nil, err
	}
	return parseRefs(out)
}

// maxAsked bounds what is remembered of questions; the map starts anew then.
const maxAsked = 10_000

// resolve gives the commit that a revision means.
func (v *view) resolve(ctx context.Context, revision, tagPrefix string) (source.Resolved, error) {
	refs, stale, err := v.current(ctx)
	if err != nil {
		v.remember(question{revision, tagPrefix}, "")
		return source.Resolved{}, err
	}
	if fullID.MatchString(strings.ToLower(revision)) {
		return source.Resolved{Revision: strings.ToLower(revision), Stale: stale}, nil
	}
	found, ok := refs.resolve(revision, tagPrefix)
	v.remember(question{revision, tagPrefix}, found.id)
	if ok {
		return source.Resolved{Revision: found.id, Ref: found.ref, Stale: stale}, nil
	}
	if short := strings.ToLower(revision); shortID.MatchString(short) {
		id, err := v.lengthen(ctx, refs, short)
		if err == nil {
			return source.Resolved{Revision: id, Stale: stale}, nil
		}
		if source.Passing(err) && ctx.Err() != nil {
			return source.Resolved{}, err
		}
	}
	return source.Resolved{}, v.notFound(refs, revision)
}

func (v *view) remember(q question, id string) {
	v.repo.mu.Lock()
	defer v.repo.mu.Unlock()
	if len(v.asked) >= maxAsked {
		clear(v.asked)
	}
	v.asked[q] = id
}

// lengthen finds the commit that a shortened id means: among what is
// advertised, else in the whole history.
func (v *view) lengthen(ctx context.Context, r *refs, short string) (string, error) {
	if id, ok := r.startingWith(short); ok {
		return id, nil
	}
	hexLen := 40
	for _, id := range r.ids {
		hexLen = len(id)
		break
	}
	out, err := v.repo.mirror.lengthen(ctx, short, hexLen, v.remote())
	if err != nil {
		return "", explain(v.repo.url, v.cred, err)
	}
	return out, nil
}

func (v *view) notFound(r *refs, revision string) error {
	message := fmt.Sprintf("revision %q not found: there is no such branch, tag or commit", revision)
	if revision == "" || revision == "HEAD" {
		message = "the repository's HEAD points to no commit: name a branch (targetRevision)"
	}
	if near := r.near(revision); len(near) > 0 && revision != "" {
		message += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	if len(r.ids) == 0 {
		message = fmt.Sprintf("revision %q not found: the repository has no commits yet", revision)
	}
	return &source.Error{Reason: source.ReasonRevisionNotFound, Repo: v.cred.Mask(v.repo.url), Message: message}
}

// mayRead makes sure that the credentials open the repository before content
// that others fetched is shown. Where the repository is down, content that is
// here already may be read.
func (v *view) mayRead(ctx context.Context, id string) error {
	v.repo.mu.Lock()
	proven := v.refs != nil
	v.repo.mu.Unlock()
	if proven {
		return nil
	}
	_, _, err := v.current(ctx)
	if err != nil && source.ReasonOf(err) == source.ReasonUnreachable && v.repo.mirror.has(id) {
		return nil
	}
	return err
}

func (v *view) tagsAt(id string) []string {
	v.repo.mu.Lock()
	r := v.refs
	v.repo.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.tagsAt(id)
}
