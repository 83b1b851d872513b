package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
	"sigs.k8s.io/yaml"
)

// condition is one entry of a trigger: when to send which templates.
type condition struct {
	When        string   `json:"when"`
	OncePer     string   `json:"oncePer"`
	Description string   `json:"description"`
	Send        []string `json:"send"`

	when, oncePer *vm.Program
	key           string // its own within the trigger
}

// parseTrigger reads the value of trigger.NAME.
func parseTrigger(source string) ([]condition, error) {
	var out []condition
	if err := yaml.Unmarshal([]byte(source), &out); err != nil {
		return nil, fmt.Errorf("not a list of when and send: %w", err)
	}
	for i := range out {
		c := &out[i]
		var err error
		if c.When == "" {
			c.When = "false" // as in Argo CD
		}
		if c.when, err = compile(c.When); err != nil {
			return nil, fmt.Errorf("when: %w", err)
		}
		if c.OncePer != "" {
			if c.oncePer, err = compile(c.OncePer); err != nil {
				return nil, fmt.Errorf("oncePer: %w", err)
			}
		}
		if len(c.Send) == 0 {
			return nil, fmt.Errorf("entry %d sends no template", i+1)
		}
		sum := sha256.Sum256([]byte(c.When))
		c.key = fmt.Sprintf("[%d].%s", i, hex.EncodeToString(sum[:6]))
	}
	return out, nil
}

// What an expression may hold, so that none takes long or makes much: it cannot
// be stopped while it runs.
const (
	maxExpression = 4 << 10
	maxElements   = 5_000
	maxNesting    = 2
	maxVariables  = 3
	maxAdditions  = 20
)

func compile(source string) (*vm.Program, error) {
	if len(source) > maxExpression {
		return nil, fmt.Errorf("it is longer than %d bytes", maxExpression)
	}
	p, err := expr.Compile(source, expr.MaxNodes(1000))
	if err != nil {
		return nil, fmt.Errorf("%s", oneLine(err.Error()))
	}
	size := &growth{loops: map[ast.Node]int{}}
	node := p.Node()
	ast.Walk(&node, size)
	if size.forbidden != "" {
		return nil, fmt.Errorf("the function %s is not there: what it makes has no bounds", size.forbidden)
	}
	if size.nesting > maxNesting || size.variables > maxVariables || size.additions > maxAdditions {
		return nil, fmt.Errorf("it is too complex: at most %d loops within one another, %d variables, %d additions", maxNesting, maxVariables, maxAdditions)
	}
	if strings.Contains(source, "GetAppDetails") {
		return nil, fmt.Errorf("repo.GetAppDetails is not there: event and app hold what is known")
	}
	return p, nil
}

// harmlessBuiltins make nothing that is longer than what they are given. Others,
// as reduce, repeat, replace and join, could fill the memory in one line.
var harmlessBuiltins = []string{
	"all", "none", "any", "one", "filter", "map", "find", "findIndex", "findLast", "findLastIndex", "count", "len",
	"trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "splitAfter", "hasPrefix", "hasSuffix", "indexOf", "lastIndexOf",
	"type", "int", "float", "string", "bool", "abs", "ceil", "floor", "round", "min", "max",
	"now", "duration", "date", "timezone", "first", "last", "get", "take", "keys", "values", "sort", "reverse", "uniq",
}

// growth counts what lets values and times grow.
type growth struct {
	variables, additions int
	nesting              int              // of loops
	loops                map[ast.Node]int // how many each holds, itself included
	forbidden            string           // a function that may make anything of little
}

// Visit is called for children before their parents.
func (g *growth) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.VariableDeclaratorNode:
		g.variables++
	case *ast.BinaryNode:
		if n.Operator == "+" {
			g.additions++
		}
	case *ast.BuiltinNode:
		if !slices.Contains(harmlessBuiltins, n.Name) {
			g.forbidden = n.Name
		}
	case *ast.PredicateNode:
		if _, seen := g.loops[n]; !seen {
			inner := &growth{loops: g.loops}
			ast.Walk(&n.Node, inner)
			g.loops[n] = inner.nesting + 1
		}
		g.nesting = max(g.nesting, g.loops[n])
	}
}

// run evaluates a program within bounds.
func run(p *vm.Program, vars map[string]any) (any, error) {
	machine := vm.VM{MemoryBudget: maxElements}
	out, err := machine.Run(p, vars)
	if err != nil {
		return nil, fmt.Errorf("%s", oneLine(err.Error()))
	}
	return out, nil
}

// met says whether the condition holds, and what it is notified once per. A
// condition that cannot be evaluated, because the state lacks what it asks for,
// does not hold.
func (c *condition) met(vars map[string]any) (bool, string) {
	out, err := run(c.when, vars)
	if holds, ok := out.(bool); err != nil || !ok || !holds {
		return false, ""
	}
	return true, c.per(vars)
}

func (c *condition) per(vars map[string]any) string {
	if c.oncePer == nil {
		return ""
	}
	out, err := run(c.oncePer, vars)
	if err != nil || out == nil {
		return "-" // once, until there is something to tell it by
	}
	return shorten(fmt.Sprint(out), 200)
}
