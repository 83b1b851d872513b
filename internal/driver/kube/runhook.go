package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

func groupKind(r plan.Ref) schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// hook starts a hook's run: an earlier one goes first. One that was already
// started by the same operation, in the same phase, is left alone.
func (a *applier) hook(ctx context.Context, s plan.Step, it *declared) (driver.Result, error) {
	k, n := a.cache(it), name{it.ref.Namespace, it.ref.Name}
	if r := k.get(n); r != nil && r.operation == a.order.Operation && r.phase == s.Phase && !r.deleting {
		return driver.Result{Message: kubectl(it.ref) + " already started"}, nil
	}
	body, err := a.cluster.body(it, a.owner(), map[string]string{AnnotationOperation: a.order.Operation, AnnotationPhase: s.Phase.String()})
	if err != nil {
		return driver.Result{}, &driver.Problem{Reason: ReasonInvalid, Message: err.Error()}
	}
	o := patchOptions{manager: FieldManager, dryRun: a.order.DryRun, noValidate: it.options.noValidate}
	live, err := a.client.create(ctx, it.kind, it.ref.Namespace, body, o)
	for try := 0; apierrors.IsAlreadyExists(err) && try < 3; try++ {
		if o.dryRun {
			return driver.Result{Message: kubectl(it.ref) + " would be run again (dry run)"}, nil
		}
		if started, clearErr := a.clearHook(ctx, it, s.Phase); clearErr != nil || started {
			return driver.Result{Message: kubectl(it.ref) + " already started"}, clearErr
		}
		live, err = a.client.create(ctx, it.kind, it.ref.Namespace, body, o)
	}
	if err != nil {
		return driver.Result{}, sent{err, body}
	}
	if !o.dryRun {
		k.wrote(n, k.read(n, live))
	}
	return driver.Result{Message: kubectl(it.ref) + " created"}, nil
}

// clearHook deletes the earlier run of a hook, unless it turns out to be the
// one that is to be started. Objects that are no hooks are not touched.
func (a *applier) clearHook(ctx context.Context, it *declared, phase plan.Phase) (started bool, err error) {
	live, err := a.client.get(ctx, it.kind, it.ref.Namespace, it.ref.Name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	annotations := texts(at(live, "metadata", "annotations"))
	owner := driver.Owner(annotations[AnnotationOwner])
	hookish := annotation(annotations, v1alpha1.NameHook) != "" || annotations[helmHook] != ""
	if owner != a.owner() && (owner != "" && a.driver.options.OwnerExists(owner) || !hookish) {
		return false, &driver.Problem{Reason: ReasonSharedResource,
			Message: shown(it.ref) + " exists and is no hook of this Application; rename the hook or delete the object"}
	}
	if owner == a.owner() && annotations[AnnotationOperation] == a.order.Operation &&
		annotations[AnnotationPhase] == phase.String() && text(live, "metadata", "deletionTimestamp") == "" {
		n := name{it.ref.Namespace, it.ref.Name}
		k := a.cache(it)
		k.wrote(n, k.read(n, live))
		return true, nil
	}
	return false, a.expel(ctx, it, live, metav1.DeletePropagationBackground)
}
