package helm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	charts "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/plumb-dev/plumb/internal/render"
)

const (
	maxSameInclude = 1_000 // nested includes of one name, as Helm has it
	maxIncludes    = 4_000 // nested includes in all
	maxNesting     = 1_000 // nested blocks in one template

	// Helm's way to show only the message of fail and required.
	messageStart, messageEnd = "HELM_ERR_START", "HELM_ERR_END"
)

// engine executes the templates of a chart. It differs from Helm's engine in
// that each turn of a loop, each call and each output looks whether the time or
// the memory that one Application may cost is used up.
type engine struct {
	*budget
	place    func(string) string
	includes map[string]int
	depth    int
	watched  map[*parse.Tree]bool
}

func newEngine(ctx context.Context, limits render.Limits, place func(string) string) *engine {
	return &engine{
		budget: newBudget(ctx, limits), place: place,
		includes: map[string]int{}, watched: map[*parse.Tree]bool{},
	}
}

// unit is one template with what it sees.
type unit struct {
	text, base string
	values     map[string]any
}

// render gives the output of each template that is no partial, by its name.
func (e *engine) render(ch *chart.Chart, values common.Values) (out map[string]string, err error) {
	units := map[string]unit{}
	e.gather(ch, units, values)
	names := slices.SortedFunc(maps.Keys(units), byPath)
	t := template.New("gotpl").Option("missingkey=zero")
	t.Funcs(e.funcs(t))
	for _, name := range names {
		if err := e.parse(t.New(name), units[name].text); err != nil {
			return nil, e.explain(name, err)
		}
	}
	out = make(map[string]string, len(names))
	total := int64(0)
	for _, name := range names {
		if strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		u := units[name]
		u.values["Template"] = common.Values{"Name": name, "BasePath": u.base}
		w := e.writer()
		if err := t.ExecuteTemplate(w, name, u.values); err != nil {
			return nil, e.explain(name, err)
		}
		out[name] = strings.ReplaceAll(w.String(), "<no value>", "")
		if total += int64(len(out[name])); total > e.limits.TotalBytes {
			return nil, render.Errorf(e.place(name), 0, "the templates give more than %d bytes: %w", e.limits.TotalBytes, render.ErrTooMuch)
		}
	}
	return out, nil
}

// byPath puts deeper templates first, so that those of the outer chart are
// defined last and go before them.
func byPath(a, b string) int {
	if d := strings.Count(b, "/") - strings.Count(a, "/"); d != 0 {
		return d
	}
	return strings.Compare(b, a)
}

// gather collects the templates of a chart and its dependencies, each with the
// values of its chart.
func (e *engine) gather(ch *chart.Chart, into map[string]unit, values common.Values) map[string]any {
	top := values.AsMap()
	meta := map[string]any{}
	if a, err := charts.NewAccessor(ch); err == nil {
		meta = a.MetadataAsMap()
	}
	meta["IsRoot"] = ch.IsRoot()
	subs := map[string]any{}
	scope := map[string]any{
		"Chart":        meta,
		"Files":        filesOf(ch.Files),
		"Release":      top["Release"],
		"Capabilities": top["Capabilities"],
		"Values":       make(common.Values),
		"Subcharts":    subs,
	}
	if ch.IsRoot() {
		scope["Values"] = top["Values"]
	} else if vs, err := values.Table("Values." + ch.Name()); err == nil {
		scope["Values"] = vs
	}
	for _, sub := range ch.Dependencies() {
		subs[sub.Name()] = e.gather(sub, into, scope)
	}
	library := strings.EqualFold(ch.Metadata.Type, "library")
	for _, f := range ch.Templates {
		if f == nil || (library && !strings.HasPrefix(path.Base(f.Name), "_")) {
			continue
		}
		into[path.Join(ch.ChartFullPath(), f.Name)] = unit{
			text: string(f.Data), base: path.Join(ch.ChartFullPath(), "templates"), values: scope,
		}
	}
	return scope
}

var blocks = regexp.MustCompile(`\{\{-?\s*(if|range|with|block|define|end)\b`)

