package tofu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/guard"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/render"
)

// module is what is remembered of one owner's module.
type module struct {
	d     *Driver
	owner driver.Owner
	dir   string

	// mu is held while something is done to the folder. What follows is its.
	mu      sync.Mutex
	resumed bool
	content string // of the files in the folder
	kept    string // what module.json holds
	runner  *run.Runner
	config  string // what the runner was opened with
	state   stateDoc
	known   *known
	failed  *failure
	masks   render.Texts
	// secrets are those of the module as it was last desired, past those of
	// before: the state may hold them until a plan has nothing to do.
	secrets, past render.Texts
	// unchanged is set where a plan has found nothing to do for the same module
	// before.
	unchanged bool
	verified  time.Time // when a plan last looked at everything
	// unheld says what a killed run has made that could not be taken into the state.
	unheld []string
	// applied is what a whole plan was last made true for, until the next look.
	applied string
	// clone copies a Git repository with the credentials that there are for it, and
	// called are those that were asked for so before the last init.
	clone  func(ctx context.Context, repo string, revisions []string, dir string) (bool, error)
	called map[string]bool
	// held is the lock of a folder that other processes use, too.
	held *flock.Flock
	// discarded is set once nothing is left of what the module has made.
	discarded bool

	subject   *probe.Subject
	subjectID string
	// pending is the report that a plan has still to judge, and harmless one that one
	// plan has called no change, of two that it takes; live's lock guards them.
	pending, harmless *doubted
	// settled is the scope of what is remembered to be no change.
	settled string

	live live
}

// known is the last comparison, and what it holds for.
type known struct {
	key        string
	spec       *spec
	comparison driver.Comparison
	planned    *run.Planned
	at         time.Time
	shows      shown
}

// failure is the last attempt to compare that failed: it is not tried again at
// once, since it costs a run of the program.
type failure struct {
	key   string
	err   error
	count int
	until time.Time
}

const (
	firstPause   = 10 * time.Second
	longestPause = 5 * time.Minute
)

func (m *module) fail(key string, err error) error {
	n := 1
	if m.failed != nil && m.failed.key == key {
		n = m.failed.count + 1
	}
	m.failed = &failure{key, err, n, time.Now().Add(min(longestPause, firstPause<<min(n-1, 10)))}
	return err
}

// spec is a module as it is to be run.
type spec struct {
	*render.Module
	hash     string // of what came from Git
	deleting bool
	policy   *v1alpha1.ModulePolicy
	backend  backend
	// secrets are texts that were decrypted or looked up on the way from Git.
	secrets render.Texts
	clone   func(ctx context.Context, repo string, revisions []string, dir string) (bool, error)
}

// masks are all texts that must not be shown, wherever they turn up: also where a
// module does not call them sensitive.
func (s *spec) masks() render.Texts {
	var texts []string
	for _, values := range []map[string]render.Value{s.Variables, s.Env, s.Backend} {
		for _, v := range values {
			if v.Sensitive {
				texts = append(texts, v.Text())
			}
		}
	}
	return s.secrets.With(render.NewTexts(texts))
}

// keptSpec is what is kept of a spec, to destroy what it made when Git can't be
// read any more.
type keptSpec struct {
	Dir       string
	VarFiles  []string
	Options   v1alpha1.ApplicationSourceTofu
	Hash      string
	Variables map[string]keptValue
	Env       map[string]keptValue
	Backend   map[string]keptValue `json:",omitempty"`
	// Secrets are all that were to be masked, Past those of before.
	Secrets, Past []string
}

type keptValue struct {
	JSON                json.RawMessage
	Sensitive, Optional bool
}

func keep(values map[string]render.Value) map[string]keptValue {
	out := map[string]keptValue{}
	for name, v := range values {
		out[name] = keptValue(v)
	}
	return out
}

func unkeep(values map[string]keptValue) map[string]render.Value {
	out := map[string]render.Value{}
	for name, v := range values {
		out[name] = render.Value(v)
	}
	return out
}

func (m *module) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// specOf is the module that is desired, or the one that was kept where it is to be
// destroyed and can't be had any more; nil where there is none.
func (m *module) specOf(want *driver.Desired) (*spec, error) {
	s := &spec{Module: want.Bundle.Module, hash: want.Bundle.Hash, deleting: want.Deleting, policy: want.Modules, secrets: want.Bundle.Secrets, clone: want.Clone}
	if s.Module == nil && want.Deleting {
		text, err := os.ReadFile(m.path("module.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the module that was kept: %w", err)
		}
		var k keptSpec
		if err := json.Unmarshal(text, &k); err != nil {
			return nil, fmt.Errorf("read the module that was kept: %w", err)
		}
		s.Module = &render.Module{Dir: k.Dir, VarFiles: k.VarFiles, Options: k.Options, Variables: unkeep(k.Variables), Env: unkeep(k.Env), Backend: unkeep(k.Backend)}
		s.hash, s.secrets = k.Hash, s.secrets.With(k.Secrets).With(k.Past)
	}
	if s.Module == nil {
		return nil, nil
	}
	return s, nil
}

