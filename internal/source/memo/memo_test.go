package memo

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// place is something that can be asked.
type place struct {
	asked atomic.Int64
	says  atomic.Int64
	err   atomic.Pointer[source.Error]
}

func (p *place) ask(context.Context, Answer) (Answer, error) {
	p.asked.Add(1)
	if err := p.err.Load(); err != nil {
		return Answer{}, err
	}
	n := p.says.Load()
	return Answer{Value: n, Version: strconv.FormatInt(n, 10)}, nil
}

func newMemo(t *testing.T, interval time.Duration) *Memo {
	m := New(interval, 10*time.Second)
	t.Cleanup(m.Close)
	return m
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

var key = Key{Repo: "https://example.com/charts", Question: "index"}

func TestAnswersFromMemoryAndSharesQuestions(t *testing.T) {
	m, p := newMemo(t, -1), &place{}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := m.Get(t.Context(), key, p.ask); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.says.Store(7)
	m.Refresh("https://EXAMPLE.com/charts/")
	if v, _, _ := m.Get(t.Context(), key, p.ask); v != int64(7) {
		t.Errorf("after a refresh: %v", v)
	}
}

func TestTellsOfChangesOnly(t *testing.T) {
	m, p := newMemo(t, 5*time.Millisecond), &place{}
	var heard atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { m.Watch(ctx, func(string) { heard.Add(1) }) })
	defer func() { cancel(); watch.Wait() }()
	if _, _, err := m.Get(t.Context(), key, p.ask); err != nil {
		t.Fatal(err)
	}
	until(t, "polled", func() bool { return p.asked.Load() > 5 })
	if heard.Load() != 0 {
		t.Error("nothing changed")
	}
	p.says.Store(1)
	until(t, "heard", func() bool { return heard.Load() == 1 })
}

func TestPlaceThatIsDown(t *testing.T) {
	m, p := newMemo(t, -1), &place{}
	if _, _, err := m.Get(t.Context(), key, p.ask); err != nil {
		t.Fatal(err)
	}
	p.err.Store(&source.Error{Reason: source.ReasonUnreachable, Message: "down"})
	m.Refresh("")
	if v, stale, err := m.Get(t.Context(), key, p.ask); v != int64(0) || stale != "down" || err != nil {
		t.Errorf("got %v %q %v, want what was last seen", v, stale, err)
	}
	p.err.Store(&source.Error{Reason: source.ReasonNotFound, Message: "gone"})
	m.Refresh("")
	if _, _, err := m.Get(t.Context(), key, p.ask); source.ReasonOf(err) != source.ReasonNotFound {
		t.Errorf("got %v, want that it is gone", err)
	}
	n := p.asked.Load()
	for range 10 {
		_, _, _ = m.Get(t.Context(), key, p.ask)
	}
	if p.asked.Load() != n {
		t.Error("a failure is remembered for a while")
	}
}

func TestClosed(t *testing.T) {
	m := New(-1, time.Second)
	m.Close()
	if _, _, err := m.Get(t.Context(), key, (&place{}).ask); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}
