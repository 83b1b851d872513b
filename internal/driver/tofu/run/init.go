package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

// stamp says for what the folder has been initialised.
type stamp struct {
	// Needs is the hash of all that init depends on.
	Needs string `json:"needs"`
	// Base is the hash of the module's own lock file that the kept one was made
	// from, or "" where the module has none.
	Base    string `json:"base"`
	Program string `json:"program"`
	Version string `json:"version"`
	Size    int64  `json:"size"`
	Time    int64  `json:"time"`
}

// Init makes the folder ready to plan, if it is not: only when the program, the
// lock file, the backend, the calls of modules or the providers have changed.
// Plan and the other methods do it by themselves.
func (r *Runner) Init(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.init(ctx, false)
}

// init writes what the module's directory needs beside its files, which the
// caller may have written anew, and runs init if need be.
func (r *Runner) init(ctx context.Context, force bool) error {
	if rec, running := Running(r.folder); running {
		return &Error{Kind: KindBusy, Operation: "init", Cause: fmt.Errorf("%s (process %d) is still under way", rec.Operation, rec.PID)}
	}
	if err := r.remember(); err != nil {
		return err
	}
	// What a run has left is safe: this one would be the repository's, and is
	// nothing to recover.
	if err := os.Remove(filepath.Join(r.folder.Module, erroredState)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("init: %w", err)
	}
	version, err := r.programVersion(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(r.writeBackend(), r.writeVariables()); err != nil {
		return err
	}
	old := r.folder.readStamp()
	base, err := r.placeLock(old)
	if err != nil {
		return err
	}
	needs := func() string { return r.needs(version) }
	if !force && old != nil && old.Needs == needs() && old.Base == base && r.initialised() {
		return nil
	}
	if err := os.Remove(r.folder.stamp()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("init: %w", err)
	}
	if err := r.lockedInit(ctx, base != ""); err != nil {
		return err
	}
	if err := r.checkBackend(); err != nil {
		return err
	}
	if r.config.Check != nil {
		if err := r.config.Check(); err != nil {
			return err
		}
	}
	if err := r.selectWorkspace(ctx); err != nil {
		return err
	}
	if err := r.keepLock(); err != nil {
		return err
	}
	return r.folder.writeStamp(r.stampOf(needs(), base, version))
}

func (r *Runner) initialised() bool {
	_, err := os.Stat(filepath.Join(r.folder.data(), "terraform.tfstate"))
	return err == nil || r.config.OwnBackend
}

func (f Folder) readStamp() *stamp {
	var s stamp
	b, err := os.ReadFile(f.stamp())
	if err != nil || json.Unmarshal(b, &s) != nil {
		return nil
	}
	return &s
}

func (f Folder) writeStamp(s stamp) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return writeSecret(f.stamp(), b)
}

func (r *Runner) stampOf(needs, base, version string) stamp {
	s := stamp{Needs: needs, Base: base, Program: r.config.Program, Version: version}
	if info, err := os.Stat(r.config.Program); err == nil {
		s.Size, s.Time = info.Size(), info.ModTime().UnixNano()
	}
	return s
}

// programVersion asks the program for its version, once for each program.
func (r *Runner) programVersion(ctx context.Context) (string, error) {
	if r.version != "" {
		return r.version, nil
	}
	if s := r.folder.readStamp(); s != nil && s.Version != "" && *s == r.stampOf(s.Needs, s.Base, s.Version) {
		r.version = s.Version
		return r.version, nil
	}
	out, err := r.query(ctx, "version", nil, "version", "-json")
	if err != nil {
		return "", err
	}
	var v struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &v); err != nil || v.Version == "" {
		return "", &Error{Kind: KindProgram, Operation: "version", Cause: fmt.Errorf("%s does not tell its version: is it OpenTofu or Terraform?", r.config.Program)}
	}
	name := "terraform"
	if text, err := r.query(ctx, "version", nil, "version"); err == nil && strings.HasPrefix(string(text), "OpenTofu") {
		name = "tofu"
	}
	r.version = name + " " + v.Version
	return r.version, nil
}

