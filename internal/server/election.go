package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/plumb-dev/plumb/internal/controller"
)

const (
	leaseName = "plumb-server"
	// A leader that was killed is followed after leaseDuration, one that was
	// stopped at once.
	leaseDuration = 10 * time.Second
	renewDeadline = 7 * time.Second
	retryPeriod   = 2 * time.Second
	// startOver is how long to wait after the work has failed.
	startOver = time.Second
	// slots is how many servers can share a data directory.
	slots = 100
)

// elect leads whenever this server is the leader, until ctx is done.
func (s *Server) elect(ctx context.Context) error {
	if !s.LeaderElect {
		return s.again(ctx, s.lead)
	}
	identity, release, err := s.identity()
	if err != nil {
		return err
	}
	defer release()
	return s.again(ctx, func(ctx context.Context) error { return s.campaign(ctx, identity) })
}

// again does the work over and over until ctx is done: the control plane may be
// away for a while.
func (s *Server) again(ctx context.Context, work func(context.Context) error) error {
	for {
		err := work(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it ends because it was told to
		}
		if err != nil {
			s.Log.Error("starting over", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(startOver):
		}
	}
}

// campaign waits until this server leads, leads, and returns when it does no
// longer. The lease is given away only after all work has ended.
func (s *Server) campaign(ctx context.Context, identity string) error {
	if err := controller.EnsureNamespaces(ctx, s.RESTConfig, controller.SystemNamespace); err != nil {
		return err
	}
	config := rest.CopyConfig(s.RESTConfig)
	config.Timeout = renewDeadline
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return s.metrics.count(targetControlPlane, next) })
	client, err := coordination.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client for the lease: %w", err)
	}
	t := newTerm(ctx)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: controller.SystemNamespace, Name: leaseName},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { t.serve(ctx, s.lead) },
			OnStoppedLeading: func() {},
			OnNewLeader: func(leader string) {
				s.leader.Store(&leader)
				s.Log.Info("leader elected", "leader", leader, "self", leader == identity)
			},
		},
	})
	if err != nil {
		return fmt.Errorf("elect a leader: %w", err)
	}
	elector.Run(t.election)
	return t.result()
}

// term is one time of leading: from the election to the end of the work.
type term struct {
	// whole is done when the server is to stop, election when the lease is to be
	// given away.
	whole, election context.Context
	resign          context.CancelFunc
	ended           chan error

	mu            sync.Mutex
	began, gaveUp bool
	stopListening func() bool
}

func newTerm(ctx context.Context) *term {
	t := &term{whole: ctx, ended: make(chan error, 1)}
	t.election, t.resign = context.WithCancel(context.WithoutCancel(ctx))
	t.stopListening = context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.began { // else the lease is needed until the work has ended
			t.gaveUp = true
			t.resign()
		}
	})
	return t
}

// serve does the work. ctx is done when the lease is lost.
func (t *term) serve(ctx context.Context, work func(context.Context) error) {
	t.mu.Lock()
	t.began = true
	gaveUp := t.gaveUp
	t.mu.Unlock()
	if gaveUp {
		t.ended <- nil
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(t.whole, cancel)
	defer stop()
	err := work(ctx)
	t.resign()
	t.ended <- err
}

// result waits for the work to end, if it has begun or will.
func (t *term) result() error {
	t.stopListening()
	t.resign()
	t.mu.Lock()
	never := t.gaveUp && !t.began
	t.mu.Unlock()
	if never {
		return nil
	}
	return <-t.ended
}

// identity names this server among those that may lead. It is the same again
// after a restart in the same place, so that a server that was killed takes its
// own lease back at once; of several servers in one data directory each gets
// another one.
func (s *Server) identity() (string, func(), error) {
	host, err := os.Hostname()
	if err != nil {
		return "", nil, fmt.Errorf("find this machine's name: %w", err)
	}
	dir, err := filepath.Abs(s.DataDir)
	if err != nil {
		return "", nil, fmt.Errorf("find the data directory: %w", err)
	}
	sum := sha256.Sum256([]byte(dir))
	for slot := range slots {
		release, ok, err := lockFile(filepath.Join(dir, fmt.Sprintf("server-%d.lock", slot)))
		if err != nil {
			return "", nil, fmt.Errorf("lock the data directory: %w", err)
		}
		if ok {
			return fmt.Sprintf("%s_%s_%d", host, hex.EncodeToString(sum[:4]), slot), release, nil
		}
	}
	return "", nil, fmt.Errorf("%d servers share the data directory %s already: choose another one with --data-dir", slots, dir)
}

// lockFile takes a lock that ends with this process at the latest.
func lockFile(path string) (release func(), ok bool, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { file.Close() }, true, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, err
}
