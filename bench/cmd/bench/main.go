// Command bench measures Plumb beside the physical limit: a bare client-go loop
// that applies the same objects on an equal control plane in the same run. It
// drives plumb from outside, and writes JSON, a Markdown table and a plot.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/bench/harness"
)

type options struct {
	apps, concurrency, rounds, changes, wounds int
	idle, patience                             time.Duration
	fsync, keep                                bool
	plumb, controlPlane, out, profile          string
	engineArgs                                 []string
}

func main() {
	var o options
	flag.IntVar(&o.apps, "apps", 200, "Applications of four objects each")
	flag.IntVar(&o.concurrency, "concurrency", 20, "requests or workers at once")
	flag.IntVar(&o.rounds, "rounds", 2, "how often to install, in turn with the bare loop")
	flag.IntVar(&o.changes, "changes", 30, "commits that change one file")
	flag.IntVar(&o.wounds, "wounds", 100, "objects deleted or edited out of band")
	flag.DurationVar(&o.idle, "idle", 2*time.Minute, "how long to watch the engine do nothing")
	flag.DurationVar(&o.patience, "patience", 5*time.Minute, "how long to wait for anything")
	flag.BoolVar(&o.fsync, "fsync", true, "let etcd write to the disk, as in production")
	flag.BoolVar(&o.keep, "keep", false, "keep the directories of the control planes")
	flag.StringVar(&o.plumb, "plumb", "bin/plumb", "the binary to measure")
	flag.StringVar(&o.out, "out", "bench/results", "where the results go")
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of the API server and the engine during the first installs into this directory")
	flag.Parse()
	o.controlPlane = o.plumb
	o.engineArgs = []string{"--workers", fmt.Sprint(o.concurrency), "--pprof"}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	w := newWorkload(o.apps)
	res := results{
		Apps: o.apps, Objects: len(w.objects), Concurrency: o.concurrency, CPUs: runtime.NumCPU(), Fsync: o.fsync,
		At: time.Now().UTC().Truncate(time.Second),
	}
	for round := range o.rounds {
		last := round == o.rounds-1
		if err := runBare(ctx, o, w, &res, last); err != nil {
			return fmt.Errorf("the bare loop: %w", err)
		}
		if err := runPlumb(ctx, o, w, &res, last); err != nil {
			return fmt.Errorf("plumb: %w", err)
		}
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	base := filepath.Join(o.out, fmt.Sprintf("bench-%d", o.apps))
	if err := res.write(base); err != nil {
		return err
	}
	fmt.Print(res.markdown())
	fmt.Printf("\nWritten to %s.json, .md and .svg\n", base)
	return nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

// runBare measures the limit on a fresh control plane.
func runBare(ctx context.Context, o options, w workload, res *results, all bool) error {
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.observe(ctx, false); err != nil {
		return err
	}
	config, err := r.SubjectConfig()
	if err != nil {
		return err
	}
	b, err := newBare(config)
	if err != nil {
		return err
	}
	bodies := make([][]byte, len(w.objects))
	for i, obj := range w.objects {
		bodies[i] = obj.json()
	}
	applied, healthy, done := r.installed(w)
	defer done()
	profiled := r.profiled(ctx, "bare")
	defer profiled()
	before, began := r.cpu(), time.Now()
	if err := b.applyAll(ctx, w.objects, bodies, o.concurrency); err != nil {
		return err
	}
	in, err := r.awaitInstall(ctx, began, applied, healthy)
	if err != nil {
		return err
	}
	in.CPU = cpuSince(r.cpu(), before)
	res.BareInstalls = append(res.BareInstalls, in)
	say("bare loop: %d objects applied in %.2f s, all healthy after %.2f s", len(w.objects), in.Applied, in.Healthy)
	if !all {
		return nil
	}
	healing, stop := context.WithCancel(ctx)
	defer stop()
	if err := b.heal(healing, w.objects); err != nil {
		return err
	}
	res.BareHeals, err = r.wound(ctx, w)
	return err
}

// runPlumb measures the engine on a fresh control plane.
func runPlumb(ctx context.Context, o options, w workload, res *results, all bool) error {
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.close()
	seed, err := r.seed(ctx)
	if err != nil {
		return err
	}
	if err := r.startEngine(ctx); err != nil {
		return err
	}
	if err := r.observe(ctx, true); err != nil {
		return err
	}
	took, err := r.register(ctx, seed)
	if err != nil {
		return err
	}
	say("plumb: %d Applications registered and Synced, still empty, in %.2f s", o.apps, took.Seconds())
	if err := r.quiet(ctx, 2*time.Second); err != nil {
		return err
	}
	in, err := r.install(ctx, w)
	if err != nil {
		return err
	}
	res.Installs = append(res.Installs, in)
	say("plumb: applied %.2f s after the push, all healthy after %.2f s, all Applications say so after %.2f s", in.Applied, in.Healthy, in.Reported)
	if !all {
		return nil
	}
	if err := r.quiet(ctx, 3*time.Second); err != nil {
		return err
	}
	if err := r.change(ctx, res); err != nil {
		return err
	}
	if err := r.quiet(ctx, 3*time.Second); err != nil {
		return err
	}
	if res.Heals, err = r.wound(ctx, w); err != nil {
		return err
	}
	if err := r.quiet(ctx, 5*time.Second); err != nil {
		return err
	}
	return r.rest(ctx, res)
}

// rest watches the engine do nothing.
func (r *rig) rest(ctx context.Context, res *results) error {
	before, err := harness.UsageOf(r.engine.Pid)
	if err != nil {
		return err
	}
	mark := r.Audit.Mark()
	if err := harness.Sleep(ctx, r.options.idle); err != nil {
		return err
	}
	after, err := harness.UsageOf(r.engine.Pid)
	if err != nil {
		return err
	}
	requests, err := r.Audit.Since(mark)
	if err != nil {
		return err
	}
	work := harness.Work(requests)
	res.Idle = idle{
		Seconds: r.options.idle.Seconds(), Requests: len(work), Tally: harness.Tally(work),
		CPU: (after.TotalCPU() - before.TotalCPU()).Seconds(),
		RSS: after.RSS, PSS: after.PSS, Private: after.Private, Peak: after.Peak, Children: after.Children,
	}
	say("idle for %s: %d requests, %.2f CPU-seconds, %d MB resident", r.options.idle, len(work), res.Idle.CPU, after.RSS>>20)
	return nil
}
