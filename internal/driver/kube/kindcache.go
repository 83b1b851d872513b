package kube

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// kindCache holds the records of one kind's managed objects on one destination.
type kindCache struct {
	cluster *cluster
	mapping mapping
	ref     plan.Ref // group, version and kind

	mu      sync.RWMutex
	records map[name]*record
	byOwner map[driver.Owner]map[name]struct{}
	// writing counts the writes under way to an object, whose events then are
	// Plumb's own.
	writing  map[name]int
	watchers map[string]*watcher
	// close are objects that somebody else has taken fields of, and whose values
	// matter all the same: with the projection that they have as long as that is so.
	close map[name]string
	// narrow is set where Plumb may not watch the whole cluster.
	narrow bool
	users  map[driver.Owner]struct{}
}

func newKindCache(c *cluster, m mapping, ref plan.Ref) *kindCache {
	return &kindCache{
		cluster: c, mapping: m, ref: plan.Ref{Group: ref.Group, Version: ref.Version, Kind: ref.Kind},
		records: map[name]*record{}, byOwner: map[driver.Owner]map[name]struct{}{}, writing: map[name]int{},
		watchers: map[string]*watcher{}, close: map[name]string{}, users: map[driver.Owner]struct{}{},
	}
}

func (k *kindCache) refOf(n name) plan.Ref {
	r := k.ref
	r.Namespace, r.Name = n.namespace, n.name
	return r
}

func (k *kindCache) read(n name, object map[string]any) *record {
	return k.cluster.recorder.record(k.refOf(n), object)
}

func (k *kindCache) get(n name) *record {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if r := k.records[n]; r != nil && !r.gone {
		return r
	}
	return nil
}

// of gives the names of what an owner holds.
func (k *kindCache) of(owner driver.Owner) []name {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := make([]name, 0, len(k.byOwner[owner]))
	for n := range k.byOwner[owner] {
		out = append(out, n)
	}
	return out
}

// put takes what a watch tells of an object.
func (k *kindCache) put(n name, r *record) {
	k.mu.Lock()
	old := k.records[n]
	if r.older(old) || old != nil && old.gone && old.uid == r.uid {
		k.mu.Unlock()
		return
	}
	k.set(n, old, r)
	tell := (r.moved(old) || k.close[n] != "" && r.content != old.content) && (k.writing[n] == 0 || !r.onlyProjection(old))
	if k.close[n] != r.projection {
		delete(k.close, n)
	}
	k.mu.Unlock()
	if tell {
		k.tell(n, old, r)
	}
}

// watchClosely has an owner look again also where a field has changed that it does
// not own any more, until it has taken its fields back.
func (k *kindCache) watchClosely(n name, seen *record) {
	k.mu.Lock()
	k.close[n] = seen.projection
	now := k.records[n]
	missed := now != nil && !now.gone && now.content != seen.content
	k.mu.Unlock()
	if missed {
		k.cluster.moved(seen.owner)
	}
}

// closely gives what the content of an object is known by, where it is watched
// closely.
func (k *kindCache) closely(n name, r *record) string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.close[n] != "" && k.close[n] == r.projection {
		return r.content
	}
	return ""
}

// wrote takes what an API server answered to a write, which may be older or
// newer than what the watch told meanwhile.
func (k *kindCache) wrote(n name, r *record) {
	k.mu.Lock()
	old := k.records[n]
	if !r.older(old) {
		k.set(n, old, r)
		k.mu.Unlock()
		return
	}
	tell := old.projection != r.projection || old.owner != r.owner
	k.mu.Unlock()
	if tell { // somebody was faster; the event was taken for Plumb's own
		k.tell(n, r, old)
	}
}

// set must be called with the lock held.
func (k *kindCache) set(n name, old, r *record) {
	if old != nil && old.owner != r.owner {
		k.unindex(n, old.owner)
	}
	k.records[n] = r
	names := k.byOwner[r.owner]
	if names == nil {
		names = map[name]struct{}{}
		k.byOwner[r.owner] = names
	}
	names[n] = struct{}{}
}

func (k *kindCache) unindex(n name, owner driver.Owner) {
	delete(k.byOwner[owner], n)
	if len(k.byOwner[owner]) == 0 {
		delete(k.byOwner, owner)
	}
}

// remove takes that an object is no more.
func (k *kindCache) remove(n name, uid string) {
	k.mu.Lock()
	old := k.records[n]
	if old == nil || uid != "" && old.uid != uid {
		k.mu.Unlock()
		return
	}
	delete(k.records, n)
	delete(k.close, n)
	k.unindex(n, old.owner)
	k.mu.Unlock()
	k.tell(n, old, nil)
}

// removed takes that a deletion was answered as done: what the watch still
// tells of that object is old.
func (k *kindCache) removed(n name, uid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.records[n]; old != nil && old.uid == uid {
		r := *old
		r.gone = true
		k.records[n] = &r
	}
}

