// Command tofu measures the probe, which looks for drift with warm providers,
// beside plans of OpenTofu and Terraform, which look for it too: on the same
// states, in the same run, against the fake cloud. It prints a table, and exits
// with 1 if a target is missed.
//
// CPU is that of everything but the cloud: of the program that is measured, of
// its children and of the providers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	modules, sample, rounds, parallel, syncs int
	sizes                                    string
	bin                                      string
	keep                                     bool
}

func main() {
	var o options
	flag.IntVar(&o.modules, "modules", 200, "modules of five resources each")
	flag.IntVar(&o.sample, "terraform-modules", 40, "how many of these Terraform plans, if it is on the PATH; 0: none")
	flag.StringVar(&o.sizes, "sizes", "1000,10000", "resources in large states")
	flag.IntVar(&o.rounds, "rounds", 10, "how often the probe checks everything")
	flag.IntVar(&o.syncs, "syncs", 5, "syncs of each kind beside bare applies; 0: none")
	flag.IntVar(&o.parallel, "parallel", runtime.NumCPU(), "plans or checks at once")
	flag.StringVar(&o.bin, "bin", "bin", "where scripts/tofu has put OpenTofu, providers and the fake cloud")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with the modules")
	flag.Parse()
	o.rounds, o.parallel = max(o.rounds, 1), max(o.parallel, 1)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	missed, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if missed {
		os.Exit(1)
	}
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

func run(ctx context.Context, o options) (missed bool, err error) {
	sizes, err := parseSizes(o.sizes)
	if err != nil {
		return false, err
	}
	r, err := newRig(ctx, o)
	if err != nil {
		return false, err
	}
	defer r.close()
	t := &table{}
	if o.modules > 0 {
		if err := r.compareModules(ctx, t); err != nil {
			return false, err
		}
	}
	for _, n := range sizes {
		if err := r.compareLarge(ctx, n, t); err != nil {
			return false, err
		}
	}
	if o.syncs > 0 {
		if err := r.compareLoop(ctx, t); err != nil {
			return false, err
		}
	}
	t.print(os.Stdout, r)
	return t.missed, nil
}

func parseSizes(text string) ([]int, error) {
	var sizes []int
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		var n int
		if _, err := fmt.Sscan(part, &n); err != nil || n < 1 {
			return nil, fmt.Errorf("-sizes: %q is no number of resources", part)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// rig is what everything is measured with.
type rig struct {
	o               options
	dir             string
	tofu, terraform string // terraform is empty where there is none
	version         string // of it
	env             []string
	cloud           *cloud
}

func newRig(ctx context.Context, o options) (*rig, error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-tofu")
	if err != nil {
		return nil, err
	}
	r := &rig{o: o, dir: dir, tofu: filepath.Join(bin, "tofu")}
	config := filepath.Join(dir, "tofurc")
	text := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(bin, "providers"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if r.cloud, err = startCloud(ctx, filepath.Join(bin, "fakecloud")); err != nil {
		return nil, err
	}
	r.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "TF_CLI_CONFIG_FILE=" + config,
		"FAKECLOUD_ENDPOINT=" + r.cloud.url, "FAKECLOUD_TOKEN=" + token,
	}
	found, missing := exec.LookPath("terraform")
	if missing != nil {
		return r, nil //nolint:nilerr // it is not measured then
	}
	r.terraform = found
	said, err := r.command(ctx, r.terraform, dir, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("terraform version: %w", err)
	}
	r.version, _, _ = strings.Cut(strings.TrimPrefix(string(said), "Terraform v"), "\n")
	return r, nil
}

func (r *rig) close() {
	r.cloud.stop()
	if r.o.keep {
		say("the modules are in %s", r.dir)
		return
	}
	_ = os.RemoveAll(r.dir)
}

func (r *rig) command(ctx context.Context, program, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, r.env
	return cmd
}

// do runs a program that must succeed, and returns the CPU time it took.
func (r *rig) do(ctx context.Context, program, dir string, args ...string) (time.Duration, error) {
	cmd := r.command(ctx, program, dir, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s %s in %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), dir, err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
