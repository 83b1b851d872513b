package kube

import (
	"context"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/plumb-dev/plumb/internal/driver"
)

// kinds is what a destination serves, as discovered once. It never changes.
type kinds struct {
	generation   int64
	byKind       map[schema.GroupVersionKind]mapping
	versions     map[schema.GroupKind][]string
	capabilities driver.Capabilities
	// away are the groups whose own API server did not answer: what they serve
	// is not known.
	away map[string]error
}

func (k *kinds) find(gvk schema.GroupVersionKind) (mapping, bool) {
	m, ok := k.byKind[gvk]
	return m, ok
}

// any finds a kind in whichever version there is, the preferred one first.
func (k *kinds) any(gk schema.GroupKind, version string) (mapping, bool) {
	if m, ok := k.byKind[gk.WithVersion(version)]; ok {
		return m, true
	}
	for _, v := range k.versions[gk] {
		return k.byKind[gk.WithVersion(v)], true
	}
	return mapping{}, false
}

// How often what a destination serves is asked for again.
const (
	discoverAgain    = 2 * time.Second  // where a kind is not known
	discoverSlowly   = 30 * time.Second // where it still is not known after a while
	discoverPatience = 20 * time.Second
)

// discoverer asks a destination what it serves, when there is reason to.
type discoverer struct {
	client *client

	mu      sync.Mutex
	last    *kinds
	asked   time.Time
	stale   bool
	missing time.Time // since when something is not known
}

// kinds gives what is served. With missing, the caller has found that a kind is
// not: then, and where definitions have changed, the destination is asked again.
func (d *discoverer) kinds(ctx context.Context, missing bool) (*kinds, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil && !d.stale && (!missing || !d.due()) {
		return d.last, nil
	}
	k, err := d.discover(ctx)
	if err != nil {
		if d.last != nil && !d.stale {
			return d.last, nil
		}
		return nil, err
	}
	if d.last != nil {
		k.generation = d.last.generation + 1
	}
	d.last, d.asked, d.stale = k, time.Now(), false
	return k, nil
}

func (d *discoverer) due() bool {
	now := time.Now()
	if d.missing.IsZero() || now.Sub(d.missing) > 10*discoverPatience {
		d.missing = now
	}
	wait := discoverAgain
	if now.Sub(d.missing) > discoverPatience {
		wait = discoverSlowly
	}
	return now.Sub(d.asked) >= wait
}

// changed says that definitions have changed.
func (d *discoverer) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stale, d.missing = true, time.Time{}
}

func (d *discoverer) discover(ctx context.Context) (*kinds, error) {
	d.client.tell(ctx, "discover")
	dc, err := discovery.NewDiscoveryClientForConfigAndClient(d.client.config, d.client.http)
	if err != nil {
		return nil, err
	}
	version, err := dc.ServerVersion()
	if err != nil {
		return nil, err
	}
	// A group whose server is away must not hide the others.
	groups, lists, err := dc.ServerGroupsAndResources()
	failed, partly := discovery.GroupDiscoveryFailedErrorGroups(err)
	if err != nil && !partly {
		return nil, err
	}
	k := readKinds(version.GitVersion, groups, lists)
	k.away = make(map[string]error, len(failed))
	for gv, err := range failed {
		k.away[gv.Group] = err
	}
	return k, nil
}

func readKinds(version string, groups []*metav1.APIGroup, lists []*metav1.APIResourceList) *kinds {
	k := &kinds{byKind: map[schema.GroupVersionKind]mapping{}, versions: map[schema.GroupKind][]string{}}
	k.capabilities.KubeVersion = version
	preferred := map[string]string{}
	for _, g := range groups {
		preferred[g.Name] = g.PreferredVersion.Version
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		k.capabilities.APIVersions = append(k.capabilities.APIVersions, l.GroupVersion)
		for _, r := range l.APIResources {
			k.addResource(gv, &r, preferred[gv.Group])
		}
	}
	slices.Sort(k.capabilities.APIVersions)
	k.capabilities.APIVersions = slices.Compact(k.capabilities.APIVersions)
	return k
}

func (k *kinds) addResource(gv schema.GroupVersion, r *metav1.APIResource, preferred string) {
	if slices.ContainsFunc([]rune(r.Name), func(c rune) bool { return c == '/' }) {
		return // a subresource
	}
	gvk := gv.WithKind(r.Kind)
	k.capabilities.APIVersions = append(k.capabilities.APIVersions, gv.String()+"/"+r.Kind)
	if _, twice := k.byKind[gvk]; twice {
		return
	}
	k.byKind[gvk] = mapping{gvr: gv.WithResource(r.Name), namespaced: r.Namespaced}
	versions := k.versions[gvk.GroupKind()]
	if gv.Version == preferred {
		versions = append([]string{gv.Version}, versions...)
	} else {
		versions = append(versions, gv.Version)
	}
	k.versions[gvk.GroupKind()] = versions
}
