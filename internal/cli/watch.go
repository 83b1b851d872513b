package cli

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/plumb-dev/plumb/internal/engine"
)

// watchPause is how long to wait before a watch that ended is begun again.
const watchPause = time.Second

// seenFunc is told of an Application as it is now, or that it is gone. It says
// whether that was all.
type seenFunc func(a application, gone bool) (done bool, err error)

// watch tells seen of all Applications and of every change, until it says that
// it is done or ctx ends. A watch that breaks is begun again.
func (k *connection) watch(ctx context.Context, namespace string, options metav1.ListOptions, seen seenFunc) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type found struct {
		a    application
		gone bool
	}
	changes := make(chan found)
	ended := make(chan error, len(groups))
	for _, gv := range groups {
		changed := func(a application, gone bool) {
			select {
			case changes <- found{a, gone}:
			case <-ctx.Done():
			}
		}
		listed := func(apps []application) {
			for _, a := range apps {
				changed(a, false)
			}
		}
		go func() {
			ended <- k.watchGroup(ctx, gv.Group, namespace, options, listed, changed)
		}()
	}
	for served := len(groups); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			served--
			if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) || served == 0 {
				return k.explain(err)
			}
		case f := <-changes:
			if done, err := seen(f.a, f.gone); done || err != nil {
				return err
			}
		}
	}
}

// watchOne is watch for a single Application.
func (k *connection) watchOne(parent context.Context, key engine.Key, seen seenFunc) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	var result error
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name).String()}
	changed := func(a application, gone bool) {
		if ctx.Err() != nil {
			return
		}
		done, err := seen(a, gone)
		if done || err != nil {
			result = err
			cancel()
		}
	}
	listed := func(apps []application) {
		if len(apps) == 0 {
			changed(application{key: key}, true)
		}
		for _, a := range apps {
			changed(a, false)
		}
	}
	err := k.watchGroup(ctx, key.Group, key.Namespace, options, listed, changed)
	switch {
	case result != nil:
		return result
	case parent.Err() != nil:
		return parent.Err()
	case ctx.Err() != nil: // done
		return nil
	}
	return k.explain(err)
}

// watchGroup lists and then watches one group until ctx ends. It returns only
// then, or when the group cannot be listed at first. What is seen is told of
// from one goroutine.
func (k *connection) watchGroup(ctx context.Context, group, namespace string, options metav1.ListOptions, listed func([]application), changed func(application, bool)) error {
	client := k.resource(group).Namespace(namespace)
	for first := true; ; first = false {
		list, err := client.List(ctx, options)
		if err != nil && (first || apierrors.IsForbidden(err)) {
			return err
		}
		if err == nil {
			var apps []application
			for i := range list.Items {
				if a, err := newApplication(&list.Items[i]); err == nil {
					apps = append(apps, a)
				}
			}
			listed(apps)
			from := options
			from.ResourceVersion = list.GetResourceVersion()
			if w, err := client.Watch(ctx, from); err == nil {
				follow(ctx, w, changed)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchPause):
		}
	}
}

// follow tells of the changes of one watch until it ends.
func follow(ctx context.Context, w apiwatch.Interface, changed func(application, bool)) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event, open := <-w.ResultChan():
			if !open || event.Type == apiwatch.Error {
				return
			}
			u, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == apiwatch.Bookmark {
				continue
			}
			if a, err := newApplication(u); err == nil {
				changed(a, event.Type == apiwatch.Deleted)
			}
		}
	}
}
