package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

func (c commandline) newDriftCommand() *cobra.Command {
	var s selection
	var o output
	cmd := &cobra.Command{
		Use:   "drift NAME",
		Short: "Show what was changed where an Application runs",
		Long: `Shows what was changed where an Application runs, the latest first: since when,
which fields, by whom as far as the destination tells, and how it ended.

BY is the user, where Plumb hears the audit events of the destination's API server (as
with "plumb up"), and the field manager: a name that whoever writes chooses, such as
kubectl-edit. It shows what lasts and the latest that has ended; "plumb audit log"
shows all. How the values differ now is shown by "plumb diff".`,
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.connection.find(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			all := slices.Clone(a.Status.Drift)
			slices.Reverse(all)
			if o.machine() {
				if all == nil {
					all = []v1alpha1.DriftStatus{}
				}
				return o.print(c.streams.Out, all)
			}
			if len(all) == 0 {
				fmt.Fprintln(c.streams.Err, "Nothing has drifted.")
				return nil
			}
			t := newTable(c.streams.Out, "SINCE", "LASTED", "ENDED", "RESOURCE", "FIELDS", "BY")
			for _, d := range all {
				t.add(driftRow(d, time.Now())...)
			}
			t.flush()
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	return cmd
}

func driftRow(d v1alpha1.DriftStatus, now time.Time) []cell {
	until, ended := now, "no"
	if d.Until != nil {
		until, ended = d.Until.Time, strings.ToLower(d.Ended)
	}
	fields := "deleted"
	if !d.Deleted {
		fields = joinNames(d.Fields)
	}
	ref := plan.Ref{Group: d.Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}
	return []cell{
		plain(d.Since.Local().Format(time.DateTime)), plain(until.Sub(d.Since.Time).Truncate(time.Second).String()), plain(ended),
		plain(printable(string(ref.Address()))), plain(fields), plain(printable(d.By())),
	}
}
