package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

func (s *story) gone(name string) bool {
	_, ok := s.api.apps[Key{v1alpha1.Group, "plumb", name}]
	return !ok
}

// nowhere knows no destination.
type nowhere struct{ open }

func (nowhere) Server(v1alpha1.ApplicationDestination) (string, string, error) {
	return "", "", errors.New("no cluster is registered under this name")
}

// Whoever mistypes a destination and takes the Application back must not be left
// with an Application that never goes.
func TestAnApplicationThatNeverHadADestinationCanBeDeleted(t *testing.T) {
	s := newStory(t)
	s.e.Destinations = nowhere{}
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.tell("an Application for an unknown cluster appears")
	s.remove("web")
	s.tell("it is deleted")
	s.later(10 * time.Minute)
	if !s.gone("web") {
		t.Errorf("the Application holds nothing and is still there\n%s", s.text.String())
	}
}

func TestACircleCanBeDeleted(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"a/a.yaml": object("ConfigMap", "a", "1"), "b/b.yaml": object("ConfigMap", "b", "1")})
	s.app("a", nil)
	s.app("b", func(a *v1alpha1.Application) { a.Spec.DependsOn = []v1alpha1.ApplicationRef{{Name: "a"}} })
	s.tell("two Applications appear")
	s.app("a", func(a *v1alpha1.Application) { a.Spec.DependsOn = []v1alpha1.ApplicationRef{{Name: "b"}} })
	s.tell("they depend on each other")
	s.remove("a")
	s.remove("b")
	s.tell("both are deleted")
	if !s.gone("a") || !s.gone("b") {
		t.Errorf("they wait for each other for ever\n%s", s.text.String())
	}
}

// A pass is bounded, and nothing else may come to wake an Application whose
// sync is longer than that.
func TestMoreWavesThanAPassHasSteps(t *testing.T) {
	s := newStory(t)
	files := map[string]string{}
	for i := range 3 * maxSteps {
		files[fmt.Sprintf("web/%d.yaml", i)] = object("ConfigMap", fmt.Sprintf("c%d", i), "1", fmt.Sprintf("sync-wave=%d", i))
	}
	s.git.commit(files)
	s.app("web", nil)
	key := Key{v1alpha1.Group, "plumb", "web"}
	rung := &ringing{now: s.clock.now}
	s.e.Clock, s.e.queue.clock = rung, rung
	s.e.queue.add(key)
	for s.e.queue.depth() > 0 || rung.ring() {
		if s.e.queue.depth() == 0 {
			continue
		}
		k, _ := s.e.queue.take(quick)
		s.e.pass(context.Background(), k)
		s.e.queue.done(k)
	}
	if last := plan.Address(fmt.Sprintf("ConfigMap/shop/c%d", 3*maxSteps-1)); !has(s, last) {
		t.Errorf("the sync stopped on its way: %s is missing\n%s", last, s.text.String())
	}
}

// ringing is a clock whose alarms ring when asked to.
type ringing struct {
	now time.Time
	due []func()
}

func (c *ringing) Now() time.Time { return c.now }
func (c *ringing) AfterFunc(_ time.Duration, f func()) func() bool {
	c.due = append(c.due, f)
	return func() bool { return true }
}

func (c *ringing) ring() bool {
	due := c.due
	c.due, c.now = nil, c.now.Add(time.Minute)
	for _, f := range due {
		f()
	}
	return len(due) > 0
}

// unseeing is a driver that for a while can't see what an Application holds.
type unseeing struct {
	driver.Driver
	blind bool
}

func (u *unseeing) Compare(ctx context.Context, d driver.Desired) (driver.Comparison, error) {
	c, err := u.Driver.Compare(ctx, d)
	if !u.blind || err != nil {
		return c, err
	}
	declared := map[plan.Address]bool{}
	for _, o := range d.Bundle.Objects {
		declared[o.Ref.Address()] = !d.Deleting
	}
	c = driver.Comparison{}
	for _, h := range d.Inventory {
		if declared[h.Ref.Address()] {
			continue
		}
		c.Resources = append(c.Resources, driver.Resource{
			Ref: h.Ref, Held: h, Sync: driver.Unknown, Cause: driver.CauseExtra, Exists: true,
			Health:  health.Health{Status: health.Unknown},
			Problem: &driver.Problem{Reason: "Forbidden", Transient: true, Message: "may not be watched"},
		})
	}
	return c, nil
}

