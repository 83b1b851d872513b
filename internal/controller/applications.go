package controller

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// The Controller is where the engine finds Applications.
var _ engine.Applications = (*Controller)(nil)

// Get gives the latest known object, never older than the answer to the last
// write.
func (c *Controller) Get(key engine.Key) (*v1alpha1.Application, bool) {
	g, ok := c.groups[key.Group]
	if !ok {
		return nil, false
	}
	return g.get(key)
}

// Keys of all Applications.
func (c *Controller) Keys() []engine.Key {
	keys := c.Where(func(engine.Key, *v1alpha1.Application) bool { return true })
	slices.SortFunc(keys, func(a, b engine.Key) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

func (g *group) keyOf(app *v1alpha1.Application) engine.Key {
	return engine.Key{Group: g.gv.Group, Namespace: app.Namespace, Name: app.Name}
}

func (g *group) get(key engine.Key) (*v1alpha1.Application, bool) {
	name := key.Namespace + "/" + key.Name
	g.mu.Lock()
	defer g.mu.Unlock()
	mirrored, ok := g.apps.Get(key.Namespace, key.Name)
	if !ok {
		delete(g.written, name) // only an object that was mirrored is written to
		return nil, false
	}
	if written, ok := g.written[name]; ok {
		if newer(written, mirrored) {
			return written, true
		}
		delete(g.written, name)
	}
	return mirrored, true
}

// remember keeps the answer to a write until the mirror has caught up.
func (g *group) remember(app *v1alpha1.Application) {
	app.ManagedFields = nil
	g.trim(app)
	name := app.Namespace + "/" + app.Name
	g.mu.Lock()
	defer g.mu.Unlock()
	if last, ok := g.written[name]; !ok || newer(app, last) {
		g.written[name] = app
	}
}

// trim drops what is large and of no use here.
func (g *group) trim(app *v1alpha1.Application) {
	delete(app.Annotations, corev1.LastAppliedConfigAnnotation)
	if !g.subresource {
		restoreForeign(app)
	}
}

func newer(a, b *v1alpha1.Application) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}

// applicationChanged passes on what the engine should look at.
func (c *Controller) applicationChanged(g *group, old, now *v1alpha1.Application) {
	if c.declared != nil {
		c.declared.Application(g.gv.Group, old, now)
	}
	switch {
	case now == nil:
		g.mu.Lock()
		delete(g.written, old.Namespace+"/"+old.Name)
		g.mu.Unlock()
		c.enqueue(g.keyOf(old))
	case old == nil || g.matters(old, now):
		c.enqueue(g.keyOf(now))
	}
}

// matters tells whether a change is more than the engine's own writing of
// status, and more than the taking back of a request that it has heard.
func (g *group) matters(old, now *v1alpha1.Application) bool {
	if old.UID != now.UID || (old.DeletionTimestamp == nil) != (now.DeletionTimestamp == nil) ||
		!slices.Equal(old.Finalizers, now.Finalizers) || !maps.Equal(old.Labels, now.Labels) ||
		annotationsMatter(old.Annotations, now.Annotations) || terminating(now.Status) && !terminating(old.Status) {
		return true
	}
	if g.subresource {
		return old.Generation != now.Generation
	}
	// Without a status subresource the generation counts status writes too.
	return !equality.Semantic.DeepEqual(old.Spec, now.Spec) ||
		now.Operation != nil && !equality.Semantic.DeepEqual(old.Operation, now.Operation)
}

// refreshAnnotations ask for something once; the engine takes them back.
var refreshAnnotations = [...]string{v1alpha1.AnnotationRefresh, v1alpha1.PlumbAnnotationRefresh}

func annotationsMatter(old, now map[string]string) bool {
	for name, value := range now {
		if was, ok := old[name]; !ok || was != value {
			return true
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok && !slices.Contains(refreshAnnotations[:], name) {
			return true
		}
	}
	return false
}
