package engine

import (
	"sync"
	"time"
)

// queue hands keys to workers: each key to one worker at a time, a key that is
// added while it is being worked on again afterwards, in the order in which
// they were added. Delays are kept per key, the earliest wins.
//
// There are two lanes, each with workers of its own, so that Applications whose
// driver takes its time never keep the others waiting.
type queue struct {
	mu    sync.Mutex
	lanes [2]struct {
		wake  *sync.Cond
		order []Key
	}
	slow    map[Key]bool
	waiting map[Key]bool // in order
	busy    map[Key]bool // being worked on; the value: added again meanwhile
	timers  map[Key]*delayed
	clock   Clock
	closed  bool
}

type lane int

const (
	quick lane = iota
	slow
)

type delayed struct {
	at   time.Time
	stop func() bool
}

func newQueue(clock Clock) *queue {
	q := &queue{slow: map[Key]bool{}, waiting: map[Key]bool{}, busy: map[Key]bool{}, timers: map[Key]*delayed{}, clock: clock}
	for i := range q.lanes {
		q.lanes[i].wake = sync.NewCond(&q.mu)
	}
	return q
}

// slowDown puts a key into the slow lane, and tells whether it was not there.
func (q *queue) slowDown(k Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.slow[k]
	q.slow[k] = true
	return !was
}

// forget takes a key out of the slow lane.
func (q *queue) forget(k Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.slow, k)
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
			l := &q.lanes[quick]
			if q.slow[k] {
				l = &q.lanes[slow]
			}
			l.order = append(l.order, k)
			l.wake.Signal()
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

// take waits for a key of a lane, and is not ok once the queue is closed.
func (q *queue) take(of lane) (k Key, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.lanes[of]
	for len(l.order) == 0 && !q.closed {
		l.wake.Wait()
	}
	if q.closed {
		return Key{}, false
	}
	k, l.order = l.order[0], l.order[1:]
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
	return len(q.lanes[quick].order) + len(q.lanes[slow].order)
}

// close wakes all workers and stops all timers.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, t := range q.timers {
		t.stop()
	}
	for i := range q.lanes {
		q.lanes[i].wake.Broadcast()
	}
}
