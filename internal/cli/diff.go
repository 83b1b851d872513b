package cli

import (
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
)

func (c commandline) newDiffCommand() *cobra.Command {
	var s selection
	var f previewFlags
	var o output
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show what differs between Git and what runs",
		Long: `Shows line by line what a sync would change. What is shown was asked of the
destination by a server-side dry-run, so it holds defaults and what admission
changes. Values of Secrets are masked.

It is computed here, with your own rights on the repository and the destination,
and changes nothing.

Exits with 0 when there is no difference, with 1 when there is one, and with 2
when that could not be found out.`,
		Example: `  plumb diff web
  plumb diff web --revision feature/blue
  plumb diff web --local ./apps/web`,
		Args: func(cmd *cobra.Command, args []string) error {
			return failWith(2, oneName(cmd, args))
		},
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, p, err := c.preview(cmd.Context(), args[0], s, f)
			if err != nil {
				return failWith(2, err)
			}
			if err := c.newDiffView(&o).show(a, p); err != nil {
				return failWith(2, err)
			}
			if differs(p.Comparison) {
				return exitError{code: 1}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return failWith(2, explainFlagError(cmd, err)) })
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	f.bind(cmd)
	o.bind(cmd, "json", "yaml")
	return cmd
}

// failWith gives an error its exit code; no error stays none.
func failWith(code int, err error) error { //nolint:unparam // the code is read where it is given
	if err == nil {
		return nil
	}
	return exitError{code: code, err: err}
}

// diffView shows the differences of an Application.
type diffView interface {
	show(a application, p engine.Preview) error
}

func (c commandline) newDiffView(o *output) diffView {
	if o.machine() {
		return diffObject{c.streams.Out, o}
	}
	return diffText{out: c.streams.Out, err: c.streams.Err, p: c.palette()}
}

// diffText is for people: unified differences.
type diffText struct {
	out, err io.Writer
	p        palette
}

func (v diffText) show(a application, p engine.Preview) error {
	all, err := differencesOf(p.Comparison)
	if err != nil {
		return err
	}
	for _, d := range all {
		fmt.Fprintln(v.out, v.p.bold(diffTitle(d)))
		paintDiff(v.out, v.p, d.Diff)
	}
	for _, r := range remarks(p.Comparison.Resources) {
		fmt.Fprintf(v.err, "%s: %s\n", r.Resource.Address(), printable(r.Message))
	}
	for _, warning := range p.Bundle.Warnings {
		fmt.Fprintf(v.err, "warning: %s\n", printable(warning))
	}
	return nil
}

func diffTitle(d difference) string {
	title := string(d.Action) + " " + string(d.Resource.Address())
	switch {
	case d.Drift:
		title += " (changed where it runs, not in Git)"
	case d.Reason != "":
		title += " (" + printable(d.Reason) + ")"
	}
	return title
}

// paintDiff prints a unified difference, in colours on a terminal.
func paintDiff(out io.Writer, p palette, diff string) {
	for line := range strings.Lines(diff) {
		line = printableLine(strings.TrimSuffix(line, "\n"))
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			line = p.bold(line)
		case strings.HasPrefix(line, "@@"):
			line = p.cyan(line)
		case strings.HasPrefix(line, "-"):
			line = p.red(line)
		case strings.HasPrefix(line, "+"):
			line = p.green(line)
		}
		fmt.Fprintln(out, line)
	}
}

// printableLine is printable that keeps tabs.
func printableLine(s string) string {
	parts := strings.Split(s, "\t")
	for i := range parts {
		parts[i] = printable(parts[i])
	}
	return strings.Join(parts, "\t")
}

// difference is one change, as JSON shows it.
type difference struct {
	Action   plan.Action    `json:"action"`
	Resource plan.Ref       `json:"resource"`
	Drift    bool           `json:"drift,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Before   map[string]any `json:"before,omitempty"`
	After    map[string]any `json:"after,omitempty"`
	Diff     string         `json:"diff"`
}

// differencesOf are the changes of a plan, and why they are in it as far as that is
// known.
func differencesOf(c driver.Comparison) ([]difference, error) {
	deleted := map[plan.Address]bool{}
	for i := range c.Resources {
		deleted[c.Resources[i].Ref.Address()] = c.Resources[i].Cause == driver.CauseDeleted
	}
	var all []difference
	for _, step := range c.Plan.Steps {
		if step.Hook {
			continue
		}
		d, err := differenceOf(step.Change)
		if err != nil {
			return nil, err
		}
		if d.Action == plan.ActionCreate && deleted[step.Address()] {
			d.Reason = "was deleted where it ran, not in Git: it is made again"
		}
		all = append(all, d)
	}
	return all, nil
}

func differenceOf(change plan.Change) (difference, error) {
	d := difference{Action: change.Action(), Resource: change.Target()}
	var before, after plan.State
	switch c := change.(type) {
	case plan.Create:
		after = c.After
	case plan.Update:
		before, after, d.Drift = c.Before, c.After, c.Drift
	case plan.Replace:
		before, after, d.Reason = c.Before, c.After, c.Reason
	case plan.Delete:
		before = c.Before
	case plan.Forget: // it stays as it is
		before, after = c.Before, c.Before
	}
	d.Before, d.After = withoutNoise(before.Object), withoutNoise(after.Object)
	a, err := yamlText(d.Before)
	if err != nil {
		return d, err
	}
	b, err := yamlText(d.After)
	if err != nil {
		return d, err
	}
	address := string(d.Resource.Address())
	d.Diff = udiff.Unified("live/"+address, "git/"+address, a, b)
	if d.Diff == "" && before.Hash != after.Hash {
		d.Diff = "  (only what is masked or kept by the server differs)\n"
	}
	return d, nil
}

// withoutNoise leaves out what the server keeps of an object for itself. The
// values of Secrets are masked once more, whoever was to do it before.
func withoutNoise(object map[string]any) map[string]any {
	if object == nil {
		return nil
	}
	object = maps.Clone(object)
	delete(object, "status")
	if metadata, ok := object["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		for _, key := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
			delete(metadata, key)
		}
		object["metadata"] = metadata
	}
	return maskSecret(object)
}

func yamlText(object map[string]any) (string, error) {
	if object == nil {
		return "", nil
	}
	b, err := yaml.Marshal(object)
	if err != nil {
		return "", fmt.Errorf("write %v as YAML: %w", object["kind"], err)
	}
	return string(b), nil
}

// diffObject is for programs.
type diffObject struct {
	out io.Writer
	o   *output
}

// diffDocument is the JSON of diff.
type diffDocument struct {
	Application applicationRef `json:"application"`
	Revisions   []string       `json:"revisions"`
	Different   bool           `json:"different"`
	Changes     []difference   `json:"changes"`
	Remarks     []remark       `json:"remarks,omitempty"`
	Warnings    []string       `json:"warnings,omitempty"`
}

func (v diffObject) show(a application, p engine.Preview) error {
	doc := diffDocument{
		Application: refOf(a.key), Revisions: p.Revisions, Different: differs(p.Comparison), Changes: []difference{},
		Remarks: remarks(p.Comparison.Resources), Warnings: p.Bundle.Warnings,
	}
	all, err := differencesOf(p.Comparison)
	if err != nil {
		return err
	}
	doc.Changes = append(doc.Changes, all...)
	return v.o.print(v.out, doc)
}