// parse parses a template and sets the watch into it.
func (e *engine) parse(t *template.Template, text string) error {
	depth := 0
	for _, m := range blocks.FindAllStringSubmatch(text, -1) {
		if m[1] == "end" {
			depth--
		} else if depth++; depth > maxNesting {
			return fmt.Errorf("blocks nest more than %d deep: %w", maxNesting, render.ErrTooMuch)
		}
	}
	if _, err := t.Parse(text); err != nil {
		return err
	}
	for _, one := range t.Templates() {
		if one.Tree != nil && !e.watched[one.Tree] {
			e.watched[one.Tree] = true
			watch(one.Root)
		}
	}
	return nil
}

// include executes a named template, for the function of that name and for the
// action template.
func (e *engine) include(t *template.Template) func(string, any) (string, error) {
	return func(name string, data any) (string, error) {
		if e.includes[name] > maxSameInclude || e.depth > maxIncludes {
			return "", fmt.Errorf("rendering template has a nested reference name: %s: unable to execute template", name)
		}
		e.includes[name]++
		e.depth++
		defer func() { e.includes[name]--; e.depth-- }()
		w := e.writer()
		err := t.ExecuteTemplate(w, name, data)
		return w.String(), err
	}
}

// tpl executes a text as a template.
func (e *engine) tpl(parent *template.Template) func(string, any) (string, error) {
	return func(text string, data any) (string, error) {
		if err := e.spend(int64(len(text))); err != nil {
			return "", err
		}
		if e.depth > maxIncludes {
			return "", fmt.Errorf("tpl calls nest more than %d deep", maxIncludes)
		}
		e.depth++
		defer func() { e.depth-- }()
		t, err := parent.Clone()
		if err != nil {
			return "", fmt.Errorf("cannot clone template: %w", err)
		}
		t.Option("missingkey=zero")
		t.Funcs(template.FuncMap{"include": e.include(t), includeName: e.include(t), "tpl": e.tpl(t)})
		t = t.New(parent.Name())
		if err := e.parse(t, text); err != nil {
			return "", fmt.Errorf("cannot parse the text given to tpl: %w", err)
		}
		w := e.writer()
		if err := t.Execute(w, data); err != nil {
			return "", fmt.Errorf("error during tpl function execution: %w", err)
		}
		return strings.ReplaceAll(w.String(), "<no value>", ""), nil
	}
}

var (
	place   = regexp.MustCompile(`template: ([^\s:]+):(\d+)(?::\d+)?: `)
	message = regexp.MustCompile(`(?s)` + messageStart + `(.*)` + messageEnd)
)

// explain says what went wrong at the innermost place, and which template it
// was rendered for.
func (e *engine) explain(name string, err error) error {
	if cause := e.exceeded(); cause != nil {
		return render.Errorf(e.place(name), 0, "%w", cause)
	}
	text := err.Error()
	all := place.FindAllStringSubmatchIndex(text, -1)
	if len(all) == 0 {
		return render.At(e.place(name), 0, err)
	}
	last := all[len(all)-1]
	file, what := text[last[2]:last[3]], strings.TrimSpace(text[last[1]:])
	line, _ := strconv.Atoi(text[last[4]:last[5]])
	if m := message.FindStringSubmatch(text); m != nil {
		what = m[1]
	}
	if file != name {
		first := text[all[0][4]:all[0][5]]
		what += fmt.Sprintf(" (rendering %s:%s)", e.place(name), first)
	}
	if errors.Is(err, render.ErrTooMuch) {
		return render.Errorf(e.place(file), line, "%s: %w", what, render.ErrTooMuch)
	}
	return render.Errorf(e.place(file), line, "%s", what)
}

// inOutput says that a place is one in the output of a template.
func inOutput(err error) error {
	fe := (*render.FileError)(nil)
	if !errors.As(err, &fe) {
		return err
	}
	return &render.FileError{File: fe.File, Err: fmt.Errorf("line %d of what the template gives: %w", fe.Line, fe.Err)}
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
