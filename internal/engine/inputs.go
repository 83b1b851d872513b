package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// outputs remembers the outputs of Applications, and which other ones use which
// of them: a changed one wakes exactly those.
type outputs struct {
	mu     sync.Mutex
	values map[Key]map[string]render.Value
	users  *relation[outputKey]
}

type outputKey struct {
	of   Key
	name string
}

func newOutputs() *outputs {
	return &outputs{values: map[Key]map[string]render.Value{}, users: newRelation[outputKey]()}
}

// publish takes the outputs of an Application, and gives those to wake that use
// one that has changed.
func (o *outputs) publish(key Key, values map[string]render.Value) []Key {
	o.mu.Lock()
	before, known := o.values[key]
	o.values[key] = values
	o.mu.Unlock()
	var changed []outputKey
	for name, v := range values {
		if was, ok := before[name]; !known || !ok || string(was.JSON) != string(v.JSON) || was.Sensitive != v.Sensitive {
			changed = append(changed, outputKey{key, name})
		}
	}
	for name := range before {
		if _, ok := values[name]; !ok {
			changed = append(changed, outputKey{key, name})
		}
	}
	if !known { // whoever waits for one that does not exist is told so
		changed = append(changed, outputKey{of: key})
	}
	return o.usersOf(changed)
}

// forget drops what is known of an Application that is gone, and gives those that
// used its outputs.
func (o *outputs) forget(key Key) []Key {
	o.mu.Lock()
	values, known := o.values[key]
	delete(o.values, key)
	o.mu.Unlock()
	o.users.put(key, nil)
	if !known {
		return nil
	}
	changed := []outputKey{{of: key}}
	for name := range values {
		changed = append(changed, outputKey{key, name})
	}
	return o.usersOf(changed)
}

func (o *outputs) usersOf(changed []outputKey) []Key {
	var keys []Key
	for _, c := range changed {
		keys = append(keys, o.users.sources(c)...)
	}
	return keys
}

func (o *outputs) of(key Key) (map[string]render.Value, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	values, known := o.values[key]
	return values, known
}

// use notes which outputs an Application uses. The empty name stands for the
// moment in which the outputs of another Application become known at all.
func (o *outputs) use(key Key, inputs []v1alpha1.Input) {
	var used []outputKey
	for _, in := range inputs {
		of := keyOfRef(key, in.From.Application)
		used = append(used, outputKey{of, in.From.Output}, outputKey{of: of})
	}
	slices.SortFunc(used, func(a, b outputKey) int { return strings.Compare(a.of.String()+" "+a.name, b.of.String()+" "+b.name) })
	o.users.put(key, slices.Compact(used))
}

// pendingInput is an error where an input is not known yet: it will be noticed
// when it is.
type pendingInput string //nolint:errname // that it is an error comes second

func (e pendingInput) Error() string { return string(e) }

// inputs gives the values that an Application takes from others.
func (e *Engine) inputs(key Key, app *v1alpha1.Application) (map[string]render.Value, error) {
	e.outputs.use(key, app.Spec.Inputs)
	if len(app.Spec.Inputs) == 0 {
		return nil, nil
	}
	values := map[string]render.Value{}
	for i, in := range app.Spec.Inputs {
		of := keyOfRef(key, in.From.Application)
		other, exists := e.Applications.Get(of)
		if !exists {
			return nil, pendingInput(fmt.Sprintf("%s (not found), whose output %q is the input %q", of, in.From.Output, in.Name))
		}
		if !e.Projects.Shares(app, key, other, of) {
			return nil, notShared(i, app, of)
		}
		all, known := e.outputs.of(of)
		if !known {
			return nil, pendingInput(fmt.Sprintf("%s (not looked at yet), whose output %q is the input %q", of, in.From.Output, in.Name))
		}
		v, ok := all[in.From.Output]
		switch {
		case !ok && e.unready(of) != "":
			return nil, pendingInput(fmt.Sprintf("%s (%s), which has no output %q yet", of, e.unready(of), in.From.Output))
		case !ok && len(all) == 0:
			return nil, invalid(fmt.Sprintf("spec.inputs[%d]: %s has no outputs", i, of))
		case !ok:
			return nil, invalid(fmt.Sprintf("spec.inputs[%d]: %s has no output %q (it has: %s)", i, of, in.From.Output, strings.Join(slices.Sorted(maps.Keys(all)), ", ")))
		}
		values[in.Name] = v
	}
	return values, nil
}

// notShared refuses an input of another project. What that one has is not told.
func notShared(i int, app *v1alpha1.Application, of Key) error {
	return invalid(fmt.Sprintf("spec.inputs[%d]: %s is of another project than %s, which does not share its outputs with it: put both into one, name %s in spec.outputs.sharedWith of the other project, or write the value down where both can read it", i, of, app.Spec.GetProject(), app.Spec.GetProject()))
}

// given are the values that a module gets from elsewhere than Git.
type given struct{ variables, env map[string]render.Value }

// given reads what a module's options name: Secrets and ConfigMaps, and the
// outputs of others.
func (e *Engine) given(ctx context.Context, r request, o *v1alpha1.ApplicationSourceTofu) (given, error) {
	g := given{variables: map[string]render.Value{}, env: map[string]render.Value{}}
	if o != nil {
		if err := e.read(ctx, r, "varsFrom", o.VarsFrom, g.variables); err != nil {
			return given{}, err
		}
		if err := e.read(ctx, r, "envFrom", o.EnvFrom, g.env); err != nil {
			return given{}, err
		}
	}
	maps.Copy(g.variables, r.inputs)
	return g, nil
}

