package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// sight is what a watch told of an object, when it came in.
type sight struct {
	id     id
	exists bool
	value  string
	// ready is set on Deployments that are available as declared.
	ready bool
	at    time.Time
}

// report is what an Application said of itself, when it came in.
type report struct {
	name, sync, health, revision string
	at                           time.Time
}

func (r report) good(revision string) bool {
	return r.sync == "Synced" && r.health == "Healthy" && (revision == "" || r.revision == revision)
}

// world is the observer: it watches the destination and the Applications with
// connections of its own, and tells those who listen. They must not block.
type world struct {
	mu        sync.Mutex
	sights    map[int]func(sight)
	reports   map[int]func(report)
	listeners int
	err       error
}

// observe starts to watch. The Applications are only watched if they are served.
func observe(ctx context.Context, config *rest.Config, applications bool) (*world, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	w := &world{sights: map[int]func(sight){}, reports: map[int]func(report){}}
	for plural, open := range watches(client) {
		stream, err := open(ctx, metav1.ListOptions{LabelSelector: partOf + "=" + partOfBench})
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", plural, err)
		}
		go w.follow(ctx, plural, stream)
	}
	if applications {
		err = w.watchApplications(ctx, client)
	}
	return w, err
}

type opener func(context.Context, metav1.ListOptions) (watch.Interface, error)

func watches(client kubernetes.Interface) map[string]opener {
	return map[string]opener{
		configMaps.plural:      client.CoreV1().ConfigMaps("").Watch,
		secrets.plural:         client.CoreV1().Secrets("").Watch,
		services.plural:        client.CoreV1().Services("").Watch,
		serviceAccounts.plural: client.CoreV1().ServiceAccounts("").Watch,
		deployments.plural:     client.AppsV1().Deployments("").Watch,
	}
}

func (w *world) follow(ctx context.Context, plural string, stream watch.Interface) {
	defer stream.Stop()
	for event := range stream.ResultChan() {
		s, ok := see(plural, event)
		if !ok {
			continue
		}
		w.mu.Lock()
		for _, tell := range w.sights {
			tell(s)
		}
		w.mu.Unlock()
	}
	w.lost(ctx, plural)
}

func (w *world) lost(ctx context.Context, what string) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = fmt.Errorf("the observer's watch of %s ended", what)
}

// problem is why the observer does not see everything, or nil.
func (w *world) problem() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func see(plural string, event watch.Event) (sight, bool) {
	s := sight{at: time.Now(), exists: event.Type != watch.Deleted}
	var meta metav1.ObjectMeta
	switch o := event.Object.(type) {
	case *corev1.ConfigMap:
		meta, s.value = o.ObjectMeta, o.Data["version"]
	case *corev1.Secret:
		meta, s.value = o.ObjectMeta, string(o.Data["token"])
	case *corev1.Service:
		meta, s.value = o.ObjectMeta, string(o.Spec.SessionAffinity)
	case *corev1.ServiceAccount:
		meta, s.value = o.ObjectMeta, o.Annotations["bench/note"]
	case *appsv1.Deployment:
		meta, s.value = o.ObjectMeta, strconv.Itoa(int(*o.Spec.Replicas))
		s.ready = o.Status.ObservedGeneration >= o.Generation && o.Status.UpdatedReplicas >= *o.Spec.Replicas &&
			o.Status.AvailableReplicas >= *o.Spec.Replicas
	default:
		return s, false
	}
	s.id = id{plural, meta.Namespace, meta.Name}
	return s, true
}

// onSight has tell called with every sight until the returned function is called.
func (w *world) onSight(tell func(sight)) (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners++
	key := w.listeners
	w.sights[key] = tell
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.sights, key)
	}
}

// onReport has tell called with every report until the returned function is called.
func (w *world) onReport(tell func(report)) (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners++
	key := w.listeners
	w.reports[key] = tell
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.reports, key)
	}
}

// watchApplications decodes no more of an Application than is looked at. It
// watches anew when the watch ends: the API server ends those of a definition
// that has just been installed. A watch begins with all that there is.
func (w *world) watchApplications(ctx context.Context, client kubernetes.Interface) error {
	open := func() (io.ReadCloser, error) {
		return client.CoreV1().RESTClient().Get().
			AbsPath("/apis/plumb.dev/v1alpha1/namespaces/"+controlNamespace+"/applications").
			Param("watch", "true").SetHeader("Accept", "application/json").Stream(ctx)
	}
	stream, err := open()
	if err != nil {
		return fmt.Errorf("watch Applications: %w", err)
	}
	go func() {
		for err == nil {
			w.decodeReports(stream)
			stream.Close()
			stream, err = open()
		}
		w.lost(ctx, "Applications")
	}()
	return nil
}

func (w *world) decodeReports(stream io.Reader) {
	decoder := json.NewDecoder(stream)
	for {
		var event struct {
			Type   string
			Object struct {
				Metadata struct{ Name string }
				Status   struct {
					Sync   struct{ Status, Revision string }
					Health struct{ Status string }
				}
			}
		}
		if err := decoder.Decode(&event); err != nil {
			return
		}
		o := event.Object
		r := report{o.Metadata.Name, o.Status.Sync.Status, o.Status.Health.Status, o.Status.Sync.Revision, time.Now()}
		w.mu.Lock()
		for _, tell := range w.reports {
			tell(r)
		}
		w.mu.Unlock()
	}
}

var errPatience = errors.New("it did not happen in time")

// await waits for the time that comes out of a channel.
func await(ctx context.Context, happened <-chan time.Time, patience time.Duration) (time.Time, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case at := <-happened:
		return at, nil
	case <-timer.C:
		return time.Time{}, errPatience
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// all collects names and tells when the last of them has been good.
type all struct {
	missing  map[string]bool
	complete chan time.Time
}

func newAll(names []string) *all {
	a := &all{missing: map[string]bool{}, complete: make(chan time.Time, 1)}
	for _, name := range names {
		a.missing[name] = true
	}
	return a
}

func (a *all) good(name string, at time.Time) {
	if !a.missing[name] {
		return
	}
	delete(a.missing, name)
	if len(a.missing) == 0 {
		a.complete <- at
	}
}