// writeBackend writes the file that puts the state into the folder, or the
// file of the backend's settings. It is written under the names that either
// program prefers, so that no file of the module stands before it.
func (r *Runner) writeBackend() error {
	overrides := []string{overrideName + ".tf", overrideName + ".tofu", overrideName + ".tf.json", overrideName + ".tofu.json"}
	for _, name := range overrides {
		if err := os.Remove(filepath.Join(r.folder.Module, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write the backend: %w", err)
		}
	}
	if r.config.OwnBackend {
		return r.writeBackendConfig()
	}
	file := hclwrite.NewEmptyFile()
	backend := file.Body().AppendNewBlock("terraform", nil).Body().AppendNewBlock("backend", []string{"local"}).Body()
	backend.SetAttributeValue("path", cty.StringVal(r.folder.State("")))
	backend.SetAttributeValue("workspace_dir", cty.StringVal(filepath.Join(r.folder.Path, "state", "workspaces")))
	name := overrideName + ".tf"
	if strings.HasPrefix(r.version, "tofu") {
		name = overrideName + ".tofu"
	}
	return writeSecret(filepath.Join(r.folder.Module, name), file.Bytes())
}

func (r *Runner) writeBackendConfig() error {
	file := hclwrite.NewEmptyFile()
	for _, name := range slices.Sorted(maps.Keys(r.config.BackendConfig)) {
		text := r.config.BackendConfig[name]
		if _, diags := hclfile.ParseExpression([]byte(text), name); !hclsyntax.ValidIdentifier(name) || diags.HasErrors() {
			return configError("Invalid backend setting", fmt.Sprintf("the setting %q of the backend is not a name with an HCL expression", name))
		}
		file.Body().SetAttributeRaw(name, rawTokens(text))
	}
	return writeSecret(r.folder.backend(), file.Bytes())
}

// checkBackend makes sure that the state is where we put it: a module could
// override the backend once more.
func (r *Runner) checkBackend() error {
	if r.config.OwnBackend {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(r.folder.data(), "terraform.tfstate"))
	var s struct {
		Backend struct {
			Type   string `json:"type"`
			Config struct {
				Path string `json:"path"`
			} `json:"config"`
		} `json:"backend"`
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Backend.Type == "local" && s.Backend.Config.Path == r.folder.State("") {
		return nil
	}
	return configError("Backend overridden", "a file of the module (*_override.tf) sets a backend over the one that Plumb gives it: remove it, or let the module have its own backend")
}

// placeLock puts the kept lock file into the module's directory where the
// module's own is the one that it was made from, and returns the hash of that.
func (r *Runner) placeLock(old *stamp) (base string, err error) {
	own, err := ReadOwn(r.folder.moduleLock())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("read the module's lock file: %w", err)
	}
	kept, _ := os.ReadFile(r.folder.keptLock())
	if old != nil && own != nil && string(own) == string(kept) {
		return old.Base, nil // it is what we left there
	}
	if own != nil {
		base = hashOf(own)
	}
	if old == nil || old.Base != base || kept == nil {
		return base, nil
	}
	return base, writeSecret(r.folder.moduleLock(), kept)
}

func (r *Runner) keepLock() error {
	b, err := ReadOwn(r.folder.moduleLock())
	if errors.Is(err, fs.ErrNotExist) { // a module without providers
		if err := os.Remove(r.folder.keptLock()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep the lock file: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep the lock file: %w", err)
	}
	return writeSecret(r.folder.keptLock(), b)
}

// lockedInit runs init while nobody else writes to the cache of providers.
func (r *Runner) lockedInit(ctx context.Context, locked bool) error {
	unlock, err := lockCache(ctx, r.config.PluginCache)
	if err != nil {
		return err
	}
	defer unlock()
	if shared := r.config.PluginCache; shared != "" {
		if err := os.MkdirAll(cacheOf(shared), 0o700); err != nil { // the programs do not make it
			return fmt.Errorf("make the cache of providers: %w", err)
		}
	}
	if err := r.runInit(ctx, locked); err != nil {
		return err
	}
	return detach(r.folder.data(), r.config.PluginCache)
}

// runInit runs init: strictly by the module's own lock file if that suffices.
// Where the module has none, a kept one gives way to what the module asks for.
func (r *Runner) runInit(ctx context.Context, locked bool) error {
	if err := os.Remove(filepath.Join(r.folder.data(), "environment")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("init: %w", err)
	}
	args := []string{"init", "-json", "-no-color", "-input=false", "-reconfigure"}
	if r.config.OwnBackend && len(r.config.BackendConfig) > 0 {
		args = append(args, "-backend-config="+r.folder.backend())
	}
	args = append(args, r.earlyVariables()...)
	if locked {
		err := r.initOnce(ctx, append(args, "-lockfile=readonly"))
		if err == nil || !says(err, "dependency changes detected", "lock file needs to be updated", "provider lock file not updated") {
			return err
		}
		return r.initOnce(ctx, args)
	}
	err := r.initOnce(ctx, args)
	if err == nil || !says(err, "init -upgrade", "any of the checksums") {
		return err
	}
	if err := os.Remove(r.folder.moduleLock()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("init: %w", err)
	}
	return r.initOnce(ctx, append(args, "-upgrade"))
}

// earlyVariables are those that OpenTofu may need for sources and backends.
// Terraform's init does not know the option.
func (r *Runner) earlyVariables() []string {
	if strings.HasPrefix(r.version, "tofu") {
		return r.variableArgs()
	}
	return nil
}

func (r *Runner) initOnce(ctx context.Context, args []string) error {
	e, err := r.execute(ctx, job{operation: "init", args: args, env: r.cacheEnv})
	if err != nil {
		return err
	}
	return r.verdict(ctx, "init", e, 0)
}

// says tells whether an error's diagnostics have one of some texts.
func says(err error, texts ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, d := range e.Errors() {
		for _, text := range texts {
			if strings.Contains(strings.ToLower(oneLine(d.Summary+" "+d.Detail)), text) {
				return true
			}
		}
	}
	return false
}

// selectWorkspace makes the workspace if the state has none of that name.
func (r *Runner) selectWorkspace(ctx context.Context) error {
	w := r.config.Workspace
	if w == "" || w == defaultWorkspace {
		return nil
	}
	if strings.HasPrefix(w, "-") {
		return configError("Invalid workspace", fmt.Sprintf("%q can't be the name of a workspace", w))
	}
	e, err := r.execute(ctx, job{operation: "workspace", args: []string{"workspace", "select", "-no-color", "-or-create", w}})
	if err != nil {
		return err
	}
	return r.verdict(ctx, "workspace", e, 0)
}

// needs is the hash of all that init depends on. It may change where init is
// not needed; where init is needed and it has not changed, the program says so
// and init is done then.
func (r *Runner) needs(version string) string {
	h := sha256.New()
	fmt.Fprintln(h, "1", r.config.Program, version, r.config.OwnBackend, r.config.Workspace, r.config.PluginCache)
	hashFile(h, r.folder.moduleLock())
	hashFile(h, r.config.CLIConfig)
	if r.config.OwnBackend {
		hashFile(h, r.folder.backend())
		for _, entry := range slices.Sorted(slices.Values(r.config.Env)) { // backends take their settings from there, too
			fmt.Fprintf(h, "%q\n", entry)
		}
	}
	seen := map[string]bool{}
	hashModule(h, r.folder.Module, seen)
	return hex.EncodeToString(h.Sum(nil))
}

// maxModules bounds how many local modules are looked into.
const maxModules = 1000

// hashModule hashes what of a module init depends on, and of the modules that
// it calls by relative paths: settings, calls, providers, and the types of
// resources, which imply providers.
func hashModule(h hash.Hash, dir string, seen map[string]bool) {
	if seen[dir] || len(seen) >= maxModules {
		return
	}
	seen[dir] = true
	files := parseDir(dir)
	types := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		body, ok := files[name].Body.(*hclsyntax.Body)
		if !ok {
			h.Write(files[name].Bytes) // JSON: all of it
			continue
		}
		for _, block := range body.Blocks {
			switch block.Type {
			case "terraform", "provider", "module":
				h.Write(block.Range().SliceBytes(files[name].Bytes))
				h.Write(hcl.RangeBetween(block.OpenBraceRange, block.CloseBraceRange).SliceBytes(files[name].Bytes))
			case "resource", "data", "ephemeral":
				if len(block.Labels) > 0 {
					types[block.Type+" "+block.Labels[0]] = true
				}
			}
			if child := localModule(block); child != "" {
				hashModule(h, filepath.Join(dir, child), seen)
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(types)) {
		fmt.Fprintln(h, t)
	}
}

func localModule(block *hclsyntax.Block) string {
	if block.Type != "module" || block.Body.Attributes["source"] == nil {
		return ""
	}
	v, diags := block.Body.Attributes["source"].Expr.Value(nil)
	if diags.HasErrors() || v.Type() != cty.String || v.IsNull() || !v.IsKnown() {
		return ""
	}
	if source := v.AsString(); strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") {
		return source
	}
	return ""
}

func hashFile(h hash.Hash, path string) {
	b, err := ReadOwn(path)
	fmt.Fprintln(h, len(b), err == nil)
	h.Write(b)
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
