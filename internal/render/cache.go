package render

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime/debug"
	"sort"
	"strings"
	"sync"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// maxVariants bounds the bundles kept for one Application at one content of
// its own directory: they differ by what lies outside of it.
const maxVariants = 4

// Cache keeps bundles by what they were rendered from: the parameters, the
// identity of the source's own directory, and everything outside of it that
// the rendering looked at, also where there was nothing. A commit that changes
// none of these renders nothing. It is safe for concurrent use; the bundles it
// gives are shared and must not be changed.
type Cache struct {
	limit int64

	mu      sync.Mutex
	bytes   int64
	entries map[string][]*entry
	recent  *list.List // of *entry, the latest used first
	flights map[string]*flight
	// stuck are the renderings that went on after they were given up, by their
	// Application and what was rendered; each channel is closed at the end.
	stuck map[string]map[string]<-chan struct{}
	stats CacheStats
}

// CacheStats counts what a cache did.
type CacheStats struct {
	// Renderings are those that were really done, Hits those that were not.
	Renderings, Hits uint64
	Entries          int
	Bytes            int64
}

// entry is one kept bundle.
type entry struct {
	key    string
	bundle Bundle
	trace  *trace
	// revision and destination are set where the bundle depends on them.
	revision    string
	destination string
	// checked is the content that the trace was last found to hold for.
	checked string
	size    int64
	element *list.Element
}

// flight is a rendering that several wait for.
type flight struct {
	done   chan struct{}
	fresh  bool // it was rendered, not found
	bundle Bundle
	err    error
}

// NewCache keeps at most about limitBytes.
func NewCache(limitBytes int64) *Cache {
	return &Cache{limit: limitBytes, entries: map[string][]*entry{}, recent: list.New(), flights: map[string]*flight{}, stuck: map[string]map[string]<-chan struct{}{}}
}

// Stats gives the counts so far.
func (c *Cache) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Bytes, s.Entries = c.bytes, c.recent.Len()
	return s
}

// Renderings is the number of bundles that were really rendered.
func (c *Cache) Renderings() uint64 { return c.Stats().Renderings }

// Lookup gives the bundle if it is known without rendering.
func (c *Cache) Lookup(req Request) (Bundle, bool) {
	key, err := keyOf(&req)
	if err != nil {
		return Bundle{}, false
	}
	return c.lookup(key, &req)
}

func (c *Cache) lookup(key string, req *Request) (Bundle, bool) {
	at := revisionsOf(req)
	c.mu.Lock()
	candidates := append([]*entry(nil), c.entries[key]...)
	c.mu.Unlock()
	for _, e := range candidates {
		if expired(e.bundle, req) {
			continue
		}
		if (e.revision != "" && e.revision != req.Input.Tree.Revision()) || (e.destination != "" && e.destination != destinationOf(req)) {
			continue
		}
		c.mu.Lock()
		known := at != "" && e.checked == at
		c.mu.Unlock()
		// Looking at the trees may take a while, so it is done unlocked.
		if !known && !e.trace.holds(req) {
			continue
		}
		c.mu.Lock()
		e.checked = at
		if e.element != nil {
			c.recent.MoveToFront(e.element)
		}
		c.stats.Hits++
		c.mu.Unlock()
		return e.bundle, true
	}
	return Bundle{}, false
}

// expired tells whether references in a bundle must be looked up again.
func expired(b Bundle, req *Request) bool {
	return !b.Expires.IsZero() && (req.Fresh || !req.At.Before(b.Expires))
}

// Render gives the bundle, rendered by with if it is not known. The second
// result says whether this call rendered. Equal requests at one time share one
// rendering, which goes on as long as its own limits allow even if its first
// caller gives up.
func (c *Cache) Render(ctx context.Context, req Request, with Renderer) (Bundle, bool, error) {
	key, err := keyOf(&req)
	if err != nil {
		return Bundle{}, false, err
	}
	if !req.Uncached {
		if b, ok := c.lookup(key, &req); ok {
			return b, false, nil
		}
	}
	f, mine := c.fly(ctx, key, req, with)
	select {
	case <-f.done:
		return f.bundle, mine && f.fresh, f.err
	case <-ctx.Done():
		return Bundle{}, mine, context.Cause(ctx)
	}
}

