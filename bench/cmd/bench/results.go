package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/bench/harness"
)

// install is one first install; times in seconds from its begin.
type install struct {
	Applied  float64            `json:"applied"`
	Healthy  float64            `json:"healthy"`
	Reported float64            `json:"reported,omitempty"`
	CPU      map[string]float64 `json:"cpuSeconds"`
	Requests map[string]int     `json:"requests,omitempty"`
	Refused  map[string]int     `json:"refused,omitempty"`
}

// heals are the times from an out-of-band change to the healed object.
type heals struct {
	Deleted []time.Duration `json:"deletedNanoseconds"`
	Edited  []time.Duration `json:"editedNanoseconds"`
}

func (h heals) all() []time.Duration { return slices.Concat(h.Deleted, h.Edited) }

// idle is what the engine costs when nothing happens; memory in bytes.
type idle struct {
	Seconds  float64        `json:"seconds"`
	Requests int            `json:"requestsBesideWatchesAndLeases"`
	Tally    map[string]int `json:"tally,omitempty"`
	CPU      float64        `json:"cpuSeconds"`
	RSS      int64          `json:"rss"`
	PSS      int64          `json:"pss"`
	Private  int64          `json:"private"`
	Peak     int64          `json:"peak"`
	Children int64          `json:"children"`
}

type results struct {
	At           time.Time       `json:"at"`
	Apps         int             `json:"applications"`
	Objects      int             `json:"objects"`
	Concurrency  int             `json:"concurrency"`
	CPUs         int             `json:"cpus"`
	Fsync        bool            `json:"fsync"`
	BareInstalls []install       `json:"bareInstalls"`
	Installs     []install       `json:"installs"`
	Changes      []time.Duration `json:"changeNanoseconds"`
	Renderings   []int           `json:"renderingsPerChange"`
	BareHeals    heals           `json:"bareHeals"`
	Heals        heals           `json:"heals"`
	Idle         idle            `json:"idle"`
}

func (r results) write(base string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for suffix, text := range map[string]string{".json": string(content) + "\n", ".md": r.markdown(), ".svg": r.plot()} {
		if err := os.WriteFile(base+suffix, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func median(installs []install, of func(install) float64) float64 {
	var all []float64
	for _, i := range installs {
		all = append(all, of(i))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// markdown is the table for people.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d Applications, %d objects, %d at once, %d CPUs, etcd fsync %v.\n\n", r.Apps, r.Objects, r.Concurrency, r.CPUs, r.Fsync)
	b.WriteString("| what | Plumb | limit (bare client-go) | ratio | target |\n| --- | ---: | ---: | ---: | --- |\n")
	row := func(what string, plumb, bare float64, target string) {
		fmt.Fprintf(&b, "| %s | %.2f s | %.2f s | %.2f | %s |\n", what, plumb, bare, ratio(plumb, bare), target)
	}
	healthy := func(i install) float64 { return i.Healthy }
	applied := func(i install) float64 { return i.Applied }
	row("first install: push to all healthy", median(r.Installs, healthy), median(r.BareInstalls, healthy), "≤ 1.3")
	row("first install: push to all applied", median(r.Installs, applied), median(r.BareInstalls, applied), "")
	row("first install: until every Application says so", median(r.Installs, func(i install) float64 { return i.Reported }), median(r.BareInstalls, healthy), "")
	fmt.Fprintf(&b, "| one file changed: push to applied, p50 / p99 | %s / %s | | | |\n",
		milliseconds(harness.Median(r.Changes)), milliseconds(harness.Quantile(r.Changes, 0.99)))
	low, high := 0, 0
	if len(r.Renderings) > 0 {
		low, high = slices.Min(r.Renderings), slices.Max(r.Renderings)
	}
	fmt.Fprintf(&b, "| … Applications rendered for each, least / most | %d / %d | | | 1 |\n", low, high)
	for _, h := range []struct {
		what        string
		plumb, bare []time.Duration
	}{{"deleted out of band", r.Heals.Deleted, r.BareHeals.Deleted}, {"edited out of band", r.Heals.Edited, r.BareHeals.Edited}} {
		p, q := harness.Median(h.plumb), harness.Median(h.bare)
		fmt.Fprintf(&b, "| %s: event to healed, p50 | %s | %s | %.2f | < 100 ms |\n", h.what, milliseconds(p), milliseconds(q), ratio(float64(p), float64(q)))
		p, q = harness.Quantile(h.plumb, 0.99), harness.Quantile(h.bare, 0.99)
		fmt.Fprintf(&b, "| … p99 | %s | %s | %.2f | < 1 s |\n", milliseconds(p), milliseconds(q), ratio(float64(p), float64(q)))
	}
	fmt.Fprintf(&b, "| idle for %.0f s: requests beside watches and leases | %d | | | 0 |\n", r.Idle.Seconds, r.Idle.Requests)
	fmt.Fprintf(&b, "| … CPU | %.2f s | | | |\n", r.Idle.CPU)
	fmt.Fprintf(&b, "| … resident memory (of it private) | %d MB (%d MB) | | | < 250 MB |\n", r.Idle.RSS>>20, r.Idle.Private>>20)
	all := func(i install) float64 {
		sum := 0.0
		for _, used := range i.CPU {
			sum += used
		}
		return sum
	}
	row("CPU of all processes for the first install", median(r.Installs, all), median(r.BareInstalls, all), "")
	cpu := func(i install) float64 { return i.CPU["plumb"] }
	fmt.Fprintf(&b, "| … of it the engine | %.2f s | | | |\n", median(r.Installs, cpu))
	return b.String()
}

// plot draws the ratios to the limit as bars.
func (r results) plot() string {
	healthy := func(i install) float64 { return i.Healthy }
	applied := func(i install) float64 { return i.Applied }
	bars := []struct {
		name  string
		value float64
	}{
		{"install, healthy", ratio(median(r.Installs, healthy), median(r.BareInstalls, healthy))},
		{"install, applied", ratio(median(r.Installs, applied), median(r.BareInstalls, applied))},
		{"heal deleted, p50", ratio(float64(harness.Median(r.Heals.Deleted)), float64(harness.Median(r.BareHeals.Deleted)))},
		{"heal edited, p50", ratio(float64(harness.Median(r.Heals.Edited)), float64(harness.Median(r.BareHeals.Edited)))},
	}
	const scale, left, height = 90.0, 150, 34
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="720" height="%d" font-family="sans-serif" font-size="13">`+"\n", len(bars)*height+50)
	fmt.Fprintf(&b, `<text x="10" y="20">%d Applications: time as a ratio to a bare client-go loop (line: 1.0)</text>`+"\n", r.Apps)
	for i, bar := range bars {
		y := 36 + i*height
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.0f" height="18" fill="#3b6ea5"/><text x="%.0f" y="%d">%.2f</text>`+"\n",
			left-8, y+14, bar.name, left, y, min(bar.value*scale, 500), left+6+min(bar.value*scale, 500), y+14, bar.value)
	}
	fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="30" y2="%d" stroke="#c33" stroke-dasharray="4"/>`+"\n</svg>\n", left+scale, left+scale, 36+len(bars)*height)
	return b.String()
}
