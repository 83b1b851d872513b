package notify

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// Templates and conditions may be a team's own, so they are bounded: by time,
// by the size of every value that a function makes, and by what is written.
const (
	maxTemplate  = 64 << 10
	maxOutput    = 64 << 10
	maxValue     = 256 << 10
	maxCount     = 10_000
	templateTime = time.Second
)

var (
	errTooSlow = fmt.Errorf("it takes longer than %s", templateTime)
	errTooLong = fmt.Errorf("it makes more than %d KiB", maxOutput>>10)
)

// execution is what bounds a template while it runs.
type execution struct{ deadline time.Time }

func (e *execution) tick() (string, error) {
	if time.Now().After(e.deadline) {
		return "", errTooSlow
	}
	return "", nil
}

// withheld are functions of sprig that templates of Argo CD have, and those
// here do not: they ask the machine or the network, take long, or make values
// that hold themselves.
var withheld = []string{
	"env", "expandenv", "getHostByName",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "buildCustomCert",
	"bcrypt", "htpasswd", "derivePassword", "encryptAES", "decryptAES",
	"set", "unset", "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite",
}

// counting are functions that make as much as a number says.
var counting = map[string]bool{
	"repeat": true, "until": true, "untilStep": true, "seq": true, "indent": true, "nindent": true, "wrap": true, "wrapWith": true,
	"randAlphaNum": true, "randAlpha": true, "randAscii": true, "randNumeric": true, "randBytes": true,
}

// functions are sprig's, as in Argo CD, bounded by an execution.
func functions(run *execution) template.FuncMap {
	all := sprig.TxtFuncMap()
	for _, name := range withheld {
		delete(all, name)
	}
	// These are built in, and make texts as well.
	all["print"], all["printf"], all["println"] = fmt.Sprint, fmt.Sprintf, fmt.Sprintln
	all["html"], all["js"], all["urlquery"] = template.HTMLEscaper, template.JSEscaper, template.URLQueryEscaper
	for name, f := range all {
		all[name] = bounded(name, reflect.ValueOf(f), run)
	}
	all["tick"] = run.tick
	return all
}

// bounded wraps a function of templates so that it gives an error instead of a
// value that is too big, and none at all when the time is over.
func bounded(name string, f reflect.Value, run *execution) any {
	t := f.Type()
	in := make([]reflect.Type, t.NumIn())
	for i := range in {
		in[i] = t.In(i)
	}
	errorType := reflect.TypeFor[error]()
	wrapped := reflect.FuncOf(in, []reflect.Type{t.Out(0), errorType}, t.IsVariadic())
	return reflect.MakeFunc(wrapped, func(args []reflect.Value) []reflect.Value {
		fail := func(err error) []reflect.Value {
			return []reflect.Value{reflect.Zero(t.Out(0)), reflect.ValueOf(&err).Elem()}
		}
		if _, err := run.tick(); err != nil {
			return fail(err)
		}
		if counting[name] && !small(args) {
			return fail(fmt.Errorf("%s: numbers up to %d are allowed", name, maxCount))
		}
		var out []reflect.Value
		if t.IsVariadic() {
			out = f.CallSlice(args)
		} else {
			out = f.Call(args)
		}
		if len(out) > 1 && !out[1].IsNil() {
			return []reflect.Value{out[0], out[1]}
		}
		if budget := maxValue; !fits(out[0], &budget) {
			return fail(fmt.Errorf("%s makes a value of more than %d KiB", name, maxValue>>10))
		}
		return []reflect.Value{out[0], reflect.Zero(errorType)}
	}).Interface()
}

// small tells whether all numbers among arguments are small.
func small(args []reflect.Value) bool {
	for _, a := range args {
		for a.Kind() == reflect.Interface {
			a = a.Elem()
		}
		switch {
		case a.Kind() == reflect.Slice:
			for i := range a.Len() {
				if !small([]reflect.Value{a.Index(i)}) {
					return false
				}
			}
		case a.IsValid() && a.CanInt() && (a.Int() > maxCount || a.Int() < -maxCount),
			a.IsValid() && a.CanUint() && a.Uint() > maxCount,
			a.IsValid() && a.CanFloat() && (a.Float() > maxCount || a.Float() < -maxCount):
			return false
		}
	}
	return true
}

// fits counts the size of a value as it would be printed, up to a budget: a
// value may be in another many times over.
func fits(v reflect.Value, budget *int) bool {
	*budget -= 8
	switch v.Kind() {
	case reflect.String:
		*budget -= v.Len()
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			return fits(v.Elem(), budget)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			*budget -= v.Len()
			break
		}
		for i := range v.Len() {
			if *budget < 0 || !fits(v.Index(i), budget) {
				return false
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if *budget < 0 || !fits(entries.Key(), budget) || !fits(entries.Value(), budget) {
				return false
			}
		}
	default:
	}
	return *budget >= 0
}

// leaf is one text of a template.
type leaf struct {
	parsed *template.Template
	run    *execution
}

// parseLeaf reads a text. Every loop and every template in it looks at the
// clock first.
func parseLeaf(name, text string) (*leaf, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("it is longer than %d KiB", maxTemplate>>10)
	}
	run := &execution{}
	t, err := template.New(name).Funcs(functions(run)).Parse(text)
	if err != nil {
		return nil, err
	}
	mini, err := template.New("tick").Funcs(template.FuncMap{"tick": run.tick}).Parse("{{tick}}")
	if err != nil {
		return nil, err
	}
	for _, each := range t.Templates() {
		if each.Tree != nil && each.Root != nil {
			insertTicks(each.Root, mini.Root.Nodes[0])
			each.Root.Nodes = append([]parse.Node{mini.Root.Nodes[0]}, each.Root.Nodes...)
		}
	}
	return &leaf{parsed: t, run: run}, nil
}

func insertTicks(list *parse.ListNode, tick parse.Node) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.IfNode:
			insertTicks(n.List, tick)
			insertTicks(n.ElseList, tick)
		case *parse.WithNode:
			insertTicks(n.List, tick)
			insertTicks(n.ElseList, tick)
		case *parse.RangeNode:
			insertTicks(n.List, tick)
			insertTicks(n.ElseList, tick)
			n.List.Nodes = append([]parse.Node{tick}, n.List.Nodes...)
		}
	}
}

// execute writes the text. It is not called twice at once.
func (l *leaf) execute(vars map[string]any) (string, error) {
	l.run.deadline = time.Now().Add(templateTime)
	var out limitedBuilder
	if err := l.parsed.Execute(&out, vars); err != nil {
		var failed template.ExecError
		if errors.As(err, &failed) && errors.Is(err, errTooLong) {
			return "", errTooLong
		}
		return "", err
	}
	return strings.ReplaceAll(out.String(), "<no value>", ""), nil
}

// limitedBuilder holds so much and no more.
type limitedBuilder struct{ strings.Builder }

func (b *limitedBuilder) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		return 0, errTooLong
	}
	return b.Builder.Write(p)
}
