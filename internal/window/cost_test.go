package window

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// counted counts how often a schedule is asked.
type counted struct {
	cron.Schedule
	n *int
}

func (c counted) Next(t time.Time) time.Time { *c.n++; return c.Schedule.Next(t) }

func TestManyWindowsCostLittle(t *testing.T) {
	windows := []v1alpha1.SyncWindow{zone(deny("0 0 1 1 *", "8000h"), "Europe/Oslo")}
	for range 100 {
		windows = append(windows, allow("* * * * *", "30s"), deny("*/2 * * * *", "90m"), deny("0 0 29 2 0", "1m"))
	}
	s := set(t, windows...)
	n := 0
	for i := range s {
		s[i].schedule = counted{s[i].schedule, &n}
	}
	if got := s.At(at(t, "2026-03-01T12:00:10Z")); got.Closed == "" {
		t.Fatal("it is open")
	}
	if most := 2*maxAsked + 4*len(s); n > most {
		t.Errorf("the schedules are asked %d times, more than %d", n, most)
	}
}
