package render

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// endless is a renderer that does not notice that its time is over.
type endless struct {
	runs    atomic.Int32
	release chan struct{}
}

func (e *endless) Render(ctx context.Context, req Request) (Bundle, error) {
	return Bounded(ctx, req.Limits, func(context.Context) (Bundle, error) {
		e.runs.Add(1)
		<-e.release
		return Bundle{}, nil
	})
}

// A jsonnet file with a loop that never ends keeps a processor busy: each new try
// would take another one.
func TestAbandonedRenderingsAreNotBegunAgain(t *testing.T) {
	c, e := NewCache(1<<20), &endless{release: make(chan struct{})}
	render := func(app, content string) error {
		_, _, err := c.Render(context.Background(), Request{
			AppName: app, Limits: Limits{RenderMillis: 10},
			Input: Input{Tree: memtree.New(map[string]string{"a.jsonnet": content}), Path: "."},
		}, e)
		return err
	}
	for range 5 {
		if err := render("web", "1"); !errors.Is(err, ErrTooMuch) {
			t.Fatalf("got %v", err)
		}
	}
	if n := e.runs.Load(); n != 1 {
		t.Errorf("the same was begun %d times", n)
	}
	for i := range 10 {
		if err := render("web", fmt.Sprint("commit ", i)); !errors.Is(err, ErrTooMuch) {
			t.Fatalf("got %v", err)
		}
	}
	if n := e.runs.Load(); n != maxStuck {
		t.Errorf("one Application keeps %d renderings running, want %d", n, maxStuck)
	}
	if err := render("other", "1"); !errors.Is(err, ErrTooMuch) || e.runs.Load() != maxStuck+1 {
		t.Errorf("another Application is held up: %v", err)
	}
	close(e.release)
	for deadline := time.Now().Add(10 * time.Second); render("web", "1") != nil; {
		if time.Now().After(deadline) {
			t.Fatal("what has ended is still held against it")
		}
	}
}
