package run

import (
	"cmp"
	"fmt"
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

// Value is a variable's value as it was written down.
type Value struct {
	Text string
	// Form says how to read Text.
	Form Form
	// Sensitive values are masked wherever they turn up. Those of variables that
	// the module declares as sensitive are, too.
	Sensitive bool
	// Optional values are left out where the module has no such variable; others
	// are an error then.
	Optional bool
}

// Form is how a Value's text is to be read.
type Form int

// The forms. Declared is that of the program's own -var option: a text for a
// variable of a primitive type or none, an HCL expression for others.
const (
	Declared Form = iota
	Literal
	Expression
)

// declaration is what a module says of one of its variables.
type declaration struct {
	complex, sensitive bool
}

// declarations reads the variables of a module, as far as its files can be
// read: what is wrong with them the program itself says better.
func declarations(dir string) map[string]declaration {
	all := map[string]declaration{}
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "variable", LabelNames: []string{"name"}}}}
	inner := &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "sensitive"}}}
	for _, file := range parseDir(dir) {
		content, _, _ := file.Body.PartialContent(schema)
		for _, block := range content.Blocks {
			attrs, _, _ := block.Body.PartialContent(inner)
			d := all[block.Labels[0]]
			if a := attrs.Attributes["type"]; a != nil {
				d.complex = !slices.Contains([]string{"string", "number", "bool"}, hcl.ExprAsKeyword(a.Expr))
			}
			if a := attrs.Attributes["sensitive"]; a != nil {
				v, diags := a.Expr.Value(nil)
				d.sensitive = diags.HasErrors() || v.RawEquals(cty.True) || v.RawEquals(cty.StringVal("true"))
			}
			all[block.Labels[0]] = d
		}
	}
	return all
}

// parseDir parses the files of one module's directory, and leaves out those
// that it can't.
func parseDir(dir string) map[string]*hcl.File {
	files := map[string]*hcl.File{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return files
	}
	for _, entry := range entries {
		if entry.IsDir() || !hclfile.Configuration(entry.Name()) {
			continue
		}
		if file := parseFile(filepath.Join(dir, entry.Name())); file != nil {
			files[entry.Name()] = file
		}
	}
	return files
}

func parseFile(path string) *hcl.File {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxConfigFile {
		return nil
	}
	src, err := ReadOwn(path)
	if err != nil {
		return nil
	}
	file, _ := hclfile.Parse(src, filepath.Base(path)) // within bounds: the content is hostile
	if file == nil || file.Body == nil {
		return nil
	}
	return file
}

// maxConfigFile bounds what is read at all.
const maxConfigFile = 4 << 20

// writeVariables writes the variables to a file that only this user can read.
func (r *Runner) writeVariables() error {
	declared := declarations(r.folder.Module)
	for name, v := range r.config.Variables {
		if declared[name].sensitive {
			r.masker.addValue(v)
		}
	}
	out := hclwrite.NewEmptyFile()
	for _, name := range slices.Sorted(maps.Keys(r.config.Variables)) {
		if !hclsyntax.ValidIdentifier(name) {
			return configError("Invalid variable name", fmt.Sprintf("%q can't be the name of a variable", name))
		}
		v := r.config.Variables[name]
		if _, is := declared[name]; !is && v.Optional {
			continue
		} else if !is {
			return configError("Unknown variable", fmt.Sprintf("a value is given for the variable %q, which the module does not declare (it declares: %s)",
				name, cmp.Or(strings.Join(slices.Sorted(maps.Keys(declared)), ", "), "none")))
		}
		if v.Form == Literal || v.Form == Declared && !declared[name].complex {
			out.Body().SetAttributeValue(name, cty.StringVal(v.Text))
			continue
		}
		if _, diags := hclfile.ParseExpression([]byte(v.Text), name); diags.HasErrors() {
			return configError("Invalid value of a variable", fmt.Sprintf("the value given for the variable %q is not an HCL expression: %s", name, r.masker.Mask(diags[0].Summary)))
		}
		out.Body().SetAttributeRaw(name, rawTokens(v.Text))
	}
	return writeSecret(r.folder.variables(), out.Bytes())
}

// rawTokens is an expression as it was written, in parentheses, so that a line
// break in it does not end it.
func rawTokens(text string) hclwrite.Tokens {
	return hclwrite.Tokens{
		{Type: hclsyntax.TokenOParen, Bytes: []byte("(")},
		{Type: hclsyntax.TokenIdent, Bytes: []byte(text)},
		{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")},
		{Type: hclsyntax.TokenCParen, Bytes: []byte(")")},
	}
}

// variableArgs name the files of variables.
func (r *Runner) variableArgs() []string {
	var args []string
	for _, file := range r.config.VarFiles {
		args = append(args, "-var-file="+file)
	}
	if len(r.config.Variables) > 0 {
		args = append(args, "-var-file="+r.folder.variables())
	}
	return args
}
