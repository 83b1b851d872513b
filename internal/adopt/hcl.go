package adopt

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/hclfile"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// knownLater stands for values that only an apply tells: nobody declares them.
const knownLater = "(known after apply)"

// module adopts a field of a module's resource.
func (s *session) module(d Drift, f Field) {
	if f.Declared == knownLater {
		return
	}
	i := slices.Index(s.kinds, v1alpha1.ApplicationSourceTypeTofu)
	if i < 0 {
		s.refuse(d, f, "no source of the Application is a module")
		return
	}
	if why := s.Sources[i].ReadOnly; why != "" {
		s.refuseModule(d, f, why)
		return
	}
	if err := s.uniform(d, f); err != nil {
		s.refuseModule(d, f, err.Error())
		return
	}
	e := &moduleEditor{s: s, source: i, module: s.bundle.Module, parsed: map[string]*hclsyntax.Body{}}
	edit, err := e.field(d.Ref.Name, f)
	if err != nil {
		s.refuseModule(d, f, err.Error())
		return
	}
	if edit.text != nil { // otherwise an earlier edit has done it
		data, err := e.apply(edit)
		if err != nil {
			s.refuseModule(d, f, err.Error())
			return
		}
		s.edits = merged(s.edits, candidate{source: i, files: map[string][]byte{edit.file: data}})
	}
	s.adopted(d, f, edit.file)
}

func (s *session) refuseModule(d Drift, f Field, why string) {
	patch := ""
	if f.HasLive {
		patch = fmt.Sprintf("# %s\n%s = %s\n", d.Ref.Name, f.Path, literal(f.Live, ""))
	}
	s.out.Refused = append(s.out.Refused, Refusal{Ref: d.Ref, Field: f.Path.String(), Reason: why, Patch: patch})
}

// uniform refuses to edit what is declared once for several instances, unless
// all of them have drifted to the same value.
func (s *session) uniform(d Drift, f Field) error {
	at := parseAddress(d.Ref.Name)
	if at.repeatedModule {
		return errors.New("it is in a module that is called with count or for_each: an edit would change the others, too")
	}
	if !at.repeated {
		return nil
	}
	for _, ref := range s.Resources {
		other := parseAddress(ref.Name)
		if ref.Kind != d.Ref.Kind || !slices.Equal(other.modules, at.modules) || other.name != at.name || ref == d.Ref {
			continue
		}
		if !s.drifted(ref, f) {
			return fmt.Errorf("it is declared once for all instances (count or for_each), and %s has not changed in the same way", ref.Name)
		}
	}
	return nil
}

func (s *session) drifted(ref plan.Ref, f Field) bool {
	for _, d := range s.Drift {
		if d.Ref == ref {
			live, there := get(d.Live, f.Path)
			return there == f.HasLive && (!there || equal(live, f.Live))
		}
	}
	return false
}

// address is where a resource is declared.
type address struct {
	modules                  []string
	kind, name               string
	repeated, repeatedModule bool
}

// parseAddress reads module.a.module.b["k"].type.name[0].
func parseAddress(s string) address {
	var parts []string
	var indexed []bool
	begin, bracket, quoted := 0, false, false
	push := func(end int) {
		part := s[begin:end]
		name, _, has := strings.Cut(part, "[")
		parts, indexed = append(parts, name), append(indexed, has)
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == ']':
			bracket = c == '['
		case c == '.' && !bracket:
			push(i)
			begin = i + 1
		}
	}
	push(len(s))
	var a address
	for len(parts) > 2 && parts[0] == "module" {
		a.modules = append(a.modules, parts[1])
		a.repeatedModule = a.repeatedModule || indexed[1]
		parts, indexed = parts[2:], indexed[2:]
	}
	if len(parts) == 2 {
		a.kind, a.name, a.repeated = parts[0], parts[1], indexed[1]
	}
	return a
}

// moduleEditor finds where a value is written in the files of a module.
type moduleEditor struct {
	s      *session
	source int
	module *render.Module
	parsed map[string]*hclsyntax.Body
}

// hclEdit replaces bytes of a file. No text is nothing to do.
type hclEdit struct {
	file     string
	from, to int
	text     []byte
}

// scope is a folder of a module as it is called; the root is called by nobody.
type scope struct {
	dir    string
	call   *hclsyntax.Block
	caller *scope
}

