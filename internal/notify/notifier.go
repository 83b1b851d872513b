package notify

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// Options are what a Notifier needs.
type Options struct {
	// Dir is a folder in which survives what was notified and what has not
	// arrived. Without one, what waits is lost at the end, and what holds of an
	// Application when it is first seen is not news.
	Dir string
	// Transport carries requests of services that shoutrrr does not serve.
	Transport http.RoundTripper
	Log       logr.Logger
	// OnFailure hears of messages that did not arrive, OnRecovered of channels
	// that work again, OnProblem of annotations and subscriptions that cannot be
	// used, once for each. They must not wait.
	OnFailure   func(Failure)
	OnRecovered func(Destination)
	OnProblem   func(Application, Problem)
	Retry       Retry
}

// Failure says what did not arrive.
type Failure struct {
	Destination
	// Error says why, without secrets.
	Error string
	// Final tells that it is not tried again.
	Final    bool
	Attempts int
	// Messages is how many; Applications and Projects are whom they are about,
	// the first few.
	Messages               int
	Applications, Projects []string
}

// Notifier tells subscribers of events.
type Notifier struct {
	options Options
	started time.Time

	mu       sync.Mutex
	config   Config
	inbox    []Event
	lost     int // events that did not fit into the inbox
	forget   []string
	channels map[Destination]*channel
	memory   *memory
	reported map[string]bool
	sequence uint64
	restored bool
	wake     chan struct{}
	results  chan result
	saved    time.Time
	changed  bool // since it was saved
}

const (
	maxInbox    = 20_000
	maxAtOnce   = 8 // messages on their way
	maxReported = 10_000
	savePause   = time.Second
	eachPause   = 50 * time.Millisecond // between requests that belong together
	someNames   = 20
)

// New makes a Notifier that has no configuration yet.
func New(o Options) *Notifier {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	o.Retry = o.Retry.orDefault()
	return &Notifier{
		options: o, started: time.Now(), memory: newMemory(),
		channels: map[Destination]*channel{}, reported: map[string]bool{},
		wake: make(chan struct{}, 1), results: make(chan result, maxAtOnce),
	}
}

// Configure replaces the configuration. What waits is sent by the new one.
func (n *Notifier) Configure(c Config) {
	n.mu.Lock()
	n.config = c
	n.reported = map[string]bool{}
	for _, ch := range n.channels {
		ch.limit = newChannel(ch.to, c.grouping.orDefault()).limit
		ch.retryAt = time.Time{} // it may be mended
	}
	n.mu.Unlock()
	n.poke()
}

// Send takes an event. It never waits: whatever is to be said is said by Run.
func (n *Notifier) Send(e Event) {
	e = e.complete(time.Now())
	n.mu.Lock()
	if e.ID == "" {
		n.sequence++
		e.ID = strconv.FormatInt(e.Time.UnixNano(), 36) + "-" + strconv.FormatUint(n.sequence, 36)
	}
	if len(n.inbox) >= maxInbox {
		n.lost++
	} else {
		n.inbox = append(n.inbox, e)
	}
	n.mu.Unlock()
	n.poke()
}

// Forget drops what is remembered of an Application that is gone, after what is
// to be said of it has been.
func (n *Notifier) Forget(namespace, name string) {
	n.mu.Lock()
	n.forget = append(n.forget, Application{Namespace: namespace, Name: name}.Key())
	n.mu.Unlock()
	n.poke()
}

// Health says how the channels do, by name.
func (n *Notifier) Health() []ChannelHealth {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []ChannelHealth
	for _, c := range n.channels {
		out = append(out, c.health())
	}
	slices.SortFunc(out, func(a, b ChannelHealth) int { return strings.Compare(a.Destination.String(), b.Destination.String()) })
	return out
}

