package memory

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// World is one destination. Its methods are what happens there behind the
// driver's back, and what a test may ask.
type World struct {
	driver      *Driver
	objects     map[plan.Address]*object
	requests    map[string]int
	log         []string
	faults      []*Fault
	unreachable error
}

// object is one thing that exists.
type object struct {
	ref  plan.Ref
	live map[string]any
	// declared is what its owner applied last.
	declared map[string]any
	owner    driver.Owner
	health   health.Health
	// revision counts its changes.
	revision int
	hook     *run
	// held objects stay when they are deleted, until they are released.
	held, deleting bool
}

// run is one run of a hook.
type run struct {
	operation    string
	phase        plan.Phase
	done, failed bool
}

// Fault makes requests fail.
type Fault struct {
	// Verb that fails: "dry-run", "apply", "delete". Empty: all of them.
	Verb string
	// Address that it fails on. Empty: any.
	Address plan.Address
	Problem driver.Problem
	// Times it fails. 0: until Mend.
	Times int
}

func (w *World) lock() func() {
	w.driver.mu.Lock()
	return w.driver.mu.Unlock
}

func (w *World) server() string {
	for s, other := range w.driver.worlds {
		if other == w {
			return s
		}
	}
	return ""
}

// touch says that an object has changed.
func (w *World) touch(o *object) {
	o.revision++
	w.driver.moved(w.server(), o.ref.Address(), o.owner)
}

// Put makes an object exist that nobody owns, or makes an existing one this.
// Content that is no JSON object is an error of the test: it panics.
func (w *World) Put(ref plan.Ref, content string) {
	var live map[string]any
	if err := json.Unmarshal([]byte(content), &live); err != nil {
		panic(fmt.Sprintf("memory: Put %s: %v", ref.Address(), err))
	}
	defer w.lock()()
	o := w.objects[ref.Address()]
	if o == nil {
		o = &object{ref: ref, health: w.driver.born(ref, live)}
		w.objects[ref.Address()] = o
	}
	o.live = live
	w.touch(o)
}

// Edit changes an object out of band. It tells whether the object exists.
func (w *World) Edit(address plan.Address, change func(live map[string]any)) bool {
	defer w.lock()()
	o := w.objects[address]
	if o == nil {
		return false
	}
	o.live = clone(o.live)
	change(o.live)
	w.touch(o)
	return true
}

// Remove deletes an object out of band. It tells whether it existed.
func (w *World) Remove(address plan.Address) bool {
	defer w.lock()()
	o := w.objects[address]
	if o == nil {
		return false
	}
	delete(w.objects, address)
	w.touch(o)
	return true
}

// SetHealth makes an object as healthy as this.
func (w *World) SetHealth(address plan.Address, h health.Health) bool {
	defer w.lock()()
	o := w.objects[address]
	if o == nil {
		return false
	}
	o.health = h
	w.touch(o)
	return true
}

// EndHook ends a hook's run.
func (w *World) EndHook(address plan.Address, failed bool, message string) bool {
	defer w.lock()()
	o := w.objects[address]
	if o == nil || o.hook == nil {
		return false
	}
	o.hook.done, o.hook.failed = !failed, failed
	o.health = health.Health{Status: health.Healthy, Message: message}
	if failed {
		o.health.Status = health.Degraded
	}
	w.touch(o)
	return true
}

// Hold keeps an object from going when it is deleted, as a finalizer does.
func (w *World) Hold(address plan.Address) bool {
	defer w.lock()()
	o := w.objects[address]
	if o == nil {
		return false
	}
	o.held = true
	return true
}

// Release lets an object that was held go.
func (w *World) Release(address plan.Address) bool {
	defer w.lock()()
	o := w.objects[address]
	if o == nil {
		return false
	}
	o.held = false
	if o.deleting {
		delete(w.objects, address)
	}
	w.touch(o)
	return true
}

// Fail makes requests fail from now on.
func (w *World) Fail(f Fault) {
	defer w.lock()()
	w.faults = append(w.faults, &f)
}

// Mend takes back all that Fail and Unreachable have done.
func (w *World) Mend() {
	defer w.lock()()
	w.faults, w.unreachable = nil, nil
	for _, o := range w.objects {
		w.driver.moved(w.server(), o.ref.Address(), o.owner)
	}
}

// Unreachable makes the whole destination fail with an error.
func (w *World) Unreachable(err error) {
	defer w.lock()()
	w.unreachable = err
}

// fault finds the problem that a request meets, or nil.
func (w *World) fault(verb string, address plan.Address) *driver.Problem {
	for i, f := range w.faults {
		if f.Verb != "" && f.Verb != verb || f.Address != "" && f.Address != address {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				w.faults = slices.Delete(w.faults, i, i+1)
			}
		}
		p := f.Problem
		return &p
	}
	return nil
}

// Get gives a copy of an object, and whether it exists.
func (w *World) Get(address plan.Address) (map[string]any, bool) {
	defer w.lock()()
	o := w.objects[address]
	if o == nil {
		return nil, false
	}
	return clone(o.live), true
}

// Owner of an object, or "".
func (w *World) Owner(address plan.Address) driver.Owner {
	defer w.lock()()
	if o := w.objects[address]; o != nil {
		return o.owner
	}
	return ""
}

// Addresses of all objects, sorted.
func (w *World) Addresses() []plan.Address {
	defer w.lock()()
	return slices.Sorted(maps.Keys(w.objects))
}

// Requests counts what was asked of the world, by verb: "dry-run", "apply",
// "delete". Nothing else costs a request.
func (w *World) Requests() map[string]int {
	defer w.lock()()
	return maps.Clone(w.requests)
}

// Log gives what the driver did to the world, in order ("create
// ConfigMap/shop/web"), and forgets it.
func (w *World) Log() []string {
	defer w.lock()()
	out := w.log
	w.log = nil
	return out
}
