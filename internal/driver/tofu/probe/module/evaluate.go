package module

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Dependency is something that only a real plan knows, and where it is used.
type Dependency struct {
	What string
	File string
	Line int
}

func dependency(what string, at hcl.Range) Dependency {
	return Dependency{What: what, File: at.Filename, Line: at.Start.Line}
}

func (d Dependency) String() string {
	if d.File == "" {
		return d.What
	}
	return fmt.Sprintf("%s (%s:%d)", d.What, d.File, d.Line)
}

// DependsError says that a configuration cannot be evaluated, and why.
type DependsError struct{ On []Dependency }

func (e *DependsError) Error() string {
	var texts []string
	for _, d := range e.On {
		if text := d.String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return "cannot be evaluated: depends on " + strings.Join(texts, ", ")
}

// Configuration is what a provider is configured with.
type Configuration struct {
	Value cty.Value
	// Secrets are texts in it that come from sensitive variables.
	Secrets []string
}

// Provider evaluates a configuration of a provider: that of a module (its
// address, such as module.a.module.b; empty for the root), a source
// (host/namespace/type) and an alias (empty for the one without). Where there
// is no block, it is that of an empty one.
func (m *Module) Provider(module, source, alias string, spec hcldec.Spec) (c *Configuration, err error) {
	defer func() {
		if r := recover(); r != nil { // whatever a hostile module brings about
			c, err = nil, fmt.Errorf("cannot be evaluated: %v", r)
		}
	}()
	m.work = 0
	s, err := m.scope(module)
	if err != nil {
		return nil, err
	}
	for _, p := range s.providers {
		if p.alias != alias || !sameSource(s.source(p.local), source) {
			continue
		}
		if p.forEach {
			return nil, &DependsError{On: []Dependency{dependency("for_each of a provider", p.at)}}
		}
		return s.decode(p, spec)
	}
	if alias != "" {
		return nil, fmt.Errorf("the module has no configuration %q of the provider %s, which the state names", alias, source)
	}
	return s.decode(&providerBlock{body: hcl.EmptyBody()}, spec)
}

func (s *scope) source(local string) string {
	if source := s.required[local]; source != "" {
		return source
	}
	return "hashicorp/" + local
}

// sameSource compares sources, one of which may leave the host out.
func sameSource(declared, full string) bool {
	declared, full = strings.ToLower(declared), strings.ToLower(full)
	parts := strings.Split(declared, "/")
	for i, registry := range []string{"registry.opentofu.org/", "registry.terraform.io/"} {
		if i == 0 && len(parts) == 1 {
			declared = "hashicorp/" + declared
		}
		if rest, ok := strings.CutPrefix(full, registry); ok {
			return strings.TrimPrefix(strings.TrimPrefix(declared, "registry.opentofu.org/"), "registry.terraform.io/") == rest
		}
	}
	return declared == full
}

// scope finds a module by its address.
func (m *Module) scope(address string) (*scope, error) {
	s := m.top
	if address == "" {
		return s, nil
	}
	parts := strings.Split(address, ".")
	if len(parts)%2 != 0 || strings.Contains(address, "[") {
		return nil, fmt.Errorf("%s: a provider configuration in a module with keys is not understood", address)
	}
	for i := 0; i < len(parts); i += 2 {
		if parts[i] != "module" {
			return nil, fmt.Errorf("%s is no address of a module", address)
		}
		if i > 2*maxDepth {
			return nil, fmt.Errorf("%s: modules call each other deeper than %d", address, maxDepth)
		}
		child, err := s.child(parts[i+1])
		if err != nil {
			return nil, err
		}
		s = child
	}
	return s, nil
}

func (s *scope) child(name string) (*scope, error) {
	c := s.calls[name]
	if c == nil {
		return nil, fmt.Errorf("the module in %s calls no module %q, which the state names", s.dir, name)
	}
	key := name
	if s.key != "" {
		key = s.key + "." + name
	}
	dir, known := s.m.dirs[key]
	if !known {
		if !strings.HasPrefix(c.source, "./") && !strings.HasPrefix(c.source, "../") {
			return nil, fmt.Errorf("the module %q is not installed: run init", name)
		}
		dir = path.Join(s.dir, c.source)
	}
	return s.m.load(s, name, dir)
}

func (s *scope) decode(p *providerBlock, spec hcldec.Spec) (*Configuration, error) {
	body := p.body
	e := s.weigh(body, p.at, func() []byte { return providersIn(s.m.texts[p.at.Filename]) })
	if len(e.refused) > 0 {
		return nil, &DependsError{On: e.refused}
	}
	ctx, on := s.context(append(dynblock.VariablesHCLDec(body, spec), dynblock.ExpandVariablesHCLDec(body, spec)...))
	if refused := s.spend(e, ctx.Variables, p.at); refused != nil {
		return nil, &DependsError{On: append(on, refused...)}
	}
	if p.json {
		ctx.Functions = nil
	}
	v, diags := hcldec.Decode(dynblock.Expand(body, ctx), spec, ctx)
	if on = append(on, s.m.outside...); len(s.m.outside) > 0 { // even if try hides it
		return nil, &DependsError{On: on}
	}
	if diags.HasErrors() {
		return nil, failure(diags, on)
	}
	plain, marks := v.UnmarkDeepWithPaths()
	if !plain.IsWhollyKnown() {
		return nil, &DependsError{On: orSomething(on)}
	}
	c := &Configuration{Value: plain}
	for _, mark := range marks {
		if at, err := mark.Path.Apply(plain); err == nil {
			c.Secrets = append(c.Secrets, Texts(at)...)
		}
	}
	return c, nil
}

// Texts are all texts in a value.
func Texts(v cty.Value) []string {
	var texts []string
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			texts = append(texts, v.AsString())
		}
		return true, nil
	})
	return texts
}

