// Package memo remembers what places outside said, and asks them again now and
// then: the answers that Resolve gives from memory. It knows nothing of what
// the answers mean.
package memo

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// Key names a question: to a repository, with certain credentials.
type Key struct {
	Repo, Question, Credentials string
}

// Answer is what a place said. Version changes when its meaning may have.
type Answer struct {
	Value   any
	Version string
}

// Ask puts the question. before is what was said last, for conditional requests.
type Ask func(ctx context.Context, before Answer) (Answer, error)

// Memo answers questions from memory. It is safe for concurrent use.
type Memo struct {
	interval time.Duration
	timeout  time.Duration
	ctx      context.Context
	stop     context.CancelFunc
	wake     chan struct{}
	tasks    sync.WaitGroup

	mu       sync.Mutex
	entries  map[Key]*entry
	watchers map[int]func(string)
	next     int
	closed   bool
}

type entry struct {
	ask      Ask
	answer   Answer
	known    bool
	err      error
	failures int
	wanted   uint64 // raised by Refresh
	seen     uint64 // wanted when last asked
	due      time.Time
	pending  chan struct{}
}

var errClosed = errors.New("source is closed")

// New remembers, and asks again after the interval (never where it is
// negative). Each question has the timeout.
func New(interval, timeout time.Duration) *Memo {
	ctx, stop := context.WithCancel(context.Background())
	m := &Memo{
		interval: interval, timeout: timeout, ctx: ctx, stop: stop, wake: make(chan struct{}, 1),
		entries: map[Key]*entry{}, watchers: map[int]func(string){},
	}
	m.tasks.Add(1)
	go func() {
		defer m.tasks.Done()
		m.poll()
	}()
	return m
}

// Close ends the polling.
func (m *Memo) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.stop()
	m.tasks.Wait()
}

// Get answers a question, asking only where nothing is known or a refresh came
// since. stale says why the answer may be old, if the place is down.
func (m *Memo) Get(ctx context.Context, key Key, ask Ask) (value any, stale string, err error) {
	m.mu.Lock()
	e, ok := m.entries[key]
	if !ok {
		e = &entry{}
		m.entries[key] = e
	}
	e.ask = ask
	wanted := e.wanted
	fresh := (e.known || e.err != nil) && e.seen >= wanted &&
		(e.err == nil || e.known && source.Passing(e.err) || time.Now().Before(e.due))
	m.mu.Unlock()
	for !fresh {
		if err := m.renew(ctx, key, e); err != nil {
			return nil, "", err
		}
		m.mu.Lock()
		fresh = e.seen >= wanted
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case e.err == nil:
		return e.answer.Value, "", nil
	case e.known && source.Passing(e.err):
		return e.answer.Value, e.err.Error(), nil
	}
	return nil, "", e.err
}

// renew asks, sharing the answer with who asks at the same time.
func (m *Memo) renew(ctx context.Context, key Key, e *entry) error {
	m.mu.Lock()
	done := e.pending
	if done == nil {
		if m.closed {
			m.mu.Unlock()
			return errClosed
		}
		done = make(chan struct{})
		e.pending = done
		m.tasks.Add(1)
		go func() {
			defer m.tasks.Done()
			defer close(done)
			m.question(key, e)
		}()
	}
	m.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Memo) question(key Key, e *entry) {
	m.mu.Lock()
	ask, before, wanted, first := e.ask, e.answer, e.wanted, !e.known && e.err == nil
	failed := source.ReasonOf(e.err)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(m.ctx, m.timeout)
	answer, err := ask(ctx, before)
	cancel()
	m.mu.Lock()
	e.pending, e.seen, e.err = nil, wanted, err
	moved := failed != source.ReasonOf(err)
	if err == nil {
		moved = moved || before.Version != answer.Version
		e.answer, e.known, e.failures = answer, true, 0
		e.due = time.Now().Add(m.jittered())
	} else {
		e.failures++
		e.due = time.Now().Add(min(2*time.Second<<min(e.failures-1, 6), time.Minute))
		if !source.Passing(err) {
			e.known = false
		}
	}
	m.mu.Unlock()
	m.poke()
	if moved && !first {
		m.moved(key.Repo)
	}
}

func (m *Memo) jittered() time.Duration {
	if m.interval < 0 {
		return 365 * 24 * time.Hour
	}
	return m.interval*9/10 + time.Duration(rand.Int64N(int64(m.interval)/5+1)) //nolint:gosec // spreads load, hides nothing
}

func (m *Memo) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// poll asks again what is due, a few at a time.
func (m *Memo) poll() {
	limit := make(chan struct{}, 4)
	for {
		wait := time.NewTimer(m.startDue(limit))
		select {
		case <-m.ctx.Done():
			wait.Stop()
			return
		case <-m.wake:
			wait.Stop()
		case <-wait.C:
		}
	}
}

// startDue asks what is due and gives the time until the next is.
func (m *Memo) startDue(limit chan struct{}) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return time.Hour
	}
	rest := time.Hour
	now := time.Now()
	for key, e := range m.entries {
		if e.pending != nil || !e.known && e.err == nil {
			continue
		}
		if left := e.due.Sub(now); left > 0 && e.seen >= e.wanted {
			rest = min(rest, left)
			continue
		}
		select {
		case limit <- struct{}{}:
		default:
			rest = min(rest, 100*time.Millisecond)
			continue
		}
		m.tasks.Add(1)
		go func() {
			defer m.tasks.Done()
			defer func() { <-limit }()
			_ = m.renew(m.ctx, key, e) // what it gave is in the entry
		}()
	}
	return max(rest, 10*time.Millisecond)
}

// Refresh makes everything known of a repository old, and asks again now; of
// all repositories where it is empty.
func (m *Memo) Refresh(repo string) {
	m.mu.Lock()
	for key, e := range m.entries {
		if repo == "" || source.SameRepo(repo, key.Repo) {
			e.wanted++
		}
	}
	m.mu.Unlock()
	m.poke()
}

// Forget ends the asking about a repository that nobody uses any more.
func (m *Memo) Forget(repo string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.entries {
		if key.Repo == repo {
			delete(m.entries, key)
		}
	}
}

// Watch calls moved with a repository whose answers changed, until ctx is done.
func (m *Memo) Watch(ctx context.Context, moved func(repo string)) {
	m.mu.Lock()
	id := m.next
	m.next++
	m.watchers[id] = moved
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.watchers, id)
		m.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
	case <-m.ctx.Done():
	}
}

func (m *Memo) moved(repo string) {
	m.mu.Lock()
	calls := make([]func(string), 0, len(m.watchers))
	for _, f := range m.watchers {
		calls = append(calls, f)
	}
	m.mu.Unlock()
	for _, f := range calls {
		f(repo)
	}
}
