package controller

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/mirror"
)

func (g *guards) addMirrors(config *rest.Config) error {
	policies, err := guardClient(config, admissionv1.SchemeGroupVersion, admissionv1.AddToScheme)
	if err != nil {
		return err
	}
	roles, err := guardClient(config, rbacv1.SchemeGroupVersion, rbacv1.AddToScheme)
	if err != nil {
		return err
	}
	addGuards(g, kindPolicy, mirror.Options[*admissionv1.ValidatingAdmissionPolicy]{
		Client: policies, Resource: accessResources[kindPolicy].Resource, Example: &admissionv1.ValidatingAdmissionPolicy{},
		Trim: func(p *admissionv1.ValidatingAdmissionPolicy) {
			p.Spec, p.Status = admissionv1.ValidatingAdmissionPolicySpec{}, admissionv1.ValidatingAdmissionPolicyStatus{}
		},
	}, func(*admissionv1.ValidatingAdmissionPolicy) bool { return true })
	addGuards(g, kindBinding, mirror.Options[*admissionv1.ValidatingAdmissionPolicyBinding]{
		Client: policies, Resource: accessResources[kindBinding].Resource, Example: &admissionv1.ValidatingAdmissionPolicyBinding{},
		Trim: func(p *admissionv1.ValidatingAdmissionPolicyBinding) {
			p.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{}
		},
	}, func(*admissionv1.ValidatingAdmissionPolicyBinding) bool { return true })
	wanted, err := wantedRoles()
	if err != nil {
		return err
	}
	addGuards(g, kindClusterRole, mirror.Options[*rbacv1.ClusterRole]{
		Client: roles, Resource: accessResources[kindClusterRole].Resource, Example: &rbacv1.ClusterRole{},
		LabelSelector: v1alpha1.LabelPartOf + "=" + v1alpha1.LabelPartOfValue,
	}, func(r *rbacv1.ClusterRole) bool {
		want, ours := wanted[r.Name]
		return !ours || r.Annotations[autoupdate] == "false" || equality.Semantic.DeepEqual(r.Rules, want)
	})
	return nil
}

func guardClient(config *rest.Config, gv schema.GroupVersion, add func(*runtime.Scheme) error) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		return nil, fmt.Errorf("register %s: %w", gv, err)
	}
	return mirror.ClientFor(config, gv, scheme)
}

// wantedRoles are the rules of the roles that people are given.
func wantedRoles() (map[string][]rbacv1.PolicyRule, error) {
	objects, err := accessObjects(rolesFile)
	if err != nil {
		return nil, err
	}
	all := map[string][]rbacv1.PolicyRule{}
	for _, o := range objects {
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			return nil, fmt.Errorf("read the embedded %s: %w", rolesFile, err)
		}
		all[role.Name] = role.Rules
	}
	return all, nil
}

// addGuards has the objects of a kind watched. right tells of one whether it says
// what it should, where its generation does not tell.
func addGuards[T mirror.Object](g *guards, kind string, o mirror.Options[T], right func(T) bool) {
	var none T
	o.Log = g.log
	o.Changed = func(old, now T) {
		if now == none {
			g.seen(kind, old.GetName(), old.GetUID(), 0, wasRemoved)
			return
		}
		what := ""
		if !right(now) {
			what = wasChanged
		}
		g.seen(kind, now.GetName(), now.GetUID(), now.GetGeneration(), what)
	}
	if kind != kindClusterRole { // the generation tells
		trim := o.Trim
		o.Trim = func(obj T) { trim(obj); obj.SetAnnotations(nil) }
	}
	m := mirror.New(o)
	g.watching = append(g.watching, func(ctx context.Context) error {
		watching, stop := context.WithCancel(ctx)
		go m.Run(watching)
		if err := m.Await(ctx); err != nil {
			stop()
			return err
		}
		present := map[string]bool{}
		for _, obj := range m.List() {
			present[obj.GetName()] = true
		}
		context.AfterFunc(ctx, stop)
		g.missing(kind, present)
		return nil
	})
}

// start watches, and puts back what has changed since it was installed, until ctx is
// done.
func (g *guards) start(ctx context.Context) {
	if g.client == nil {
		return
	}
	for _, watch := range g.watching {
		err := watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.log.Warn("policies and roles that somebody weakens are noticed at the next start only, because they can't be watched", "error", err)
		}
	}
	g.run(ctx)
}

// missing looks for what of a kind is gone since it was installed.
func (g *guards) missing(kind string, present map[string]bool) {
	g.mu.RLock()
	var gone []*guard
	for _, k := range g.known {
		if k.kind == kind && !present[k.name] {
			gone = append(gone, k)
		}
	}
	g.mu.RUnlock()
	for _, k := range gone {
		g.seen(k.kind, k.name, "", 0, wasRemoved)
	}
}
