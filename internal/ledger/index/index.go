// Package index finds entries of the ledger without reading all of the log: in
// SQLite beside the log, or in PostgreSQL. Everything in it was copied from the
// log and can be copied again; it knows neither how the log is kept nor whether
// the log can be trusted.
package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// Row is an entry as the index holds it.
type Row struct {
	Entry entry.Entry // with its index
	Leaf  []byte      // the hash of Raw in the log's tree
	Raw   []byte      // the entry as it is in the log
}

// Index is an open index.
type Index struct {
	db       *sql.DB
	postgres bool
}

// The version of the tables. Another one is made anew from the log.
const schemaVersion = "1"

// OpenSQLite opens the index in a file, and makes it where there is none.
func OpenSQLite(ctx context.Context, file, origin string) (*Index, error) {
	if err := touch(file); err != nil {
		return nil, fmt.Errorf("make the index: %w", err)
	}
	return open(ctx, "sqlite", sqliteName(file, "_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)"), origin)
}

// ReadSQLite opens the index in a file to look things up only, also while
// another process writes to it.
func ReadSQLite(ctx context.Context, file, origin string) (*Index, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	x, err := read(ctx, "sqlite", sqliteName(file, "mode=ro&_pragma=busy_timeout(10000)"), origin)
	for tries := 0; err != nil && tries < unmadeTries && unmade(err) && ctx.Err() == nil; tries++ {
		time.Sleep(unmadePause) // another process is making it
		x, err = read(ctx, "sqlite", sqliteName(file, "mode=ro&_pragma=busy_timeout(10000)"), origin)
	}
	if err == nil {
		return x, nil
	}
	if _, missing := os.Stat(file + "-wal"); missing == nil {
		return nil, err
	}
	// Nobody writes to it, and in a folder that is read only nobody can.
	return read(ctx, "sqlite", sqliteName(file, "immutable=1"), origin)
}

// unmadeTries and unmadePause are how long a reader waits for the tables of an index
// that another process is making.
const (
	unmadeTries = 40
	unmadePause = 50 * time.Millisecond
)

// unmade tells whether the tables are not there, or not filled, yet.
func unmade(err error) bool {
	return errors.Is(err, sql.ErrNoRows) || strings.Contains(err.Error(), "no such table")
}

// OpenPostgres opens the index in a database, and makes its tables where there
// are none. The address may hold a password: errors leave it out.
func OpenPostgres(ctx context.Context, address, origin string) (*Index, error) {
	return open(ctx, "pgx", address, origin)
}

// ReadPostgres opens the index in a database to look things up only.
func ReadPostgres(ctx context.Context, address, origin string) (*Index, error) {
	return read(ctx, "pgx", address, origin)
}

// touch makes the file readable by its owner only.
func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func sqliteName(file, parameters string) string {
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + parameters
}

func open(ctx context.Context, driver, name, origin string) (*Index, error) {
	x, err := connect(driver, name)
	if err != nil {
		return nil, err
	}
	if err := x.prepare(ctx, origin); err != nil {
		x.db.Close()
		return nil, fmt.Errorf("open the index: %w", err)
	}
	return x, nil
}

func read(ctx context.Context, driver, name, origin string) (*Index, error) {
	x, err := connect(driver, name)
	if err != nil {
		return nil, err
	}
	if err := x.sameLog(ctx, origin); err != nil {
		x.db.Close()
		return nil, fmt.Errorf("open the index: %w", err)
	}
	return x, nil
}

func connect(driver, name string) (*Index, error) {
	db, err := sql.Open(driver, name)
	if err != nil {
		return nil, errors.New("open the index: its address cannot be read") // it may hold a password
	}
	db.SetMaxOpenConns(4)
	return &Index{db: db, postgres: driver == "pgx"}, nil
}

// Close closes it.
func (x *Index) Close() error { return x.db.Close() }