// key identifies all that a comparison depends on, but for the state and what is
// live.
func (s *spec) key(want *driver.Desired) string {
	h := sha256.New()
	write := func(v any) {
		b, err := json.Marshal(v)
		if err != nil { // only values that came out of JSON
			panic("tofu: key of a module: " + err.Error())
		}
		fmt.Fprintf(h, "%d:%s", len(b), b)
	}
	write([]any{s.hash, s.deleting, s.policy, s.Options, want.Drift, want.Target.Server})
	for _, values := range []map[string]render.Value{s.Variables, s.Env, s.Backend} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(h, "%q=%q", name, values[name].JSON)
		}
		fmt.Fprint(h, ";")
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// prepare makes the folder what the spec says, and opens it.
func (m *module) prepare(ctx context.Context, s *spec) error {
	if err := m.hold(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("make the working folder: %w", err)
	}
	now := time.Now()
	_ = os.Chtimes(m.dir, now, now) // what is not used for long is removed
	if !s.deleting {
		m.bury()
	}
	if s.Files != nil {
		if err := m.fill(s); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(m.path("module"))
	if err != nil {
		return fmt.Errorf("open the module: %w", err)
	}
	defer func() { _ = root.Close() }()
	if s.backend, err = backendOf(root, path.Clean(s.Dir)); err != nil {
		return err
	}
	refusals, err := guard.Check(declared{root.FS(), root, path.Clean(s.Dir)}, s.Dir, s.guard())
	if err != nil {
		return err
	}
	if err := guard.Err(refusals); err != nil {
		return &driver.RefusedError{Why: err.Error()}
	}
	m.masks, m.clone = s.masks(), s.clone
	return m.open(ctx, s)
}

// fill fills the folder with the module, and with what is kept to destroy it.
func (m *module) fill(s *spec) error {
	if m.content != s.hash {
		if err := refuseOverrides(s.Files); err != nil {
			return err
		}
		if err := m.write(s); err != nil {
			return err
		}
		m.content = s.hash
	}
	m.recall(s)
	kept, err := json.Marshal(keptSpec{
		Dir: s.Dir, VarFiles: s.VarFiles, Options: s.Options, Hash: s.hash, Variables: keep(s.Variables), Env: keep(s.Env), Backend: keep(s.Backend), Secrets: m.secrets, Past: m.past,
	})
	if err != nil {
		return fmt.Errorf("keep the module: %w", err)
	}
	sum := sha256.Sum256(kept)
	if name := hex.EncodeToString(sum[:]); m.kept != name {
		if err := writeFile(m.path("module.json"), kept); err != nil {
			return err
		}
		m.kept = name
	}
	return nil
}

// recall has what was secret before be masked, too.
func (m *module) recall(s *spec) {
	if m.kept == "" {
		var k keptSpec
		if text, err := os.ReadFile(m.path("module.json")); err == nil && json.Unmarshal(text, &k) == nil {
			m.secrets, m.past = k.Secrets, k.Past
		}
	}
	if now := s.masks(); !slices.Equal(now, m.secrets) {
		m.past, m.secrets = m.past.With(m.secrets), now
	}
	s.secrets = s.secrets.With(m.past)
}

// declared are the files of a module in a directory without the one that a run
// adds there. Whoever opens what a program has left there does not wait for it.
type declared struct {
	fs.FS
	root *os.Root
	dir  string
}

func (d declared) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := d.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d declared) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(d.FS, name)
	if name != d.dir {
		return entries, err
	}
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return overrides(e.Name()) }), err
}

// guard is what the project allows the module to do.
func (s *spec) guard() guard.Policy {
	p := guard.Policy{Who: "the project"}
	if s.policy != nil {
		p.Providers, p.Backends = s.policy.Providers, s.policy.Backends
		p.LocalExec, p.RemoteExec, p.External = s.policy.AllowLocalPrograms, s.policy.AllowLocalPrograms, s.policy.AllowLocalPrograms
	}
	programs := "spec.modules.allowLocalPrograms: true in the project"
	p.Hints = map[guard.Rule]string{
		guard.LocalExec: programs, guard.RemoteExec: programs, guard.External: programs,
		guard.Provider: "adding it to spec.modules.providers of the project", guard.Backend: "adding it to spec.modules.backends of the project",
	}
	return p
}

