package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/render"
)

const validateLong = `Check manifests without a cluster.

Applications and AppProjects, of plumb.dev and of argoproj.io, are checked as the
API server would: no unknown fields, the schema, and its rules. Fields that Plumb
does not implement yet are warnings. Objects of Kubernetes' own kinds are checked
for unknown and misspelt fields and for values of the wrong type. Objects of
other kinds are only checked to be objects: the output says which.

The exit code is 1 where there is an error, and 0 otherwise.

With -o json the output is an object with the fields objects, errors, warnings
(how many), unchecked (kinds without a schema) and findings: a list of objects
with the fields file, line, severity (error or warning), kind, namespace, name,
field and message.`

const validateExample = `  plumb validate -f application.yaml
  plumb validate -f apps/ -o json
  kustomize build . | plumb validate -f -`

// The severities of findings.
const (
	severityError   = "error"
	severityWarning = "warning"
)

// finding is one thing that is wrong, or odd.
type finding struct {
	File      string `json:"file"`
	Line      int    `json:"line,omitempty"`
	Severity  string `json:"severity"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
}

// validation is the JSON of validate.
type validation struct {
	Objects   int       `json:"objects"`
	Errors    int       `json:"errors"`
	Warnings  int       `json:"warnings"`
	Unchecked []string  `json:"unchecked"`
	Findings  []finding `json:"findings"`
}

func newValidateCommand(streams Streams) *cobra.Command {
	var files manifestFiles
	var o output
	cmd := &cobra.Command{
		Use:     "validate -f FILE...",
		Aliases: []string{"lint"},
		Short:   "Check Applications, projects and other manifests, offline",
		Long:    validateLong,
		Example: validateExample,
		Args:    files.named,
		RunE: func(cmd *cobra.Command, args []string) error {
			texts, unread := files.read(cmd, streams.In, args)
			v := validation{Unchecked: []string{}, Findings: []finding{}}
			for _, err := range unread {
				v.Findings = append(v.Findings, finding{Severity: severityError, Message: describeError(err)})
			}
			c := newChecker()
			for _, t := range texts {
				v.check(c, t)
			}
			v.sum()
			if err := v.print(&o, streams); err != nil {
				return err
			}
			if v.Errors > 0 {
				return exitError{code: 1}
			}
			return nil
		},
	}
	files.bind(cmd)
	o.bind(cmd, "json", "yaml")
	return cmd
}

// check checks one file.
func (v *validation) check(c *checker, t manifestText) {
	objects, err := t.objects(true)
	if err != nil {
		f := finding{File: t.file, Severity: severityError, Message: err.Error()}
		var at *render.FileError
		if errors.As(err, &at) {
			f.Line, f.Message = at.Line, at.Err.Error()
		}
		v.Findings = append(v.Findings, f)
	}
	for _, m := range objects {
		v.Objects++
		findings, checked := c.check(m)
		if !checked {
			v.Unchecked = append(v.Unchecked, m.obj.GetAPIVersion()+" "+m.obj.GetKind())
		}
		for _, f := range findings {
			f.File, f.Kind, f.Namespace, f.Name = m.file, m.obj.GetKind(), m.obj.GetNamespace(), m.obj.GetName()
			if f.Line == 0 {
				f.Line = m.line
			}
			v.Findings = append(v.Findings, f)
		}
	}
}

// sum counts and sorts what was found.
func (v *validation) sum() {
	slices.Sort(v.Unchecked)
	v.Unchecked = slices.Compact(v.Unchecked)
	for _, f := range v.Findings {
		if f.Severity == severityError {
			v.Errors++
		} else {
			v.Warnings++
		}
	}
	order := map[string]int{}
	for i, f := range v.Findings {
		if _, ok := order[f.File]; !ok {
			order[f.File] = i
		}
	}
	slices.SortStableFunc(v.Findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field))
	})
}

func (v *validation) print(o *output, streams Streams) error {
	if o.machine() {
		return o.print(streams.Out, v)
	}
	for _, f := range v.Findings {
		fmt.Fprintln(streams.Out, printable(f.String()))
	}
	if len(v.Unchecked) > 0 {
		fmt.Fprintf(streams.Out, "not checked, as there is no schema here for: %s\n", printable(strings.Join(v.Unchecked, ", ")))
	}
	fmt.Fprintf(streams.Out, "%s, %s, %s\n", plural(v.Objects, "object"), plural(v.Errors, "error"), plural(v.Warnings, "warning"))
	return nil
}

// String is "file:line: severity: kind name: field: message".
func (f finding) String() string {
	var parts []string
	if f.File != "" {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		parts = append(parts, place)
	}
	parts = append(parts, f.Severity)
	if f.Kind != "" {
		parts = append(parts, strings.TrimSpace(f.Kind+" "+f.Name))
	}
	if f.Field != "" {
		parts = append(parts, f.Field)
	}
	return strings.Join(append(parts, f.Message), ": ")
}
