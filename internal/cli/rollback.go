package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/gitwrite"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// rollbackFlags say what to go back to, and how.
type rollbackFlags struct {
	to, branch, base, message string
	paths                     []string
	push, dryRun, whole       bool
	pullRequest               pullRequestFlag
	// pin holds it there at once instead, and why, with the gates overridden or not.
	pin, override bool
	reason        string
	request       pinRequest
}

// check refuses flags that do not go together.
func (f *rollbackFlags) check() error {
	switch {
	case f.push && f.branch != "":
		return errors.New("--push is without --branch")
	case f.push && f.pullRequest == pullRequestAlways:
		return errors.New("--push is without --pull-request")
	case !f.pin && (f.reason != "" || f.override):
		return errors.New("--reason and --override are for --pin: a commit says why in its --message")
	case f.pin && (f.push || f.branch != "" || f.base != "" || f.message != "" || f.dryRun || f.whole || len(f.paths) > 0 || f.pullRequest == pullRequestAlways):
		return errors.New("--pin makes no commit: it goes with --to, --reason and --override only")
	}
	return nil
}

func (c commandline) newRollbackCommand() *cobra.Command {
	var s selection
	var f rollbackFlags
	var o output
	cmd := &cobra.Command{
		Use:   "rollback NAME [ID]",
		Short: "Take an Application back to an earlier revision, by a commit",
		Long: `Makes one commit in Git that takes back what has changed since a revision, and pushes
it as a branch. Git is the truth: what runs follows once the branch is merged.

--to (or a second word) names a line of "plumb history" by its ID, or a commit.
Without it, that is the revision that was synced before the current one.

Only the Application's own folder goes back, and its files of values; commits that
touched it are listed in the message. What others have in the same repository stays.
With --whole-commits these commits are reverted as they are instead, with all that
they have changed; where that conflicts with later ones, the files are named and
nothing is pushed.

It is pushed by the git of this machine, with your own rights and your own name.

With --pin no commit is made: the Application is held at that revision at once, as
"plumb pin" does, until "plumb unpin". Make the commit after it, and then unpin.`,
		Example: `  plumb rollback web --dry-run
  plumb rollback web --to 12
  plumb rollback web --to 1a2b3c4 --push
  plumb rollback web --pin --reason "checkout fails"     # at once; Git follows later`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && f.to == "" {
				args = args[:1]
			}
			return oneName(cmd, args)
		},
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				f.to = args[1]
			}
			if err := f.check(); err != nil {
				return usageError(cmd, err.Error())
			}
			if f.pin {
				return c.rollbackByPin(cmd.Context(), args[0], s, f)
			}
			return c.rollbackByCommit(cmd.Context(), args[0], s, f, &o)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "go back to this `REVISION`: an ID of plumb history, or a commit (default: what was synced before)")
	flags.BoolVar(&f.push, "push", false, "push to the tracked branch itself, without a pull request")
	flags.StringVar(&f.branch, "branch", "", "push to this `BRANCH` (default: plumb/rollback/NAME-…)")
	flags.StringVar(&f.base, "base", "", "make the commit on this `BRANCH` (default: the one that is tracked)")
	flags.StringVarP(&f.message, "message", "m", "", "first line of the commit's `MESSAGE`")
	flags.StringArrayVar(&f.paths, "path", nil, "take this `PATH` of the repository back, too (a base that others share, say); may be repeated")
	flags.BoolVar(&f.whole, "whole-commits", false, "revert the commits as they are, with what they have changed elsewhere")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be committed, and push nothing")
	f.pullRequest.bind(flags)
	flags.BoolVar(&f.pin, "pin", false, "make no commit: hold the Application there at once (plumb pin)")
	flags.StringVar(&f.reason, "reason", "", "with --pin: `WHY`, shown until the pin is taken away")
	flags.BoolVar(&f.override, "override", false, "with --pin: also in a closed sync window or a freeze (takes the verb override)")
	f.request.bindWait(flags, "with --pin: ")
	return cmd
}

// rollbackByPin holds an Application at an earlier revision.
func (c commandline) rollbackByPin(ctx context.Context, name string, s selection, f rollbackFlags) error {
	r := f.request
	r.to, r.reason, r.override = f.to, f.reason, f.override
	if err := r.check(); err != nil {
		return err
	}
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return err
	}
	to, err := pinRevisions(a, r.to)
	if err != nil {
		return err
	}
	if err := c.pin(ctx, a, r); err != nil {
		return err
	}
	fmt.Fprintf(c.streams.Err, "Git still says otherwise: plumb rollback %s --to %s makes the commit, and then plumb unpin %s\n", a.key.Name, shortRevision(to[0]), a.key.Name)
	return nil
}

