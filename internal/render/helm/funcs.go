package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template"

	"github.com/BurntSushi/toml"
	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
	yamlv3 "sigs.k8s.io/yaml/goyaml.v3"

	"github.com/plumb-dev/plumb/internal/render"
)

// funcs is what templates can call: sprig without the environment, and what
// Helm adds; all of it counted.
func (e *engine) funcs(t *template.Template) template.FuncMap {
	all := sprig.TxtFuncMap()
	delete(all, "env")
	delete(all, "expandenv")
	maps.Copy(all, template.FuncMap{
		"printf": fmt.Sprintf, "print": fmt.Sprint, "println": fmt.Sprintln,
		"toToml": toTOML, "mustToToml": mustToTOML, "fromToml": fromTOML,
		"toYaml": toYAML, "mustToYaml": mustToYAML, "toYamlPretty": toYAMLPretty,
		"fromYaml": e.fromYAML, "fromYamlArray": e.fromYAMLArray,
		"toJson": toJSON, "mustToJson": mustToJSON,
		"fromJson": fromJSON, "fromJsonArray": fromJSONArray,
		"keys": keys, "values": values,
		"required":      required,
		"fail":          func(msg string) (string, error) { return "", failure(msg) },
		"lookup":        func(_, _, _, _ string) (map[string]any, error) { return map[string]any{}, nil },
		"getHostByName": func(string) string { return "" },
	})
	for name, f := range all {
		all[name] = e.counted(name, f)
	}
	// These count by themselves.
	maps.Copy(all, template.FuncMap{
		"include": e.include(t), includeName: e.include(t), "tpl": e.tpl(t),
		tickName: func() (string, error) { return "", e.tick() },
		outName:  func(v reflect.Value) (reflect.Value, error) { return v, e.out(v) },
	})
	return all
}

// out looks at a value before it is written out.
func (e *engine) out(v reflect.Value) error {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer, reflect.Struct:
		_, err := e.weigh(v.Interface())
		return err
	}
	return nil
}

// counted wraps a function: its arguments are looked at where it could make
// much of little, and its result is taken from the budget. A panic is how a
// function without an error stops a template.
func (e *engine) counted(name string, f any) any {
	fv := reflect.ValueOf(f)
	ft := fv.Type()
	before := checks[name]
	return reflect.MakeFunc(ft, func(in []reflect.Value) []reflect.Value {
		if err := e.tick(); err != nil {
			panic(err)
		}
		if before != nil {
			if err := before(e.budget, flatten(ft, in)); err != nil {
				panic(err)
			}
		}
		var out []reflect.Value
		if ft.IsVariadic() {
			out = fv.CallSlice(in)
		} else {
			out = fv.Call(in)
		}
		if err := e.result(out[0]); err != nil {
			panic(err)
		}
		return out
	}).Interface()
}

func flatten(ft reflect.Type, in []reflect.Value) []any {
	out := make([]any, 0, len(in))
	for i, v := range in {
		if ft.IsVariadic() && i == len(in)-1 {
			for j := range v.Len() {
				out = append(out, v.Index(j).Interface())
			}
			continue
		}
		out = append(out, v.Interface())
	}
	return out
}

func (e *engine) result(v reflect.Value) error {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		return e.spend(int64(v.Len()))
	case reflect.Slice:
		return e.items(int64(v.Len()))
	case reflect.Map:
		return e.spend(32 * int64(v.Len()))
	}
	return nil
}

// check looks at a call's arguments before it is made.
type check func(*budget, []any) error

func writesOut(b *budget, args []any) error { _, err := b.weigh(args...); return err }

func compares(b *budget, args []any) error {
	for _, a := range args {
		if v := reflect.ValueOf(a); v.Kind() == reflect.Slice && v.Len() > maxCompared {
			return b.stop(fmt.Errorf("a template compares all of %d items: %w", v.Len(), render.ErrTooMuch))
		}
	}
	return writesOut(b, args)
}

func text(args []any, i int) string {
	if i < len(args) {
		s, _ := args[i].(string)
		return s
	}
	return ""
}

func number(args []any, i int) int64 {
	if i < len(args) {
		v := reflect.ValueOf(args[i])
		switch {
		case v.CanInt():
			return v.Int()
		case v.CanUint():
			return int64(min(v.Uint(), 1<<62)) // bounded just now
		case v.CanFloat():
			return int64(v.Float())
		}
	}
	return 0
}

func random(b *budget, args []any) error { return b.spend(number(args, 0)) }

func replaces(b *budget, args []any) error { // pattern, text, replacement
	return b.spend(product(int64(len(text(args, 1))+1), int64(len(text(args, 2)))))
}

func product(x, y int64) int64 {
	if x > 0 && y > (1<<60)/x {
		return 1 << 60
	}
	return x * y
}

func steps(start, stop, step int64) int64 {
	if step == 0 {
		return 0
	}
	n := (stop - start) / step
	return max(n, -n)
}

