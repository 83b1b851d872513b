package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// adoptFlags say what is adopted, and where to.
type adoptFlags struct {
	fields                []string
	branch, base, message string
	dryRun, deletions     bool
	pullRequest           pullRequestFlag
}

func (c commandline) newAdoptCommand() *cobra.Command {
	var s selection
	var f adoptFlags
	var o output
	cmd := &cobra.Command{
		Use:   "adopt NAME [RESOURCE...]",
		Short: "Write what was changed where it runs back to Git",
		Long: `Writes the values that run back to the files that declare them, and pushes a branch
with that. Once the branch is merged, there is no drift any more.

Files are edited in place: manifests, the overlay that a kustomization points to,
the files of values of a chart, the *.tf files of a module. Comments, order and
formatting stay. Each edit is checked by rendering: it has to give what runs, and
nothing else than before elsewhere. What can't be mapped is refused, with a patch to
put in by hand. Secrets are never written to Git.

It is computed here and pushed by the git of this machine, with your own rights and
your own name. Without RESOURCE it takes what has drifted; a resource that is named
("Deployment/web", "apps/Deployment/shop/web", "aws_vpc.main") is taken also where Git
has changed since the last sync.

Exits with 1 where there was something to adopt, and none of it could be.`,
		Example: `  plumb adopt web --dry-run
  plumb adopt web Deployment/web --field spec.replicas
  plumb adopt web -o patch | git apply`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "name an Application")
			}
			return nil
		},
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.adopt(cmd.Context(), args[0], args[1:], s, f, &o)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "patch", "json", "yaml")
	flags := cmd.Flags()
	flags.StringArrayVar(&f.fields, "field", nil, "adopt only this `FIELD` and what is in it (spec.replicas, or /spec/replicas); may be repeated")
	flags.StringVar(&f.branch, "branch", "", "push to this `BRANCH` (default: plumb/adopt/NAME-…, the same for the same changes)")
	flags.StringVar(&f.base, "base", "", "make the commit on this `BRANCH` (default: the one that is tracked)")
	flags.StringVarP(&f.message, "message", "m", "", "first line of the commit's `MESSAGE`")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be committed, and push nothing")
	flags.BoolVar(&f.deletions, "deletions", false, "take resources out of Git that were deleted where they run")
	f.pullRequest.bind(flags)
	return cmd
}

func (c commandline) adopt(ctx context.Context, name string, resources []string, s selection, f adoptFlags, o *output) error {
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return err
	}
	p, notes, err := c.proposal(ctx, a, resources, f)
	if err != nil {
		return err
	}
	view := adoptView{out: c.streams.Out, err: c.streams.Err, p: c.palette(), o: o}
	var done []pushed
	if len(p.Files) > 0 && !f.dryRun && o.format != "patch" {
		if !o.machine() {
			view.files(p)
		}
		git, err := c.newCommitter(ctx, f.pullRequest)
		if err != nil {
			return err
		}
		if done, err = git.commitFiles(ctx, a, f, p); err != nil {
			return err
		}
	} else if !o.machine() {
		view.files(p)
	}
	if err := view.result(a, p, done, notes, f); err != nil {
		return err
	}
	if len(p.Adopted) == 0 && len(p.Refused) > 0 {
		return exitError{code: 1}
	}
	return nil
}

