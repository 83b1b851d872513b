// Command soak tortures Plumb from outside: it kills the engine with SIGKILL at
// random instants while Applications sync, prune and are deleted, takes the API
// server and the Git server away and brings them back, and checks each time that
// what runs then equals Git, that nothing is orphaned, that nothing is deleted
// that should stay, and in the end that the ledger is whole and knows all of it.
//
// It knows of Plumb only the command line, the Applications' status and the
// marks on managed objects. A seed repeats a scenario, though not the instants
// at which the engine gets to see it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/bench/harness"
)

type options struct {
	kills    int
	seed     uint64
	plumb    string
	elect    bool
	patience time.Duration
}

func main() {
	o := options{kills: 50, seed: uint64(time.Now().UnixNano() % 1_000_000)}
	if n, err := strconv.Atoi(os.Getenv("SOAK_KILLS")); err == nil {
		o.kills = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SOAK_SEED"), 10, 64); err == nil {
		o.seed = n
	}
	flag.IntVar(&o.kills, "kills", o.kills, "how often to kill the engine (SOAK_KILLS)")
	flag.Uint64Var(&o.seed, "seed", o.seed, "what makes the scenario (SOAK_SEED)")
	flag.StringVar(&o.plumb, "plumb", "bin/plumb", "the binary to torture")
	flag.BoolVar(&o.elect, "leader-elect", false, "let the engine wait for its predecessor's lease")
	flag.DurationVar(&o.patience, "patience", 90*time.Second, "how long a round may take to converge")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nsoak: %v\n\nOnce more: SOAK_SEED=%d SOAK_KILLS=%d make soak\n", err, o.seed, o.kills)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	fmt.Printf("seed %d, %d kills\n", o.seed, o.kills)
	dir, err := os.MkdirTemp("", "plumb-soak-")
	if err != nil {
		return err
	}
	s := &soak{options: o, dir: dir}
	defer func() {
		s.close()
		if left := processesOf(dir); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("processes are left behind: %v", left))
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "kept: %s\n", dir)
			return
		}
		err = os.RemoveAll(dir)
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

// torture makes rounds until the engine has been killed often enough.
func (s *soak) torture(ctx context.Context) error {
	for s.kills < s.options.kills {
		s.round++
		if err := s.turn(ctx); err != nil {
			return fmt.Errorf("round %d: %w", s.round, err)
		}
	}
	// What is wrongly deleted late must be seen as well.
	if err := harness.Sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	if _, err := s.converge(ctx); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return s.checkLedger(ctx)
}

func (s *soak) summary() {
	longest := slices.Max(s.took)
	fmt.Printf("\n%d kills of the engine, %d of the API server, %d absences of the Git server in %d rounds\n",
		s.kills, s.apiKills, s.absences, s.round)
	fmt.Printf("%d commits, %d Applications made and %d deleted, %d objects declared, changed or removed\n",
		s.commits, s.made, s.deleted, s.edits)
	fmt.Printf("converged in %.1f s at the median, %.1f s at most; 0 violations; %d objects that had to stay did (%d checks of an object)\n",
		harness.Median(s.took).Seconds(), longest.Seconds(), len(s.keep), s.checks)
	fmt.Printf("the ledger is whole: %d entries, each operation begins once and ends once, and no sync is missing\n", s.entries)
}

// processesOf returns the processes that name dir on their command line.
func processesOf(dir string) []string {
	var left []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		content, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(content), dir) {
			left = append(left, strings.ReplaceAll(strings.TrimRight(string(content), "\x00"), "\x00", " "))
		}
	}
	return left
}
