package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/kubestate"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/preview"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/source"
)

// DefaultPullRequestInterval is how often open pull requests are listed.
const DefaultPullRequestInterval = 3 * time.Minute

// markBytes is how much of a mark is shown.
const markBytes = 12

// startReviews begins what speaks with hosts of repositories: previews on pull
// requests, and statuses of commits. What it gives ends them, after ctx is done.
func (s *Server) startReviews(ctx context.Context, p *parts, m mark) (end func()) {
	interval := s.PullRequestInterval
	if interval == 0 {
		interval = DefaultPullRequestInterval
	}
	lookers := &lookers{server: s, parts: p, mark: m}
	p.reviewer = preview.New(preview.Options{
		World: &reviewed{p, lookers}, Interval: max(interval, 0), Pause: s.previewPause, Previewed: s.metrics.previewed, Log: s.Log,
		Mark: func(text string) string {
			mac := hmac.New(sha256.New, m.key)
			mac.Write([]byte("preview " + text))
			return hex.EncodeToString(mac.Sum(nil)[:markBytes])
		},
	})
	var wg sync.WaitGroup
	wg.Go(func() { p.reviewer.Run(ctx) })
	wg.Go(func() { p.statuses.run(ctx) })
	wg.Go(func() { lookers.tidy(ctx) })
	return func() {
		wg.Wait()
		lookers.close()
	}
}

// reviewed is where a Reviewer finds what it needs.
type reviewed struct {
	*parts
	lookers *lookers
}

// Settings of a repository.
func (r *reviewed) Settings(repoURL string) (preview.Settings, bool, error) {
	host, repo, said, ok, err := r.hosts.of(repoURL)
	if err != nil || !ok || !said.Previews || !slices.Contains(r.Repositories(), repoURL) {
		return preview.Settings{}, false, err
	}
	return preview.Settings{
		Host: host, Repo: repo, Name: said.Installation, Modules: said.Modules, Diffs: said.Diffs,
		// Bitbucket Cloud keeps what forks hold to itself.
		Forks: said.Forks && host.Kind != scm.BitbucketCloud,
	}, true, nil
}

// Repositories that Applications use, and may use.
func (r *reviewed) Repositories() []string {
	var urls []string
	for _, a := range r.Applications() {
		for _, s := range a.Spec.GetSources() {
			if !slices.Contains(urls, s.RepoURL) {
				urls = append(urls, s.RepoURL)
			}
		}
	}
	return urls
}

// Applications are those that are held, and whose project allows all that they
// name.
func (r *reviewed) Applications() []preview.App {
	var apps []preview.App
	r.controller.Where(func(key engine.Key, app *v1alpha1.Application) bool {
		if skip, _ := v1alpha1.Lookup(app.Annotations, v1alpha1.NameSkipReconcile); skip != "true" && maySpeakOf(r.controller, key, app) {
			apps = append(apps, preview.App{Key: key, Application: app})
		}
		return false
	})
	return apps
}

// maySpeakOf tells whether an Application's project allows its sources. Whoever
// may write an Application must not have Plumb speak, with Plumb's own token, in
// any repository that they name.
func maySpeakOf(projects engine.Projects, key engine.Key, app *v1alpha1.Application) bool {
	fence, err := projects.Fence(app, key)
	return err == nil && !slices.ContainsFunc(app.Spec.GetSources(), func(s v1alpha1.ApplicationSource) bool {
		return fence.AllowSource(s.RepoURL) != nil
	})
}

// Engine lends one that looks.
func (r *reviewed) Engine(context.Context) (preview.Engine, func(), error) { return r.lookers.lend() }

// DefaultBranch is what a repository's HEAD points to.
func (r *reviewed) DefaultBranch(ctx context.Context, repoURL string) (string, error) {
	at, err := r.resolve(ctx, repoURL, "HEAD")
	return strings.TrimPrefix(at.Ref, "refs/heads/"), err
}

