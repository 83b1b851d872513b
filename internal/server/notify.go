package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
	"github.com/plumb-dev/plumb/internal/notify"
)

const (
	// notificationsMap and notificationsSecret are Argo CD's names.
	notificationsMap    = "argocd-notifications-cm"
	notificationsSecret = "argocd-notifications-secret" //nolint:gosec // a name
	// notificationsDir is in the data directory.
	notificationsDir = "notify"
	// configurePause is the shortest time between two configurations: a namespace's
	// own must not keep everybody's from resting.
	configurePause = time.Second
	// newsTime is how long what holds is news to a configuration that comes later: who
	// applies it together with Applications is told of these.
	newsTime = time.Minute
	// mostTelling is how many Applications get an Event when a message about many of
	// them does not arrive.
	mostTelling = 3
	// reasonNotification is that of such Events.
	reasonNotification = "NotificationFailed"
)

// notifications tell subscribers what happens to Applications: they give the
// Notifier its configuration, and events made of what the controller sees and the
// engine records. Before start, and where the configuration can't be read, nothing
// is told.
type notifications struct {
	apps     *controller.Controller
	log      *slog.Logger
	notifier *notify.Notifier
	commits  *commits
	enqueue  func(...engine.Key)
	// argo tells whether the configuration in Argo CD's namespace holds, selfService,
	// whether those in other namespaces do.
	argo, selfService bool

	maps    *mirror.Mirror[*corev1.ConfigMap]
	secrets *mirror.Mirror[*corev1.Secret]
	changed chan struct{}
	// read is what was read of each namespace last.
	read   map[string]readConfig
	config atomic.Pointer[notify.Config]
	// serves is true where a service is configured: else nothing is asked for messages.
	serves atomic.Bool
	active atomic.Bool
}

// readConfig is what the two objects of a namespace say.
type readConfig struct {
	cm     *corev1.ConfigMap
	secret *corev1.Secret
	config notify.Config
}

var _ engine.Notices = (*notifications)(nil)

// newNotifications makes it; argo tells whether Applications of Argo CD are served,
// whose configuration then holds as well.
func newNotifications(config *rest.Config, dir string, argo, selfService bool, log *slog.Logger) (*notifications, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the core types: %w", err)
	}
	client, err := mirror.ClientFor(config, corev1.SchemeGroupVersion, scheme)
	if err != nil {
		return nil, err
	}
	n := &notifications{log: log, argo: argo, selfService: selfService, changed: make(chan struct{}, 1), read: map[string]readConfig{}}
	// One watch for all namespaces, of the one name.
	n.maps = mirror.New(mirror.Options[*corev1.ConfigMap]{
		Client: client, Resource: "configmaps", Example: &corev1.ConfigMap{}, FieldSelector: "metadata.name=" + notificationsMap, Log: log,
		Changed: func(old, now *corev1.ConfigMap) {
			if old == nil || now == nil || !maps.Equal(old.Data, now.Data) {
				n.poke()
			}
		},
	})
	n.secrets = mirror.New(mirror.Options[*corev1.Secret]{
		Client: client, Resource: "secrets", Example: &corev1.Secret{}, FieldSelector: "metadata.name=" + notificationsSecret, Log: log,
		Changed: func(old, now *corev1.Secret) {
			if old == nil || now == nil || !maps.EqualFunc(old.Data, now.Data, bytes.Equal) {
				n.poke()
			}
		},
	})
	n.notifier = notify.New(notify.Options{
		Dir: filepath.Join(dir, notificationsDir), Log: logr.FromSlogHandler(log.Handler()),
		OnFailure: n.failed, OnProblem: n.problem,
	})
	return n, nil
}

// start reads the configuration. What it gives ends all, after ctx is done.
func (n *notifications) start(ctx context.Context, p *parts) func() {
	n.apps, n.enqueue = p.controller, p.engine.Enqueue
	var wg sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	wg.Go(func() { n.maps.Run(watching) })
	wg.Go(func() { n.secrets.Run(watching) })
	end := func() {
		stop()
		wg.Wait()
	}
	for _, await := range []func(context.Context) error{n.maps.Await, n.secrets.Await} {
		if err := await(ctx); err != nil {
			if ctx.Err() == nil {
				n.log.Warn("no notifications are sent: their configuration can't be read", "error", err)
			}
			stop()
			return end
		}
	}
	n.configure()
	n.commits = newCommits(p, n.notifier)
	sending, last := context.WithCancel(context.WithoutCancel(ctx))
	var sent sync.WaitGroup
	wg.Go(func() { n.watch(ctx) })
	wg.Go(func() { n.commits.run(ctx) })
	sent.Go(func() {
		if err := n.notifier.Run(sending); err != nil {
			n.log.Warn("what was notified can't be kept: some of it may come again", "error", err)
		}
	})
	return func() {
		end()
		last()
		sent.Wait()
	}
}

// begin tells of what changes from now on, and takes note of what is there already.
// The controller has started by then: it is no news only if the projects, and who
// has subscribed there, are known.
func (n *notifications) begin() {
	if n.config.Load() == nil {
		return
	}
	n.active.Store(true)
	n.apps.Where(func(key engine.Key, app *v1alpha1.Application) bool {
		n.commits.take(about{Event: n.event(key, app), key: key})
		return false
	})
}

func (n *notifications) poke() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// watch takes over changes of the configuration.
func (n *notifications) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.changed:
		}
		if !n.configure() {
			continue
		}
		n.enqueue(n.apps.Where(func(key engine.Key, app *v1alpha1.Application) bool {
			if n.active.Load() {
				e := n.event(key, app)
				e.Known = app.Status.ReconciledAt != nil && time.Since(app.Status.ReconciledAt.Time) > newsTime
				n.commits.take(about{Event: e, key: key, ask: n.serves.Load() && !e.Known})
			}
			return subscribes(app.Annotations) || subscribes(n.projectOf(app, key).Annotations)
		})...)
		select {
		case <-ctx.Done():
			return
		case <-time.After(configurePause):
		}
	}
}

