// Package fakecloud is a small cloud to test infrastructure tools against: an
// HTTP API of regions, networks, machines, buckets and records, with what makes
// real ones hard: latency, throttling, reads that lag behind writes, faults on
// demand, fields that change by themselves, and people who change things behind
// everybody's back. It accounts for every object, so that a test can ask
// whether anything was created twice, leaked or lost.
//
// It knows nothing of providers, OpenTofu or Plumb, and keeps all in memory.
//
//	cloud := fakecloud.New(fakecloud.Options{Token: "secret"})
//	server := httptest.NewServer(cloud)
//
// What a test may do by the methods of Cloud, another process may do by HTTP
// under /admin/, which needs no token.
package fakecloud

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options are what a cloud is made with.
type Options struct {
	// Token is what every request to the API must bear. Empty: no check.
	Token string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Cloud is the whole cloud, and the handler of its API.
type Cloud struct {
	token string
	now   func() time.Time
	mux   *http.ServeMux

	mu        sync.Mutex
	serial    int // the last number that an object got
	objects   map[string]*object
	tokens    map[string]string // idempotency token → id of what it created
	log       []Event
	behaviour Behaviour
	bucket    bucket
	faults    []*Fault
	released  chan struct{} // closed to let go of requests that hang
	stats     map[string]int
}

// Object is one thing in the cloud. Body holds all fields that the API shows;
// numbers in it are json.Number.
type Object struct {
	Kind       string         `json:"kind"`
	ID         string         `json:"id"`
	Region     string         `json:"region"`
	Generation int            `json:"generation"`
	Token      string         `json:"token,omitempty"`
	Created    time.Time      `json:"created"`
	Body       map[string]any `json:"body"`
}

// Name is the field name, or the tag Name of what has none.
func (o Object) Name() string {
	if name, ok := o.Body["name"].(string); ok {
		return name
	}
	tags, _ := o.Body["tags"].(map[string]any)
	name, _ := tags["Name"].(string)
	return name
}

// object is an Object with what lagging readers still see of it.
type object struct {
	Object
	declared map[string]any // the fields that its creator gave
	previous map[string]any // nil before the first change: readers see nothing
	changed  time.Time
	deleted  bool
}

// What may be wrong with a request, beside its form.
var (
	ErrNotFound   = errors.New("not found")
	ErrConflict   = errors.New("conflict")
	ErrInvalid    = errors.New("invalid")
	ErrDependency = errors.New("still in use")
)

// New returns an empty cloud.
func New(o Options) *Cloud {
	c := &Cloud{token: o.Token, now: o.Now}
	if c.now == nil {
		c.now = time.Now
	}
	c.mux = c.routes()
	c.Reset()
	return c
}

// Reset empties the cloud and makes it behave again. Ids are not used twice.
func (c *Cloud) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects, c.tokens, c.stats = map[string]*object{}, map[string]string{}, map[string]int{}
	c.log, c.faults, c.behaviour, c.bucket = nil, nil, Behaviour{}, bucket{}
	c.release()
	for _, region := range Regions {
		for _, name := range images {
			o, _, err := c.create(byAdmin, imageKind, region, "", map[string]any{"name": name})
			if err != nil {
				panic(fmt.Sprintf("fakecloud: %v", err))
			}
			o.changed = time.Time{}
		}
	}
	c.log = nil
}

// ServeHTTP serves the API and its administration.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// Objects returns what exists, of the given kinds or of all but the images that
// the cloud offers, in the order of creation, and never lags.
func (c *Cloud) Objects(kinds ...string) []Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []Object
	for _, o := range c.objects {
		if !o.deleted && (len(kinds) == 0 && o.Kind != imageKind || slices.Contains(kinds, o.Kind)) {
			found = append(found, o.snapshot())
		}
	}
	slices.SortFunc(found, func(a, b Object) int { return cmp.Compare(ordinal(a.ID), ordinal(b.ID)) })
	return found
}

// Get returns one object as it is, whatever lagging readers see.
func (c *Cloud) Get(id string) (Object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.objects[id]
	if !ok || o.deleted {
		return Object{}, false
	}
	return o.snapshot(), true
}