// proposal finds what has drifted, and what to change in the files for it.
func (c commandline) proposal(ctx context.Context, a application, resources []string, f adoptFlags) (adopt.Proposal, []string, error) {
	e, end, err := c.newPreviewer(ctx)
	if err != nil {
		return adopt.Proposal{}, nil, err
	}
	defer end()
	sources := a.sources()
	trees := make([]source.Tree, len(sources))
	result, err := e.Preview(ctx, &a.Application, a.key, engine.PreviewOptions{Tree: func(i int, t source.Tree) source.Tree {
		trees[i] = t
		return t
	}})
	if err != nil {
		return adopt.Proposal{}, nil, fmt.Errorf("preview %s: %w", a.key, c.connection.explain(err))
	}
	drift, notes, err := drifted(result.Comparison, resources)
	if err != nil {
		return adopt.Proposal{}, nil, err
	}
	r := adopt.Request{
		Application: a.key.Name, Bundle: result.Bundle, Drift: drift, Deletions: f.deletions,
		Render: func(ctx context.Context, edits adopt.Edits) (render.Bundle, error) {
			return e.Render(ctx, &a.Application, a.key, engine.PreviewOptions{
				Revisions: result.Revisions, Tree: func(i int, t source.Tree) source.Tree { return adopt.Overlay(t, edits[i]) },
			})
		},
	}
	for i, s := range sources {
		r.Sources = append(r.Sources, adopt.Source{Spec: s, Tree: trees[i], ReadOnly: adopt.ReadOnly(s, f.base)})
	}
	for _, held := range result.Comparison.Resources {
		r.Resources = append(r.Resources, held.Ref)
	}
	if len(f.fields) > 0 {
		r.Select = func(_ plan.Ref, path adopt.Path) bool {
			return slices.ContainsFunc(f.fields, func(field string) bool { return len(path) > 0 && path.Within(field) })
		}
	}
	p, err := adopt.Propose(ctx, r)
	return p, notes, err
}

// drifted takes of a comparison what was changed where it runs. Named resources
// are taken in any case.
func drifted(c driver.Comparison, names []string) ([]adopt.Drift, []string, error) {
	causes := map[plan.Ref]driver.Cause{}
	found := map[string]bool{}
	wanted := func(ref plan.Ref) bool {
		for _, name := range names {
			if isNamed(ref, name) {
				found[name] = true
				return true
			}
		}
		return len(names) == 0
	}
	var out []adopt.Drift
	var notes []string
	for _, r := range c.Resources {
		causes[r.Ref] = r.Cause
		if wanted(r.Ref) && r.Cause == driver.CauseDeleted {
			out = append(out, adopt.Drift{Ref: r.Ref, Deleted: true})
		}
	}
	for _, step := range c.Plan.Steps {
		ref := step.Change.Target()
		if step.Hook || !wanted(ref) {
			continue
		}
		d, ok := adopt.DriftOf(step.Change)
		update, _ := step.Change.(plan.Update)
		switch {
		case !ok:
		case len(names) > 0, update.Drift, causes[ref] == driver.CauseDrift:
			out = append(out, d)
		default:
			notes = append(notes, string(ref.Address())+" differs because Git has changed since the last sync: name it to adopt what runs all the same")
		}
	}
	for _, name := range names {
		if !found[name] {
			return nil, nil, fmt.Errorf("there is no resource %q in the Application: `plumb tree NAME` shows what there is", name)
		}
	}
	return out, notes, nil
}

// isNamed tells whether somebody means a resource: by its address, or by kind
// and name, or by its name alone.
func isNamed(ref plan.Ref, name string) bool {
	if string(ref.Address()) == name || ref.Name == name {
		return true
	}
	kind, rest, ok := strings.Cut(name, "/")
	return ok && strings.EqualFold(kind, ref.Kind) && rest == ref.Name
}

// adoptView shows what is adopted.
type adoptView struct {
	out, err io.Writer
	p        palette
	o        *output
}

// files shows how the files change; that alone is the patch.
func (v adoptView) files(p adopt.Proposal) {
	for _, f := range p.Files {
		diff := fileDiff(f)
		if v.o.format == "patch" {
			fmt.Fprint(v.out, diff)
			continue
		}
		paintDiff(v.out, v.p, diff)
	}
}

func fileDiff(f adopt.File) string {
	before, after := "a/"+f.Path, "b/"+f.Path
	if f.Before == nil {
		before = "/dev/null"
	}
	if f.After == nil {
		after = "/dev/null"
	}
	return udiff.Unified(before, after, string(f.Before), string(f.After))
}