// Tip of a branch, as it was last seen.
func (r *reviewed) Tip(ctx context.Context, repoURL, branch string) (string, error) {
	at, err := r.resolve(ctx, repoURL, "refs/heads/"+branch)
	return at.Revision, err
}

// resolve asks with the credentials of the first Application that uses the
// repository: those may be its project's.
func (r *reviewed) resolve(ctx context.Context, repoURL, revision string) (source.Resolved, error) {
	project := ""
	r.controller.Where(func(_ engine.Key, app *v1alpha1.Application) bool {
		for _, s := range app.Spec.GetSources() {
			if project == "" && s.RepoURL == repoURL {
				project = app.Spec.GetProject()
			}
		}
		return false
	})
	cred, err := r.controller.For(repoURL, project)
	if err != nil {
		return source.Resolved{}, err
	}
	return r.sources.Git.Resolve(ctx, source.Spec{Repo: repoURL, Revision: revision}, cred)
}

// lookers lends an engine whose drivers are not those that work: what is looked at
// is not what is declared, and what they remember of it must not get in the way.
// They are made when they are first needed, and dropped when they have not been
// for a while.
type lookers struct {
	server *Server
	parts  *parts
	mark   mark

	mu      sync.Mutex
	engine  *engine.Engine
	kube    *kube.Driver
	modules *tofu.Driver
	states  *kubestate.Store
	users   int
	idle    time.Time
}

// idleFor is how long drivers are kept that nobody needs.
const idleFor = 10 * time.Minute

func (l *lookers) lend() (preview.Engine, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.engine == nil {
		if err := l.open(); err != nil {
			return nil, nil, err
		}
	}
	l.users++
	return l.engine, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.users--
		l.idle = time.Now()
	}, nil
}

// unchanging are the states for those who look: nothing that a pull request makes of
// one is saved, also where modules can't be isolated.
type unchanging struct{ *kubestate.Store }

var errUnchanging = errors.New("a preview changes no state")

// Save refuses.
func (unchanging) Save(context.Context, tofu.StateID, []byte) error { return errUnchanging }

// Delete refuses.
func (unchanging) Delete(context.Context, tofu.StateID) error { return errUnchanging }

func (l *lookers) open() error {
	s, p := l.server, l.parts
	var err error
	if l.states, err = kubestate.New(s.counted(), "pull-requests-"+strings.ToLower(rand.Text())); err != nil {
		return err
	}
	l.modules, err = tofu.New(s.moduleOptions(filepath.Join(s.DataDir, "tofu-pulls"), unchanging{l.states}, l.mark.key))
	if err != nil {
		l.states.Close()
		return err
	}
	l.kube = kube.New(kube.Options{
		Clusters: p.fleet, Key: l.mark.key, Installation: l.mark.id, Log: s.Log, UserAgent: s.RESTConfig.UserAgent,
		Assess: func(obj *unstructured.Unstructured) health.Health { return p.assessor.Load().Health(obj) },
		OwnerExists: func(owner driver.Owner) bool {
			key, ok := engine.KeyOf(owner)
			if ok {
				_, ok = p.controller.Get(key)
			}
			return ok
		},
		Requests: func(_, verb string) { s.metrics.request(targetDestination, verb) },
	})
	l.engine = p.engine.With(map[string]driver.Driver{render.KubeDriver: l.kube, render.TofuDriver: l.modules})
	return nil
}

func (l *lookers) tidy(ctx context.Context) {
	tick := time.NewTicker(idleFor / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		if l.users == 0 && time.Since(l.idle) > idleFor {
			l.drop()
		}
		l.mu.Unlock()
	}
}

// drop ends the drivers. The lock is held.
func (l *lookers) drop() {
	if l.engine == nil {
		return
	}
	l.modules.Close()
	l.states.Close()
	l.kube.Close()
	l.engine = nil
}

func (l *lookers) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
}