// rollbackTarget is one source that goes back.
type rollbackTarget struct {
	source v1alpha1.ApplicationSource
	to     string
	paths  []string
}

var errNothingToRollBack = errors.New("nothing of it has changed since then")

// rolledBack is the JSON of rollback, for each repository.
type rolledBack struct {
	pushed
	To      string            `json:"to"`
	Commits []gitwrite.Undone `json:"commits"`
	Files   []string          `json:"files"`
	Diff    string            `json:"diff,omitempty"`
}

func (c commandline) rollbackByCommit(ctx context.Context, name string, s selection, f rollbackFlags, o *output) error {
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return err
	}
	targets, err := rollbackTargets(a, f)
	if err != nil {
		return err
	}
	git, err := c.newCommitter(ctx, f.pullRequest)
	if err != nil {
		return err
	}
	all := []rolledBack{}
	for _, t := range targets {
		done, err := git.rollBack(ctx, a, t, f)
		if err != nil {
			return err
		}
		all = append(all, done)
	}
	if o.machine() {
		return o.print(c.streams.Out, all)
	}
	return c.showRollback(a, all, f)
}

func (c commandline) showRollback(a application, all []rolledBack, f rollbackFlags) error {
	v := adoptView{out: c.streams.Out, err: c.streams.Err, p: c.palette()}
	nothing := true
	for _, r := range all {
		if len(r.Files) == 0 {
			continue
		}
		nothing = false
		paintDiff(v.out, v.p, r.Diff)
		what := fmt.Sprintf("%s back to %s (%s)", a.key, shortRevision(r.To), plural(len(r.Commits), "commit"))
		if f.dryRun {
			fmt.Fprintf(v.err, "%s: nothing was pushed.\n", what)
			continue
		}
		v.pushed(r.pushed, what)
	}
	if nothing {
		return fmt.Errorf("%s: %w: there is nothing to roll back", a.key, errNothingToRollBack)
	}
	return nil
}

func (c *committer) rollBack(ctx context.Context, a application, t rollbackTarget, f rollbackFlags) (rolledBack, error) {
	message := f.message
	if message == "" {
		message = fmt.Sprintf("Roll %s back to %s", a.key.Name, shortRevision(t.to))
	}
	options := gitwrite.Options{Base: adopt.Base(t.source, f.base), Branch: f.branch, Direct: f.push, Message: message, Author: c.who}
	done, err := c.writer.Revert(ctx, gitwrite.Repo{URL: t.source.RepoURL}, options, gitwrite.Revert{
		To: t.to, Paths: t.paths, Whole: f.whole, Application: a.key.Name,
	}, f.dryRun)
	if err != nil {
		return rolledBack{}, err
	}
	out := rolledBack{To: t.to, Commits: done.Commits, Files: done.Files, Diff: done.Diff}
	if f.dryRun {
		out.pushed = pushed{Repository: source.MaskURL(t.source.RepoURL), Base: options.Base}
		return out, nil
	}
	out.pushed, err = c.done(ctx, t.source.RepoURL, done.Pushed, message, "")
	return out, err
}

// rollbackTargets finds the sources that go back, and the commits that they go
// back to.
func rollbackTargets(a application, f rollbackFlags) ([]rollbackTarget, error) {
	sources := a.sources()
	revisions, err := rollbackRevisions(a, f.to)
	if err != nil {
		return nil, err
	}
	var out []rollbackTarget
	for i, s := range sources {
		switch {
		case revisions[i] == "":
			continue
		case s.IsHelmRepo(), s.IsOCI():
			if current := currentRevisions(a); i < len(current) && current[i] != revisions[i] {
				return nil, fmt.Errorf("source %d is the chart %s at %s, which no commit of its own repository takes back: set its targetRevision to %s where the Application is declared",
					i+1, s.Chart, current[i], revisions[i])
			}
			continue
		}
		if why := adopt.ReadOnly(s, f.base); why != "" {
			return nil, errors.New(why)
		}
		out = append(out, rollbackTarget{s, revisions[i], pathsOf(sources, i, f.paths)})
	}
	return joined(out, f), nil
}

// joined makes one target of the sources that are in one repository.
func joined(targets []rollbackTarget, f rollbackFlags) []rollbackTarget {
	var out []rollbackTarget
	for _, t := range targets {
		i := slices.IndexFunc(out, func(o rollbackTarget) bool {
			return source.SameRepo(o.source.RepoURL, t.source.RepoURL) && o.to == t.to && adopt.Base(o.source, f.base) == adopt.Base(t.source, f.base)
		})
		if i < 0 {
			out = append(out, t)
			continue
		}
		for _, p := range t.paths {
			if !slices.Contains(out[i].paths, p) {
				out[i].paths = append(out[i].paths, p)
			}
		}
	}
	return out
}