func orSomething(on []Dependency) []Dependency {
	if len(on) == 0 {
		return []Dependency{{What: "something that is known only after apply"}}
	}
	return on
}

// failure tells of a failed evaluation: what it depends on if that is why.
func failure(diags hcl.Diagnostics, on []Dependency) error {
	for _, d := range diags {
		if extra, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallUnknownDiagExtra](d); ok {
			name := extra.CalledFunctionNamespace() + extra.CalledFunctionName()
			at := hcl.Range{}
			if d.Subject != nil {
				at = *d.Subject
			}
			return &DependsError{On: append(on, dependency("function "+name, at))}
		}
	}
	if len(on) > 0 {
		return &DependsError{On: on}
	}
	return fmt.Errorf("cannot be evaluated: %w", asError(diags))
}

// result is a value, which can be unknown, and what it then depends on.
type result struct {
	value cty.Value
	on    []Dependency
}

func unknown(d ...Dependency) result { return result{cty.DynamicVal, d} }

// context gives what expressions refer to, and what of that is not known.
func (s *scope) context(traversals []hcl.Traversal) (*hcl.EvalContext, []Dependency) {
	objects := map[string]map[string]cty.Value{}
	values := map[string]cty.Value{}
	var on []Dependency
	for _, t := range traversals {
		root, name := t.RootName(), ""
		if len(t) > 1 {
			if attr, ok := t[1].(hcl.TraverseAttr); ok {
				name = attr.Name
			}
		}
		r, isPart := s.refer(root, name, t)
		on = append(on, r.on...)
		if !isPart {
			values[root] = r.value
			continue
		}
		if objects[root] == nil {
			objects[root] = map[string]cty.Value{}
		}
		objects[root][name] = r.value
	}
	for root, object := range objects {
		values[root] = cty.ObjectVal(object)
	}
	return &hcl.EvalContext{Variables: values, Functions: s.functions()}, on
}

// refer gives what a reference means, and whether that is one part of its
// root.
func (s *scope) refer(root, name string, t hcl.Traversal) (result, bool) {
	what := func() Dependency { return dependency(written(t), t.SourceRange()) }
	switch {
	case name == "":
		return unknown(what()), false
	case root == "var":
		return s.once("var."+name, what(), func() result { return s.variable(name, what()) }), true
	case root == "local":
		return s.once("local."+name, what(), func() result {
			a := s.locals[name]
			if a == nil {
				return unknown(what())
			}
			return s.evaluate(a.Expr)
		}), true
	case root == "path" && name == "module":
		return result{value: cty.StringVal(s.relative())}, true
	case root == "path" && name == "root":
		return result{value: cty.StringVal(".")}, true
	case (root == "terraform" || root == "tofu") && name == "workspace":
		return result{value: cty.StringVal(s.m.options.Workspace)}, true
	case root == "path" || root == "terraform" || root == "tofu":
		return unknown(what()), true
	default:
		return unknown(what()), false
	}
}

func (s *scope) relative() string {
	if s.parent == nil {
		return "."
	}
	relative, err := filepath.Rel(filepath.FromSlash(s.m.options.Dir), filepath.FromSlash(s.dir))
	if err != nil {
		return s.dir
	}
	return filepath.ToSlash(relative)
}

