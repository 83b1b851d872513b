package module

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

// given is what a variable was given: a value, or a text as on the command
// line, whose meaning depends on the variable's type.
type given struct {
	value  cty.Value
	text   string
	isText bool
}

func (g given) as(literal bool) (cty.Value, error) {
	if !g.isText {
		return g.value, nil
	}
	if literal {
		return cty.StringVal(g.text), nil
	}
	e, diags := hclfile.ParseExpression([]byte(g.text), "<value>")
	if diags.HasErrors() {
		return cty.NilVal, asError(diags)
	}
	w := effort{}
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics { w.visit(n, nil); return nil })
	if len(w.refused) > 0 || w.loops > 0 {
		return cty.NilVal, errors.New("the value is no constant")
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		return cty.NilVal, asError(diags)
	}
	return v, nil
}

// inputs gathers what the root's variables are given.
func (m *Module) inputs() (map[string]given, error) {
	inputs := map[string]given{}
	for name, text := range m.options.Environment {
		inputs[name] = given{text: text, isText: true}
	}
	files, err := m.automatic()
	if err != nil {
		return nil, err
	}
	for _, file := range m.options.Files {
		files = append(files, path.Join(m.options.Dir, file))
	}
	for _, file := range files {
		body, err := m.parse(file)
		if err != nil {
			return nil, err
		}
		attributes, diags := body.JustAttributes()
		if diags.HasErrors() {
			return nil, asError(diags)
		}
		for name, a := range attributes {
			w := m.top.weigh(a.Expr, a.Range, func() []byte { return a.Expr.Range().SliceBytes(m.texts[file]) })
			if len(w.refused) > 0 {
				return nil, &DependsError{On: w.refused}
			}
			v, diags := a.Expr.Value(nil)
			if diags.HasErrors() {
				return nil, asError(diags)
			}
			inputs[name] = given{value: v}
		}
	}
	for name, text := range m.options.Texts {
		inputs[name] = given{text: text, isText: true}
	}
	for name, v := range m.options.Values {
		inputs[name] = given{value: v}
	}
	return inputs, nil
}

// automatic are the files of variables that are always read, in their order.
func (m *Module) automatic() ([]string, error) {
	var files []string
	for _, name := range []string{"terraform.tfvars", "terraform.tfvars.json"} {
		file := path.Join(m.options.Dir, name)
		if _, err := m.root.Stat(file); err == nil {
			files = append(files, file)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read variables: %w", err)
		}
	}
	entries, err := fs.ReadDir(m.root.FS(), path.Clean(m.options.Dir))
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	var auto []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".auto.tfvars") || strings.HasSuffix(name, ".auto.tfvars.json") {
			auto = append(auto, path.Join(m.options.Dir, name))
		}
	}
	slices.Sort(auto)
	return append(files, auto...), nil
}
