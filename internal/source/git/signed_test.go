package git

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/source"
)

func signatures(t *testing.T, s *Source, r *repo, at source.Resolved, until int) []string {
	t.Helper()
	var seen []string
	err := s.Signatures(t.Context(), source.Spec{Repo: r.url()}, at, source.Credentials{}, func(o source.Object) bool {
		if o.Tag == "" {
			seen = append(seen, "commit "+o.ID)
		} else {
			seen = append(seen, "tag "+o.Tag)
		}
		return len(seen) == until
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func TestSignatures(t *testing.T) {
	r := newRepo(t)
	id := r.commit("one")
	r.git("tag", "light")
	r.git("tag", "-a", "-m", "release", "v1")
	r.git("tag", "-a", "-m", "release", "v2")
	s := newSource(t)
	for revision, want := range map[string][]string{
		"main":  {"commit " + id, "tag v1", "tag v2"},
		"light": {"commit " + id, "tag v1", "tag v2"},
		"v1":    {"tag v1"},
		id:      {"commit " + id, "tag v1", "tag v2"},
	} {
		if diff := cmp.Diff(want, signatures(t, s, r, resolve(t, s, r.url(), revision), 0)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", revision, diff)
		}
	}
	if got := signatures(t, s, r, resolve(t, s, r.url(), "main"), 1); len(got) != 1 {
		t.Errorf("it goes on though enough was seen: %v", got)
	}
}

func TestHistory(t *testing.T) {
	r := newRepo(t)
	one := r.commit("one")
	two := r.commit("two")
	r.git("checkout", "-q", "-b", "side", one)
	side := r.commit("side")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	merge := r.git("rev-parse", "HEAD")
	s := newSource(t)
	visit := func(stop string) []string {
		var seen []string
		err := s.History(t.Context(), source.Spec{Repo: r.url()}, resolve(t, s, r.url(), "main"), source.Credentials{}, func(o source.Object) bool {
			seen = append(seen, o.ID)
			return o.ID != stop
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	if diff := cmp.Diff([]string{merge, two, side, one}, visit("")); diff != "" {
		t.Errorf("the whole history (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{merge}, visit(merge)); diff != "" {
		t.Errorf("no deeper than asked for (-want +got):\n%s", diff)
	}
	r.commit("three")
	s.Refresh("")
	if got := visit(""); len(got) != 5 {
		t.Errorf("a new commit: got %d", len(got))
	}
}
