package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
)

// Artifacts keeps what is too large for an object, by its digest.
type Artifacts interface {
	Put(text string) (digest string, err error)
	Remove(digest string) error
}

const (
	// headBytes is how much of a diff is kept in the Plan itself.
	headBytes = 64 << 10
	// keptPlans and keptTime bound how many closed plans an Application has.
	keptPlans = 20
	keptTime  = 30 * 24 * time.Hour
	// planNumber orders the plans of an Application.
	planNumber = v1alpha1.PlumbPrefix + "plan-number"
	// planApplication is a label for people to select by.
	planApplication = v1alpha1.PlumbPrefix + "application"
)

var _ engine.Plans = (*Plans)(nil)

// Plans mirrors the Plans and Approvals of the control plane, and makes Plans. It is
// where the engine asks people.
type Plans struct {
	c         *Controller
	client    rest.Interface
	artifacts Artifacts
	plans     *mirror.Mirror[*v1alpha1.Plan]
	approvals *mirror.Mirror[*v1alpha1.Approval]

	mu sync.Mutex
	// of are the plans of each Application by name, never older than what was
	// written; gone are those that were deleted here, until the mirror knows.
	of map[engine.Key]map[string]*v1alpha1.Plan
	// said are the Approvals of each plan ("namespace/name") by name.
	said map[string]map[string]*v1alpha1.Approval
}

func (c *Controller) addPlans(o Options) error {
	client, err := mirror.ClientFor(o.Config, v1alpha1.GroupVersion, v1alpha1.NewScheme(v1alpha1.GroupVersion))
	if err != nil {
		return err
	}
	p := &Plans{
		c: c, client: client, artifacts: o.Artifacts,
		of: map[engine.Key]map[string]*v1alpha1.Plan{}, said: map[string]map[string]*v1alpha1.Approval{},
	}
	p.plans = mirror.New(mirror.Options[*v1alpha1.Plan]{
		Client: client, Resource: v1alpha1.PlanResource, Example: &v1alpha1.Plan{}, Log: c.log, Changed: c.planChanged,
	})
	p.approvals = mirror.New(mirror.Options[*v1alpha1.Approval]{
		Client: client, Resource: v1alpha1.ApprovalResource, Example: &v1alpha1.Approval{}, Log: c.log, Changed: c.approvalChanged,
	})
	c.plans = p
	return nil
}

// Plans is where the engine asks people, or nil where this controller only looks.
func (c *Controller) Plans() *Plans { return c.plans }

// applicationOf is the Application that a plan is for.
func applicationOf(p *v1alpha1.Plan) engine.Key {
	return engine.Key{Group: p.Spec.Application.Group, Namespace: p.Namespace, Name: p.Spec.Application.Name}
}

// planChanged has the engine look at what others have done to a plan.
func (c *Controller) planChanged(old, now *v1alpha1.Plan) {
	if now == nil {
		c.plans.forget(old)
		c.enqueue(applicationOf(old))
		return
	}
	if c.plans.remember(now) {
		c.enqueue(applicationOf(now))
	}
}

// approvalChanged has the engine look at what somebody has said.
func (c *Controller) approvalChanged(old, now *v1alpha1.Approval) {
	a := now
	if a == nil {
		a = old
	}
	plan := a.Namespace + "/" + a.Spec.Plan
	c.plans.mu.Lock()
	if now == nil {
		delete(c.plans.said[plan], a.Name)
		if len(c.plans.said[plan]) == 0 {
			delete(c.plans.said, plan)
		}
	} else {
		if c.plans.said[plan] == nil {
			c.plans.said[plan] = map[string]*v1alpha1.Approval{}
		}
		c.plans.said[plan][a.Name] = now
	}
	c.plans.mu.Unlock()
	if old == nil || now == nil || old.UID != now.UID {
		c.enqueue(engine.Key{Group: a.Spec.Application.Group, Namespace: a.Namespace, Name: a.Spec.Application.Name})
	}
}

