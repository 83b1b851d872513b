package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

const (
	maxFileSize = 1 << 20
	maxFiles    = 500
	maxDepth    = 30 // of modules in modules
)

// Options say which module it is, and with what it is used.
type Options struct {
	// Root is the folder that nothing is read outside of.
	Root string
	// Dir is the root module, relative to Root, with slashes; "." if empty.
	Dir string
	// DataDir is what init wrote; Dir/.terraform if empty.
	DataDir string
	// Workspace is default if empty.
	Workspace string

	// Variables: later ones go before earlier ones, and all before the module's
	// own terraform.tfvars and *.auto.tfvars. Only Environment goes behind those.
	Environment map[string]string // without TF_VAR_
	Files       []string          // relative to Dir
	Texts       map[string]string // as on the command line
	Values      map[string]cty.Value
}

// Module is a module with those that it calls.
type Module struct {
	options Options
	root    *os.Root
	top     *scope
	dirs    map[string]string // of called modules, by their keys in modules.json
	files   int
	texts   map[string][]byte // of JSON files
	outside []Dependency      // what could not be read, whatever hid that
	work    float64
}

// scope is one module in the tree.
type scope struct {
	m      *Module
	parent *scope
	name   string // of the call; empty for the root
	key    string // a.b of module.a.module.b
	dir    string // relative to the root folder

	variables map[string]*variable
	locals    map[string]*hcl.Attribute
	calls     map[string]*call
	providers []*providerBlock
	required  map[string]string // sources by local names

	inputs map[string]given // of the root alone
	memo   map[string]result
	known  map[string]function.Function
}

type variable struct {
	block     *hcl.Block
	typeExpr  hcl.Expression
	byDefault hcl.Expression
	sensitive bool
	nonNull   bool
}

type call struct {
	source string
	args   hcl.Attributes
}

type providerBlock struct {
	local, alias string
	forEach      bool
	json         bool
	body         hcl.Body
	at           hcl.Range
}

// Load reads a module. Errors are those of files that cannot be read or
// understood.
func Load(o Options) (*Module, error) {
	if o.Dir == "" {
		o.Dir = "."
	}
	if o.Workspace == "" {
		o.Workspace = "default"
	}
	if o.DataDir == "" {
		o.DataDir = filepath.Join(o.Root, filepath.FromSlash(o.Dir), ".terraform")
	}
	root, err := os.OpenRoot(o.Root)
	if err != nil {
		return nil, fmt.Errorf("open the module: %w", err)
	}
	m := &Module{options: o, root: root, dirs: map[string]string{}, texts: map[string][]byte{}}
	if err := m.readManifest(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if m.top, err = m.load(nil, "", o.Dir); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if m.top.inputs, err = m.inputs(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return m, nil
}

// Close lets go of the folder.
func (m *Module) Close() error { return m.root.Close() }

// readManifest reads where init put the modules that are called.
func (m *Module) readManifest() error {
	text, err := os.ReadFile(filepath.Join(m.options.DataDir, "modules", "modules.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read where modules are: %w", err)
	}
	var manifest struct{ Modules []struct{ Key, Dir string } }
	if err := json.Unmarshal(text, &manifest); err != nil {
		return fmt.Errorf("understand %s: %w", "modules.json", err)
	}
	for _, each := range manifest.Modules {
		m.dirs[each.Key] = path.Join(m.options.Dir, filepath.ToSlash(each.Dir))
	}
	return nil
}

func (m *Module) read(name string) ([]byte, error) {
	if m.files++; m.files > maxFiles {
		return nil, fmt.Errorf("the module has more than %d files", maxFiles)
	}
	f, err := m.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(text) > maxFileSize {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxFileSize)
	}
	return text, err
}

func (m *Module) load(parent *scope, name, dir string) (*scope, error) {
	s := &scope{
		m: m, parent: parent, name: name, key: name, dir: dir,
		variables: map[string]*variable{}, locals: map[string]*hcl.Attribute{}, calls: map[string]*call{},
		required: map[string]string{}, memo: map[string]result{},
	}
	if parent != nil && parent.key != "" {
		s.key = parent.key + "." + name
	}
	names, err := m.sources(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		body, err := m.parse(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := s.add(body, isOverride(name)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var suffixes = []string{".tofu", ".tofu.json", ".tf", ".tf.json"}

// sources are the files of a module. Where there is an a.tofu, a.tf is not for
// OpenTofu.
func (m *Module) sources(dir string) ([]string, error) {
	entries, err := fs.ReadDir(m.root.FS(), path.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("read the module in %s: %w", dir, err)
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); !entry.IsDir() && !strings.HasPrefix(name, ".") && suffixOf(name) != "" {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		base, ok := strings.CutSuffix(name, ".tf")
		if ok {
			return slices.Contains(names, base+".tofu")
		}
		base, ok = strings.CutSuffix(name, ".tf.json")
		return ok && slices.Contains(names, base+".tofu.json")
	}), nil
}

func suffixOf(name string) string {
	for _, suffix := range suffixes {
		if strings.HasSuffix(name, suffix) {
			return suffix
		}
	}
	return ""
}

func isOverride(name string) bool {
	base := strings.TrimSuffix(name, suffixOf(name))
	return base == "override" || strings.HasSuffix(base, "_override")
}

func (m *Module) parse(name string) (hcl.Body, error) {
	text, err := m.read(name)
	if err != nil {
		return nil, fmt.Errorf("read the module: %w", err)
	}
	if strings.HasSuffix(name, ".json") {
		m.texts[name] = text
	}
	file, diags := hclfile.Parse(text, name) // within bounds: the content is hostile
	if diags.HasErrors() {
		return nil, asError(diags)
	}
	return file.Body, nil
}

// asError tells of diagnostics without what they quote.
func asError(diags hcl.Diagnostics) error {
	var texts []string
	for _, d := range diags.Errs() {
		var diag *hcl.Diagnostic
		if errors.As(d, &diag) && diag.Subject != nil {
			texts = append(texts, fmt.Sprintf("%s:%d: %s", diag.Subject.Filename, diag.Subject.Start.Line, diag.Summary))
			continue
		}
		texts = append(texts, "the module cannot be understood")
	}
	return errors.New(strings.Join(texts, "; "))
}

var moduleSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "variable", LabelNames: []string{"name"}},
	{Type: "locals"},
	{Type: "module", LabelNames: []string{"name"}},
	{Type: "provider", LabelNames: []string{"name"}},
	{Type: "terraform"},
	{Type: "tofu"},
}}

// onlyBackend tells whether a block says nothing but where the state is.
func onlyBackend(block *hcl.Block) bool {
	if block.Type != "terraform" && block.Type != "tofu" {
		return false
	}
	content, rest, diags := block.Body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}}})
	if diags.HasErrors() || len(content.Blocks) == 0 {
		return false
	}
	other, _, _ := rest.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "required_providers"}}})
	return len(other.Blocks) == 0
}

