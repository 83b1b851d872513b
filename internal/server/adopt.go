package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/gitwrite"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/git"
)

const (
	// adoptWorkers is how many proposals are made at once.
	adoptWorkers = 2
	// adoptSettle is how long drift is left to become more before it is proposed,
	// and adoptPause the shortest time between two pushes for one Application.
	adoptSettle = 3 * time.Second
	adoptPause  = time.Minute
	// adoptTimeout bounds one proposal, and adoptLongest the pause after failures.
	adoptTimeout = 5 * time.Minute
	adoptLongest = 30 * time.Minute
)

// adopter proposes drift to Git: it edits the files that declare it, pushes a
// branch, and opens a pull request where the repository's host is known. Each
// Application has one branch, which is made anew when its drift changes.
type adopter struct {
	engine  func() *engine.Engine
	world   adoptWorld
	pulls   func(repoURL string) (scm.Host, scm.Repo, bool, error)
	writer  *gitwrite.Writer
	broken  error
	enqueue func(engine.Key)
	log     *slog.Logger
	settle  time.Duration
	pause   time.Duration

	mu   sync.Mutex
	jobs map[engine.Key]*adoptJob
	wake chan struct{}
}

// adoptWorld is what the adopter needs to know of projects and repositories.
type adoptWorld interface {
	engine.Projects
	For(repo, project string) (source.Credentials, error)
}

// adoptJob is the proposal of one Application.
type adoptJob struct {
	want engine.AdoptRequest
	done engine.Adoption
	// pending is set while there is something to do, from due on; busy while that is
	// being done.
	pending, busy bool
	due, pushed   time.Time
	failures      int
}

func newAdopter(s *Server, p *parts) *adopter {
	a := &adopter{
		engine: func() *engine.Engine { return p.engine }, world: p.controller, log: s.Log,
		enqueue: func(key engine.Key) { p.engine.Enqueue(key) }, settle: adoptSettle, pause: adoptPause,
		pulls: func(repoURL string) (scm.Host, scm.Repo, bool, error) {
			host, repo, _, ok, err := p.hosts.of(repoURL)
			return host, repo, ok, err
		},
		jobs: map[engine.Key]*adoptJob{}, wake: make(chan struct{}, 1),
	}
	if s.adoptPause != 0 {
		a.settle, a.pause = s.adoptPause, s.adoptPause
	}
	return a
}

// startAdopting begins to make proposals. What it gives ends that, after ctx is
// done.
func (s *Server) startAdopting(ctx context.Context, p *parts) (end func()) {
	var wg sync.WaitGroup
	wg.Go(func() { p.adopter.run(ctx, s.DataDir) })
	return wg.Wait
}

// Propose takes what is to be proposed, and tells how far that is.
func (a *adopter) Propose(r engine.AdoptRequest) engine.Adoption {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.jobs[r.Key]
	if j == nil || j.want.App != nil && j.want.App.UID != r.App.UID {
		j = &adoptJob{}
		a.jobs[r.Key] = j
	}
	if j.want.Digest == r.Digest {
		return j.done
	}
	j.want, j.failures = r, 0
	due := time.Now().Add(a.settle)
	if earliest := j.pushed.Add(a.pause); due.Before(earliest) {
		due = earliest
	}
	if !j.pending || due.Before(j.due) {
		j.due = due // what changes all the time is proposed all the same
	}
	j.pending = true
	a.poke()
	return j.done
}

// Withdraw forgets what was to be proposed. When the last push was is kept as long
// as it counts.
func (a *adopter) Withdraw(key engine.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.jobs[key]
	if j == nil {
		return
	}
	if time.Since(j.pushed) > a.pause {
		delete(a.jobs, key)
		return
	}
	a.jobs[key] = &adoptJob{pushed: j.pushed}
}

func (a *adopter) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run works until ctx is done.
func (a *adopter) run(ctx context.Context, dir string) {
	program, err := git.NewProgram(ctx, git.Options{CacheDir: filepath.Join(dir, "git-write"), Timeout: adoptTimeout})
	if err != nil {
		a.broken = err
	} else {
		a.writer = gitwrite.New(program)
	}
	var wg sync.WaitGroup
	for range adoptWorkers {
		wg.Go(func() {
			for {
				key, j, ok := a.next(ctx)
				if !ok {
					return
				}
				a.work(ctx, key, j)
			}
		})
	}
	wg.Wait()
}

