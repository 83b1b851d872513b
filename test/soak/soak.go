package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/bench/harness"
)

const (
	repositories = 2
	minimumApps  = 6
	maximumApps  = 12
)

// namespaces are where the Applications' objects go.
var namespaces = []string{"soak-0", "soak-1", "soak-2"}

// soak is the whole of a run: the machinery, and what must be true in the end.
type soak struct {
	options options
	dir     string
	random  *rand.Rand
	cancel  context.CancelFunc
	cluster *harness.ControlPlane
	client  dynamic.Interface
	git     *gitServer
	repos   []*harness.Repository
	engine  *harness.Engine

	apps   map[string]*app
	going  map[string]*app   // deleted, and not gone yet
	keep   map[key]string    // what must stay as it is, with its UID
	trees  map[string]string // what commits say of Applications
	number int               // of names given

	round, kills, apiKills, absences      int
	commits, made, deleted, edits, checks int
	entries                               int // of the ledger
	took                                  []time.Duration
	changes                               []string
}

func (s *soak) open(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(ctx)
	s.random = rand.New(rand.NewPCG(s.options.seed, 1)) // a scenario must be repeatable
	s.apps, s.going, s.keep, s.trees = map[string]*app{}, map[string]*app{}, map[key]string{}, map[string]string{}
	began := time.Now()
	var err error
	s.cluster, err = harness.StartControlPlane(ctx, harness.ControlPlaneOptions{
		Binary: s.options.plumb, Dir: s.dir, Nodes: 2, NoFsync: true,
	})
	if err != nil {
		return err
	}
	config := s.cluster.Unlimited()
	config.WarningHandler = rest.NoWarnings{}
	if s.client, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	if err := s.cluster.CreateNamespaces(ctx, namespaces...); err != nil {
		return err
	}
	if err := s.openGit(ctx); err != nil {
		return err
	}
	if err := s.startEngine(); err != nil {
		return err
	}
	if err := s.engine.AwaitReady(ctx); err != nil {
		return err
	}
	for _, name := range []string{"plumb-system", "argocd"} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := s.cluster.Admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	fmt.Printf("control plane and engine ready in %.1f s\n", time.Since(began).Seconds())
	return s.plantBystanders(ctx)
}

func (s *soak) openGit(ctx context.Context) error {
	root := filepath.Join(s.dir, "git")
	for i := range repositories {
		repository, err := harness.NewRepository(ctx, root, fmt.Sprintf("repo-%d", i))
		if err != nil {
			return err
		}
		s.repos = append(s.repos, repository)
	}
	var err error
	s.git, err = newGitServer(root)
	return err
}

func (s *soak) startEngine() error {
	var err error
	s.engine, err = harness.StartEngine(harness.EngineOptions{
		Binary: s.options.plumb, Dir: s.dir, Kubeconfig: s.cluster.SubjectKubeconfig,
		Args: []string{
			"--data-dir", filepath.Join(s.dir, "engine"), "--poll-interval", "1s",
			fmt.Sprintf("--leader-elect=%t", s.options.elect),
		},
	})
	return err
}

func (s *soak) close() {
	if s.engine != nil {
		s.engine.Kill()
	}
	if s.git != nil {
		s.git.down()
	}
	if s.cancel != nil {
		s.cancel()
	}
	if s.cluster != nil {
		s.cluster.Stop()
	}
}

// turn is one round: changes, a kill in the middle of them, perhaps more harm,
// and the wait until all is as Git says.
func (s *soak) turn(ctx context.Context) error {
	s.changes = nil
	if err := s.leaveBehind(ctx); err != nil {
		return err
	}
	harm, err := s.harm(ctx)
	if err != nil {
		return err
	}
	moment := time.Duration(s.random.IntN(1500)) * time.Millisecond
	down := time.Duration(s.random.IntN(600)) * time.Millisecond
	again := time.Duration(-1)
	if s.random.IntN(5) == 0 {
		again = time.Duration(s.random.IntN(2500)) * time.Millisecond
	}
	killed := make(chan error, 1)
	go func() { killed <- s.kill(ctx, moment, down, again) }()
	changed := s.change(ctx)
	if err := errors.Join(changed, <-killed); err != nil {
		return err
	}
	began := time.Now()
	if err := harm(); err != nil {
		return err
	}
	lag, err := s.converge(ctx)
	if err != nil {
		return err
	}
	took := time.Since(began)
	s.took = append(s.took, took)
	when := fmt.Sprintf("killed at %d ms", moment.Milliseconds())
	if again >= 0 {
		when += fmt.Sprintf(" and %d ms after its next start", again.Milliseconds())
	}
	fmt.Printf("round %2d, %2d kills: %s; %s; converged in %.1f s (%d Applications, %d objects, %.1f s after they said so)\n",
		s.round, s.kills, strings.Join(s.changes, ", "), when, took.Seconds(), len(s.apps), s.declared(), lag.Seconds())
	return nil
}

// kill kills the engine and starts it again, perhaps twice.
func (s *soak) kill(ctx context.Context, moment, down, again time.Duration) error {
	for _, wait := range []time.Duration{moment, again} {
		if wait < 0 {
			continue
		}
		if err := harness.Sleep(ctx, wait); err != nil {
			return err
		}
		select {
		case <-s.engine.Ended():
			return errors.New("the engine had ended by itself")
		default:
		}
		s.engine.Kill()
		s.kills++
		if err := harness.Sleep(ctx, down); err != nil {
			return err
		}
		if err := s.startEngine(); err != nil {
			return err
		}
	}
	return nil
}

// harm does, in every fifth round, what is worse than a kill: in turn it kills
// the API server and takes the Git server away. What it returns ends it.
func (s *soak) harm(ctx context.Context) (func() error, error) {
	ended := make(chan error, 1)
	switch s.round % 10 {
	case 5:
		pid := s.cluster.Supervisor().Pid("kube-apiserver")
		if pid <= 0 {
			return nil, errors.New("there is no API server to kill")
		}
		after := time.Duration(s.random.IntN(1500)) * time.Millisecond
		s.apiKills++
		s.changes = append(s.changes, fmt.Sprintf("API server killed at %d ms", after.Milliseconds()))
		go func() {
			_ = harness.Sleep(ctx, after)
			ended <- syscall.Kill(pid, syscall.SIGKILL)
		}()
	case 0:
		away := time.Duration(2000+s.random.IntN(4000)) * time.Millisecond
		s.absences++
		s.changes = append(s.changes, fmt.Sprintf("Git server away for %d ms", away.Milliseconds()))
		s.git.down()
		go func() {
			_ = harness.Sleep(ctx, away)
			ended <- s.git.up()
		}()
	default:
		ended <- nil
	}
	return func() error { return <-ended }, nil
}
