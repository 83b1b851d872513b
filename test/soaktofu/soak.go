package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/bench/harness"
	"github.com/plumb-dev/plumb/internal/localkube"
)

// namespace is where the Applications are.
const namespace = "plumb-system"

// soak is the whole of a run: the machinery, and what must be true in the end.
type soak struct {
	options options
	dir     string
	random  *rand.Rand
	cluster *localkube.Cluster
	kube    kubernetes.Interface
	client  dynamic.Interface
	repo    *harness.Repository
	cloud   *cloud
	engine  *harness.Engine

	apps   map[string]*app
	going  map[string]bool   // deleted in this round
	trees  map[string]string // what commits say of Applications
	number int               // of names given

	round, plumbKills, tofuKills, applyKills, apiKills int
	commits, made, deleted, edits                      int
	took                                               []time.Duration
	changes                                            []string
}

func (s *soak) kills() int { return s.plumbKills + s.tofuKills + s.apiKills }

func (s *soak) open(ctx context.Context) error {
	s.random = rand.New(rand.NewPCG(s.options.seed, 2))
	s.apps, s.going, s.trees = map[string]*app{}, map[string]bool{}, map[string]string{}
	began := time.Now()
	var err error
	if s.cloud, err = newCloud(); err != nil {
		return err
	}
	s.cluster, err = localkube.Start(ctx, localkube.Options{
		Binary: s.options.plumb, DataDir: filepath.Join(s.dir, "cluster"), APIOnly: true, UnsafeNoFsync: true,
	})
	if err != nil {
		return fmt.Errorf("start a control plane: %w", err)
	}
	config := s.cluster.RESTConfig()
	config.QPS, config.Burst, config.WarningHandler = -1, -1, rest.NoWarnings{}
	if s.client, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if s.repo, err = harness.NewRepository(ctx, filepath.Join(s.dir, "git"), "infra"); err != nil {
		return err
	}
	if err := s.prepareTools(); err != nil {
		return err
	}
	if err := s.startEngine(); err != nil {
		return err
	}
	if err := s.engine.AwaitReady(ctx); err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := s.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	fmt.Fprintf(s.options.out, "control plane and Plumb ready in %.1f s\n", time.Since(began).Seconds())
	return nil
}

func (s *soak) cliConfig() string { return filepath.Join(s.dir, "tofurc") }

func (s *soak) prepareTools() error {
	text := fmt.Sprintf("disable_checkpoint = true\n\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(s.options.bin, "providers"))
	return errors.Join(os.WriteFile(s.cliConfig(), []byte(text), 0o600), os.MkdirAll(filepath.Join(s.dir, "tmp"), 0o700))
}

func (s *soak) startEngine() error {
	var err error
	s.engine, err = harness.StartEngine(harness.EngineOptions{
		Binary: s.options.plumb, Dir: s.dir, Kubeconfig: s.cluster.Kubeconfig(),
		Args: []string{
			"--data-dir", filepath.Join(s.dir, "engine"), "--poll-interval", "1s", "--leader-elect=false", "--log-level", "debug",
		},
		Env: []string{
			"PATH=" + s.options.bin + ":" + os.Getenv("PATH"), "TF_CLI_CONFIG_FILE=" + s.cliConfig(), "TMPDIR=" + filepath.Join(s.dir, "tmp"),
		},
	})
	return err
}

func (s *soak) close() {
	if s.engine != nil {
		s.engine.Kill()
	}
	if s.cluster != nil {
		s.cluster.Stop()
	}
	if s.cloud != nil {
		s.cloud.close()
	}
}

// turn is one round: changes, kills in the middle of them, and the wait until all
// is as Git says. Nothing is committed between the kills and the end of the wait:
// what was asked of the cloud and not heard of again is only known by asking the
// same again.
func (s *soak) turn(ctx context.Context) error {
	s.changes = nil
	if err := s.change(ctx); err != nil {
		return err
	}
	if err := s.harm(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := s.converge(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	s.took = append(s.took, took)
	fmt.Fprintf(s.options.out, "round %2d, %2d kills: %s; converged in %.1f s (%d Applications, %d resources)\n",
		s.round, s.kills(), strings.Join(s.changes, ", "), took.Seconds(), len(s.apps), s.declared())
	return nil
}

// harm kills, at an instant of which some are in the middle of an apply.
func (s *soak) harm(ctx context.Context) error {
	inApply := !s.chance(4)
	wait := time.Duration(s.random.IntN(4000)) * time.Millisecond
	if inApply {
		wait = time.Duration(s.random.IntN(2500)) * time.Millisecond
		_ = s.awaitApply(ctx) // there may be none this time
	}
	if err := harness.Sleep(ctx, wait); err != nil {
		return err
	}
	what := s.random.IntN(10)
	if s.round%6 == 0 {
		what = 10
	}
	if what < 4 || what >= 7 { // Plumb
		s.engine.Kill()
		s.plumbKills++
		s.changes = append(s.changes, "Plumb killed")
	}
	if what >= 4 {
		if err := s.killTofu(ctx, what); err != nil {
			return err
		}
	}
	if what == 10 {
		if pid := s.cluster.Supervisor().Pid("kube-apiserver"); pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			s.apiKills++
			s.changes = append(s.changes, "API server killed")
		}
	}
	if what < 4 || what >= 7 {
		if err := harness.Sleep(ctx, time.Duration(s.random.IntN(1500))*time.Millisecond); err != nil {
			return err
		}
		return s.startEngine()
	}
	return nil
}

// killTofu kills OpenTofu wherever it works, or in one place, and perhaps once more.
func (s *soak) killTofu(ctx context.Context, what int) error {
	again := 1
	if what == 4 {
		again = 2
	}
	for range again {
		for i, p := range s.programs() {
			if i > 0 && what%2 == 0 {
				break
			}
			if syscall.Kill(p.pid, syscall.SIGKILL) != nil {
				continue
			}
			s.tofuKills++
			if p.applies() {
				s.applyKills++
			}
			s.changes = append(s.changes, "tofu "+p.operation()+" killed")
		}
		if again > 1 {
			if err := harness.Sleep(ctx, time.Duration(s.random.IntN(3000))*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitApply waits for an apply to begin.
func (s *soak) awaitApply(ctx context.Context) error {
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		for _, p := range s.programs() {
			if p.applies() {
				return nil
			}
		}
		if err := harness.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("there is no apply")
}