func (s *scope) add(body hcl.Body, override bool) error {
	content, _, diags := body.PartialContent(moduleSchema)
	if diags.HasErrors() {
		return asError(diags)
	}
	for _, block := range content.Blocks {
		if override && onlyBackend(block) {
			continue // where the state is does not matter here
		}
		if override {
			return &DependsError{On: []Dependency{dependency("an override file", block.DefRange)}}
		}
		var err error
		switch block.Type {
		case "variable":
			err = s.addVariable(block)
		case "locals":
			err = s.addLocals(block)
		case "module":
			err = s.addCall(block)
		case "provider":
			err = s.addProvider(block)
		default:
			err = s.addRequired(block)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scope) addVariable(block *hcl.Block) error {
	content, _, diags := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "type"}, {Name: "default"}, {Name: "sensitive"}, {Name: "nullable"},
	}})
	if diags.HasErrors() {
		return asError(diags)
	}
	v := &variable{block: block}
	if a := content.Attributes["type"]; a != nil {
		v.typeExpr = a.Expr
	}
	if a := content.Attributes["default"]; a != nil {
		v.byDefault = a.Expr
	}
	v.sensitive = constant(content.Attributes["sensitive"], cty.False).RawEquals(cty.True)
	v.nonNull = constant(content.Attributes["nullable"], cty.True).RawEquals(cty.False)
	s.variables[block.Labels[0]] = v
	return nil
}

func constant(a *hcl.Attribute, otherwise cty.Value) cty.Value {
	if a == nil {
		return otherwise
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		return otherwise
	}
	return v
}

func (s *scope) addLocals(block *hcl.Block) error {
	attributes, diags := block.Body.JustAttributes()
	if diags.HasErrors() {
		return asError(diags)
	}
	for name, a := range attributes {
		s.locals[name] = a
	}
	return nil
}

func (s *scope) addCall(block *hcl.Block) error {
	content, rest, diags := block.Body.PartialContent(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{
			{Name: "source"}, {Name: "version"}, {Name: "providers"}, {Name: "count"}, {Name: "for_each"}, {Name: "depends_on"}, {Name: "enabled"},
		},
		Blocks: []hcl.BlockHeaderSchema{{Type: "lifecycle"}},
	})
	if diags.HasErrors() {
		return asError(diags)
	}
	args, diags := rest.JustAttributes()
	if diags.HasErrors() {
		return asError(diags)
	}
	source := constant(content.Attributes["source"], cty.StringVal(""))
	c := &call{args: args}
	if source.Type() == cty.String && source.IsKnown() && !source.IsNull() {
		c.source = source.AsString()
	}
	s.calls[block.Labels[0]] = c
	return nil
}

func (s *scope) addProvider(block *hcl.Block) error {
	content, rest, diags := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "alias"}, {Name: "version"}, {Name: "for_each"},
	}})
	if diags.HasErrors() {
		return asError(diags)
	}
	p := &providerBlock{local: block.Labels[0], json: strings.HasSuffix(block.DefRange.Filename, ".json"), body: rest, at: block.DefRange, forEach: content.Attributes["for_each"] != nil}
	if a := content.Attributes["alias"]; a != nil {
		alias := constant(a, cty.NilVal)
		if alias == cty.NilVal || alias.Type() != cty.String || alias.IsNull() {
			return fmt.Errorf("%s:%d: the alias is no text", a.Range.Filename, a.Range.Start.Line)
		}
		p.alias = alias.AsString()
	}
	s.providers = append(s.providers, p)
	return nil
}

func (s *scope) addRequired(block *hcl.Block) error {
	content, _, diags := block.Body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "required_providers"}}})
	if diags.HasErrors() {
		return asError(diags)
	}
	for _, required := range content.Blocks {
		attributes, diags := required.Body.JustAttributes()
		if diags.HasErrors() {
			return asError(diags)
		}
		for name, a := range attributes {
			pairs, _ := hcl.ExprMap(a.Expr) // the old form is a bare version
			for _, pair := range pairs {
				key, _ := pair.Key.Value(nil)
				source, diags := pair.Value.Value(nil)
				if key.RawEquals(cty.StringVal("source")) && !diags.HasErrors() && source.Type() == cty.String && !source.IsNull() {
					s.required[name] = source.AsString()
				}
			}
		}
	}
	return nil
}
