// Package run runs a real OpenTofu or Terraform on a module in a kept working
// folder: init when it is needed, plan, apply, and work on the state. A run
// survives the death of its caller: the program has a session of its own,
// writes to files, and is known by a record, so that whoever comes next waits
// for it and reads how it ended. All that is said (errors, events, diagnostics)
// is masked.
//
// It knows programs, files and processes. It does not know where a module comes
// from, who may run it (package guard), what a plan means to Plumb (package
// planjson), where a state is kept beyond the folder or the module's own
// backend, or when to run anything.
//
// It runs the programs itself and not through hashicorp/terraform-exec: that
// one ties the program's life to the caller's (PR_SET_PDEATHSIG), reads it
// through pipes, a break of which kills it, and passes variables on the command
// line, where every user of the machine can read them.
package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
)

// Folder is where one module is worked on. One Runner at a time uses it.
type Folder struct {
	// Path is the folder that this package keeps: provider data, plans, state,
	// the record of the last run, its output as it was said, secrets and all.
	// Nobody else writes below it, other than to State and, if Module lies in it,
	// to Module.
	Path string
	// Module is the directory to run in, which the caller fills with the files
	// of the module, and may fill again between runs (not while one is under
	// way: ask Running first). It has to lie in its repository's tree where
	// modules are called by relative paths. Call Open before writing over it: an
	// errored.tfstate in it is the only copy of what a run has done.
	Module string
}

// State is the path of the local state file: the caller fills it before a run
// and keeps it after, unless the module has its own backend.
func (f Folder) State(workspace string) string {
	if workspace == "" || workspace == defaultWorkspace {
		return filepath.Join(f.Path, "state", "terraform.tfstate")
	}
	return filepath.Join(f.Path, "state", "workspaces", workspace, "terraform.tfstate")
}

func (f Folder) data() string      { return filepath.Join(f.Path, "data") }
func (f Folder) home() string      { return filepath.Join(f.Path, "home") }
func (f Folder) temp() string      { return filepath.Join(f.Path, "tmp") }
func (f Folder) plans() string     { return filepath.Join(f.Path, "plans") }
func (f Folder) planning() string  { return filepath.Join(f.Path, "planning") }
func (f Folder) output() string    { return filepath.Join(f.Path, "output") }
func (f Folder) errored() string   { return filepath.Join(f.Path, "errored") }
func (f Folder) variables() string { return filepath.Join(f.Path, "plumb.tfvars") }
func (f Folder) backend() string   { return filepath.Join(f.Path, "plumb.tfbackend") }
func (f Folder) record() string    { return filepath.Join(f.Path, "run.json") }
func (f Folder) stamp() string     { return filepath.Join(f.Path, "init.json") }
func (f Folder) keptLock() string  { return filepath.Join(f.Path, "kept.terraform.lock.hcl") }
func (f Folder) moduleLock() string {
	return filepath.Join(f.Module, lockFile)
}

// Data is where the program keeps providers and downloaded modules
// (TF_DATA_DIR): modules/modules.json in it names the latter.
func (f Folder) Data() string { return f.data() }

const (
	defaultWorkspace = "default"
	lockFile         = ".terraform.lock.hcl"
	erroredState     = "errored.tfstate"
	overrideName     = "plumb_backend_override"
)

// Config says how to run a module.
type Config struct {
	// Program is the path of tofu or terraform (see Find).
	Program string
	// Env is the complete environment as KEY=value, but for what this package
	// adds (TF_DATA_DIR, HOME, …). Nothing is inherited.
	Env []string
	// Secrets are values to mask, such as those of Env that came from Secrets.
	Secrets []string
	// Variables of the root module, and files of them (absolute paths), which
	// Variables go before.
	Variables map[string]Value
	VarFiles  []string
	// Workspace is "default" where it is empty.
	Workspace string
	// OwnBackend leaves the state to the module's own backend, with
	// BackendConfig over what the module says of it (HCL expressions by name).
	// Otherwise the state is the file Folder.State, whatever the module says.
	OwnBackend    bool
	BackendConfig map[string]string
	// Parallelism is the program's own (10) where it is 0.
	Parallelism int
	// LockTimeout is how long to wait for a state's lock that someone else holds.
	LockTimeout time.Duration
	// PluginCache is a directory that this package keeps providers in, shared by
	// folders and processes; CLIConfig is a configuration file of the program.
	// Both may be empty.
	PluginCache, CLIConfig string
	// Display is put before the names of the module's files in what is said: the
	// module's path in its repository.
	Display string
	// Identity stands for the module's files (its tree's id, say) in
	// fingerprints. Where it is empty the files of Folder.Module are hashed.
	Identity string
	// Fence keeps the program apart from all but the folder, Tree, and what the fence
	// itself lets through; nil does not. Tree is the folder that Module lies in, which
	// the module may read and write; Module itself if empty.
	Fence *isolate.Fence `json:"-"`
	Tree  string
	// Readable are further paths that the program may read.
	Readable []string
	// Temp is an existing folder with a short path for the sockets of providers,
	// whose paths the kernel limits to some 100 bytes. One below Folder.Path if
	// empty.
	Temp string
	// Check is asked after each init, before anything else runs: to look at the
	// modules that it has downloaded to Folder.Data (guard.CheckInstalled). It may
	// be nil.
	Check func() error `json:"-"`
	// Fetch is asked before init, and again where that failed: it brings what
	// modules' sources name to where init finds it, and gives what has to be in the
	// environment of init for that, and of init alone. It may be nil.
	Fetch func(ctx context.Context, sources []string) (env []string, err error) `json:"-"`
	// Grace is how long a cancelled program may take to finish its current
	// resources before it is killed. 0 never kills it.
	Grace time.Duration
}

