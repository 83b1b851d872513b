package adopt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// valueOf gives what an expression means that is written as it is: literals, and
// maps and lists of such.
func valueOf(e hclsyntax.Expression) (any, bool) {
	if _, isCall := e.(*hclsyntax.FunctionCallExpr); isCall {
		return nil, false
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return nil, false
	}
	if v.IsNull() {
		return nil, true
	}
	text, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out any
	err = d.Decode(&out)
	return out, err == nil
}

// same compares values as providers do: "80" is 80.
func same(a, b any) bool {
	if isScalar(a) && isScalar(b) && a != nil && b != nil {
		return plainValue(a) == plainValue(b)
	}
	return equal(a, b)
}

// inExpression finds the edit for a value within an expression.
func (e *moduleEditor) inExpression(in *scope, expr hclsyntax.Expression, rest Path, f Field) (hclEdit, error) {
	switch x := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return e.inExpression(in, x.Expression, rest, f)
	case *hclsyntax.ScopeTraversalExpr:
		return e.inReference(in, x, rest, f)
	case *hclsyntax.ObjectConsExpr:
		if len(rest) > 0 && rest[0].isKey() {
			return e.inObject(in, x, rest, f)
		}
	case *hclsyntax.TupleConsExpr:
		if len(rest) > 0 && !rest[0].isKey() && len(rest[0].Match) == 0 && rest[0].Index < len(x.Exprs) {
			return e.inExpression(in, x.Exprs[rest[0].Index], rest[1:], f)
		}
		if len(rest) == 0 {
			return e.inTuple(in, x, f)
		}
	}
	if len(rest) > 0 {
		return hclEdit{}, fmt.Errorf("%s is within what is computed", f.Path)
	}
	return e.replaceLiteral(in, expr, f)
}

func (e *moduleEditor) replaceLiteral(in *scope, expr hclsyntax.Expression, f Field) (hclEdit, error) {
	is, ok := valueOf(expr)
	if !ok {
		return hclEdit{}, fmt.Errorf("%s is computed (%s), not written as it is", f.Path, kindOf(expr))
	}
	r := expr.Range()
	if same(is, f.Live) {
		return hclEdit{file: r.Filename}, nil
	}
	if f.HasDeclared && !same(is, f.Declared) {
		return hclEdit{}, fmt.Errorf("%s:%d holds another value than the one that is declared: the provider changes it", r.Filename, r.Start.Line)
	}
	if !f.HasLive {
		return hclEdit{}, fmt.Errorf("%s is not set where it runs", f.Path)
	}
	data, err := e.content(r.Filename)
	if err != nil {
		return hclEdit{}, err
	}
	if bytes.HasPrefix(r.SliceBytes(data), []byte("<<")) {
		return hclEdit{}, fmt.Errorf("%s:%d is a text of several lines (heredoc), which is not edited", r.Filename, r.Start.Line)
	}
	if err := e.alone(in); err != nil {
		return hclEdit{}, err
	}
	value := f.Live
	if _, text := is.(string); text && isScalar(value) && value != nil {
		value = plainValue(value)
	} else if s, text := value.(string); text && is != nil && isScalar(is) {
		if _, isBool := is.(bool); isBool && (s == "true" || s == "false") {
			value = s == "true"
		} else if n := numberOf(s); numeric.MatchString(s) {
			value = n
		}
	}
	line := bytes.LastIndexByte(data[:r.Start.Byte], '\n') + 1
	return hclEdit{r.Filename, r.Start.Byte, r.End.Byte, []byte(literal(value, spaces(indentOf(data[line:]))))}, nil
}

func kindOf(e hclsyntax.Expression) string {
	switch e.(type) {
	case *hclsyntax.FunctionCallExpr:
		return "a function"
	case *hclsyntax.TemplateExpr, *hclsyntax.TemplateWrapExpr:
		return "a template"
	case *hclsyntax.ConditionalExpr:
		return "a condition"
	}
	return "an expression"
}

