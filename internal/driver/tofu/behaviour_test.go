package tofu_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/test/fakecloud"
)

// TestPrune refuses to destroy, and to replace, where pruning is off.
func TestPrune(t *testing.T) {
	s := calm(t)
	s.sync(want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1")))
	before := s.cloud.Log(0)
	for name, tc := range map[string]struct {
		reason, text string
		plan         []string
	}{
		"Delete":  {"b is declared no longer", vpc("a", "10.0.0.0/16", "2"), []string{"update cloud_vpc.a", "delete cloud_vpc.b"}},
		"Replace": {"the network of b can't be changed", vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.2.0.0/16", "1"), []string{"replace cloud_vpc.b"}},
	} {
		d := want(idempotent + tc.text)
		c := s.planned(d, tc.plan...)
		s.all(s.apply(d, c, false), "PruneRequired", "the plan destroys 1 resource (cloud_vpc.b)", "pruning is off", "--prune")
		if after := s.cloud.Log(0); len(after) != len(before) {
			t.Errorf("%s: %s: something was done: %+v", name, tc.reason, after[len(before):])
		}
	}
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.2.0.0/16", "1"))
	s.good(s.apply(d, s.planned(d, "replace cloud_vpc.b"), true))
	s.inSync(d)
	s.accounted()
}

// TestPartial applies some steps of a plan.
func TestPartial(t *testing.T) {
	s := calm(t)
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1") + subnet("c", "b"))
	all := []string{"create cloud_vpc.a", "create cloud_vpc.b", "create cloud_subnet.c"}
	before := len(s.cloud.Objects())
	s.all(s.apply(d, s.planned(d, all...), false, "cloud_subnet.c"), "StalePlan", "alone, the chosen resources would also create cloud_vpc.b", "choose it, too")
	if n := len(s.cloud.Objects()); n != before {
		t.Errorf("there are %d objects", n)
	}
	s.good(s.apply(d, s.planned(d, all...), false, "cloud_vpc.a"))
	s.good(s.apply(d, s.planned(d, all[1:]...), false, "cloud_vpc.b", "cloud_subnet.c"))
	s.inSync(d)
	// Of what is destroyed, too, and only where that is wanted.
	d = want(idempotent + vpc("b", "10.1.0.0/16", "2") + subnet("c", "b"))
	all = []string{"delete cloud_vpc.a", "update cloud_vpc.b"}
	s.all(s.apply(d, s.planned(d, all...), false, "cloud_vpc.a"), "PruneRequired", "it destroys cloud_vpc.a")
	s.good(s.apply(d, s.planned(d, all...), false, "cloud_vpc.b"))
	s.good(s.apply(d, s.planned(d, all[0]), true, "cloud_vpc.a"))
	s.inSync(d)
	s.accounted()
}

// TestStale refuses plans of another world, and makes them anew.
func TestStale(t *testing.T) {
	s := calm(t)
	d := want(idempotent + "variable \"tag\" {\n  default = \"1\"\n}\n" + strings.ReplaceAll(vpc("a", "10.0.0.0/16", "TAG"), `"TAG"`, "var.tag"))
	s.sync(d)
	changed := func(tag string) driver.Desired {
		out := d
		m := *d.Bundle.Module
		m.Variables = map[string]render.Value{"tag": {JSON: []byte(fmt.Sprintf("%q", tag))}}
		out.Bundle.Module = &m
		return out
	}
	two := changed("2")
	cases := []struct {
		reason string
		with   driver.Desired
		do     func()
		says   string
	}{
		{"a variable has another value", changed("3"), func() {}, "the module, its variables or its options have changed"},
		{"the module is another one", want(idempotent + vpc("a", "10.0.0.0/16", "2")), func() {}, "the module, its variables or its options have changed"},
		{"a plan that nobody has applied for long", two, func() { s.driver.Age(owner, 16*time.Minute) }, "the plan is older than 15m"},
		{"somebody has worked on the state", two, s.serial, "the state has moved on since the plan was made (serial"},
	}
	for _, tc := range cases {
		c := s.planned(two, "update cloud_vpc.a")
		before := len(s.cloud.Log(0))
		tc.do()
		got := s.order(driver.Apply{Desired: tc.with, Operation: "op", Steps: c.Plan.Steps})()
		s.all(got, "StalePlan", tc.says, "it is made anew")
		if r := got["cloud_vpc.a"]; r.Problem == nil || !r.Problem.Transient {
			t.Errorf("%s: it is not tried again: %+v", tc.reason, r.Problem)
		}
		if after := len(s.cloud.Log(0)); after != before {
			t.Errorf("%s: something was done", tc.reason)
		}
	}
	s.good(s.apply(two, s.planned(two, "update cloud_vpc.a"), false))
	s.inSync(two)
	s.accounted()
}

// TestLocked waits for who holds the lock, and says who that is.
func TestLocked(t *testing.T) {
	s := calm(t)
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1"))
	c := s.planned(d, "create cloud_vpc.a")
	since := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	s.states.mu.Lock()
	s.states.locks[theState] = tofu.Lock{ID: "1234", Who: "alice@laptop", Operation: "OperationTypeApply", Created: since}
	s.states.mu.Unlock()
	s.all(s.apply(d, c, false), "StateLocked", "alice@laptop", "2026-03-01T09:30:00Z", "plumb state unlock")
	c = s.planned(d, "create cloud_vpc.a") // it can be looked at all the while
	if s.states.locked() != 1 {
		t.Error("the lock is gone")
	}
	s.states.mu.Lock()
	delete(s.states.locks, theState)
	s.states.mu.Unlock()
	s.good(s.apply(d, c, false))
	s.inSync(d)
}

// TestBrokenStore loses no state, and keeps the lock until it is saved.
func TestBrokenStore(t *testing.T) {
	for name, reopened := range map[string]bool{"mended in time": false, "mended after a restart": true} {
		t.Run(name, func(t *testing.T) {
			s := calm(t)
			d := want(providers + vpc("a", "10.0.0.0/16", "1")) // it would be made twice
			c := s.planned(d, "create cloud_vpc.a")
			s.hang("create")
			await := s.order(driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps})
			s.struck()
			s.states.fail(errors.New("the store is gone"))
			s.cloud.Heal()
			s.eventually("it is tried to save the state", func() bool { return s.states.refused() > 1 })
			if s.states.locked() != 1 {
				t.Error("the lock was given back before the state was saved")
			}
			if reopened {
				s.driver.Close()
				if r := await()["cloud_vpc.a"]; r.Problem == nil && r.Held == nil {
					t.Errorf("what is made is not remembered: %+v", r)
				}
				s.start()
				if _, err := s.driver.Compare(context.Background(), d); err == nil {
					t.Error("it can be compared without a store")
				}
				d.Fresh = true
			}
			s.states.fail(nil)
			if !reopened {
				s.good(await())
			}
			s.inSync(d)
			s.accounted()
		})
	}
}

// TestHalf tells of an apply that fails halfway, step by step.
func TestHalf(t *testing.T) {
	s := calm(t)
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1") + subnet("c", "b") +
		"resource \"cloud_bucket\" \"bad\" {\n  name = cloud_vpc.a.id\n}\n")
	s.inject(fakecloud.Fault{Op: "create", Kind: "bucket", Action: fakecloud.Fail, Status: 409, Message: "no more buckets"})
	got := s.apply(d, s.compare(d), false)
	s.problem("bad", got["cloud_bucket.bad"], "ApplyFailed", "no more buckets", "main.tf:")
	for _, name := range []string{"cloud_vpc.a", "cloud_vpc.b", "cloud_subnet.c"} {
		if r := got[name]; r.Problem != nil || r.Held == nil || !strings.Contains(r.Message, name+" created") {
			t.Errorf("%s: %q, %+v", name, r.Message, r.Problem)
		}
	}
	s.accounted()
	s.good(s.apply(d, s.planned(d, "create cloud_bucket.bad"), false))
	s.inSync(d)
	// What waits for something that fails was not tried.
	d = want(idempotent + vpc("a", "10.9.0.0/16", "1") + subnet("c", "a"))
	s.inject(fakecloud.Fault{Op: "create", Kind: "vpc", Action: fakecloud.Fail, Status: 409, Message: "no more networks"})
	got = s.apply(d, s.compare(d), true)
	s.problem("a", got["cloud_vpc.a"], "ApplyFailed", "no more networks")
	s.problem("c", got["cloud_subnet.c"], "ApplyFailed", "since the apply failed before")
	s.good(s.apply(d, s.compare(d), true))
	s.inSync(d)
	s.accounted()
}

