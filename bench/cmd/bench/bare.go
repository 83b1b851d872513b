package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"golang.org/x/sync/errgroup"
)

// bare is the limit: client-go and nothing else. It server-side-applies JSON
// that was made before, and looks at nothing.
type bare struct {
	client rest.Interface
	config *rest.Config
}

func newBare(config *rest.Config) (*bare, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &bare{client.CoreV1().RESTClient(), config}, nil
}

func (b *bare) apply(ctx context.Context, url string, body []byte) error {
	return b.client.Patch(types.ApplyPatchType).AbsPath(url).
		Param("fieldManager", "bare").Param("force", "true").Body(body).Do(ctx).Error()
}

// applyAll applies objects with so many requests at once.
func (b *bare) applyAll(ctx context.Context, objects []object, bodies [][]byte, concurrency int) error {
	group, ctx := errgroup.WithContext(ctx)
	next := make(chan int)
	group.Go(func() error {
		defer close(next)
		for i := range objects {
			select {
			case next <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range concurrency {
		group.Go(func() error {
			for i := range next {
				if err := b.apply(ctx, objects[i].url(), bodies[i]); err != nil {
					return fmt.Errorf("apply %s: %w", objects[i].url(), err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// heal watches the objects and applies again what was deleted or changed, until
// ctx is done: the smallest loop that holds objects true.
func (b *bare) heal(ctx context.Context, objects []object) error {
	config := rest.CopyConfig(b.config)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	declared, bodies := map[id]object{}, map[id][]byte{}
	for _, o := range objects {
		declared[o.id], bodies[o.id] = o, o.json()
	}
	for plural, open := range watches(client) {
		stream, err := open(ctx, metav1.ListOptions{LabelSelector: partOf + "=" + partOfBench})
		if err != nil {
			return fmt.Errorf("watch %s: %w", plural, err)
		}
		go func() {
			defer stream.Stop()
			for event := range stream.ResultChan() {
				s, ok := see(plural, event)
				o, ours := declared[s.id]
				if ok && ours && (!s.exists || s.value != o.value) {
					go func() { _ = b.apply(ctx, o.url(), bodies[o.id]) }()
				}
			}
		}()
	}
	return nil
}