// remember takes a plan, and tells whether it is news.
func (p *Plans) remember(now *v1alpha1.Plan) bool {
	key := applicationOf(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.of[key][now.Name]; known != nil && known.UID == now.UID {
		if order, err := resourceversion.CompareResourceVersion(now.ResourceVersion, known.ResourceVersion); err == nil && order <= 0 {
			return false
		}
	}
	if p.of[key] == nil {
		p.of[key] = map[string]*v1alpha1.Plan{}
	}
	p.of[key][now.Name] = now
	return true
}

func (p *Plans) forget(gone *v1alpha1.Plan) {
	key := applicationOf(gone)
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.of[key][gone.Name]; known != nil && known.UID == gone.UID {
		delete(p.of[key], gone.Name)
	}
	if len(p.of[key]) == 0 {
		delete(p.of, key)
	}
}

// Of gives the plans of an Application, the newest first.
func (p *Plans) Of(key engine.Key) []*v1alpha1.Plan {
	p.mu.Lock()
	all := make([]*v1alpha1.Plan, 0, len(p.of[key]))
	for _, plan := range p.of[key] {
		if plan.DeletionTimestamp == nil {
			all = append(all, plan)
		}
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b *v1alpha1.Plan) int {
		return cmp.Or(cmp.Compare(numberOf(b), numberOf(a)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func numberOf(p *v1alpha1.Plan) int {
	n, err := strconv.Atoi(p.Annotations[planNumber])
	if err != nil {
		return 0
	}
	return n
}

// Approvals gives what people have said of a plan.
func (p *Plans) Approvals(plan *v1alpha1.Plan) []*v1alpha1.Approval {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := p.said[plan.Namespace+"/"+plan.Name]
	all := make([]*v1alpha1.Approval, 0, len(said))
	for _, a := range said {
		all = append(all, a)
	}
	return all
}

// Propose makes a plan, and lets go of old ones.
func (p *Plans) Propose(ctx context.Context, app *v1alpha1.Application, key engine.Key, draft *v1alpha1.Plan, text string) (*v1alpha1.Plan, error) {
	plan := draft.DeepCopy()
	plan.Kind, plan.APIVersion = v1alpha1.PlanKind, v1alpha1.GroupVersion.String()
	plan.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: key.Group + "/" + v1alpha1.Version, Kind: v1alpha1.ApplicationKind, Name: key.Name, UID: app.UID,
	}}
	last := 0
	if all := p.Of(key); len(all) > 0 {
		last = numberOf(all[0])
	}
	plan.Annotations = map[string]string{planNumber: strconv.Itoa(last + 1)}
	if len(key.Name) <= 63 {
		plan.Labels = map[string]string{planApplication: key.Name}
	}
	if err := p.show(plan, text); err != nil {
		return nil, err
	}
	made := &v1alpha1.Plan{}
	err := p.client.Post().Namespace(plan.Namespace).Resource(v1alpha1.PlanResource).
		Param("fieldManager", fieldManager).Body(plan).Do(ctx).Into(made)
	if err != nil {
		return nil, fmt.Errorf("make the Plan %s/%s: %w", plan.Namespace, plan.Name, err)
	}
	made.ManagedFields = nil
	p.remember(made)
	p.prune(ctx, key)
	return made, nil
}

// show puts the diff into a plan, or the beginning of it.
func (p *Plans) show(plan *v1alpha1.Plan, text string) error {
	plan.Spec.Diff = text
	if len(text) <= headBytes {
		return nil
	}
	head := text[:headBytes]
	if end := strings.LastIndexByte(head, '\n'); end >= 0 {
		head = head[:end+1]
	}
	plan.Spec.Diff = strings.ToValidUTF8(head, "")
	if p.artifacts == nil {
		return nil
	}
	var err error
	plan.Spec.DiffDigest, err = p.artifacts.Put(text)
	return err
}

// WriteStatus makes a plan's status the given one. A plan that is gone needs none.
func (p *Plans) WriteStatus(ctx context.Context, plan *v1alpha1.Plan, status v1alpha1.PlanStatus) error {
	for attempt := 0; ; attempt++ {
		next := plan.DeepCopy()
		next.Kind, next.APIVersion = v1alpha1.PlanKind, v1alpha1.GroupVersion.String()
		next.Status = status
		answer := &v1alpha1.Plan{}
		err := p.client.Put().Namespace(plan.Namespace).Resource(v1alpha1.PlanResource).Name(plan.Name).SubResource("status").
			Param("fieldManager", fieldManager).Body(next).Do(ctx).Into(answer)
		switch {
		case err == nil:
			answer.ManagedFields = nil
			p.remember(answer)
			p.keepWith(ctx, answer)
			return nil
		case apierrors.IsNotFound(err):
			return nil
		case !apierrors.IsConflict(err) || attempt == editAttempts:
			return fmt.Errorf("write the status of the Plan %s/%s: %w", plan.Namespace, plan.Name, err)
		}
		fresh := &v1alpha1.Plan{}
		if err := p.client.Get().Namespace(plan.Namespace).Resource(v1alpha1.PlanResource).Name(plan.Name).Do(ctx).Into(fresh); err != nil {
			return fmt.Errorf("read the Plan %s/%s: %w", plan.Namespace, plan.Name, err)
		}
		if fresh.UID != plan.UID {
			return nil // another one of its name is not meant
		}
		plan = fresh
	}
}

// keepWith has the approvals of a plan go when the plan goes.
func (p *Plans) keepWith(ctx context.Context, plan *v1alpha1.Plan) {
	for _, a := range p.Approvals(plan) {
		if len(a.OwnerReferences) > 0 || a.CreationTimestamp.Time.Before(plan.CreationTimestamp.Time) {
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"uid":%q,"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q}]}}`,
			a.UID, v1alpha1.GroupVersion.String(), v1alpha1.PlanKind, plan.Name, plan.UID)
		err := p.client.Patch(types.MergePatchType).Namespace(a.Namespace).Resource(v1alpha1.ApprovalResource).Name(a.Name).
			Param("fieldManager", fieldManager).Body([]byte(patch)).Do(ctx).Error()
		if err != nil && !apierrors.IsNotFound(err) {
			p.c.log.Debug("approval not tied to its plan", "approval", a.Namespace+"/"+a.Name, "error", err)
		}
	}
}

// prune lets go of an Application's old plans: never of one that waits.
func (p *Plans) prune(ctx context.Context, key engine.Key) {
	all := p.Of(key)
	for i, plan := range all {
		open := plan.Status.Phase.Open() && plan.Status.Phase != v1alpha1.PlanFailed
		if open || i < keptPlans && time.Since(plan.CreationTimestamp.Time) < keptTime {
			continue
		}
		err := p.client.Delete().Namespace(plan.Namespace).Resource(v1alpha1.PlanResource).Name(plan.Name).
			Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &plan.UID}}).Do(ctx).Error()
		if err != nil && !apierrors.IsNotFound(err) {
			p.c.log.Warn("old plan not removed", "plan", plan.Namespace+"/"+plan.Name, "error", err)
			continue
		}
		p.forget(plan)
		p.dropArtifact(plan.Spec.DiffDigest)
	}
}

// dropArtifact removes a diff that no plan shows any more.
func (p *Plans) dropArtifact(digest string) {
	if digest == "" || p.artifacts == nil {
		return
	}
	p.mu.Lock()
	for _, of := range p.of {
		for _, plan := range of {
			if plan.Spec.DiffDigest == digest {
				p.mu.Unlock()
				return
			}
		}
	}
	p.mu.Unlock()
	if err := p.artifacts.Remove(digest); err != nil {
		p.c.log.Warn("artifact not removed", "digest", digest, "error", err)
	}
}