// TestCancel asks the program to end: it lets providers finish, or break off, what
// they are at, and begins nothing more.
func TestCancel(t *testing.T) {
	s := calm(t)
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + subnet("c", "a"))
	c := s.planned(d, "create cloud_vpc.a", "create cloud_subnet.c")
	s.hang("create")
	await := s.order(driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps})
	s.struck()
	s.driver.Cancel(owner)
	s.eventually("the program has heard", func() bool { return s.said("nterrupt") })
	s.cloud.Heal()
	if r := await()["cloud_subnet.c"]; r.Problem == nil || !r.Problem.Transient {
		t.Errorf("something was begun after the cancellation: %+v", r)
	}
	// What a provider has broken off it knows again, and what is half made is replaced.
	s.good(s.apply(d, s.compare(d), true))
	s.inSync(d)
	s.accounted()
}

// TestTakeUp goes on with an apply that an earlier process has begun.
func TestTakeUp(t *testing.T) {
	s := calm(t)
	// What a provider breaks off it must know again, or nobody could.
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + subnet("c", "a"))
	s.inject(fakecloud.Fault{Op: "create", Kind: "subnet", Action: fakecloud.Hang})
	s.driver.Close()
	s.patience = 50 * time.Millisecond
	s.start()
	c := s.planned(d, "create cloud_vpc.a", "create cloud_subnet.c")
	await := s.order(driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps})
	s.struck()
	program := s.program()
	signal(t, program, syscall.SIGSTOP) // it is slow to hear
	t.Cleanup(func() { _ = syscall.Kill(program, syscall.SIGCONT) })
	s.driver.Close()
	s.problem("c", await()["cloud_subnet.c"], "Cancelled", "plumb is being stopped; the apply goes on, and is taken up again")
	if s.states.locked() != 1 {
		t.Error("the lock was given back while the program still works")
	}
	s.start()
	c = s.compare(d)
	if len(c.Plan.Steps) > 0 {
		t.Errorf("something is planned beside what is under way: %v", steps(c))
	}
	s.cloud.Heal()
	signal(t, program, syscall.SIGCONT)
	s.eventually("the apply ends", func() bool { return s.states.locked() == 0 })
	s.eventually("there is nothing under way", func() bool { c = s.compare(d); return !progressing(c) })
	if len(c.Plan.Steps) > 0 { // the provider has broken it off
		s.good(s.apply(d, c, true)) // what is half made is replaced
	}
	s.inSync(d)
	s.accounted()
}

