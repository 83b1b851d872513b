// Package mirror holds a copy in memory of the objects of one kind that an API
// server has, fed by a watch. Compared with client-go's shared informers it
// keeps one object and no queue per object, tells of changes synchronously, and
// comes back quickly after the API server was away. It does not know what the
// objects mean.
package mirror

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Object is a pointer to a typed Kubernetes object.
type Object interface {
	comparable
	runtime.Object
	metav1.Object
}

// Options say what is mirrored.
type Options[T Object] struct {
	// Client of the kind's group and version: see ClientFor.
	Client rest.Interface
	// Resource is the kind's plural name.
	Resource string
	// Namespace limits the mirror to one namespace; empty means all.
	Namespace string
	// LabelSelector and FieldSelector limit it further.
	LabelSelector, FieldSelector string
	// Example is an empty object of the kind.
	Example T
	// Trim drops what nobody needs from an object before it is kept.
	Trim func(T)
	// Changed is told of each addition (old is nil), change, and deletion (now
	// is nil), after the mirror has taken it over. It must not block.
	Changed func(old, now T)
	// Log takes what goes wrong.
	Log *slog.Logger
}

// Mirror is a copy of some objects of an API server. Objects that it hands out
// are shared: they must not be changed.
type Mirror[T Object] struct {
	options Options[T]
	synced  chan struct{}
	once    sync.Once

	mu    sync.RWMutex
	items map[cache.ObjectName]T

	problem atomic.Pointer[error]
	// telling keeps Changed calls in the order of the changes.
	telling sync.Mutex
}

// New returns a mirror that is empty until Run.
func New[T Object](options Options[T]) *Mirror[T] {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Changed == nil {
		options.Changed = func(T, T) {}
	}
	return &Mirror[T]{options: options, synced: make(chan struct{}), items: map[cache.ObjectName]T{}}
}

// Run keeps the mirror true until ctx is done.
func (m *Mirror[T]) Run(ctx context.Context) {
	o := m.options
	lw := cache.NewFilteredListWatchFromClient(o.Client, o.Resource, o.Namespace, func(l *metav1.ListOptions) {
		l.LabelSelector, l.FieldSelector = o.LabelSelector, o.FieldSelector
	})
	list, watching := lw.ListWithContextFunc, lw.WatchFuncWithContext
	lw.ListWithContextFunc = func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) {
		found, err := list(ctx, l)
		m.note(ctx, err)
		return found, err
	}
	lw.WatchFuncWithContext = func(ctx context.Context, l metav1.ListOptions) (watch.Interface, error) {
		w, err := watching(ctx, l)
		m.note(ctx, err)
		return w, err
	}
	r := cache.NewReflectorWithOptions(lw, o.Example, (*store[T])(m), cache.ReflectorOptions{
		Name: "plumb " + o.Resource,
		// The default grows to a minute: too long after the API server is back.
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.6, Jitter: 0.3, Steps: 6, Cap: 2 * time.Second},
	})
	r.RunWithContext(ctx)
}

// note keeps how the last request went, and logs what is new about it.
func (m *Mirror[T]) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	was := m.Problem()
	m.problem.Store(&err)
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		m.options.Log.Warn("cannot watch", "resource", m.options.Resource, "namespace", m.options.Namespace, "error", err)
	case err == nil && was != nil:
		m.options.Log.Info("watching again", "resource", m.options.Resource, "namespace", m.options.Namespace)
	}
}

// Problem is why the last request to the API server failed, or nil.
func (m *Mirror[T]) Problem() error {
	if err := m.problem.Load(); err != nil {
		return *err
	}
	return nil
}

// settlePeriod is how often Await looks whether there is no use in waiting.
const settlePeriod = 100 * time.Millisecond

// Await waits until the mirror has held all objects. It gives up where the API
// server refuses to show them.
func (m *Mirror[T]) Await(ctx context.Context) error {
	tick := time.NewTicker(settlePeriod)
	defer tick.Stop()
	for {
		select {
		case <-m.synced:
			return nil
		case <-ctx.Done():
			if err := m.Problem(); err != nil {
				return fmt.Errorf("read %s: %w", m.options.Resource, err)
			}
			return fmt.Errorf("read %s: %w", m.options.Resource, context.Cause(ctx))
		case <-tick.C:
		}
		if err := m.Problem(); apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
			return fmt.Errorf("read %s: %w", m.options.Resource, err)
		}
	}
}

// Synced is closed once the mirror has held all objects.
func (m *Mirror[T]) Synced() <-chan struct{} { return m.synced }

// Get gives one object.
func (m *Mirror[T]) Get(namespace, name string) (T, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	obj, ok := m.items[cache.ObjectName{Namespace: namespace, Name: name}]
	return obj, ok
}

// List gives all objects in no order.
func (m *Mirror[T]) List() []T {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]T, 0, len(m.items))
	for _, obj := range m.items {
		all = append(all, obj)
	}
	return all
}

// Len counts the objects.
func (m *Mirror[T]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.items)
}

// store is the Mirror as the reflector writes to it.
type store[T Object] Mirror[T]

func (s *store[T]) Add(obj any) error { return s.put(obj) }

func (s *store[T]) Update(obj any) error { return s.put(obj) }

func (s *store[T]) Resync() error { return nil }

func (s *store[T]) put(obj any) error {
	now, ok := obj.(T)
	if !ok {
		return fmt.Errorf("unexpected object %T in a mirror of %s", obj, s.options.Resource)
	}
	s.trim(now)
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	old := s.items[nameOf(now)]
	s.items[nameOf(now)] = now
	s.mu.Unlock()
	s.options.Changed(old, now)
	return nil
}

func (s *store[T]) Delete(obj any) error {
	gone, ok := obj.(T)
	if !ok {
		return fmt.Errorf("unexpected object %T in a mirror of %s", obj, s.options.Resource)
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	old, known := s.items[nameOf(gone)]
	delete(s.items, nameOf(gone))
	s.mu.Unlock()
	if known {
		var none T
		s.options.Changed(old, none)
	}
	return nil
}

// Replace takes over a whole list, and tells what differs from the last one.
func (s *store[T]) Replace(list []any, _ string) error {
	next := make(map[cache.ObjectName]T, len(list))
	for _, obj := range list {
		now, ok := obj.(T)
		if !ok {
			return fmt.Errorf("unexpected object %T in a mirror of %s", obj, s.options.Resource)
		}
		s.trim(now)
		next[nameOf(now)] = now
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	last := s.items
	s.items = next
	s.mu.Unlock()
	var none T
	for name, old := range last {
		if _, ok := next[name]; !ok {
			s.options.Changed(old, none)
		}
	}
	for name, now := range next {
		old := last[name]
		if old == none || old.GetResourceVersion() != now.GetResourceVersion() || old.GetUID() != now.GetUID() {
			s.options.Changed(old, now)
		}
	}
	s.once.Do(func() { close(s.synced) })
	return nil
}

func (s *store[T]) trim(obj T) {
	obj.SetManagedFields(nil)
	if s.options.Trim != nil {
		s.options.Trim(obj)
	}
}

func nameOf(obj metav1.Object) cache.ObjectName {
	return cache.ObjectName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// ClientFor makes a client of one group and version, whose types are those of
// the scheme.
func ClientFor(config *rest.Config, gv schema.GroupVersion, scheme *runtime.Scheme) (rest.Interface, error) {
	c := rest.CopyConfig(config)
	c.GroupVersion, c.APIPath = &gv, "/apis"
	if gv.Group == "" {
		c.APIPath = "/api"
	}
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", gv, err)
	}
	return client, nil
}
