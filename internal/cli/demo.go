package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/internal/demo"
)

func (c commandline) newDemoCommand() *cobra.Command {
	var keep bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:    "demo",
		Short:  "Run the demo from beginning to end and check it",
		Hidden: true,
		Long: `Starts everything in a directory of its own, with the demo, and checks step by
step that it is held true to Git. Exits with 1 and says what failed, if
something does. It leaves nothing behind.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "plumb-demo-")
			if err != nil {
				return fmt.Errorf("make a directory for the demo: %w", err)
			}
			if keep {
				fmt.Fprintf(c.streams.Out, "The demo is kept in %s\n", dir)
			} else {
				defer os.RemoveAll(dir)
			}
			d := scenario{c: c, p: c.palette(), patience: timeout, options: upOptions{dataDir: dir, demo: true, nodes: 2, unsafeNoFsync: true}}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the directory")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long each step may take")
	return cmd
}

// scenario is the demo from beginning to end.
type scenario struct {
	c        commandline
	p        palette
	options  upOptions
	patience time.Duration

	local  *local
	k      *connection
	client kubernetes.Interface
	number int
	// paymentsNow is the plan of payments that waits for approval.
	paymentsNow proposed
}

// scenarioStep is one step of it.
type scenarioStep struct {
	title string
	do    func(context.Context) (string, error)
}

// step does something and says how it went and how long it took.
func (d *scenario) step(ctx context.Context, title string, do func(ctx context.Context) (string, error)) error {
	d.number++
	fmt.Fprintf(d.c.streams.Out, "%d. %s\n", d.number, title)
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	began := time.Now()
	what, err := do(ctx)
	took := time.Since(began).Round(10 * time.Millisecond)
	if err != nil {
		fmt.Fprintf(d.c.streams.Out, "   %s after %s\n", d.p.red("FAILED"), took)
		return fmt.Errorf("step %d (%s): %w", d.number, title, err)
	}
	fmt.Fprintf(d.c.streams.Out, "   %s %s (%s)\n", d.p.green("ok"), what, took)
	return nil
}

func (d *scenario) run(ctx context.Context) (err error) {
	defer func() {
		if d.local == nil {
			return
		}
		if err != nil {
			d.explainFailure()
		}
		d.local.stop()
	}()
	steps := []scenarioStep{
		{"Start a control plane and the engine, with the demo's repositories and Applications", d.start},
		{"The first plan of payments waits for approval, and Ann approves it with kubectl", d.paymentsFirst},
		{"All Applications become Synced and Healthy", d.allWell},
		{"Commit a change: the Deployment web gets another number of replicas", d.commit},
		{"Delete the Deployment web behind Plumb's back", d.deleted},
		{"Scale the Deployment web behind Plumb's back", d.scaled},
		{"Remove a file from Git: the ConfigMap web-banner is pruned", d.pruned},
	}
	steps = append(steps, d.approvalSteps()...)
	steps = append(steps, d.infrastructureSteps()...)
	steps = append(steps, scenarioStep{"All Applications are Synced and Healthy at the end", d.allWell},
		scenarioStep{"Stop everything and leave no process", d.stopped})
	for _, s := range steps {
		if err := d.step(ctx, s.title, s.do); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.c.streams.Out, "The demo did what it should.")
	return nil
}

func (d *scenario) start(ctx context.Context) (string, error) {
	var err error
	say := func(message string) { fmt.Fprintf(d.c.streams.Out, "   … %s\n", message) }
	// The cluster outlives the step.
	lasting := context.WithoutCancel(ctx)
	if d.local, err = d.c.startLocal(lasting, d.options, say); err != nil {
		return "", err
	}
	d.k = &connection{kubeconfig: d.local.main.Kubeconfig()}
	if err := d.k.open(); err != nil {
		return "", err
	}
	if d.client, err = d.k.typed(); err != nil {
		return "", err
	}
	return "the nodes are simulated by KWOK, all else is real", nil
}

func (d *scenario) allWell(ctx context.Context) (string, error) {
	count := 0
	err := d.poll(ctx, func() error {
		apps, err := d.k.list(ctx, "", metav1.ListOptions{})
		if err != nil {
			return err
		}
		count = len(apps)
		if count == 0 {
			return errors.New("there are no Applications")
		}
		want := waiting{sync: true, health: true, operation: true}
		for _, a := range apps {
			if why, _ := want.unmet(a, false); why != "" {
				return fmt.Errorf("application %s: %s%s", a.key, why, conditionHint(a))
			}
		}
		return nil
	})
	return plural(count, "Application") + ", of both API groups", err
}

// web gives the Deployment that the demo plays with.
func (d *scenario) web(ctx context.Context) (*appsv1.Deployment, error) {
	return d.client.AppsV1().Deployments("shop").Get(ctx, "web", metav1.GetOptions{})
}

func (d *scenario) shop() string { return d.c.demo(d.options).Repository("shop") }

func (d *scenario) commit(ctx context.Context) (string, error) {
	path := filepath.Join(d.shop(), "apps", "plain", "deployment.yaml")
	if err := changeFile(path, "replicas: 2", "replicas: 3"); err != nil {
		return "", err
	}
	if err := demo.Commit(ctx, d.shop(), "web: three replicas"); err != nil {
		return "", err
	}
	head, err := demo.Git(ctx, d.shop(), "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	return "applied: 3 replicas, the Application is Synced to " + head[:7], d.poll(ctx, func() error {
		if err := d.replicas(ctx, 3); err != nil {
			return err
		}
		a, err := d.k.find(ctx, argoNamespace+"/shop-web", selection{})
		if err != nil {
			return err
		}
		if a.Status.Sync.Revision != head || a.Status.Sync.Status != "Synced" {
			return fmt.Errorf("the Application is %s to %s, not Synced to %s", a.Status.Sync.Status, shortRevision(a.Status.Sync.Revision), head[:7])
		}
		return nil
	})
}

func (d *scenario) replicas(ctx context.Context, want int32) error {
	web, err := d.web(ctx)
	if err != nil {
		return err
	}
	if *web.Spec.Replicas != want {
		return fmt.Errorf("the Deployment has %d replicas, not %d", *web.Spec.Replicas, want)
	}
	return nil
}

func (d *scenario) deleted(ctx context.Context) (string, error) {
	before, err := d.web(ctx)
	if err != nil {
		return "", err
	}
	if err := d.client.AppsV1().Deployments("shop").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		return "", err
	}
	return "healed: it is there again", d.poll(ctx, func() error {
		now, err := d.web(ctx)
		if err == nil && now.UID == before.UID {
			return errors.New("the Deployment is still being deleted")
		}
		return err
	})
}

func (d *scenario) scaled(ctx context.Context) (string, error) {
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: autoscalingv1.ScaleSpec{Replicas: 7}}
	scaled, err := d.client.AppsV1().Deployments("shop").UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
	if err != nil {
		return "", err
	}
	if scaled.Spec.Replicas != 7 {
		return "", errors.New("the Deployment could not be scaled")
	}
	return "healed: 3 replicas again, not 7", d.poll(ctx, func() error { return d.replicas(ctx, 3) })
}

func (d *scenario) pruned(ctx context.Context) (string, error) {
	if err := os.Remove(filepath.Join(d.shop(), "apps", "plain", "banner.yaml")); err != nil {
		return "", err
	}
	if err := demo.Commit(ctx, d.shop(), "web: no banner"); err != nil {
		return "", err
	}
	return "pruned", d.poll(ctx, func() error {
		_, err := d.client.CoreV1().ConfigMaps("shop").Get(ctx, "web-banner", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = errors.New("the ConfigMap is still there")
		}
		return err
	})
}

func (d *scenario) stopped(ctx context.Context) (string, error) {
	var pids []int
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", engineProcess} {
		if pid := d.local.main.Supervisor().Pid(name); pid > 0 {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return "", errors.New("there were no processes to stop")
	}
	pids = append(pids, processesOf(d.options.dataDir, pids)...)
	d.local.stop()
	return fmt.Sprintf("%d processes ended", len(pids)), d.poll(ctx, func() error {
		for _, pid := range append(pids, processesOf(d.options.dataDir, nil)...) {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
}

// processesOf finds processes, beside known ones and this one, whose command line
// names a directory: providers and runs of OpenTofu. Where there is no /proc it
// finds none.
func processesOf(dir string, known []int) []int {
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		if err != nil || pid == os.Getpid() || slices.Contains(known, pid) {
			continue
		}
		if text, err := os.ReadFile(entry); err == nil && bytes.Contains(text, []byte(dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// poll asks until there is no error, and gives the last one when the step's
// time is over.
func (d *scenario) poll(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not so in time: %w", last)
		case <-tick.C:
		}
	}
}

// explainFailure shows what the Applications say when a step has failed.
func (d *scenario) explainFailure() {
	if d.k == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	apps, err := d.k.list(ctx, "", metav1.ListOptions{})
	if err != nil {
		return
	}
	fmt.Fprintln(d.c.streams.Out, "\nThe Applications then:")
	o := &output{format: "wide"}
	_ = d.c.newGetView(o, false, false, false).show(apps)
	for _, a := range apps {
		for _, condition := range a.Status.Conditions {
			fmt.Fprintf(d.c.streams.Out, "%s: %s: %s\n", a.key, condition.Type, printable(condition.Message))
		}
	}
}
