package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

func (c commandline) newAuditLogCommand() *cobra.Command {
	var f ledgerFolder
	var filter entryFilter
	var o output
	var limit int
	var oldest bool
	var after string
	cmd := &cobra.Command{
		Use:   "log [APP]",
		Short: "List what happened, the latest first",
		Long:  "Lists entries of the ledger, of one Application ([NAMESPACE/]NAME) or of all.",
		Example: `  plumb audit log web --since 7d
  plumb audit log --kind approved,overridden --by ada@example.org
  plumb audit log --grep 4f2c91d -o wide`,
		Args: atMostOneName, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := filter.query(args, time.Now())
			if err != nil {
				return err
			}
			q.Limit, q.Oldest = limit, oldest
			if after != "" {
				i, err := strconv.ParseUint(after, 10, 63)
				if err != nil {
					return fmt.Errorf("--after: %q is no index of an entry", after)
				}
				q.After = &i
			}
			return f.read(cmd.Context(), c, func(r *ledger.Reader) error {
				page, err := r.Query(cmd.Context(), q)
				if err != nil {
					return err
				}
				return c.showEntries(page, &o)
			})
		},
	}
	f.bind(c, cmd.Flags())
	filter.bind(cmd)
	o.bind(cmd, "wide", "json", "yaml")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many; 0 is all")
	cmd.Flags().BoolVar(&oldest, "oldest-first", false, "begin with the oldest")
	cmd.Flags().StringVar(&after, "after", "", "go on after the entry with this `INDEX`")
	return cmd
}

func (c commandline) showEntries(page entry.Page, o *output) error {
	if o.machine() {
		list := struct {
			Entries []entry.WithIndex `json:"entries"`
			Next    *uint64           `json:"next,omitempty"`
		}{[]entry.WithIndex{}, page.Next}
		for _, e := range page.Entries {
			list.Entries = append(list.Entries, entry.WithIndex{Index: e.Index, Entry: e})
		}
		return o.print(c.streams.Out, list)
	}
	if len(page.Entries) == 0 {
		fmt.Fprintln(c.streams.Err, "no entries")
		return nil
	}
	header := []string{"INDEX", "TIME", "KIND", "APPLICATION", "BY", "RESULT", "MESSAGE"}
	if o.format == "wide" {
		header = []string{"INDEX", "TIME", "KIND", "PROJECT", "APPLICATION", "BY", "RESULT", "REVISION", "PLAN", "OPERATION", "MESSAGE"}
	}
	t, p := newTable(c.streams.Out, header...), c.palette()
	for _, e := range page.Entries {
		first := []cell{plain(strconv.FormatUint(e.Index, 10)), plain(e.Time.Local().Format(time.DateTime)), plain(string(e.Kind))}
		app, by := plain(orNone(e.Application.String())), plain(orNone(e.Actor.User))
		result := cell{orNone(string(e.Result)), p.result(e.Result)}
		if o.format == "wide" {
			t.add(append(first, plain(orNone(e.Project)), app, by, result, plain(orNone(revisionsText(e.Revisions))),
				plain(orNone(e.Plan.Name)), plain(orNone(e.Operation)), plain(e.Message))...)
		} else {
			t.add(append(first, app, by, result, plain(e.Message))...)
		}
	}
	t.flush()
	if page.Next != nil {
		fmt.Fprintf(c.streams.Err, "there are more: --after %d goes on\n", *page.Next)
	}
	return nil
}

func (p palette) result(r entry.Result) func(string) string {
	switch r {
	case entry.Succeeded:
		return p.green
	case entry.Failed, entry.Partial:
		return p.red
	case entry.Canceled, entry.Unknown:
		return p.yellow
	}
	return nil
}

func revisionsText(revisions []entry.Revision) string {
	var short []string
	for _, r := range revisions {
		short = append(short, shortRevision(r.Revision))
	}
	return strings.Join(short, ",")
}

