package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// Sources are the places that desired state comes from, by kind.
type Sources struct{ Git, Helm, OCI source.Source }

// Observer is told how the engine fares, for metrics. It must not block.
type Observer interface {
	Passed(key Key, took time.Duration, decision string)
	Synced(key Key, phase string, took time.Duration)
	Forgot(key Key)
}

// Options of an Engine. All but Secrets, Intents, Plans, Ledger, Values, Gates, Pins,
// Adoptions, Merges, Signatures, Notices, Witnesses, Clock, Workers, Log and Observer
// are needed.
type Options struct {
	Applications Applications
	Projects     Projects
	Destinations Destinations
	Credentials  Credentials
	Secrets      Secrets
	Events       Events
	Intents      Intents
	// Plans may be nil: then what needs approval is not done. Ledger may be nil: then
	// nothing is recorded.
	Plans  Plans
	Ledger Ledger
	// Values may be nil: then nothing is read from Secrets and ConfigMaps.
	Values Values
	// Gates may be nil: then nothing is ever held back. Pins may be nil: then
	// nothing is rolled back by itself.
	Gates Gates
	Pins  Pins
	// Adoptions may be nil: then drift that is to be adopted is only reported.
	Adoptions Adoptions
	// Merges may be nil: then no pull request counts as an approval.
	Merges Merges
	// Signatures may be nil: then nothing has to be signed.
	Signatures Signatures
	// Notices may be nil. Witnesses may be nil: then nobody tells who has changed what.
	Notices   Notices
	Witnesses Witnesses

	Sources  Sources
	Renderer render.Renderer
	// Drivers by the name that bundles call them by.
	Drivers map[string]driver.Driver
	Clock   Clock
	// Workers is how many Applications are worked on at once (20), and
	// SlowWorkers, how many of those beside whose driver takes its time (64).
	Workers, SlowWorkers int
	Log                  *slog.Logger
	Observer             Observer
}

// Engine is the loop. It is made with New and started with Run.
type Engine struct {
	Options
	queue *queue
	deps  *dependencies
	// waits are the dependencies that an Application is waiting for just now.
	waits *relation[Key]
	repos *repositories
	// outputs of Applications, and who uses them.
	outputs *outputs
	// verified are the signatures that were found good.
	verified *verified
	// commits that records tell of.
	commits commitCache
	// coverages are what has come by pull requests.
	coverages coverages

	mu     sync.Mutex
	states map[Key]*state
}

// New makes an engine.
func New(o Options) *Engine {
	if o.Clock == nil {
		o.Clock = Wall{}
	}
	if o.Workers == 0 {
		o.Workers = 20
	}
	if o.SlowWorkers == 0 {
		o.SlowWorkers = 64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return &Engine{
		Options: o, queue: newQueue(o.Clock), deps: newDependencies(), waits: newRelation[Key](),
		repos: newRepositories(), outputs: newOutputs(), verified: newVerified(), states: map[Key]*state{},
	}
}

type nobody struct{}

func (nobody) Passed(Key, time.Duration, string) {}
func (nobody) Synced(Key, string, time.Duration) {}
func (nobody) Forgot(Key)                        {}

// Enqueue has Applications looked at: they were made, changed or deleted, or
// something that they depend on was.
func (e *Engine) Enqueue(keys ...Key) { e.queue.add(keys...) }

// Depth is how many Applications are queued.
func (e *Engine) Depth() int { return e.queue.depth() }

// Run works until ctx is done, and returns when all workers have ended. A
// worker that is in the middle of a pass ends it early; nothing is lost by it.
func (e *Engine) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	failed := make(chan error, len(e.Drivers))
	for name, d := range e.Drivers {
		wg.Go(func() {
			if err := d.Watch(ctx, e.moved); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("watch destinations of driver %s: %w", name, err)
			}
		})
	}
	for _, s := range []source.Source{e.Sources.Git, e.Sources.Helm, e.Sources.OCI} {
		if s != nil {
			wg.Go(func() { s.Watch(ctx, e.repositoryMoved) })
		}
	}
	e.queue.add(e.Applications.Keys()...)
	for range e.Workers {
		wg.Go(func() { e.work(ctx, quick) })
	}
	for range e.SlowWorkers {
		wg.Go(func() { e.work(ctx, slow) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	e.queue.close()
	wg.Wait()
	return err
}

func (e *Engine) work(ctx context.Context, l lane) {
	for {
		key, ok := e.queue.take(l)
		if !ok {
			return
		}
		e.guarded(ctx, key)
		e.queue.done(key)
		e.queue.add(e.waits.sources(key)...)
	}
}

// guarded keeps what one Application's input may break in a renderer or a
// driver from ending the work on all the others.
func (e *Engine) guarded(ctx context.Context, key Key) {
	defer func() {
		if r := recover(); r != nil {
			e.Log.Error("pass panicked", "application", key.String(), "panic", fmt.Sprint(r), "stack", stack())
			e.queue.addAfter(key, time.Minute)
		}
	}()
	start := e.Clock.Now()
	why := e.pass(ctx, key)
	e.Observer.Passed(key, e.Clock.Now().Sub(start), why)
}

// moved is told by drivers that an Application's resources have changed.
func (e *Engine) moved(o driver.Owner) {
	if key, ok := KeyOf(o); ok {
		e.queue.add(key)
	}
}

// repositoryMoved is told by sources that a repository has new commits.
func (e *Engine) repositoryMoved(repo string) {
	e.queue.add(e.repos.users(repo)...)
}

// drop forgets an Application that is gone.
func (e *Engine) drop(key Key) {
	e.mu.Lock()
	st, known := e.states[key]
	delete(e.states, key)
	e.mu.Unlock()
	e.forget(e.repos.set(key, nil))
	for _, d := range e.Drivers {
		d.Forget(key.Owner())
	}
	if e.Adoptions != nil {
		e.Adoptions.Withdraw(key)
	}
	e.waits.put(key, nil)
	e.queue.add(e.outputs.forget(key)...)
	e.queue.forget(key)
	e.queue.add(e.deps.set(key, nil)...)
	e.queue.add(e.deps.of(key)...)
	if known {
		if st.intended {
			e.Intents.Fulfil(st.uid)
		}
		e.Observer.Forgot(key)
	}
}

// forget ends the asking about repositories that no Application uses any more.
func (e *Engine) forget(repos []string) {
	for _, repo := range repos {
		if len(e.repos.users(repo)) > 0 {
			continue
		}
		for _, s := range []source.Source{e.Sources.Git, e.Sources.Helm, e.Sources.OCI} {
			if f, ok := s.(interface{ Forget(repo string) }); ok {
				f.Forget(repo)
			}
		}
	}
}

func (e *Engine) state(key Key) *state {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.states[key]
	if st == nil {
		st = &state{}
		e.states[key] = st
	}
	return st
}
