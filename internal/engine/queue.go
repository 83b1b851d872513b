package engine

import (
	"sync"
	"time"
)

// queue hands keys to workers: each key to one worker at a time, a key that is
// added while it is being worked on again afterwards, in the order in which
// they were added. Delays are kept per key, the earliest wins.
type queue struct {
	mu      sync.Mutex
	wake    *sync.Cond
	order   []Key
	waiting map[Key]bool // in order
	busy    map[Key]bool // being worked on; the value: added again meanwhile
	timers  map[Key]*delayed
	clock   Clock
	closed  bool
}

type delayed struct {
	at   time.Time
	stop func() bool
}

func newQueue(clock Clock) *queue {
	q := &queue{waiting: map[Key]bool{}, busy: map[Key]bool{}, timers: map[Key]*delayed{}, clock: clock}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// add queues keys that are not queued yet.
func (q *queue) add(keys ...Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range keys {
		if _, working := q.busy[k]; working {
			q.busy[k] = true
			continue
		}
		if !q.waiting[k] {
			q.waiting[k] = true
			q.order = append(q.order, k)
			q.wake.Signal()
		}
	}
}

// addAfter queues a key after a delay, unless it is due earlier anyway.
func (q *queue) addAfter(k Key, d time.Duration) {
	if d <= 0 {
		q.add(k)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	at := q.clock.Now().Add(d)
	if t := q.timers[k]; t != nil {
		if !t.at.After(at) {
			return
		}
		t.stop()
	}
	t := &delayed{at: at}
	q.timers[k] = t
	t.stop = q.clock.AfterFunc(d, func() {
		q.mu.Lock()
		if q.timers[k] == t {
			delete(q.timers, k)
		}
		q.mu.Unlock()
		q.add(k)
	})
}

// take waits for a key, and is not ok once the queue is closed.
func (q *queue) take() (k Key, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return Key{}, false
	}
	k, q.order = q.order[0], q.order[1:]
	delete(q.waiting, k)
	q.busy[k] = false
	return k, true
}

// done says that the work on a taken key has ended.
func (q *queue) done(k Key) {
	q.mu.Lock()
	again := q.busy[k]
	delete(q.busy, k)
	q.mu.Unlock()
	if again {
		q.add(k)
	}
}

// unsettled tells whether a key is queued or being worked on.
func (q *queue) unsettled(k Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, working := q.busy[k]
	return working || q.waiting[k]
}

// depth counts what is queued.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.order)
}

// close wakes all workers and stops all timers.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, t := range q.timers {
		t.stop()
	}
	q.wake.Broadcast()
}
