// Package fleet knows the destination clusters: the control plane itself, and
// those that Argo CD's cluster Secrets register. It resolves the destination of
// an Application, and says how a cluster is reached. It implements the engine's
// port Destinations and the Kubernetes driver's Clusters.
//
// It does not know Applications, and never shows a credential: not in an error,
// not in a log.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
)

// Options of a Fleet.
type Options struct {
	// Config reaches the control plane, which is also the destination
	// https://kubernetes.default.svc.
	Config *rest.Config
	// Local, where it is set, is what destinations of the control plane are
	// reached with instead of Config.
	Local *rest.Config
	// Namespaces that cluster Secrets are read from.
	Namespaces []string
	// AllowExec lets a cluster Secret name a program that gives credentials. The
	// program runs with Plumb's own rights, so this is off by default.
	AllowExec bool
	// Changed is told of the servers whose registration has changed, or begun, or
	// ended. It is called in order and must not block. May be nil.
	Changed func(server string)
	// Lenient goes on with the control plane alone where the API server refuses
	// to show Secrets: for looking with a user's own rights.
	Lenient bool
	Log     *slog.Logger
}

// Fleet is what is known of destination clusters.
type Fleet struct {
	options Options
	local   *rest.Config
	mirrors []*mirror.Mirror[*corev1.Secret]
	live    atomic.Bool

	mu       sync.Mutex
	bySecret map[string]cluster // by namespace/name of the Secret
	known    atomic.Pointer[registry]
}

// registry is what is registered at one moment. It is not changed.
type registry struct {
	// all clusters in the order of their Secrets, so that the answer to a
	// question is always the same one.
	all      []cluster
	byServer map[string]cluster
}

func newRegistry(bySecret map[string]cluster) *registry {
	r := &registry{byServer: map[string]cluster{}}
	for _, c := range bySecret {
		r.all = append(r.all, c)
	}
	slices.SortFunc(r.all, func(a, b cluster) int { return strings.Compare(a.secret, b.secret) })
	for _, c := range slices.Backward(r.all) {
		r.byServer[c.server] = c
	}
	return r
}

var _ engine.Destinations = (*Fleet)(nil)

// New makes a fleet that knows only the control plane before Start.
func New(o Options) (*Fleet, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	if o.Local == nil {
		o.Local = o.Config
	}
	f := &Fleet{options: o, local: rest.CopyConfig(o.Local), bySecret: map[string]cluster{}}
	f.known.Store(newRegistry(nil))
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the core types: %w", err)
	}
	client, err := mirror.ClientFor(o.Config, corev1.SchemeGroupVersion, scheme)
	if err != nil {
		return nil, err
	}
	for _, ns := range o.Namespaces {
		for _, label := range []string{v1alpha1.LabelSecretType, v1alpha1.PlumbLabelSecretType} {
			f.mirrors = append(f.mirrors, mirror.New(mirror.Options[*corev1.Secret]{
				Client: client, Resource: "secrets", Namespace: ns, Example: &corev1.Secret{},
				LabelSelector: label + "=" + v1alpha1.SecretTypeCluster, Log: o.Log, Changed: f.secretChanged,
			}))
		}
	}
	return f, nil
}

// Start reads cluster Secrets until ctx is done. It returns once all are known.
func (f *Fleet) Start(ctx context.Context) error {
	for _, m := range f.mirrors {
		go m.Run(ctx)
	}
	for _, m := range f.mirrors {
		if err := m.Await(ctx); err != nil && !(f.options.Lenient && apierrors.IsForbidden(err)) {
			return fmt.Errorf("find the registered clusters: %w", err)
		}
	}
	f.live.Store(true)
	return nil
}

