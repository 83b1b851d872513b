package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memtree"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden stories anew")

const repo = "https://git.example/shop.git"

// story loops the real engine around a driver, a source and an API in memory,
// and writes down what happens, for people to read and approve.
type story struct {
	t       *testing.T
	e       *Engine
	api     *fakeAPI
	git     *fakeGit
	clock   *fakeClock
	driver  *memory.Driver
	world   *memory.World
	text    strings.Builder
	renders *int
	gates   *fakeGates
}

func newStory(t *testing.T, options ...memory.Option) *story {
	t.Helper()
	s := &story{t: t, git: &fakeGit{trees: map[string]map[string]string{}}, clock: &fakeClock{now: time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)}}
	s.driver = memory.New(options...)
	s.world = s.driver.World()
	s.api = &fakeAPI{s: s, apps: map[Key]*v1alpha1.Application{}}
	s.renders, s.gates = new(int), &fakeGates{}
	s.restart()
	return s
}

// restart replaces the engine by one that remembers nothing, as after a crash.
func (s *story) restart() {
	s.e = New(Options{
		Applications: s.api, Projects: open{}, Destinations: open{}, Credentials: open{}, Events: s.api,
		Sources: Sources{Git: s.git}, Renderer: plainRenderer{s.renders},
		Drivers: map[string]driver.Driver{"kube": s.driver}, Clock: s.clock, Gates: s.gates, Pins: s.api,
	})
}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(&s.text, format+"\n", args...)
}

// tell makes a heading, and runs what has become due.
func (s *story) tell(what string) {
	s.say("\n# %s", what)
	s.run()
}

// run works until nothing changes any more. It looks at all Applications again
// and again, as if each had been told to have moved: what a driver says of moves
// is its own suite's concern, and a goroutine of its own would shuffle the story.
func (s *story) run() {
	for range 20 {
		s.e.queue.add(s.api.Keys()...)
		before := s.text.Len()
		for s.e.queue.depth() > 0 {
			key, _ := s.e.queue.take(quick)
			s.e.pass(context.Background(), key)
			s.e.queue.done(key)
			s.hearWorld()
		}
		if s.text.Len() == before {
			return
		}
	}
	s.t.Fatalf("the story does not come to rest:\n%s", s.text.String())
}

func (s *story) hearWorld() {
	for _, line := range s.world.Log() {
		s.say("  destination: %s", line)
	}
}

// later lets time pass.
func (s *story) later(d time.Duration) {
	s.clock.now = s.clock.now.Add(d)
	s.tell(fmt.Sprintf("%s later", d))
}

// check compares the story with the golden one.
func (s *story) check() {
	s.t.Helper()
	name := filepath.Join("testdata", strings.ReplaceAll(s.t.Name(), "/", "_")+".golden")
	got := strings.TrimPrefix(s.text.String(), "\n")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatalf("%v (run with -update and read what it says)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		s.t.Errorf("the story went otherwise (-want +got):\n%s", diff)
	}
}

// fakeAPI is the API server as far as the engine sees it.
type fakeAPI struct {
	s    *story
	apps map[Key]*v1alpha1.Application
	fail error
}

func (a *fakeAPI) Get(k Key) (*v1alpha1.Application, bool) { app, ok := a.apps[k]; return app, ok }