func TestWhatCannotBeSeenIsNotLetGo(t *testing.T) {
	s := newStory(t)
	u := &unseeing{Driver: s.driver}
	s.e.Drivers["kube"] = u
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.tell("an Application appears")
	u.blind = true
	s.remove("web")
	s.tell("it is deleted while nothing can be seen")
	for range 5 {
		s.later(5 * time.Minute)
	}
	if s.gone("web") {
		t.Fatalf("it was released with its resources still there\n%s", s.text.String())
	}
	u.blind = false
	s.later(5 * time.Minute)
	if !s.gone("web") || has(s, "ConfigMap/shop/a") {
		t.Errorf("it does not go when it can be seen again\n%s", s.text.String())
	}
}

// settleless loses the taking back of a request, as a crash in between does.
type settleless struct {
	*fakeAPI
	lose bool
}

func (a *settleless) Settle(ctx context.Context, k Key, heard *v1alpha1.Application, operation, refresh bool) error {
	if a.lose {
		return errors.New("killed")
	}
	return a.fakeAPI.Settle(ctx, k, heard, operation, refresh)
}

func TestARequestIsFollowedOnce(t *testing.T) {
	s := newStory(t)
	api := &settleless{fakeAPI: s.api, lose: true}
	s.e.Applications = api
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/m.yaml": object("Job", "m", "1", "hook=PreSync")})
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy = nil
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{Prune: true}, InitiatedBy: v1alpha1.OperationInitiator{Username: "ann"}}
	})
	s.tell("a sync is asked for, and the process ends before the request is taken back")
	first := s.api.apps[Key{v1alpha1.Group, "plumb", "web"}].Status.OperationState
	s.clock.now = s.clock.now.Add(time.Minute)
	s.restart()
	s.tell("a new process")
	second := s.api.apps[Key{v1alpha1.Group, "plumb", "web"}].Status.OperationState
	if first == nil || second == nil || !first.StartedAt.Equal(&second.StartedAt) {
		t.Errorf("the sync ran twice: %v, %v\n%s", first, second, s.text.String())
	}
}

func TestSyncsOfOtherSourcesAreRefused(t *testing.T) {
	s := newStory(t)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy = nil
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{Source: &v1alpha1.ApplicationSource{RepoURL: repo, Path: "older"}}}
	})
	s.tell("somebody asks for a sync to another source, as a rollback by Argo CD's API does")
	if has(s, "ConfigMap/shop/a") {
		t.Errorf("the declared source was synced instead\n%s", s.text.String())
	}
}

func TestAddressesInErrorsAreRedacted(t *testing.T) {
	_, err := fetcher{}.FetchFile(context.Background(), "https://ann:s3cr3t-token@files.example/a.yaml")
	if err == nil || strings.Contains(err.Error(), "s3cr3t-token") {
		t.Errorf("got %v", err)
	}
}

// ensuring is a driver that makes the Application's namespace exist.
type ensuring struct{ driver.Driver }

func (d ensuring) Compare(ctx context.Context, des driver.Desired) (driver.Comparison, error) {
	c, err := d.Driver.Compare(ctx, des)
	ns := plan.Ref{Version: "v1", Kind: "Namespace", Name: "shop"}
	c.Resources = append(c.Resources, driver.Resource{
		Ref: ns, Exists: true, Ensured: true, Sync: driver.Synced, Health: health.Health{Status: health.Healthy}, Held: driver.Held{Ref: ns, Keep: true},
	})
	return c, err
}

