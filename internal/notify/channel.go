package notify

import (
	"time"

	"golang.org/x/time/rate"
)

// waiting is a message that has not arrived yet.
type waiting struct {
	Message Message   `json:"message"`
	At      time.Time `json:"at"`
}

// channel is the queue of one destination.
type channel struct {
	to       Destination
	pending  []waiting
	sending  bool
	attempts int       // since the last success
	retryAt  time.Time // not before
	limit    *rate.Limiter

	sent, failed, dropped int
	lastError             string
	failingSince          time.Time
}

const (
	maxPending  = 5_000
	maxChannels = 1_000
	firstFew    = 3 // messages that a quiet channel gets without waiting for the limit
)

func newChannel(to Destination, g Grouping) *channel {
	return &channel{to: to, limit: rate.NewLimiter(rate.Limit(float64(g.PerMinute)/60), firstFew)}
}

// add takes a message in, and says how many old ones had to go.
func (c *channel) add(m Message, now time.Time) int {
	c.pending = append(c.pending, waiting{Message: m, At: now})
	over := len(c.pending) - maxPending
	if over <= 0 || c.sending { // what is on its way is counted from the front
		return 0
	}
	c.pending = c.pending[over:]
	c.dropped += over
	return over
}

// due says when the channel's next message goes out.
func (c *channel) due(g Grouping, now time.Time) (time.Time, bool) {
	if c.sending || len(c.pending) == 0 {
		return time.Time{}, false
	}
	at := c.pending[len(c.pending)-1].At.Add(g.Idle)
	if most := c.pending[0].At.Add(g.Max); most.Before(at) {
		at = most
	}
	if c.retryAt.After(at) {
		at = c.retryAt
	}
	if missing := 1 - c.limit.TokensAt(now); missing > 0 {
		free := now.Add(time.Duration(missing / float64(c.limit.Limit()) * float64(time.Second)))
		if free.After(at) {
			at = free
		}
	}
	return at, true
}

// Retry says how often what did not arrive is tried again.
type Retry struct {
	// First is the first pause; it doubles up to Most.
	First, Most time.Duration
	// GiveUp is how old a message may become.
	GiveUp time.Duration
}

func (r Retry) orDefault() Retry {
	if r.First <= 0 {
		r.First = 2 * time.Second
	}
	if r.Most <= 0 {
		r.Most = 5 * time.Minute
	}
	if r.GiveUp <= 0 {
		r.GiveUp = 6 * time.Hour
	}
	return r
}

func (r Retry) pause(attempts int) time.Duration {
	pause := r.First
	for range attempts - 1 {
		if pause *= 2; pause >= r.Most {
			return r.Most
		}
	}
	return min(pause, r.Most)
}

// ChannelHealth is how a channel does.
type ChannelHealth struct {
	Destination
	// Pending messages have not arrived yet.
	Pending int
	// Sent counts messages that arrived, Failed those that were given up, and
	// Dropped those that did not fit into the queue.
	Sent, Failed, Dropped int
	// LastError is empty once something has arrived again. It holds no secrets.
	LastError    string
	FailingSince time.Time
}

func (c *channel) health() ChannelHealth {
	return ChannelHealth{Destination: c.to, Pending: len(c.pending), Sent: c.sent, Failed: c.failed, Dropped: c.dropped, LastError: c.lastError, FailingSince: c.failingSince}
}
