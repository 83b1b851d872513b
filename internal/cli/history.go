package cli

import (
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func (c commandline) newHistoryCommand() *cobra.Command {
	var s selection
	var o output
	cmd := &cobra.Command{
		Use:     "history NAME",
		Aliases: []string{"log", "revisions"},
		Short:   "Show the past syncs of an Application",
		Long: `Shows the syncs of an Application that succeeded, the latest first.

To go back, "plumb rollback NAME --to ID" reverts what was committed since.`,
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.connection.find(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			past := slices.Clone(a.Status.History)
			slices.Reverse(past)
			if o.machine() {
				if past == nil {
					past = v1alpha1.RevisionHistories{}
				}
				return o.print(c.streams.Out, past)
			}
			t := newTable(c.streams.Out, "ID", "DATE", "AGE", "REVISION", "BY", "SOURCE")
			for _, h := range past {
				sources := h.Sources
				if len(sources) == 0 {
					sources = v1alpha1.ApplicationSources{h.Source}
				}
				t.add(plain(strconv.FormatInt(h.ID, 10)), plain(h.DeployedAt.Local().Format(time.DateTime)),
					plain(age(h.DeployedAt, time.Now())), plain(shortRevisions(h.Revision, h.Revisions)),
					plain(initiator(h.InitiatedBy)), plain(sourcesText(sources)))
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