// Runner runs the program in a folder. Its methods may be called by several
// goroutines; they run one after another.
type Runner struct {
	folder Folder
	config Config
	masker *Masker

	mu      sync.Mutex
	version string
}

// Open makes the folder ready and brings an errored.tfstate in the module's
// directory into safety. It neither runs anything nor needs the module's files.
func Open(folder Folder, config Config) (*Runner, error) {
	if err := absolute(folder, config); err != nil {
		return nil, err
	}
	if err := checkEnv(config.Env); err != nil {
		return nil, err
	}
	r := &Runner{folder: folder, config: config, masker: NewMasker(config.Secrets...)}
	for _, v := range config.Variables {
		if v.Sensitive {
			r.masker.addValue(v)
		}
	}
	for _, dir := range []string{folder.Path, folder.data(), folder.home(), folder.temp(), folder.plans(), folder.planning(), folder.output(), folder.errored(), filepath.Dir(folder.State(config.Workspace))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the working folder: %w", err)
		}
	}
	if r.config.Tree == "" {
		r.config.Tree = folder.Module
	}
	if rec, running := Running(folder); rec != nil && !running {
		return r, r.rescue() // nobody has seen that run end
	}
	return r, r.contained()
}

func absolute(folder Folder, config Config) error {
	for name, path := range map[string]string{"folder": folder.Path, "module": folder.Module, "program": config.Program} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("the path of the %s must be absolute, not %q", name, path)
		}
	}
	for _, path := range append([]string{config.PluginCache, config.CLIConfig}, config.VarFiles...) {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%q must be an absolute path", path)
		}
	}
	if w := config.Workspace; strings.ContainsAny(w, `/\`) || w == "." || w == ".." {
		return &Error{Kind: KindConfig, Diagnostics: []Diagnostic{{Severity: SeverityError, Summary: "Invalid workspace", Detail: fmt.Sprintf("%q can't be the name of a workspace", w)}}}
	}
	return nil
}

// Masker masks all that the Runner has learned to be secret.
func (r *Runner) Masker() *Masker { return r.masker }

// Folder that the Runner works in.
func (r *Runner) Folder() Folder { return r.folder }

// checkEnv refuses what would choose programs or files for the run, or what
// this package sets itself.
func checkEnv(env []string) error {
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return errors.New("an entry of the environment is not KEY=value")
		}
		if why := refusedVariable(name, value); why != "" {
			return &Error{Kind: KindConfig, Diagnostics: []Diagnostic{{
				Severity: SeverityError, Summary: "Environment variable not allowed",
				Detail: fmt.Sprintf("%s can't be set for a run: %s", name, why),
			}}}
		}
	}
	return nil
}

func refusedVariable(name, value string) string {
	switch name {
	case "HOME", "TMPDIR", "TF_DATA_DIR", "TF_WORKSPACE", "TF_INPUT", "TF_IN_AUTOMATION", "CHECKPOINT_DISABLE", "TF_CLI_CONFIG_FILE", "TERRAFORM_CONFIG", "TF_PLUGIN_CACHE_DIR", runVariable:
		return "Plumb sets it"
	case "TF_REATTACH_PROVIDERS", "TF_FORK", "GODEBUG", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_EXTERNAL_DIFF", "BASH_ENV", "ENV",
		"GIT_ALLOW_PROTOCOL", "GIT_PROTOCOL_FROM_USER", "GIT_EXEC_PATH", "GIT_TEMPLATE_DIR", "GIT_PROXY_COMMAND", "GIT_DIR", "GIT_COMMON_DIR", "XDG_CONFIG_HOME":
		return "it chooses what is executed"
	}
	if name == "TF_ENCRYPTION" && (strings.Contains(value, "external") || strings.Contains(strings.ToLower(value), `\u`)) { // be it escaped
		return "it chooses what is executed"
	}
	for prefix, why := range map[string]string{
		"LD_": "it chooses what is executed", "DYLD_": "it chooses what is executed",
		"TF_CLI_ARGS": "it changes the commands", "TF_LOG": "logs of that depth hold secrets",
		"GIT_CONFIG": "it chooses what is executed", "GIT_TRACE": "it chooses what is written",
	} {
		if strings.HasPrefix(name, prefix) {
			return why
		}
	}
	return ""
}

// environment of every process.
func (r *Runner) environment(id string) []string {
	env := append([]string{}, r.config.Env...)
	env = append(env,
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
		"HOME="+r.folder.home(), "TMPDIR="+cmp.Or(r.config.Temp, r.folder.temp()), "TF_DATA_DIR="+r.folder.data(), runVariable+"="+id)
	// Always one, so that none is read that a module has left in its HOME: it could
	// name programs.
	return append(env, "TF_CLI_CONFIG_FILE="+cmp.Or(r.config.CLIConfig, os.DevNull))
}

// cacheEnv is for init alone (see store.go).
func (r *Runner) cacheEnv(env []string) []string {
	if r.config.PluginCache != "" {
		return append(env, "TF_PLUGIN_CACHE_DIR="+cacheOf(r.config.PluginCache))
	}
	return env
}

func (r *Runner) workspaceEnv(env []string) []string {
	if w := r.config.Workspace; w != "" && w != defaultWorkspace {
		return append(env, "TF_WORKSPACE="+w)
	}
	return env
}

// Version of the program.
func (r *Runner) Version(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.programVersion(ctx)
}
