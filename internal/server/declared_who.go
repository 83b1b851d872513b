package server

import (
	"context"
	"maps"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/audit"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// rightPrefix begins the ids of roles and bindings.
const rightPrefix = "right/"

// openEntry is an entry of which it is not known who has done it.
type openEntry struct {
	entry *entry.Entry
	// now and before are the states that it tells apart.
	now, before declaredState
}

// catchUp waits until it is known what API servers have told before.
func (d *declared) catchUp(ctx context.Context) {
	if d.informant == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(catchUpTime):
	case <-d.informant.feed.CaughtUp():
	}
}

// identify asks who has done what. It waits a moment for what API servers have yet
// to tell: objects do not say of themselves who wrote them.
func (d *declared) identify(ctx context.Context, open []openEntry) {
	if d.informant == nil {
		return
	}
	for _, o := range open {
		q, ok := o.question()
		if !ok {
			continue
		}
		if o.now.told != nil {
			q.But = d.informant.own // Plumb has put it back since
		}
		until := o.now.seen.Add(soon)
		if o.now.early {
			until = time.Now()
		}
		a, known := d.informant.feed.Await(ctx, q, until)
		if !known && (o.now.id == everything || o.now.isRight()) { // what is gone may have been emptied
			q.Deleted = !q.Deleted
			a, known = d.informant.feed.Who(q)
		}
		if !known {
			continue
		}
		actor, details := d.informant.actor(a)
		o.entry.Actor = actor
		if len(details) > 0 && o.entry.Details == nil {
			o.entry.Details = map[string]string{}
		}
		maps.Copy(o.entry.Details, details)
	}
}

// question is what is asked of API servers about an entry.
func (o openEntry) question() (audit.Question, bool) {
	s := o.now
	q := audit.Question{Deleted: s.gone || s.removed, Seen: s.seen, AtOnce: !s.early}
	id := s.id
	if s.because != "" {
		id = s.because
	}
	object, ok := objectOf(id, o)
	if !ok {
		return q, false
	}
	q.Object = object
	switch fresh := o.before.id == ""; {
	case s.gone:
		q.After = o.before.at
	case s.early && fresh && !s.since.IsZero():
		q.Seen = s.since // when it was made, which others may have changed since
	case s.early && fresh:
		return q, false
	case s.early:
		q.After = o.before.at
	}
	return q, true
}

// objectOf is the object that has the id.
func objectOf(id string, o openEntry) (audit.Object, bool) {
	kind, rest, _ := strings.Cut(id, "/")
	parts := strings.SplitN(rest, "/", 3)
	switch {
	case id == everything:
		return audit.Object{Resource: "configmaps", Namespace: controller.SystemNamespace, Name: v1alpha1.FreezeConfigMap}, true
	case kind == "app":
		a := o.now.entry.Application
		if o.now.gone {
			a = o.before.entry.Application
		}
		return audit.Object{Group: a.Group, Resource: v1alpha1.ApplicationResource, Namespace: a.Namespace, Name: a.Name}, a.Name != ""
	case kind == "guard":
		return guardObject(parts[0], parts[1]), true
	case len(parts) < 3:
		return audit.Object{}, false
	case kind == "project":
		return audit.Object{Group: parts[0], Resource: v1alpha1.AppProjectResource, Namespace: parts[1], Name: parts[2]}, true
	case kind+"/" == rightPrefix:
		return audit.Object{Group: rbacv1.GroupName, Resource: strings.ToLower(parts[0]) + "s", Namespace: parts[1], Name: parts[2]}, true
	}
	return audit.Object{}, false
}

// guardObject is what the API server checks by, whose kind and name these are.
func guardObject(kind, name string) audit.Object {
	switch kind {
	case "ValidatingAdmissionPolicy":
		return audit.Object{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicies", Name: name}
	case "ValidatingAdmissionPolicyBinding":
		return audit.Object{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicybindings", Name: name}
	default:
		return audit.Object{Group: rbacv1.GroupName, Resource: strings.ToLower(kind) + "s", Name: name}
	}
}

// Right is told of a role or binding.
func (d *declared) Right(id controller.RightID) {
	d.mu.Lock()
	if d.rights == nil {
		d.rights = map[string]time.Time{}
	}
	if id.Name != "" && len(d.rights) < mostWaiting {
		d.rights[rightID(id)] = time.Now()
	}
	d.mu.Unlock()
	d.wake()
}

func rightID(id controller.RightID) string {
	return rightPrefix + id.Kind + "/" + id.Namespace + "/" + id.Name
}

// changedRights are the roles and bindings that are not as they are recorded.
func (d *declared) changedRights(p *parts) []declaredState {
	d.mu.Lock()
	changed := d.rights
	d.rights = nil
	d.mu.Unlock()
	if changed == nil {
		return nil
	}
	rights, ok := p.controller.Rights()
	if !ok {
		return nil
	}
	var out []declaredState
	put := func(s declaredState) {
		s.seen, s.early = time.Now(), true
		for _, id := range []string{s.id, s.role} {
			if at, ok := changed[id]; ok {
				s.seen, s.early = at, false
				if id != s.id {
					s.because = id
				}
				break
			}
		}
		out = append(out, s)
	}
	there := map[string]bool{}
	for _, r := range rights {
		id := rightID(r.RightID)
		there[id] = true
		if d.known[id].facets[facetPermissions] == r.Text {
			continue
		}
		s := declaredState{id: id, since: r.Created, facets: map[string]string{facetPermissions: r.Text}}
		if r.Role.Name != "" {
			s.role = rightID(r.Role)
		}
		put(s)
	}
	for id, s := range d.known {
		if s.isRight() && !there[id] {
			put(declaredState{id: id, gone: true, role: s.role})
		}
	}
	return out
}

// isRight tells whether it is a role or binding, and not a project's.
func (s *declaredState) isRight() bool { return strings.HasPrefix(s.id, rightPrefix) }

func (s *declaredState) rightText() string {
	if s.isRight() {
		return s.facets[facetPermissions]
	}
	return "roles and service accounts of project " + s.entry.Project
}
