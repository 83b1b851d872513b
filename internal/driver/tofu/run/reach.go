package run

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
)

// What of the folder a program may write depends on what it is to do: a provider
// that a plan or an apply starts must not change which providers, plans and records
// the next run finds.

// reach is what a run may read and write.
func (r *Runner) reach(j job) isolate.Reach {
	write := append([]string{r.folder.home(), r.temp(), r.config.Tree}, j.writes...)
	if j.operation != "plan" { // nobody has agreed to what a plan runs: it changes no state
		write = append(write, filepath.Dir(r.folder.State("")))
	}
	if j.operation == "init" || j.operation == "workspace" {
		write = append(write, r.initWrites()...)
	}
	return isolate.Reach{Read: append(r.readable(), j.reads...), Write: write}
}

// queryReach is what a query may.
func (r *Runner) queryReach(file string) isolate.Reach {
	read := r.readable()
	if file != "" {
		read = append(read, file)
	}
	return isolate.Reach{Read: read, Write: []string{r.temp()}}
}

func (r *Runner) readable() []string {
	paths := append([]string{r.folder.Path, r.config.Tree}, r.config.Readable...)
	if r.config.CLIConfig != "" {
		paths = append(paths, r.config.CLIConfig)
	}
	if r.config.PluginCache != "" {
		paths = append(paths, storeOf(r.config.PluginCache))
	}
	return append(paths, r.config.VarFiles...)
}

// initWrites is what init writes besides: providers and modules.
func (r *Runner) initWrites() []string {
	paths := []string{r.folder.data()}
	if r.config.PluginCache != "" {
		paths = append(paths, cacheOf(r.config.PluginCache))
	}
	return paths
}

func (r *Runner) temp() string { return cmp.Or(r.config.Temp, r.folder.temp()) }

// freshHome empties the HOME: settings that a module has left in it, of git and of
// the programs, could name programs for the next run.
func (r *Runner) freshHome() error {
	entries, err := os.ReadDir(r.folder.home())
	if err != nil {
		return fmt.Errorf("empty the HOME of runs: %w", err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(r.folder.home(), entry.Name())); err != nil {
			return fmt.Errorf("empty the HOME of runs: %w", err)
		}
	}
	return nil
}

// contained makes sure that the directory of the module is where it was put, and
// that no program of the module has set a link to elsewhere in its place: we write
// and read there, without a fence.
func (r *Runner) contained() error {
	rel, err := filepath.Rel(r.config.Tree, r.folder.Module)
	if err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("the directory of the module %s is not in %s", r.folder.Module, r.config.Tree)
	}
	root, err := filepath.EvalSymlinks(r.config.Tree)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	module, err := filepath.EvalSymlinks(r.folder.Module)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	if module != filepath.Join(root, rel) {
		return configError("Directory of the module replaced", "the directory of the module is a link to another place: something that the module ran has put it there")
	}
	return nil
}
