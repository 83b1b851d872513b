package preview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/scm"
)

// Settings are what is agreed about a repository.
type Settings struct {
	Host scm.Host
	Repo scm.Repo
	// Name tells several installations apart that look at one repository.
	Name string
	// Modules and Diffs say whether modules are planned, and lines are shown.
	Modules, Diffs bool
	// Forks may be planned when somebody with the right to write asks for it.
	Forks bool
}

// Context is that of the statuses of previews.
func (s Settings) Context() string {
	if s.Name == "" {
		return "plumb/preview"
	}
	return "plumb/preview/" + s.Name
}

// World is where a Reviewer finds what it needs.
type World interface {
	// Settings of a repository; false where its pull requests are not looked at.
	Settings(repoURL string) (Settings, bool, error)
	// Repositories are the URLs that Applications use.
	Repositories() []string
	Applications() []App
	// Engine lends one. It is given back with the function.
	Engine(ctx context.Context) (Engine, func(), error)
	// DefaultBranch of a repository, as far as it is known.
	DefaultBranch(ctx context.Context, repoURL string) (string, error)
}

// Options of a Reviewer. World and Mark are needed.
type Options struct {
	World World
	// Mark gives a text that nobody else can make, for a text.
	Mark func(text string) string
	// Interval at which open pull requests are listed, for hosts whose webhooks do
	// not reach us; 0 is never.
	Interval time.Duration
	// Together is how many pull requests are looked at at once (2), and Timeout,
	// how long one may take (10 min).
	Together int
	Timeout  time.Duration
	// Pause is how long it waits after a base branch has moved, before it looks whether
	// previews are to be made again (1 min).
	Pause time.Duration
	// Previewed is told how a preview went, and how long it took. It may be nil.
	Previewed func(Outcome, time.Duration)
	Log       *slog.Logger
}

// Outcome of a preview.
type Outcome string

// The closed set of outcomes.
const (
	// OutcomeChanges and OutcomeNone: Applications change, or none does.
	OutcomeChanges Outcome = "changes"
	OutcomeNone    Outcome = "none"
	// OutcomeRefused: something cannot be applied as declared.
	OutcomeRefused Outcome = "refused"
	// OutcomeWaits: a fork waits for somebody's word.
	OutcomeWaits Outcome = "waits"
	// OutcomeError: it could not be previewed, and is tried again.
	OutcomeError Outcome = "error"
)

// Reviewer keeps a preview on each open pull request.
type Reviewer struct {
	o     Options
	wake  chan struct{}
	slots chan struct{}

	mu   sync.Mutex
	jobs map[pullID]*job
	// seen is what is known of the open pull requests that were listed.
	seen map[pullID]seen
	// moved are the repositories of which a branch has moved, since that was last
	// looked at; stirred tells that there are some.
	moved   map[string]bool
	stirred chan struct{}
}

// pullID names a pull request: by the URL of the repository that Applications
// use, and its number.
type pullID struct {
	repo   string
	number int
}

type seen struct {
	head    string
	updated time.Time
	// planned is the head that was planned last, and asked the last request that
	// was heard.
	planned string
	asked   int64
	// before identifies what the Applications that it touches meant on the base branch.
	before map[engine.Key]string
}

// job is the work on one pull request, at most one at a time.
type job struct {
	cancel  context.CancelFunc
	running bool
	// head that it works on, as far as it is known.
	head string
	// dirty says that it is to be done once more, failures how often it failed.
	dirty    bool
	failures int
	// again says that it is to be planned though its head was planned before.
	again bool
}