// inObject finds the edit for a key of a map.
func (e *moduleEditor) inObject(in *scope, x *hclsyntax.ObjectConsExpr, rest Path, f Field) (hclEdit, error) {
	for i, item := range x.Items {
		name, diags := item.KeyExpr.Value(nil)
		if diags.HasErrors() || name.Type() != cty.String || name.IsNull() {
			return hclEdit{}, errors.New("a key of the map is computed")
		}
		if name.AsString() != rest[0].Key {
			continue
		}
		if len(rest) == 1 && !f.HasLive {
			return e.withoutItem(in, x, i)
		}
		return e.inExpression(in, item.ValueExpr, rest[1:], f)
	}
	if !f.HasLive {
		return hclEdit{}, fmt.Errorf("%s is not written there", rest[0].Key)
	}
	if err := e.alone(in); err != nil {
		return hclEdit{}, err
	}
	r := x.SrcRange
	data, err := e.content(r.Filename)
	if err != nil {
		return hclEdit{}, err
	}
	name := rest[0].Key
	if !hclsyntax.ValidIdentifier(name) {
		name = literal(name, "")
	}
	value := with(nil, rest[1:], f.Live, false)
	if len(x.Items) == 0 {
		return hclEdit{r.Filename, r.Start.Byte, r.End.Byte, []byte("{ " + name + " = " + literal(value, "") + " }")}, nil
	}
	last := x.Items[len(x.Items)-1]
	begin := bytes.LastIndexByte(data[:last.KeyExpr.Range().Start.Byte], '\n') + 1
	if indent := data[begin:last.KeyExpr.Range().Start.Byte]; begin > r.Start.Byte && onlySpace(indent) {
		end, comma := last.ValueExpr.Range().End.Byte, ""
		if bytes.HasPrefix(data[end:], []byte(",")) {
			comma = ","
		}
		if n := bytes.IndexByte(data[end:], '\n'); n >= 0 {
			end += n
		}
		return hclEdit{r.Filename, end, end, []byte("\n" + string(indent) + name + " = " + literal(value, string(indent)) + comma)}, nil
	}
	end := last.ValueExpr.Range().End.Byte
	return hclEdit{r.Filename, end, end, []byte(", " + name + " = " + literal(value, ""))}, nil
}

// withoutItem takes a key out of a map that is written over several lines.
func (e *moduleEditor) withoutItem(in *scope, x *hclsyntax.ObjectConsExpr, i int) (hclEdit, error) {
	if err := e.alone(in); err != nil {
		return hclEdit{}, err
	}
	from, to := x.Items[i].KeyExpr.Range(), x.Items[i].ValueExpr.Range()
	return e.without(x.SrcRange, from, to, func() (hcl.Range, bool) {
		if i+1 < len(x.Items) {
			return x.Items[i+1].KeyExpr.Range(), true
		}
		return hcl.Range{}, false
	}, func() (hcl.Range, bool) {
		if i > 0 {
			return x.Items[i-1].ValueExpr.Range(), true
		}
		return hcl.Range{}, false
	})
}

// without takes an entry of a map or list out: its lines, or what is between it
// and its neighbours.
func (e *moduleEditor) without(whole, from, to hcl.Range, next, before func() (hcl.Range, bool)) (hclEdit, error) {
	data, err := e.content(whole.Filename)
	if err != nil {
		return hclEdit{}, err
	}
	begin := bytes.LastIndexByte(data[:from.Start.Byte], '\n') + 1
	end := bytes.IndexByte(data[to.End.Byte:], '\n')
	if end >= 0 && begin > whole.Start.Byte && onlySpace(data[begin:from.Start.Byte]) {
		tail := strings.TrimPrefix(strings.TrimSpace(string(data[to.End.Byte:to.End.Byte+end])), ",")
		if tail = strings.TrimSpace(tail); tail == "" || strings.HasPrefix(tail, "#") || strings.HasPrefix(tail, "//") {
			return hclEdit{whole.Filename, begin, to.End.Byte + end + 1, []byte{}}, nil
		}
	}
	if n, ok := next(); ok {
		return hclEdit{whole.Filename, from.Start.Byte, n.Start.Byte, []byte{}}, nil
	}
	if b, ok := before(); ok {
		return hclEdit{whole.Filename, b.End.Byte, to.End.Byte, []byte{}}, nil
	}
	return hclEdit{whole.Filename, whole.Start.Byte + 1, whole.End.Byte - 1, []byte{}}, nil
}

