package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// Output is an output of the module.
type Output struct {
	// Value is its JSON, unmasked.
	Value json.RawMessage `json:"value"`
	// Type is the JSON of its type: "string", ["list","string"], …
	Type      json.RawMessage `json:"type"`
	Sensitive bool            `json:"sensitive"`
}

// Outputs of the module, as the state has them. The sensitive ones are masked
// from now on wherever they turn up.
func (r *Runner) Outputs(ctx context.Context) (map[string]Output, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, err := r.ask(ctx, "output", "output", "-json", "-no-color")
	if err != nil {
		return nil, err
	}
	outputs := map[string]Output{}
	if err := json.Unmarshal(out, &outputs); err != nil {
		return nil, fmt.Errorf("read the outputs: %w", err)
	}
	for _, o := range outputs {
		if o.Sensitive {
			var v any
			if d := json.NewDecoder(bytes.NewReader(o.Value)); json.Unmarshal(o.Value, &v) == nil {
				d.UseNumber()
				_ = d.Decode(&v)
				r.masker.addAll(v)
			}
		}
	}
	return outputs, nil
}

// State is what the state holds, unmasked, with what is sensitive in it marked.
// Its secrets are masked from now on wherever they turn up.
func (r *Runner) State(ctx context.Context) (*tfjson.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.init(ctx, false); err != nil {
		return nil, err
	}
	return r.state(ctx)
}

func (r *Runner) state(ctx context.Context) (*tfjson.State, error) {
	out, err := r.query(ctx, "show", r.workspaceEnv, "show", "-json", "-no-color")
	if err != nil {
		return nil, err
	}
	var s tfjson.State
	s.UseJSONNumber(true)
	if err := json.Unmarshal(out, &s); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	r.masker.AddState(&s)
	return &s, nil
}

// ask is a query that needs init.
func (r *Runner) ask(ctx context.Context, operation string, args ...string) ([]byte, error) {
	if err := r.init(ctx, false); err != nil {
		return nil, err
	}
	var out []byte
	err := r.withInit(ctx, func() (err error) {
		out, err = r.query(ctx, operation, r.workspaceEnv, args...)
		return err
	})
	return out, err
}

// Pull returns the state file, unmasked; empty where there is none yet.
func (r *Runner) Pull(ctx context.Context) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.init(ctx, false); err != nil {
		return nil, err
	}
	return r.pull(ctx)
}

func (r *Runner) pull(ctx context.Context) ([]byte, error) {
	return r.query(ctx, "state pull", r.workspaceEnv, "state", "pull")
}

// List returns the addresses of the state's resources.
func (r *Runner) List(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, err := r.ask(ctx, "state list", "state", "list")
	if says(err, "no state file was found") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(out), func(c rune) bool { return c == '\n' || c == '\r' }), nil
}

// Show is a resource for people to read, masked.
func (r *Runner) Show(ctx context.Context, address string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := operand(address); err != nil {
		return "", err
	}
	if err := r.init(ctx, false); err != nil {
		return "", err
	}
	if _, err := r.state(ctx); err != nil { // for the secrets in it
		return "", err
	}
	out, err := r.ask(ctx, "state show", "state", "show", "-no-color", address)
	return r.masker.Mask(string(out)), err
}

// Push replaces the state by a file of a newer one of the same lineage.
func (r *Runner) Push(ctx context.Context, file string) error {
	return r.changeBy(ctx, job{operation: "state push", reads: []string{file}}, nil, "state", "push", r.lockTimeout(), file)
}

// Remove lets resources out of the state without destroying them.
func (r *Runner) Remove(ctx context.Context, addresses ...string) error {
	return r.change(ctx, "state rm", addresses, append([]string{"state", "rm", r.lockTimeout()}, addresses...)...)
}

// Move gives a resource of the state another address.
func (r *Runner) Move(ctx context.Context, from, to string) error {
	return r.change(ctx, "state mv", []string{from, to}, "state", "mv", r.lockTimeout(), from, to)
}

// Import takes something that exists into the state, as the resource that the
// module declares at an address.
func (r *Runner) Import(ctx context.Context, address, id string) error {
	r.mu.Lock()
	args := append([]string{"import", "-input=false", "-no-color", r.lockTimeout()}, r.variableArgs()...)
	r.mu.Unlock()
	return r.change(ctx, "import", []string{address, id}, append(args, address, id)...)
}

// ForceUnlock releases the state's lock of an id, whoever holds it.
func (r *Runner) ForceUnlock(ctx context.Context, id string) error {
	return r.change(ctx, "force-unlock", []string{id}, "force-unlock", "-force", id)
}

// change runs a command that changes the state.
func (r *Runner) change(ctx context.Context, operation string, operands []string, args ...string) error {
	return r.changeBy(ctx, job{operation: operation}, operands, args...)
}

func (r *Runner) changeBy(ctx context.Context, j job, operands []string, args ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range operands {
		if err := operand(o); err != nil {
			return err
		}
	}
	prepare := r.prepare
	if j.operation == "force-unlock" { // what can't be recovered may wait for this
		prepare = func(ctx context.Context) error { return r.init(ctx, false) }
	}
	if err := prepare(ctx); err != nil {
		return err
	}
	j.args, j.env = args, r.workspaceEnv
	return r.withInit(ctx, func() error { return r.changeOnce(ctx, j) })
}

func (r *Runner) changeOnce(ctx context.Context, j job) error {
	e, err := r.execute(ctx, j)
	if err != nil {
		return err
	}
	return r.verdict(ctx, j.operation, e, 0)
}

// operand refuses what the program would take for an option.
func operand(text string) error {
	if text == "" || strings.HasPrefix(text, "-") || strings.ContainsAny(text, "\x00\n") {
		return configError("Invalid argument", fmt.Sprintf("%q is neither an address nor an id", text))
	}
	return nil
}

// remask masks an error by what has been learned since.
func (r *Runner) remask(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	for i := range e.Diagnostics {
		d := &e.Diagnostics[i]
		d.Summary, d.Detail = r.masker.Mask(d.Summary), r.masker.Mask(d.Detail)
	}
	if e.Cause != nil && len(e.Errors()) == 0 {
		if text := e.Cause.Error(); r.masker.Mask(text) != text {
			e.Cause = errors.New(r.masker.Mask(text))
		}
	}
	return err
}