// next waits for what is due.
func (a *adopter) next(ctx context.Context) (engine.Key, *adoptJob, bool) {
	for {
		key, j, wait := a.take()
		if j != nil {
			return key, j, true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return engine.Key{}, nil, false
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take gives what is due the longest, or how long until something is.
func (a *adopter) take() (engine.Key, *adoptJob, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first *adoptJob
	var at engine.Key
	for key, j := range a.jobs {
		if j.pending && !j.busy && (first == nil || j.due.Before(first.due)) {
			first, at = j, key
		}
	}
	if first == nil {
		return at, nil, time.Hour
	}
	if wait := time.Until(first.due); wait > 0 {
		return at, nil, wait
	}
	first.busy, first.pending = true, false
	a.poke() // there may be more
	return at, first, 0
}

// work makes one proposal.
func (a *adopter) work(ctx context.Context, key engine.Key, j *adoptJob) {
	a.mu.Lock()
	r := j.want
	r.Told = r.Told || slices.ContainsFunc(j.done.Branches, func(b engine.AdoptedBranch) bool { return b.URL != "" })
	a.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	out, pushed, err := a.guarded(call, r)
	if ctx.Err() != nil {
		return
	}
	out.Digest = r.Digest
	if err != nil {
		out.Problem = "what was changed where it runs can't be proposed to Git: " + err.Error()
		a.log.Warn("drift not proposed", "application", key.String(), "error", err)
	}
	a.mu.Lock()
	j.busy = false
	if pushed {
		j.pushed = time.Now()
	}
	if a.jobs[key] != j { // withdrawn meanwhile
		if now := a.jobs[key]; now != nil && now.pushed.Before(j.pushed) {
			now.pushed = j.pushed
		}
		a.mu.Unlock()
		return
	}
	j.done = out
	switch {
	case j.pending: // it has changed meanwhile
		if earliest := j.pushed.Add(a.pause); j.due.Before(earliest) {
			j.due = earliest
		}
	case err != nil:
		j.pending, j.due = true, time.Now().Add(min(a.pause<<min(j.failures, 5), adoptLongest))
		j.failures++
	}
	a.mu.Unlock()
	a.poke()
	a.enqueue(key)
}

// guarded keeps what one Application's files may break from ending the work.
func (a *adopter) guarded(ctx context.Context, r engine.AdoptRequest) (out engine.Adoption, pushed bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a fault of Plumb's own: %v", v)
		}
	}()
	return a.propose(ctx, r)
}

func (a *adopter) propose(ctx context.Context, r engine.AdoptRequest) (engine.Adoption, bool, error) {
	if a.writer == nil {
		return engine.Adoption{}, false, fmt.Errorf("git can't be run: %w", a.broken)
	}
	if !maySpeakOf(a.world, r.Key, r.App) {
		return engine.Adoption{}, false, errors.New("the Application's project does not allow all of its sources")
	}
	p, err := a.edits(ctx, r)
	if err != nil {
		return engine.Adoption{}, false, err
	}
	out := engine.Adoption{Fields: len(p.Adopted)}
	for _, refused := range p.Refused {
		text := string(refused.Ref.Address())
		if refused.Field != "" {
			text += " " + refused.Field
		}
		out.Refused = append(out.Refused, text+": "+strings.ReplaceAll(refused.Reason, "name the branch to commit to with --base", "plumb adopt --base can"))
	}
	pushed := false
	for _, at := range places(r, p) {
		branch, fresh, err := a.push(ctx, r, p, at)
		pushed = pushed || fresh
		if branch.Branch != "" {
			out.Branches = append(out.Branches, branch)
		}
		if err != nil {
			return out, pushed, err
		}
	}
	return out, pushed, nil
}

// edits finds how the files have to change.
func (a *adopter) edits(ctx context.Context, r engine.AdoptRequest) (adopt.Proposal, error) {
	e, sources, policy := a.engine(), r.App.Spec.GetSources(), r.App.Spec.SyncPolicy.Drift
	trees := make([]source.Tree, len(sources))
	bundle, err := e.Render(ctx, r.App, r.Key, engine.PreviewOptions{Revisions: r.Revisions, Tree: func(i int, t source.Tree) source.Tree {
		trees[i] = t
		return t
	}})
	if err != nil {
		return adopt.Proposal{}, err
	}
	request := adopt.Request{
		Application: r.Key.Name, Bundle: bundle, Resources: r.Resources, Deletions: true,
		Select: func(ref plan.Ref, path adopt.Path) bool { return adopt.Answered(policy, ref, path) },
		Render: func(ctx context.Context, edits adopt.Edits) (render.Bundle, error) {
			return e.Render(ctx, r.App, r.Key, engine.PreviewOptions{
				Revisions: r.Revisions, Tree: func(i int, t source.Tree) source.Tree { return adopt.Overlay(t, edits[i]) },
			})
		},
	}
	for i, s := range sources {
		request.Sources = append(request.Sources, adopt.Source{Spec: s, Tree: trees[i], ReadOnly: adopt.ReadOnly(s, "")})
	}
	for _, c := range r.Changes {
		if d, ok := adopt.DriftOf(c); ok {
			request.Drift = append(request.Drift, d)
		}
	}
	for _, ref := range r.Deleted {
		request.Drift = append(request.Drift, adopt.Drift{Ref: ref, Deleted: true})
	}
	return adopt.Propose(ctx, request)
}

// place is a branch of a repository that is committed to, with the changes.
type place struct {
	repo, base string
	changes    []gitwrite.Change
}

// places sorts a proposal's files by where they are.
func places(r engine.AdoptRequest, p adopt.Proposal) []place {
	var out []place
	sources := r.App.Spec.GetSources()
	for _, f := range p.Files {
		s := sources[f.Source]
		base := adopt.Base(s, "")
		i := slices.IndexFunc(out, func(o place) bool { return o.repo == s.RepoURL && o.base == base })
		if i < 0 {
			i, out = len(out), append(out, place{repo: s.RepoURL, base: base})
		}
		out[i].changes = append(out[i].changes, gitwrite.Change{Path: f.Path, Before: f.Before, After: f.After})
	}
	return out
}

// push pushes the Application's branch, and sees to its pull request. It tells
// whether anything was pushed.
func (a *adopter) push(ctx context.Context, r engine.AdoptRequest, p adopt.Proposal, at place) (engine.AdoptedBranch, bool, error) {
	cred, err := a.world.For(at.repo, r.App.Spec.GetProject())
	if err != nil {
		return engine.AdoptedBranch{}, false, err
	}
	message := adopt.Message("", r.Key.Name, r.Key.String(), p.Adopted)
	done, err := a.writer.Commit(ctx, gitwrite.Repo{URL: at.repo, Credentials: cred}, gitwrite.Options{
		Base: at.base, Branch: gitwrite.StandingBranch("drift", r.Key.Name, r.Key.String()+" "+string(r.App.UID)+" "+at.base), Message: message,
	}, at.changes)
	if err != nil {
		return engine.AdoptedBranch{}, false, fmt.Errorf("%w (it takes the right to push: give it to the credentials of the repository, or use plumb adopt with your own)", err)
	}
	if done.Commit == "" { // the base has it already, and is about to be synced
		return engine.AdoptedBranch{}, false, nil
	}
	out := engine.AdoptedBranch{Repository: source.MaskURL(at.repo), Base: done.Base, Branch: done.Branch}
	host, repo, ok, err := a.pulls(at.repo)
	if err != nil || !ok {
		return out, !done.Unchanged, err
	}
	title, body, _ := strings.Cut(message, "\n\n")
	pull, found, err := scm.Proposed(ctx, host, repo, done.Branch, done.Base)
	if err == nil && !found && !(done.Unchanged && r.Told) {
		pull, err = host.Pulls.Open(ctx, repo, scm.NewPull{Title: title, Body: body, Head: done.Branch, Base: done.Base})
	}
	if err != nil {
		return out, !done.Unchanged, fmt.Errorf("the branch %s is pushed, but the pull request can't be opened: %w", done.Branch, err)
	}
	out.URL = pull.URL
	return out, !done.Unchanged, nil
}