// Over gives a renderer that renders with another one what the cache does not
// know.
func (c *Cache) Over(with Renderer) Renderer { return cached{c, with} }

type cached struct {
	cache *Cache
	with  Renderer
}

func (c cached) Render(ctx context.Context, req Request) (Bundle, error) {
	b, _, err := c.cache.Render(ctx, req, c.with)
	return b, err
}

// fly joins a rendering on its way, or starts one.
func (c *Cache) fly(ctx context.Context, key string, req Request, with Renderer) (*flight, bool) {
	content := revisionsOf(&req)
	if content == "" {
		content = treesOf(&req)
	}
	name := key + "\n" + content + "\n" + destinationOf(&req)
	if req.Fresh {
		name += "\nfresh"
	}
	if req.Uncached {
		name += "\nuncached"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.flights[name]; ok {
		return f, false
	}
	f := &flight{done: make(chan struct{})}
	c.flights[name] = f
	go func() {
		// Another rendering may have ended between the look into the cache and now.
		if b, ok := c.lookup(key, &req); ok && !req.Uncached {
			f.bundle = b
		} else if f.err = c.stillRuns(&req, name); f.err == nil {
			f.fresh = true
			ctx := context.WithValue(context.WithoutCancel(ctx), abandonment{}, func(ended <-chan struct{}) { c.abandon(&req, name, ended) })
			c.render(ctx, key, req, with, f)
		}
		c.mu.Lock()
		delete(c.flights, name)
		c.mu.Unlock()
		close(f.done)
	}()
	return f, true
}

// maxStuck is how many renderings of one Application may go on after they were
// given up: each may keep a processor busy for ever.
const maxStuck = 3

func applicationOf(req *Request) string {
	return req.Project + "\n" + req.Namespace + "\n" + req.AppName
}

func (c *Cache) abandon(req *Request, name string, ended <-chan struct{}) {
	app := applicationOf(req)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck[app] == nil {
		c.stuck[app] = map[string]<-chan struct{}{}
	}
	c.stuck[app][name] = ended
}

// stillRuns says why a rendering must not begin: it, or too many others of its
// Application, did not end in their time and still run.
func (c *Cache) stillRuns(req *Request, name string) error {
	app := applicationOf(req)
	c.mu.Lock()
	defer c.mu.Unlock()
	stuck := c.stuck[app]
	for name, ended := range stuck {
		select {
		case <-ended:
			delete(stuck, name)
		default:
		}
	}
	switch {
	case len(stuck) == 0:
		delete(c.stuck, app)
	case stuck[name] != nil:
		return fmt.Errorf("rendering this did not end in its time, and still runs: look for a loop without end: %w", ErrTooMuch)
	case len(stuck) >= maxStuck:
		return fmt.Errorf("%d earlier renderings of this Application did not end in their time, and still run: look for a loop without end, and start Plumb's server anew: %w", len(stuck), ErrTooMuch)
	}
	return nil
}

// render renders, and keeps what came of it.
func (c *Cache) render(ctx context.Context, key string, req Request, with Renderer, f *flight) {
	c.mu.Lock()
	c.stats.Renderings++
	c.mu.Unlock()
	t := newTrace()
	f.bundle, f.err = rendered(ctx, t.wrap(req), with)
	if f.err == nil {
		c.keep(key, &req, f.bundle, t)
	}
}

func rendered(ctx context.Context, req Request, with Renderer) (b Bundle, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = Bundle{}, &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return with.Render(ctx, req)
}

func (c *Cache) keep(key string, req *Request, b Bundle, t *trace) {
	if req.Uncached {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &entry{key: key, bundle: b, trace: &trace{looks: t.looks}, checked: revisionsOf(req)}
	if t.revision {
		e.revision = req.Input.Tree.Revision()
	}
	if t.destination || b.SourceType == string(v1alpha1.ApplicationSourceTypeHelm) {
		e.destination = destinationOf(req)
	}
	e.size = sizeOf(e)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.size > c.limit {
		return
	}
	list := append([]*entry{e}, c.entries[key]...)
	e.element = c.recent.PushFront(e)
	c.entries[key] = list
	c.bytes += e.size
	if len(list) > maxVariants {
		c.drop(list[maxVariants])
	}
	for c.bytes > c.limit {
		c.drop(c.recent.Back().Value.(*entry))
	}
}

// drop forgets an entry. The cache is locked.
func (c *Cache) drop(e *entry) {
	c.recent.Remove(e.element)
	e.element = nil
	c.bytes -= e.size
	list := c.entries[e.key]
	kept := make([]*entry, 0, len(list))
	for _, other := range list {
		if other != e {
			kept = append(kept, other)
		}
	}
	if len(kept) == 0 {
		delete(c.entries, e.key)
		return
	}
	c.entries[e.key] = kept
}

// sizeOf estimates what an entry holds in memory.
func sizeOf(e *entry) int64 {
	n := int64(512 + len(e.key))
	for _, o := range e.bundle.Objects {
		n += int64(len(o.JSON)+len(o.Hash)+len(o.File)) + 200
	}
	if m := e.bundle.Module; m != nil {
		for name, text := range m.Files {
			n += int64(len(name)+len(text)) + 100
		}
	}
	for _, t := range e.bundle.Secrets {
		n += int64(len(t)) + 16
	}
	for l, v := range e.trace.looks {
		n += int64(len(l.path)+len(v)) + 100
	}
	return n
}

// keyOf hashes the parameters, and the identity of the source's directory.
// What of the destination matters is compared for itself, since only charts
// see it.
func keyOf(req *Request) (string, error) {
	if req.Input.Tree == nil {
		return "", fmt.Errorf("request has no tree")
	}
	refs := make(map[string]string, len(req.Refs))
	for name, in := range req.Refs {
		refs[name] = in.Source.RepoURL + "\n" + in.Source.Chart + "\n" + in.Path
	}
	inputs := make(map[string]string, len(req.Inputs))
	for name, v := range req.Inputs {
		inputs[name] = string(v.JSON)
	}
	p := Clean(req.Input.Path)
	text, err := json.Marshal(struct {
		App, Namespace, Project, Path, Own string
		Source                             v1alpha1.ApplicationSource
		Refs                               map[string]string
		Limits                             Limits
		Charts, Remotes                    bool
		Inputs                             map[string]string
		Keys                               string
	}{
		req.AppName, req.Namespace, req.Project, p, req.Input.Tree.ID(p),
		req.Input.Source, refs, req.Limits.OrDefault(), req.Charts != nil, req.Remotes != nil, inputs, keysOf(req),
	})
	if err != nil {
		return "", fmt.Errorf("hash parameters: %w", err)
	}
	return hashText(string(text)), nil
}

func keysOf(req *Request) string {
	if req.Keys == nil {
		return ""
	}
	return req.Keys.Fingerprint()
}

func hashText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

var digest = regexp.MustCompile(`^(sha256:)?[0-9a-f]{40,64}$`)

// revisionsOf names the content of all trees by their revisions. It is empty
// where one of these does not stand for its content, as that of a local
// directory.
func revisionsOf(req *Request) string {
	parts := []string{req.Input.Tree.Revision()}
	for name, in := range req.Refs {
		if in.Tree != nil {
			parts = append(parts, name+"="+in.Tree.Revision())
		}
	}
	for _, p := range parts {
		if _, r, ok := strings.Cut(p, "="); ok {
			p = r
		}
		if !digest.MatchString(p) {
			return ""
		}
	}
	sort.Strings(parts[1:])
	return strings.Join(parts, " ")
}

// treesOf names the trees themselves, for as long as they are in use.
func treesOf(req *Request) string {
	parts := []string{fmt.Sprintf("%p", req.Input.Tree)}
	for name, in := range req.Refs {
		parts = append(parts, fmt.Sprintf("%s=%p", name, in.Tree))
	}
	sort.Strings(parts[1:])
	return strings.Join(parts, " ")
}

func destinationOf(req *Request) string {
	return hashText(req.KubeVersion + "\n" + strings.Join(req.APIVersions, "\n"))
}
