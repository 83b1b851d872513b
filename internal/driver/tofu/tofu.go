// Package tofu is the driver of OpenTofu and Terraform modules. Changes are
// planned and applied by the real program in a kept working folder (package run);
// drift is watched by warm provider processes, without the program (package
// probe), and confirmed by a plan.
//
// An apply goes on after Apply has returned, also where Plumb itself dies: the
// next process takes it up again. A plan is applied as a whole, and only the one
// that was shown: where the module, its variables or the state have moved on, it
// is refused and made anew.
//
// It does not know Git, Applications' policies or Kubernetes: modules come as
// bundles, and states are kept by whoever implements States.
package tofu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// Options of a Driver. Dir and States are needed.
type Options struct {
	// Dir is where working folders are kept: modules, providers, plans. What is in
	// it can be had again, but for states that could not be saved yet.
	Dir    string
	States States
	// Path are the directories in which the programs are looked for. Where none of
	// them has one, OpenTofu is downloaded, if Download says so.
	Path     []string
	Download bool
	// Shared is set where other processes use Dir, too: one at a time has a module.
	Shared bool
	// Salt goes into the hashes that are shown of what may be secret.
	Salt []byte
	// Env is the environment of all runs, such as PATH and proxies: it must hold
	// no credentials. CLIConfig is the programs' own configuration file, or empty.
	Env       []string
	CLIConfig string
	// Interval is how often drift is looked for where an Application does not say
	// (1 min), and Backstop, how often by a plan even where probes see none (1 h).
	Interval, Backstop time.Duration
	// Plans and Applies are how many of them are made at once (2 for each CPU, 10),
	// and Probes how many Applications are probed at once (4).
	Plans, Applies, Probes int
	// Patience is how long Close waits for applies to come to an end (30 s).
	Patience time.Duration
	// Isolation keeps runs and providers apart from each other and from Plumb. Its
	// Path and Private are set by New.
	Isolation isolate.Options
	// Probe bounds the provider processes that watch.
	Probe probe.Options
	Log   *slog.Logger
}

// Driver makes modules true.
type Driver struct {
	o        Options
	temp     string // for sockets
	fence    *isolate.Fence
	plans    chan struct{}
	applies  chan struct{}
	probes   chan struct{}
	verdicts *probe.Verdicts

	// life ends with Close; a run that is still under way then is left alone.
	life context.Context //nolint:containedctx // runs live as long as the driver, not as a call
	end  context.CancelCauseFunc
	wait sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	prober  *probe.Prober
	modules map[driver.Owner]*module
	moved   func(driver.Owner)
}

var (
	_ driver.Driver    = (*Driver)(nil)
	_ driver.Canceller = (*Driver)(nil)
)

// rememberedVerdicts is how many differences that are no change are remembered
// of one Application.
const rememberedVerdicts = 20_000

// New gives a driver. It must be closed.
func New(o Options) (*Driver, error) {
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.Backstop == 0 {
		o.Backstop = time.Hour
	}
	if o.Plans == 0 {
		o.Plans = 2 * runtime.NumCPU()
	}
	if o.Applies == 0 {
		o.Applies = 10
	}
	if o.Probes == 0 {
		o.Probes = 4
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("find the working folders: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the working folders: %w", err)
	}
	if _, err := os.Stat(o.CLIConfig); o.CLIConfig != "" && errors.Is(err, fs.ErrNotExist) {
		// As the programs themselves do, though they do not say so.
		o.Log.Warn("there is no such configuration of OpenTofu (TF_CLI_CONFIG_FILE): modules are run without", "file", o.CLIConfig)
		o.CLIConfig = ""
	}
	fence, err := fenceOf(o)
	if err != nil {
		return nil, err
	}
	d := &Driver{
		o: o, fence: fence, temp: tempPath(o.Dir), plans: make(chan struct{}, o.Plans), applies: make(chan struct{}, o.Applies), probes: make(chan struct{}, o.Probes),
		verdicts: probe.NewVerdicts(rememberedVerdicts), modules: map[driver.Owner]*module{}, moved: func(driver.Owner) {},
	}
	d.life, d.end = context.WithCancelCause(context.Background())
	d.wait.Go(d.tidy)
	return d, nil
}

