package git

import (
	"fmt"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// monorepo holds n applications of four files.
func monorepo(t testing.TB, n int) *repo {
	r := newRepo(t)
	for i := range n {
		for _, f := range []string{"deployment", "service", "configmap", "serviceaccount"} {
			r.write(fmt.Sprintf("apps/app-%04d/%s.yaml", i, f), fmt.Sprintf("kind: %s\nmetadata:\n  name: app-%d\n", f, i))
		}
	}
	r.commit("first")
	return r
}

// TestMonorepoCosts counts what a commit to a monorepo costs: one question, one
// fetch, and no read of what did not change.
func TestMonorepoCosts(t *testing.T) {
	const apps = 300
	r := monorepo(t, apps)
	s := newSource(t, func(o *Options) { o.Debounce = time.Hour })
	pass := func() map[string]bool {
		ids := map[string]bool{}
		for i := range apps {
			ids[fetch(t, s, r.url(), "main").ID(fmt.Sprintf("apps/app-%04d", i))] = true
		}
		return ids
	}
	before := pass()
	r.write("apps/app-0007/deployment.yaml", "changed: yes\n")
	r.commit("second")
	s.Refresh(r.url())
	after := pass()
	changed := 0
	for id := range after {
		if !before[id] {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d identities changed, want 1", changed)
	}
	if l, f := s.lists.Load(), s.fetches.Load(); l != 2 || f != 2 {
		t.Errorf("%d lists and %d fetches, want 2 and 2", l, f)
	}
}

func BenchmarkMonorepo(b *testing.B) {
	const apps = 1000
	r := monorepo(b, apps)
	s := newSource(b, func(o *Options) { o.Debounce = time.Hour })
	ids := func(tree source.Tree) {
		for i := range apps {
			if tree.ID(fmt.Sprintf("apps/app-%04d", i)) == "" {
				b.Fatal("no identity")
			}
		}
	}
	start := time.Now()
	tree := fetch(b, s, r.url(), "main")
	fetched := time.Now()
	ids(tree)
	listed := time.Now()
	for i := range apps {
		for _, f := range []string{"deployment", "service", "configmap", "serviceaccount"} {
			read(b, tree, fmt.Sprintf("apps/app-%04d/%s.yaml", i, f))
		}
	}
	b.Logf("first: fetch %v, 1000 identities %v, 4000 files %v", fetched.Sub(start), listed.Sub(fetched), time.Since(listed))

	b.Run("commit", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			b.StopTimer()
			r.write("apps/app-0007/deployment.yaml", fmt.Sprint("changed: ", n, "\n"))
			r.commit("next")
			s.Refresh(r.url())
			b.StartTimer()
			at := resolve(b, s, r.url(), "main")
			resolved := time.Now()
			tree, err := s.Fetch(b.Context(), source.Spec{Repo: r.url()}, at, source.Credentials{})
			if err != nil {
				b.Fatal(err)
			}
			fetched := time.Now()
			ids(tree)
			b.ReportMetric(float64(time.Since(fetched).Microseconds()), "µs-ids")
			b.ReportMetric(float64(fetched.Sub(resolved).Microseconds()), "µs-fetch")
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			for i := range apps {
				fetch(b, s, r.url(), "main").ID(fmt.Sprintf("apps/app-%04d", i))
			}
		}
	})
}
