package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/msgpack"
	"golang.org/x/time/rate"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/module"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/provider"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/state"
)

// Target is what is to be watched.
type Target struct {
	// State is what "tofu state pull" prints.
	State []byte
	// Module is where the module is, initialised, and its variables.
	Module module.Options
	// Env is the whole environment of the providers.
	Env []string
	// Epoch changes when credentials do that are not in Env or the module, such
	// as files: processes are then started anew.
	Epoch string
	// Secrets are texts that must not be in any reason, such as what Env holds.
	Secrets []string
}

// Subject is a Target that is understood. It is made anew when the state, the
// module or its variables change.
type Subject struct {
	prober *Prober
	target Target
	state  *state.State
	dir    string // of the root module
	data   string // what init wrote

	mu        sync.Mutex
	providers map[state.ProviderRef]*configured
	known     map[int]*provider.Known // by the place of the instance in the state
	read      []int                   // by the same: in which check it was last asked for
	checks    int
	partly    bool // not always all were
}

type configured struct {
	entry *entry
	err   error // an unknownError
}

// Subject understands a target. It starts nothing.
func (p *Prober) Subject(t Target) (*Subject, error) {
	parsed, err := state.Parse(t.State)
	if err != nil {
		return nil, err
	}
	t.State = nil
	t.Secrets = slices.Concat(t.Secrets, environmentSecrets(t.Env))
	dir, err := filepath.Abs(filepath.Join(t.Module.Root, filepath.FromSlash(t.Module.Dir)))
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	s := &Subject{
		prober: p, target: t, state: parsed, dir: dir, data: t.Module.DataDir,
		providers: map[state.ProviderRef]*configured{}, known: map[int]*provider.Known{}, read: make([]int, len(parsed.Managed)),
	}
	if s.data == "" {
		s.data = filepath.Join(dir, ".terraform")
	}
	if s.data, err = filepath.Abs(s.data); err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	return s, nil
}

// configure finds and configures a provider, once.
func (s *Subject) configure(ctx context.Context, ref state.ProviderRef) *configured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.providers[ref]; c != nil {
		return c
	}
	e, err := s.entry(ctx, ref)
	c := &configured{entry: e, err: err}
	if err == nil || causeOf(err) == Configuration { // the rest may be better next time
		s.providers[ref] = c
	}
	return c
}

func causeOf(err error) Cause {
	if u, ok := err.(*unknownError); ok { //nolint:errorlint // made here, never wrapped
		return u.cause
	}
	return Failed
}

func (s *Subject) entry(ctx context.Context, ref state.ProviderRef) (*entry, error) {
	if ref.Key != "" {
		return nil, because(Configuration, fmt.Errorf("%s: cannot be evaluated: depends on for_each of a provider", ref))
	}
	installed, err := provider.Find(s.data, filepath.Join(s.dir, ".terraform.lock.hcl"), ref.Source)
	if err != nil {
		return nil, because(NotInstalled, err)
	}
	hash, err := s.prober.hashes.Of(installed.Path)
	if err != nil {
		return nil, because(NotInstalled, fmt.Errorf("read the provider: %w", err))
	}
	hash = strings.Join([]string{installed.Source, installed.Version, hash}, " ")
	command := provider.Command{
		Path: installed.Path, Env: s.target.Env, Dir: s.dir, TempDir: s.prober.temp, StartTimeout: s.prober.o.StartTimeout, Fence: s.prober.o.Fence,
	}
	schema, err := s.prober.schema(ctx, hash, command)
	if err != nil && ctx.Err() != nil {
		return nil, because(Cancelled, ctx.Err())
	}
	if err != nil {
		return nil, because(Refused, err)
	}
	config, err := s.evaluate(ref, schema)
	if err != nil {
		return nil, because(Configuration, fmt.Errorf("the configuration of %s %w", ref, err))
	}
	if s.prober.shared(installed.Source, s.dir, config.Value) {
		command.Dir = s.prober.temp
	} else {
		command.Read = []string{s.target.Module.Root}
	}
	return s.prober.entry(installed, hash, command, schema, config, s.state.ToolVersion, s.target)
}

func (s *Subject) evaluate(ref state.ProviderRef, schema *provider.Schema) (*module.Configuration, error) {
	m, err := module.Load(s.target.Module)
	if err != nil {
		return nil, fmt.Errorf("cannot be evaluated: %w", err)
	}
	config, err := m.Provider(ref.Module, ref.Source, ref.Alias, schema.Provider.Spec())
	if closed := m.Close(); err == nil {
		err = closed
	}
	return config, err
}

// schema asks for schemas one at a time: a process that is asked is large.
func (p *Prober) schema(ctx context.Context, hash string, c provider.Command) (*provider.Schema, error) {
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.wait.Add(1) // Close waits for the process to end
	}
	p.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	defer p.wait.Done()
	ctx, cancel := context.WithTimeout(ctx, p.o.StartTimeout)
	defer cancel()
	return p.schemas.Get(ctx, p.spawner, hash, c)
}

// shared tells whether Applications may share a process of a provider: it
// reads no files, and its configuration names none of the module's.
func (p *Prober) shared(source, dir string, config cty.Value) bool {
	_, name, _ := strings.Cut(source, "/")
	if !slices.Contains(p.o.Folderless, name) {
		return false
	}
	for _, text := range module.Texts(config) {
		if text == "" || len(text) > 1000 || strings.ContainsRune(text, 0) || filepath.IsAbs(text) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, text)); err == nil {
			return false
		}
	}
	return true
}

// entry returns the entry of a configuration, which all that configure the
// same provider in the same way share.
func (p *Prober) entry(i *provider.Installed, hash string, c provider.Command, schema *provider.Schema, config *module.Configuration, tool string, t Target) (*entry, error) {
	encoded, err := msgpack.Marshal(config.Value, cty.DynamicPseudoType)
	if err != nil {
		return nil, because(Configuration, fmt.Errorf("encode the configuration: %w", err))
	}
	env := slices.Sorted(slices.Values(t.Env))
	sum := sha256.New()
	for _, part := range append([]string{hash, string(encoded), c.Dir, t.Epoch, tool}, env...) {
		fmt.Fprintf(sum, "%d %s", len(part), part)
	}
	key := hex.EncodeToString(sum.Sum(nil))
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[key]; e != nil {
		e.used = p.o.Now()
		return e, nil
	}
	limit := rate.Inf
	if p.o.Rate > 0 {
		limit = rate.Limit(p.o.Rate)
	}
	secrets := slices.Concat(config.Secrets, sensitiveTexts(schema.Provider, config.Value))
	e := &entry{
		key: key, name: i.Source + " " + i.Version, command: c, schema: schema, config: config.Value, tool: tool,
		mask: newMasker(slices.Concat(t.Secrets, secrets)), secrets: secrets,
		slots: make(chan struct{}, p.o.Concurrency), limiter: rate.NewLimiter(limit, p.o.Concurrency), limit: limit,
		starts: make(chan struct{}, 1), used: p.o.Now(),
	}
	p.entries[key] = e
	return e, nil
}

// sensitiveTexts are the texts that a schema calls sensitive.
func sensitiveTexts(block *provider.Block, v cty.Value) []string {
	var texts []string
	_ = cty.Walk(v, func(path cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() && block.Sensitive(path) {
			texts = append(texts, v.AsString())
		}
		return true, nil
	})
	return texts
}
