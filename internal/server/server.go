// Package server is where Plumb's parts become one program: it installs the API
// on a control plane, elects a leader, connects sources, renderers, driver,
// engine and controller, and serves health, metrics and the webhook. It knows
// every part and does none of their work.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/render"
)

// DefaultListen is where health, metrics and the webhook are served.
const DefaultListen = "127.0.0.1:8780"

// Options of a server. Only RESTConfig and DataDir are needed.
type Options struct {
	// RESTConfig reaches the control plane.
	RESTConfig *rest.Config
	// DataDir keeps what can be had again: mirrors of repositories.
	DataDir string
	// ArgoObjects takes over argoproj.io Applications where Argo CD has defined
	// them.
	ArgoObjects bool
	// LeaderElect lets one of several servers work and the others wait.
	LeaderElect bool
	// Workers is how many Applications are worked on at once (20).
	Workers int
	// Listen is the address of the HTTP endpoints; "off" for none, empty for
	// DefaultListen or, where that is taken, any free port.
	Listen string
	// Pprof serves /debug/pprof, on a loopback address only.
	Pprof bool
	// WebhookSecret is what a webhook's sender must know. Empty: nothing.
	WebhookSecret []byte
	// PollInterval of repositories that are not on this machine (3 minutes).
	PollInterval time.Duration
	// PullRequestInterval is how often open pull requests are listed
	// (DefaultPullRequestInterval); negative is never.
	PullRequestInterval time.Duration
	// SelfServiceNotifications lets teams configure channels of their own, in the
	// namespaces of their Applications.
	SelfServiceNotifications bool
	// adoptPause is the shortest time between two pushes of drift for one
	// Application (adoptPause), for tests.
	adoptPause time.Duration
	// previewPause is how long until previews are looked at again when their base branch
	// has moved (1 minute), for tests.
	previewPause time.Duration
	// AllowExec lets cluster Secrets name programs that give credentials.
	AllowExec bool
	// Ledger is where changes are recorded.
	Ledger LedgerOptions
	// Audit is where it is heard who changes what.
	Audit AuditOptions
	// Tools are the programs that modules are run with.
	Tools Tools
	Log   *slog.Logger
}

// renderedBytes bounds the renderings that are kept. Those of Applications that
// are held are in memory anyway.
const renderedBytes = 128 << 20

// AddressFile is the file in the data directory that holds the address of the
// HTTP endpoints.
const AddressFile = "server.address"

// Server is a running server.
type Server struct {
	Options
	metrics *metrics
	// lenient parts look with a user's own rights.
	lenient bool
	sources sources
	// rendered keeps what was rendered, also over terms of leading.
	rendered *render.Cache
	// leading are the parts that work, while this server is the leader.
	leading atomic.Pointer[parts]
	// leader is who leads, where one is elected.
	leader atomic.Pointer[string]
}

// Run serves until ctx is done. It returns nil then, after all work has ended.
func Run(ctx context.Context, o Options) error {
	s, err := newServer(o)
	if err != nil {
		return err
	}
	defer s.sources.close()
	tuneMemory()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	if listener != nil {
		stop := s.serve(listener, cancel)
		defer stop()
	}
	go s.returnMemory(ctx)
	go s.tidy(ctx)
	err = s.elect(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func newServer(o Options) (*Server, error) {
	if o.RESTConfig == nil || o.DataDir == "" {
		return nil, errors.New("start the server: it needs a control plane and a data directory")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.Tools.check(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	o.RESTConfig = unlimited(o.RESTConfig)
	if o.Ledger.Dir == "" {
		o.Ledger.Dir = filepath.Join(o.DataDir, ledgerDir)
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	s := &Server{Options: o, rendered: render.NewCache(renderedBytes)}
	var err error
	if s.sources, err = newSources(o.DataDir, o.PollInterval); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(s)
	return s, nil
}

// tidy removes what sources keep and nothing uses any more, now and then.
func (s *Server) tidy(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.sources.prune(); err != nil {
			s.Log.Warn("cannot remove unused mirrors", "error", err)
		}
	}
}

// unlimited is a configuration without a limit of the client's own: the API
// server's priority and fairness is the limit.
func unlimited(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = -1, -1
	if config.UserAgent == "" {
		config.UserAgent = "plumb"
	}
	return config
}

// listen opens the HTTP address, or nothing where it is off.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if s.Listen == "off" {
		return nil, nil
	}
	address := s.Listen
	if address == "" {
		address = DefaultListen
	}
	var listening net.ListenConfig
	l, err := listening.Listen(ctx, "tcp", address)
	if err != nil && s.Listen == "" {
		l, err = listening.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w", address, err)
	}
	if s.Pprof && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		l.Close()
		return nil, fmt.Errorf("profiles are served on loopback addresses only, and %s is none: leave out --pprof, or listen on 127.0.0.1", address)
	}
	file := filepath.Join(s.DataDir, AddressFile)
	err = os.WriteFile(file+".new", []byte(l.Addr().String()+"\n"), 0o600)
	if err == nil {
		err = os.Rename(file+".new", file) // whoever reads it finds all of it
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("write the address of the HTTP endpoints: %w", err)
	}
	s.Log.Info("serving HTTP", "address", l.Addr().String())
	return l, nil
}
