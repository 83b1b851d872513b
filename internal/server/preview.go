package server

import (
	"context"
	"fmt"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/render"
)

// NewPreviewer gives an engine that looks and never acts, with the rights of
// the given configuration: what a command line needs to show what a sync would
// do. What it gives last must be called at the end.
func NewPreviewer(ctx context.Context, config *rest.Config, dataDir string, tools Tools, log *slog.Logger) (*engine.Engine, func(), error) {
	s := &Server{Options: Options{RESTConfig: unlimited(config), DataDir: dataDir, Tools: tools, Log: log}, lenient: true, rendered: render.NewCache(renderedBytes)}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.metrics = newMetrics(s)
	client, err := dynamic.NewForConfig(s.RESTConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client: %w", err)
	}
	installed, err := controller.Served(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	if s.sources, err = newSources(dataDir, -1); err != nil {
		return nil, nil, err
	}
	p, err := s.connect(installed, s.readMark(ctx), nil)
	if err != nil {
		s.sources.close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	end := func() {
		cancel()
		p.close()
		s.sources.close()
	}
	values, err := controller.NewValues(ctx, s.RESTConfig, func(...engine.Key) {})
	if err != nil {
		end()
		return nil, nil, err
	}
	p.engine.Values = values
	if err := p.fleet.Start(ctx); err != nil {
		end()
		return nil, nil, err
	}
	if err := p.controller.Start(ctx, nowhere{}); err != nil {
		end()
		return nil, nil, err
	}
	return p.engine, end, nil
}

// NewStates gives what works on the states of modules, with the rights of the given
// configuration. What it gives last must be called at the end.
func NewStates(ctx context.Context, config *rest.Config, dataDir string, tools Tools, log *slog.Logger) (func(context.Context, *v1alpha1.Application, engine.Key) (*tofu.State, error), func(), error) {
	e, end, err := NewPreviewer(ctx, config, dataDir, tools, log)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, app *v1alpha1.Application, key engine.Key) (*tofu.State, error) {
		want, err := e.Desired(ctx, app, key)
		if err != nil {
			return nil, err
		}
		d, ok := e.Drivers[want.Bundle.Driver].(*tofu.Driver)
		if !ok {
			return nil, fmt.Errorf("%s is no module: it has no state", key)
		}
		return d.State(want)
	}, end, nil
}

// nowhere takes what nobody works on.
type nowhere struct{}

func (nowhere) Enqueue(...engine.Key) {}

// readMark reads the installation's mark if the user may: without it, what was
// applied is compared anew.
func (s *Server) readMark(ctx context.Context) mark {
	client, err := typedcorev1.NewForConfig(s.RESTConfig)
	if err != nil {
		return mark{}
	}
	secret, err := client.Secrets(controller.SystemNamespace).Get(ctx, installationSecret, metav1.GetOptions{})
	if err != nil {
		if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			s.Log.Debug("cannot read the installation's mark", "error", err)
		}
		return mark{}
	}
	return mark{id: string(secret.Data[installationID]), key: secret.Data[installationKey]}
}
