package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// previewer looks at what a sync would do, with the engine's own parts and the
// user's own rights. It changes nothing.
type previewer interface {
	Preview(ctx context.Context, app *v1alpha1.Application, key engine.Key, o engine.PreviewOptions) (engine.Preview, error)
	Render(ctx context.Context, app *v1alpha1.Application, key engine.Key, o engine.PreviewOptions) (render.Bundle, error)
}

// previewFlags say what is to be looked at instead of what is declared.
type previewFlags struct {
	revisions []string
	local     string
}

func (f *previewFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.revisions, "revision", nil, "look at this `REVISION` instead of the declared one; repeated for an Application with several sources, in their order")
	cmd.Flags().StringVar(&f.local, "local", "", "look at this `DIR` on this machine instead: the Application's directory, or the top of a work tree of its repository")
	_ = cmd.MarkFlagDirname("local")
}

// options of a preview of an Application, and it with the path at which the
// local directory is found. The options must be closed.
func (f previewFlags) options(a application) (*v1alpha1.Application, engine.PreviewOptions, func(), error) {
	app, closeTree := a.Application.DeepCopy(), func() {}
	sources := len(a.sources())
	if len(f.revisions) > sources {
		return nil, engine.PreviewOptions{}, nil, fmt.Errorf("--revision is given %d times, and %s has %s", len(f.revisions), a.key, plural(sources, "source"))
	}
	o := engine.PreviewOptions{Revisions: f.revisions}
	if f.local == "" {
		return app, o, closeTree, nil
	}
	if sources != 1 || len(f.revisions) > 0 {
		return nil, o, nil, errors.New("--local works for Applications with one source, and not together with --revision")
	}
	tree, within, err := openTree(f.local)
	if err != nil {
		return nil, o, nil, fmt.Errorf("--local: %w", err)
	}
	closeTree = func() { _ = tree.Close() }
	o.Local = tree
	from := app.Spec.Source
	if from == nil {
		from = &app.Spec.Sources[0]
	}
	info, err := tree.Stat(path.Clean(from.Path))
	if isTop := within == "."; !isTop || err != nil || !info.IsDir() {
		from.Path = within
	}
	return app, o, closeTree, nil
}

// preview gives what a sync of an Application would do.
func (c commandline) preview(ctx context.Context, name string, s selection, f previewFlags) (application, engine.Preview, error) {
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return application{}, engine.Preview{}, err
	}
	app, o, closeTree, err := f.options(a)
	if err != nil {
		return application{}, engine.Preview{}, err
	}
	defer closeTree()
	p, end, err := c.newPreviewer(ctx)
	if err != nil {
		return application{}, engine.Preview{}, err
	}
	defer end()
	result, err := p.Preview(ctx, app, a.key, o)
	if err != nil {
		return application{}, engine.Preview{}, fmt.Errorf("preview %s: %w", a.key, c.connection.explain(err))
	}
	return a, result, nil
}

// remark is something about a resource that is no change.
type remark struct {
	Resource plan.Ref `json:"resource"`
	Reason   string   `json:"reason"`
	Message  string   `json:"message"`
}

// remarks says what can't be changed and what won't be pruned.
func remarks(resources []driver.Resource) []remark {
	var all []remark
	for _, r := range resources {
		switch {
		case r.Problem != nil:
			all = append(all, remark{r.Ref, r.Problem.Reason, r.Problem.Message})
		case r.Guard != "" && r.Cause == driver.CauseExtra:
			all = append(all, remark{r.Ref, "Guarded", "no longer declared, and kept because of " + r.Guard})
		}
	}
	return all
}

// differs tells whether anything differs, be it that it can't be changed.
func differs(c driver.Comparison) bool {
	return !c.Plan.Empty() || slices.ContainsFunc(c.Resources, func(r driver.Resource) bool {
		return r.Hook == nil && r.Sync != driver.Synced
	})
}