// written is a reference as it is written, as far as it names something.
func written(t hcl.Traversal) string {
	text := ""
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			text = step.Name
		case hcl.TraverseAttr:
			text += "." + step.Name
		default:
			return text
		}
	}
	return text
}

// once evaluates something once, and notices what refers to itself.
func (s *scope) once(key string, what Dependency, evaluate func() result) result {
	if r, ok := s.memo[key]; ok {
		return r
	}
	s.memo[key] = unknown(Dependency{What: what.What + " itself", File: what.File, Line: what.Line})
	r := evaluate()
	s.memo[key] = r
	return r
}

func (s *scope) evaluate(e hcl.Expression) result {
	w := s.weigh(e, e.Range(), func() []byte { return e.Range().SliceBytes(s.m.texts[e.Range().Filename]) })
	if len(w.refused) > 0 {
		return unknown(w.refused...)
	}
	ctx, on := s.context(e.Variables())
	if refused := s.spend(w, ctx.Variables, e.Range()); refused != nil {
		return unknown(append(on, refused...)...)
	}
	if _, native := e.(hclsyntax.Node); !native {
		ctx.Functions = nil
	}
	v, diags := e.Value(ctx)
	if len(s.m.outside) > 0 {
		return unknown(append(on, s.m.outside...)...)
	}
	if diags.HasErrors() {
		var depends *DependsError
		if err := failure(diags, on); errors.As(err, &depends) {
			return unknown(depends.On...)
		}
		return unknown(append(on, dependency(firstError(diags), e.Range()))...)
	}
	if err := modest(v); err != nil {
		return unknown(dependency(err.Error(), e.Range()))
	}
	if plain, _ := v.UnmarkDeep(); plain.IsWhollyKnown() {
		on = nil
	}
	return result{v, on}
}

// firstError is the summary of what went wrong first.
func firstError(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			return d.Summary
		}
	}
	return ""
}

// secret marks values of sensitive variables.
type secret struct{}

func (s *scope) variable(name string, what Dependency) result {
	v := s.variables[name]
	if v == nil {
		return unknown(what)
	}
	t, defaults, ok := v.constraint()
	if !ok {
		return unknown(dependency("the variable "+name+", whose type is not understood", v.block.DefRange))
	}
	r, given := s.input(name, v.typeExpr == nil || t.IsPrimitiveType())
	if !given || v.nonNull && r.value.IsKnown() && r.value.IsNull() {
		if v.byDefault == nil {
			return unknown(Dependency{What: "the variable " + name + ", which has no value", File: what.File, Line: what.Line})
		}
		if r = s.evaluate(v.byDefault); r.on != nil {
			return r
		}
	}
	if err := modest(r.value); err != nil {
		return unknown(dependency("the variable "+name+", which is "+err.Error(), v.block.DefRange))
	}
	if defaults != nil && !r.value.IsNull() && r.value.IsKnown() {
		plain, marks := r.value.Unmark()
		r.value = defaults.Apply(plain).WithMarks(marks)
	}
	converted, err := convert.Convert(r.value, t)
	if err != nil {
		return unknown(dependency("the variable "+name+", whose value has another type", v.block.DefRange))
	}
	if v.sensitive {
		converted = converted.Mark(secret{})
	}
	return result{converted, r.on}
}

// constraint is the type of a variable.
func (v *variable) constraint() (cty.Type, *typeexpr.Defaults, bool) {
	if v.typeExpr == nil {
		return cty.DynamicPseudoType, nil, true
	}
	switch hcl.ExprAsKeyword(v.typeExpr) {
	case "list":
		return cty.List(cty.DynamicPseudoType), nil, true
	case "map":
		return cty.Map(cty.DynamicPseudoType), nil, true
	}
	t, defaults, diags := typeexpr.TypeConstraintWithDefaults(v.typeExpr)
	return t, defaults, !diags.HasErrors()
}

// input is what a variable was given, by the call of the module or by whoever
// uses the root.
func (s *scope) input(name string, literal bool) (result, bool) {
	if s.parent == nil {
		g, ok := s.inputs[name]
		if !ok {
			return result{}, false
		}
		v, err := g.as(literal)
		if err != nil {
			return unknown(Dependency{What: "the variable " + name + ", whose value cannot be understood"}), true
		}
		return result{value: v}, true
	}
	a := s.parent.calls[s.name].args[name]
	if a == nil {
		return result{}, false
	}
	return s.parent.evaluate(a.Expr), true
}
