package drivertest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

func emptyIsEmpty(s *scene) {
	c := s.compare(s.want(first))
	if len(c.Resources) != 0 || len(c.Plan.Steps) != 0 {
		s.Errorf("got resources %v and steps %v", addresses(c), describe(c.Plan.Steps))
	}
}

func declaredIsMade(s *scene) {
	a, b := s.Object("a", "one"), s.Object("b", "two")
	d := s.want(first, a, b)
	c := s.compare(d)
	for _, o := range []plan.Ref{a.Ref, b.Ref} {
		r := s.resource(c, o)
		if r.Sync != driver.OutOfSync || r.Cause != driver.CauseMissing || r.Exists || r.Health.Status != health.Missing {
			s.Errorf("%s is to be missing: %+v", o.Name, r)
		}
	}
	if n := c.Plan.Count(); n != (plan.Counts{Create: 2}) {
		s.Fatalf("the plan is to create two things: %+v", n)
	}
	for _, st := range c.Plan.Steps {
		if create, ok := st.Change.(plan.Create); !ok || create.After.Hash == "" {
			s.Errorf("a creation says what it makes: %+v", st.Change)
		}
	}
	results := s.apply(d, c.Plan.Steps)
	for _, r := range results {
		if r.Problem != nil || r.Held == nil || r.Message == "" {
			s.Errorf("a made step is held and says so: %+v", r)
		}
	}
	s.has(a.Ref, "one")
	s.has(b.Ref, "two")
	s.sees(s.want(first, a, b), "all is in sync", func(c driver.Comparison) error {
		for _, r := range c.Resources {
			if r.Sync != driver.Synced || r.Cause != driver.CauseNone || !r.Exists {
				return fmt.Errorf("%s: %s, %q, exists: %t", r.Ref.Address(), r.Sync, r.Cause, r.Exists)
			}
		}
		return onlyIf(c.Plan.Empty() && len(c.Resources) == 2, "steps %v", describe(c.Plan.Steps))
	})
}

func inSyncIsFree(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	s.sees(s.want(first, a), "a comparison costs no call", func(c driver.Comparison) error {
		return onlyIf(c.Calls == 0 && c.Plan.Empty(), "%d calls", c.Calls)
	})
}

func comparisonIsPure(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	a = s.Object("a", "two")
	d := s.want(first, a, s.Object("b", "one"))
	one := s.sees(d, "the changes are seen", func(c driver.Comparison) error {
		return onlyIf(c.Plan.Count() == plan.Counts{Create: 1, Update: 1}, "%+v", c.Plan.Count())
	})
	two := s.sees(d, "what was predicted once costs no call", func(c driver.Comparison) error {
		return onlyIf(c.Calls == 0, "%d calls", c.Calls)
	})
	if one.Plan.Digest() != two.Plan.Digest() {
		s.Errorf("equal comparisons give different plans:\n%v\n%v", describe(one.Plan.Steps), describe(two.Plan.Steps))
	}
	s.has(a.Ref, "one")
}

func changeIsMade(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	a = s.Object("a", "two")
	c := s.sees(s.want(first, a), "the change is seen", func(c driver.Comparison) error {
		r := s.resource(c, a.Ref)
		return onlyIf(r.Sync == driver.OutOfSync && r.Cause == driver.CauseDeclared, "%s, %q", r.Sync, r.Cause)
	})
	if len(c.Plan.Steps) != 1 {
		s.Fatalf("one change is one step: %v", describe(c.Plan.Steps))
	}
	u, ok := c.Plan.Steps[0].Change.(plan.Update)
	if !ok || u.Drift || u.Before.Hash == "" || u.Before.Hash == u.After.Hash {
		s.Errorf("got %+v, want an update that is no drift, with before and after", c.Plan.Steps[0].Change)
	}
	s.sync(first, a)
	s.has(a.Ref, "two")
}

func driftIsUndone(s *scene) {
	a, b := s.Object("a", "one"), s.Object("b", "one")
	s.sync(first, a, b)
	told := s.watch()
	s.World.Edit(s.T, a.Ref, "edited")
	s.eventually("the watch tells of the edit", func() error { return told(first) })
	c := s.sees(s.want(first, a, b), "the drift is seen", func(c driver.Comparison) error {
		r := s.resource(c, a.Ref)
		return onlyIf(r.Sync == driver.OutOfSync && r.Cause == driver.CauseDrift, "%s, %q", r.Sync, r.Cause)
	})
	if len(c.Plan.Steps) != 1 {
		s.Fatalf("only what drifted is changed: %v", describe(c.Plan.Steps))
	}
	if u, ok := c.Plan.Steps[0].Change.(plan.Update); !ok || !u.Drift {
		s.Errorf("the step says that it is drift: %+v", c.Plan.Steps[0].Change)
	}
	s.sync(first, a, b)
	s.has(a.Ref, "one")
}

