package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
)

func (c commandline) newPlanCommand() *cobra.Command {
	var s selection
	var f previewFlags
	var o output
	var noDiff bool
	cmd := &cobra.Command{
		Use:   "plan NAME",
		Short: "Show what a sync would do, step by step",
		Long: `Shows the plan of a sync: the steps in their order, with phase and wave, what each
of them waits for, and what it changes line by line. Values of Secrets are masked.
Equal plans have equal digests.

It is computed here, with your own rights on the repository and the destination,
and changes nothing.`,
		Example: `  plumb plan web
  plumb plan web --revision v2 --no-diff
  plumb plan web -o json`,
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, p, err := c.preview(cmd.Context(), args[0], s, f)
			if err != nil {
				return err
			}
			return c.newPlanView(&o, noDiff).show(a, p)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	f.bind(cmd)
	o.bind(cmd, "json", "yaml")
	cmd.Flags().BoolVar(&noDiff, "no-diff", false, "leave out the lines that change")
	return cmd
}

// planView shows the plan of an Application.
type planView interface {
	show(a application, p engine.Preview) error
}

func (c commandline) newPlanView(o *output, noDiff bool) planView {
	if o.machine() {
		return planObject{c.streams.Out, o}
	}
	return planText{diffText: diffText{out: c.streams.Out, err: c.streams.Err, p: c.palette()}, noDiff: noDiff}
}

// blockedSteps says for each step that can't begin at once what it waits for.
func blockedSteps(p plan.Plan) []plan.Blocked {
	tasks := make([]plan.Task, len(p.Steps))
	for i, s := range p.Steps {
		tasks[i] = plan.Task{Address: s.Address(), Phase: s.Phase, Wave: s.Wave, Tier: s.Tier}
	}
	return plan.Next(tasks).Blocked
}

// planText is for people.
type planText struct {
	diffText
	noDiff bool
}

func (v planText) show(a application, p engine.Preview) error {
	steps := p.Comparison.Plan
	if !v.noDiff {
		if err := v.diffText.show(a, p); err != nil {
			return err
		}
	}
	if steps.Empty() {
		fmt.Fprintln(v.out, nothingToDo(a, p))
		return nil
	}
	if !v.noDiff {
		fmt.Fprintln(v.out)
	}
	fmt.Fprintf(v.out, "%s of %s: %s\n%s\n", v.p.bold("Plan"), a.key, countsText(steps.Count()), v.p.dim(steps.Digest()))
	blocked := map[plan.Address]plan.Blocked{}
	for _, b := range blockedSteps(steps) {
		blocked[b.Address] = b
	}
	var last *plan.Step
	for i, s := range steps.Steps {
		if last == nil || last.Phase != s.Phase || last.Wave != s.Wave {
			fmt.Fprintf(v.out, "\n%s, wave %d%s\n", s.Phase, s.Wave, waveNote(last))
		}
		v.step(s, blocked, last)
		last = &steps.Steps[i]
	}
	return nil
}

// nothingToDo says why a plan has no steps: it may be that there is nothing to do,
// and it may be that nothing can be done.
func nothingToDo(a application, p engine.Preview) string {
	if !differs(p.Comparison) {
		return fmt.Sprintf("Nothing to change: %s is as Git declares it.", a.key)
	}
	n := 0
	for _, r := range p.Comparison.Resources {
		if r.Hook == nil && r.Sync != driver.Synced {
			n++
		}
	}
	return fmt.Sprintf("Nothing can be changed: %s of %s differ from what Git declares, for the reasons above.", plural(n, "resource"), a.key)
}

// waveNote says what the steps of a wave wait for.
func waveNote(before *plan.Step) string {
	if before == nil {
		return ""
	}
	return fmt.Sprintf(" (when %s, wave %d is done and healthy)", before.Phase, before.Wave)
}

func (v planText) step(s plan.Step, blocked map[plan.Address]plan.Blocked, before *plan.Step) {
	sign, paint := "", v.p.cyan
	switch {
	case s.Hook:
		sign = "> run    "
	case s.Change.Action() == plan.ActionCreate:
		sign, paint = "+ create ", v.p.green
	case s.Change.Action() == plan.ActionUpdate:
		sign, paint = "~ update ", v.p.yellow
	case s.Change.Action() == plan.ActionReplace:
		sign, paint = "± replace", v.p.red
	case s.Change.Action() == plan.ActionDelete:
		sign, paint = "- delete ", v.p.red
	case s.Change.Action() == plan.ActionForget:
		sign, paint = ". forget ", v.p.yellow
	}
	note := ""
	if b, ok := blocked[s.Address()]; ok && before != nil && before.Phase == s.Phase && before.Wave == s.Wave && before.Tier != s.Tier {
		note = v.p.dim(" (after " + string(b.By) + ")")
	}
	if u, ok := s.Change.(plan.Update); ok && u.Drift {
		note += " (changed where it runs)"
	}
	if u, ok := s.Change.(plan.Update); ok {
		note += printable(adoption(u))
	}
	if s.Change.Risk().Irreversible && !s.Hook {
		note += v.p.red(" (cannot be undone)")
	}
	fmt.Fprintf(v.out, "  %s %s%s\n", paint(sign), printable(string(s.Address())), note)
}

// adoption says where an updated resource comes from, if from elsewhere.
func adoption(u plan.Update) string {
	switch {
	case u.Import != "":
		return " (exists as " + u.Import + ", is taken over)"
	case u.From != "":
		return " (was " + string(u.From) + ")"
	default:
		return ""
	}
}

func countsText(c plan.Counts) string {
	text := fmt.Sprintf("%d to create, %d to update, %d to delete", c.Create, c.Update, c.Delete)
	if c.Replace > 0 {
		text += fmt.Sprintf(", %d to replace", c.Replace)
	}
	if c.Forget > 0 {
		text += fmt.Sprintf(", %d to forget", c.Forget)
	}
	if c.Hooks > 0 {
		text += ", " + plural(c.Hooks, "hook") + " to run"
	}
	return text
}

// planObject is for programs.
type planObject struct {
	out io.Writer
	o   *output
}

// planDocument is the JSON of plan.
type planDocument struct {
	Application applicationRef `json:"application"`
	Revisions   []string       `json:"revisions"`
	Digest      string         `json:"digest"`
	Counts      plan.Counts    `json:"counts"`
	Steps       []plan.Step    `json:"steps"`
	Blocked     []plan.Blocked `json:"blocked,omitempty"`
	Remarks     []remark       `json:"remarks,omitempty"`
	Warnings    []string       `json:"warnings,omitempty"`
}

func (v planObject) show(a application, p engine.Preview) error {
	steps := p.Comparison.Plan
	doc := planDocument{
		Application: refOf(a.key), Revisions: p.Revisions, Digest: steps.Digest(), Counts: steps.Count(),
		Steps: maskSteps(steps.Steps), Blocked: blockedSteps(steps),
		Remarks: remarks(p.Comparison.Resources), Warnings: p.Bundle.Warnings,
	}
	return v.o.print(v.out, doc)
}

// maskSteps masks the values of Secrets once more, whoever was to do it before.
func maskSteps(steps []plan.Step) []plan.Step {
	masked := make([]plan.Step, len(steps))
	for i, s := range steps {
		switch c := s.Change.(type) {
		case plan.Create:
			c.After.Object = maskSecret(c.After.Object)
			s.Change = c
		case plan.Update:
			c.Before.Object, c.After.Object = maskSecret(c.Before.Object), maskSecret(c.After.Object)
			s.Change = c
		case plan.Replace:
			c.Before.Object, c.After.Object = maskSecret(c.Before.Object), maskSecret(c.After.Object)
			s.Change = c
		case plan.Delete:
			c.Before.Object = maskSecret(c.Before.Object)
			s.Change = c
		case plan.Forget:
			c.Before.Object = maskSecret(c.Before.Object)
			s.Change = c
		}
		masked[i] = s
	}
	return masked
}
