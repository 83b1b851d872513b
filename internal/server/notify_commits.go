package server

import (
	"context"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/notify"
	"github.com/plumb-dev/plumb/internal/source"
)

const (
	// mostUntold bounds the events that wait for their commits, and mostCommits, the
	// commits that are remembered.
	mostUntold, mostCommits = 20_000, 2_000
	// commitTimeout is how long a repository may take to tell of a commit: it has been
	// fetched already.
	commitTimeout = 2 * time.Second
)

// commits add to events who has made what they are about. Events stay in their order,
// and nobody waits for a repository.
type commits struct {
	describer   source.Describer
	projects    engine.Projects
	credentials engine.Credentials
	to          *notify.Notifier

	mu    sync.Mutex
	queue []about
	wake  chan struct{}
	// known is used by run alone. Of what could not be told it holds the revision.
	known map[commitKey]notify.Commit
}

// about is an event with whose it is, and whether its commit is worth a question; or,
// with forget, that there will be none of that Application any more.
type about struct {
	notify.Event
	key         engine.Key
	ask, forget bool
}

type commitKey struct{ repo, project, revision string }

func newCommits(p *parts, to *notify.Notifier) *commits {
	d, _ := p.sources.Git.(source.Describer)
	return &commits{
		describer: d, projects: p.controller, credentials: p.controller, to: to,
		wake: make(chan struct{}, 1), known: map[commitKey]notify.Commit{},
	}
}

// take takes an event.
func (c *commits) take(e about) {
	c.mu.Lock()
	full := len(c.queue) >= mostUntold && !e.forget
	if !full {
		c.queue = append(c.queue, e)
	}
	c.mu.Unlock()
	if full {
		c.to.Send(e.Event) // out of its turn, rather than not at all
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run hands events on until ctx is done, and then what is left as it is.
func (c *commits) run(ctx context.Context) {
	for {
		c.mu.Lock()
		queue := c.queue
		c.queue = nil
		c.mu.Unlock()
		for _, e := range queue {
			if e.forget {
				c.to.Forget(e.key.Namespace, e.key.Name)
				continue
			}
			c.describe(ctx, &e)
			c.to.Send(e.Event)
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
	}
}

// describe adds author and message, where the Application's project lets it know
// the repository.
func (c *commits) describe(ctx context.Context, e *about) {
	app, revision := e.Object, e.Commit.Revision
	if !e.ask || c.describer == nil || app == nil || !isCommit(revision) {
		return
	}
	src := app.Spec.GetSource()
	if src.IsHelmRepo() || src.IsOCI() {
		return
	}
	id := commitKey{src.RepoURL, app.Spec.GetProject(), revision}
	if !maySpeakOf(c.projects, e.key, app) {
		return
	}
	if known, ok := c.known[id]; ok {
		e.Commit = known
		return
	}
	if ctx.Err() != nil || app.DeletionTimestamp != nil {
		return // its repository may be nobody's any more
	}
	if len(c.known) >= mostCommits {
		clear(c.known)
	}
	e.Commit = c.ask(ctx, id, source.Spec{Repo: src.RepoURL, Revision: src.TargetRevision})
	c.known[id] = e.Commit
}

func (c *commits) ask(ctx context.Context, id commitKey, spec source.Spec) notify.Commit {
	out := notify.Commit{Revision: id.revision}
	cred, err := c.credentials.For(id.repo, id.project)
	if err != nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	said, err := c.describer.Describe(ctx, spec, source.Resolved{Revision: id.revision}, cred)
	if err != nil {
		return out
	}
	out.Author, out.Subject, out.Message = said.Author, said.Subject(), said.Message
	out.Date, _ = time.Parse(time.RFC3339, said.Date)
	return out
}