func deletionIsUndone(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	told := s.watch()
	s.World.Delete(s.T, a.Ref)
	s.eventually("the watch tells of the deletion", func() error { return told(first) })
	s.sees(s.want(first, a), "the deletion is seen", func(c driver.Comparison) error {
		r := s.resource(c, a.Ref)
		return onlyIf(r.Cause == driver.CauseDeleted && !r.Exists && c.Plan.Count() == plan.Counts{Create: 1},
			"%s, %q, %v", r.Sync, r.Cause, describe(c.Plan.Steps))
	})
	s.sync(first, a)
	s.has(a.Ref, "one")
}

func ignoredDrift(s *scene) {
	a := s.Object("a", "one")
	s.sync(first, a)
	told := s.watch()
	s.World.Edit(s.T, a.Ref, "edited")
	s.eventually("the watch tells of the edit", func() error { return told(first) })
	d := s.want(first, a)
	d.Drift = &v1alpha1.DriftPolicy{Default: v1alpha1.DriftIgnore}
	for range 3 { // it may take a moment to be seen, and then must not be planned
		if c := s.compare(d); !c.Plan.Empty() {
			s.Fatalf("ignored drift is not planned: %v", describe(c.Plan.Steps))
		}
	}
	d.Drift.Default = v1alpha1.DriftReport
	s.sees(d, "reported drift is in the plan, with its answer", func(c driver.Comparison) error {
		r := s.resource(c, a.Ref)
		return onlyIf(r.Answer == v1alpha1.DriftReport && len(c.Plan.Steps) == 1, "answer %q, %v", r.Answer, describe(c.Plan.Steps))
	})
}

func prunes(s *scene) {
	a, b := s.Object("a", "one"), s.Object("b", "one")
	s.sync(first, a, b)
	c := s.sees(s.want(first, a), "what is extra is seen", func(c driver.Comparison) error {
		r, ok := lookup(c, b.Ref)
		return onlyIf(ok && r.Cause == driver.CauseExtra && c.Plan.Count() == plan.Counts{Delete: 1}, "%v", describe(c.Plan.Steps))
	})
	for _, r := range s.apply(s.want(first, a), c.Plan.Steps) {
		if r.Problem != nil {
			s.Fatalf("%s: %s", r.Step.Address(), r.Problem.Message)
		}
	}
	s.gone(b.Ref)
	s.has(a.Ref, "one")
	s.sync(first, a)
}

func foreignIsLeft(s *scene) {
	mine, other := s.Object("mine", "one"), s.Object("other", "one")
	s.sync(second, other)
	s.sync(first, mine)
	s.sync(first)
	s.gone(mine.Ref)
	s.has(other.Ref, "one")
}

func sharedIsRefused(s *scene) {
	if s.Unclaimed {
		s.Skip("owners cannot mean the same thing")
	}
	shared := s.Object("shared", "first")
	s.sync(first, shared)
	theirs, own := s.Object("shared", "second"), s.Object("own", "second")
	d := s.want(second, theirs, own)
	c := s.sees(d, "the claim is seen", func(c driver.Comparison) error {
		r := s.resource(c, shared.Ref)
		return onlyIf(r.Problem != nil && r.Problem.Reason == driver.ReasonShared, "%+v", r.Problem)
	})
	if steps := describe(c.Plan.Steps); len(steps) != 1 {
		s.Errorf("the second changes only what is its own: %v", steps)
	}
	s.apply(d, c.Plan.Steps)
	s.has(own.Ref, "second")
	s.has(shared.Ref, "first")
	// A stale plan must not get through either.
	ref := s.resource(c, shared.Ref).Ref
	for _, r := range s.apply(d, []plan.Step{{Change: plan.Update{Resource: ref}, Phase: plan.Sync}}) {
		if r.Problem == nil {
			s.Errorf("the second has changed what the first holds: %+v", r)
		}
	}
	s.has(shared.Ref, "first")
}

func fenceHolds(s *scene) {
	in, out := s.Object("in", "one"), s.Object("out", "one")
	d := s.want(first, in, out)
	d.Fence = func(ref plan.Ref, _ bool) error {
		if ref.Name == out.Ref.Name {
			return errors.New("the project does not allow it")
		}
		return nil
	}
	c := s.compare(d)
	r := s.resource(c, out.Ref)
	if r.Problem == nil || r.Problem.Reason != driver.ReasonNotPermitted || r.Problem.Message != "the project does not allow it" {
		s.Errorf("got problem %+v", r.Problem)
	}
	if slices.ContainsFunc(c.Plan.Steps, func(st plan.Step) bool { return st.Change.Target().Name == out.Ref.Name }) {
		s.Errorf("what the fence refuses is not planned: %v", describe(c.Plan.Steps))
	}
	if s.Whole {
		if !c.Plan.Empty() {
			s.Errorf("where a part of the plan is refused, all of it is: %v", describe(c.Plan.Steps))
		}
		s.gone(out.Ref)
		return
	}
	s.apply(d, c.Plan.Steps)
	s.has(in.Ref, "one")
	s.gone(out.Ref)
}

func onlyIf(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
