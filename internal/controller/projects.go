package controller

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

var _ engine.Projects = (*Controller)(nil)

// compiledProjects keeps the projects that were made ready, by their objects.
type compiledProjects struct {
	mu    sync.Mutex
	ready map[string]compiledProject
	// permissive stands for a project "default" that nobody has made.
	permissive *v1alpha1.AppProject
}

type compiledProject struct {
	of    *v1alpha1.AppProject
	rules *rules
	err   error
}

func newCompiledProjects() *compiledProjects {
	return &compiledProjects{ready: map[string]compiledProject{}, permissive: newPermissive()}
}

func (c *compiledProjects) rules(group string, project *v1alpha1.AppProject) (*rules, error) {
	id := group + "/" + project.Namespace + "/" + project.Name
	c.mu.Lock()
	defer c.mu.Unlock()
	if ready, ok := c.ready[id]; ok && ready.of == project {
		return ready.rules, ready.err
	}
	where := fmt.Sprintf("project %s (AppProject %s/%s)", project.Name, project.Namespace, project.Name)
	r, err := compileProject(where, project)
	c.ready[id] = compiledProject{project, r, err}
	return r, err
}

func (c *compiledProjects) forget(group string, project *v1alpha1.AppProject) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ready, group+"/"+project.Namespace+"/"+project.Name)
}

// Fence gives the fence of an Application's project.
func (c *Controller) Fence(app *v1alpha1.Application, key engine.Key) (engine.Fence, error) {
	g, ok := c.groups[key.Group]
	if !ok {
		return nil, fmt.Errorf("Application %s: %w", key, errGroupNotServed)
	}
	name := app.Spec.GetProject()
	project := g.projectOf(app, key)
	if project == nil {
		if name != v1alpha1.DefaultProject {
			return nil, fmt.Errorf("there is no project %s: create the AppProject %s.%s in the namespace %s, or correct spec.project", name, v1alpha1.AppProjectResource, g.gv.Group, g.projectNamespace)
		}
		project = c.compiled.permissive
	}
	r, err := c.compiled.rules(g.gv.Group, project)
	if err != nil {
		return nil, err
	}
	if !r.acceptsFrom(project, key.Namespace) {
		return nil, fmt.Errorf("%s does not accept Applications of the namespace %s: add it to spec.sourceNamespaces", r.where, key.Namespace)
	}
	if fields := v1alpha1.UnimplementedProjectBlocking(&project.Spec); len(fields) > 0 {
		return nil, fmt.Errorf("%s sets %s, which is not implemented yet: nothing is applied that it might forbid; remove it to go on", r.where, strings.Join(fields, ", "))
	}
	return &fence{rules: r, appNamespace: key.Namespace, clusters: c.clusters, scoped: c.repos.ofProject(name)}, nil
}

// projectOf finds an Application's project, or nil.
//
// As in Argo CD, projects live with the control plane: in the namespace "argocd"
// for argoproj.io and in "plumb-system" for plumb.dev. A plumb.dev Application
// may also use a project of its own namespace, where the control plane has none
// of that name: whoever may write AppProjects there sets his own fences, and
// cannot take the place of one that the platform team has set.
func (g *group) projectOf(app *v1alpha1.Application, key engine.Key) *v1alpha1.AppProject {
	name := app.Spec.GetProject()
	if project, ok := g.projects.Get(g.projectNamespace, name); ok {
		return project
	}
	if g.gv.Group == v1alpha1.Group {
		if project, ok := g.projects.Get(key.Namespace, name); ok {
			return project
		}
	}
	return nil
}

// Shares tells whether an Application may use what another one gives: within a
// project, within a namespace that is no control plane's, since who may write one
// Application in it may write the other, and where the project of the one that gives
// says so.
func (c *Controller) Shares(app *v1alpha1.Application, key engine.Key, other *v1alpha1.Application, of engine.Key) bool {
	if key.Namespace == of.Namespace && key.Namespace != SystemNamespace && key.Namespace != ArgoNamespace {
		return true
	}
	a, b := c.groups[key.Group], c.groups[of.Group]
	if a == nil || b == nil {
		return false
	}
	taker, giver := a.projectOf(app, key), b.projectOf(other, of)
	if app.Spec.GetProject() == other.Spec.GetProject() {
		return sameProject(taker, giver)
	}
	return sharedWith(giver, taker)
}