// inTuple edits a list: one item is changed, taken out or added in its place;
// otherwise the list is written anew.
func (e *moduleEditor) inTuple(in *scope, x *hclsyntax.TupleConsExpr, f Field) (hclEdit, error) {
	is, ok := valueOf(x)
	list, isList := is.([]any)
	live, liveList := f.Live.([]any)
	if !ok || !isList || !liveList || f.HasDeclared && !sameItems(list, f.Declared) {
		return e.replaceLiteral(in, x, f)
	}
	if sameItems(list, live) && !(f.HasDeclared && equal(list, f.Declared)) {
		return hclEdit{file: x.SrcRange.Filename}, nil
	}
	if err := e.alone(in); err != nil {
		return hclEdit{}, err
	}
	gone, added := lessItems(list, live), lessItems(live, list)
	at := func(i int) hcl.Range { return x.Exprs[i].Range() }
	neighbour := func(i int) func() (hcl.Range, bool) {
		return func() (hcl.Range, bool) {
			if i < 0 || i >= len(x.Exprs) {
				return hcl.Range{}, false
			}
			return at(i), true
		}
	}
	switch {
	case len(gone) == 1 && len(added) == 1:
		i := gone[0]
		return hclEdit{x.SrcRange.Filename, at(i).Start.Byte, at(i).End.Byte, []byte(literal(live[added[0]], ""))}, nil
	case len(gone) == 1 && len(added) == 0:
		return e.without(x.SrcRange, at(gone[0]), at(gone[0]), neighbour(gone[0]+1), neighbour(gone[0]-1))
	case len(gone) == 0 && len(added) > 0 && len(list) > 0:
		return e.appended(x, live, added)
	}
	return e.rewritten(x, live)
}

// appended adds items behind the last one.
func (e *moduleEditor) appended(x *hclsyntax.TupleConsExpr, live []any, added []int) (hclEdit, error) {
	data, err := e.content(x.SrcRange.Filename)
	if err != nil {
		return hclEdit{}, err
	}
	last := x.Exprs[len(x.Exprs)-1].Range()
	begin := bytes.LastIndexByte(data[:last.Start.Byte], '\n') + 1
	indent := data[begin:last.Start.Byte]
	multi := begin > x.SrcRange.Start.Byte && onlySpace(indent)
	end := last.End.Byte
	var more strings.Builder
	trailing := bytes.HasPrefix(bytes.TrimLeft(data[end:], " \t"), []byte(","))
	for _, i := range added {
		if multi {
			more.WriteString(",\n" + string(indent) + literal(live[i], string(indent)))
		} else {
			more.WriteString(", " + literal(live[i], ""))
		}
	}
	text := more.String()
	if multi && trailing { // behind the comma, and what is written behind that
		if n := bytes.IndexByte(data[end:], '\n'); n >= 0 {
			end += n
			text = strings.TrimPrefix(text, ",") + ","
		}
	}
	return hclEdit{x.SrcRange.Filename, end, end, []byte(text)}, nil
}

func (e *moduleEditor) rewritten(x *hclsyntax.TupleConsExpr, live []any) (hclEdit, error) {
	data, err := e.content(x.SrcRange.Filename)
	if err != nil {
		return hclEdit{}, err
	}
	old := x.SrcRange.SliceBytes(data)
	if bytes.ContainsAny(old, "#") || bytes.Contains(old, []byte("//")) {
		return hclEdit{}, errors.New("several items of the list have changed, and comments stand among them: edit it by hand")
	}
	line := bytes.LastIndexByte(data[:x.SrcRange.Start.Byte], '\n') + 1
	indent := spaces(indentOf(data[line:]))
	if !bytes.Contains(old, []byte("\n")) {
		return hclEdit{x.SrcRange.Filename, x.SrcRange.Start.Byte, x.SrcRange.End.Byte, []byte(literal(live, indent))}, nil
	}
	var text strings.Builder
	text.WriteString("[\n")
	for _, v := range live {
		text.WriteString(indent + "  " + literal(v, indent+"  ") + ",\n")
	}
	text.WriteString(indent + "]")
	return hclEdit{x.SrcRange.Filename, x.SrcRange.Start.Byte, x.SrcRange.End.Byte, []byte(text.String())}, nil
}

// lessItems are the indexes of items of one list that another one lacks.
func lessItems(list, other []any) []int {
	count := map[string]int{}
	for _, v := range other {
		count[text(v)]++
	}
	var out []int
	for i, v := range list {
		if count[text(v)]--; count[text(v)] < 0 {
			out = append(out, i)
		}
	}
	return out
}

func sameItems(list []any, other any) bool {
	o, ok := other.([]any)
	return ok && len(o) == len(list) && len(lessItems(list, o)) == 0
}

// inReference follows a variable or a local value to where it is written.
func (e *moduleEditor) inReference(in *scope, x *hclsyntax.ScopeTraversalExpr, rest Path, f Field) (hclEdit, error) {
	root := x.Traversal.RootName()
	if len(x.Traversal) != 2 || root != "var" && root != "local" {
		return hclEdit{}, fmt.Errorf("%s refers to %s, which is not written in a file", f.Path, root)
	}
	step, ok := x.Traversal[1].(hcl.TraverseAttr)
	if !ok {
		return hclEdit{}, fmt.Errorf("%s refers to what is computed", f.Path)
	}
	uses, err := e.uses(in.dir, root, step.Name)
	if err != nil {
		return hclEdit{}, err
	}
	if uses > 1 {
		return hclEdit{}, fmt.Errorf("%s is made from %s.%s, which is used in %d places: the others would change with it", f.Path, root, step.Name, uses)
	}
	if root == "local" {
		found, err := e.blocks(in.dir, "locals")
		if err != nil {
			return hclEdit{}, err
		}
		for _, b := range found {
			if a := b.Body.Attributes[step.Name]; a != nil {
				return e.inExpression(in, a.Expr, rest, f)
			}
		}
		return hclEdit{}, fmt.Errorf("there is no local.%s", step.Name)
	}
	return e.inVariable(in, step.Name, rest, f)
}

