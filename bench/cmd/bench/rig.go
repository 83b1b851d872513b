package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/errgroup"

	"github.com/plumb-dev/plumb/bench/harness"
)

// rig is a fresh control plane with the observer and a monorepo, on which
// either the bare loop or the engine is measured.
type rig struct {
	*harness.ControlPlane
	options options
	dir     string
	repo    *harness.Repository
	world   *world
	engine  *harness.Engine
	cancel  context.CancelFunc
}

func newRig(ctx context.Context, o options) (*rig, error) {
	dir, err := os.MkdirTemp("", "plumb-bench-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &rig{options: o, dir: dir, cancel: cancel}
	if err := r.start(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) start(ctx context.Context) error {
	var err error
	r.ControlPlane, err = harness.StartControlPlane(ctx, harness.ControlPlaneOptions{
		Binary: r.options.controlPlane, Dir: r.dir, NoFsync: !r.options.fsync, Profiling: r.options.profile != "",
		Nodes: 2 + r.options.apps/100,
	})
	if err != nil {
		return err
	}
	if err := r.CreateNamespaces(ctx, teamNames()...); err != nil {
		return err
	}
	r.repo, err = harness.NewRepository(ctx, r.dir, "monorepo")
	return err
}

// close stops everything and removes it.
func (r *rig) close() {
	if r.engine != nil {
		_ = r.engine.Stop()
	}
	r.cancel()
	if r.ControlPlane != nil {
		r.Stop()
	}
	if r.options.keep {
		fmt.Fprintf(os.Stderr, "kept: %s\n", r.dir)
		return
	}
	_ = os.RemoveAll(r.dir)
}

// observe starts the observer.
func (r *rig) observe(ctx context.Context, applications bool) error {
	var err error
	r.world, err = observe(ctx, r.Unlimited(), applications)
	return err
}

// seed pushes a commit in which the directories of the Applications are empty.
func (r *rig) seed(ctx context.Context) (string, error) {
	files := map[string][]byte{}
	for i := range r.options.apps {
		files[filepath.Join("apps", appName(i), "README.md")] = []byte("# " + appName(i) + "\n")
	}
	revision, err := r.repo.Commit(ctx, files, "Add the applications' directories")
	if err != nil {
		return "", err
	}
	return revision, r.repo.Push(ctx)
}

// startEngine starts the engine and waits until it serves its API.
func (r *rig) startEngine(ctx context.Context) error {
	var err error
	r.engine, err = harness.StartEngine(harness.EngineOptions{
		Binary: r.options.plumb, Dir: r.dir, Kubeconfig: r.SubjectKubeconfig, Args: r.options.engineArgs,
	})
	if err != nil {
		return err
	}
	if err := r.engine.AwaitReady(ctx); err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: controlNamespace}}
	_, err = r.Admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the namespace of the Applications: %w", err)
	}
	return nil
}

// register creates the Applications, and waits until they say that the
// revision is true.
func (r *rig) register(ctx context.Context, revision string) (time.Duration, error) {
	good := newAll(r.appNames())
	defer r.world.onReport(func(s report) {
		if s.good(revision) {
			good.good(s.name, s.at)
		}
	})()
	began := time.Now()
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(r.options.concurrency)
	for i := range r.options.apps {
		group.Go(func() error {
			body, err := json.Marshal(application(i, "file://"+r.repo.Path))
			if err != nil {
				return err
			}
			path := "/apis/plumb.dev/v1alpha1/namespaces/" + controlNamespace + "/applications"
			return r.Admin.CoreV1().RESTClient().Post().AbsPath(path).
				SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").
				Body(body).Do(each).Error()
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("create the Applications: %w", err)
	}
	at, err := await(ctx, good.complete, r.options.patience)
	if err != nil {
		return 0, fmt.Errorf("wait for the %d new Applications: %w", r.options.apps, r.explain(err))
	}
	return at.Sub(began), nil
}

func (r *rig) appNames() []string {
	var names []string
	for i := range r.options.apps {
		names = append(names, appName(i))
	}
	return names
}

// quiet waits until the subject has asked nothing of the API server for a while.
func (r *rig) quiet(ctx context.Context, calm time.Duration) error {
	deadline := time.Now().Add(r.options.patience)
	for {
		mark := r.Audit.Mark()
		if err := harness.Sleep(ctx, calm); err != nil {
			return err
		}
		requests, err := r.Audit.Since(mark)
		if err != nil {
			return err
		}
		work := harness.Work(requests)
		if len(work) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the engine does not come to rest: in %s it asked %v", calm, harness.Tally(work))
		}
	}
}

// explain adds what is known to an error.
func (r *rig) explain(err error) error {
	if problem := r.world.problem(); problem != nil {
		err = errors.Join(err, problem)
	}
	if r.engine != nil {
		err = fmt.Errorf("%w\nthe engine's log ends with:\n%s", err, harness.Tail(r.engine.Log, 15))
	}
	return err
}

// cpu is the time that each part of the rig has used so far.
func (r *rig) cpu() map[string]time.Duration {
	used := map[string]time.Duration{}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"} {
		if usage, err := harness.UsageOf(r.Supervisor().Pid(name)); err == nil {
			used[name] = usage.CPU
		}
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err == nil {
		used["bench"] = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	if r.engine != nil {
		if usage, err := harness.UsageOf(r.engine.Pid); err == nil {
			used["plumb"] = usage.TotalCPU()
		}
	}
	return used
}

func cpuSince(now, before map[string]time.Duration) map[string]float64 {
	spent := map[string]float64{}
	for name, used := range now {
		spent[name] = (used - before[name]).Seconds()
	}
	return spent
}
