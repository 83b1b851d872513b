package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// put replaces an object as a whole (Replace=true). What follows is still
// applied server-side, so that Plumb owns what it declared. An object that does
// not exist is left to that.
func (a *applier) put(ctx context.Context, it *declared, body []byte, o patchOptions) error {
	for try := 0; ; try++ {
		live, err := a.client.get(ctx, it.kind, it.ref.Namespace, it.ref.Name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if holder := driver.Owner(text(live, "metadata", "annotations", AnnotationOwner)); holder != "" && holder != a.owner() && a.driver.options.OwnerExists(holder) {
			return &driver.Problem{Reason: ReasonSharedResource, Message: fmt.Sprintf("%s is held by the Application %s", shown(it.ref), holder)}
		}
		whole, err := withVersion(body, text(live, "metadata", "resourceVersion"))
		if err != nil {
			return err
		}
		_, err = a.client.put(ctx, it.kind, it.ref.Namespace, it.ref.Name, whole, o)
		if err == nil || !apierrors.IsConflict(err) || try == 3 {
			return err
		}
	}
}

func withVersion(body []byte, version string) ([]byte, error) {
	object, err := members(body)
	if err != nil {
		return nil, err
	}
	metadata, err := members(object["metadata"])
	if err != nil {
		return nil, err
	}
	metadata["resourceVersion"] = quoted(version)
	if object["metadata"], err = json.Marshal(metadata); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}

// recreate deletes an object and makes it anew.
func (a *applier) recreate(ctx context.Context, it *declared, body []byte, o patchOptions) (map[string]any, bool, error) {
	live, err := a.client.get(ctx, it.kind, it.ref.Namespace, it.ref.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, false, err
	}
	if err == nil {
		if err := a.expel(ctx, it, live, propagationOf("", it.ref)); err != nil {
			return nil, false, err
		}
	}
	return a.patch(ctx, it, body, o)
}

// expel deletes a live object and waits until it is gone.
func (a *applier) expel(ctx context.Context, it *declared, live map[string]any, propagation metav1.DeletionPropagation) error {
	uid := types.UID(text(live, "metadata", "uid"))
	o := metav1.DeleteOptions{PropagationPolicy: &propagation, Preconditions: &metav1.Preconditions{UID: &uid}}
	left, err := a.client.delete(ctx, it.kind, it.ref.Namespace, it.ref.Name, o)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // already another one, or none
		err = nil
	}
	if err != nil || left == nil {
		return err
	}
	for deadline := time.Now().Add(deletedTime); time.Now().Before(deadline); {
		if !sleep(ctx, pollPause) {
			return ctx.Err()
		}
		now, err := a.client.get(ctx, it.kind, it.ref.Namespace, it.ref.Name)
		if apierrors.IsNotFound(err) || err == nil && text(now, "metadata", "uid") != string(uid) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return &driver.Problem{Reason: ReasonConflict, Transient: true, Message: fmt.Sprintf(
		"%s: the earlier object is still being deleted (finalizers: %v)", shown(it.ref), at(live, "metadata", "finalizers"))}
}

// earlier are the field managers whose fields Plumb takes over, so that what is
// no longer declared goes.
var earlier = sets.New("kubectl-client-side-apply", "argocd-controller")

// migrate takes over what an object was applied with before it was Plumb's.
func (a *applier) migrate(ctx context.Context, it *declared, body []byte, live map[string]any, created bool) (map[string]any, error) {
	if created || it.options.noMigration {
		return live, nil
	}
	found := false
	for _, e := range managedFields(live) {
		manager, _ := e["manager"].(string)
		found = found || earlier.Has(manager) && noSubresource(e)
	}
	if !found {
		return live, nil
	}
	object := &unstructured.Unstructured{Object: deepCopy(live)}
	fields := object.GetManagedFields()
	for i := range fields {
		if earlier.Has(fields[i].Manager) && fields[i].Subresource == "" {
			fields[i].Operation = metav1.ManagedFieldsOperationUpdate
		}
	}
	object.SetManagedFields(fields)
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(object, earlier, FieldManager)
	if err != nil || patch == nil {
		return live, nil //nolint:nilerr // fields that cannot be taken over stay with their manager
	}
	if err := a.client.patchJSON(ctx, it.kind, it.ref.Namespace, it.ref.Name, patch); err != nil {
		return nil, fmt.Errorf("take over the fields of earlier managers: %w", err)
	}
	live, _, err = a.patch(ctx, it, body, patchOptions{manager: FieldManager, noValidate: it.options.noValidate})
	return live, err
}

// delete deletes one object that is no longer to be, if it still is ours.
func (a *applier) delete(ctx context.Context, s plan.Step) driver.Result {
	ref := s.Change.Target()
	it, k := a.deletable(ctx, ref)
	if k == nil {
		return driver.Result{Step: s, Message: kubectl(ref) + " already gone"}
	}
	n := name{ref.Namespace, ref.Name}
	r := k.get(n)
	if r == nil || r.owner != a.owner() {
		a.holder.forget(ref.Address())
		return driver.Result{Step: s, Message: kubectl(ref) + " already gone"}
	}
	if f := a.order.Desired.Fence; f != nil {
		if err := f(ref, k.mapping.namespaced); err != nil {
			return failure(s, &driver.Problem{Reason: ReasonNotPermitted, Message: err.Error()})
		}
	}
	if a.order.DryRun {
		return driver.Result{Step: s, Message: kubectl(ref) + " pruned (dry run)"}
	}
	if err := a.deleteOurs(ctx, it, k, n, r); err != nil {
		return failure(s, a.problem(err, it))
	}
	a.holder.forget(ref.Address())
	return driver.Result{Step: s, Message: kubectl(ref) + " pruned"}
}

func (a *applier) deletable(ctx context.Context, ref plan.Ref) (*declared, *kindCache) {
	kinds, err := a.cluster.discover.kinds(ctx, false)
	if err != nil {
		return nil, nil
	}
	m, ok := kinds.any(groupKind(ref), ref.Version)
	if !ok {
		return nil, nil
	}
	it := &declared{ref: ref, kind: m, known: true}
	return it, a.cache(it)
}

// deleteOurs deletes exactly the object that was looked at: it must still be
// the same, unchanged, and carry the owner's mark.
func (a *applier) deleteOurs(ctx context.Context, it *declared, k *kindCache, n name, r *record) error {
	propagation := propagationOf(r.options(a.bundle.app).propagation, it.ref)
	uid, version := types.UID(r.uid), r.version
	for try := 0; ; try++ {
		o := metav1.DeleteOptions{PropagationPolicy: &propagation, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
		left, err := a.client.delete(ctx, it.kind, n.namespace, n.name, o)
		switch {
		case isGone(err, n.name) || err == nil && left == nil:
			k.removed(n, r.uid)
			return nil
		case apierrors.IsNotFound(err):
			return a.notServed(it, err)
		case err == nil:
			k.wrote(n, k.read(n, left))
			return nil
		case !apierrors.IsConflict(err) || try == 5:
			return err
		}
		live, err := a.client.get(ctx, it.kind, n.namespace, n.name)
		if isGone(err, n.name) {
			k.removed(n, r.uid)
			return nil
		}
		if err != nil {
			return err
		}
		if text(live, "metadata", "uid") != r.uid || driver.Owner(text(live, "metadata", "annotations", AnnotationOwner)) != a.owner() {
			return nil // it is another's now
		}
		if why := k.read(n, live).options(a.bundle.app).guard(a.order.Desired.Deleting, a.order.Desired.DeletionApproved); why != "" && !r.hook {
			return &driver.Problem{Reason: ReasonConflict, Transient: true, Message: shown(it.ref) + ": it was changed while it was to be deleted, and now says " + why}
		}
		version = text(live, "metadata", "resourceVersion")
	}
}

// isGone tells whether an object was not found, and not its kind: the object may
// be there in another version of it.
func isGone(err error, name string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name == name
}

// notServed is the problem of an object whose kind is not served as it was.
func (a *applier) notServed(it *declared, err error) *driver.Problem {
	a.cluster.discover.changed()
	return &driver.Problem{Reason: ReasonUnknownKind, Transient: true, Message: shown(it.ref) + ": its kind is not served as it was a moment ago: " + err.Error()}
}

// propagationOf is foreground, as it is for Argo CD, unless something else is
// asked for or nothing can depend on the object anyway.
func propagationOf(s string, ref plan.Ref) metav1.DeletionPropagation {
	switch {
	case s == "foreground":
	case s == "orphan":
		return metav1.DeletePropagationOrphan
	case s == "background" || tierOf(ref) == tierConfig:
		return metav1.DeletePropagationBackground
	}
	return metav1.DeletePropagationForeground
}
