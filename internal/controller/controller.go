// Package controller stands between the Kubernetes API of the control plane and
// the engine: it mirrors Applications, AppProjects and repository Secrets of
// both API groups, tells the engine which Applications to look at again, and
// writes what the engine found out. It implements the engine's ports
// Applications, Projects, Credentials and Events.
//
// It does not know Git, rendering or destinations, and decides nothing: what to
// do with an Application is the engine's business, where a cluster is and how
// it is reached is package fleet's.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
)

const (
	// ArgoNamespace is where Argo CD keeps its AppProjects and Secrets.
	ArgoNamespace = "argocd"
	// SystemNamespace is where Plumb keeps its own.
	SystemNamespace = "plumb-system"
)

// Sink takes the keys of Applications to look at again. It must not block.
type Sink interface {
	Enqueue(keys ...engine.Key)
}

// Clusters tells what is registered about a destination.
type Clusters interface {
	// Scope says to which project a cluster belongs and to which namespaces it
	// is limited (none: no limit).
	Scope(server string) (project string, namespaces []string)
	// OfProject lists the servers that belong to a project.
	OfProject(project string) []string
}

// Declared is told of each object that is declared: at the start, and whenever it
// changes. The objects are shared; what is gone is nil. It must not block.
type Declared interface {
	Application(group string, old, now *v1alpha1.Application)
	Project(group string, old, now *v1alpha1.AppProject)
	Freeze(now *v1alpha1.Freeze)
	// Guard is told what somebody has done to what the API server checks by.
	Guard(change GuardChange)
	// Right is told of a role or binding that has changed, and, without a name, when
	// all are known first: see Controller.Rights.
	Right(c RightChange)
}

// Options of a Controller.
type Options struct {
	// Config reaches the control plane's API server.
	Config *rest.Config
	// Installed says which API groups are served, and how: see Install.
	Installed Installed
	// Clusters may be nil where no cluster but the control plane is known.
	Clusters Clusters
	// CredentialsChanged is told of repositories whose credentials changed, by
	// the URLs that Applications use. May be nil.
	CredentialsChanged func(repo string)
	// SettingsChanged is told of the content of Argo CD's ConfigMap argocd-cm,
	// also of the first. May be nil.
	SettingsChanged func(data map[string]string)
	// ApplicationChanged is told of each Application that is made (old is nil),
	// changed, or gone (now is nil), also of those that are there at the start. The
	// objects are shared, and it must not block. May be nil.
	ApplicationChanged func(key engine.Key, old, now *v1alpha1.Application)
	// Lenient goes on without credentials where the API server refuses to show
	// Secrets and settings: for looking with a user's own rights.
	Lenient bool
	// Artifacts keeps what is too large for a Plan. May be nil.
	Artifacts Artifacts
	// Declared is told of what is declared. May be nil.
	Declared Declared
	Log      *slog.Logger
}

// Controller mirrors the control plane's objects and writes their status.
type Controller struct {
	log      *slog.Logger
	lenient  bool
	clusters Clusters
	renewed  func(repo string)
	settled  func(data map[string]string)
	observed func(key engine.Key, old, now *v1alpha1.Application)
	groups   map[string]*group
	secrets  []*mirror.Mirror[*corev1.Secret]
	settings []*mirror.Mirror[*corev1.ConfigMap]
	repos    *repositories
	hosts    *hosts
	keys     keySecrets
	gates    *gates
	guards   *guards
	// warnings are sent at once; the routine news when there is time.
	warnings, routine *recorder
	compiled          *compiledProjects
	// plans is nil in a lenient controller, which only looks.
	plans *Plans

	// declared is told of what is declared; it may be nil.
	declared Declared
	// rights may be nil.
	rights *rights
	// live is set once all mirrors are filled; what changes before then is no
	// news to the engine.
	live atomic.Bool
	sink Sink
}

// group is one of the API groups that Applications are served under.
type group struct {
	gv     schema.GroupVersion
	client rest.Interface
	// subresource tells whether status is a resource of its own. Argo CD's own
	// CRD has none, and drops the fields that only Plumb knows: see foreign.go.
	subresource bool
	// projects is the namespace that the group's AppProjects live in.
	projectNamespace string
	apps             *mirror.Mirror[*v1alpha1.Application]
	projects         *mirror.Mirror[*v1alpha1.AppProject]

	mu sync.Mutex
	// written are objects newer than the mirror's, from the answers to writes.
	written map[string]*v1alpha1.Application
}

