package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// destroyRounds is how often what has come back meanwhile is deleted again.
const destroyRounds = 3

func (c commandline) newDestroyCommand() *cobra.Command {
	var s selection
	var everything bool
	d := deletion{cascade: true, wait: true}
	cmd := &cobra.Command{
		Use:   "destroy --all | NAME…",
		Short: "Tear Applications down with all that they made",
		Long: `Deletes Applications with everything that they applied, modules' resources and what
is in clusters alike, and waits until it is gone. Whoever depends on another one
(dependsOn, inputs) goes before it, and within each Application the order is the
reverse of that in which it was applied.

With --all it takes all Applications, or those of a namespace. Git is untouched: to
apply the same Applications again gives the same again.

It asks first; where nobody can be asked, it takes --yes.`,
		Example: `  plumb destroy --all
  plumb destroy --all -n team-a --yes
  plumb destroy web db`,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			switch {
			case everything && len(names) > 0:
				return usageError(cmd, "name Applications, or take --all, not both")
			case !everything && len(names) == 0 && s.selector == "":
				return usageError(cmd, "name Applications, select them with -l, or take --all")
			}
			return c.destroy(cmd.Context(), names, s, d)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	cmd.Flags().BoolVar(&everything, "all", false, "all Applications, or all of the namespace")
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&d.timeout, "timeout", 30*time.Minute, "how long to wait; 0 is without end")
	return cmd
}

func (c commandline) destroy(ctx context.Context, names []string, s selection, d deletion) error {
	apps, err := c.connection.findAll(ctx, names, s)
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		fmt.Fprintln(c.streams.Err, "No Applications found.")
		return nil
	}
	if !d.yes {
		if !isTerminal(c.streams.In) {
			return errors.New("nothing was deleted: nobody can be asked here, so say --yes")
		}
		sure, err := c.ask(deletionQuestion(apps, true))
		if err != nil {
			return err
		}
		if !sure {
			return errors.New("nothing was deleted")
		}
	}
	d.yes = true
	ctx, cancel := withTimeout(ctx, d.timeout)
	defer cancel()
	d.timeout = 0
	for range destroyRounds {
		// Those that declare Applications go first: they would make them again.
		slices.SortStableFunc(apps, func(a, b application) int { return declares(b) - declares(a) })
		if err := c.deleteAll(ctx, apps, d); err != nil {
			return err
		}
		if len(names) > 0 {
			return nil
		}
		if apps, err = c.connection.findAll(ctx, nil, s); err != nil || len(apps) == 0 {
			return err
		}
	}
	var back []string
	for _, a := range apps {
		back = append(back, a.key.String())
	}
	return fmt.Errorf("%s came back each time: something else creates them, which has to be stopped first", joinNames(back))
}

// declares counts the Applications that an Application has applied.
func declares(a application) int {
	n := 0
	for _, r := range a.Status.Resources {
		if r.Kind == "Application" || r.Kind == "ApplicationSet" {
			n++
		}
	}
	return n
}

func joinNames(names []string) string {
	const most = 10
	if len(names) > most {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", len(names)-most))
	}
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = printable(name)
	}
	return strings.Join(shown, ", ")
}
