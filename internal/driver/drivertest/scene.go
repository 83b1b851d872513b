package drivertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

const (
	first  = driver.Owner("suite/first")
	second = driver.Owner("suite/second")
	prober = driver.Owner("suite/prober")
)

// scene is one test's stage: it does what the engine does between comparisons.
type scene struct {
	*testing.T
	Setup
	patience time.Duration
	held     map[driver.Owner][]driver.Held
	runs     int
}

func newScene(t *testing.T, h Harness) *scene {
	t.Helper()
	return &scene{T: t, Setup: h.New(t), patience: h.Patience, held: map[driver.Owner][]driver.Held{}}
}

// want is what an owner declares.
func (s *scene) want(o driver.Owner, objects ...render.Object) driver.Desired {
	b := render.Bundle{Driver: "test", Objects: objects}
	for _, obj := range objects {
		b.Hash += obj.Hash + ";"
	}
	return driver.Desired{Target: s.Target(o), Bundle: b, Inventory: slices.Clone(s.held[o])}
}

func (s *scene) compare(d driver.Desired) driver.Comparison {
	s.Helper()
	c, err := s.Driver.Compare(s.Context(), d)
	if err != nil {
		s.Fatalf("compare: %v", err)
	}
	if !slices.IsSortedFunc(c.Resources, func(a, b driver.Resource) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) }) {
		s.Fatalf("resources are not sorted by address: %v", addresses(c))
	}
	return c
}

// apply makes steps true and keeps the inventory as the engine does.
func (s *scene) apply(d driver.Desired, steps []plan.Step) []driver.Result {
	s.Helper()
	return s.order(s.Context(), driver.Apply{Desired: d, Steps: steps, Prune: true})
}

func (s *scene) order(ctx context.Context, a driver.Apply) []driver.Result {
	s.Helper()
	if len(a.Steps) == 0 {
		return nil
	}
	if a.Operation == "" {
		s.runs++
		a.Operation = fmt.Sprintf("run-%d", s.runs)
	}
	var mu sync.Mutex
	var results []driver.Result
	s.Driver.Apply(ctx, a, func(r driver.Result) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, r)
	})
	s.eventually("all steps are reported", func() error { // some after Apply has returned
		mu.Lock()
		defer mu.Unlock()
		return onlyIf(len(results) >= len(a.Steps), "%d of %d are", len(results), len(a.Steps))
	})
	mu.Lock()
	defer mu.Unlock()
	for _, r := range results {
		if a.DryRun || r.Problem != nil || r.Step.Hook {
			continue
		}
		s.remember(a.Desired.Target.Owner, r)
	}
	return results
}

func (s *scene) remember(o driver.Owner, r driver.Result) {
	address := r.Step.Address()
	kept := slices.DeleteFunc(slices.Clone(s.held[o]), func(h driver.Held) bool { return h.Ref.Address() == address })
	if r.Held != nil {
		kept = append(kept, *r.Held)
	}
	slices.SortFunc(kept, func(a, b driver.Held) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) })
	s.held[o] = kept
}

// sync makes what an owner declares true, and waits until the driver sees it.
func (s *scene) sync(o driver.Owner, objects ...render.Object) driver.Comparison {
	s.Helper()
	var last driver.Comparison
	s.eventually("everything declared is in sync", func() error {
		d := s.want(o, objects...)
		last = s.compare(d)
		for _, r := range last.Resources {
			if r.Problem != nil {
				return fmt.Errorf("%s: %s", r.Ref.Address(), r.Problem.Message)
			}
		}
		if last.Plan.Empty() {
			for _, r := range last.Resources {
				if r.Hook == nil && r.Sync != driver.Synced && r.Cause != driver.CauseExtra {
					return fmt.Errorf("%s is %s", r.Ref.Address(), r.Sync)
				}
			}
			return nil
		}
		for _, r := range s.apply(d, main(last.Plan)) {
			if r.Problem != nil {
				return fmt.Errorf("%s: %s", r.Step.Address(), r.Problem.Message)
			}
		}
		return fmt.Errorf("there was still something to do: %v", describe(last.Plan.Steps))
	})
	return last
}

// main are the steps of a plan that are no hooks.
func main(p plan.Plan) []plan.Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s plan.Step) bool { return s.Hook })
}

// eventually looks until a check holds.
func (s *scene) eventually(what string, check func() error) {
	s.Helper()
	deadline := time.Now().Add(s.patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not so after %v: %s: %v", s.patience, what, err)
		}
		time.Sleep(wait)
	}
}

// sees waits until a comparison is as it should be.
func (s *scene) sees(d driver.Desired, what string, check func(driver.Comparison) error) driver.Comparison {
	s.Helper()
	var c driver.Comparison
	s.eventually(what, func() error {
		c = s.compare(d)
		return check(c)
	})
	return c
}

// has waits until a thing has a value.
func (s *scene) has(ref plan.Ref, value string) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s is %q", ref.Address(), value), func() error {
		got, exists := s.World.Value(s.T, ref)
		if !exists || got != value {
			return fmt.Errorf("it is %q (exists: %t)", got, exists)
		}
		return nil
	})
}

// gone waits until a thing does not exist.
func (s *scene) gone(ref plan.Ref) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s is gone", ref.Address()), func() error {
		if value, exists := s.World.Value(s.T, ref); exists {
			return fmt.Errorf("it is still there: %q", value)
		}
		return nil
	})
}

// watch collects the owners that the driver tells of. It returns once the driver
// is known to tell, and of what happens from then on.
func (s *scene) watch() (told func(driver.Owner) error) {
	s.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var mu sync.Mutex
	owners := map[driver.Owner]int{}
	go func() {
		defer close(ended)
		_ = s.Driver.Watch(ctx, func(o driver.Owner) {
			mu.Lock()
			defer mu.Unlock()
			owners[o]++
		})
	}()
	s.Cleanup(func() {
		stop()
		<-ended
	})
	told = func(o driver.Owner) error {
		mu.Lock()
		defer mu.Unlock()
		if owners[o] == 0 {
			return fmt.Errorf("the watch has told of %v", owners)
		}
		return nil
	}
	probe, edits := s.Object("probe", "one"), 0
	s.sync(prober, probe)
	s.eventually("the watch tells of what is edited", func() error {
		edits++
		s.World.Edit(s.T, probe.Ref, fmt.Sprint("edit ", edits))
		return told(prober)
	})
	mu.Lock()
	defer mu.Unlock()
	clear(owners)
	return told
}

// resource finds a resource in a comparison.
func (s *scene) resource(c driver.Comparison, ref plan.Ref) driver.Resource {
	s.Helper()
	r, ok := lookup(c, ref)
	if !ok {
		s.Fatalf("%s is not in the comparison: %v", ref.Address(), addresses(c))
	}
	return r
}

func lookup(c driver.Comparison, ref plan.Ref) (driver.Resource, bool) {
	for _, r := range c.Resources {
		if r.Ref.Kind == ref.Kind && r.Ref.Name == ref.Name {
			return r, true
		}
	}
	return driver.Resource{}, false
}

func addresses(c driver.Comparison) []plan.Address {
	var out []plan.Address
	for _, r := range c.Resources {
		out = append(out, r.Ref.Address())
	}
	return out
}

// describe says in short what steps do.
func describe(steps []plan.Step) []string {
	var out []string
	for _, st := range steps {
		out = append(out, fmt.Sprintf("%s %s", st.Change.Action(), st.Address()))
	}
	return out
}