// Close waits for applies to come to an end, has those break off that take long,
// and leaves those alone that do not: the next process takes them up.
func (d *Driver) Close() {
	d.mu.Lock()
	d.closed = true
	modules := make([]*module, 0, len(d.modules))
	for _, m := range d.modules {
		modules = append(modules, m)
	}
	d.mu.Unlock()
	for _, m := range modules {
		m.quiet()
	}
	ended := make(chan struct{})
	go func() {
		for _, m := range modules {
			m.await()
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(d.o.Patience * 2 / 3):
		for _, m := range modules { // a provider that is asked to stop may leave things half made
			m.cancel()
		}
		select {
		case <-ended:
		case <-time.After(d.o.Patience / 3):
		}
	}
	d.end(run.ErrDetached)
	d.wait.Wait()
	for _, m := range modules {
		m.release()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.prober != nil {
		if err := d.prober.Close(); err != nil {
			d.o.Log.Warn("providers not ended", "error", err)
		}
	}
	unused := d.temp
	if slices.ContainsFunc(modules, func(m *module) bool { return m.live.detached() }) {
		unused = d.probeTemp()
	}
	if err := os.RemoveAll(unused); err != nil {
		d.o.Log.Warn("temporary folder not removed", "error", err)
	}
}

// Watch tells of moves until ctx is done.
func (d *Driver) Watch(ctx context.Context, moved func(driver.Owner)) error {
	d.mu.Lock()
	d.moved = moved
	d.mu.Unlock()
	<-ctx.Done()
	d.mu.Lock()
	d.moved = func(driver.Owner) {}
	d.mu.Unlock()
	return ctx.Err()
}

func (d *Driver) tell(o driver.Owner) {
	d.mu.Lock()
	moved := d.moved
	d.mu.Unlock()
	moved(o)
}

// Forget drops what is remembered of an owner. Its folder stays for as long as
// its state may depend on it.
func (d *Driver) Forget(owner driver.Owner) {
	d.mu.Lock()
	m := d.modules[owner]
	d.mu.Unlock()
	if m == nil {
		return
	}
	m.quiet()
	if m.live.forget() { // else, the end of what is under way drops it
		d.drop(m)
	}
}

func (d *Driver) drop(m *module) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.modules[m.owner] == m {
		delete(d.modules, m.owner)
		m.bury()
		m.release()
		d.verdicts.Forget(m.settled)
	}
}

// Cancel has an apply that is under way end after the resource it is at.
func (d *Driver) Cancel(owner driver.Owner) {
	d.mu.Lock()
	m := d.modules[owner]
	d.mu.Unlock()
	if m != nil {
		m.cancel()
	}
}

// Capabilities are none that a module's rendering depends on.
func (d *Driver) Capabilities(context.Context, driver.Target) (driver.Capabilities, error) {
	return driver.Capabilities{}, nil
}

// Processes are the providers that watch.
func (d *Driver) Processes() []probe.ProcessInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.prober == nil {
		return nil
	}
	return d.prober.Processes()
}

// probeTemp is where the sockets of warm providers are.
func (d *Driver) probeTemp() string { return filepath.Join(d.temp, "probe") }

// theProber starts the prober when it is first needed.
func (d *Driver) theProber() (*probe.Prober, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	if d.prober == nil {
		o := d.o.Probe
		o.Fence = d.fence
		if o.TempDir == "" { // what a process that was killed has left in it is removed
			o.TempDir = d.probeTemp()
			if err := errors.Join(makeTemp(d.temp), os.RemoveAll(o.TempDir), os.MkdirAll(o.TempDir, 0o700)); err != nil {
				return nil, fmt.Errorf("make a temporary folder: %w", err)
			}
		}
		p, err := probe.New(o)
		if err != nil {
			return nil, err
		}
		d.prober = p
	}
	return d.prober, nil
}

var errClosed = errors.New("plumb is being stopped")

// module finds what is remembered of an owner.
func (d *Driver) module(owner driver.Owner) (*module, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	m := d.modules[owner]
	if m == nil {
		m = &module{d: d, owner: owner, dir: filepath.Join(d.o.Dir, "apps", folderName(owner))}
		d.modules[owner] = m
	}
	m.live.wanted()
	return m, nil
}

var unsafe = regexp.MustCompile(`[^a-z0-9.-]+`)

// folderName is a name for people to know, and one that no other owner has.
func folderName(owner driver.Owner) string {
	sum := sha256.Sum256([]byte(owner))
	name := unsafe.ReplaceAllString(strings.ToLower(string(owner)), "-")
	return name[:min(len(name), 60)] + "-" + hex.EncodeToString(sum[:6])
}

// stateID names the state of an owner.
func stateID(owner driver.Owner, workspace string) StateID {
	if workspace == "" {
		workspace = "default"
	}
	parts := strings.Split(string(owner), "/")
	id := StateID{Name: parts[len(parts)-1], Workspace: workspace}
	if len(parts) > 1 {
		id.Namespace = parts[len(parts)-2]
	}
	switch {
	case len(parts) > 2: // of another API group
		id.Name += "." + parts[0]
	case strings.HasSuffix(id.Name, "."+v1alpha1.ArgoGroupVersion.Group), strings.HasSuffix(id.Name, "."+v1alpha1.GroupVersion.Group):
		id.Name += "." + v1alpha1.GroupVersion.Group // else, it could be that of another group
	}
	return id
}

// program finds the program that a module wants.
func (d *Driver) program(ctx context.Context, tool string) (string, error) {
	if !d.o.Download {
		return run.Find(tool, d.o.Path)
	}
	return run.FindOrDownload(ctx, tool, d.o.Path, run.Download{Dir: filepath.Join(d.o.Dir, "tools")})
}

// tempPath is a folder with a short path, which is the same for the same
// working folders: a run that outlives us still uses it.
func tempPath(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(os.TempDir(), "plumb-"+hex.EncodeToString(sum[:4]))
}

// makeTemp makes that folder, unless it is there and ours.
func makeTemp(temp string) error {
	if err := os.Mkdir(temp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	info, err := os.Lstat(temp)
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || info.Mode().Perm() != 0o700 || ok && int(s.Uid) != os.Getuid() {
		return fmt.Errorf("the temporary folder %s belongs to somebody else: remove it, or set TMPDIR", temp)
	}
	return nil
}

func acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
