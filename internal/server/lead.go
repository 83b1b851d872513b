package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/driver/kube/assess"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/kubestate"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/fleet"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/preview"
	"github.com/plumb-dev/plumb/internal/render"
)

// parts are what works while this server leads.
type parts struct {
	controller *controller.Controller
	fleet      *fleet.Fleet
	driver     *kube.Driver
	modules    *tofu.Driver
	states     *kubestate.Store
	engine     *engine.Engine
	assessor   atomic.Pointer[assess.Assessor]
	sources    engine.Sources
	hosts      *hosts
	statuses   *statuses
	adopter    *adopter
	merges     *merges
	reviewer   *preview.Reviewer
	informant  *informant
	// notifications is active only while this server leads.
	notifications *notifications
}

// lead does the work until ctx is done.
func (s *Server) lead(ctx context.Context) error {
	installed, err := controller.Install(ctx, s.counted(), s.ArgoObjects, s.Log)
	if err != nil {
		return err
	}
	mark, err := installation(ctx, s.counted())
	if err != nil {
		return err
	}
	told := s.newInformant(ctx)
	record := s.newRecorder(told)
	p, err := s.connect(installed, mark, record.observer())
	if err != nil {
		return err
	}
	defer p.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	values, err := controller.NewValues(ctx, s.counted(), func(keys ...engine.Key) { p.engine.Enqueue(keys...) })
	if err != nil {
		return err
	}
	p.engine.Values = values
	if p.informant = told; told != nil {
		p.engine.Witnesses = told
		go told.run(ctx)
	}
	journal, err := controller.OpenJournal(ctx, s.counted(), s.Log)
	if err != nil {
		return err
	}
	p.engine.Intents = journal
	if installed.Approvable {
		p.engine.Plans = p.controller.Plans()
	}
	p.adopter = newAdopter(s, p)
	p.engine.Adoptions = p.adopter
	p.engine.Merges = p.merges
	if record != nil {
		p.engine.Ledger = record
	}
	p.engine.Ledger = p.notifications.over(p.engine.Ledger)
	if err := p.fleet.Start(ctx); err != nil {
		return err
	}
	notified := p.notifications.start(ctx, p)
	defer notified()
	defer cancel()
	if err := p.controller.Start(ctx, p.engine); err != nil {
		return err
	}
	p.retainIntents(journal)
	defer record.start(ctx, p)()
	p.notifications.begin()
	end := s.startReviews(ctx, p, mark)
	defer end()
	endAdopting := s.startAdopting(ctx, p)
	defer endAdopting()
	defer cancel()
	s.leading.Store(p)
	defer s.leading.Store(nil)
	s.Log.Info("holding Applications true", "applications", len(p.controller.Keys()), "clusters", p.fleet.Len()+1)
	if err := p.engine.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run the engine: %w", err)
	}
	return nil
}

// close ends the drivers, after all work with them.
func (p *parts) close() {
	p.controller.Close()
	p.modules.Close()
	p.states.Close()
	p.driver.Close()
}

// retainIntents drops what was intended for Applications that are gone.
func (p *parts) retainIntents(journal *controller.Journal) {
	known := map[string]bool{}
	p.controller.Where(func(_ engine.Key, app *v1alpha1.Application) bool {
		known[string(app.UID)] = true
		return false
	})
	journal.Retain(func(uid string) bool { return known[uid] })
}

// counted is the control plane's configuration with its requests counted.
func (s *Server) counted() *rest.Config {
	config := rest.CopyConfig(s.RESTConfig)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return s.metrics.count(targetControlPlane, next)
	})
	return config
}

// connect makes the parts and joins them.
func (s *Server) connect(installed controller.Installed, mark mark, declared controller.Declared) (*parts, error) {
	p := &parts{sources: s.sources.engine()}
	p.assessor.Store(assess.New())
	namespaces := []string{controller.SystemNamespace}
	if installed.Argo {
		namespaces = append(namespaces, controller.ArgoNamespace)
	}
	var err error
	p.fleet, err = fleet.New(fleet.Options{
		Config: s.counted(), Local: s.RESTConfig, Namespaces: namespaces, AllowExec: s.AllowExec, Lenient: s.lenient, Log: s.Log,
		Changed: func(server string) { p.clusterChanged(server) },
	})
	if err != nil {
		return nil, err
	}
	if p.notifications, err = newNotifications(s.counted(), s.DataDir, installed.Argo, s.SelfServiceNotifications, s.Log); err != nil {
		return nil, err
	}
	p.controller, err = controller.New(controller.Options{
		ApplicationChanged: p.notifications.applicationChanged, Declared: declared,
		Config: s.counted(), Installed: installed, Clusters: p.fleet, Lenient: s.lenient, Artifacts: s.artifacts(), Log: s.Log,
		CredentialsChanged: p.refresh,
		SettingsChanged: func(data map[string]string) {
			p.assessor.Store(assess.New(assess.WithOverrides(data)))
		},
	})
	if err != nil {
		return nil, err
	}
	p.driver = kube.New(kube.Options{
		Clusters: p.fleet, Key: mark.key, Installation: mark.id, Log: s.Log, UserAgent: s.RESTConfig.UserAgent,
		Assess: func(obj *unstructured.Unstructured) health.Health { return p.assessor.Load().Health(obj) },
		OwnerExists: func(owner driver.Owner) bool {
			key, ok := engine.KeyOf(owner)
			if !ok {
				return false
			}
			_, ok = p.controller.Get(key)
			return ok
		},
		Requests: func(_, verb string) { s.metrics.request(targetDestination, verb) },
	})
	if p.modules, p.states, err = s.modules(mark.key); err != nil {
		p.driver.Close()
		return nil, err
	}
	p.hosts = newHosts(p.controller)
	p.merges = newMerges(p.hosts, s.Log)
	p.statuses = newStatuses(p.controller, p.controller, p.hosts, s.Log)
	p.engine = engine.New(engine.Options{
		Applications: p.statuses.over(p.controller), Projects: p.controller, Destinations: p.fleet,
		Credentials: p.controller, Events: p.controller, Sources: p.sources,
		Secrets:  newKeyring(p.controller.KeySecrets),
		Renderer: s.rendered.Over(s.metrics.renderer(renderer())),
		Drivers:  map[string]driver.Driver{render.KubeDriver: p.driver, render.TofuDriver: p.modules},
		Gates:    p.controller, Pins: p.controller, Signatures: p.controller, Notices: p.notifications,
		Workers: s.Workers, Log: s.Log, Observer: s.metrics,
	})
	return p, nil
}

// refresh has the sources ask a repository again.
func (p *parts) refresh(repo string) {
	p.sources.Git.Refresh(repo)
	p.sources.Helm.Refresh(repo)
	p.sources.OCI.Refresh(repo)
}

// clusterChanged makes the parts notice another way to reach a cluster.
func (p *parts) clusterChanged(server string) {
	p.driver.ForgetServer(server)
	p.controller.EnqueueWhere(func(_ engine.Key, app *v1alpha1.Application) bool {
		resolved, _, err := p.fleet.Server(app.Spec.Destination)
		return err != nil || resolved == server
	})
}
