package drivertest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

func invalidHoldsItself(s *scene) {
	if s.Invalid == nil {
		s.Skip("the destination refuses nothing")
	}
	good, bad := s.Object("good", "one"), s.Invalid("bad")
	d := s.want(first, good, bad)
	c := s.compare(d)
	results := s.apply(d, main(c.Plan))
	s.has(good.Ref, "one")
	problem := s.resource(c, bad.Ref).Problem
	for _, r := range results {
		if r.Step.Change.Target().Name == bad.Ref.Name {
			problem = r.Problem
		}
	}
	if problem == nil || problem.Message == "" || problem.Transient {
		s.Errorf("the bad object has a problem that trying again does not solve: %+v", problem)
	}
}

func deletionRemoves(s *scene) {
	a, b := s.Object("a", "one"), s.Object("b", "one")
	s.sync(first, a, b)
	d := s.want(first) // also where Git can't be read any more
	d.Deleting = true
	c := s.sees(d, "the deletion is planned", func(c driver.Comparison) error {
		return onlyIf(c.Plan.Count() == plan.Counts{Delete: 2}, "%v", describe(c.Plan.Steps))
	})
	s.apply(d, c.Plan.Steps)
	s.gone(a.Ref)
	s.gone(b.Ref)
	d = s.want(first)
	d.Deleting = true
	s.sees(d, "nothing is left", func(c driver.Comparison) error {
		return onlyIf(c.Plan.Empty(), "%v", describe(c.Plan.Steps))
	})
}

func dryRun(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	d := s.want(first, s.Object("a", "two"), s.Object("b", "one"))
	c := s.sees(d, "the changes are seen", func(c driver.Comparison) error {
		return onlyIf(len(c.Plan.Steps) == 2, "%v", describe(c.Plan.Steps))
	})
	for _, r := range s.order(s.Context(), driver.Apply{Desired: d, Steps: c.Plan.Steps, DryRun: true}) {
		if r.Problem != nil {
			s.Errorf("%s: %s", r.Step.Address(), r.Problem.Message)
		}
	}
	s.has(a.Ref, "one")
	s.gone(s.Object("b", "").Ref)
}

func reportsOnce(s *scene) {
	var objects []render.Object
	for i := range 20 {
		objects = append(objects, s.Object(fmt.Sprintf("n%02d", i), "one"))
	}
	d := s.want(first, objects...)
	c := s.compare(d)
	seen := map[plan.Address]int{}
	for _, r := range s.order(s.Context(), driver.Apply{Desired: d, Steps: c.Plan.Steps, Concurrency: 7}) {
		seen[r.Step.Address()]++
		if r.Problem != nil {
			s.Errorf("%s: %s", r.Step.Address(), r.Problem.Message)
		}
	}
	for _, o := range c.Plan.Steps {
		if n := seen[o.Address()]; n != 1 {
			s.Errorf("%s was reported %d times", o.Address(), n)
		}
	}
}

func cancelled(s *scene) {
	d := s.want(first, s.Object("a", "one"), s.Object("b", "one"))
	c := s.compare(d)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	results := s.order(ctx, driver.Apply{Desired: d, Steps: c.Plan.Steps})
	if len(results) != len(c.Plan.Steps) {
		s.Errorf("%d of %d steps were reported", len(results), len(c.Plan.Steps))
	}
	for _, r := range results {
		if r.Problem == nil {
			s.Errorf("%s was made by a cancelled apply", r.Step.Address())
		} else if !r.Problem.Transient {
			s.Errorf("%s: being stopped passes: %+v", r.Step.Address(), r.Problem)
		}
	}
	s.sync(first, s.Object("a", "one"), s.Object("b", "one"))
}

func secretsAreMasked(s *scene) {
	if s.Secret == nil {
		s.Skip("the driver has no secrets")
	}
	const canary, other = "canary-5e1f", "canary-77ab"
	var shown []any
	var hashes []string
	for _, value := range []string{canary, other} {
		d := s.want(first, s.Secret("hidden", value))
		d.Full = true
		c := s.sees(d, "the change is seen", func(c driver.Comparison) error {
			return onlyIf(len(c.Plan.Steps) == 1, "%v", describe(c.Plan.Steps))
		})
		shown = append(shown, c, c.Plan)
		switch change := c.Plan.Steps[0].Change.(type) {
		case plan.Create:
			hashes = append(hashes, change.After.Hash)
		case plan.Update:
			hashes = append(hashes, change.After.Hash)
		}
		for _, r := range s.apply(d, c.Plan.Steps) {
			shown = append(shown, r.Message, r.Held, r.Problem)
		}
		s.sync(first, s.Secret("hidden", value))
	}
	text, err := json.Marshal(shown)
	if err != nil {
		s.Fatal(err)
	}
	for _, secret := range []string{canary, other} {
		for _, form := range forms(secret) {
			if strings.Contains(string(text), form) {
				s.Errorf("the secret is shown (as %q)", form)
			}
		}
	}
	if len(hashes) != 2 || hashes[0] == hashes[1] {
		s.Errorf("other content has another hash: %v", hashes)
	}
}

// forms are the ways in which a secret may leak.
func forms(secret string) []string {
	return []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))}
}

func forgets(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	s.Driver.Forget(first)
	s.sync(first, a)
	s.Driver.Forget(first)
	s.sync(first)
	s.gone(a.Ref)
}

func watchEnds(s *scene) {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- s.Driver.Watch(ctx, func(driver.Owner) {}) }()
	cancel()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("got %v", err)
		}
	case <-time.After(s.patience):
		s.Fatal("the watch goes on after its context has ended")
	}
}

