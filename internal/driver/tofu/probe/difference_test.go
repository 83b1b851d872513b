package probe_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
)

var (
	differenceCases    = flag.Int("difference.cases", 14, "how many cases TestDifference compares")
	differenceSeed     = flag.Uint64("difference.seed", 1, "what they are made from")
	differenceParallel = flag.Int("difference.parallel", 2, "how many modules are worked on at once")
	differenceWorld    = flag.Int("difference.world", -1, "the only module to look at")
)

// tally counts what was seen.
type tally struct {
	mu      sync.Mutex
	cases   int
	seen    map[string]int
	classes map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[what]++
}

// TestDifference compares the verdicts of the probe with those of real plans,
// on modules and changes that are made at random.
func TestDifference(t *testing.T) {
	p := newProber(t, probe.Options{MaxIdle: 20 * time.Second})
	c := &tally{seen: map[string]int{}, classes: map[string]int{}}
	worlds := make(chan int)
	go func() {
		defer close(worlds)
		if *differenceWorld >= 0 {
			worlds <- *differenceWorld
			return
		}
		for i := 0; ; i++ {
			c.mu.Lock()
			enough := c.cases >= *differenceCases
			c.mu.Unlock()
			if enough || t.Failed() && *differenceCases < 100 {
				return
			}
			worlds <- i
		}
	}()
	t.Run("worlds", func(t *testing.T) {
		for range *differenceParallel {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := range worlds {
					t.Run(fmt.Sprint(i), func(t *testing.T) { compareWorld(t, p, i, c) })
				}
			})
		}
	})
	t.Logf("%d cases", c.cases)
	for _, of := range []map[string]int{c.seen, c.classes} {
		for _, what := range slices.Sorted(maps.Keys(of)) {
			t.Logf("%5d %s", of[what], what)
		}
	}
	if c.seen["error of the plan"]*10 > c.cases || c.seen["changes, and the probe says so"] == 0 {
		t.Errorf("the cases do not test much: %v", c.seen)
	}
}

// world is a module that was applied, with its probe.
type world struct {
	*workspace
	t        *testing.T
	m        *randomModule
	mutator  *mutator
	subject  *probe.Subject
	verdicts *probe.Verdicts
	c        *tally
}

const changesPerWorld = 9

func compareWorld(t *testing.T, p *probe.Prober, number int, c *tally) {
	r := rand.New(rand.NewPCG(*differenceSeed, uint64(number)))
	m := newRandomModule(r)
	w := &world{workspace: newWorkspace(t, m.files), t: t, m: m, c: c, verdicts: probe.NewVerdicts(100)}
	defer func() {
		if t.Failed() {
			for name, text := range m.files {
				t.Logf("--- %s\n%s", name, text)
			}
			for _, more := range m.after {
				t.Logf("--- then\n%s", more["main.tf"])
			}
		}
	}()
	w.apply()
	for _, more := range m.after {
		w.write(map[string]string{"main.tf": more["main.tf"]})
		if more[""] == "init" {
			w.run("init", "-no-color", "-input=false", "-upgrade")
		} else {
			w.apply()
		}
	}
	if m.one(5) { // as it would be after a refresh
		w.run("apply", "-no-color", "-input=false", "-auto-approve")
	}
	w.subject = w.workspace.subject(p)
	w.mutator = newMutator(w.workspace, r)
	c.mu.Lock()
	for class := range m.classes {
		c.classes["modules with "+class]++
	}
	c.mu.Unlock()
	w.compare("nothing")
	for range min(changesPerWorld, *differenceCases/3) {
		if t.Failed() {
			return
		}
		for range 1 + r.IntN(5)/3 + r.IntN(8)/7 {
			w.mutator.mutate()
		}
		w.compare(strings.Join(w.mutator.did, ", "))
		if r.IntN(3) > 0 {
			w.mutator.restore()
			if r.IntN(3) == 0 {
				w.compare("changed back")
			}
		}
	}
}

// compare asks both, and then the probe again.
func (w *world) compare(what string) {
	w.t.Helper()

	report := check(w.t, w.subject)
	quiet := w.verdicts.Settled("scope", report)

	out, code := w.try("plan", "-no-color", "-input=false", "-lock=false", "-detailed-exitcode")
	w.c.mu.Lock()
	w.c.cases++
	w.c.mu.Unlock()
	fail := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("%s: %s\nprobe: %s\nplan: exit code %d\n%s", what, fmt.Sprintf(format, args...), told(report), code, out)
	}
	switch {
	case code == 2 && quiet:
		fail("the plan has changes, and the probe says that nothing has changed")
	case code == 2 && report.Count(probe.Unknown) > 0:
		fail("something is unknown")
	case code == 2:
		w.c.add("changes, and the probe says so")
	case code == 1 && quiet:
		fail("the plan fails, and the probe says that nothing has changed")
	case code == 1:
		w.c.add("error of the plan")
		w.t.Logf("%s: error of the plan\nprobe: %s\n%s", what, told(report), out)
	case report.Count(probe.Unknown) > 0:
		fail("something is unknown")
	case report.Same():
		w.c.add("no changes, and all is the same")
	case quiet:
		w.c.add("no changes, as remembered")
	default:
		w.c.add("no changes, which took a plan")
		w.settle(report, fail)
	}
	if leak := leaks(report); leak != "" {
		fail("a secret is shown: %s", leak)
	}
}

// settle remembers what the plan said, and checks that it is remembered.
func (w *world) settle(report probe.Report, fail func(string, ...any)) {
	w.t.Helper()
	w.verdicts.Remember("scope", report)
	again := check(w.t, w.subject)
	if !w.m.volatile && !w.verdicts.Settled("scope", again) {
		fail("what the plan said is not remembered: %s", told(again))
	}
}

// leaks finds secrets in what a report shows.
func leaks(r probe.Report) string {
	for _, secret := range []string{"given-canary", "written-canary"} {
		if text := fmt.Sprintf("%v %+v %#v %s", r, r, r, told(r)); strings.Contains(text, secret) {
			return secret
		}
	}
	return ""
}

func told(r probe.Report) string {
	var b strings.Builder
	for _, result := range r.Results {
		if result.Verdict != probe.Same {
			fmt.Fprintf(&b, "\n  %s %s: %s %s %v", result.Address, result.Deposed, result.Verdict, result.Reason, result.Differences)
		}
	}
	return b.String() + fmt.Sprintf("\n  %d the same", r.Count(probe.Same))
}