func (a *fakeAPI) Keys() []Key {
	keys := make([]Key, 0, len(a.apps))
	for k := range a.apps {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	return keys
}

func (a *fakeAPI) WriteStatus(_ context.Context, app *v1alpha1.Application, k Key, status v1alpha1.ApplicationStatus) error {
	if a.fail != nil {
		return a.fail
	}
	a.s.hearWorld()
	next := a.apps[k].DeepCopy()
	next.Status = *status.DeepCopy()
	a.s.say("  %s: %s", k.Name, summary(app.Status, status))
	a.apps[k] = next
	return nil
}

func (a *fakeAPI) Settle(_ context.Context, k Key, heard *v1alpha1.Application, operation, refresh bool) error {
	next := a.apps[k].DeepCopy()
	if operation && cmp.Equal(next.Operation, heard.Operation) {
		next.Operation = nil
		next.Generation++
	}
	if refresh {
		delete(next.Annotations, v1alpha1.AnnotationRefresh)
	}
	a.apps[k] = next
	return nil
}

func (a *fakeAPI) Release(_ context.Context, k Key) error {
	a.s.say("  %s: released", k.Name)
	delete(a.apps, k)
	return nil
}

func (a *fakeAPI) Record(ev Event) {
	kind := "event"
	if ev.Warning {
		kind = "warning"
	}
	if ev.Reason != "ResourceUpdated" {
		a.s.say("  %s: %s %s: %s", ev.Key.Name, kind, ev.Reason, ev.Message)
	}
}

// summary tells a status in a line.
func summary(before, after v1alpha1.ApplicationStatus) string {
	parts := []string{string(after.Sync.Status), string(after.Health.Status)}
	if op := after.OperationState; op != nil && !cmp.Equal(op, before.OperationState) {
		parts = append(parts, fmt.Sprintf("operation %s (%s)", op.Phase, op.Message))
	}
	if p := after.Plan; p != nil {
		parts = append(parts, fmt.Sprintf("plan +%d ~%d -%d", p.Create, p.Update+p.Replace, p.Delete))
	}
	if len(before.Inventory) != len(after.Inventory) {
		parts = append(parts, fmt.Sprintf("holds %d", len(after.Inventory)))
	}
	for _, c := range after.Conditions {
		parts = append(parts, c.Type+"["+c.Message+"]")
	}
	return strings.Join(parts, ", ")
}

// app makes an Application exist, or changes it.
func (s *story) app(name string, change func(*v1alpha1.Application)) {
	k := Key{v1alpha1.Group, "plumb", name}
	app := &v1alpha1.Application{}
	if old := s.api.apps[k]; old != nil {
		app = old.DeepCopy()
	} else {
		app.Name, app.Namespace, app.UID = name, "plumb", "uid-"+"12345678"
		yes := true
		app.Spec = v1alpha1.ApplicationSpec{
			Source:     &v1alpha1.ApplicationSource{RepoURL: repo, Path: name},
			SyncPolicy: &v1alpha1.SyncPolicy{Automated: &v1alpha1.SyncPolicyAutomated{Prune: &yes, SelfHeal: &yes}},
		}
		app.Finalizers = []string{v1alpha1.ResourcesFinalizer}
	}
	if change != nil {
		change(app)
	}
	app.Generation++
	s.api.apps[k] = app
}

// remove deletes an Application as the API server does.
func (s *story) remove(name string) {
	k := Key{v1alpha1.Group, "plumb", name}
	app := s.api.apps[k].DeepCopy()
	app.DeletionTimestamp = &metav1.Time{Time: s.clock.now}
	s.api.apps[k] = app
	if len(app.Finalizers) == 0 {
		delete(s.api.apps, k)
		s.e.Enqueue(k)
	}
}

// fakeGit is a repository whose commits are numbered.
type fakeGit struct {
	trees  map[string]map[string]string
	head   int
	broken error
	author string
}

// commit makes the content of a repository this.
func (g *fakeGit) commit(files map[string]string) {
	g.head++
	g.trees[g.revision()] = files
}

func (g *fakeGit) revision() string { return fmt.Sprintf("commit-%d", g.head) }

func (g *fakeGit) Resolve(_ context.Context, spec source.Spec, _ source.Credentials) (source.Resolved, error) {
	if g.broken != nil {
		return source.Resolved{}, g.broken
	}
	if _, ok := g.trees[spec.Revision]; ok {
		return source.Resolved{Revision: spec.Revision}, nil
	}
	return source.Resolved{Revision: g.revision()}, nil
}

func (g *fakeGit) Fetch(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials) (source.Tree, error) {
	return memtree.At(at.Revision, g.trees[at.Revision]), nil
}

func (g *fakeGit) Describe(context.Context, source.Spec, source.Resolved, source.Credentials) (source.Commit, error) {
	if g.author != "" {
		return source.Commit{Author: g.author, Message: "change a\n\nmore"}, nil
	}
	return source.Commit{}, errors.ErrUnsupported
}
func (g *fakeGit) Watch(ctx context.Context, _ func(string)) { <-ctx.Done() }
func (g *fakeGit) Refresh(string)                            {}

// plainRenderer reads every YAML file below the path.
type plainRenderer struct{ renders *int }

func (r plainRenderer) Render(_ context.Context, req render.Request) (render.Bundle, error) {
	*r.renders++
	b := render.NewBuilder(v1alpha1.ApplicationSourceTypeDirectory, render.Limits{})
	err := fs.WalkDir(req.Input.Tree, req.Input.Path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := req.Input.Tree.ReadFile(p)
		if err != nil {
			return err
		}
		var v any
		if err := yaml.Unmarshal(content, &v); err != nil {
			return fmt.Errorf("%s:1: %w", p, err)
		}
		return b.Add(v, p, 1)
	})
	return b.Bundle(), err
}

// open permits everything.
type open struct{}

func (open) Fence(*v1alpha1.Application, Key) (Fence, error)   { return open{}, nil }
func (open) Unimplemented(*v1alpha1.Application, Key) []string { return nil }
func (open) Shares(a *v1alpha1.Application, _ Key, b *v1alpha1.Application, _ Key) bool {
	return a.Spec.GetProject() == b.Spec.GetProject()
}
func (open) AllowSource(string) error                                   { return nil }
func (open) AllowDestination(string, string, string) error              { return nil }
func (open) AllowResource(plan.Ref, bool, string, string, string) error { return nil }
func (open) Modules() *v1alpha1.ModulePolicy                            { return nil }
func (open) Identity(string, string) (string, error)                    { return "", nil }
func (open) For(string, string) (source.Credentials, error)             { return source.Credentials{}, nil }
func (open) Server(v1alpha1.ApplicationDestination) (string, string, error) {
	return v1alpha1.InClusterServer, v1alpha1.InClusterName, nil
}

// fakeClock stands still until the story moves it. What is due is noticed by the
// story's own rounds, so it rings nobody.
type fakeClock struct{ now time.Time }

func (c *fakeClock) Now() time.Time { return c.now }
func (c *fakeClock) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}

// object is a manifest with annotations, in a line.
func object(kind, name, data string, annotations ...string) string {
	var b strings.Builder
	api := map[string]string{"Deployment": "apps/v1", "Job": "batch/v1"}[kind]
	if api == "" {
		api = "v1"
	}
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  namespace: shop\n", api, kind, name)
	for i, a := range slices.Sorted(slices.Values(annotations)) {
		if i == 0 {
			b.WriteString("  annotations:\n")
		}
		key, value, _ := strings.Cut(a, "=")
		fmt.Fprintf(&b, "    argocd.argoproj.io/%s: %q\n", key, value)
	}
	fmt.Fprintf(&b, "data:\n  value: %q\n", data)
	return b.String()
}