// New gives a Reviewer.
func New(o Options) *Reviewer {
	if o.Together == 0 {
		o.Together = 2
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Pause == 0 {
		o.Pause = time.Minute
	}
	if o.Previewed == nil {
		o.Previewed = func(Outcome, time.Duration) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reviewer{
		o: o, wake: make(chan struct{}, 1), slots: make(chan struct{}, o.Together), jobs: map[pullID]*job{}, seen: map[pullID]seen{},
		moved: map[string]bool{}, stirred: make(chan struct{}, 1),
	}
}

// Heard has a pull request looked at: something about it has changed, or
// somebody has said something. Head is its head where that is known. It does not
// block.
func (r *Reviewer) Heard(repoURL string, number int, head string) {
	id := pullID{r.canonical(repoURL), number}
	r.mu.Lock()
	j := r.due(id)
	if j.running && head != "" && j.head != "" && head != j.head {
		j.cancel() // what it works on is out of date
	}
	r.mu.Unlock()
	r.stir()
}

// due has a pull request looked at. The lock is held.
func (r *Reviewer) due(id pullID) *job {
	j := r.jobs[id]
	if j == nil {
		j = &job{}
		r.jobs[id] = j
	}
	j.dirty = true
	return j
}

// canonical is the one of several URLs of a repository that all of us use: some
// Applications may reach it by ssh and others by https.
func (r *Reviewer) canonical(repoURL string) string {
	for _, url := range r.repositories() {
		if scm.Same(url, repoURL) {
			return url
		}
	}
	return repoURL
}

// repositories gives one URL for each, always the same.
func (r *Reviewer) repositories() []string {
	var urls []string
	for _, url := range slices.Sorted(slices.Values(r.o.World.Repositories())) {
		if !slices.ContainsFunc(urls, func(other string) bool { return scm.Same(url, other) }) {
			urls = append(urls, url)
		}
	}
	return urls
}

func (r *Reviewer) stir() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx is done.
func (r *Reviewer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if r.o.Interval > 0 {
		wg.Go(func() { r.poll(ctx) })
	}
	wg.Go(func() { r.follow(ctx) })
	for {
		for r.begin(ctx, &wg) {
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
	}
}

// begin starts work on one pull request, if there is some and a hand is free.
func (r *Reviewer) begin(ctx context.Context, wg *sync.WaitGroup) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, j := range r.jobs {
		if j.running || !j.dirty {
			continue
		}
		select {
		case r.slots <- struct{}{}:
		default:
			return false
		}
		var work context.Context
		work, j.cancel = context.WithTimeout(ctx, r.o.Timeout)
		again := j.again
		j.running, j.dirty, j.again, j.head = true, false, false, ""
		wg.Go(func() {
			err := r.review(work, id, again)
			j.cancel()
			r.end(ctx, id, j, err, again)
		})
		return true
	}
	return false
}

// most often that one failure is followed by another try.
const mostFailures = 6

func (r *Reviewer) end(ctx context.Context, id pullID, j *job, err error, again bool) {
	<-r.slots
	r.mu.Lock()
	j.running = false
	j.again = j.again || again && err != nil
	switch {
	case err == nil:
		j.failures = 0
		if !j.dirty {
			delete(r.jobs, id)
		}
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
	default:
		j.failures++
		r.o.Previewed(OutcomeError, 0)
		r.o.Log.Warn("pull request not previewed", "repository", id.repo, "number", id.number, "error", err)
		if j.failures < mostFailures {
			wait := min(15*time.Second<<j.failures, 10*time.Minute)
			time.AfterFunc(wait, func() {
				if ctx.Err() == nil {
					r.Heard(id.repo, id.number, "")
				}
			})
		} else if !j.dirty {
			delete(r.jobs, id)
		}
	}
	r.mu.Unlock()
	r.stir()
}

// poll lists open pull requests now and then.
func (r *Reviewer) poll(ctx context.Context) {
	tick := time.NewTicker(r.o.Interval)
	defer tick.Stop()
	for {
		for _, url := range r.repositories() {
			if ctx.Err() != nil {
				return
			}
			s, ok, err := r.o.World.Settings(url)
			if err != nil || !ok {
				continue // a Secret that cannot be used was told of when it was read
			}
			if err := r.list(ctx, url, s); err != nil && ctx.Err() == nil {
				r.o.Log.Warn("pull requests not listed", "repository", url, "error", err)
			}
			r.Moved(url)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// list looks at the open pull requests of a repository that have moved, and at
// those that are open no longer.
func (r *Reviewer) list(ctx context.Context, url string, s Settings) error {
	open, err := s.Host.Pulls.List(ctx, s.Repo)
	if err != nil {
		return err
	}
	now := map[pullID]bool{}
	var moved []scm.Pull
	r.mu.Lock()
	for _, p := range open {
		id := pullID{url, p.Number}
		now[id] = true
		known, ok := r.seen[id]
		if !ok || known.head != p.HeadSHA || !known.updated.Equal(p.Updated) {
			known.head, known.updated = p.HeadSHA, p.Updated
			r.seen[id] = known
			moved = append(moved, p)
		}
	}
	var gone []int
	for id := range r.seen {
		if id.repo == url && !now[id] && len(open) < scm.MostPulls {
			gone = append(gone, id.number)
		}
	}
	r.mu.Unlock()
	for _, p := range moved {
		r.Heard(url, p.Number, p.HeadSHA)
	}
	for _, number := range gone {
		r.Heard(url, number, "")
	}
	return nil
}

func (r *Reviewer) recall(id pullID) seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[id]
}

func (r *Reviewer) remember(id pullID, change func(*seen)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[id]
	change(&s)
	r.seen[id] = s
}

func (r *Reviewer) forget(id pullID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, id)
}

// markPrefix is in all comments of this kind, whoever makes them.
const markPrefix = "plumb:preview:"

// mark of a comment: who made it, and of what.
func (r *Reviewer) mark(s Settings, url string, number int) string {
	host, _, _ := scm.Locate(url)
	return markPrefix + r.o.Mark(fmt.Sprintf("%s/%s/%d/%s", host, strings.ToLower(s.Repo.String()), number, s.Name))
}