// replace takes all objects of a namespace, or of the cluster.
func (k *kindCache) replace(namespace string, fresh map[name]*record) {
	type change struct {
		n        name
		old, new *record
	}
	var changes []change
	k.mu.Lock()
	for n, old := range k.records {
		if _, still := fresh[n]; !still && (namespace == "" || n.namespace == namespace) {
			delete(k.records, n)
			delete(k.close, n)
			k.unindex(n, old.owner)
			changes = append(changes, change{n, old, nil})
		}
	}
	for n, r := range fresh {
		old := k.records[n]
		if r.older(old) {
			continue
		}
		k.set(n, old, r)
		if r.moved(old) || k.close[n] != "" && r.content != old.content {
			changes = append(changes, change{n, old, r})
		}
	}
	k.mu.Unlock()
	told := map[driver.Owner]bool{}
	for _, c := range changes {
		for _, r := range []*record{c.old, c.new} {
			if r != nil && !told[r.owner] {
				told[r.owner] = true
				k.cluster.moved(r.owner)
			}
		}
		k.cluster.claims.wake(k.cluster.server, k.refOf(c.n).Address(), k.cluster.moved)
	}
}

// tell tells the owners of an object that it has changed.
func (k *kindCache) tell(n name, old, r *record) {
	if old != nil {
		k.cluster.moved(old.owner)
	}
	if r != nil && (old == nil || old.owner != r.owner) {
		k.cluster.moved(r.owner)
	}
	if r == nil || old != nil && old.owner != r.owner {
		k.cluster.claims.wake(k.cluster.server, k.refOf(n).Address(), k.cluster.moved)
	}
	if k.ref.Kind == "CustomResourceDefinition" {
		k.cluster.definitionsChanged()
	}
}

// tellAll tells everyone who holds objects of the kind.
func (k *kindCache) tellAll() {
	k.mu.RLock()
	users := make([]driver.Owner, 0, len(k.users))
	for o := range k.users {
		users = append(users, o)
	}
	k.mu.RUnlock()
	for _, o := range users {
		k.cluster.moved(o)
	}
}

// lost takes that a watch has failed.
func (k *kindCache) lost(w *watcher, err error) {
	switch {
	case apierrors.IsNotFound(err): // the kind itself is gone
		k.replace(w.namespace, nil)
		k.cluster.discover.changed()
		return
	case apierrors.IsForbidden(err) && w.namespace == "" && k.mapping.namespaced:
		k.mu.Lock()
		k.narrow = true
		k.mu.Unlock()
	}
	k.cluster.log.Warn("watch lost", "server", k.cluster.server, "kind", k.ref.Kind, "namespace", w.namespace, "error", err.Error())
	time.AfterFunc(lossNotice, func() {
		if _, _, err := w.state(); err != nil && k.cluster.ctx.Err() == nil {
			k.tellAll()
		}
	})
}

// begin and end enclose a write to an object.
func (k *kindCache) begin(n name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writing[n]++
}

func (k *kindCache) end(n name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.writing[n]--; k.writing[n] <= 0 {
		delete(k.writing, n)
	}
}

// ready waits until what is known of the given namespaces is all there is. An
// error says why it can't be known.
func (k *kindCache) ready(ctx context.Context, namespaces map[string]struct{}) error {
	for {
		retry, err := k.readyOnce(ctx, namespaces)
		if !retry || err != nil {
			return err
		}
	}
}

func (k *kindCache) readyOnce(ctx context.Context, namespaces map[string]struct{}) (retry bool, err error) {
	for _, w := range k.watching(namespaces) {
		for {
			synced, turn, err := w.state()
			if apierrors.IsForbidden(err) && w.namespace == "" && k.mapping.namespaced {
				k.narrowDown(w)
				return true, ctx.Err()
			}
			if err != nil {
				return false, err // not found: see cluster.ready
			}
			if synced {
				break
			}
			select {
			case <-turn:
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
	}
	return false, nil
}

// narrowDown has namespaces watched one by one, because Plumb may not watch the
// whole cluster. The refusal need not be the first failure of the watch: an API
// server that comes back refuses everybody for a moment.
func (k *kindCache) narrowDown(w *watcher) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.narrow = true
	w.stop()
	if k.watchers[w.namespace] == w {
		delete(k.watchers, w.namespace)
	}
}

// watching gives the watchers that together see the namespaces.
func (k *kindCache) watching(namespaces map[string]struct{}) []*watcher {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.narrow {
		return []*watcher{k.watcher("")}
	}
	out := make([]*watcher, 0, len(namespaces))
	for ns := range namespaces {
		if ns != "" {
			out = append(out, k.watcher(ns))
		}
	}
	return out
}

func (k *kindCache) watcher(namespace string) *watcher {
	w := k.watchers[namespace]
	if w == nil {
		w = k.startWatcher(namespace)
		k.watchers[namespace] = w
	}
	return w
}

func (k *kindCache) stopAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.watchers {
		w.stop()
	}
	clear(k.watchers)
}
