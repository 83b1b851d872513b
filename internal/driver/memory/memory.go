// Package memory is a driver whose destinations live in memory. It is what the
// engine's tests stand on: a World can be edited out of band, made ill, made to
// fail, and asked what was done to it. It passes the suite in drivertest.
//
// Objects are looked at as JSON with Kubernetes' metadata and nothing more: of
// annotations it knows waves, hooks with their deletion policies, and the sync
// options that guard against deletion. It has no schemas, no defaults and no
// cluster-scoped kinds but the best known ones.
package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// Driver is the driver. It is safe for concurrent use.
type Driver struct {
	parallel bool
	born     func(plan.Ref, map[string]any) health.Health
	ends     func(plan.Ref, map[string]any) (done, failed bool)
	caps     driver.Capabilities

	mu       sync.Mutex
	worlds   map[string]*World
	seen     map[driver.Owner]*view
	watchers map[*watcher]struct{}
}

var _ driver.Driver = (*Driver)(nil)

// view is what an owner saw at its last comparison.
type view struct {
	server string
	// looked holds, by address, what a prediction was made for: the same again
	// costs no call.
	looked map[plan.Address]string
}

// Option configures a Driver.
type Option func(*Driver)

// Parallel makes the steps of an Apply all at once, in no order. Without it
// they are made one after the other in the order given, so that a story told
// with the driver is always the same.
func Parallel() Option { return func(d *Driver) { d.parallel = true } }

// Born says how healthy an object is when it was just created or changed.
// Default: Healthy.
func Born(f func(ref plan.Ref, object map[string]any) health.Health) Option {
	return func(d *Driver) { d.born = f }
}

// HookEnds says how a hook's run stands as soon as it is made. Default: it is
// done. Where it is not, World.EndHook ends it.
func HookEnds(f func(ref plan.Ref, object map[string]any) (done, failed bool)) Option {
	return func(d *Driver) { d.ends = f }
}

// WithCapabilities sets what Capabilities answers.
func WithCapabilities(c driver.Capabilities) Option { return func(d *Driver) { d.caps = c } }

// New gives a driver with empty worlds.
func New(options ...Option) *Driver {
	d := &Driver{
		born: func(plan.Ref, map[string]any) health.Health { return health.Health{Status: health.Healthy} },
		ends: func(plan.Ref, map[string]any) (bool, bool) { return true, false },
		caps: driver.Capabilities{KubeVersion: "v1.36.3", APIVersions: []string{"v1", "apps/v1", "batch/v1"}},

		worlds:   map[string]*World{},
		seen:     map[driver.Owner]*view{},
		watchers: map[*watcher]struct{}{},
	}
	for _, o := range options {
		o(d)
	}
	return d
}

// World is the destination that is the cluster Plumb itself lives in.
func (d *Driver) World() *World { return d.At(v1alpha1.InClusterServer) }

// At is the destination at a server's URL.
func (d *Driver) At(server string) *World {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at(server)
}

func (d *Driver) at(server string) *World {
	w := d.worlds[server]
	if w == nil {
		w = &World{driver: d, objects: map[plan.Address]*object{}, requests: map[string]int{}}
		d.worlds[server] = w
	}
	return w
}

// Capabilities of a destination.
func (d *Driver) Capabilities(_ context.Context, t driver.Target) (driver.Capabilities, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.at(t.Server).unreachable; err != nil {
		return driver.Capabilities{}, err
	}
	return d.caps, nil
}

// Forget drops what is remembered of an owner. Its objects stay.
func (d *Driver) Forget(owner driver.Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, owner)
}

// watcher collects the owners to tell until its Watch gets to it.
type watcher struct {
	owners []driver.Owner
	signal chan struct{}
}

// Watch tells of moves until ctx is done.
func (d *Driver) Watch(ctx context.Context, moved func(driver.Owner)) error {
	w := &watcher{signal: make(chan struct{}, 1)}
	d.mu.Lock()
	d.watchers[w] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.watchers, w)
		d.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.signal:
		}
		d.mu.Lock()
		owners := w.owners
		w.owners = nil
		d.mu.Unlock()
		for _, o := range owners {
			moved(o)
		}
	}
}

// moved tells all watchers of a move at an address: its owner, and who wanted it.
func (d *Driver) moved(server string, address plan.Address, owner driver.Owner) {
	owners := []driver.Owner{}
	if owner != "" {
		owners = append(owners, owner)
	}
	for o, v := range d.seen {
		if _, looked := v.looked[address]; looked && v.server == server && o != owner {
			owners = append(owners, o)
		}
	}
	slices.Sort(owners)
	for w := range d.watchers {
		for _, o := range owners {
			if !slices.Contains(w.owners, o) {
				w.owners = append(w.owners, o)
			}
		}
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}
