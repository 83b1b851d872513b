package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// fieldManager is Plumb's name in managedFields of Applications and CRDs.
const fieldManager = "plumb"

// WriteStatus makes an Application's status the given one, by a JSON merge patch
// of what differs; nothing is sent where nothing does. An Application that is
// gone, or has another of its name in its place, needs no status any more.
func (c *Controller) WriteStatus(ctx context.Context, app *v1alpha1.Application, key engine.Key, status v1alpha1.ApplicationStatus) error {
	g, ok := c.groups[key.Group]
	if !ok {
		return fmt.Errorf("write the status of Application %s: %w", key, errGroupNotServed)
	}
	if latest, ok := g.get(key); ok && latest.UID == app.UID && newer(latest, app) {
		app = latest
	}
	err := g.edit(ctx, key, app, g.subresource, func(app *v1alpha1.Application) (map[string]any, error) {
		return g.statusPatch(app, status)
	})
	if err != nil {
		return fmt.Errorf("write the status of Application %s: %w", key, err)
	}
	return nil
}

// statusPatch gives the merge patch, or nil where there is nothing to write.
func (g *group) statusPatch(app *v1alpha1.Application, status v1alpha1.ApplicationStatus) (map[string]any, error) {
	if !g.subresource {
		status.ObservedGeneration = app.Status.ObservedGeneration // not kept: see foreign.go
	}
	old, err := json.Marshal(app.Status)
	if err != nil {
		return nil, fmt.Errorf("encode the last status: %w", err)
	}
	now, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	if bytes.Equal(old, now) {
		return nil, nil
	}
	diff, err := jsonpatch.CreateMergePatch(old, now)
	if err != nil {
		return nil, fmt.Errorf("compare the status: %w", err)
	}
	if string(diff) == "{}" {
		return nil, nil
	}
	meta := map[string]any{}
	if !g.subresource {
		if err := keepForeign(meta, status); err != nil {
			return nil, err
		}
	}
	return map[string]any{"metadata": meta, "status": json.RawMessage(diff)}, nil
}

// send patches the Application, again after an error that may pass.
func (g *group) send(ctx context.Context, key engine.Key, patch []byte, status bool) error {
	backoff := wait.Backoff{Duration: 50 * time.Millisecond, Factor: 3, Jitter: 0.2, Steps: 5}
	var err error
	for {
		var answer *v1alpha1.Application
		if answer, err = g.patch(ctx, key, patch, status); err == nil {
			g.remember(answer)
			return nil
		}
		if ctx.Err() != nil || backoff.Steps <= 1 || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff.Step()):
		}
	}
}

func (g *group) patch(ctx context.Context, key engine.Key, patch []byte, status bool) (*v1alpha1.Application, error) {
	r := g.client.Patch(types.MergePatchType).Namespace(key.Namespace).
		Resource(v1alpha1.ApplicationResource).Name(key.Name).
		Param("fieldManager", fieldManager).Body(patch)
	if status {
		r = r.SubResource("status")
	}
	app := &v1alpha1.Application{}
	return app, r.Do(ctx).Into(app)
}

func (g *group) read(ctx context.Context, key engine.Key) (*v1alpha1.Application, error) {
	app := &v1alpha1.Application{}
	err := g.client.Get().Namespace(key.Namespace).Resource(v1alpha1.ApplicationResource).Name(key.Name).
		Do(ctx).Into(app)
	return app, err
}

func transient(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) ||
			utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err) || utilnet.IsHTTP2ConnectionLost(err)
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// editAttempts bounds how often an edit starts over on an object that others
// keep changing.
const editAttempts = 8

// edit changes an Application as change says, starting from app and then from
// the newest version of it. change returns a merge patch, or nil where there is
// nothing left to do. The patch names the version it was made for, so that it
// never lands on what it was not made for, not even on another object of the
// same name.
func (g *group) edit(ctx context.Context, key engine.Key, app *v1alpha1.Application, status bool,
	change func(*v1alpha1.Application) (map[string]any, error),
) error {
	for attempt := 0; ; attempt++ {
		patch, err := change(app)
		if patch == nil || err != nil {
			return err
		}
		meta, _ := patch["metadata"].(map[string]any)
		if meta == nil {
			meta = map[string]any{}
			patch["metadata"] = meta
		}
		meta["resourceVersion"] = app.ResourceVersion
		body, err := json.Marshal(patch)
		if err != nil {
			return fmt.Errorf("encode the change: %w", err)
		}
		err = g.send(ctx, key, body, status)
		switch {
		case err == nil || apierrors.IsNotFound(err):
			return nil
		case !apierrors.IsConflict(err) || attempt == editAttempts:
			return err
		}
		uid := app.UID
		if app, err = g.read(ctx, key); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		g.remember(app)
		if app.UID != uid {
			return nil // another object of the same name: it is not meant
		}
	}
}

// Settle takes back requests that have been heard. A request that somebody made
// since then stays.
func (c *Controller) Settle(ctx context.Context, key engine.Key, operation, refresh bool) error {
	g, ok := c.groups[key.Group]
	if !ok {
		return fmt.Errorf("settle the requests of Application %s: %w", key, errGroupNotServed)
	}
	heard, ok := g.get(key)
	if !ok {
		return nil
	}
	err := g.edit(ctx, key, heard, false, func(app *v1alpha1.Application) (map[string]any, error) {
		patch := map[string]any{}
		if operation && app.Operation != nil && equality.Semantic.DeepEqual(app.Operation, heard.Operation) {
			patch["operation"] = nil
		}
		answered := map[string]any{}
		for _, name := range refreshAnnotations {
			if value, ok := app.Annotations[name]; refresh && ok && value == heard.Annotations[name] {
				answered[name] = nil
			}
		}
		if len(answered) > 0 {
			patch["metadata"] = map[string]any{"annotations": answered}
		}
		if len(patch) == 0 {
			return nil, nil
		}
		return patch, nil
	})
	if err != nil {
		return fmt.Errorf("settle the requests of Application %s: %w", key, err)
	}
	return nil
}

// Release removes the finalizers that held a deleted Application.
func (c *Controller) Release(ctx context.Context, key engine.Key) error {
	g, ok := c.groups[key.Group]
	if !ok {
		return fmt.Errorf("release Application %s: %w", key, errGroupNotServed)
	}
	app, ok := g.get(key)
	if !ok {
		return nil
	}
	err := g.edit(ctx, key, app, false, func(app *v1alpha1.Application) (map[string]any, error) {
		rest := slices.DeleteFunc(slices.Clone(app.Finalizers), ownFinalizer)
		if len(rest) == len(app.Finalizers) || app.DeletionTimestamp == nil {
			return nil, nil
		}
		return map[string]any{"metadata": map[string]any{"finalizers": rest}}, nil
	})
	if err != nil {
		return fmt.Errorf("release Application %s: %w", key, err)
	}
	return nil
}

// ownFinalizer tells whether a finalizer is Plumb's to remove: those that Argo
// CD's manifests set, with any suffix, and Plumb's own.
func ownFinalizer(f string) bool {
	name, _, _ := strings.Cut(f, "/")
	switch name {
	case v1alpha1.ResourcesFinalizer, v1alpha1.PreDeleteFinalizer, v1alpha1.PostDeleteFinalizer:
		return true
	}
	return strings.HasPrefix(f, v1alpha1.PlumbPrefix)
}
