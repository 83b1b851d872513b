package module

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Modules are hostile: what takes too much depth, memory or time is not
// evaluated here, but in a plan, which is a process of its own.
const (
	maxValue    = 1 << 20 // bytes and elements in a value
	maxExponent = 4096    // bits
	maxTries    = 6       // in one expression; each evaluates what is in it twice
	maxWork     = 1 << 28 // for one configuration
)

// effort is what an expression takes, before the values in it are known.
type effort struct {
	loops, refs, tries int
	arithmetic         bool
	length             int
	refused            []Dependency // what makes it impossible
}

func (e *effort) refuse(what string, at hcl.Range) {
	e.refused = append(e.refused, dependency(what, at))
}

// weigh finds what an expression or a body takes. Everything in it is looked
// at, since functions that try expressions hide what is wrong with these.
func (s *scope) weigh(node any, at hcl.Range, source func() []byte) effort {
	e := effort{}
	if node, ok := node.(hclsyntax.Node); ok {
		e.length = node.Range().End.Byte - node.Range().Start.Byte
		known := s.functions()
		_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics { e.visit(n, known); return nil })
		return e
	}
	text := source()
	e.length, e.refs = len(text), strings.Count(string(text), "${")
	if !plainJSON(text) {
		e.refuse("an expression in JSON", at)
	}
	return e
}

func (e *effort) visit(n hclsyntax.Node, known map[string]function.Function) {
	switch n := n.(type) {
	case *hclsyntax.ForExpr:
		e.loops++
	case *hclsyntax.Block:
		if n.Type == "dynamic" {
			e.loops++
		}
	case *hclsyntax.ScopeTraversalExpr:
		e.refs++
	case *hclsyntax.FunctionCallExpr:
		if _, ok := known[n.Name]; !ok {
			e.refuse("function "+n.Name, n.NameRange)
		}
		if name := strings.TrimPrefix(n.Name, "core::"); name == "try" || name == "can" {
			e.tries++
		}
	case *hclsyntax.LiteralValueExpr:
		if modest(n.Val) != nil {
			e.refuse("a number that is too large", n.SrcRange)
		}
	case *hclsyntax.BinaryOpExpr:
		switch n.Op {
		case hclsyntax.OpAdd, hclsyntax.OpSubtract, hclsyntax.OpMultiply, hclsyntax.OpDivide, hclsyntax.OpModulo:
			e.arithmetic = true
			if !countable(n.LHS) || !countable(n.RHS) {
				e.refuse("arithmetic with texts", n.SrcRange)
			}
		}
	case *hclsyntax.UnaryOpExpr:
		if n.Op == hclsyntax.OpNegate {
			e.arithmetic = true
			if !countable(n.Val) {
				e.refuse("arithmetic with texts", n.SrcRange)
			}
		}
	}
}

// countable tells whether an operand is no text made on the spot, which could
// be a number of any size.
func countable(e hclsyntax.Expression) bool {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr, *hclsyntax.ScopeTraversalExpr, *hclsyntax.BinaryOpExpr, *hclsyntax.UnaryOpExpr:
		return true
	case *hclsyntax.ParenthesesExpr:
		return countable(e.Expression)
	case *hclsyntax.FunctionCallExpr:
		switch strings.TrimPrefix(e.Name, "core::") {
		case "length", "abs", "max", "min", "floor", "ceil", "tonumber", "parseint":
			return true
		}
	}
	return false
}

var (
	simpleReference = regexp.MustCompile(`\$\{[A-Za-z0-9_.-]+\}`)
	template        = regexp.MustCompile(`(?i)[$%]\{|\\u00(24|25|7b)|\d(\.\d+)?e[+-]?\d{4,}`)
	hugeNumber      = regexp.MustCompile(`(?i)e[+-]?\d{4,}`)
)

// plainJSON tells whether there is nothing in a JSON text but values and
// references.
func plainJSON(text []byte) bool {
	return !template.Match(simpleReference.ReplaceAll(text, nil))
}