// checks of the functions that could make much of little.
var checks = map[string]check{
	"toYaml": writesOut, "mustToYaml": writesOut, "toYamlPretty": writesOut,
	"toJson": writesOut, "mustToJson": writesOut, "toPrettyJson": writesOut, "mustToPrettyJson": writesOut,
	"toRawJson": writesOut, "mustToRawJson": writesOut, "toToml": writesOut, "mustToToml": writesOut,
	"print": writesOut, "println": writesOut, "toString": writesOut, "toStrings": writesOut,
	"quote": writesOut, "squote": writesOut, "cat": writesOut, "sortAlpha": writesOut,
	"deepCopy": writesOut, "mustDeepCopy": writesOut, "deepEqual": writesOut,
	"merge": writesOut, "mustMerge": writesOut, "mergeOverwrite": writesOut, "mustMergeOverwrite": writesOut,
	"uniq": compares, "mustUniq": compares, "without": compares, "mustWithout": compares, "has": compares, "mustHas": compares,
	"randAlphaNum": random, "randAlpha": random, "randAscii": random, "randNumeric": random, "randBytes": random,
	"regexReplaceAll": replaces, "mustRegexReplaceAll": replaces,
	"regexReplaceAllLiteral": replaces, "mustRegexReplaceAllLiteral": replaces,
	"dict": func(b *budget, args []any) error {
		for i := 0; i < len(args); i += 2 {
			if _, err := b.weigh(args[i]); err != nil {
				return err
			}
		}
		return nil
	},
	"printf": func(b *budget, args []any) error {
		sum, err := b.weigh(args...)
		if err != nil {
			return err
		}
		// A verb may name any argument, and any number of verbs the same.
		if n := int64(strings.Count(text(args, 0), "%")); n > int64(len(args)) {
			return b.spend(product(n, sum))
		}
		return nil
	},
	"join": func(b *budget, args []any) error {
		if len(args) < 2 {
			return nil
		}
		sum, err := b.weigh(args[1])
		if err != nil {
			return err
		}
		return b.spend(product(sum/8, int64(len(text(args, 0)))))
	},
	"repeat": func(b *budget, args []any) error {
		return b.spend(product(max(number(args, 0), 0), int64(len(text(args, 1)))))
	},
	"replace": func(b *budget, args []any) error {
		n := strings.Count(text(args, 2), text(args, 0))
		return b.spend(product(int64(n), int64(len(text(args, 1)))))
	},
	"indent":  indents,
	"nindent": indents,
	"wrapWith": func(b *budget, args []any) error {
		return b.spend(product(int64(len(text(args, 2))), int64(len(text(args, 1)))))
	},
	"until": func(b *budget, args []any) error {
		n := number(args, 0)
		return b.items(max(n, -n))
	},
	"untilStep": func(b *budget, args []any) error {
		return b.items(steps(number(args, 0), number(args, 1), number(args, 2)))
	},
	"seq": func(b *budget, args []any) error {
		switch len(args) {
		case 1:
			return b.items(steps(1, number(args, 0), 1))
		case 2:
			return b.items(steps(number(args, 0), number(args, 1), 1))
		case 3:
			return b.items(steps(number(args, 0), number(args, 2), number(args, 1)))
		}
		return nil
	},
}

func indents(b *budget, args []any) error {
	s := text(args, 1)
	return b.spend(product(max(number(args, 0), 0), int64(strings.Count(s, "\n")+1)) + int64(len(s)))
}

func failure(msg string) error { return errors.New(messageStart + msg + messageEnd) }

func required(msg string, v any) (any, error) {
	if v == nil || v == "" {
		return v, failure(msg)
	}
	return v, nil
}

// keys and values are in the order of the keys: sprig's change each time, and
// the objects with them.
func keys(dicts ...map[string]any) []string {
	out := []string{}
	for _, d := range dicts {
		out = append(out, sortedNames(d)...)
	}
	return out
}

func values(d map[string]any) []any {
	out := make([]any, 0, len(d))
	for _, k := range sortedNames(d) {
		out = append(out, d[k])
	}
	return out
}

func toYAML(v any) string {
	data, err := yaml.Marshal(v)
	if err != nil {
		return "" // a template sees no errors here, as Helm has it
	}
	return strings.TrimSuffix(string(data), "\n")
}

func mustToYAML(v any) (string, error) {
	data, err := yaml.Marshal(v)
	return strings.TrimSuffix(string(data), "\n"), err
}

func toYAMLPretty(v any) string {
	var buf bytes.Buffer
	enc := yamlv3.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(buf.String(), "\n")
}

// decodeYAML decodes a text that a template made; an alias bomb in it is worth
// no more than one in a file.
func (e *engine) decodeYAML(text string, into any) error {
	if err := render.CheckAliases("the text", []byte(text), e.limits.TotalBytes); err != nil {
		return e.stop(err)
	}
	return yaml.Unmarshal([]byte(text), into)
}

func (e *engine) fromYAML(text string) map[string]any {
	m := map[string]any{}
	if err := e.decodeYAML(text, &m); err != nil {
		m["Error"] = err.Error()
	}
	return m
}

func (e *engine) fromYAMLArray(text string) []any {
	a := []any{}
	if err := e.decodeYAML(text, &a); err != nil {
		a = []any{err.Error()}
	}
	return a
}

func toTOML(v any) string {
	text, err := mustToTOML(v)
	if err != nil {
		return err.Error()
	}
	return text
}

func mustToTOML(v any) (string, error) {
	var buf bytes.Buffer
	err := toml.NewEncoder(&buf).Encode(v)
	return buf.String(), err
}

func fromTOML(text string) map[string]any {
	m := map[string]any{}
	if err := toml.Unmarshal([]byte(text), &m); err != nil {
		m["Error"] = err.Error()
	}
	return m
}

func toJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

func mustToJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}

func fromJSON(text string) map[string]any {
	m := map[string]any{}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		m["Error"] = err.Error()
	}
	return m
}

func fromJSONArray(text string) []any {
	a := []any{}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		a = []any{err.Error()}
	}
	return a
}