// New makes a controller. It does nothing before Start.
func New(o Options) (*Controller, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CredentialsChanged == nil {
		o.CredentialsChanged = func(string) {}
	}
	if o.SettingsChanged == nil {
		o.SettingsChanged = func(map[string]string) {}
	}
	if o.ApplicationChanged == nil {
		o.ApplicationChanged = func(engine.Key, *v1alpha1.Application, *v1alpha1.Application) {}
	}
	c := &Controller{
		observed: o.ApplicationChanged,
		log:      o.Log, lenient: o.Lenient, clusters: o.Clusters, renewed: o.CredentialsChanged, settled: o.SettingsChanged,
		groups: map[string]*group{}, repos: newRepositories(), hosts: newHosts(), keys: keySecrets{secrets: map[string]keySecret{}}, compiled: newCompiledProjects(),
		gates: newGates(o.Installed.Guarded), declared: o.Declared,
	}
	namespaces := []string{SystemNamespace}
	if err := c.addGroup(o, v1alpha1.GroupVersion, SystemNamespace, true); err != nil {
		return nil, err
	}
	if o.Installed.Argo {
		if err := c.addGroup(o, v1alpha1.ArgoGroupVersion, ArgoNamespace, o.Installed.ArgoStatusSubresource); err != nil {
			return nil, err
		}
		namespaces = append(namespaces, ArgoNamespace)
	}
	if err := c.addSecrets(o, namespaces); err != nil {
		return nil, err
	}
	if !o.Lenient {
		if err := c.addPlans(o); err != nil {
			return nil, err
		}
	}
	if err := c.addRights(o); err != nil {
		return nil, err
	}
	var err error
	if c.guards, err = newGuards(o); err != nil {
		return nil, err
	}
	c.guards.tell, c.guards.changed = c.guardChanged, c.reconsider
	if c.warnings, err = newRecorder(o.Config, 0, 0); err != nil {
		return nil, err
	}
	c.routine, err = newRecorder(o.Config, routinePerSecond, routineBurst)
	return c, err
}

func (c *Controller) addGroup(o Options, gv schema.GroupVersion, projects string, subresource bool) error {
	client, err := mirror.ClientFor(o.Config, gv, v1alpha1.NewScheme(gv))
	if err != nil {
		return err
	}
	g := &group{
		gv: gv, client: client, subresource: subresource, projectNamespace: projects,
		written: map[string]*v1alpha1.Application{},
	}
	g.apps = mirror.New(mirror.Options[*v1alpha1.Application]{
		Client: client, Resource: v1alpha1.ApplicationResource, Example: &v1alpha1.Application{},
		Trim: g.trim, Log: c.log,
		Changed: func(old, now *v1alpha1.Application) { c.applicationChanged(g, old, now) },
	})
	g.projects = mirror.New(mirror.Options[*v1alpha1.AppProject]{
		Client: client, Resource: v1alpha1.AppProjectResource, Example: &v1alpha1.AppProject{},
		Log:     c.log,
		Changed: func(old, now *v1alpha1.AppProject) { c.projectChanged(g, old, now) },
	})
	c.groups[gv.Group] = g
	return nil
}