// An empty repository is more often a mistake than a wish, also where the
// namespace is made.
func TestNothingDeclaredButANamespaceIsNothing(t *testing.T) {
	s := newStory(t)
	s.e.Drivers["kube"] = ensuring{s.driver}
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.tell("an Application appears")
	s.git.commit(map[string]string{"web/none.yaml": "apiVersion: v1\nkind: List\nitems: []\n"})
	s.tell("all its files are gone")
	if !has(s, "ConfigMap/shop/a") {
		t.Errorf("all was deleted\n%s", s.text.String())
	}
}

// meddling has users do something at the moment at which a status is written.
type meddling struct {
	*fakeAPI
	meanwhile func()
}

func (a *meddling) WriteStatus(ctx context.Context, app *v1alpha1.Application, k Key, status v1alpha1.ApplicationStatus) error {
	if do := a.meanwhile; do != nil {
		a.meanwhile = nil
		do()
	}
	return a.fakeAPI.WriteStatus(ctx, app, k, status)
}

// refreshes counts what the source is asked to ask again.
type refreshes struct {
	*fakeGit
	n int
}

func (r *refreshes) Refresh(string) { r.n++ }

func TestARefreshDuringAPassIsHeard(t *testing.T) {
	s := newStory(t)
	api, git := &meddling{fakeAPI: s.api}, &refreshes{fakeGit: s.git}
	s.e.Applications, s.e.Sources.Git = api, git
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	api.meanwhile = func() {
		s.app("web", func(a *v1alpha1.Application) {
			a.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "normal"}
			a.Generation-- // annotations do not count
		})
	}
	s.tell("an Application is refreshed while it is being looked at")
	if git.n == 0 {
		t.Errorf("the request was taken back and not followed\n%s", s.text.String())
	}
	if app := s.api.apps[Key{v1alpha1.Group, "plumb", "web"}]; app.Annotations[v1alpha1.AnnotationRefresh] != "" {
		t.Error("the request was not taken back")
	}
}

func TestTheObservedGenerationIsTheOneThatWasLookedAt(t *testing.T) {
	s := newStory(t, memory.Born(func(plan.Ref, map[string]any) health.Health {
		return health.Health{Status: health.Progressing, Message: "starting"}
	}))
	api := &meddling{fakeAPI: s.api}
	s.e.Applications = api
	ask := func(a *v1alpha1.Application) {
		a.Spec.SyncPolicy = nil
		a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}}
	}
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/b.yaml": object("ConfigMap", "b", "1", "sync-wave=1")})
	s.app("web", ask)
	s.tell("a sync waits for a")
	key := Key{v1alpha1.Group, "plumb", "web"}
	app := s.api.apps[key].DeepCopy()
	app.Status.OperationState.Phase = v1alpha1.OperationTerminating
	s.api.apps[key] = app
	s.tell("it is ended")
	s.app("web", ask)
	api.meanwhile = func() { s.app("web", func(a *v1alpha1.Application) { a.Spec.Source.Path = "other" }) }
	s.e.pass(context.Background(), key)
	if app := s.api.apps[key]; app.Status.ObservedGeneration >= app.Generation {
		t.Errorf("the status is said to be of generation %d, which nobody has looked at\n%s", app.Generation, s.text.String())
	}
}

// What was there before and is taken over is answered for like what is made.
func TestWhatIsTakenOverOutlivesACrash(t *testing.T) {
	s, n := newStory(t), &notes{byUID: map[string][]plan.Ref{}}
	s.e.Intents = n
	a, b := plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "a"}, plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "b"}
	s.world.Put(b, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"shop"},"data":{"value":"0"}}`)
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/b.yaml": object("ConfigMap", "b", "1")})
	s.app("web", nil)
	s.api.fail = errors.New("the API server is away")
	s.tell("a is made, b is taken over, and the process ends before it is in the status")
	s.restart()
	s.e.Intents, s.api.fail = n, nil
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.tell("b has left Git meanwhile")
	if has(s, b.Address()) || !has(s, a.Address()) {
		t.Errorf("b stays behind, or a is gone\n%s", s.text.String())
	}
}
