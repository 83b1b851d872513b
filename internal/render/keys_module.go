package render

import (
	"fmt"
	"maps"
	"slices"
)

// module looks up the references in the variables, the environment and the backend
// of a module. What they mean is sensitive, and no longer an option, which is shown.
func (o *Opened) module(b *Bundle) error {
	if b.Module == nil {
		return nil
	}
	m := *b.Module
	m.Options = *m.Options.DeepCopy()
	l := &moduleLookup{opened: o}
	m.Variables = l.all("tofu.vars.", m.Options.Vars, m.Variables)
	m.Backend = l.all("tofu.backend.", m.Options.Backend, m.Backend)
	m.Env = maps.Clone(m.Env)
	env := m.Options.Env[:0:0]
	for _, e := range m.Options.Env {
		if !l.one("tofu.env.", e.Name, e.Value, &m.Env) {
			env = append(env, e)
		}
	}
	if l.err != nil || l.found == "" {
		return l.err
	}
	m.Options.Env = env
	b.Module, b.Hash = &m, hashText(b.Hash + "\n" + l.found)[:32]
	return nil
}

// moduleLookup looks up what stands in a module's options, until something fails.
type moduleLookup struct {
	opened *Opened
	found  string
	err    error
}

// all looks up the values of a map, and takes those away that are references.
func (l *moduleLookup) all(where string, options map[string]string, known map[string]Value) map[string]Value {
	into := maps.Clone(known)
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if l.one(where, name, options[name], &into) {
			delete(options, name)
		}
	}
	return into
}

// one tells whether a text is a reference, which it has looked up.
func (l *moduleLookup) one(where, name, text string, into *map[string]Value) bool {
	if l.err != nil {
		return false
	}
	w := &referenceWalk{opened: l.opened, where: where}
	v, err := w.text(text, name)
	if err != nil || !w.changed {
		l.err = err
		return false
	}
	asJSON, err := Canonical(v)
	if err != nil {
		l.err = fmt.Errorf("%s%s: %w", where, name, err)
		return false
	}
	if *into == nil {
		*into = map[string]Value{}
	}
	(*into)[name] = Value{JSON: asJSON, Sensitive: true}
	l.found += fmt.Sprintf("%q %q %q\n", where, name, asJSON)
	return true
}
