package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// result is how an attempt ended.
type result struct {
	to        Destination
	attempted int
	done      int // of the attempted, from the front: arrived, or refused for good
	err       error
	text      string // of the error, without secrets
}

// step sends what is due, as much as may be on its way at once, and says how
// many it has begun.
func (n *Notifier) step(ctx context.Context, inFlight *sync.WaitGroup, room int) int {
	n.digest()
	n.mu.Lock()
	defer n.mu.Unlock()
	begun := 0
	now := time.Now()
	for _, c := range n.inOrder() {
		if begun >= room {
			break
		}
		at, ok := c.due(n.config.grouping.orDefault(), now)
		if !ok || at.After(now) {
			continue
		}
		messages := make([]Message, len(c.pending))
		for i, w := range c.pending {
			messages[i] = w.Message
		}
		c.sending = true
		c.limit.AllowN(now, 1)
		s := n.config.serviceOf(c.to)
		begun++
		inFlight.Go(func() { n.results <- n.attempt(ctx, s, c.to, messages) })
	}
	return begun
}

// inOrder are the channels, those that wait longest first.
func (n *Notifier) inOrder() []*channel {
	var out []*channel
	for _, c := range n.channels {
		if len(c.pending) > 0 {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *channel) int { return a.pending[0].At.Compare(b.pending[0].At) })
	return out
}

func (c Config) serviceOf(d Destination) *service {
	if d.Namespace != "" {
		return c.namespaces[d.Namespace].services[d.Service]
	}
	return c.services[d.Service]
}

func (n *Notifier) attempt(ctx context.Context, s *service, to Destination, messages []Message) (r result) {
	r = result{to: to, attempted: len(messages)}
	if s == nil {
		r.done, r.err = len(messages), permanent{fmt.Errorf("the service %q is not configured any more", to.Service)}
		r.text = r.err.Error()
		return r
	}
	defer func() { // libraries read what others have written
		if p := recover(); p != nil {
			r.done, r.err = len(messages), permanent{fmt.Errorf("the service %s failed on this message", s.kind)}
			r.text = r.err.Error()
		}
	}()
	r.done, r.err = s.send(ctx, courier{transport: n.options.Transport, pace: eachPause}, to.Recipient, messages)
	if r.err != nil {
		r.text = s.hide.clean(r.err.Error())
	}
	return r
}

// arrived notes how an attempt ended.
func (n *Notifier) arrived(r result) {
	n.mu.Lock()
	c := n.channels[r.to]
	c.sending = false
	n.changed = true
	now := time.Now()
	wasFailing := c.lastError != ""
	finished := c.pending[:r.done]
	c.pending = slices.Clone(c.pending[r.done:])
	var failures []Failure
	switch {
	case errors.Is(r.err, context.Canceled): // the end of the process, not of the message
	case r.err == nil:
		c.sent += r.done
		c.attempts, c.retryAt, c.lastError, c.failingSince = 0, time.Time{}, "", time.Time{}
	default:
		failures = n.failed(c, r, finished, now)
	}
	n.mu.Unlock()
	for _, f := range failures {
		n.fail(f)
	}
	if r.err == nil && wasFailing && n.options.OnRecovered != nil {
		n.options.OnRecovered(r.to)
	}
}

// failed decides what becomes of messages that did not arrive.
func (n *Notifier) failed(c *channel, r result, finished []waiting, now time.Time) []Failure {
	c.attempts++
	c.lastError = r.text
	if c.failingSince.IsZero() {
		c.failingSince = now
	}
	if isPermanent(r.err) {
		c.failed += len(finished)
		c.attempts = 0
		f := failureOf(c.to, finished, r.text, true)
		f.Attempts = 1
		return []Failure{f}
	}
	c.sent += len(finished)
	pause := n.options.Retry.pause(c.attempts)
	if wait, ok := asLater(r.err); ok {
		pause = max(pause, wait)
	}
	c.retryAt = now.Add(pause)
	old := 0
	for old < len(c.pending) && now.Sub(c.pending[old].At) > n.options.Retry.GiveUp {
		old++
	}
	var out []Failure
	if old > 0 {
		f := failureOf(c.to, c.pending[:old], r.text, true)
		f.Attempts = c.attempts
		out = append(out, f)
		c.failed += old
		c.pending = slices.Clone(c.pending[old:])
	}
	if c.attempts == 1 && len(c.pending) > 0 { // said once, not at every attempt
		f := failureOf(c.to, c.pending, r.text, false)
		f.Attempts = c.attempts
		out = append(out, f)
	}
	return out
}

// pause is how long there is nothing to do.
func (n *Notifier) pause(now time.Time, room bool) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	pause := time.Hour
	if n.changed && n.options.Dir != "" {
		pause = max(0, savePause-now.Sub(n.saved))
	}
	if !room {
		return pause
	}
	for _, c := range n.channels {
		if at, ok := c.due(n.config.grouping.orDefault(), now); ok {
			pause = min(pause, max(0, at.Sub(now)))
		}
	}
	return pause
}
