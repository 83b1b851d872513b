package tofu

import (
	"encoding/json"
	"path"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

// reference is a path that a file refers to.
type reference struct {
	path string
	// fromRoot is set where it starts at the root module, else at the file's own.
	fromRoot bool
	file     string
	line     int
}

// found is what a file refers to in the repository.
type found struct{ modules, reads []reference }

// readers are the functions that read files.
var readers = map[string]bool{
	"file": true, "filebase64": true, "fileexists": true, "fileset": true, "templatefile": true,
	"filemd5": true, "filesha1": true, "filesha256": true, "filesha512": true, "filebase64sha256": true, "filebase64sha512": true,
}

// references finds what a file of a module refers to. What cannot be understood
// is left to the program, which says it better.
func references(name string, text []byte) found {
	if strings.HasSuffix(name, ".json") {
		return jsonReferences(name, text)
	}
	file, _ := hclfile.Parse(text, name)
	if file == nil {
		return found{}
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return found{}
	}
	var f found
	for _, block := range body.Blocks {
		if block.Type != "module" || block.Body.Attributes["source"] == nil {
			continue
		}
		source := block.Body.Attributes["source"]
		v, diags := source.Expr.Value(nil)
		if !diags.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() && isLocal(v.AsString()) {
			f.modules = append(f.modules, reference{path: v.AsString(), file: name, line: source.SrcRange.Start.Line})
		}
	}
	_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		call, ok := node.(*hclsyntax.FunctionCallExpr)
		if !ok || !readers[strings.TrimPrefix(call.Name, "core::")] || len(call.Args) == 0 {
			return nil
		}
		if p, fromRoot, whole := constant(call.Args[0]); p != "" || whole {
			if !whole && !strings.HasSuffix(p, "/") {
				p = path.Dir(p) // what is known ends within a name
			}
			f.reads = append(f.reads, reference{path: p, fromRoot: fromRoot, file: name, line: call.NameRange.Start.Line})
		}
		return nil
	})
	return f
}

func isLocal(source string) bool {
	return strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../")
}

// constant is the beginning of a path that is known without a plan, whether it
// starts at the root module, and whether it is all of it.
func constant(e hclsyntax.Expression) (text string, fromRoot, whole bool) {
	parts := []hclsyntax.Expression{e}
	switch e := e.(type) {
	case *hclsyntax.TemplateExpr:
		parts = e.Parts
	case *hclsyntax.TemplateWrapExpr:
		parts = []hclsyntax.Expression{e.Wrapped}
	}
	fromRoot = true // relative paths start at the working folder
	for i, part := range parts {
		switch part := part.(type) {
		case *hclsyntax.LiteralValueExpr:
			if part.Val.Type() != cty.String {
				return text, fromRoot, false
			}
			text += part.Val.AsString()
		case *hclsyntax.TemplateExpr:
			inner, _, all := constant(part)
			text += inner
			if !all {
				return text, fromRoot, false
			}
		case *hclsyntax.ScopeTraversalExpr:
			if i > 0 || part.Traversal.RootName() != "path" || len(part.Traversal) != 2 {
				return text, fromRoot, false
			}
			attr, ok := part.Traversal[1].(hcl.TraverseAttr)
			if !ok {
				return text, fromRoot, false
			}
			fromRoot = attr.Name != "module"
			text = "."
		default:
			return text, fromRoot, false
		}
	}
	return text, fromRoot, !strings.HasPrefix(text, "/")
}

// jsonReferences finds local modules in the JSON syntax.
func jsonReferences(name string, text []byte) found {
	var file struct {
		Module map[string]json.RawMessage `json:"module"`
	}
	if json.Unmarshal(text, &file) != nil {
		return found{}
	}
	var f found
	for _, raw := range file.Module {
		type call struct {
			Source string `json:"source"`
		}
		var one call
		var many []call
		if json.Unmarshal(raw, &one) == nil {
			many = []call{one}
		} else if json.Unmarshal(raw, &many) != nil {
			continue
		}
		for _, c := range many {
			if isLocal(c.Source) {
				f.modules = append(f.modules, reference{path: c.Source, file: name, line: 1})
			}
		}
	}
	return f
}