func (c commandline) newAuditShowCommand() *cobra.Command {
	var f ledgerFolder
	var o output
	cmd := &cobra.Command{
		Use:   "show INDEX",
		Short: "Show an entry, and prove that the ledger has it",
		Long:  "Shows all of an entry, after proving that the latest signed checkpoint commits to it.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "name the index of one entry")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := strconv.ParseUint(args[0], 10, 63)
			if err != nil {
				return fmt.Errorf("%q is no index of an entry: `plumb audit log` lists them", args[0])
			}
			return f.read(cmd.Context(), c, func(r *ledger.Reader) error {
				e, err := r.Entry(cmd.Context(), i)
				if err != nil {
					return err
				}
				if o.machine() {
					return o.print(c.streams.Out, entry.WithIndex{Index: i, Entry: e})
				}
				c.showEntry(e)
				fmt.Fprintf(c.streams.Out, "\nProved by the checkpoint of %s, %s\n", plural64(r.Checkpoint().Size), r.Keys().Origin())
				return nil
			})
		},
	}
	f.bind(c, cmd.Flags())
	o.bind(cmd, "json", "yaml")
	return cmd
}

func (c commandline) showEntry(e entry.Entry) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(c.streams.Out, "%-14s%s\n", name+":", printable(value))
		}
	}
	field("Index", strconv.FormatUint(e.Index, 10))
	field("Time", e.Time.Local().Format(time.RFC3339Nano))
	field("Kind", string(e.Kind))
	field("Result", string(e.Result))
	field("Application", e.Application.String())
	field("Group", e.Application.Group)
	field("UID", e.Application.UID)
	field("Project", e.Project)
	field("By", e.Actor.User)
	field("Groups", strings.Join(e.Actor.Groups, ", "))
	field("Via", e.Actor.Via)
	field("Operation", e.Operation)
	for _, r := range e.Revisions {
		field("Revision", strings.TrimSpace(r.Revision+"  "+r.Repo))
		if r.Author != "" || r.AuthorEmail != "" {
			field("  Author", strings.TrimSpace(r.Author+" <"+r.AuthorEmail+">"))
		}
		if !r.CommittedAt.IsZero() {
			field("  Committed", r.CommittedAt.Local().Format(time.RFC3339))
		}
		field("  Signature", strings.TrimSpace(r.Signature.Status+" "+r.Signature.Key+" "+r.Signature.Signer))
	}
	if e.Plan != (entry.Plan{}) {
		n := e.Plan.Counts
		field("Plan", e.Plan.Name)
		field("  Digest", e.Plan.Digest)
		field("  Changes", fmt.Sprintf("%d to create, %d to update, %d to replace, %d to delete", n.Create, n.Update, n.Replace, n.Delete))
		field("  Risk", e.Plan.Risk)
	}
	field("Message", e.Message)
	for _, key := range slices.Sorted(maps.Keys(e.Details)) {
		field(key, e.Details[key])
	}
	if e.Cut {
		field("Note", "the entry was too large: something was left out when it was recorded")
	}
}

const verifyLong = `Verifies all of the ledger offline: the hash of each entry, the tree above them, the
signatures of the checkpoints, that the ledger only ever grew, and that the index
says what the log says. The engine may run meanwhile.

Without --key the public keys in the ledger's folder are trusted. Without --witness,
a checkpoint that was kept elsewhere, somebody who has the private key could have
rewritten everything. With --server the copy is the witness, since it was begun.

Exits with 0 when nothing is wrong, with 1 when the ledger was tampered with, and
with 2 when it could not be verified.`

func (c commandline) newAuditVerifyCommand() *cobra.Command {
	var f ledgerFolder
	var o output
	var witness string
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Verify that nothing in the ledger was changed",
		Long:    verifyLong,
		Example: "  plumb audit verify --key ledger.pub --witness witness",
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, since, err := c.verify(cmd.Context(), f, witness)
			if tampered := (*ledger.TamperedError)(nil); errors.As(err, &tampered) {
				return exitError{1, err}
			}
			if err != nil {
				return exitError{2, err}
			}
			if o.machine() {
				err = o.print(c.streams.Out, verdictOf(v))
			} else {
				c.showVerdict(v, since)
			}
			if tampered := v.Err(); err == nil && tampered != nil {
				return exitError{1, tampered}
			}
			return err
		},
	}
	f.bind(c, cmd.Flags())
	o.bind(cmd, "json", "yaml")
	cmd.Flags().StringVar(&witness, "witness", "", "`FILE` with a checkpoint of this ledger, as plumb audit checkpoint prints it")
	_ = cmd.MarkFlagFilename("witness")
	return cmd
}