func (n *Notifier) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run sends until the context ends, and then notes what has not arrived. An
// error says that what is remembered cannot be read or written.
func (n *Notifier) Run(ctx context.Context) error {
	if err := n.restore(); err != nil {
		n.options.Log.Error(err, "what was notified before is not known: what holds now is no news")
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var inFlight sync.WaitGroup
	sending := 0
	for {
		sending += n.step(work, &inFlight, maxAtOnce-sending)
		timer := time.NewTimer(n.pause(time.Now(), sending < maxAtOnce))
		select {
		case <-ctx.Done():
			timer.Stop()
			cancel()
			inFlight.Wait()
			for range sending {
				n.arrived(<-n.results)
			}
			n.digest()
			return n.save(true)
		case r := <-n.results:
			sending--
			n.arrived(r)
		case <-n.wake:
		case <-timer.C:
		}
		timer.Stop()
		if err := n.save(false); err != nil {
			n.options.Log.Error(err, "what was notified cannot be noted")
		}
	}
}

// digest turns the events that have come into messages in their channels.
func (n *Notifier) digest() {
	n.mu.Lock()
	events, forget, lost, config := n.inbox, n.forget, n.lost, n.config
	n.inbox, n.forget, n.lost = nil, nil, 0
	n.mu.Unlock()
	if lost > 0 {
		n.fail(Failure{Error: "too many events came at once", Final: true, Messages: lost})
	}
	for _, e := range events {
		r := routing{config: config, memory: n.memory, event: e, started: n.started, now: time.Now()}
		r.run()
		n.report(e.Application, distinct(r.problems))
		for _, d := range r.deliveries {
			n.enqueue(d, config)
		}
	}
	for _, key := range forget {
		n.memory.forget(key)
	}
	n.changed = n.changed || n.memory.dirty
	n.memory.dirty = false
}

func (n *Notifier) enqueue(d delivery, config Config) {
	n.mu.Lock()
	c, ok := n.channels[d.to]
	if !ok && len(n.channels) >= maxChannels {
		n.tidy()
	}
	full := !ok && len(n.channels) >= maxChannels
	if !ok && !full {
		c = newChannel(d.to, config.grouping.orDefault())
		n.channels[d.to] = c
	}
	dropped := 0
	if !full {
		dropped = c.add(d.message, time.Now())
	}
	n.changed = true
	n.mu.Unlock()
	switch {
	case full:
		n.fail(failureOf(d.to, []waiting{{Message: d.message}}, "there are too many channels", true))
	case dropped > 0:
		n.fail(Failure{Destination: d.to, Error: "too many messages wait: the oldest are dropped", Final: true, Messages: dropped})
	}
}

// tidy forgets channels in which nothing waits.
func (n *Notifier) tidy() {
	for key, c := range n.channels {
		if len(c.pending) == 0 && !c.sending {
			delete(n.channels, key)
		}
	}
}

// report says what cannot be used, once.
func (n *Notifier) report(a Application, problems []Problem) {
	for _, p := range problems {
		key := a.Key() + "\x00" + p.String()
		n.mu.Lock()
		known := n.reported[key] || len(n.reported) >= maxReported
		n.reported[key] = true
		n.mu.Unlock()
		if known {
			continue
		}
		n.options.Log.Info("a notification is not as configured", "application", a.Key(), "where", p.Where, "problem", p.What)
		if n.options.OnProblem != nil {
			n.options.OnProblem(a, p)
		}
	}
}

func (n *Notifier) fail(f Failure) {
	n.options.Log.Info("a notification did not arrive", "channel", f.Destination.String(), "error", f.Error, "final", f.Final, "messages", f.Messages)
	if n.options.OnFailure != nil {
		n.options.OnFailure(f)
	}
}

// failureOf says whom messages that did not arrive are about.
func failureOf(to Destination, messages []waiting, why string, final bool) Failure {
	f := Failure{Destination: to, Error: why, Final: final, Messages: len(messages)}
	note := func(list []string, name string) []string {
		if name == "" || len(list) >= someNames || slices.Contains(list, name) {
			return list
		}
		return append(list, name)
	}
	for _, w := range messages {
		f.Applications = note(f.Applications, w.Message.Event.Application.Key())
		f.Projects = note(f.Projects, w.Message.Event.Project.Name)
	}
	return f
}
