package tofu_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/test/fakecloud"
)

// TestSalvage kills the program after it has made some things, with a provider that
// would make them twice.
func TestSalvage(t *testing.T) {
	s := calm(t)
	text := providers + vpc("old", "10.9.0.0/16", "1")
	s.sync(want(text))
	for i := range 6 {
		text += vpc(fmt.Sprintf("n%d", i), fmt.Sprintf("10.%d.0.0/16", i), "1")
	}
	text = strings.Replace(text, "10.9.0.0/16", "10.8.0.0/16", 1) // is replaced
	d := want(text + subnet("last", "n0"))
	c := s.compare(d)
	s.inject(fakecloud.Fault{Op: "create", Kind: "subnet", Action: fakecloud.Hang})
	await := s.order(driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps, Prune: true})
	s.struck()
	s.eventually("all else is complete", func() bool {
		done := 0
		for _, r := range s.compare(d).Resources {
			if r.Sync == driver.Synced && r.Exists {
				done++
			}
		}
		return done == 7
	})
	signal(t, s.program(), syscall.SIGKILL)
	s.cloud.Heal()
	for name, r := range await() {
		if r.Problem == nil && name == "cloud_subnet.last" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	s.eventually("the lock is given back", func() bool { return s.states.locked() == 0 })
	notes := ""
	s.eventually("there is nothing under way", func() bool {
		c = s.compare(d)
		notes = strings.Join(c.Notes, "; ")
		return !progressing(c)
	})
	if !strings.Contains(notes, "cloud_subnet.last was being made when the program was killed") {
		t.Errorf("what may have been made is told: %q", notes)
	}
	for _, o := range s.cloud.Objects("subnet") { // it may have been made: a person has looked
		if err := s.cloud.Delete(o.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.Plan.Steps); n != 1 {
		t.Errorf("what was made is known, and only the rest is planned: %v", steps(c))
	}
	s.good(s.apply(d, c, true))
	s.inSync(d)
	s.accounted()
}

// TestSalvageAfterRestart takes up what a killed program has made when the process
// that ran it has ended before.
func TestSalvageAfterRestart(t *testing.T) {
	s := calm(t)
	d := want(providers + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1") + subnet("last", "a"))
	c := s.compare(d)
	s.inject(fakecloud.Fault{Op: "create", Kind: "subnet", Action: fakecloud.Hang})
	await := s.order(driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps})
	s.struck()
	s.eventually("all else is told to be complete", func() bool {
		done := 0
		for _, r := range s.compare(d).Resources {
			if r.Sync == driver.Synced && r.Exists {
				done++
			}
		}
		return done == 2
	})
	program := s.program()
	signal(t, program, syscall.SIGSTOP) // so that it is still there when the driver goes
	s.driver.Close()
	await()
	signal(t, program, syscall.SIGKILL)
	s.cloud.Heal()
	s.start()
	s.eventually("there is nothing under way", func() bool { c = s.compare(d); return !progressing(c) && !c.Busy })
	for _, o := range s.cloud.Objects("subnet") { // it may have been made: a person has looked
		if err := s.cloud.Delete(o.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got := steps(c); len(got) != 1 || got[0] != "create cloud_subnet.last" {
		t.Errorf("what was made is known, and only the rest is planned: %v", got)
	}
	if s.states.locked() != 0 {
		t.Error("the lock was not given back")
	}
	s.good(s.apply(d, c, true))
	s.inSync(d)
	s.accounted()
}
