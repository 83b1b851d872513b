package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

const auditLong = `Reads the ledger: who changed what, with which commits, approved by whom, and how
it ended. It reads the ledger's files, also while the engine runs: those of
plumb up, those in --dir, or a copy of what the server at --server has. Each time
the copy is brought up to date it is verified that the ledger only grew.`

// ledgerFolder is where commands find a ledger.
type ledgerFolder struct {
	dir      string
	database string
	key      string
	remote   remoteLedger
}

// bind adds the flags of commands that read.
func (f *ledgerFolder) bind(c commandline, flags *pflag.FlagSet) {
	f.bindFolder(c, flags)
	f.remote.bind(flags)
	flags.StringVar(&f.key, "key", "", "`FILE` with the public keys to trust, as plumb audit checkpoint --keys prints them")
	_ = cobra.MarkFlagFilename(flags, "key")
}

// bindFolder adds those of commands that work on the ledger's own folder only.
func (f *ledgerFolder) bindFolder(c commandline, flags *pflag.FlagSet) {
	c.connection.bindDataDir(flags)
	flags.StringVar(&f.dir, "dir", "", "`DIR` of the ledger, or of a copy of it (default: that of plumb up)")
	flags.StringVar(&f.database, "index-database-file", "", "`FILE` with the address of the PostgreSQL database of the index, if it is not beside the log")
	_ = cobra.MarkFlagDirname(flags, "dir")
	_ = cobra.MarkFlagFilename(flags, "index-database-file")
}

func (f *ledgerFolder) path(c commandline) string {
	if f.dir != "" {
		return f.dir
	}
	return filepath.Join(c.connection.dataDir, "engine", "ledger")
}

func (f *ledgerFolder) postgres() (string, error) {
	if f.database == "" {
		return "", nil
	}
	raw, err := os.ReadFile(f.database)
	if err != nil {
		return "", fmt.Errorf("read the address of the index: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// keys are those to trust, or nil.
func (f *ledgerFolder) keys() (*ledger.Keys, error) {
	if f.key == "" {
		return nil, nil
	}
	keys, err := ledger.ReadKeys(f.key)
	return &keys, err
}

// find gives the folder to read: of a server's ledger, that of its copy, which is
// brought up to date.
func (f *ledgerFolder) find(ctx context.Context, c commandline) (dir, postgres string, keys *ledger.Keys, err error) {
	if keys, err = f.keys(); err != nil {
		return "", "", nil, err
	}
	if f.remote.server == "" {
		if err := f.remote.stray(); err != nil {
			return "", "", nil, err
		}
		postgres, err = f.postgres()
		return f.path(c), postgres, keys, err
	}
	if f.database != "" {
		return "", "", nil, errors.New("--index-database-file: the copy of a server's ledger has an index of its own")
	}
	dir, err = f.remote.copy(ctx, c, f.dir, keys)
	return dir, "", nil, err // the copy has the keys, and those that they name
}

// read opens the ledger for what do does with it.
func (f *ledgerFolder) read(ctx context.Context, c commandline, do func(*ledger.Reader) error) error {
	dir, postgres, keys, err := f.find(ctx, c)
	if err != nil {
		return err
	}
	var r *ledger.Reader
	if keys != nil {
		r, err = ledger.OpenReaderWith(ctx, dir, postgres, *keys)
	} else {
		r, err = ledger.OpenReader(ctx, dir, postgres)
	}
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Close())
}

func (c commandline) newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read and verify the record of all changes",
		Long:  auditLong,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(c.newAuditLogCommand(), c.newAuditShowCommand(), c.newAuditVerifyCommand(),
		c.newAuditExportCommand(), c.newAuditCheckpointCommand(), c.newAuditRotateCommand())
	return cmd
}

// entryFilter are the flags that say which entries are asked for.
type entryFilter struct {
	project, person, operation, since, until, text string
	kinds                                          []string
}

func (f *entryFilter) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.project, "project", "", "only of this project")
	flags.StringSliceVar(&f.kinds, "kind", nil, "only of these `KINDS`, as SyncFinished or approved")
	flags.StringVar(&f.person, "by", "", "only what this `PERSON` did, or committed: a user's name, or an author's or their address")
	flags.StringVar(&f.operation, "operation", "", "only of the operation with this `ID`")
	flags.StringVar(&f.since, "since", "", "only from this `TIME` on: 90m, 12h, 30d, 2w, 2026-03-01 or 2026-03-01T08:00:00Z")
	flags.StringVar(&f.until, "until", "", "only before this `TIME`")
	flags.StringVar(&f.text, "grep", "", "only with this `TEXT` in them, in any case")
	_ = cmd.RegisterFlagCompletionFunc("kind", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, k := range entry.Kinds() {
			names = append(names, string(k))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// query is what the flags and the name of an Application ask for.
func (f *entryFilter) query(args []string, now time.Time) (entry.Query, error) {
	q := entry.Query{Project: f.project, Person: f.person, Operation: f.operation, Text: f.text}
	if len(args) > 0 {
		namespace, name, both := strings.Cut(args[0], "/")
		if !both {
			namespace, name = "", args[0]
		}
		q.Application = entry.Application{Namespace: namespace, Name: name}
	}
	for _, name := range f.kinds {
		k, ok := entry.ParseKind(name)
		if !ok {
			var known []string
			for _, k := range entry.Kinds() {
				known = append(known, string(k))
			}
			if likely := similar(name, known); likely != "" {
				return q, fmt.Errorf("there is no kind %q of entries, did you mean %s?", name, likely)
			}
			return q, fmt.Errorf("there is no kind %q of entries: there are %s", name, strings.Join(known, ", "))
		}
		q.Kinds = append(q.Kinds, k)
	}
	var err error
	if q.Since, err = parseTime(f.since, now); err != nil {
		return q, fmt.Errorf("--since: %w", err)
	}
	if q.Until, err = parseTime(f.until, now); err != nil {
		return q, fmt.Errorf("--until: %w", err)
	}
	return q, nil
}

// parseTime reads a time, or how long ago it was.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	for unit, days := range map[string]int{"d": 1, "w": 7} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < 100_000 {
				return now.AddDate(0, 0, -n*days), nil
			}
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is neither a time (2026-03-01, 2026-03-01T08:00:00Z) nor how long ago it was (90m, 12h, 30d, 2w)", s)
}

func atMostOneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError(cmd, "name one Application only")
	}
	return nil
}

func (c commandline) newAuditExportCommand() *cobra.Command {
	var f ledgerFolder
	var filter entryFilter
	o := output{format: "jsonl"}
	cmd := &cobra.Command{
		Use:   "export [APP]",
		Short: "Write entries for other programs, the oldest first",
		Long: `Writes all entries, or those that are asked for, to stdout: a JSON object in each
line, or a table (-o csv) in which no cell is taken for a formula.`,
		Example: "  plumb audit export --since 30d -o csv > changes.csv",
		Args:    atMostOneName, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := filter.query(args, time.Now())
			if err != nil {
				return err
			}
			q.Oldest = true
			return f.read(cmd.Context(), c, func(r *ledger.Reader) error { return c.export(cmd.Context(), r, q, o.format) })
		},
	}
	f.bind(c, cmd.Flags())
	filter.bind(cmd)
	o.bind(cmd, "jsonl", "csv")
	return cmd
}

func (c commandline) export(ctx context.Context, r *ledger.Reader, q entry.Query, format string) error {
	write := func(e entry.Entry) error { return entry.WriteJSON(c.streams.Out, e) }
	end := func() error { return nil }
	if format == "csv" {
		table, err := entry.NewCSV(c.streams.Out)
		if err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
		write, end = table.Write, table.Flush
	}
	var failed error
	err := r.Each(ctx, q, func(e entry.Entry) bool {
		failed = write(e)
		return failed == nil
	})
	if err = errors.Join(err, failed, end()); err != nil {
		return fmt.Errorf("write the entries: %w", err)
	}
	return nil
}

func (c commandline) newAuditCheckpointCommand() *cobra.Command {
	var f ledgerFolder
	var o output
	var keys bool
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print what the ledger commits to, to keep it elsewhere",
		Long: `Prints the latest signed checkpoint: how many entries there are, and a hash of all
of them. Keep it where those who can write to the ledger cannot: later,
plumb audit verify --witness FILE shows whether the ledger still begins with these
entries. --keys prints the public keys for plumb audit verify --key instead.`,
		Example: `  plumb audit checkpoint > witness
  plumb audit checkpoint --keys > ledger.pub`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.read(cmd.Context(), c, func(r *ledger.Reader) error {
				k, checkpoint := r.Keys(), r.Checkpoint()
				switch {
				case o.machine():
					return o.print(c.streams.Out, map[string]any{
						"origin": k.Origin(), "size": checkpoint.Size, "root": checkpoint.Root, "checkpoint": string(checkpoint.Note), "keys": k.Texts(),
					})
				case keys:
					fmt.Fprintln(c.streams.Out, strings.Join(k.Texts(), "\n"))
				default:
					fmt.Fprintf(c.streams.Err, "%s, public key %s\n", plural64(checkpoint.Size), k.Latest())
					fmt.Fprint(c.streams.Out, string(checkpoint.Note))
				}
				return nil
			})
		},
	}
	f.bind(c, cmd.Flags())
	o.bind(cmd, "json", "yaml")
	cmd.Flags().BoolVar(&keys, "keys", false, "print the public keys")
	return cmd
}

func plural64(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func (c commandline) newAuditRotateCommand() *cobra.Command {
	var f ledgerFolder
	var yes bool
	cmd := &cobra.Command{
		Use:   "rotate-key",
		Short: "Replace the key that signs checkpoints",
		Long: `Makes a new private key. The engine must not run. An entry that the old key still
signs names the new key. Give the new public key to whoever verifies, beside the
old one: what was signed before stays signed with the old one.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			postgres, err := f.postgres()
			if err != nil {
				return err
			}
			if !yes {
				sure, err := c.ask("Replace the key that signs the ledger's checkpoints?")
				if err != nil || !sure {
					return err
				}
			}
			public, err := ledger.Rotate(cmd.Context(), ledger.Options{Dir: f.path(c), Postgres: postgres}, entry.Actor{User: localUser(), Via: "plumb audit rotate-key"})
			if err != nil {
				return err
			}
			fmt.Fprintln(c.streams.Out, public)
			return nil
		},
	}
	f.bindFolder(c, cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// readOptional reads a file that a flag names, or nothing.
func readOptional(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err == nil && len(bytes.TrimSpace(raw)) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	return raw, err
}