// sharedWith tells whether a project gives outputs to another one. That has to be a
// project that was made where such are administered: a name that somebody has given
// to one of his own opens nothing.
func sharedWith(giver, taker *v1alpha1.AppProject) bool {
	if giver == nil || taker == nil || giver.Spec.Outputs == nil || giver.Namespace != taker.Namespace {
		return false
	}
	return slices.ContainsFunc(giver.Spec.Outputs.SharedWith, func(pattern string) bool {
		ok, err := path.Match(pattern, taker.Name)
		return err == nil && ok
	})
}

// sameProject tells whether two projects of one name are the same: one that
// nobody has made is the permissive one for all.
func sameProject(a, b *v1alpha1.AppProject) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Namespace == b.Namespace && a.UID == b.UID
}

// acceptsFrom tells whether Applications of a namespace may use the project:
// those of its own namespace, and those that it lists.
func (r *rules) acceptsFrom(project *v1alpha1.AppProject, namespace string) bool {
	if project.Namespace == namespace {
		return true
	}
	for _, match := range r.sourceNamespaces {
		if match(namespace) {
			return true
		}
	}
	return false
}

// DefaultProject is the project "default" as it is while nobody has made one.
func DefaultProject() *v1alpha1.AppProject { return newPermissive() }

// newPermissive makes the project "default" as long as nobody else has made one:
// as in a fresh Argo CD, it allows everything.
func newPermissive() *v1alpha1.AppProject {
	return &v1alpha1.AppProject{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DefaultProject},
		Spec: v1alpha1.AppProjectSpec{
			SourceRepos:              []string{"*"},
			Destinations:             []v1alpha1.ApplicationDestination{{Server: "*", Name: "*", Namespace: "*"}},
			SourceNamespaces:         []string{"*"},
			ClusterResourceWhitelist: []v1alpha1.ClusterResourceRestrictionItem{{Group: "*", Kind: "*"}},
		},
	}
}

// Unimplemented names the fields of an Application's project that are not
// honoured yet.
func (c *Controller) Unimplemented(app *v1alpha1.Application, key engine.Key) []string {
	g, ok := c.groups[key.Group]
	if !ok {
		return nil
	}
	project := g.projectOf(app, key)
	if project == nil {
		return nil
	}
	var fields []string
	for _, field := range v1alpha1.UnimplementedProject(&project.Spec) {
		fields = append(fields, fmt.Sprintf("%s of AppProject %s/%s", field, project.Namespace, project.Name))
	}
	return fields
}

// projectChanged has the Applications of a project looked at again.
func (c *Controller) projectChanged(g *group, old, now *v1alpha1.AppProject) {
	if c.declared != nil {
		c.declared.Project(g.gv.Group, old, now)
	}
	project := now
	if now == nil {
		project = old
		c.compiled.forget(g.gv.Group, old)
	}
	if old != nil && now != nil && old.UID == now.UID && old.Generation == now.Generation && g.subresource {
		return // only its status or labels
	}
	c.projectNews(g, now)
	shared := !equality.Semantic.DeepEqual(outputsOf(old), outputsOf(now))
	c.EnqueueWhere(func(key engine.Key, app *v1alpha1.Application) bool {
		return shared && len(app.Spec.Inputs) > 0 || key.Group == g.gv.Group && app.Spec.GetProject() == project.Name &&
			(project.Namespace == g.projectNamespace || project.Namespace == key.Namespace)
	})
}

// outputsOf is to whom a project gives the outputs of its Applications.
func outputsOf(project *v1alpha1.AppProject) *v1alpha1.OutputPolicy {
	if project == nil {
		return nil
	}
	return project.Spec.Outputs
}