func tables(postgres bool) []string {
	bytes := "BLOB"
	if postgres {
		bytes = "BYTEA"
	}
	return []string{
		`CREATE TABLE IF NOT EXISTS ledger_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)`,
		`CREATE TABLE IF NOT EXISTS ledger_entries (
			idx BIGINT PRIMARY KEY, leaf ` + bytes + ` NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL, project TEXT NOT NULL,
			app_group TEXT NOT NULL, app_namespace TEXT NOT NULL, app_name TEXT NOT NULL, app_uid TEXT NOT NULL,
			operation TEXT NOT NULL, body ` + bytes + ` NOT NULL)`,
		`CREATE TABLE IF NOT EXISTS ledger_persons (person TEXT NOT NULL, idx BIGINT NOT NULL, PRIMARY KEY (person, idx))`,
		`CREATE INDEX IF NOT EXISTS ledger_by_application ON ledger_entries (app_name, app_namespace, idx)`,
		`CREATE INDEX IF NOT EXISTS ledger_by_project ON ledger_entries (project, idx)`,
		`CREATE INDEX IF NOT EXISTS ledger_by_kind ON ledger_entries (kind, idx)`,
		`CREATE INDEX IF NOT EXISTS ledger_persons_by_entry ON ledger_persons (idx)`,
		`CREATE INDEX IF NOT EXISTS ledger_by_time ON ledger_entries (at)`,
		`CREATE INDEX IF NOT EXISTS ledger_by_operation ON ledger_entries (operation) WHERE operation <> ''`,
	}
}

// prepare makes the tables, and refuses those of another log.
func (x *Index) prepare(ctx context.Context, origin string) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it does nothing after a commit
	for _, statement := range tables(x.postgres) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{"origin": origin, "schema": schemaVersion} {
		if _, err := tx.ExecContext(ctx, x.sql(`INSERT INTO ledger_meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`), name, value); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return x.sameLog(ctx, origin)
}

func (x *Index) sameLog(ctx context.Context, origin string) error {
	for name, want := range map[string]string{"origin": origin, "schema": schemaVersion} {
		var got string
		if err := x.db.QueryRowContext(ctx, x.sql(`SELECT value FROM ledger_meta WHERE name = ?`), name).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("it is of another ledger or version: its %s is %q, not %q: give each ledger a database of its own", name, got, want)
		}
	}
	return nil
}

// sql writes parameters as the database wants them.
func (x *Index) sql(statement string) string {
	if !x.postgres {
		return statement
	}
	var b strings.Builder
	n := 0
	for _, r := range statement {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// Size is how many entries it has: those from 0 up to it.
func (x *Index) Size(ctx context.Context) (uint64, error) {
	var last sql.NullInt64
	if err := x.db.QueryRowContext(ctx, `SELECT MAX(idx) FROM ledger_entries`).Scan(&last); err != nil {
		return 0, fmt.Errorf("read the index: %w", err)
	}
	if !last.Valid {
		return 0, nil
	}
	return uint64(last.Int64) + 1, nil
}

// Leaf gives the hash of one entry, or nothing.
func (x *Index) Leaf(ctx context.Context, i uint64) ([]byte, error) {
	var leaf []byte
	err := x.db.QueryRowContext(ctx, x.sql(`SELECT leaf FROM ledger_entries WHERE idx = ?`), int64(i)).Scan(&leaf)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	return leaf, nil
}

// Reset empties it.
func (x *Index) Reset(ctx context.Context) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("empty the index: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it does nothing after a commit
	for _, statement := range []string{`DELETE FROM ledger_entries`, `DELETE FROM ledger_persons`} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("empty the index: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("empty the index: %w", err)
	}
	return nil
}

// Add adds rows, all of them or none.
func (x *Index) Add(ctx context.Context, rows []Row) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it does nothing after a commit
	add, err := tx.PrepareContext(ctx, x.sql(`INSERT INTO ledger_entries
		(idx, leaf, at, kind, project, app_group, app_namespace, app_name, app_uid, operation, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`))
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	defer add.Close()
	name, err := tx.PrepareContext(ctx, x.sql(`INSERT INTO ledger_persons (person, idx) VALUES (?, ?) ON CONFLICT DO NOTHING`))
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	defer name.Close()
	for _, row := range rows {
		c := columnsOf(row)
		if _, err := add.ExecContext(ctx, int64(row.Entry.Index), row.Leaf, c.at, c.kind, c.project, c.group, c.namespace, c.name, c.uid, c.operation, row.Raw); err != nil {
			return fmt.Errorf("write entry %d into the index: %w", row.Entry.Index, err)
		}
		for _, person := range row.Entry.Persons() {
			if _, err := name.ExecContext(ctx, person, int64(row.Entry.Index)); err != nil {
				return fmt.Errorf("write entry %d into the index: %w", row.Entry.Index, err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}

// columns are what a row can be found by.
type columns struct {
	at                                                    int64
	kind, project, group, namespace, name, uid, operation string
}

func columnsOf(row Row) columns {
	e := row.Entry
	a := e.Application
	return columns{e.Time.UnixMicro(), string(e.Kind), e.Project, a.Group, a.Namespace, a.Name, a.UID, e.Operation}
}