// spend tells whether an expression may be evaluated with these values.
func (s *scope) spend(e effort, values map[string]cty.Value, at hcl.Range) []Dependency {
	if len(e.refused) > 0 {
		return e.refused
	}
	bytes := 0
	for _, v := range values {
		n, err := weight(v)
		bytes += n
		if err == nil && e.arithmetic {
			err = numeric(v)
		}
		if err != nil {
			e.refuse(err.Error(), at)
			return e.refused
		}
	}
	elements := float64(bytes + e.length + 1024) // of what a function makes of it
	work := math.Pow(elements, float64(e.loops)) * math.Pow(2, float64(e.tries)) * float64(e.refs+1) * float64(bytes+e.length+1)
	s.m.work += work
	switch {
	case e.arithmetic && e.loops > 0:
		e.refuse("arithmetic in a loop", at)
	case e.tries > maxTries || s.m.work > maxWork:
		e.refuse("more than is evaluated here", at)
	}
	return e.refused
}

// weight is how many bytes and elements a value has.
func weight(v cty.Value) (int, error) {
	v, _ = v.UnmarkDeep()
	n := 0
	err := cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		n++
		if !v.IsKnown() || v.IsNull() {
			return false, nil
		}
		switch v.Type() {
		case cty.String:
			n += len(v.AsString())
		case cty.Number:
			if f := v.AsBigFloat(); !small(f) {
				return false, errors.New("a number that is too large")
			}
		}
		if n > maxValue {
			return false, errors.New("a value that is too large")
		}
		return true, nil
	})
	return n, err
}

func small(f *big.Float) bool {
	if f.IsInf() {
		return false
	}
	exponent := f.MantExp(nil)
	return exponent < maxExponent && exponent > -maxExponent
}

func modest(v cty.Value) error {
	_, err := weight(v)
	return err
}

// numeric tells of texts that are numbers of more digits than can be written.
func numeric(v cty.Value) error {
	v, _ = v.UnmarkDeep()
	for _, text := range Texts(v) {
		if hugeNumber.MatchString(text) {
			return errors.New("a number that is too large")
		}
	}
	return nil
}

// guarded is a function that refuses to make much of little.
func (s *scope) guarded(name string, f function.Function) function.Function {
	if name == "try" || name == "can" {
		return f // weigh bounds them: what they are given is no value
	}
	// What hides errors must not hide these.
	refuse := func(err error) (cty.Value, error) {
		s.m.outside = append(s.m.outside, Dependency{What: "function " + name + ": " + err.Error()})
		return cty.NilVal, err
	}
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: f.ReturnTypeForValues,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			sizes := make([]int, len(args))
			for i, arg := range args {
				var err error
				if sizes[i], err = weight(arg); err != nil {
					return refuse(err)
				}
			}
			if !affordable(name, args, sizes) {
				return refuse(errors.New("too much would come of it"))
			}
			v, err := f.Call(args)
			if err != nil {
				return v, err
			}
			if err := modest(v); err != nil {
				return refuse(err)
			}
			return v, nil
		},
	})
}

var wide = regexp.MustCompile(`%[^a-zA-Z%]*\d{4}`)

// affordable tells whether a function's result is not far larger than what it
// is given.
func affordable(name string, args []cty.Value, sizes []int) bool {
	switch name {
	case "replace":
		return (sizes[0]+1)*(sizes[2]+1) <= 4*maxValue
	case "join":
		total := 0
		for _, n := range sizes[1:] {
			total += n
		}
		return sizes[0]*total <= 4*maxValue
	case "indent":
		n, _ := args[0].Unmark()
		spaces, _ := n.AsBigFloat().Int64()
		return spaces >= 0 && spaces <= 1000 && int(spaces)*sizes[1] <= 4*maxValue
	case "format", "formatlist":
		text, _ := args[0].Unmark()
		longest := 1
		for _, n := range sizes {
			longest = max(longest, n)
		}
		return text.Type() == cty.String && !wide.MatchString(text.AsString()) && !strings.Contains(text.AsString(), "*") &&
			(name == "format" || sizes[0]*longest <= 4*maxValue)
	case "setproduct":
		product := 1
		for _, n := range sizes {
			if product *= n; product > 100000 {
				return false
			}
		}
	}
	return true
}

// providersIn is the part of a JSON file that configures providers.
func providersIn(text []byte) []byte {
	var top map[string]json.RawMessage
	if json.Unmarshal(text, &top) != nil || top["provider"] == nil {
		return text
	}
	return top["provider"]
}
