package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/gitwrite"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/git"
)

// fakePulls are the pull requests of a host. Only what is used is there.
type fakePulls struct {
	scm.Pulls
	open   []scm.Pull
	made   int
	broken error
}

func (f *fakePulls) List(context.Context, scm.Repo) ([]scm.Pull, error) { return f.open, f.broken }

func (f *fakePulls) Open(_ context.Context, _ scm.Repo, p scm.NewPull) (scm.Pull, error) {
	f.made++
	f.open = append(f.open, scm.Pull{Number: f.made, URL: "https://git.example.com/pulls/1", HeadBranch: p.Head, BaseBranch: p.Base, State: scm.Open})
	return f.open[len(f.open)-1], nil
}

// anyWorld opens every repository with nothing.
type anyWorld struct{ engine.Projects }

func (anyWorld) For(string, string) (source.Credentials, error) { return source.Credentials{}, nil }

func TestAdoptionsKeepOnePullRequest(t *testing.T) {
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1")})
	program, err := git.NewProgram(t.Context(), git.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	pulls := &fakePulls{}
	a := &adopter{
		world: anyWorld{}, writer: gitwrite.New(program), log: slog.New(slog.DiscardHandler),
		pulls: func(string) (scm.Host, scm.Repo, bool, error) {
			return scm.Host{Pulls: pulls}, scm.Repo{Owner: "team", Name: "app"}, true, nil
		},
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "1"}}
	r := engine.AdoptRequest{Key: engine.Key{Group: v1alpha1.Group, Namespace: "shop", Name: "web"}, App: app}
	p := adopt.Proposal{Adopted: []adopt.Item{{Ref: plan.Ref{Kind: "ConfigMap", Name: "one"}, Field: "data.value", Declared: "1", Live: "2"}}}
	at := func(value string) place {
		return place{repo: "file://" + repo.dir, base: "main", changes: []gitwrite.Change{
			{Path: "app/one.yaml", Before: []byte(configMap("one", "1")), After: []byte(configMap("one", value))},
		}}
	}
	push := func(what, value string, told, pushed bool, url string, made int) {
		t.Helper()
		r.Told = told
		branch, fresh, err := a.push(t.Context(), r, p, at(value))
		if err != nil || fresh != pushed || branch.URL != url || pulls.made != made {
			t.Errorf("%s: %+v, pushed %v, %d opened, %v", what, branch, fresh, pulls.made, err)
		}
	}
	const url = "https://git.example.com/pulls/1"
	pulls.broken = errors.New("the host is away")
	if branch, fresh, err := a.push(t.Context(), r, p, at("2")); err == nil || !fresh || branch.Branch == "" {
		t.Errorf("the branch is named also where there is no pull request: %+v %v %v", branch, fresh, err)
	}
	pulls.broken = nil
	push("the branch was pushed, the pull request is missing still", "2", false, false, url, 1)
	push("again", "2", true, false, url, 1)
	pulls.open = nil
	push("somebody has closed it", "2", true, false, "", 1)
	push("other drift is another matter", "3", true, true, url, 2)
}

func TestAdoptionsAreNotPushedTooOften(t *testing.T) {
	a := &adopter{settle: time.Minute, pause: time.Hour, jobs: map[engine.Key]*adoptJob{}, wake: make(chan struct{}, 1)}
	key := engine.Key{Name: "web"}
	r := engine.AdoptRequest{Key: key, App: &v1alpha1.Application{}, Digest: "1"}
	a.Propose(r)
	j := a.jobs[key]
	first := j.due
	r.Digest = "2"
	a.Propose(r)
	if !j.pending || !j.due.Equal(first) {
		t.Errorf("what changes all the time is proposed all the same: %v, %v", first, j.due)
	}
	j.pending, j.pushed, j.done = false, time.Now(), engine.Adoption{Digest: "2"}
	if got := a.Propose(r); got.Digest != "2" || j.pending {
		t.Errorf("the same is not proposed again: %+v", got)
	}
	a.Withdraw(key)
	r.Digest = "3"
	if got := a.Propose(r); got.Digest != "" {
		t.Errorf("what was withdrawn is forgotten: %+v", got)
	}
	if wait := time.Until(a.jobs[key].due); wait < 50*time.Minute {
		t.Errorf("the next push is in %v", wait)
	}
	if _, j, _ := a.take(); j != nil {
		t.Error("it is not due yet")
	}
}