func (e *moduleEditor) inVariable(in *scope, name string, rest Path, f Field) (hclEdit, error) {
	declaration, err := e.one(in.dir, "variable", name)
	if err != nil {
		return hclEdit{}, err
	}
	if a := declaration.Body.Attributes["sensitive"]; a != nil {
		if v, ok := valueOf(a.Expr); !ok || v == true {
			return hclEdit{}, fmt.Errorf("var.%s is sensitive: its value is never written to Git", name)
		}
	}
	if in.call != nil {
		if a := in.call.Body.Attributes[name]; a != nil {
			return e.inExpression(in.caller, a.Expr, rest, f)
		}
		return e.inDefault(in, declaration, rest, f)
	}
	if _, set := e.module.Options.Vars[name]; set {
		return hclEdit{}, fmt.Errorf("var.%s is set in the Application itself (spec.source.tofu.vars): change it there", name)
	}
	if _, set := e.module.Variables[name]; set {
		return hclEdit{}, fmt.Errorf("var.%s comes from elsewhere (a Secret, a ConfigMap, or another Application): change it there", name)
	}
	for _, file := range slices.Backward(e.varFiles()) {
		if strings.HasSuffix(file, ".json") {
			if data, err := e.content(file); err == nil && bytes.Contains(data, []byte(`"`+name+`"`)) {
				return hclEdit{}, fmt.Errorf("var.%s is set in %s, which is JSON: change it there by hand", name, file)
			}
			continue
		}
		body, err := e.body(file)
		if err != nil {
			return hclEdit{}, err
		}
		if a := body.Attributes[name]; a != nil {
			if strings.HasPrefix(file, ".plumb-") {
				return hclEdit{}, fmt.Errorf("var.%s is set in a file of another source: change it there by hand", name)
			}
			return e.inExpression(in, a.Expr, rest, f)
		}
	}
	return e.inDefault(in, declaration, rest, f)
}

func (e *moduleEditor) inDefault(in *scope, declaration *hclsyntax.Block, rest Path, f Field) (hclEdit, error) {
	if a := declaration.Body.Attributes["default"]; a != nil {
		return e.inExpression(in, a.Expr, rest, f)
	}
	return hclEdit{}, fmt.Errorf("var.%s has no value in a file", declaration.Labels[0])
}

// varFiles are the files of values of the root module, the last counts most.
func (e *moduleEditor) varFiles() []string {
	var first, auto []string
	for name := range e.module.Files {
		if path.Dir(name) != e.module.Dir {
			continue
		}
		switch base := path.Base(name); {
		case base == "terraform.tfvars", base == "terraform.tfvars.json":
			first = append(first, name)
		case strings.HasSuffix(base, ".auto.tfvars"), strings.HasSuffix(base, ".auto.tfvars.json"):
			auto = append(auto, name)
		}
	}
	sort.Strings(first)
	sort.Strings(auto)
	return slices.Concat(first, auto, e.module.VarFiles)
}

// uses counts how often a folder's files refer to a variable or local value.
func (e *moduleEditor) uses(dir, root, name string) (int, error) {
	n := 0
	for _, file := range e.files(dir) {
		body, err := e.body(file)
		if err != nil {
			return 0, err
		}
		_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
			if t, ok := node.(*hclsyntax.ScopeTraversalExpr); ok && t.Traversal.RootName() == root && len(t.Traversal) > 1 {
				if step, ok := t.Traversal[1].(hcl.TraverseAttr); ok && step.Name == name {
					n++
				}
			}
			return nil
		})
	}
	return n, nil
}

// literal writes a value in the language of modules.
func literal(v any, indent string) string {
	v = forJSON(v)
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	t, err := ctyjson.ImpliedType(b)
	if err != nil {
		return "null"
	}
	value, err := ctyjson.Unmarshal(b, t)
	if err != nil {
		return "null"
	}
	text := string(hclwrite.TokensForValue(value).Bytes())
	return strings.ReplaceAll(text, "\n", "\n"+indent)
}
