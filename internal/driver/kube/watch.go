package kube

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// watchBackoff is how long a watch that was lost is waited for.
func watchBackoff() *wait.Backoff {
	return &wait.Backoff{Duration: 100 * time.Millisecond, Cap: 5 * time.Second, Steps: 10, Factor: 2, Jitter: 0.3}
}

// lossNotice is how long a watch may be lost before the owners are told that
// nothing is known for sure any more.
const lossNotice = 3 * time.Second

// watcher feeds a kindCache from one watch: of the whole cluster, or of one
// namespace where Plumb may see no more.
type watcher struct {
	kind      *kindCache
	namespace string
	stop      context.CancelFunc

	mu     sync.Mutex
	synced bool
	err    error
	// missed is set where the watch has failed since it was last complete.
	missed bool
	// turn is closed and made anew whenever synced or err change.
	turn chan struct{}
}

func (k *kindCache) startWatcher(namespace string) *watcher {
	ctx, stop := context.WithCancel(k.cluster.ctx)
	w := &watcher{kind: k, namespace: namespace, stop: stop, turn: make(chan struct{})}
	lw := &cache.ListWatch{ListWithContextFunc: w.list, WatchFuncWithContext: w.watch}
	quiet := logr.Discard()
	reflector := cache.NewReflectorWithOptions(
		cache.ToListWatcherWithWatchListSemantics(lw, k.cluster.dynamic), &unstructured.Unstructured{}, w,
		cache.ReflectorOptions{Logger: &quiet, Name: "plumb", TypeDescription: k.ref.Kind, Backoff: watchBackoff()})
	k.cluster.wg.Add(1)
	go func() {
		defer k.cluster.wg.Done()
		reflector.RunWithContext(klog.NewContext(ctx, quiet))
	}()
	return w
}

func (w *watcher) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	w.kind.cluster.own.tell(ctx, "list")
	o.LabelSelector = LabelManaged + "=true"
	l, err := w.kind.cluster.dynamic.Resource(w.kind.mapping.gvr).Namespace(w.namespace).List(ctx, o)
	w.outcome(ctx, err)
	return l, err
}

func (w *watcher) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w.kind.cluster.own.tell(ctx, "watch")
	o.LabelSelector = LabelManaged + "=true"
	i, err := w.kind.cluster.dynamic.Resource(w.kind.mapping.gvr).Namespace(w.namespace).Watch(ctx, o)
	if err != nil && o.SendInitialEvents != nil && apierrors.IsInvalid(err) {
		return nil, err // an API server that cannot stream lists: a plain list follows
	}
	w.outcome(ctx, err)
	return i, err
}

// outcome notes how a request to watch went. A watch that expired is a reason
// to list again, not to worry.
func (w *watcher) outcome(ctx context.Context, err error) {
	if ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	w.mu.Lock()
	was, synced := w.err, w.synced
	w.err = err
	w.missed = w.missed || err != nil
	if (was == nil) != (err == nil) {
		w.turned()
	}
	w.mu.Unlock()
	switch {
	case was == nil && err != nil:
		w.kind.lost(w, err)
	case was != nil && err == nil && synced:
		w.kind.cluster.log.Info("watching again", "server", w.kind.cluster.server, "kind", w.kind.ref.Kind)
		w.kind.tellAll()
	}
}

func (w *watcher) turned() {
	close(w.turn)
	w.turn = make(chan struct{})
}

// state tells whether the watch can be relied upon; wait is closed once that
// may have changed.
func (w *watcher) state() (synced bool, wait <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.synced, w.turn, w.err
}

// seed is a record on its way from the first list of a watch.
type seed struct {
	metav1.ObjectMeta
	record *record
}

// Transformer reduces the objects of the first list as they arrive.
func (w *watcher) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return o, nil
		}
		n := name{u.GetNamespace(), u.GetName()}
		return &seed{metav1.ObjectMeta{Namespace: n.namespace, Name: n.name}, w.kind.read(n, u.Object)}, nil
	}
}

// Add takes an object that the watch tells of.
func (w *watcher) Add(o any) error { return w.Update(o) }

// Update takes an object that the watch tells of.
func (w *watcher) Update(o any) error {
	switch o := o.(type) {
	case *unstructured.Unstructured:
		n := name{o.GetNamespace(), o.GetName()}
		w.kind.put(n, w.kind.read(n, o.Object))
	case *seed:
		w.kind.put(name{o.Namespace, o.Name}, o.record)
	}
	return nil
}

// Delete takes an object that is no more, or is no longer marked as managed.
func (w *watcher) Delete(o any) error {
	if u, ok := o.(*unstructured.Unstructured); ok {
		w.kind.remove(name{u.GetNamespace(), u.GetName()}, string(u.GetUID()))
	}
	return nil
}

// Replace takes all objects that there are.
func (w *watcher) Replace(all []any, _ string) error {
	fresh := make(map[name]*record, len(all))
	for _, o := range all {
		switch o := o.(type) {
		case *unstructured.Unstructured:
			n := name{o.GetNamespace(), o.GetName()}
			fresh[n] = w.kind.read(n, o.Object)
		case *seed:
			fresh[name{o.Namespace, o.Name}] = o.record
		}
	}
	w.kind.replace(w.namespace, fresh)
	w.mu.Lock()
	quiet := !w.synced && !w.missed // nobody was told that nothing can be seen
	w.synced, w.missed, w.err = true, false, nil
	w.turned()
	w.mu.Unlock()
	if !quiet {
		w.kind.tellAll()
	}
	return nil
}

// Resync has nothing to do: nothing is queued.
func (w *watcher) Resync() error { return nil }
