package tofu_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
)

// TestDriftThatComesAgain has a file change in the same way again and again: it is
// a drift each time, although the state after a heal is the one before.
func TestDriftThatComesAgain(t *testing.T) {
	const text = "Welcome\n"
	file := filepath.Join(t.TempDir(), "welcome")
	w := watchFile(t, file, text)
	for n := range 3 {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		w.await(driver.OutOfSync, fmt.Sprintf("deletion %d is found", n+1))
		if n == 1 { // somebody puts it back by hand
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			w.apply()
		}
		w.await(driver.Synced, fmt.Sprintf("after deletion %d it is in sync again", n+1))
	}
}

// watched is a module that is held by nobody but watched.
type watched struct {
	t      *testing.T
	driver driver.Driver
	want   driver.Desired
	moved  chan struct{}
}

func watchFile(t *testing.T, file, text string) *watched {
	s := newStage(t)
	s.driver.Close()
	s.writable = filepath.Dir(file)
	s.start()
	w := &watched{t: t, driver: s.driver, moved: make(chan struct{}, 1)}
	w.want = driver.Desired{
		Target: target("plumb.dev/shop/files"), Drift: &v1alpha1.DriftPolicy{Interval: "200ms"},
		Bundle: module(map[string]string{"main.tf": fmt.Sprintf("resource \"local_file\" \"it\" {\n  filename = %q\n  content  = %q\n}\n", file, text)}),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = s.driver.Watch(ctx, func(driver.Owner) {
			select {
			case w.moved <- struct{}{}:
			default:
			}
		})
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	w.apply()
	w.await(driver.Synced, "it is made")
	return w
}

// await looks whenever the driver tells of a move, until all stand as wanted.
func (w *watched) await(sync driver.SyncState, what string) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		c, err := w.driver.Compare(w.t.Context(), w.want)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(c.Resources) == 1 && c.Resources[0].Sync == sync && c.Plan.Empty() == (sync == driver.Synced) {
			return
		}
		select {
		case <-w.moved:
		case <-deadline:
			w.t.Fatalf("not so in time: %s (%+v)", what, c.Resources)
		}
	}
}

// apply makes the plan true.
func (w *watched) apply() {
	w.t.Helper()
	c, err := w.driver.Compare(w.t.Context(), w.want)
	if err != nil {
		w.t.Fatal(err)
	}
	results := make(chan driver.Result, len(c.Plan.Steps))
	w.driver.Apply(w.t.Context(), driver.Apply{Desired: w.want, Operation: "op", Steps: c.Plan.Steps, Prune: true}, func(r driver.Result) { results <- r })
	for range c.Plan.Steps {
		select {
		case r := <-results:
			if r.Problem != nil {
				w.t.Fatal(r.Message)
			}
		case <-time.After(time.Minute):
			w.t.Fatal("the apply does not end")
		}
	}
}