// TestForget drops a module once it is idle.
func TestForget(t *testing.T) {
	s := calm(t)
	d := want(providers + vpc("a", "10.0.0.0/16", "1"))
	c := s.planned(d, "create cloud_vpc.a")
	s.hang("create")
	await := s.order(driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps})
	s.struck()
	s.driver.Forget(owner)
	if !s.driver.Remembered(owner) {
		t.Error("what is under way was forgotten")
	}
	s.cloud.Heal()
	s.good(await())
	s.eventually("it is forgotten", func() bool { return !s.driver.Remembered(owner) })
	s.inSync(d)
	s.accounted()
	s.driver.Forget(owner)
	s.driver.Forget(owner)
	if s.driver.Remembered(owner) {
		t.Error("it is still remembered")
	}
}

// TestDestroyWithoutGit destroys with the module that was kept, and then keeps
// nothing more.
func TestDestroyWithoutGit(t *testing.T) {
	s := calm(t)
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + subnet("c", "a") + "output \"id\" {\n  value = cloud_vpc.a.id\n}\n")
	s.sync(d)
	var held []driver.Held
	for _, r := range s.compare(d).Resources {
		held = append(held, r.Held)
	}
	s.driver.Close()
	s.start()
	gone := driver.Desired{Target: d.Target, Deleting: true, Inventory: held}
	c := s.compare(gone)
	if got := steps(c); !strings.Contains(strings.Join(got, " "), "delete cloud_subnet.c delete cloud_vpc.a") {
		t.Errorf("the plan is %q", got)
	}
	s.all(s.apply(gone, c, false), "PruneRequired", "pruning is off")
	s.good(s.apply(gone, s.compare(gone), true))
	for range 2 {
		if c := s.compare(gone); !c.Plan.Empty() || len(c.Resources) > 0 {
			t.Errorf("something is left: %+v", c)
		}
	}
	s.accounted()
	if files, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*")); len(files) > 0 {
		t.Errorf("folders are left: %v", files)
	}
	if n := len(s.states.states); n > 0 {
		t.Errorf("%d states are left", n)
	}
	// Made again, it is as new.
	s.driver.Forget(owner)
	s.sync(d)
	s.accounted()
	d.Deleting = true // and destroyed with Git there
	s.good(s.apply(d, s.compare(d), true))
	s.inSync(d)
}