// subscribes tells whether annotations may hold subscriptions.
func subscribes(annotations map[string]string) bool {
	for name := range annotations {
		if strings.HasPrefix(name, "notifications.") {
			return true
		}
	}
	return false
}

// configure gives the Notifier what the objects say, and tells whether that is
// something else than before.
func (n *notifications) configure() bool {
	objects := map[string]readConfig{}
	for _, cm := range n.maps.List() {
		objects[cm.Namespace] = readConfig{cm: cm}
	}
	for _, secret := range n.secrets.List() {
		r := objects[secret.Namespace]
		r.secret = secret
		objects[secret.Namespace] = r
	}
	if !n.argo {
		delete(objects, controller.ArgoNamespace)
	}
	if !n.selfService { // else who may write a ConfigMap has this server send requests
		maps.DeleteFunc(objects, func(namespace string, _ readConfig) bool {
			return namespace != controller.SystemNamespace && namespace != controller.ArgoNamespace
		})
	}
	changed := n.config.Load() == nil || len(objects) != len(n.read)
	for namespace, r := range objects {
		if last, ok := n.read[namespace]; ok && last.cm == r.cm && last.secret == r.secret {
			objects[namespace] = last
			continue
		}
		changed = true
		objects[namespace] = n.parse(namespace, r)
	}
	n.read = objects
	if !changed {
		return false
	}
	config := objects[controller.SystemNamespace].config.Over(objects[controller.ArgoNamespace].config)
	for _, namespace := range slices.Sorted(maps.Keys(objects)) {
		if namespace != controller.SystemNamespace && namespace != controller.ArgoNamespace {
			config = config.WithNamespace(namespace, objects[namespace].config)
		}
	}
	serves := false
	for _, r := range objects {
		serves = serves || len(r.config.Services()) > 0
	}
	n.serves.Store(serves)
	n.config.Store(&config)
	n.notifier.Configure(config)
	return true
}

func (n *notifications) parse(namespace string, r readConfig) readConfig {
	var data map[string]string
	var secret map[string][]byte
	if r.cm != nil {
		data = r.cm.Data
	}
	if r.secret != nil {
		secret = r.secret.Data
	}
	var problems []notify.Problem
	r.config, problems = notify.ParseArgo(data, secret)
	for _, p := range problems {
		n.log.Warn("a part of the configuration of notifications is not used", "object", namespace+"/"+notificationsMap, "key", p.Where, "problem", p.What)
	}
	return r
}

// Notices are the subscriptions that can't be used.
func (n *notifications) Notices(app *v1alpha1.Application, key engine.Key) []v1alpha1.ApplicationCondition {
	config := n.config.Load()
	if config == nil || !n.active.Load() {
		return nil
	}
	project := n.projectOf(app, key)
	if !subscribes(app.Annotations) && !subscribes(project.Annotations) {
		return nil
	}
	const most = 5
	var texts []string
	for _, p := range config.Check(applicationOf(app), project) {
		if len(texts) == most {
			texts = append(texts, "and more")
			break
		}
		texts = append(texts, p.String())
	}
	if len(texts) == 0 {
		return nil
	}
	return []v1alpha1.ApplicationCondition{{Type: v1alpha1.ConditionNotificationFailed, Message: strings.Join(texts, "; ")}}
}

// projectOf is an Application's project with its subscriptions.
func (n *notifications) projectOf(app *v1alpha1.Application, key engine.Key) notify.Project {
	out := notify.Project{Name: app.Spec.GetProject()}
	if project := n.apps.ProjectOf(app, key); project != nil {
		out.Annotations = project.Annotations
	}
	return out
}

func applicationOf(app *v1alpha1.Application) notify.Application {
	return notify.Application{
		Namespace: app.Namespace, Name: app.Name, Labels: app.Labels, Annotations: app.Annotations, CreatedAt: app.CreationTimestamp.Time,
	}
}

// failed tells at Applications what did not arrive.
func (n *notifications) failed(f notify.Failure) {
	text := fmt.Sprintf("%d messages to %s did not arrive, and are tried again: %s", f.Messages, f.Destination, f.Error)
	if f.Final {
		text = fmt.Sprintf("%d messages to %s did not arrive, and are given up: %s", f.Messages, f.Destination, f.Error)
	}
	for _, name := range f.Applications[:min(mostTelling, len(f.Applications))] {
		n.warn(name, text)
	}
}

// problem tells of a trigger or template that fails. Subscriptions that can't be
// used are in the Application's conditions.
func (n *notifications) problem(a notify.Application, p notify.Problem) {
	if strings.HasPrefix(p.Where, "trigger.") {
		n.warn(a.Key(), p.String())
	}
}

// warn records an Event at "namespace/name".
func (n *notifications) warn(name, text string) {
	namespace, name, _ := strings.Cut(name, "/")
	for _, key := range keysOf(namespace, name) {
		if app, ok := n.apps.Get(key); ok {
			n.apps.Record(engine.Event{Key: key, UID: string(app.UID), Warning: true, Reason: reasonNotification, Message: text})
		}
	}
}

// keysOf are the Applications that a name may mean.
func keysOf(namespace, name string) []engine.Key {
	return []engine.Key{{Group: v1alpha1.Group, Namespace: namespace, Name: name}, {Group: v1alpha1.ArgoGroupVersion.Group, Namespace: namespace, Name: name}}
}
