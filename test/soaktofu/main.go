// Command soaktofu tortures Plumb's modules from outside: it kills Plumb and
// OpenTofu with SIGKILL at random instants while modules are planned, applied and
// destroyed, and now and then the API server with them. It checks each time that
// things come to what Git says, that the states know exactly what exists in a
// cloud, and that nothing was created twice, and in the end that no lock, process
// or file is left.
//
// The cloud is a fake one, whose provider derives the tokens of creations from
// what is created: without that, no tool could know of what it had asked for when
// it was killed. A seed repeats a scenario, though not the instants at which the
// programs get to see it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/bench/harness"
)

type options struct {
	kills    int
	apps     int
	seed     uint64
	plumb    string
	bin      string
	patience time.Duration
	keep     bool
	out      io.Writer
}

func main() {
	o := options{kills: 30, seed: uint64(time.Now().UnixNano() % 1_000_000), out: os.Stdout}
	if n, err := strconv.Atoi(os.Getenv("SOAK_KILLS")); err == nil {
		o.kills = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SOAK_SEED"), 10, 64); err == nil {
		o.seed = n
	}
	flag.IntVar(&o.kills, "kills", o.kills, "how many processes to kill (SOAK_KILLS)")
	flag.IntVar(&o.apps, "apps", 5, "how many Applications there are at most")
	flag.Uint64Var(&o.seed, "seed", o.seed, "what makes the scenario (SOAK_SEED)")
	flag.StringVar(&o.plumb, "plumb", "bin/plumb", "the binary to torture")
	flag.StringVar(&o.bin, "bin", "bin", "where OpenTofu and the mirror of providers are")
	flag.DurationVar(&o.patience, "patience", 3*time.Minute, "how long a round may take to converge")
	flag.BoolVar(&o.keep, "keep", false, "keep all files where something went wrong")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nsoaktofu: %v\n\nOnce more: SOAK_SEED=%d SOAK_KILLS=%d make soak-tofu\n", err, o.seed, o.kills)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	for _, path := range []*string{&o.plumb, &o.bin} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
		if _, err := os.Stat(*path); err != nil {
			return fmt.Errorf("run \"make build tofu\" first: %w", err)
		}
	}
	fmt.Fprintf(o.out, "seed %d, %d kills\n", o.seed, o.kills)
	dir, err := os.MkdirTemp("", "plumb-soak-")
	if err != nil {
		return err
	}
	s := &soak{options: o, dir: dir}
	defer func() {
		s.close()
		for _, p := range s.processes() {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if err != nil && o.keep {
			fmt.Fprintf(os.Stderr, "kept: %s\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.torture(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, s.diagnosis())
	}
	s.summary()
	return nil
}

// torture makes rounds until enough has been killed.
func (s *soak) torture(ctx context.Context) error {
	for s.kills() < s.options.kills {
		s.round++
		if err := s.turn(ctx); err != nil {
			return fmt.Errorf("round %d: %w", s.round, err)
		}
	}
	return s.end(ctx)
}

// end deletes everything, and looks at what is left.
func (s *soak) end(ctx context.Context) error {
	began := time.Now()
	s.changes = nil
	for _, name := range s.appNames() {
		if err := s.deleteApp(ctx, s.apps[name]); err != nil {
			return err
		}
	}
	if err := s.converge(ctx); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if left := s.cloud.ours(); len(left) > 0 {
		return fmt.Errorf("VIOLATION: left in the cloud when all Applications are deleted: %v", left)
	}
	if err := s.nothingKept(ctx); err != nil {
		return err
	}
	err := s.engine.Stop()
	s.engine = nil
	if err != nil {
		return err
	}
	if left := s.processes(); len(left) > 0 {
		return fmt.Errorf("VIOLATION: processes are left behind: %v", left)
	}
	for _, pattern := range []string{"tmp/*", "engine/tofu/apps/*"} {
		if files, _ := filepath.Glob(filepath.Join(s.dir, pattern)); len(files) > 0 {
			return fmt.Errorf("VIOLATION: files are left behind: %v", files)
		}
	}
	fmt.Fprintf(s.options.out, "all deleted in %.1f s: no resource, state, lock, process or file is left\n", time.Since(began).Seconds())
	return nil
}

func (s *soak) summary() {
	fmt.Fprintf(s.options.out, "\n%d kills (%d of Plumb, %d of OpenTofu, %d of the API server) in %d rounds; %d of OpenTofu's in an apply\n",
		s.kills(), s.plumbKills, s.tofuKills, s.apiKills, s.round, s.applyKills)
	fmt.Fprintf(s.options.out, "%d commits, %d Applications made and %d deleted, %d edits; the cloud saw %d creations, %d of them repeated, %d updates and %d deletions\n",
		s.commits, s.made, s.deleted, s.edits, s.cloud.ops("create"), s.cloud.ops("repeat"), s.cloud.ops("update"), s.cloud.ops("delete"))
	fmt.Fprintf(s.options.out, "converged in %.1f s at the median, %.1f s at most; 0 violations\n", harness.Median(s.took).Seconds(), slices.Max(s.took).Seconds())
}
