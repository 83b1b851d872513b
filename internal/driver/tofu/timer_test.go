package tofu

import (
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
)

// TestOneTick has a module planned while it is probed: the probes must not come
// twice as often from then on.
func TestOneTick(t *testing.T) {
	d, err := New(Options{Dir: t.TempDir(), Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	m, err := d.module("team/infra")
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock() // the probe waits
	m.schedule(&driver.Desired{}, time.Hour)
	m.live.mu.Lock()
	round := m.live.round
	m.live.mu.Unlock()
	var ticking sync.WaitGroup
	ticking.Go(func() { m.tick(time.Hour, round) })
	deadline := time.Now().Add(time.Minute)
	for len(d.probes) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing is probed")
		}
		time.Sleep(time.Millisecond)
	}
	if again, err := d.module("team/infra"); err != nil || again != m { // by the lock under which the probe was counted
		t.Fatal(err)
	}
	m.schedule(&driver.Desired{}, time.Hour) // a plan has been made meanwhile
	m.live.mu.Lock()
	next := m.live.timer
	m.live.mu.Unlock()
	m.mu.Unlock()
	ticking.Wait()
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	if m.live.timer != next && next.Stop() {
		t.Error("there are two timers for one module")
	}
}