// verify gives also since when there is a copy of a server's ledger, which has
// witnessed all that was added to it.
func (c commandline) verify(ctx context.Context, f ledgerFolder, witness string) (v ledger.Verdict, since time.Time, err error) {
	dir, postgres, keys, err := f.find(ctx, c)
	if err != nil {
		return v, since, err
	}
	if f.remote.server != "" {
		since, _ = ledger.Seen(dir)
	}
	o := ledger.VerifyOptions{Dir: dir, Postgres: postgres, Keys: keys}
	if o.Witness, err = readOptional(witness); err != nil {
		return v, since, fmt.Errorf("read the witness's checkpoint: %w", err)
	}
	v, err = ledger.Verify(ctx, o)
	v.KnownKeys = v.KnownKeys || f.key != ""
	return v, since, err
}

func (c commandline) showVerdict(v ledger.Verdict, since time.Time) {
	p := c.palette()
	say := func(format string, args ...any) { fmt.Fprintf(c.streams.Out, format+"\n", args...) }
	say("Ledger:       %s", v.Origin)
	say("Entries:      %d", v.Checkpoint.Size)
	say("Checkpoints:  %d that fit", v.Checkpoints)
	switch {
	case v.Indexed == nil:
		say("Index:        none: it is made when the engine runs")
	case *v.Indexed < v.Checkpoint.Size:
		say("Index:        %s fit", plural64(*v.Indexed))
	default:
		say("Index:        all entries fit")
	}
	switch {
	case v.Witness != nil:
		say("Witness:      knew %s", plural64(*v.Witness))
	case !since.IsZero():
		say("Witness:      this copy: the ledger only grew since %s", since.Local().Format(time.DateTime))
	default:
		say("Witness:      none: who has the private key could have rewritten everything")
	}
	switch {
	case v.KnownKeys:
	case !since.IsZero():
		say("Keys:         those that were trusted when the copy was begun, and those that they name")
	default:
		say("Keys:         those in the ledger's own folder")
	}
	for _, finding := range v.Findings {
		say("%s %s", p.red("✗"), printable(finding.What))
	}
	if len(v.Findings) == 0 {
		say("%s", p.green("Nothing was changed."))
	}
}

// verdict is a ledger.Verdict in JSON.
type verdict struct {
	OK          bool             `json:"ok"`
	Origin      string           `json:"origin"`
	Entries     uint64           `json:"entries"`
	Root        []byte           `json:"root,omitempty"`
	Checkpoints int              `json:"checkpoints"`
	Indexed     *uint64          `json:"indexed,omitempty"`
	Witness     *uint64          `json:"witness,omitempty"`
	KnownKeys   bool             `json:"knownKeys"`
	Findings    []verdictFinding `json:"findings"`
}

type verdictFinding struct {
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Message string `json:"message"`
}

func verdictOf(v ledger.Verdict) verdict {
	shown := verdict{
		OK: len(v.Findings) == 0, Origin: v.Origin, Entries: v.Checkpoint.Size, Root: v.Checkpoint.Root, Checkpoints: v.Checkpoints,
		Indexed: v.Indexed, Witness: v.Witness, KnownKeys: v.KnownKeys, Findings: []verdictFinding{},
	}
	for _, f := range v.Findings {
		shown.Findings = append(shown.Findings, verdictFinding{f.First, f.Last, f.What})
	}
	return shown
}

// localUser is who runs this program.
func localUser() string {
	u, err := user.Current()
	if err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}