// addSecrets mirrors the repository Secrets, and those with keys, of the control-plane namespaces.
// Secrets elsewhere are not read: whoever may write one in a namespace of his
// own must not be able to give others' repositories new credentials.
func (c *Controller) addSecrets(o Options, namespaces []string) error {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register the core types: %w", err)
	}
	client, err := mirror.ClientFor(o.Config, corev1.SchemeGroupVersion, scheme)
	if err != nil {
		return err
	}
	for _, ns := range namespaces {
		for _, label := range []string{v1alpha1.LabelSecretType, v1alpha1.PlumbLabelSecretType} {
			c.secrets = append(c.secrets, mirror.New(mirror.Options[*corev1.Secret]{
				Client: client, Resource: "secrets", Namespace: ns, Example: &corev1.Secret{},
				LabelSelector: label + " in (" + v1alpha1.SecretTypeRepository + "," + v1alpha1.SecretTypeRepoCreds + ")",
				Log:           c.log, Changed: c.secretChanged,
			}))
		}
		c.secrets = append(c.secrets, mirror.New(mirror.Options[*corev1.Secret]{
			Client: client, Resource: "secrets", Namespace: ns, Example: &corev1.Secret{},
			LabelSelector: v1alpha1.PlumbLabelSecretType + "=" + v1alpha1.SecretTypeDecryption,
			Log:           c.log, Changed: c.keySecretChanged,
		}))
		c.secrets = append(c.secrets, mirror.New(mirror.Options[*corev1.Secret]{
			Client: client, Resource: "secrets", Namespace: ns, Example: &corev1.Secret{},
			LabelSelector: v1alpha1.PlumbLabelSecretType + "=" + v1alpha1.SecretTypeSCMCreds,
			Log:           c.log, Changed: c.hostChanged,
		}))
		c.settings = append(c.settings, mirror.New(mirror.Options[*corev1.ConfigMap]{
			Client: client, Resource: "configmaps", Namespace: ns, Example: &corev1.ConfigMap{},
			LabelSelector: settingsLabel + "=" + settingsPart,
			Log:           c.log, Changed: c.settingsChanged,
		}))
	}
	c.addGates(client)
	c.addKeys(client, namespaces)
	return nil
}

// Start mirrors the control plane until ctx is done. It returns once all is
// known, and has given all Applications to the sink by then.
func (c *Controller) Start(ctx context.Context, sink Sink) error {
	c.sink = sink
	var required, optional []func(context.Context) error
	for _, g := range c.groups {
		go g.apps.Run(ctx)
		go g.projects.Run(ctx)
		required = append(required, g.apps.Await, g.projects.Await)
	}
	if p := c.plans; p != nil {
		go p.plans.Run(ctx)
		go p.approvals.Run(ctx)
		required = append(required, p.plans.Await, p.approvals.Await)
	}
	go c.guards.start(ctx)
	for _, s := range c.secrets {
		go s.Run(ctx)
		optional = append(optional, s.Await)
	}
	for _, s := range c.settings {
		go s.Run(ctx)
		optional = append(optional, s.Await)
	}
	for _, await := range required {
		if err := await(ctx); err != nil {
			return err
		}
	}
	for _, await := range optional {
		if err := await(ctx); err != nil && !(c.lenient && apierrors.IsForbidden(err)) {
			return err
		}
	}
	if !c.lenient {
		go c.tellProjects(ctx)
	}
	if c.rights != nil {
		go c.rights.run(ctx)
	}
	go c.warnings.run(ctx)
	go c.routine.run(ctx)
	c.live.Store(true)
	sink.Enqueue(c.Keys()...)
	return nil
}

// Close ends what New has begun, where Start was not reached or has ended.
func (c *Controller) Close() {
	c.warnings.end()
	c.routine.end()
}

// enqueue tells the engine, once the mirrors are filled.
func (c *Controller) enqueue(keys ...engine.Key) {
	if len(keys) > 0 && c.live.Load() {
		c.sink.Enqueue(keys...)
	}
}

// Serves tells whether objects of an API group are watched.
func (c *Controller) Serves(group string) bool {
	_, ok := c.groups[group]
	return ok
}

// Where gives the keys of the Applications that match.
func (c *Controller) Where(match func(engine.Key, *v1alpha1.Application) bool) []engine.Key {
	var keys []engine.Key
	for _, g := range c.groups {
		for _, app := range g.apps.List() {
			if key := g.keyOf(app); match(key, app) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// EnqueueWhere has the engine look again at the Applications that match.
func (c *Controller) EnqueueWhere(match func(engine.Key, *v1alpha1.Application) bool) {
	c.enqueue(c.Where(match)...)
}

// Repositories lists the URLs of the repositories that Applications use.
func (c *Controller) Repositories() []string {
	seen := map[string]bool{}
	var repos []string
	c.Where(func(_ engine.Key, app *v1alpha1.Application) bool {
		for _, repo := range repositoriesOf(app) {
			if !seen[repo] {
				seen[repo] = true
				repos = append(repos, repo)
			}
		}
		return false
	})
	return repos
}

func repositoriesOf(app *v1alpha1.Application) []string {
	var repos []string
	for _, s := range app.Spec.GetSources() {
		repos = append(repos, s.RepoURL)
	}
	if h := app.Spec.SourceHydrator; h != nil {
		repos = append(repos, h.DrySource.RepoURL)
	}
	return repos
}

var errGroupNotServed = errors.New("this API group is not watched")
