package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"
	"golang.org/x/time/rate"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/provider"
)

// Options bound what a Prober may use. Zero values are sensible.
type Options struct {
	// MaxProcesses is how many provider processes run at once (16), beside one
	// that is asked for its schema.
	MaxProcesses int
	// MaxAge, MaxRSS and MaxIdle are when a process is replaced or ended (1 h,
	// 1 GiB, 10 min), and MaxGrowth how much it may grow once it is warm (128 MiB):
	// terraform-plugin-framework keeps some kilobytes of each call for ever.
	MaxAge    time.Duration
	MaxRSS    int64
	MaxGrowth int64
	MaxIdle   time.Duration
	// StartTimeout and ReadTimeout bound a start and a single read (1 min, 30 s).
	StartTimeout, ReadTimeout time.Duration
	// Concurrency is how many reads are under way for one configuration of a
	// provider (10), and Rate how many begin in a second (0: no bound). What is
	// refused because it is too much is asked less by itself.
	Concurrency int
	Rate        float64
	// TempDir is where sockets are; a folder of its own below os.TempDir if empty.
	TempDir string
	// Folderless are sources (hashicorp/aws) of providers that read no files
	// relative to the module, so that Applications with the same configuration
	// share a process. All others have one for each module's folder. Nil is
	// Folderless().
	Folderless []string
	// Fence keeps providers apart from each other and from this process; nil does not.
	Fence *isolate.Fence
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Folderless are providers that are known to read nothing from the working
// folder when they read resources.
func Folderless() []string {
	return []string{
		"hashicorp/random", "hashicorp/tls", "hashicorp/time", "hashicorp/null", "hashicorp/aws", "hashicorp/google",
		"hashicorp/google-beta", "hashicorp/azurerm", "hashicorp/azuread", "hashicorp/vault", "hashicorp/consul",
		"cloudflare/cloudflare", "digitalocean/digitalocean", "hetznercloud/hcloud", "integrations/github",
		"datadog/datadog", "mongodb/mongodbatlas", "plumb-dev/cloud", "plumb-dev/cloud5",
	}
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.MaxAge, time.Hour)
	set(&o.MaxIdle, 10*time.Minute)
	set(&o.StartTimeout, time.Minute)
	set(&o.ReadTimeout, 30*time.Second)
	if o.MaxProcesses == 0 {
		o.MaxProcesses = 16
	}
	if o.MaxRSS == 0 {
		o.MaxRSS = 1 << 30
	}
	if o.MaxGrowth == 0 {
		o.MaxGrowth = 128 << 20
	}
	if o.Concurrency == 0 {
		o.Concurrency = 10
	}
	if o.Folderless == nil {
		o.Folderless = Folderless()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Prober keeps provider processes.
type Prober struct {
	o       Options
	temp    string
	own     bool // temp is ours to remove
	spawner *provider.Spawner
	schemas *provider.Schemas
	hashes  *provider.Hashes

	mu      sync.Mutex
	closed  bool
	entries map[string]*entry
	live    map[*warm]bool // all that run, those too that are only used up
	running int
	freed   chan struct{} // closed and replaced whenever a process ends or is let go
	asking  chan struct{} // held by whoever asks for a schema
	done    chan struct{}
	wait    sync.WaitGroup
}

// New returns a Prober without processes. It must be closed.
func New(o Options) (*Prober, error) {
	o = o.withDefaults()
	p := &Prober{
		o: o, temp: o.TempDir, schemas: provider.NewSchemas(), hashes: provider.NewHashes(),
		entries: map[string]*entry{}, live: map[*warm]bool{}, freed: make(chan struct{}), asking: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if p.temp == "" {
		dir, err := os.MkdirTemp("", "probe")
		if err != nil {
			return nil, fmt.Errorf("make a folder for sockets: %w", err)
		}
		p.temp, p.own = dir, true
	}
	p.spawner = provider.NewSpawner()
	p.wait.Go(p.sweep)
	return p, nil
}

// Close ends all processes. What is being checked ends as unknown.
func (p *Prober) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	all := slices.Collect(maps.Keys(p.live))
	p.mu.Unlock()
	p.stop(all)
	p.wait.Wait()
	p.spawner.Close()
	if p.own {
		return os.RemoveAll(p.temp)
	}
	return nil
}

// sweep ends processes that are too old, too large or not used.
func (p *Prober) sweep() {
	ticker := time.NewTicker(min(p.o.MaxIdle, 30*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-ticker.C:
			p.Sweep()
		}
	}
}

// Sweep ends processes that are too old, too large or not used, and forgets
// configurations that nobody has asked for in an hour. It is done by itself
// now and then.
func (p *Prober) Sweep() {
	p.mu.Lock()
	now := p.o.Now()
	var stop []*warm
	for key, e := range p.entries {
		if e.warm != nil && (p.worn(e.warm) || now.Sub(e.warm.used) >= p.o.MaxIdle && e.warm.users == 0) {
			stop = append(stop, p.retire(e)...)
		}
		if e.warm == nil && e.users == 0 && now.Sub(e.used) > time.Hour {
			delete(p.entries, key)
		}
	}
	p.mu.Unlock()
	p.stop(stop)
}

// stop stops processes. It is called without the lock.
func (p *Prober) stop(all []*warm) {
	for _, w := range all {
		w.Stop()
		p.mu.Lock()
		delete(p.live, w)
		p.mu.Unlock()
	}
}

// entry is one configuration of one provider.
type entry struct {
	key     string
	name    string // for people
	command provider.Command
	schema  *provider.Schema
	config  cty.Value
	tool    string
	mask    masker
	secrets []string // that the configuration holds

	slots   chan struct{}
	limiter *rate.Limiter
	limit   rate.Limit    // of the limiter, unless more is asked than answered
	starts  chan struct{} // held by whoever starts a process

	// What follows is the Prober's lock's.
	warm      *warm
	users     int
	used      time.Time
	crashes   int
	crashedAt time.Time
	strain    strain
	latency   time.Duration // of reads, lately
}

// warm is a process that is configured.
type warm struct {
	*provider.Process
	started, used time.Time
	users         int
	late          int
	retired       bool

	reads   int
	base    int64 // what it held when it was warm
	rss     int64 // when it was last measured
	weighed time.Time
}

// worn tells whether a process is to be replaced. It is called with the lock.
func (p *Prober) worn(w *warm) bool {
	now := p.o.Now()
	if now.Sub(w.weighed) >= time.Second { // it takes longer than a read
		w.rss, w.weighed = w.RSS(), now
		if w.base == 0 && w.reads >= warmReads {
			w.base = w.rss
		}
	}
	grown := w.base > 0 && w.rss-w.base > p.o.MaxGrowth
	return w.Exited() || now.Sub(w.started) >= p.o.MaxAge || w.rss > p.o.MaxRSS || grown || w.late >= maxLate
}

// warmReads is after how many reads a process is warm.
const warmReads = 200

// maxLate is how many reads in a row a process may leave without an answer.
const maxLate = 3

// retire takes a process away from its entry, and returns it if nobody uses it
// and it can be stopped. It is called with the lock.
func (p *Prober) retire(e *entry) []*warm {
	w := e.warm
	e.warm, w.retired = nil, true
	p.running--
	p.announce()
	if w.users == 0 {
		return []*warm{w}
	}
	return nil
}

func (p *Prober) announce() {
	close(p.freed)
	p.freed = make(chan struct{})
}

var errClosed = errors.New("the prober is closed")

// unknownError is why something is unknown.
type unknownError struct {
	cause Cause
	err   error
}

func (e *unknownError) Error() string { return e.err.Error() }
func (e *unknownError) Unwrap() error { return e.err }

func because(cause Cause, err error) error { return &unknownError{cause, err} }

// acquire returns the process of an entry, and starts one if need be. It must
// be released.
func (p *Prober) acquire(ctx context.Context, e *entry) (*warm, error) {
	select {
	case e.starts <- struct{}{}:
		defer func() { <-e.starts }()
	case <-ctx.Done():
		return nil, because(Cancelled, ctx.Err())
	}
	for {
		w, freed, err := p.take(e)
		if w != nil || err != nil {
			return w, err
		}
		if freed == nil {
			return p.start(ctx, e)
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, because(Cancelled, fmt.Errorf("%d provider processes run, and no more may: %w", p.o.MaxProcesses, ctx.Err()))
		}
	}
}

// take returns the process of an entry, or what to wait for, or nothing: then
// one may be started, for which room was made.
func (p *Prober) take(e *entry) (*warm, <-chan struct{}, error) {
	p.mu.Lock()
	var stop []*warm
	defer func() { p.mu.Unlock(); p.stop(stop) }()
	if p.closed {
		return nil, nil, because(Cancelled, errClosed)
	}
	now := p.o.Now()
	e.used = now
	if e.warm != nil && p.worn(e.warm) {
		stop = p.retire(e)
	}
	if w := e.warm; w != nil {
		w.users++
		w.used = now
		return w, nil, nil
	}
	if wait := e.backOff() - now.Sub(e.crashedAt); wait > 0 {
		return nil, nil, because(Crashed, fmt.Errorf("the provider crashed %d times: it is started again in %s", e.crashes, wait.Round(time.Second)))
	}
	if p.running >= p.o.MaxProcesses {
		idle := p.idlest()
		if idle == nil {
			return nil, p.freed, nil
		}
		stop = append(stop, p.retire(idle)...)
	}
	p.running++   // the place is taken
	p.wait.Add(1) // Close waits for the start
	return nil, nil, nil
}

// idlest is the entry whose process nobody has used for the longest time.
func (p *Prober) idlest() *entry {
	var found *entry
	for _, e := range p.entries {
		if e.warm != nil && e.warm.users == 0 && (found == nil || e.warm.used.Before(found.warm.used)) {
			found = e
		}
	}
	return found
}

const (
	maxBackOff = 5 * time.Minute
	calm       = 10 * time.Minute // without a crash, and crashes are forgotten
)

// backOff is how long no process is started after a crash: not at all after
// the first one.
func (e *entry) backOff() time.Duration {
	if e.crashes < 2 {
		return 0
	}
	return min(maxBackOff, time.Second<<min(e.crashes-2, 20))
}

func (p *Prober) start(ctx context.Context, e *entry) (*warm, error) {
	defer p.wait.Done()
	process, err := provider.Start(p.spawner, e.command)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, p.o.StartTimeout)
		err = process.Configure(within, e.schema, e.config, e.tool)
		cancel()
	}
	if err == nil {
		if w := p.started(e, process); w != nil {
			return w, nil
		}
		err = errClosed
	}
	if process != nil {
		process.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	p.announce()
	if ctx.Err() != nil {
		return nil, because(Cancelled, ctx.Err())
	}
	if process == nil || provider.Lost(err) {
		e.crash(p.o.Now())
	}
	return nil, because(Refused, err)
}

// started notes a process that is ready, unless the Prober was closed.
func (p *Prober) started(e *entry, process *provider.Process) *warm {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	now := p.o.Now()
	e.warm = &warm{Process: process, started: now, used: now, users: 1}
	p.live[e.warm] = true
	return e.warm
}

func (e *entry) crash(now time.Time) {
	if now.Sub(e.crashedAt) > calm {
		e.crashes = 0
	}
	e.crashes++
	e.crashedAt = now
}

func (p *Prober) release(e *entry, w *warm) {
	p.mu.Lock()
	w.users--
	w.reads++
	w.used = p.o.Now()
	var stop []*warm
	switch {
	case w.retired && w.users == 0:
		stop = []*warm{w}
	case !w.retired && p.worn(w):
		stop = p.retire(e)
	}
	p.announce()
	p.mu.Unlock()
	p.stop(stop)
}

// failed notes how a call failed, for the next to start another process.
func (p *Prober) failed(e *entry, w *warm, crashed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !crashed {
		w.late++
		return
	}
	if e.warm == w { // the first to notice
		e.crash(p.o.Now())
		_ = p.retire(e) // whoever uses it last stops it
	}
}

// answered notes that a call was answered.
func (p *Prober) answered(e *entry, w *warm, took time.Duration) {
	p.mu.Lock()
	w.late = 0
	e.latency += (took - e.latency) / 8
	p.mu.Unlock()
	p.eased(e)
}

// workers is how many reads of one check are under way at once: few where
// answers are quick, since that only makes providers open and close more
// connections than they keep.
func (p *Prober) workers(e *entry) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.latency == 0 {
		return p.o.Concurrency
	}
	return min(p.o.Concurrency, 2+int(e.latency/quick))
}

// quick is an answer for which it is not worth while to ask for more meanwhile.
const quick = 3 * time.Millisecond

// ProcessInfo describes a running process.
type ProcessInfo struct {
	Provider string // source and version
	Pid      string
	RSS      int64
	Started  time.Time
}

// Processes are those that run.
func (p *Prober) Processes() []ProcessInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []ProcessInfo
	for _, e := range p.entries {
		if w := e.warm; w != nil {
			all = append(all, ProcessInfo{Provider: e.name, Pid: w.Pid(), RSS: w.RSS(), Started: w.started})
		}
	}
	slices.SortFunc(all, func(a, b ProcessInfo) int { return a.Started.Compare(b.Started) })
	return all
}
