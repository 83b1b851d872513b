package run

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// PlanOptions say what to plan.
type PlanOptions struct {
	Destroy, RefreshOnly bool
	// NoRefresh trusts the state about what is.
	NoRefresh bool
	// Targets and Replace are addresses.
	Targets, Replace []string
	// Keep is the file of an earlier plan that is not to be removed.
	Keep string
	// Always loads Planned.Plan, also where nothing changes.
	Always bool
	// Progress is told of each step. It may be nil.
	Progress func(Event)
}

// Planned is a saved plan.
type Planned struct {
	// File is the saved plan, which Apply takes. It holds secrets.
	File string
	// Fingerprint stands for all that the plan was made from: module, variables,
	// state, program. A plan with another is of another world.
	Fingerprint string
	// Changes tells whether there is anything to do, outputs included.
	Changes bool
	// Plan is what it says, unmasked: planjson masks it. It is nil where there
	// are no Changes and it was not asked for.
	Plan *tfjson.Plan
	// Lineage and Serial of the state that it was made from.
	Lineage string
	Serial  int64
	// Warnings of the program.
	Warnings []Diagnostic
}

// Plan makes a plan and saves it. The one before is removed, unless it is to be
// kept.
func (r *Runner) Plan(ctx context.Context, o PlanOptions) (*Planned, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	args, err := r.planArgs(o)
	if err != nil {
		return nil, err
	}
	var p *Planned
	err = r.withInit(ctx, func() error {
		p, err = r.planOnce(ctx, args, o)
		return err
	})
	return p, err
}

func (r *Runner) planArgs(o PlanOptions) ([]string, error) {
	args := []string{"plan", "-json", "-input=false", "-detailed-exitcode", r.planLock()}
	if o.Destroy {
		args = append(args, "-destroy")
	}
	if o.RefreshOnly {
		args = append(args, "-refresh-only")
	}
	if o.NoRefresh {
		args = append(args, "-refresh=false")
	}
	if r.config.Parallelism > 0 {
		args = append(args, "-parallelism="+strconv.Itoa(r.config.Parallelism))
	}
	for _, address := range slices.Concat(o.Targets, o.Replace) {
		if err := operand(address); err != nil {
			return nil, err
		}
	}
	for _, address := range o.Targets {
		args = append(args, "-target="+address)
	}
	for _, address := range o.Replace {
		args = append(args, "-replace="+address)
	}
	return append(args, r.variableArgs()...), nil
}

func (r *Runner) lockTimeout() string { return "-lock-timeout=" + r.config.LockTimeout.String() }

// planLock has the state locked in a backend of the module's own only. One run at a
// time is in our folder, and what a plan runs may not write to the state there.
func (r *Runner) planLock() string {
	if r.config.OwnBackend {
		return r.lockTimeout()
	}
	return "-lock=false"
}

func (r *Runner) planOnce(ctx context.Context, args []string, o PlanOptions) (*Planned, error) {
	if err := r.clearPlans(o.Keep); err != nil {
		return nil, err
	}
	file, made := filepath.Join(r.folder.plans(), "plan"), filepath.Join(r.folder.planning(), "plan")
	if file == o.Keep {
		file += "-2"
	}
	e, err := r.execute(ctx, job{operation: "plan", args: append(args, "-out="+made), planFile: made, env: r.workspaceEnv, progress: o.Progress, writes: []string{r.folder.planning()}})
	if err != nil {
		return nil, err
	}
	if err := r.verdict(ctx, "plan", e, 0, 2); err != nil {
		return nil, err
	}
	if err := takePlan(made, file); err != nil {
		return nil, err
	}
	p := &Planned{File: file, Changes: e.code == 2, Warnings: e.out.warnings()}
	if p.Changes || o.Always {
		if err := r.load(ctx, p); err != nil {
			return nil, err
		}
	}
	return p, r.fingerprint(ctx, p, o)
}

// takePlan copies a plan to where nothing that a plan runs may write: what is shown,
// and perhaps approved, is what is applied.
func takePlan(made, file string) error {
	content, err := ReadOwn(made)
	if err == nil {
		err = writeSecret(file, content)
	}
	if err = errors.Join(err, os.Remove(made)); err != nil {
		return fmt.Errorf("take the plan: %w", err)
	}
	return nil
}

