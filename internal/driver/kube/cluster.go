package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// cluster is what is kept of one destination.
type cluster struct {
	server   string
	options  *Options
	config   *rest.Config
	own      *client
	dynamic  dynamic.Interface
	discover *discoverer
	recorder *recorder
	claims   *claims
	moved    func(driver.Owner)
	log      *slog.Logger
	ctx      context.Context
	stop     context.CancelFunc
	wg       *sync.WaitGroup

	mu      sync.Mutex
	clients map[string]*client
	caches  map[schema.GroupVersionKind]*kindCache
	// namespaces that are known to exist.
	namespaces map[string]bool
	// hopeful are the owners that wait for a kind to be defined.
	hopeful map[driver.Owner]struct{}
}

func (d *Driver) newCluster(server string, config *rest.Config) (*cluster, error) {
	c := &cluster{
		server: server, options: &d.options, config: config, claims: &d.claims, moved: d.moved, log: d.options.Log, wg: &d.wg,
		clients: map[string]*client{}, caches: map[schema.GroupVersionKind]*kindCache{},
		namespaces: map[string]bool{}, hopeful: map[driver.Owner]struct{}{},
		recorder: &recorder{hash: d.hash, assess: d.options.Assess, rules: d.rulesOf},
	}
	c.ctx, c.stop = context.WithCancel(d.ctx)
	own, err := c.client("")
	if err != nil {
		c.stop()
		return nil, err
	}
	c.own = own
	if c.dynamic, err = dynamic.NewForConfigAndClient(own.config, own.http); err != nil {
		c.stop()
		return nil, err
	}
	c.discover = &discoverer{client: own}
	return c, nil
}

// client gives the client of an identity.
func (c *cluster) client(identity string) (*client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.clients[identity]; have != nil {
		return have, nil
	}
	made, err := newClient(c.server, c.config, identity, c.options)
	if err != nil {
		return nil, err
	}
	c.clients[identity] = made
	return made, nil
}

// cache gives the cache of a kind, on behalf of an owner.
func (c *cluster) cache(m mapping, ref plan.Ref, user driver.Owner) *kindCache {
	gvk := schema.GroupVersionKind{Group: ref.Group, Version: m.gvr.Version, Kind: ref.Kind}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.caches[gvk]
	if k == nil {
		ref.Version = m.gvr.Version
		k = newKindCache(c, m, ref)
		c.caches[gvk] = k
	}
	k.mu.Lock()
	k.users[user] = struct{}{}
	k.mu.Unlock()
	return k
}

// leave ends a user's use of all kinds but those in keep. What nobody uses is
// watched no longer.
func (c *cluster) leave(user driver.Owner, keep map[*kindCache]map[string]struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keep == nil {
		delete(c.hopeful, user)
	}
	for gvk, k := range c.caches {
		if _, stays := keep[k]; stays {
			continue
		}
		k.mu.Lock()
		delete(k.users, user)
		unused := len(k.users) == 0
		k.mu.Unlock()
		if unused {
			k.stopAll()
			delete(c.caches, gvk)
		}
	}
}

// users are the owners that hold something on the destination.
func (c *cluster) users() []driver.Owner {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[driver.Owner]struct{}{}
	for _, k := range c.caches {
		k.mu.RLock()
		maps.Copy(all, k.users)
		k.mu.RUnlock()
	}
	return slices.Collect(maps.Keys(all))
}

// hope notes whether an owner waits for a kind to be defined.
func (c *cluster) hope(owner driver.Owner, waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waits {
		c.hopeful[owner] = struct{}{}
	} else {
		delete(c.hopeful, owner)
	}
}

// definitionsChanged makes the destination be asked again what it serves.
func (c *cluster) definitionsChanged() {
	c.discover.changed()
	c.mu.Lock()
	owners := make([]driver.Owner, 0, len(c.hopeful))
	for o := range c.hopeful {
		owners = append(owners, o)
	}
	c.mu.Unlock()
	for _, o := range owners {
		c.moved(o)
	}
}

// namespaceExists asks whether a namespace exists, unless it is known to.
func (c *cluster) namespaceExists(ctx context.Context, cl *client, namespace string, kind mapping) (bool, error) {
	c.mu.Lock()
	known := c.namespaces[namespace]
	c.mu.Unlock()
	if known {
		return true, nil
	}
	ns, err := cl.get(ctx, kind, "", namespace)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	exists := text(ns, "metadata", "deletionTimestamp") == ""
	c.knowNamespace(namespace, exists)
	return exists, nil
}

func (c *cluster) knowNamespace(namespace string, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if exists {
		c.namespaces[namespace] = true
	} else {
		delete(c.namespaces, namespace)
	}
}

// vanished tells whether a kind is no longer served in any version, and its
// objects are gone with it.
func (c *cluster) vanished(ctx context.Context, k *kindCache) bool {
	served, err := c.discover.kinds(ctx, true)
	if err != nil || served.away[k.ref.Group] != nil {
		return false
	}
	_, still := served.any(groupKind(k.ref), k.ref.Version)
	return !still
}

// readyTime bounds how long a comparison waits for a watch to begin.
const readyTime = 30 * time.Second

// ready waits until the records of the given kinds and namespaces are complete.
// It gives the kinds that Plumb may not watch, and an error where the whole
// destination cannot be looked at.
func (c *cluster) ready(ctx context.Context, needs map[*kindCache]map[string]struct{}) (map[*kindCache]error, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for k, namespaces := range needs {
		k.watching(namespaces) // begin all before waiting for one
	}
	blind := map[*kindCache]error{}
	for k, namespaces := range needs {
		err := k.ready(ctx, namespaces)
		if err == nil || apierrors.IsNotFound(err) && c.vanished(ctx, k) {
			continue
		}
		if apierrors.IsNotFound(err) {
			blind[k] = fmt.Errorf("it is not served as it was a moment ago: %w", err)
			continue
		}
		var status apierrors.APIStatus
		if errors.As(err, &status) && (apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err)) {
			blind[k] = err
			continue
		}
		return nil, unreachable(c.server, err)
	}
	return blind, nil
}
