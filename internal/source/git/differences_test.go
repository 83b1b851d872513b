package git

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/source"
)

func TestDifferences(t *testing.T) {
	r := newRepo(t)
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		at := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("same/deep/a", "1", 0o644)
	write("changed/a", "1", 0o644)
	write("mode", "1", 0o644)
	write("gone/a", "1", 0o644)
	write("kind", "1", 0o644)
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "one")
	one := r.git("rev-parse", "HEAD")
	write("changed/a", "2", 0o644)
	write("mode", "1", 0o755)
	r.git("rm", "-q", "-r", "gone", "kind")
	write("kind/a", "1", 0o644)
	write("new/a", "1", 0o644)
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "two")
	two := r.git("rev-parse", "HEAD")
	s := newSource(t)
	spec := source.Spec{Repo: r.url()}
	differences := func(most int) (map[string]source.Difference, error) {
		return s.Differences(t.Context(), spec, resolve(t, s, r.url(), one), resolve(t, s, r.url(), two), source.Credentials{}, most)
	}
	got, err := differences(10)
	if err != nil {
		t.Fatal(err)
	}
	const v1, v2 = "56a6051ca2b02b04ef92d5150c9ef600403cb1de", "d8263ee9860594d2806b0dfd1bfd17528b0ba2a4"
	want := map[string]source.Difference{
		"changed/a": {From: "100644 " + v1, To: "100644 " + v2},
		"mode":      {From: "100644 " + v1, To: "100755 " + v1},
		"gone/a":    {From: "100644 " + v1},
		"kind":      {From: "100644 " + v1},
		"kind/a":    {To: "100644 " + v1},
		"new/a":     {To: "100644 " + v1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what differs (-want +got):\n%s", diff)
	}
	if _, err := differences(5); err == nil {
		t.Error("more is given than was asked for")
	}
}