func (r *Runner) clearPlans(but string) error {
	entries, err := os.ReadDir(r.folder.plans())
	if err != nil {
		return fmt.Errorf("remove the last plan: %w", err)
	}
	for _, entry := range entries {
		if filepath.Join(r.folder.plans(), entry.Name()) == but {
			continue
		}
		if err := os.Remove(filepath.Join(r.folder.plans(), entry.Name())); err != nil {
			return fmt.Errorf("remove the last plan: %w", err)
		}
	}
	return nil
}

// Load reads what a plan says, where Plan did not.
func (r *Runner) Load(ctx context.Context, p *Planned) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Plan != nil {
		return nil
	}
	return r.load(ctx, p)
}

func (r *Runner) load(ctx context.Context, p *Planned) error {
	out, err := r.queryFile(ctx, p.File, "show", r.workspaceEnv, "show", "-json", "-no-color", p.File)
	if err != nil {
		return err
	}
	var plan tfjson.Plan
	plan.UseJSONNumber(true)
	if err := json.Unmarshal(out, &plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	p.Plan = &plan
	r.masker.AddPlan(&plan)
	return nil
}

// fingerprint takes the hash of all that the plan depends on.
func (r *Runner) fingerprint(ctx context.Context, p *Planned, o PlanOptions) error {
	var err error
	if p.Lineage, p.Serial, err = r.stateOf(ctx, p.File); err != nil {
		return err
	}
	h := sha256.New()
	identity := r.config.Identity
	if identity == "" {
		if identity, err = hashTree(r.folder.Module); err != nil {
			return fmt.Errorf("hash the module: %w", err)
		}
	}
	fmt.Fprintf(h, "1 %q %q %q %q %d %+v\n", r.version, identity, r.config.Workspace, p.Lineage, p.Serial, []any{o.Destroy, o.RefreshOnly, o.NoRefresh, o.Targets, o.Replace})
	hashFile(h, r.folder.moduleLock())
	for _, file := range append([]string{r.folder.variables()}, r.config.VarFiles...) {
		hashFile(h, file)
	}
	p.Fingerprint = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return nil
}

// stateOf reads from a saved plan which state it was made from. An encrypted
// plan does not tell; then the state itself does.
func (r *Runner) stateOf(ctx context.Context, file string) (string, int64, error) {
	b, err := zipped(file, "tfstate")
	if err != nil {
		if b, err = r.pull(ctx); err != nil {
			return "", 0, err
		}
	}
	return lineage(b)
}

func lineage(state []byte) (string, int64, error) {
	var s struct {
		Lineage string `json:"lineage"`
		Serial  int64  `json:"serial"`
	}
	if len(bytes.TrimSpace(state)) == 0 {
		return "", 0, nil
	}
	if err := json.Unmarshal(state, &s); err != nil {
		return "", 0, fmt.Errorf("read the state: %w", err)
	}
	return s.Lineage, s.Serial, nil
}

func zipped(file, name string) ([]byte, error) {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	member, err := archive.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = member.Close() }()
	return io.ReadAll(member)
}

// hashTree hashes the files of a directory, but for what runs leave in it.
func hashTree(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".terraform" || d.Name() == ".git") && path != dir {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || strings.HasPrefix(d.Name(), overrideName) || d.Name() == lockFile || d.Name() == erroredState {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // only its hash is taken
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %d\n", name, len(b))
		h.Write(b)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// prepare makes ready to work: init, and no state left to recover.
func (r *Runner) prepare(ctx context.Context) error {
	if err := r.init(ctx, false); err != nil {
		return err
	}
	return r.recover(ctx)
}

// withInit does something, and once more after an init where the program asks
// for one: what init depends on was not seen to have changed.
func (r *Runner) withInit(ctx context.Context, do func() error) error {
	err := do()
	if err == nil || errors.Is(err, ErrDetached) || !says(err, "inconsistent dependency lock file", "backend initialization required", "module not installed", "required plugins are not installed", "missing required provider", "module source has changed", "module version requirements have changed", "tofu init", "terraform init") {
		return err
	}
	if err := r.init(ctx, true); err != nil {
		return err
	}
	return do()
}
