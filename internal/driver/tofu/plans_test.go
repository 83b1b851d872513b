package tofu_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
)

// TestOldPlan applies a plan that has waited for long.
func TestOldPlan(t *testing.T) {
	s := calm(t)
	d := func(n int) driver.Desired { return want(idempotent + vpc("a", "10.0.0.0/16", fmt.Sprint(n))) }
	s.sync(d(1))
	ref := object("cloud_vpc", "a", "").Ref
	valued := func(want string) {
		t.Helper()
		if v, _ := (world{s.cloud}).Value(t, ref); v != want {
			t.Fatalf("the value is %q, should be %q", v, want)
		}
	}
	c := s.planned(d(2), "update cloud_vpc.a")
	s.driver.Age(owner, 16*time.Minute)
	s.good(s.apply(d(2), c, false)) // it still says the same
	valued("2")

	// One that somebody may have approved stays, byte for byte, whatever looks at it.
	c = s.planned(d(3), "update cloud_vpc.a")
	before := s.planFile(c.Plan.Digest())
	fresh, full := d(3), d(3)
	fresh.Fresh, full.Full = true, true
	s.planned(fresh, "update cloud_vpc.a")
	s.planned(full, "update cloud_vpc.a")
	if after := s.planFile(c.Plan.Digest()); after != before {
		t.Error("it is another plan after a look at it")
	}
	s.driver.Close()
	s.start()
	s.planned(d(3), "update cloud_vpc.a")
	if after := s.planFile(c.Plan.Digest()); after != before {
		t.Error("it is another plan after a restart")
	}
	s.driver.Age(owner, 23*time.Hour)
	s.good(s.order(driver.Apply{Desired: d(3), Operation: "op", Steps: c.Plan.Steps, MaxAge: 24 * time.Hour})())
	valued("3")

	// What has changed meanwhile makes it another one.
	c = s.planned(d(4), "update cloud_vpc.a")
	before = s.planFile(c.Plan.Digest())
	world{s.cloud}.Edit(t, ref, "theirs")
	fresh = d(4)
	fresh.Fresh = true
	c = s.planned(fresh, "update cloud_vpc.a")
	if after := s.planFile(c.Plan.Digest()); after == before {
		t.Error("a plan of another world is kept")
	}
	s.good(s.apply(d(4), c, false))
	valued("4")
	s.inSync(d(4))
	s.accounted()
}

// planFile is the content of the plan that would be applied.
func (s *stage) planFile(digest string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.driver.PlanFile(owner, digest))
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]) + " " + filepath.Base(s.driver.PlanFile(owner, digest))
}