// adoptDocument is the JSON of adopt.
type adoptDocument struct {
	Application applicationRef `json:"application"`
	Adopted     []adoptedField `json:"adopted"`
	Refused     []refusedField `json:"refused,omitempty"`
	Files       []changedFile  `json:"files,omitempty"`
	Pushed      []pushed       `json:"pushed,omitempty"`
	Notes       []string       `json:"notes,omitempty"`
}

type adoptedField struct {
	Resource plan.Ref `json:"resource"`
	Field    string   `json:"field,omitempty"`
	Declared any      `json:"declared,omitempty"`
	Live     any      `json:"live,omitempty"`
	File     string   `json:"file"`
}

type refusedField struct {
	Resource plan.Ref `json:"resource"`
	Field    string   `json:"field,omitempty"`
	Reason   string   `json:"reason"`
	Patch    string   `json:"patch,omitempty"`
}

type changedFile struct {
	Source int    `json:"source"`
	Path   string `json:"path"`
	Diff   string `json:"diff"`
}

func (v adoptView) result(a application, p adopt.Proposal, done []pushed, notes []string, f adoptFlags) error {
	if v.o.machine() {
		return v.o.print(v.out, documentOf(a, p, done, notes))
	}
	for _, r := range p.Refused {
		fmt.Fprintf(v.err, "%s %s: not adopted: %s\n", r.Ref.Address(), r.Field, printable(r.Reason))
		if r.Patch != "" {
			fmt.Fprintln(v.err, "  by hand:")
			for line := range strings.Lines(r.Patch) {
				fmt.Fprintf(v.err, "    %s\n", printableLine(strings.TrimSuffix(line, "\n")))
			}
		}
	}
	for _, note := range notes {
		fmt.Fprintln(v.err, printable(note))
	}
	switch {
	case len(p.Adopted) == 0 && len(p.Refused) == 0:
		fmt.Fprintf(v.err, "%s: nothing has drifted\n", a.key)
	case v.o.format == "patch":
	case f.dryRun && len(p.Files) > 0:
		fmt.Fprintf(v.err, "%s would be adopted. Nothing was pushed.\n", plural(len(p.Adopted), "field"))
	}
	for _, d := range done {
		v.pushed(d, plural(len(p.Adopted), "field")+" adopted")
	}
	return nil
}

// pushed says what was pushed, and what to do next.
func (v adoptView) pushed(d pushed, what string) {
	switch {
	case d.Commit == "":
		fmt.Fprintf(v.err, "%s: %s has it already. Wait for the sync, or ask for it: plumb sync\n", what, d.Base)
		return
	case d.Branch == d.Base:
		fmt.Fprintf(v.err, "%s: commit %s is on %s\n", what, shortRevision(d.Commit), d.Branch)
		return
	case d.Unchanged:
		fmt.Fprintf(v.err, "%s: the branch %s of %s holds it already\n", what, d.Branch, d.Repository)
	default:
		fmt.Fprintf(v.err, "%s: pushed %s to %s\n", what, d.Branch, d.Repository)
	}
	switch {
	case d.PullRequest:
		fmt.Fprintf(v.err, "Pull request: %s\n", d.URL)
		return
	case d.URL != "":
		fmt.Fprintf(v.err, "Open a pull request: %s\n", d.URL)
		return
	}
	fmt.Fprintf(v.err, "Merge it into %s, and Git and what runs are the same again.\n", d.Base)
}

func documentOf(a application, p adopt.Proposal, done []pushed, notes []string) adoptDocument {
	doc := adoptDocument{Application: refOf(a.key), Adopted: []adoptedField{}, Pushed: done, Notes: notes}
	for _, i := range p.Adopted {
		doc.Adopted = append(doc.Adopted, adoptedField{i.Ref, i.Field, i.Declared, i.Live, i.File})
	}
	for _, r := range p.Refused {
		doc.Refused = append(doc.Refused, refusedField{r.Ref, r.Field, r.Reason, r.Patch})
	}
	for _, f := range p.Files {
		doc.Files = append(doc.Files, changedFile{f.Source, f.Path, fileDiff(f)})
	}
	return doc
}