func (f *Fleet) secretChanged(old, now *corev1.Secret) {
	var touched []string
	f.mu.Lock()
	if old != nil {
		id := old.Namespace + "/" + old.Name
		if last, ok := f.bySecret[id]; ok {
			touched = append(touched, last.server)
			delete(f.bySecret, id)
		}
	}
	if now != nil {
		c := readCluster(now, f.options.AllowExec)
		f.bySecret[c.secret] = c
		if !slices.Contains(touched, c.server) {
			touched = append(touched, c.server)
		}
		if c.broken != nil {
			f.options.Log.Warn("cluster Secret cannot be used", "secret", c.secret, "error", c.broken.Error())
		}
	}
	f.known.Store(newRegistry(f.bySecret))
	f.mu.Unlock()
	if !f.live.Load() {
		return
	}
	for _, server := range touched {
		if server != "" {
			f.options.Changed(server)
		}
	}
}

func (f *Fleet) byServer(server string) (cluster, bool) {
	c, ok := f.known.Load().byServer[server]
	return c, ok
}

// Server resolves a destination. A missing one is the control plane itself.
func (f *Fleet) Server(dest v1alpha1.ApplicationDestination) (server, name string, err error) {
	switch {
	case dest.Server != "" && dest.Name != "":
		return "", "", fmt.Errorf("the destination has both the server %s and the name %s: remove one of them", dest.Server, dest.Name)
	case dest.Name != "":
		return f.serverByName(dest.Name)
	}
	server = strings.TrimRight(dest.Server, "/")
	if server == "" {
		server = v1alpha1.InClusterServer
	}
	if c, ok := f.byServer(server); ok {
		return server, c.name, nil
	}
	if server == v1alpha1.InClusterServer {
		return server, v1alpha1.InClusterName, nil
	}
	return "", "", fmt.Errorf("the cluster %s is not registered: make a Secret with the label %s=%s in the namespace %s, or correct spec.destination.server",
		server, v1alpha1.LabelSecretType, v1alpha1.SecretTypeCluster, strings.Join(f.options.Namespaces, " or "))
}

func (f *Fleet) serverByName(name string) (string, string, error) {
	var servers []string
	for _, c := range f.known.Load().all {
		if c.name == name && c.server != "" && !slices.Contains(servers, c.server) {
			servers = append(servers, c.server)
		}
	}
	switch {
	case len(servers) == 1:
		return servers[0], name, nil
	case len(servers) > 1:
		return "", "", fmt.Errorf("%d clusters have the name %s (%s): name one by spec.destination.server", len(servers), name, strings.Join(servers, ", "))
	case name == v1alpha1.InClusterName:
		return v1alpha1.InClusterServer, name, nil
	}
	return "", "", fmt.Errorf("no cluster has the name %s: make a Secret with the label %s=%s in the namespace %s, or correct spec.destination.name",
		name, v1alpha1.LabelSecretType, v1alpha1.SecretTypeCluster, strings.Join(f.options.Namespaces, " or "))
}

// Config says how to reach a server. The caller may change the answer.
func (f *Fleet) Config(server string) (*rest.Config, error) {
	server = strings.TrimRight(server, "/")
	c, ok := f.byServer(server)
	switch {
	case !ok && server == v1alpha1.InClusterServer:
		return rest.CopyConfig(f.local), nil
	case !ok:
		return nil, fmt.Errorf("the cluster %s is not registered", server)
	case c.broken != nil:
		return nil, c.broken
	case server == v1alpha1.InClusterServer:
		return c.overLocal(f.local), nil
	}
	return rest.CopyConfig(c.config), nil
}

// Scope says to which project a cluster belongs, and to which namespaces it is
// limited.
func (f *Fleet) Scope(server string) (project string, namespaces []string) {
	c, _ := f.byServer(server)
	return c.project, c.namespaces
}

// OfProject lists the servers that belong to a project.
func (f *Fleet) OfProject(project string) []string {
	var servers []string
	for _, c := range f.known.Load().all {
		if project != "" && c.project == project {
			servers = append(servers, c.server)
		}
	}
	return servers
}

// Len counts the registered clusters, without the control plane.
func (f *Fleet) Len() int { return len(f.known.Load().all) }