// TestIgnoredDrift is left alone by the apply of other changes.
func TestIgnoredDrift(t *testing.T) {
	s := calm(t)
	rules := []v1alpha1.DriftRule{{Kind: "cloud_vpc", Name: "cloud_vpc.a", Action: v1alpha1.DriftIgnore}}
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1"))
	d.Drift.Rules = rules
	s.sync(d)
	w := world{s.cloud}
	ref := object("cloud_vpc", "a", "").Ref
	w.Edit(t, ref, "theirs")
	d = want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "2"))
	d.Drift.Rules = rules
	s.good(s.apply(d, s.planned(d, "update cloud_vpc.b"), false))
	s.inSync(d)
	if v, _ := w.Value(t, ref); v != "theirs" {
		t.Errorf("the ignored drift was reverted: %q", v)
	}
	s.accounted()
}

// TestOutputsOnly makes outputs true where nothing else changes.
func TestOutputsOnly(t *testing.T) {
	s := calm(t)
	text := idempotent + vpc("a", "10.0.0.0/16", "1") + "output \"x\" {\n  value = %q\n}\n"
	s.sync(want(fmt.Sprintf(text, "1")))
	d := want(fmt.Sprintf(text, "2"))
	c := s.compare(d)
	if c.Plan.Empty() {
		t.Fatal("a changed output is no change")
	}
	s.good(s.apply(d, c, false))
	s.inSync(d)
	if v := s.compare(d).Outputs["x"]; string(v.JSON) != `"2"` {
		t.Errorf("the output is %s", v.JSON)
	}
}

// TestLarge plans and applies a module of 300 resources.
func TestLarge(t *testing.T) {
	s := calm(t)
	d := want(idempotent + "resource \"cloud_bucket\" \"it\" {\n  count = 300\n  name = \"b-${count.index}\"\n}\n")
	c := s.compare(d)
	if n := len(c.Plan.Steps); n != 300 {
		t.Fatalf("%d steps", n)
	}
	s.good(s.apply(d, c, false))
	s.inSync(d)
	if c := s.compare(d); len(c.Resources) != 300 || c.Calls != 0 {
		t.Errorf("%d resources, %d calls", len(c.Resources), c.Calls)
	}
	s.accounted()
}
