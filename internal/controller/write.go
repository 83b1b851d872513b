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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// fieldManager is Plumb's name in managedFields of Applications and CRDs.
const fieldManager = "plumb"

// WriteStatus makes an Application's status the given one; nothing is sent where
// nothing differs. An Application that is gone, or has another of its name in its
// place, needs no status any more.
func (c *Controller) WriteStatus(ctx context.Context, app *v1alpha1.Application, key engine.Key, status v1alpha1.ApplicationStatus) error {
	g, ok := c.groups[key.Group]
	if !ok {
		return fmt.Errorf("write the status of Application %s: %w", key, errGroupNotServed)
	}
	if latest, ok := g.get(key); ok && latest.UID == app.UID && newer(latest, app) {
		app = latest
	}
	change, send := g.statusPatch, g.patch
	if g.subresource {
		change, send = g.statusBody, g.putStatus
	}
	err := g.edit(ctx, key, app, send, func(app *v1alpha1.Application) (map[string]any, error) {
		return change(app, status)
	})
	if err != nil {
		return fmt.Errorf("write the status of Application %s: %w", key, err)
	}
	return nil
}

// statusBody gives what is put to the status subresource, or nil where there is
// nothing to write. It is the whole status, and nothing but the status: the API
// server keeps all the rest as it is, and to take a status as it comes costs it
// less than to merge a patch into one.
func (g *group) statusBody(app *v1alpha1.Application, status v1alpha1.ApplicationStatus) (map[string]any, error) {
	old, now, err := encodeStatuses(app.Status, keepTerminating(app.Status, status))
	if err != nil || bytes.Equal(old, now) {
		return nil, err
	}
	return map[string]any{
		"apiVersion": g.gv.String(), "kind": v1alpha1.ApplicationKind,
		"metadata": map[string]any{"namespace": app.Namespace, "name": app.Name, "uid": app.UID},
		"status":   json.RawMessage(now),
	}, nil
}

// statusPatch gives the merge patch for where there is no status subresource, or
// nil where there is nothing to write.
func (g *group) statusPatch(app *v1alpha1.Application, status v1alpha1.ApplicationStatus) (map[string]any, error) {
	status.ObservedGeneration = app.Status.ObservedGeneration // not kept: see foreign.go
	old, now, err := encodeStatuses(app.Status, keepTerminating(app.Status, status))
	if err != nil || bytes.Equal(old, now) {
		return nil, err
	}
	diff, err := jsonpatch.CreateMergePatch(old, now)
	if err != nil {
		return nil, fmt.Errorf("compare the status: %w", err)
	}
	if string(diff) == "{}" {
		return nil, nil
	}
	meta := map[string]any{}
	if err := keepForeign(meta, status); err != nil {
		return nil, err
	}
	return map[string]any{"metadata": meta, "status": json.RawMessage(diff)}, nil
}

// keepTerminating keeps what somebody else writes into a status: that a running
// sync is to end.
func keepTerminating(last, next v1alpha1.ApplicationStatus) v1alpha1.ApplicationStatus {
	was, is := last.OperationState, next.OperationState
	if terminating(last) && is != nil && is.Phase == v1alpha1.OperationRunning && was.StartedAt.Equal(&is.StartedAt) {
		op := *is
		op.Phase, next.OperationState = v1alpha1.OperationTerminating, &op
	}
	return next
}

func terminating(s v1alpha1.ApplicationStatus) bool {
	return s.OperationState != nil && s.OperationState.Phase == v1alpha1.OperationTerminating
}

func encodeStatuses(last, next v1alpha1.ApplicationStatus) (old, now []byte, err error) {
	if old, err = json.Marshal(last); err != nil {
		return nil, nil, fmt.Errorf("encode the last status: %w", err)
	}
	if now, err = json.Marshal(next); err != nil {
		return nil, nil, fmt.Errorf("encode the status: %w", err)
	}
	return old, now, nil
}

// sender sends one write of an Application, and gives the Application after it.
type sender func(ctx context.Context, app *v1alpha1.Application, body []byte) (*v1alpha1.Application, error)

// insist sends a write, again after an error that may pass.
func (g *group) insist(ctx context.Context, app *v1alpha1.Application, send sender, body []byte) error {
	backoff := wait.Backoff{Duration: 50 * time.Millisecond, Factor: 3, Jitter: 0.2, Steps: 5}
	var err error
	for {
		var answer *v1alpha1.Application
		if answer, err = send(ctx, app, body); err == nil {
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

func (g *group) patch(ctx context.Context, app *v1alpha1.Application, patch []byte) (*v1alpha1.Application, error) {
	answer := &v1alpha1.Application{}
	return answer, g.client.Patch(types.MergePatchType).Namespace(app.Namespace).
		Resource(v1alpha1.ApplicationResource).Name(app.Name).
		Param("fieldManager", fieldManager).Body(patch).Do(ctx).Into(answer)
}

// putStatus asks only for the metadata back: the rest is known.
func (g *group) putStatus(ctx context.Context, app *v1alpha1.Application, body []byte) (*v1alpha1.Application, error) {
	answer, err := g.client.Put().Namespace(app.Namespace).
		Resource(v1alpha1.ApplicationResource).Name(app.Name).SubResource("status").
		Param("fieldManager", fieldManager).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").
		SetHeader("Content-Type", "application/json").
		Body(body).Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	now := app.DeepCopy()
	now.Status = v1alpha1.ApplicationStatus{}
	if err := json.Unmarshal(body, now); err != nil {
		return nil, fmt.Errorf("decode the status that was written: %w", err)
	}
	var written metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &written); err != nil {
		return nil, fmt.Errorf("decode the answer to a status: %w", err)
	}
	now.TypeMeta, now.ObjectMeta = app.TypeMeta, written.ObjectMeta
	return now, nil
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
// the newest version of it. change returns what to send, or nil where there is
// nothing left to do. What is sent names the version it was made for, so that it
// never lands on what it was not made for, not even on another object of the
// same name.
func (g *group) edit(ctx context.Context, key engine.Key, app *v1alpha1.Application, send sender,
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
		err = g.insist(ctx, app, send, body)
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
func (c *Controller) Settle(ctx context.Context, key engine.Key, heard *v1alpha1.Application, operation, refresh bool) error {
	g, ok := c.groups[key.Group]
	if !ok {
		return fmt.Errorf("settle the requests of Application %s: %w", key, errGroupNotServed)
	}
	latest, ok := g.get(key)
	if !ok || latest.UID != heard.UID {
		return nil
	}
	err := g.edit(ctx, key, latest, g.patch, func(app *v1alpha1.Application) (map[string]any, error) {
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
	err := g.edit(ctx, key, app, g.patch, func(app *v1alpha1.Application) (map[string]any, error) {
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
