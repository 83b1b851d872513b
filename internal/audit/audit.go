// Package audit takes from the audit logs of Kubernetes' API servers who has
// written what: from files that it follows, and from events that are sent to it.
// For each object it keeps who wrote it last, and nothing of what was written.
//
// It does not know what the objects mean, what is Plumb's own doing, or who asks.
package audit

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// mostObjects and mostWrites bound what is kept.
	mostObjects = 20000
	mostWrites  = 4
	// mostClusters bounds how many clusters events are taken of that nobody has
	// named before.
	mostClusters = 1000
)

// Object names one object of a cluster, or, without a name, those of its kind that
// a request has named together, or not yet.
type Object struct {
	// Cluster is empty for the control plane.
	Cluster string
	Group   string
	// Resource is the kind's plural name.
	Resource        string
	Namespace, Name string
}

// Write is one request that has written an object.
type Write struct {
	// User is who has written: where somebody was impersonated, that one.
	User   string
	Groups []string
	// Through is who has impersonated, or empty.
	Through string
	// Verb is create (also by an apply), update, patch, delete or deletecollection.
	Verb        string
	Subresource string
	// Manager is the field manager, and Program what the client says that it is:
	// neither is a proof.
	Manager, Program string
	// Forced is set for an apply that takes fields from others.
	Forced bool
	// Began and Ended are when the API server had the request and answered it, by
	// its own clock.
	Began, Ended time.Time
}

// Log is a file that an API server writes.
type Log struct{ Cluster, File string }

// Options of a Feed.
type Options struct {
	// Logs are followed.
	Logs []Log
	// Objects is how many are kept (20,000).
	Objects int
	// Ignore tells of writes that nobody will ask about. May be nil.
	Ignore func(Write) bool
	Log    *slog.Logger
}

// Counts of the events that were taken.
type Counts struct {
	// Kept are writes, Ignored other events, and Invalid what is none.
	Kept, Ignored, Invalid uint64
}

// Feed is what is known of who has written what.
type Feed struct {
	options Options
	caught  chan struct{}

	mu      sync.Mutex
	objects *simplelru.LRU[Object, *record]
	heard   map[string]bool
	counts  Counts
	news    chan struct{} // closed when there is more
}

// record is what is kept of an object.
type record struct {
	last []kept
	// made and deleted are kept beside: many write in between, and after a deletion,
	// those who tidy up.
	made, deleted kept
}

// kept is a write as it is kept: who and by what means is the same again and again.
type kept struct {
	means        unique.Handle[means]
	verb         verb
	began, ended int64 // in microseconds, as the API server tells them
}

type means struct {
	user, groups, through, subresource, manager, program string
	forced                                               bool
}

// verb is one of those that write.
type verb string

const (
	verbCreate           verb = "create"
	verbUpdate           verb = "update"
	verbPatch            verb = "patch"
	verbDelete           verb = "delete"
	verbDeleteCollection verb = "deletecollection"
)

// New makes a feed, which knows nothing before Run.
func New(o Options) *Feed {
	if o.Objects <= 0 {
		o.Objects = mostObjects
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Feed{options: o, caught: make(chan struct{}), news: make(chan struct{}), heard: map[string]bool{}}
	f.objects, _ = simplelru.NewLRU[Object, *record](o.Objects, nil) // an error is a size below one
	for _, l := range o.Logs {
		f.heard[l.Cluster] = true
	}
	return f
}

// Run follows the logs until ctx is done.
func (f *Feed) Run(ctx context.Context) {
	var following, catching sync.WaitGroup
	catching.Add(len(f.options.Logs))
	for _, l := range f.options.Logs {
		following.Go(func() { f.follow(ctx, l, sync.OnceFunc(catching.Done)) })
	}
	catching.Wait()
	close(f.caught)
	following.Wait()
}

// CaughtUp is closed once what was in the logs at first is known.
func (f *Feed) CaughtUp() <-chan struct{} { return f.caught }

// Hears tells whether a cluster's API server says who writes.
func (f *Feed) Hears(cluster string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard[cluster]
}

// Expect has a cluster heard whose events are sent.
func (f *Feed) Expect(cluster string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.heard[cluster] && len(f.heard) < mostClusters {
		f.heard[cluster] = true
	}
	return f.heard[cluster]
}

// Counts of what was taken since the start.
func (f *Feed) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// written is a write and what it has written.
type written struct {
	object Object
	write  Write
}

// take keeps writes. The others are counted only.
func (f *Feed) take(all []written, more Counts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range all {
		if f.options.Ignore != nil && f.options.Ignore(w.write) {
			more.Ignored++
			continue
		}
		more.Kept++
		f.keep(w)
	}
	f.counts.Kept += more.Kept
	f.counts.Ignored += more.Ignored
	f.counts.Invalid += more.Invalid
	if more.Kept > 0 {
		close(f.news)
		f.news = make(chan struct{})
	}
}

func (f *Feed) keep(w written) {
	k := w.write.kept()
	r, ok := f.objects.Get(w.object)
	if !ok {
		r = &record{}
		f.objects.Add(w.object, r)
	}
	if slices.Contains(r.last, k) || r.deleted == k || r.made == k {
		return // it was sent twice
	}
	switch {
	case k.verb == verbDelete || k.verb == verbDeleteCollection:
		r.deleted = k
		return
	case k.verb == verbCreate && w.object.Name != "":
		r.made = k
		return
	}
	if len(r.last) == mostWrites {
		r.last = slices.Delete(r.last, 0, 1)
	}
	r.last = append(r.last, k)
}

func (w *Write) kept() kept {
	return kept{
		verb: verb(w.Verb), began: w.Began.UnixMicro(), ended: w.Ended.UnixMicro(),
		means: unique.Make(means{
			w.User, strings.Join(w.Groups, "\n"), w.Through, w.Subresource, w.Manager, w.Program, w.Forced,
		}),
	}
}

func (k kept) write() Write {
	m := k.means.Value()
	w := Write{
		User: m.user, Through: m.through, Verb: string(k.verb), Subresource: m.subresource, Manager: m.manager,
		Program: m.program, Forced: m.forced, Began: time.UnixMicro(k.began), Ended: time.UnixMicro(k.ended),
	}
	if m.groups != "" {
		w.Groups = strings.Split(m.groups, "\n")
	}
	return w
}

// writes of an object as they came, but its making first and a deletion last.
func (f *Feed) writes(o Object) []Write {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.objects.Get(o)
	if !ok {
		return nil
	}
	var out []Write
	if r.made != (kept{}) {
		out = append(out, r.made.write())
	}
	for _, k := range r.last {
		out = append(out, k.write())
	}
	if r.deleted != (kept{}) {
		out = append(out, r.deleted.write())
	}
	return out
}

// awaitNews gives what is closed when there is more.
func (f *Feed) awaitNews() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}
