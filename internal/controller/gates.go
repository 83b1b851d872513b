package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
	"github.com/plumb-dev/plumb/internal/signature"
	"github.com/plumb-dev/plumb/internal/window"
)

var (
	_ engine.Gates = (*Controller)(nil)
	_ engine.Pins  = (*Controller)(nil)
)

// gates are what holds for all projects.
type gates struct {
	// guarded is set where the API server checks who may override.
	guarded bool

	mu sync.RWMutex
	// frozen is the freeze of everything, or nil.
	frozen *v1alpha1.Freeze
	// keyring holds the public keys that keyData, by ConfigMap, has.
	keyring *signature.Keyring
	keyData map[string]map[string]string
	// untold are the projects whose status has to be looked at; news wakes who does.
	untold map[projectName]bool
	news   chan struct{}
}

type projectName struct{ group, namespace, name string }

func newGates(guarded bool) *gates {
	none, _ := signature.NewKeyring(nil, "", "")
	return &gates{guarded: guarded, keyring: none, keyData: map[string]map[string]string{}, untold: map[projectName]bool{}, news: make(chan struct{}, 1)}
}

// addGates mirrors the ConfigMap that freezes everything.
func (c *Controller) addGates(client rest.Interface) {
	c.settings = append(c.settings, mirror.New(mirror.Options[*corev1.ConfigMap]{
		Client: client, Resource: "configmaps", Namespace: SystemNamespace, Example: &corev1.ConfigMap{},
		FieldSelector: "metadata.name=" + v1alpha1.FreezeConfigMap,
		Log:           c.log, Changed: c.freezeChanged,
	}))
}

func (c *Controller) freezeChanged(old, now *corev1.ConfigMap) {
	c.gates.mu.Lock()
	c.gates.frozen = nil
	if now != nil {
		c.gates.frozen = v1alpha1.FreezeFrom(now.Data)
	}
	frozen := c.gates.frozen
	c.gates.mu.Unlock()
	if c.declared != nil {
		c.declared.Freeze(frozen)
	}
	if old != nil && now != nil && maps.Equal(old.Data, now.Data) {
		return
	}
	c.EnqueueWhere(func(engine.Key, *v1alpha1.Application) bool { return true })
}

// Windows are the sync windows of an Application's project.
func (c *Controller) Windows(app *v1alpha1.Application, key engine.Key) (window.Set, string) {
	g, ok := c.groups[key.Group]
	if !ok {
		return nil, ""
	}
	project := g.projectOf(app, key)
	if project == nil || len(project.Spec.SyncWindows) == 0 {
		return nil, ""
	}
	r, err := c.compiled.rules(g.gv.Group, project)
	if err != nil {
		return nil, "" // its fence refuses the Application
	}
	return r.windows, r.where
}

// Freezes are those of everything and of the Application's project.
func (c *Controller) Freezes(app *v1alpha1.Application, key engine.Key) []engine.Frozen {
	var out []engine.Frozen
	c.gates.mu.RLock()
	if f := c.gates.frozen; f != nil {
		out = append(out, engine.Frozen{Where: "all projects are", Freeze: *f})
	}
	c.gates.mu.RUnlock()
	if g, ok := c.groups[key.Group]; ok {
		if project := g.projectOf(app, key); project != nil && project.Spec.Freeze != nil {
			out = append(out, engine.Frozen{Where: "project " + project.Name + " is", Freeze: *project.Spec.Freeze})
		}
	}
	return out
}

// Approval is what an Application's project asks for, or nil.
func (c *Controller) Approval(app *v1alpha1.Application, key engine.Key) *v1alpha1.ApprovalPolicy {
	if g, ok := c.groups[key.Group]; ok {
		if project := g.projectOf(app, key); project != nil {
			return project.Spec.Approval
		}
	}
	return nil
}

var errNotGuarded = errors.New("the API server does not check who may override: its admission policies are missing")

// Overridable says why nobody is let through gates, or nil.
func (c *Controller) Overridable() error {
	if !c.gates.guarded {
		return errNotGuarded
	}
	return c.guards.overridable(time.Now())
}

// Pin writes a pin into an Application, unless somebody has pinned it meanwhile.
func (c *Controller) Pin(ctx context.Context, app *v1alpha1.Application, key engine.Key, pin v1alpha1.Pin) error {
	g, ok := c.groups[key.Group]
	if !ok {
		return fmt.Errorf("pin Application %s: %w", key, errGroupNotServed)
	}
	if latest, ok := g.get(key); ok && latest.UID == app.UID && newer(latest, app) {
		app = latest
	}
	err := g.edit(ctx, key, app, g.patch, func(app *v1alpha1.Application) (map[string]any, error) {
		if _, pinned := v1alpha1.PinOf(app.Annotations); pinned {
			return nil, nil
		}
		return map[string]any{"metadata": map[string]any{"annotations": pin.Annotations()}}, nil
	})
	if err != nil {
		return fmt.Errorf("pin Application %s: %w", key, err)
	}
	return nil
}

// projectNews has a project's status looked at. It does not block: what is told
// already is told with the newest object.
func (c *Controller) projectNews(g *group, project *v1alpha1.AppProject) {
	if project == nil || c.lenient {
		return
	}
	c.gates.mu.Lock()
	c.gates.untold[projectName{g.gv.Group, project.Namespace, project.Name}] = true
	c.gates.mu.Unlock()
	select {
	case c.gates.news <- struct{}{}:
	default:
	}
}

// tellProjects writes the status of projects until ctx is done.
func (c *Controller) tellProjects(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.gates.news:
		}
		c.gates.mu.Lock()
		untold := c.gates.untold
		c.gates.untold = map[projectName]bool{}
		c.gates.mu.Unlock()
		for name := range untold {
			g := c.groups[name.group]
			project, ok := g.projects.Get(name.namespace, name.name)
			if !ok {
				continue
			}
			if err := c.tellProject(ctx, g, project); err != nil && ctx.Err() == nil {
				c.log.Warn("the status of a project was not written", "project", name.namespace+"/"+name.name, "error", err)
			}
		}
	}
}

// tellProject writes into a project's status what is wrong with it.
func (c *Controller) tellProject(ctx context.Context, g *group, project *v1alpha1.AppProject) error {
	if !g.subresource {
		return nil // Argo CD's definition has no place for it
	}
	now := metav1.Now()
	var conditions []v1alpha1.ApplicationCondition
	if _, err := c.compiled.rules(g.gv.Group, project); err != nil {
		conditions = []v1alpha1.ApplicationCondition{{Type: v1alpha1.ConditionInvalidSpecError, Message: err.Error(), LastTransitionTime: &now}}
	}
	if len(conditions) == 1 && len(project.Status.Conditions) == 1 && conditions[0].Message == project.Status.Conditions[0].Message {
		conditions = project.Status.Conditions
	}
	if equality.Semantic.DeepEqual(conditions, project.Status.Conditions) &&
		(len(conditions) == 0 || project.Status.ObservedGeneration == project.Generation) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": project.UID},
		"status":   map[string]any{"conditions": conditions, "observedGeneration": project.Generation},
	})
	if err != nil {
		return err
	}
	return g.client.Patch(types.MergePatchType).Namespace(project.Namespace).Resource(v1alpha1.AppProjectResource).
		Name(project.Name).SubResource("status").Param("fieldManager", fieldManager).Body(patch).Do(ctx).Error()
}