func (e *Engine) read(ctx context.Context, r request, field string, from []v1alpha1.TofuVarsFrom, into map[string]render.Value) error {
	for i, f := range from {
		if e.Values == nil {
			return fmt.Errorf("tofu.%s: Secrets and ConfigMaps can't be read here", field)
		}
		secret, name := f.Secret != "", f.Secret+f.ConfigMap
		data, err := e.Values.Get(ctx, r.key, r.app.Spec.GetProject(), secret, name)
		if err != nil {
			return fmt.Errorf("tofu.%s[%d]: %w", field, i, err)
		}
		keys := f.Keys
		if len(keys) == 0 {
			keys = slices.Collect(maps.Keys(data))
		}
		for _, k := range keys {
			text, ok := data[k]
			if !ok {
				return fmt.Errorf("tofu.%s[%d]: %s has no key %q (it has: %s)", field, i, name, k, strings.Join(slices.Sorted(maps.Keys(data)), ", "))
			}
			value, err := json.Marshal(string(text))
			if err != nil {
				return fmt.Errorf("tofu.%s[%d]: %s: %w", field, i, k, err)
			}
			into[k] = render.Value{JSON: value, Sensitive: secret, Optional: len(f.Keys) == 0}
		}
	}
	return nil
}

// hash is of the values themselves.
func (g given) hash(inputs map[string]render.Value) string {
	var parts []string
	for _, m := range []map[string]render.Value{inputs, g.variables, g.env} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, name, string(m[name].JSON))
		}
		parts = append(parts, "")
	}
	return hashOf(parts...)
}

// isModule tells whether an Application's source is known to be a module.
func isModule(app *v1alpha1.Application) bool {
	if app.Status.SourceType == v1alpha1.ApplicationSourceTypeTofu || slices.Contains(app.Status.SourceTypes, v1alpha1.ApplicationSourceTypeTofu) {
		return true
	}
	return slices.ContainsFunc(app.Spec.GetSources(), func(s v1alpha1.ApplicationSource) bool { return s.Tofu != nil })
}

// publish writes an Application's outputs to where its options say.
func (p *pass) publish(ctx context.Context) {
	if !p.compared || p.st.desired == nil || p.st.desired.bundle.Module == nil {
		return
	}
	o := p.st.desired.bundle.Module.Options.Outputs
	if o == nil || o.Secret == "" || p.e.Values == nil || p.deleting() {
		return
	}
	data := map[string][]byte{}
	for _, name := range outputNames(p.st.comparison.Outputs, o) {
		data[name] = []byte(p.st.comparison.Outputs[name].Text())
	}
	p.st.unpublished = ""
	if err := p.e.Values.Publish(ctx, p.app, p.key, o.Secret, data); err != nil {
		p.st.unpublished = fmt.Sprintf("the outputs are not written to the Secret %s: %v", o.Secret, err)
		p.e.queue.addAfter(p.key, stalePause)
	}
}

func outputNames(all map[string]render.Value, o *v1alpha1.TofuOutputs) []string {
	names := slices.Sorted(maps.Keys(all))
	if o == nil || len(o.Names) == 0 {
		return names
	}
	return slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(o.Names, n) })
}

// maxOutput bounds what of an output is in a status.
const maxOutput = 4 << 10

// outputStatus is what a status shows of outputs.
func (p *pass) outputStatus() []v1alpha1.ApplicationOutput {
	if p.st.desired == nil || p.st.desired.bundle.Module == nil {
		return nil
	}
	o := p.st.desired.bundle.Module.Options.Outputs
	if o != nil && o.Status != nil && !*o.Status {
		return nil
	}
	var out []v1alpha1.ApplicationOutput
	for _, name := range outputNames(p.st.comparison.Outputs, o) {
		v := p.st.comparison.Outputs[name]
		if v.Sensitive {
			continue
		}
		text := v.Text()
		if len(text) > maxOutput {
			text = text[:maxOutput] + "…"
		}
		out = append(out, v1alpha1.ApplicationOutput{Name: name, Value: strings.ToValidUTF8(text, "\uFFFD")})
	}
	return out
}

// previewInputs gives the inputs also where no engine runs: as the others' status
// shows them.
func (e *Engine) previewInputs(app *v1alpha1.Application, key Key) (map[string]render.Value, error) {
	values := map[string]render.Value{}
	for i, in := range app.Spec.Inputs {
		of := keyOfRef(key, in.From.Application)
		other, ok := e.Applications.Get(of)
		if !ok {
			return nil, fmt.Errorf("spec.inputs[%d]: there is no Application %s", i, of)
		}
		if !e.Projects.Shares(app, key, other, of) {
			return nil, notShared(i, app, of)
		}
		if all, known := e.outputs.of(of); known {
			if v, ok := all[in.From.Output]; ok {
				values[in.Name] = v
				continue
			}
		}
		at := slices.IndexFunc(other.Status.Outputs, func(o v1alpha1.ApplicationOutput) bool { return o.Name == in.From.Output })
		if at < 0 {
			return nil, fmt.Errorf("spec.inputs[%d]: the status of %s shows no output %q: it does not exist, is sensitive, or was not applied yet", i, of, in.From.Output)
		}
		text := []byte(other.Status.Outputs[at].Value)
		if !json.Valid(text) {
			quoted, err := json.Marshal(string(text))
			if err != nil {
				return nil, fmt.Errorf("spec.inputs[%d]: %w", i, err)
			}
			text = quoted
		}
		values[in.Name] = render.Value{JSON: text}
	}
	return values, nil
}

// sensitive are the texts of the inputs that must not be shown, wherever they end
// up.
func sensitive(inputs map[string]render.Value) render.Texts {
	var texts []string
	for _, v := range inputs {
		if v.Sensitive {
			texts = append(texts, v.Text())
		}
	}
	return render.NewTexts(texts)
}