// rollbackRevisions gives the revision of each source to go back to.
func rollbackRevisions(a application, to string) ([]string, error) {
	if len(a.sources()) == 0 {
		return nil, fmt.Errorf("%s has no source", a.key)
	}
	if to == "" {
		return previousRevisions(a)
	}
	if id, err := strconv.ParseInt(to, 10, 64); err == nil {
		for _, h := range a.Status.History {
			if h.ID == id {
				return ofHistory(a, h)
			}
		}
	}
	if len(to) < 7 || len(to) > 64 || strings.Trim(to, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("--to %s is neither an ID of `plumb history %s` nor a commit", printable(to), a.key.Name)
	}
	for _, h := range a.Status.History { // the whole id is known, and those of other sources
		for _, r := range revisionsOf(h) {
			if strings.HasPrefix(r, to) {
				return ofHistory(a, h)
			}
		}
	}
	if len(a.sources()) > 1 {
		return nil, fmt.Errorf("the Application has several sources, and %s was never synced: name a line of `plumb history %s`", printable(to), a.key.Name)
	}
	return []string{to}, nil
}

func revisionsOf(h v1alpha1.RevisionHistory) []string {
	if len(h.Revisions) > 0 {
		return h.Revisions
	}
	return []string{h.Revision}
}

func currentRevisions(a application) []string {
	if len(a.Status.Sync.Revisions) > 0 {
		return a.Status.Sync.Revisions
	}
	return []string{a.Status.Sync.Revision}
}

// previousRevisions are those of the last sync that was of others than the
// latest.
func previousRevisions(a application) ([]string, error) {
	history := a.Status.History
	for i := len(history) - 2; i >= 0; i-- {
		if !slices.Equal(revisionsOf(history[i]), revisionsOf(history[len(history)-1])) {
			return ofHistory(a, history[i])
		}
	}
	return nil, fmt.Errorf("%s was never synced at another revision: name a commit with --to", a.key)
}

// ofHistory gives the revisions of a past sync, if it was of the same places.
func ofHistory(a application, h v1alpha1.RevisionHistory) ([]string, error) {
	sources, then := a.sources(), []v1alpha1.ApplicationSource(h.Sources)
	if len(then) == 0 {
		then = []v1alpha1.ApplicationSource{h.Source}
	}
	revisions := revisionsOf(h)
	if len(then) != len(sources) || len(revisions) != len(sources) {
		return nil, fmt.Errorf("sync %d was of other sources: revert the change of the Application itself first", h.ID)
	}
	for i, s := range sources {
		if then[i].RepoURL != "" && !source.SameRepo(then[i].RepoURL, s.RepoURL) || then[i].RepoURL != "" && then[i].Path != s.Path {
			return nil, fmt.Errorf("sync %d was of %s in %s: revert the change of the Application itself first", h.ID, printable(then[i].Path), source.MaskURL(then[i].RepoURL))
		}
	}
	return revisions, nil
}

// pathsOf are what of a source's repository is the Application's: its folder, and
// the files of values that the charts of all sources take from there.
func pathsOf(sources []v1alpha1.ApplicationSource, i int, more []string) []string {
	var out []string
	add := func(p string) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if s := sources[i]; s.Path != "" || !s.IsRef() {
		add(render.Clean(s.Path))
	}
	for j, s := range sources {
		if s.Helm == nil {
			continue
		}
		for _, name := range s.Helm.ValueFiles {
			ref, rest, isRef := strings.Cut(name, "/")
			switch {
			case strings.Contains(name, "://"), strings.ContainsAny(name, "*?["):
			case isRef && sources[i].Ref != "" && ref == "$"+sources[i].Ref:
				add(render.Clean(rest))
			case j == i && !strings.HasPrefix(name, "$"):
				if p, err := render.Resolve(render.Clean(s.Path), name); err == nil {
					add(p)
				}
			}
		}
	}
	if t := sources[i].Tofu; t != nil {
		for _, name := range t.VarFiles {
			if p, err := render.Resolve(render.Clean(sources[i].Path), name); err == nil && !strings.HasPrefix(name, "$") {
				add(p)
			}
		}
	}
	for _, p := range more {
		add(path.Clean(strings.Trim(p, "/")))
	}
	return out
}
