package tofu_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
)

// TestUnusedFolders removes what was not used for long, and nothing that is needed.
func TestUnusedFolders(t *testing.T) {
	s := calm(t)
	used := want(idempotent + vpc("a", "10.0.0.0/16", "1"))
	s.sync(used)
	other := want(idempotent + vpc("b", "10.1.0.0/16", "1"))
	other.Target.Owner = "team/other"
	unsaved := other
	unsaved.Target.Owner = "team/unsaved"
	for _, d := range []driver.Desired{other, unsaved} {
		if _, err := s.driver.Compare(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		s.driver.Forget(d.Target.Owner)
	}
	left := func() int {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(s.dir, "apps", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	folder, err := filepath.Glob(filepath.Join(s.dir, "apps", "team-unsaved-*"))
	if err != nil || len(folder) != 1 {
		t.Fatalf("%v %v", folder, err)
	}
	state := filepath.Join(folder[0], "run", "state", "terraform.tfstate")
	if err := os.WriteFile(state, []byte(`{"version":4,"serial":7,"lineage":"x","resources":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for _, tc := range []struct {
		reason string
		after  time.Duration
		left   int
	}{
		{"all were used lately", day, 3},
		{"one is in use, one has a state that is nowhere else", 31 * day, 2},
	} {
		if err := s.driver.Prune(t.Context(), time.Now().Add(tc.after)); err != nil {
			t.Fatal(err)
		}
		if n := left(); n != tc.left {
			t.Errorf("%s: there are %d folders, should be %d", tc.reason, n, tc.left)
		}
	}
	s.inSync(used)
	used.Fresh = true // its providers are still there
	s.planned(used)
	s.accounted()
	used.Fresh, used.Deleting = false, true
	s.good(s.apply(used, s.compare(used), true))
	s.inSync(used)
	s.driver.Forget(owner)
}

// TestSharedFolder has two processes look at one Application one after the other.
func TestSharedFolder(t *testing.T) {
	s := calm(t)
	s.driver.Close()
	options := func() tofu.Options {
		o := s.options()
		o.Shared = true
		return o
	}
	first, err := tofu.New(options())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := tofu.New(options())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1"))
	d.Full = true
	if _, err := first.Compare(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := second.Compare(ctx, d); err == nil {
		t.Fatal("two work in one folder")
	}
	done := make(chan error, 1)
	go func() {
		_, err := second.Compare(context.Background(), d)
		done <- err
	}()
	first.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