// body parses a file as it is with the edits.
func (e *moduleEditor) body(name string) (*hclsyntax.Body, error) {
	data, err := e.content(name)
	if err != nil {
		return nil, err
	}
	if b, ok := e.parsed[name]; ok {
		return b, nil
	}
	f, diags := hclfile.Parse(data, name)
	if diags.HasErrors() {
		return nil, diags
	}
	b, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return nil, fmt.Errorf("%s is JSON: modules are edited in their own language only", name)
	}
	e.parsed[name] = b
	return b, nil
}

func (e *moduleEditor) content(name string) ([]byte, error) {
	if data, ok := e.s.edits[e.source][name]; ok {
		return data, nil
	}
	if data, ok := e.module.Files[name]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("%s: %w", name, errGone)
}

// files of a folder, by name.
func (e *moduleEditor) files(dir string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(e.module.Files)) {
		if path.Dir(name) != dir || !hclfile.Configuration(path.Base(name)) || strings.HasSuffix(name, ".json") {
			continue
		}
		if base, ok := strings.CutSuffix(name, ".tf"); ok && e.module.Files[base+".tofu"] != nil {
			continue // the other one is read in its place
		}
		out = append(out, name)
	}
	return out
}

// blocks of a folder by type and labels.
func (e *moduleEditor) blocks(dir, kind string, labels ...string) ([]*hclsyntax.Block, error) {
	var out []*hclsyntax.Block
	for _, name := range e.files(dir) {
		b, err := e.body(name)
		if err != nil {
			return nil, err
		}
		for _, block := range b.Blocks {
			if block.Type == kind && len(block.Labels) >= len(labels) && slices.Equal(block.Labels[:len(labels)], labels) {
				out = append(out, block)
			}
		}
	}
	return out, nil
}

func (e *moduleEditor) one(dir, kind string, labels ...string) (*hclsyntax.Block, error) {
	found, err := e.blocks(dir, kind, labels...)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("there is no %s %s in %s", kind, strings.Join(labels, "."), dir)
	case len(found) > 1:
		return nil, fmt.Errorf("there are several %s %s in %s", kind, strings.Join(labels, "."), dir)
	}
	return found[0], nil
}

// field finds the edit for a field of a resource.
func (e *moduleEditor) field(name string, f Field) (hclEdit, error) {
	at := parseAddress(name)
	if at.kind == "" {
		return hclEdit{}, fmt.Errorf("%s is no resource that is declared in a file", name)
	}
	in, err := e.scope(at.modules)
	if err != nil {
		return hclEdit{}, err
	}
	block, err := e.one(in.dir, "resource", at.kind, at.name)
	if err != nil {
		return hclEdit{}, err
	}
	return e.inBody(in, block.Body, f.Path, f)
}

// scope follows calls of local modules.
func (e *moduleEditor) scope(modules []string) (*scope, error) {
	in := &scope{dir: e.module.Dir}
	for _, name := range modules {
		call, err := e.one(in.dir, "module", name)
		if err != nil {
			return nil, err
		}
		from := literalOf(call.Body, "source")
		if !strings.HasPrefix(from, "./") && !strings.HasPrefix(from, "../") {
			return nil, fmt.Errorf("it is declared in the module %q, which comes from elsewhere (%s)", name, from)
		}
		dir, err := render.Resolve(in.dir, from)
		if err != nil {
			return nil, err
		}
		in = &scope{dir: dir, call: call, caller: in}
	}
	return in, nil
}

func literalOf(b *hclsyntax.Body, name string) string {
	a := b.Attributes[name]
	if a == nil {
		return ""
	}
	v, ok := valueOf(a.Expr)
	s, isText := v.(string)
	if !ok || !isText {
		return ""
	}
	return s
}

// alone refuses edits of a module that is called more than once.
func (e *moduleEditor) alone(in *scope) error {
	if in.call == nil {
		return nil
	}
	calls := 0
	dirs := map[string]bool{}
	for name := range e.module.Files {
		if hclfile.Configuration(path.Base(name)) {
			dirs[path.Dir(name)] = true
		}
	}
	for dir := range dirs {
		found, err := e.blocks(dir, "module")
		if err != nil {
			return err
		}
		for _, call := range found {
			if to, err := render.Resolve(dir, literalOf(call.Body, "source")); err == nil && to == in.dir && strings.HasPrefix(literalOf(call.Body, "source"), ".") {
				calls++
			}
		}
	}
	if calls > 1 {
		return fmt.Errorf("it is written in the module %s, which is called %d times: the others would change with it", in.dir, calls)
	}
	return e.alone(in.caller)
}
