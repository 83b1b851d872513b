package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// reader renders by doing what it is told with the request's trees.
type reader struct {
	do   func(Request)
	kind v1alpha1.ApplicationSourceType
	err  error
	gate chan struct{}
	runs atomic.Int64
}

func (r *reader) Render(_ context.Context, req Request) (Bundle, error) {
	r.runs.Add(1)
	if r.gate != nil {
		<-r.gate
	}
	if r.do != nil {
		r.do(req)
	}
	b := NewBuilder(r.kind, Limits{})
	_ = b.Add(map[string]any{"apiVersion": "v1", "kind": "A", "metadata": map[string]any{"name": "a"}}, "f", 1)
	return b.Bundle(), r.err
}

func with(files map[string]string, changes map[string]string) map[string]string {
	out := maps.Clone(files)
	for k, v := range changes {
		if v == "" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

func TestCache(t *testing.T) {
	files := map[string]string{
		"apps/a/x.yaml": "1", "apps/a/link": memtree.Link("../../shared/l.yaml"), "apps/b/y.yaml": "1",
		"base/k.yaml": "1", "base/other.yaml": "1", "shared/l.yaml": "1",
	}
	values := map[string]string{"v.yaml": "1", "w.yaml": "1"}
	cases := map[string]struct {
		reason          string
		kind            v1alpha1.ApplicationSourceType
		do              func(Request)
		change, valuesC map[string]string
		request         func(*Request)
		rendered        bool
	}{
		"Same":          {reason: "nothing changed"},
		"Elsewhere":     {reason: "a commit elsewhere in the repository renders nothing", change: map[string]string{"apps/b/y.yaml": "2", "new": "1"}},
		"Own":           {reason: "the own directory changed", change: map[string]string{"apps/a/x.yaml": "2"}, rendered: true},
		"Link":          {reason: "what a link in the own directory leads to changed", change: map[string]string{"shared/l.yaml": "2"}, rendered: true},
		"Base":          {reason: "a file that was read outside changed", do: func(r Request) { _, _ = r.Input.Tree.ReadFile("base/k.yaml") }, change: map[string]string{"base/k.yaml": "2"}, rendered: true},
		"BesideBase":    {reason: "one beside it changed", do: func(r Request) { _, _ = r.Input.Tree.ReadFile("base/k.yaml") }, change: map[string]string{"base/other.yaml": "2"}},
		"DirStat":       {reason: "that a directory is there is not what it holds", do: func(r Request) { _, _ = r.Input.Tree.Stat("base") }, change: map[string]string{"base/other.yaml": "2"}},
		"DirGone":       {reason: "a directory that was there is gone", do: func(r Request) { _, _ = r.Input.Tree.Stat("base") }, change: map[string]string{"base/other.yaml": "", "base/k.yaml": ""}, rendered: true},
		"Listed":        {reason: "a directory that was listed has more", do: func(r Request) { _, _ = r.Input.Tree.ReadDir("base") }, change: map[string]string{"base/new.yaml": "1"}, rendered: true},
		"Appeared":      {reason: "a file that was not there appeared", do: func(r Request) { _, _ = r.Input.Tree.Stat("base/opt.yaml") }, change: map[string]string{"base/opt.yaml": "1"}, rendered: true},
		"NotReadAbsent": {reason: "also where it was tried to be read", do: func(r Request) { _, _ = r.Input.Tree.ReadFile("base/opt.yaml") }, change: map[string]string{"base/opt.yaml": "1"}, rendered: true},
		"Value":         {reason: "a value file of a ref changed", do: func(r Request) { _, _ = r.Refs["values"].Tree.ReadFile("v.yaml") }, valuesC: map[string]string{"v.yaml": "2"}, rendered: true},
		"OtherValue":    {reason: "another file of the ref changed", do: func(r Request) { _, _ = r.Refs["values"].Tree.ReadFile("v.yaml") }, valuesC: map[string]string{"w.yaml": "2"}},
		"Revision":      {reason: "the revision was put into the result", do: func(r Request) { BuildEnv(&r).Subst("$ARGOCD_APP_REVISION") }, change: map[string]string{"apps/b/y.yaml": "2"}, rendered: true},
		"NoRevision":    {reason: "another variable was", do: func(r Request) { BuildEnv(&r).Subst("$ARGOCD_APP_NAME") }, change: map[string]string{"apps/b/y.yaml": "2"}},
		"Parameters":    {reason: "the source's options changed", request: func(r *Request) { r.Input.Source.Directory = &v1alpha1.ApplicationSourceDirectory{Recurse: true} }, rendered: true},
		"Namespace":     {reason: "the destination's namespace changed", request: func(r *Request) { r.Namespace = "x" }, rendered: true},
		"Kinds":         {reason: "a directory does not see the destination's kinds", request: func(r *Request) { r.APIVersions = []string{"x/v1"} }},
		"HelmKinds":     {reason: "a chart does", kind: v1alpha1.ApplicationSourceTypeHelm, request: func(r *Request) { r.APIVersions = []string{"x/v1"} }, rendered: true},
		"AskedKinds":    {reason: "and so does who asks", do: func(r Request) { BuildEnv(&r).Subst("$KUBE_VERSION") }, request: func(r *Request) { r.KubeVersion = "v1.2.3" }, rendered: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.kind == "" {
				tc.kind = v1alpha1.ApplicationSourceTypeDirectory
			}
			build := func(f, v map[string]string) Request {
				return Request{AppName: "a", Input: Input{Tree: memtree.New(f), Path: "apps/a"}, Refs: map[string]Input{"values": {Tree: memtree.New(v)}}}
			}
			c, r := NewCache(1<<20), &reader{do: tc.do, kind: tc.kind}
			first, rendered, err := c.Render(t.Context(), build(files, values), r)
			if err != nil || !rendered {
				t.Fatalf("first: rendered %v, %v", rendered, err)
			}
			req := build(with(files, tc.change), with(values, tc.valuesC))
			if tc.request != nil {
				tc.request(&req)
			}
			if _, known := c.Lookup(req); known == tc.rendered {
				t.Errorf("%s: lookup found it: %v", tc.reason, known)
			}
			again, rendered, err := c.Render(t.Context(), req, r)
			if err != nil || rendered != tc.rendered || again.Hash != first.Hash {
				t.Errorf("%s: rendered %v, want %v (%v)", tc.reason, rendered, tc.rendered, err)
			}
			// Both contents stay known: a rollback renders nothing.
			if _, rendered, _ := c.Render(t.Context(), build(files, values), r); rendered {
				t.Errorf("%s: going back rendered", tc.reason)
			}
			if want := map[bool]uint64{true: 2, false: 1}[tc.rendered]; c.Renderings() != want {
				t.Errorf("%d renderings, want %d", c.Renderings(), want)
			}
		})
	}
}

func TestCacheShares(t *testing.T) {
	c, r := NewCache(1<<20), &reader{gate: make(chan struct{})}
	tree := memtree.New(map[string]string{"a/x": "1"})
	var wg sync.WaitGroup
	var rendered atomic.Int64
	for range 20 {
		wg.Go(func() {
			if _, did, err := c.Render(context.Background(), Request{Input: Input{Tree: tree, Path: "a"}}, r); err != nil {
				t.Error(err)
			} else if did {
				rendered.Add(1)
			}
		})
	}
	// A caller that gives up does not take the rendering from the others.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := c.Render(ctx, Request{Input: Input{Tree: tree, Path: "a"}}, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(r.gate)
	wg.Wait()
	if r.runs.Load() != 1 || rendered.Load() > 1 {
		t.Errorf("%d renderings, %d callers rendered", r.runs.Load(), rendered.Load())
	}
}

func TestCacheIsPassedBy(t *testing.T) {
	c, r := NewCache(1<<20), &reader{}
	req := Request{AppName: "a", Input: Input{Tree: memtree.At("1", map[string]string{"apps/a/x.yaml": "1"}), Path: "apps/a"}}
	uncached := req
	uncached.Uncached = true
	for i, step := range []struct {
		req  Request
		runs int64
	}{{uncached, 1}, {req, 2}, {req, 2}, {uncached, 3}, {req, 3}} {
		if _, _, err := c.Render(t.Context(), step.req, r); err != nil {
			t.Fatal(err)
		}
		if got := r.runs.Load(); got != step.runs {
			t.Errorf("after request %d: %d renderings, want %d", i, got, step.runs)
		}
	}
}

func TestCacheErrors(t *testing.T) {
	c, r := NewCache(1<<20), &reader{err: errors.New("no")}
	req := Request{Input: Input{Tree: memtree.New(map[string]string{"a/x": "1"}), Path: "a"}}
	for range 2 {
		if _, _, err := c.Render(t.Context(), req, r); err == nil {
			t.Error("an error was lost")
		}
	}
	if r.runs.Load() != 2 {
		t.Error("an error was kept")
	}
	r.do = func(Request) { panic("boom") }
	if _, _, err := c.Render(t.Context(), req, r); err == nil {
		t.Error("a panic was lost")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c, r := NewCache(10_000), &reader{}
	for i := range 100 {
		req := Request{AppName: fmt.Sprint(i), Input: Input{Tree: memtree.New(map[string]string{"a/x": "1"}), Path: "a"}}
		if _, _, err := c.Render(t.Context(), req, r); err != nil {
			t.Fatal(err)
		}
	}
	s := c.Stats()
	if s.Bytes > 10_000 || s.Entries == 0 || s.Entries == 100 || len(c.entries) != s.Entries {
		t.Errorf("%+v", s)
	}
}

// TestCacheOfALocalDirectory says that a revision that is no digest is not
// taken for one.
func TestCacheOfALocalDirectory(t *testing.T) {
	c, r := NewCache(1<<20), &reader{do: func(r Request) { _, _ = r.Input.Tree.ReadFile("base/x") }}
	for i, want := range []uint64{1, 2} {
		tree := memtree.At("local", map[string]string{"a/x": "1", "base/x": fmt.Sprint(i)})
		if _, err := c.Over(r).Render(t.Context(), Request{Input: Input{Tree: tree, Path: "a"}}); err != nil || c.Renderings() != want {
			t.Errorf("%d renderings, want %d (%v)", c.Renderings(), want, err)
		}
	}
}
