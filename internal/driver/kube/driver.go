// Package kube makes Kubernetes clusters match bundles of objects: it applies
// them server-side, watches only the kinds that Applications hold, and knows
// drift from the watch alone, without asking. It keeps small records of live
// objects, never the objects. It knows nothing of Git, of policies, or of when
// to act: the engine decides that.
package kube

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// Driver is the Kubernetes driver. It serves any number of destinations.
type Driver struct {
	options Options
	hash    hasher
	claims  claims
	notify  atomic.Pointer[func(driver.Owner)]
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.RWMutex
	clusters map[string]*cluster
	holders  map[driver.Owner]*holder
}

var _ driver.Driver = (*Driver)(nil)

// holder is what is kept of one Application.
type holder struct {
	rules atomic.Pointer[ruleSet]

	mu      sync.Mutex
	server  string
	bundle  *bundle
	needs   map[*kindCache]map[string]struct{}
	items   map[plan.Address]*item
	claimed map[plan.Address]struct{}
}

// item is what is known of one resource that an Application holds.
type item struct {
	// desired and applied are marks of what was last declared and stored.
	desired, applied string
	// seen is the last look at a difference.
	seen *inspection
}

// New makes a driver. Close ends its watches.
func New(o Options) *Driver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OwnerExists == nil {
		o.OwnerExists = func(driver.Owner) bool { return true }
	}
	if o.UserAgent == "" {
		o.UserAgent = "plumb"
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Driver{
		options: o, hash: hasher{o.Key}, ctx: ctx, stop: stop,
		clusters: map[string]*cluster{}, holders: map[driver.Owner]*holder{},
	}
}

// Close ends all watches and waits until they have ended.
func (d *Driver) Close() {
	d.stop()
	d.wg.Wait()
}

// Watch calls moved with the owner of whatever changes, until ctx is done.
func (d *Driver) Watch(ctx context.Context, moved func(driver.Owner)) error {
	d.notify.Store(&moved)
	defer d.notify.Store(nil)
	<-ctx.Done()
	return nil
}

func (d *Driver) moved(owner driver.Owner) {
	if f := d.notify.Load(); f != nil && owner != "" {
		(*f)(owner)
	}
}

// Forget drops all that is kept for an owner.
func (d *Driver) Forget(owner driver.Owner) {
	d.mu.Lock()
	h := d.holders[owner]
	delete(d.holders, owner)
	clusters := make([]*cluster, 0, len(d.clusters))
	for _, c := range d.clusters {
		clusters = append(clusters, c)
	}
	d.mu.Unlock()
	if h == nil {
		return
	}
	h.mu.Lock()
	claimed, server := h.claimed, h.server
	h.claimed, h.needs, h.bundle = nil, nil, nil
	h.mu.Unlock()
	for a := range claimed {
		d.claims.release(server, a, owner, d.moved)
	}
	for _, c := range clusters {
		c.leave(owner, nil)
	}
}

// ForgetServer drops what is kept of a destination, because the way to reach it
// has changed or it is no more. Those who hold something there look again.
func (d *Driver) ForgetServer(server string) {
	d.mu.Lock()
	c := d.clusters[server]
	delete(d.clusters, server)
	d.mu.Unlock()
	if c == nil {
		return
	}
	c.stop()
	for _, o := range c.users() {
		d.moved(o)
	}
}

// Capabilities of a destination.
func (d *Driver) Capabilities(ctx context.Context, t driver.Target) (driver.Capabilities, error) {
	c, err := d.cluster(t.Server)
	if err != nil {
		return driver.Capabilities{}, err
	}
	k, err := c.discover.kinds(ctx, false)
	if err != nil {
		return driver.Capabilities{}, unreachable(t.Server, err)
	}
	return k.capabilities, nil
}

func (d *Driver) cluster(server string) (*cluster, error) {
	d.mu.RLock()
	c := d.clusters[server]
	d.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	config, err := d.options.Clusters.Config(server)
	if err != nil {
		return nil, unreachable(server, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.clusters[server]; c != nil {
		return c, nil
	}
	if c, err = d.newCluster(server, config); err != nil {
		return nil, unreachable(server, err)
	}
	d.clusters[server] = c
	return c, nil
}

func (d *Driver) holder(owner driver.Owner) *holder {
	d.mu.RLock()
	h := d.holders[owner]
	d.mu.RUnlock()
	if h != nil {
		return h
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if h = d.holders[owner]; h == nil {
		h = &holder{items: map[plan.Address]*item{}, claimed: map[plan.Address]struct{}{}}
		d.holders[owner] = h
	}
	return h
}

func (d *Driver) rulesOf(owner driver.Owner) *ruleSet {
	d.mu.RLock()
	h := d.holders[owner]
	d.mu.RUnlock()
	if h == nil {
		return nil
	}
	return h.rules.Load()
}

// read reads a bundle, unless that has been done.
func (d *Driver) read(ctx context.Context, c *cluster, h *holder, des *driver.Desired) (*bundle, error) {
	key := bundleKey(d.hash, des)
	h.mu.Lock()
	b := h.bundle
	h.mu.Unlock()
	if b != nil && b.key != key {
		b = nil
	}
	k, err := c.discover.kinds(ctx, b != nil && b.unknown)
	if err != nil {
		return nil, unreachable(c.server, err)
	}
	if b == nil || b.generation != k.generation {
		if b, err = readBundle(d.hash, des, k, key); err != nil {
			return nil, err
		}
		if b.unknown {
			if k, err = c.discover.kinds(ctx, true); err == nil && k.generation != b.generation {
				b, err = readBundle(d.hash, des, k, key)
			}
			if err != nil {
				return nil, unreachable(c.server, err)
			}
		}
	}
	h.rules.Store(b.rules)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundle = b
	if h.server != c.server {
		h.server, h.items, h.needs = c.server, map[plan.Address]*item{}, nil
	}
	c.hope(des.Target.Owner, b.unknown)
	return b, nil
}

func (h *holder) item(a plan.Address) item {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := h.items[a]; i != nil {
		return *i
	}
	return item{}
}

func (h *holder) remember(a plan.Address, i item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.items[a] = &i
}

func (h *holder) forget(a plan.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.items, a)
}
