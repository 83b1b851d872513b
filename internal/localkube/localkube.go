// Package localkube runs a real Kubernetes control plane on this machine: etcd,
// the API server, the controllers, the scheduler, and nodes that KWOK simulates.
// Each is a child process of the same binary, supervised, with all its state in
// one data directory.
//
// It does not know what Plumb does with the cluster, and it does not import the
// components themselves (see package components): it starts a binary that has
// them.
package localkube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options say how a cluster is to run.
type Options struct {
	// Binary is the plumb program, which holds the components.
	Binary string
	// DataDir holds all the state. It is created if need be.
	DataDir string
	// Name names the context in the kubeconfig; empty means "plumb".
	Name string
	// Nodes is the number of simulated nodes; 0 means two.
	Nodes int
	// APIOnly leaves out the controllers, the scheduler and the nodes: objects
	// are stored and validated, but nothing happens to them.
	APIOnly bool
	// UnsafeNoFsync makes etcd quicker and lets a power failure destroy the
	// state. For tests.
	UnsafeNoFsync bool
	// ExtraArguments are given to components beside Plumb's own, by the
	// component's name ("kube-apiserver").
	ExtraArguments map[string][]string
	// Progress, if not nil, is told what happens, in words for the user. It
	// may be called by several goroutines at once.
	Progress func(string)
}

func (o Options) complete() (Options, error) {
	if o.Binary == "" || o.DataDir == "" {
		return o, errors.New("start a local cluster: it needs a binary and a data directory")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return o, fmt.Errorf("start a local cluster: %w", err)
	}
	o.DataDir = dir
	if o.Name == "" {
		o.Name = "plumb"
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o, nil
}

// Cluster is a running control plane.
type Cluster struct {
	opts       Options
	stamp      stamp
	pki        pki
	lock       *dirLock
	supervisor *Supervisor
	config     *rest.Config
	client     kubernetes.Interface

	stopOnce sync.Once
	stopped  chan struct{}
}

// Start starts a control plane and waits until it is ready. It then runs until
// ctx ends or Stop is called. When another process holds the data directory,
// the error is a *HeldError.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, stopped: make(chan struct{})}
	if err := c.prepare(); err != nil {
		c.Stop()
		return nil, err
	}
	if err := c.startComponents(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	context.AfterFunc(ctx, c.Stop)
	return c, nil
}

// Stop stops the components in the reverse order of their start, and returns
// when all are gone.
func (c *Cluster) Stop() {
	c.stopOnce.Do(func() {
		defer close(c.stopped)
		if c.supervisor != nil {
			c.supervisor.Stop()
		}
		if c.lock != nil {
			c.lock.release()
		}
	})
	<-c.stopped
}

// Done is closed when the cluster has stopped.
func (c *Cluster) Done() <-chan struct{} { return c.stopped }

// Kubeconfig returns the path of the admin kubeconfig.
func (c *Cluster) Kubeconfig() string { return KubeconfigPath(c.opts.DataDir) }

// RESTConfig returns the configuration of an admin client.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// EngineKubeconfig returns the path of the kubeconfig for Plumb's engine: it may do
// what the admin may, under a name of its own.
func (c *Cluster) EngineKubeconfig() string { return c.componentKubeconfig(engineName) }

// EngineConfig returns the configuration of such a client.
func (c *Cluster) EngineConfig() (*rest.Config, error) {
	return restConfig(c.pki, engineName, c.stamp.Ports.API)
}

// DataDir returns the data directory.
func (c *Cluster) DataDir() string { return c.opts.DataDir }

// Supervisor returns what keeps the components alive. A child that is started
// with it later (the engine) is stopped before them.
func (c *Cluster) Supervisor() *Supervisor { return c.supervisor }

// prepare takes the data directory and makes everything that the components
// read: ports, certificates, kubeconfigs.
func (c *Cluster) prepare() error {
	dir := c.opts.DataDir
	var err error
	if _, err = openDataDir(dir); err != nil { // before a lock is put into somebody's directory
		return err
	}
	if c.lock, err = lockDataDir(dir); err != nil {
		return err
	}
	if c.stamp, err = openDataDir(dir); err != nil {
		return err
	}
	if err := c.stamp.Ports.settle(); err != nil {
		return err
	}
	if err := writeStamp(dir, c.stamp); err != nil {
		return fmt.Errorf("write the data directory's stamp: %w", err)
	}
	if c.pki, err = openPKI(filepath.Join(dir, "pki")); err != nil {
		return err
	}
	if err := c.writeKubeconfigs(); err != nil {
		return err
	}
	if err := c.writeAuditPolicy(); err != nil {
		return err
	}
	if c.config, err = restConfig(c.pki, "admin", c.stamp.Ports.API); err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return fmt.Errorf("create a client for the local cluster: %w", err)
	}
	c.supervisor = NewSupervisor(filepath.Join(dir, "logs"), c.opts.Progress)
	return nil
}

