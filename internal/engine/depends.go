package engine

import (
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// dependenciesOf are the keys that an Application's dependsOn names, and those
// whose outputs it uses.
func dependenciesOf(key Key, app *v1alpha1.Application) []Key {
	on := make([]Key, 0, len(app.Spec.DependsOn)+len(app.Spec.Inputs))
	for _, ref := range app.Spec.DependsOn {
		on = append(on, keyOfRef(key, ref))
	}
	for _, in := range app.Spec.Inputs {
		if k := keyOfRef(key, in.From.Application); !slices.Contains(on, k) {
			on = append(on, k)
		}
	}
	return on
}

// keyOfRef is the key that an Application refers to. A missing group or namespace
// is its own.
func keyOfRef(key Key, ref v1alpha1.ApplicationRef) Key {
	k := Key{ref.Group, ref.Namespace, ref.Name}
	if k.Group == "" {
		k.Group = key.Group
	}
	if k.Namespace == "" {
		k.Namespace = key.Namespace
	}
	return k
}

// waiting says which dependencies are not ready, and why not. That the
// Application waits is noted before they are looked at, so that none can become
// ready in between unnoticed.
func (e *Engine) waiting(key Key, app *v1alpha1.Application) []string {
	on := dependenciesOf(key, app)
	e.waits.put(key, on)
	var why []string
	var unready []Key
	for _, k := range on {
		if reason := e.unready(k); reason != "" {
			why = append(why, k.String()+" ("+reason+")")
			unready = append(unready, k)
		}
	}
	e.waits.put(key, unready)
	return why
}

// unready says why an Application can't be built upon, or nothing.
func (e *Engine) unready(k Key) string {
	app, ok := e.Applications.Get(k)
	switch {
	case !ok:
		return "not found"
	case app.DeletionTimestamp != nil:
		return "being deleted"
	case e.queue.unsettled(k) || app.Status.ObservedGeneration != app.Generation:
		return "being looked at"
	case app.Status.OperationState != nil && app.Status.OperationState.Phase.Running():
		return "being synced"
	case app.Status.Sync.Status != v1alpha1.SyncStatusCodeSynced:
		return orUnknown(string(app.Status.Sync.Status))
	case app.Status.Health.Status != v1alpha1.HealthStatusHealthy:
		return orUnknown(string(app.Status.Health.Status))
	}
	return ""
}

func orUnknown(s string) string {
	if s == "" {
		return "Unknown"
	}
	return s
}

// dependents are the Applications that still exist and depend on key. Those that
// key depends on itself do not count: in a circle all would wait for each other.
func (e *Engine) dependents(key Key) []string {
	var names []string
	for _, k := range e.Applications.Keys() {
		if app, ok := e.Applications.Get(k); ok && slices.Contains(dependenciesOf(k, app), key) && !e.dependsOn(key, k) {
			names = append(names, k.String())
		}
	}
	slices.Sort(names)
	return names
}

// dependsOn tells whether one Application depends on another, over any number of
// others.
func (e *Engine) dependsOn(key, other Key) bool {
	seen, open := map[Key]bool{}, []Key{key}
	for len(open) > 0 {
		k := open[0]
		open = open[1:]
		app, ok := e.Applications.Get(k)
		if seen[k] || !ok {
			continue
		}
		seen[k] = true
		on := dependenciesOf(k, app)
		if slices.Contains(on, other) {
			return true
		}
		open = append(open, on...)
	}
	return false
}

// cycle says by which way an Application depends on itself, or nothing.
func (e *Engine) cycle(key Key, app *v1alpha1.Application) string {
	if len(app.Spec.DependsOn)+len(app.Spec.Inputs) == 0 {
		return ""
	}
	what := "spec.dependsOn goes round"
	if len(app.Spec.Inputs) > 0 {
		what = "spec.dependsOn and spec.inputs go round"
	}
	seen := map[Key]bool{}
	var walk func(k Key, app *v1alpha1.Application, path []string) string
	walk = func(k Key, app *v1alpha1.Application, path []string) string {
		for _, on := range dependenciesOf(k, app) {
			if on == key {
				return what + " in a circle: " + strings.Join(append(path, on.String()), " → ") +
					": take one of them out"
			}
			next, ok := e.Applications.Get(on)
			if seen[on] || !ok {
				continue
			}
			seen[on] = true
			if c := walk(on, next, append(slices.Clone(path), on.String())); c != "" {
				return c
			}
		}
		return ""
	}
	return walk(key, app, []string{key.String()})
}

// cascades tells whether an Application's resources go with it: whether it has
// one of the finalizers that ask for it.
func cascades(app *v1alpha1.Application) bool {
	return slices.ContainsFunc(app.Finalizers, func(f string) bool {
		switch f {
		case v1alpha1.ResourcesFinalizer, v1alpha1.ResourcesFinalizerForeground, v1alpha1.ResourcesFinalizerBackground,
			v1alpha1.PlumbResourcesFinalizer, v1alpha1.PlumbResourcesFinalizerForeground, v1alpha1.PlumbResourcesFinalizerBackground:
			return true
		}
		return false
	})
}
