package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/diff"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
)

func (c commandline) newDiffCommand() *cobra.Command {
	var s selection
	var f previewFlags
	var o output
	var address string
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show what differs between Git and what runs",
		Long: `Shows line by line what a sync would change. What is shown was asked of the
destination by a server-side dry-run, so it holds defaults and what admission
changes. Values of Secrets are masked.

It is computed here, with your own rights on the repository and the destination,
and changes nothing.

NAME may also be that of a plan which waits for approval (plan/NAME where there is an
Application of that name): then what is shown is what people are asked to approve.

Exits with 0 when there is no difference, with 1 when there is one, and with 2
when that could not be found out.`,
		Example: `  plumb diff web
  plumb diff web --revision feature/blue
  plumb diff web --local ./apps/web
  plumb diff web-1a2b3c4`,
		Args: func(cmd *cobra.Command, args []string) error {
			return failWith(2, oneName(cmd, args))
		},
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, p, err := c.preview(cmd.Context(), args[0], s, f)
			if missing := (missingError{}); errors.As(err, &missing) {
				found, problem := c.connection.findPlan(cmd.Context(), args[0], s)
				if problem == nil {
					return c.diffPlan(cmd.Context(), found, &o, address)
				}
				if planName(args[0]) != args[0] {
					err = problem
				}
			}
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
	cmd.Flags().StringVar(&address, "server", "", "`URL` of plumb server, which keeps what plans change where it is large (default: that of plumb up)")
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

func diffTitle(d difference) string { return printable(d.Title()) }

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
type difference = diff.Difference

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

func differenceOf(change plan.Change) (difference, error) { return diff.Of(change) }

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
