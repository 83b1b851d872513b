package probe

import (
	"fmt"
	"regexp"
	"time"

	"golang.org/x/time/rate"
)

// strain is how much a configuration of a provider has been asked beyond what
// is answered. Its fields are the Prober's lock's.
type strain struct {
	times int       // in a row
	until time.Time // nothing is read before
	last  time.Time
	// asked counts reads since the second that began at since.
	asked int
	since time.Time
}

const (
	slowest    = rate.Limit(0.2)  // reads a second, however much is refused
	fastest    = rate.Limit(1000) // from here on there is no bound of ours
	relief     = time.Minute      // without a refusal, and twice as much is asked
	firstPause = time.Second
	maxPause   = 5 * time.Minute
)

// throttled is how clouds and their providers say that they are asked too
// much. Whatever looks like it by mistake is asked less, and is unknown anyway.
var throttled = regexp.MustCompile(`(?i)\b(status(code)?:? ?)?429\b|throttl|too ?many ?requests|rate.?limit|rate exceeded|request ?limit ?exceeded|slow ?down|quota exceeded`)

// admit tells whether an entry may be asked now, and why not.
func (p *Prober) admit(e *entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Now()
	if err := e.strain.paused(now); err != nil {
		return err
	}
	if now.Sub(e.strain.since) >= time.Second {
		e.strain.asked, e.strain.since = 0, now
	}
	e.strain.asked++
	return nil
}

func (s *strain) paused(now time.Time) error {
	if wait := s.until.Sub(now); wait > 0 {
		return because(Throttled, fmt.Errorf("the provider is asked too much, or does not answer: it is asked again in %s", wait.Round(time.Second)))
	}
	return nil
}

// relieve lets an entry be asked more again, the longer it was not refused. Who
// would wait for nothing is told so.
func (p *Prober) relieve(e *entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Now()
	for limit := e.limiter.Limit(); limit != e.limit && now.Sub(e.strain.last) >= relief; {
		e.strain.last = e.strain.last.Add(relief)
		if limit *= 2; limit >= min(e.limit, fastest) {
			limit = e.limit
		}
		e.bound(limit, p.o.Concurrency)
	}
	return e.strain.paused(now)
}

// strained notes that an entry was asked too much: nothing is read for a while,
// the longer the oftener, and then half as much as before.
func (p *Prober) strained(e *entry, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Now()
	if e.strain.until.After(now) {
		return // the reads that were under way count once
	}
	e.strain.times++
	e.strain.until = now.Add(min(maxPause, firstPause<<min(e.strain.times-1, 20)))
	e.strain.last = now
	if !refused {
		return
	}
	was := e.limiter.Limit()
	if asked := rate.Limit(e.strain.asked); asked < was {
		was = asked
	}
	e.bound(max(slowest, was/2), p.o.Concurrency)
}

// eased notes that a read was answered.
func (p *Prober) eased(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.strain.times > 0 && p.o.Now().After(e.strain.until) {
		e.strain.times--
	}
}

func (e *entry) bound(limit rate.Limit, concurrency int) {
	e.limiter.SetLimit(limit)
	if limit == e.limit {
		e.limiter.SetBurst(concurrency)
		return
	}
	e.limiter.SetBurst(max(1, min(concurrency, int(limit))))
}