// Create makes an object behind the back of those who use the API.
func (c *Cloud) Create(kindName, region string, body map[string]any) (Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, _, err := c.create(byAdmin, kindName, region, "", clone(body))
	if err != nil {
		return Object{}, err
	}
	o.changed = time.Time{}
	return o.snapshot(), nil
}

// Change changes an object behind the back of those who use the API. It may set
// any field, those that the cloud computes too.
func (c *Cloud) Change(id string, change func(body map[string]any)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := c.live(id)
	if err != nil {
		return err
	}
	body := clone(o.Body)
	change(body)
	o.Body = clone(body) // as JSON has it: a test may have put Go's own types
	o.Generation++
	o.changed = time.Time{}
	c.record(byAdmin, "update", o)
	return nil
}

// Delete deletes an object behind the back of those who use the API, even one
// that others need.
func (c *Cloud) Delete(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := c.live(id)
	if err != nil {
		return err
	}
	c.record(byAdmin, "delete", o)
	delete(c.objects, id)
	return nil
}

func (c *Cloud) live(id string) (*object, error) {
	o, ok := c.objects[id]
	if !ok || o.deleted {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return o, nil
}

// create tells beside the object whether its token had created it before.
func (c *Cloud) create(by, kindName, region, token string, body map[string]any) (*object, bool, error) {
	kind, ok := kinds[kindName]
	if !ok {
		return nil, false, fmt.Errorf("there is no kind %q: %w", kindName, ErrInvalid)
	}
	scoped := region + "/" + kindName + "/" + token
	if token != "" {
		if o, err := c.live(c.tokens[scoped]); err == nil {
			c.record(by, "repeat", o)
			return o, true, nil
		}
	}
	if err := c.check(kind, kindName, region, "", body); err != nil {
		return nil, false, err
	}
	c.serial++
	id := fmt.Sprintf("%s-%08x", kind.prefix, c.serial)
	now := c.now()
	o := &object{
		Object:   Object{Kind: kindName, ID: id, Region: region, Generation: 1, Token: token, Created: now},
		declared: clone(body), changed: now,
	}
	o.Body = body
	o.Body["id"] = id
	c.compute(kind, o)
	c.objects[id] = o
	if token != "" {
		c.tokens[scoped] = id
	}
	c.record(by, "create", o)
	return o, false, nil
}

func (c *Cloud) update(id string, body map[string]any) (*object, error) {
	o, err := c.live(id)
	if err != nil {
		return nil, err
	}
	kind := kinds[o.Kind]
	merged := clone(o.Body)
	maps.Copy(merged, body)
	if err := c.check(kind, o.Kind, o.Region, id, merged); err != nil {
		return nil, err
	}
	o.previous, o.changed = o.Body, c.now()
	o.Body = merged
	o.Body["id"] = id
	o.Generation++
	c.compute(kind, o)
	c.record(byAPI, "update", o)
	return o, nil
}

func (c *Cloud) remove(id string) error {
	o, err := c.live(id)
	if err != nil {
		return err
	}
	for _, other := range c.objects {
		if !other.deleted && len(kinds[other.Kind].refs) > 0 && kinds[other.Kind].uses(other.Body, o.Kind, id) {
			return fmt.Errorf("%s is needed by %s: %w", id, other.ID, ErrDependency)
		}
	}
	o.previous, o.changed, o.deleted = o.Body, c.now(), true
	c.record(byAPI, "delete", o)
	if c.behaviour.ReadLag == 0 {
		delete(c.objects, id)
	}
	return nil
}

// visible is what a reader sees of an object now: the object, a body and the
// generation of this body.
func (c *Cloud) visible(id string) (o *object, body map[string]any, generation int, ok bool) {
	o, ok = c.objects[id]
	if !ok {
		return nil, nil, 0, false
	}
	if c.now().Before(o.changed.Add(time.Duration(c.behaviour.ReadLag))) {
		return o, o.previous, o.Generation - 1, o.previous != nil
	}
	if o.deleted {
		delete(c.objects, id)
		return nil, nil, 0, false
	}
	if read := kinds[o.Kind].read; read != nil {
		read(c, o)
	}
	return o, o.Body, o.Generation, true
}

func (o *object) snapshot() Object {
	copied := o.Object
	copied.Body = clone(o.Body)
	return copied
}