func (c *Cluster) writeKubeconfigs() error {
	if err := os.MkdirAll(filepath.Join(c.opts.DataDir, "config"), 0o700); err != nil {
		return fmt.Errorf("create the directory for kubeconfigs: %w", err)
	}
	port := c.stamp.Ports.API
	for _, user := range []string{"controller-manager", "scheduler", "kwok", engineName} {
		if err := writeKubeconfig(c.componentKubeconfig(user), user, c.pki, user, port); err != nil {
			return err
		}
	}
	return writeKubeconfig(c.Kubeconfig(), c.opts.Name, c.pki, "admin", port)
}

func (c *Cluster) startComponents(ctx context.Context) error {
	c.opts.Progress("starting etcd and the Kubernetes API server")
	if err := c.start(ctx, "etcd", c.etcdArguments(), c.etcdListens); err != nil {
		return err
	}
	if err := c.start(ctx, "kube-apiserver", c.apiServerArguments(), c.apiServerReady); err != nil {
		return err
	}
	if err := c.recordVersion(); err != nil {
		return err
	}
	if c.opts.APIOnly {
		return nil
	}
	c.opts.Progress(fmt.Sprintf("starting the controllers, the scheduler and %d simulated nodes (pods become ready there, but nothing runs)", c.opts.Nodes))
	if err := c.createSimulation(ctx); err != nil {
		return err
	}
	// They do not need each other, so the readiness of the slowest, the
	// controllers, is waited for last.
	if err := c.start(ctx, "kube-scheduler", c.schedulerArguments(), nil); err != nil {
		return err
	}
	if err := c.start(ctx, "kwok", c.kwokArguments(), nil); err != nil {
		return err
	}
	err := c.start(ctx, "kube-controller-manager", c.controllerManagerArguments(), func(ctx context.Context) error {
		return hasDefaultServiceAccount(ctx, c.client)
	})
	if err != nil {
		return err
	}
	return c.awaitNodes(ctx)
}

func (c *Cluster) start(ctx context.Context, name string, args []string, ready func(context.Context) error) error {
	return c.supervisor.Start(ctx, Process{
		Name: name,
		Path: c.opts.Binary,
		Args: append(append([]string{"component", name}, args...), c.opts.ExtraArguments[name]...),
		// The user's environment is not the components' business: etcd, for
		// one, takes every ETCD_ variable for a setting.
		Env:   []string{"HOME=" + c.opts.DataDir, "PATH=/usr/bin:/bin"},
		Ready: ready,
	})
}

// etcdListens tells whether etcd is up. The API server waits for the rest.
func (c *Cluster) etcdListens(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address(c.stamp.Ports.Etcd))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (c *Cluster) apiServerReady(ctx context.Context) error {
	return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// recordVersion keeps the version of Kubernetes that last wrote the state.
func (c *Cluster) recordVersion() error {
	version, err := c.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("ask the API server for its version: %w", err)
	}
	c.stamp.Kubernetes = version.GitVersion
	if err := writeStamp(c.opts.DataDir, c.stamp); err != nil {
		return fmt.Errorf("write the data directory's stamp: %w", err)
	}
	return nil
}

func portOf(port int) string { return strconv.Itoa(port) }
