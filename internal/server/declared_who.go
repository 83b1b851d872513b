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
		if !known && (o.now.id == everything || o.now.hollow) { // it may be empty, or gone
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

// seenRight is a role or binding as it was at a time.
type seenRight struct {
	controller.RightChange
	at time.Time
}

// Right is told of a role or binding.
func (d *declared) Right(c controller.RightChange) {
	d.mu.Lock()
	if len(d.rights) < mostWaiting {
		d.rights = append(d.rights, seenRight{c, time.Now()})
	}
	d.mu.Unlock()
	d.wake()
}

func rightID(id controller.RightID) string {
	return rightPrefix + id.Kind + "/" + id.Namespace + "/" + id.Name
}

func stateOfRight(r controller.Right) declaredState {
	s := declaredState{id: rightID(r.RightID), since: r.Created, facets: map[string]string{facetPermissions: r.Text}}
	if r.Role.Name != "" {
		s.role = rightID(r.Role)
	}
	return s
}

// changedRights are the roles and bindings that are not as they are recorded: those
// that have changed, in their order, and what is so through others.
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
	c := rightsChange{known: d.known, texts: map[string]string{}, last: map[string]time.Time{}}
	for id, s := range d.known {
		if s.isRight() {
			c.texts[id] = s.facets[facetPermissions]
		}
	}
	c.directly(changed)
	c.through(rights)
	return c.out
}

// rightsChange is how roles and bindings have changed.
type rightsChange struct {
	known map[string]declaredState
	// texts are what they say, by id, as it goes on; last is when each has changed.
	texts map[string]string
	last  map[string]time.Time
	out   []declaredState
}

func (c *rightsChange) put(s declaredState) {
	if s.gone {
		s.role = c.known[s.id].role
		delete(c.texts, s.id)
	} else {
		c.texts[s.id] = s.facets[facetPermissions]
	}
	c.out = append(c.out, s)
}

// directly takes what was seen to change.
func (c *rightsChange) directly(changed []seenRight) {
	for _, r := range changed {
		id := rightID(r.ID)
		c.last[id] = r.at
		switch {
		case r.Gone && c.texts[id] != "":
			c.put(declaredState{id: id, gone: true, seen: r.at})
		case r.Now != nil && c.texts[id] != r.Now.Text:
			s := stateOfRight(*r.Now)
			s.seen = r.at
			c.put(s)
		}
	}
}

// through takes what says something else because of others, or since before.
func (c *rightsChange) through(rights []controller.Right) {
	there := map[string]bool{}
	for _, r := range rights {
		s := stateOfRight(r)
		if there[s.id] = true; c.texts[s.id] != r.Text {
			c.put(c.dated(s))
		}
	}
	for id := range c.texts {
		if !there[id] {
			c.put(c.dated(declaredState{id: id, gone: true, hollow: true, role: c.known[id].role}))
		}
	}
}

// dated says when that was, and what has made it so.
func (c *rightsChange) dated(s declaredState) declaredState {
	for _, id := range []string{s.id, s.role} {
		if at, ok := c.last[id]; ok {
			s.seen, s.because = at, id
			return s
		}
	}
	s.seen, s.early = time.Now(), true
	return s
}

// isRight tells whether it is a role or binding, and not a project's.
func (s *declaredState) isRight() bool { return strings.HasPrefix(s.id, rightPrefix) }

func (s *declaredState) rightText() string {
	if s.isRight() {
		return s.facets[facetPermissions]
	}
	return "roles and service accounts of project " + s.entry.Project
}
