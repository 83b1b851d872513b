package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/report"
)

// reportBefore is how long before the period is looked for what ends in it.
const reportBefore = 90

const reportLong = `Reports, from the ledger, how delivery goes: for each project and for all, the four
figures of DORA (how often, how long from commit to healthy, how many changes
failed, how long until that was put right), and how much drift and how many
approvals there were. The documentation defines each figure (docs/audit.md).`

func (c commandline) newReportCommand() *cobra.Command {
	var f ledgerFolder
	o := output{format: "table"}
	since, until, project := "30d", "", ""
	cmd := &cobra.Command{
		Use:     "report",
		Short:   "Show how delivery goes: the figures of DORA, drift, approvals",
		Long:    reportLong,
		Example: "  plumb report --since 90d -o csv > quarter.csv",
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			from, err := parseTime(since, now)
			if err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			to, err := parseTime(until, now)
			if err != nil {
				return fmt.Errorf("--until: %w", err)
			}
			if to.IsZero() {
				to = now
			}
			if !from.Before(to) {
				return errors.New("the period ends before it begins: --since must be before --until")
			}
			return f.read(cmd.Context(), c, func(r *ledger.Reader) error {
				b := report.NewBuilder(from, to)
				q := entry.Query{Project: project, Since: from.AddDate(0, 0, -reportBefore), Until: to, Oldest: true}
				if err := r.Each(cmd.Context(), q, func(e entry.Entry) bool { b.Add(&e); return true }); err != nil {
					return err
				}
				return c.showReport(b.Report(), &o)
			})
		},
	}
	f.bind(c, cmd.Flags())
	o.bind(cmd, "table", "json", "yaml", "csv")
	cmd.Flags().StringVar(&since, "since", since, "from this `TIME` on: 30d, 12w, 2026-03-01")
	cmd.Flags().StringVar(&until, "until", "", "before this `TIME` (default: now)")
	cmd.Flags().StringVar(&project, "project", "", "only this project")
	return cmd
}

func (c commandline) showReport(r report.Report, o *output) error {
	switch {
	case o.machine():
		return o.print(c.streams.Out, r)
	case o.format == "csv":
		return reportCSV(c.streams.Out, r)
	}
	fmt.Fprintf(c.streams.Out, "From %s to %s\n\n", r.Since.Local().Format("2006-01-02 15:04"), r.Until.Local().Format("2006-01-02 15:04"))
	t := newTable(c.streams.Out, "PROJECT", "CHANGES", "A DAY", "LEAD TIME", "FAILED", "TO RESTORE", "DRIFTS", "DRIFT TIME", "APPROVALS", "OVERRIDES", "ROLLBACKS")
	for _, f := range append(r.Projects, total(r)) {
		t.add(plain(f.Project), plain(strconv.Itoa(f.Changes)), plain(fmt.Sprintf("%.1f", f.ChangesPerDay)), plain(quantilesText(f.LeadTime)),
			plain(failedText(f)), plain(quantilesText(f.Restore)), plain(strconv.Itoa(f.Drifts)), plain(durationText(f.DriftTime)),
			plain(strconv.Itoa(f.Approvals)), plain(strconv.Itoa(f.Overrides)), plain(strconv.Itoa(f.RollBacks)))
	}
	t.flush()
	fmt.Fprintln(c.streams.Out, "\nTimes are the median / the 90th percentile.")
	return nil
}

func total(r report.Report) report.Figures {
	t := r.Total
	t.Project = "(all)"
	return t
}

func quantilesText(q report.Quantiles) string {
	if q.Count == 0 {
		return "-"
	}
	return durationText(q.P50) + " / " + durationText(q.P90)
}

func durationText(d report.Duration) string {
	if d == 0 {
		return "-"
	}
	return duration.HumanDuration(time.Duration(d))
}

func failedText(f report.Figures) string {
	if f.Changes == 0 {
		return "-"
	}
	return fmt.Sprintf("%d (%.0f%%)", f.Failed, 100*f.FailureRate)
}

func reportCSV(out io.Writer, r report.Report) error {
	w := csv.NewWriter(out)
	rows := [][]string{{
		"project", "since", "until", "changes", "changes a day", "lead time p50 s", "lead time p90 s", "failed", "failure rate",
		"time to restore p50 s", "time to restore p90 s", "unrestored", "drifts", "drifting", "drift time s", "approvals", "rejections", "overrides", "roll-backs",
	}}
	seconds := func(d report.Duration) string { return strconv.FormatFloat(time.Duration(d).Seconds(), 'f', -1, 64) }
	for _, f := range append(r.Projects, total(r)) {
		rows = append(rows, []string{
			entry.Harmless(f.Project), r.Since.UTC().Format(time.RFC3339), r.Until.UTC().Format(time.RFC3339),
			strconv.Itoa(f.Changes), strconv.FormatFloat(f.ChangesPerDay, 'f', 3, 64), seconds(f.LeadTime.P50), seconds(f.LeadTime.P90),
			strconv.Itoa(f.Failed), strconv.FormatFloat(f.FailureRate, 'f', 4, 64), seconds(f.Restore.P50), seconds(f.Restore.P90), strconv.Itoa(f.Unrestored),
			strconv.Itoa(f.Drifts), strconv.Itoa(f.Drifting), seconds(f.DriftTime),
			strconv.Itoa(f.Approvals), strconv.Itoa(f.Rejections), strconv.Itoa(f.Overrides), strconv.Itoa(f.RollBacks),
		})
	}
	if err := w.WriteAll(rows); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