func capabilities(s *scene) {
	if _, err := s.Driver.Capabilities(s.Context(), s.Target(first)); err != nil {
		s.Error(err)
	}
}

func waves(s *scene) {
	s.needsAnnotations()
	late := s.Annotate(s.Object("a", "one"), map[string]string{v1alpha1.AnnotationSyncWave: "2"})
	early := s.Annotate(s.Object("b", "one"), map[string]string{v1alpha1.AnnotationSyncWave: "-1"})
	c := s.compare(s.want(first, late, early))
	var got []int
	for _, st := range c.Plan.Steps {
		got = append(got, st.Wave)
	}
	if !slices.Equal(got, []int{-1, 2}) {
		s.Errorf("got waves %v in %v", got, describe(c.Plan.Steps))
	}
}

func hooks(s *scene) {
	s.needsAnnotations()
	a := s.Object("a", "one")
	hook := s.Annotate(s.Object("hook", "one"), map[string]string{v1alpha1.AnnotationHook: "PreSync"})
	s.sync(first, a)
	d := s.want(first, a, hook)
	c := s.sees(d, "the hook is planned", func(c driver.Comparison) error {
		return onlyIf(c.Plan.Empty() && c.Plan.Count().Hooks == 1, "%v", describe(c.Plan.Steps))
	})
	if st := c.Plan.Steps[0]; st.Phase != plan.PreSync || !st.Hook {
		s.Errorf("got %+v", st)
	}
	if r := s.resource(c, hook.Ref); r.Hook == nil || r.Hook.Operation != "" || len(r.Hook.Policies) == 0 {
		s.Errorf("got hook %+v", r.Hook)
	}
	for _, r := range s.order(s.Context(), driver.Apply{Desired: d, Steps: c.Plan.Steps, Operation: "op-1"}) {
		if r.Problem != nil {
			s.Fatal(r.Problem.Message)
		}
	}
	s.has(hook.Ref, "one")
	s.sees(d, "the hook's run is known by its operation, and has ended", func(c driver.Comparison) error {
		r := s.resource(c, hook.Ref)
		return onlyIf(r.Hook.Operation == "op-1" && r.Hook.Done && !r.Hook.Failed, "%+v", r.Hook)
	})
	ref := s.resource(c, hook.Ref).Ref
	s.apply(d, []plan.Step{{Change: plan.Delete{Resource: ref}, Phase: plan.PreSync, Hook: true}})
	s.gone(hook.Ref)
	s.sees(d, "a hook that is gone is no drift", func(c driver.Comparison) error {
		return onlyIf(c.Plan.Empty(), "%v", describe(c.Plan.Steps))
	})
}

func guards(s *scene) {
	s.needsAnnotations()
	kept := s.Annotate(s.Object("kept", "one"), map[string]string{v1alpha1.AnnotationSyncOptions: "Prune=false"})
	s.sync(first, kept)
	c := s.sees(s.want(first), "the guard is seen", func(c driver.Comparison) error {
		r, ok := lookup(c, kept.Ref)
		return onlyIf(ok && r.Cause == driver.CauseExtra && r.Guard == "Prune=false", "%+v", r)
	})
	if len(c.Plan.Steps) != 0 {
		s.Errorf("guarded prunes are not in the plan: %v", describe(c.Plan.Steps))
	}
	s.has(kept.Ref, "one")
}

// converges makes disorder at random and expects order after every sync.
func converges(s *scene) {
	random := rand.New(rand.NewPCG(7, 11))
	names := []string{"a", "b", "c", "d", "e"}
	for range 12 {
		var declared []render.Object
		for _, n := range names {
			if random.IntN(3) > 0 {
				declared = append(declared, s.Object(n, fmt.Sprint("v", random.IntN(3))))
			}
		}
		for _, n := range names {
			ref := s.Object(n, "").Ref
			if _, exists := s.World.Value(s.T, ref); !exists || random.IntN(3) > 0 {
				continue
			}
			if random.IntN(2) == 0 {
				s.World.Delete(s.T, ref)
			} else {
				s.World.Edit(s.T, ref, "edited")
			}
		}
		if random.IntN(4) == 0 {
			s.Driver.Forget(first)
		}
		s.rest(declared, names)
	}
}

// rest syncs until the destination itself is as declared: a driver that has not
// yet seen the disorder must come to see it.
func (s *scene) rest(declared []render.Object, names []string) {
	s.Helper()
	s.eventually("the destination is as declared", func() error {
		s.sync(first, declared...)
		for _, n := range names {
			want, isDeclared := "", false
			for _, o := range declared {
				if o.Ref.Name == s.Object(n, "").Ref.Name {
					want, isDeclared = valueOf(s, n, o), true
				}
			}
			if got, exists := s.World.Value(s.T, s.Object(n, "").Ref); exists != isDeclared || got != want {
				return fmt.Errorf("%s is %q (exists: %t), declared %q (%t)", n, got, exists, want, isDeclared)
			}
		}
		return nil
	})
}

// valueOf finds which of the values that converges uses an object has.
func valueOf(s *scene, name string, o render.Object) string {
	for i := range 3 {
		value := fmt.Sprint("v", i)
		if s.Object(name, value).Hash == o.Hash {
			return value
		}
	}
	s.Fatalf("objects of different values have different hashes: %s", o.Ref.Name)
	return ""
}

func (s *scene) needsAnnotations() {
	s.Helper()
	if s.Annotate == nil {
		s.Skip("the driver knows no annotations")
	}
}
