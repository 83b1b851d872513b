package run_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// TestPruneStore removes providers that no folder uses.
func TestPruneStore(t *testing.T) {
	shared, data := t.TempDir(), t.TempDir()
	old := time.Now().Add(-time.Hour)
	dir := func(parts ...string) string {
		t.Helper()
		path := filepath.Join(parts...)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, version := range []string{"1.0.0", "1.1.0", "2.0.0", "3.0.0"} {
		name := filepath.Join("registry.opentofu.org", "hashicorp", "random", version, "linux_amd64")
		dir(shared, "cache", name)
		kept := dir(shared, "store", name, "abc")
		if version == "1.0.0" {
			link := filepath.Join(data, "providers", name)
			dir(filepath.Dir(link))
			if err := os.Symlink(kept, link); err != nil {
				t.Fatal(err)
			}
		}
		if version == "1.1.0" {
			other := dir(shared, "store", name, "def") // in use, beside one that is not
			link := filepath.Join(data, "providers", name)
			dir(filepath.Dir(link))
			if err := os.Symlink(other, link); err != nil {
				t.Fatal(err)
			}
		}
		if version != "3.0.0" { // which is new
			if err := os.Chtimes(kept, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := run.PruneStore(t.Context(), shared, []string{data}, old.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	left := func(stars ...string) []string {
		found, _ := filepath.Glob(filepath.Join(append([]string{shared}, stars...)...))
		var names []string
		for _, f := range found {
			rel, _ := filepath.Rel(shared, f)
			names = append(names, rel)
		}
		return names
	}
	const random = "registry.opentofu.org/hashicorp/random/"
	if got, want := left("store", "*", "*", "*", "*", "*", "*"), []string{
		"store/" + random + "1.0.0/linux_amd64/abc", "store/" + random + "1.1.0/linux_amd64/def", "store/" + random + "3.0.0/linux_amd64/abc",
	}; !slices.Equal(got, want) {
		t.Errorf("the store has %q, should have %q", got, want)
	}
	if got := left("cache", "*", "*", "*", "2.0.0", "*"); len(got) > 0 {
		t.Errorf("the cache has %q", got)
	}
	if got := left("cache", "*", "*", "*", "1.*", "*"); len(got) != 2 {
		t.Errorf("of what is in use the cache has %q", got)
	}
	if err := run.PruneStore(t.Context(), filepath.Join(shared, "none"), nil, time.Now()); err != nil {
		t.Error(err)
	}
}

// TestIdleWaitsForNobody has a program leave something among the states that would
// keep whoever reads it for ever.
func TestIdleWaitsForNobody(t *testing.T) {
	f := run.Folder{Path: t.TempDir()}
	pipe := filepath.Join(f.Path, "state", "more.tfstate")
	if err := os.MkdirAll(filepath.Dir(pipe), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	said := make(chan bool, 1)
	go func() { said <- run.Idle(f, func([]byte) bool { return false }) }()
	select {
	case idle := <-said:
		if !idle {
			t.Error("a pipe is taken for a state")
		}
	case <-time.After(10 * time.Second):
		t.Error("a pipe among the states is waited for")
	}
}