func (m *module) folder(s *spec) run.Folder {
	return run.Folder{Path: m.path("run"), Module: m.path("module", filepath.FromSlash(s.Dir))}
}

// temp is a folder with a short path.
func (m *module) temp() string {
	return filepath.Join(m.d.temp, filepath.Base(m.dir)[len(filepath.Base(m.dir))-8:])
}

// open opens the folder for runs as the spec wants them.
func (m *module) open(ctx context.Context, s *spec) error {
	_, given := s.Env["PATH"]
	if given || slices.ContainsFunc(s.Options.Env, func(e v1alpha1.EnvEntry) bool { return e.Name == "PATH" }) {
		return &driver.RefusedError{Why: "tofu.env: PATH can't be set for a run: it chooses what is executed"}
	}
	program, err := m.d.program(ctx, string(s.Options.Tool))
	if errors.Is(err, run.ErrNotFound) {
		return fmt.Errorf("%w: install it on the machine that Plumb runs on", err)
	}
	if err != nil {
		return err
	}
	if err := makeTemp(m.d.temp); err != nil {
		return err
	}
	if err := os.MkdirAll(m.temp(), 0o700); err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	c := m.configOf(s, program)
	id, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("describe the run: %w", err)
	}
	sum := sha256.Sum256(id)
	if name := hex.EncodeToString(sum[:]); m.runner == nil || m.config != name {
		r, err := run.Open(m.folder(s), c)
		if err != nil {
			return refusedIfConfig(err)
		}
		m.runner, m.config = r, name
	}
	return nil
}

func (m *module) configOf(s *spec, program string) run.Config {
	c := run.Config{
		Program: program, Env: slices.Clone(m.d.o.Env), Variables: map[string]run.Value{}, Workspace: s.Options.Workspace,
		OwnBackend: s.backend.own, BackendConfig: s.backendConfig(), Parallelism: int(s.Options.Parallelism),
		Temp: m.temp(), LockTimeout: 0, PluginCache: filepath.Join(m.d.o.Dir, "providers"), Fence: m.d.fence, Tree: m.path("module"), Readable: []string{m.path("git")}, CLIConfig: m.d.o.CLIConfig, Display: s.Dir, Identity: s.hash,
	}
	if c.Display == "." {
		c.Display = ""
	}
	c.Secrets = append(c.Secrets, s.secrets...)
	c.Check = func() error { // what init has downloaded
		refusals, err := guard.CheckInstalled(m.folder(s).Data(), m.folder(s).Module, s.guard())
		if err == nil {
			err = guard.Err(refusals)
		}
		if err == nil {
			err = m.expected(m.folder(s).Downloaded())
		}
		return err
	}
	c.Fetch = m.fetch
	for _, file := range s.VarFiles {
		c.VarFiles = append(c.VarFiles, m.path("module", filepath.FromSlash(file)))
	}
	for name, v := range s.Variables {
		c.Variables[name] = run.Value{Text: v.Text(), Form: formOf(v), Sensitive: v.Sensitive, Optional: v.Optional}
	}
	for name, text := range s.Options.Vars {
		c.Variables[name] = run.Value{Text: text}
	}
	own := map[string]string{}
	for name, v := range s.Env {
		own[name] = v.Text()
		if v.Sensitive {
			c.Secrets = append(c.Secrets, v.Text())
		}
	}
	for _, e := range s.Options.Env {
		own[e.Name] = e.Value
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		c.Env = append(c.Env, name+"="+own[name])
	}
	return c
}

// formOf tells how the text of a value is to be read: that of a Secret is a
// string or, for a variable of another type, an expression; an output that is no
// string is JSON, which is an expression.
func formOf(v render.Value) run.Form {
	if len(v.JSON) > 0 && v.JSON[0] != '"' {
		return run.Expression
	}
	return run.Declared
}

// refusedIfConfig tells errors apart that only another commit mends.
func refusedIfConfig(err error) error {
	var refused *guard.Error
	if errors.As(err, &refused) {
		return &driver.RefusedError{Why: refused.Error()}
	}
	switch run.KindOf(err) {
	case run.KindConfig, run.KindMissingVariable, run.KindReach:
		return &driver.RefusedError{Why: err.Error()}
	default:
		return err
	}
}
