package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
	"github.com/plumb-dev/plumb/test/pgtest"
)

func TestPostgres(t *testing.T) {
	p := pgtest.Start(t)
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, Postgres: p.Address()})
	fill(t, l, 0, 299)
	eventually(t, indexed(l, 300))
	t.Run("queries", func(t *testing.T) { checkQueries(t, l) })
	if _, err := os.Stat(filepath.Join(dir, indexFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a SQLite index as well")
	}
	if _, err := index.OpenPostgres(t.Context(), p.Address(), "another"); err == nil || !strings.Contains(err.Error(), "another ledger") {
		t.Errorf("the database of another ledger: %v", err)
	}

	p.Stop(t)
	fill(t, l, 299, 309)
	eventually(t, func() error {
		if l.Health() == nil {
			return errors.New("healthy without its index")
		}
		return nil
	})
	if err := l.Health(); strings.Contains(err.Error(), "canary") {
		t.Errorf("a password in %v", err)
	}
	p.Start(t)
	eventually(t, l.Health)
	eventually(t, indexed(l, 310))
	closeLedger(t, l)
	v := verify(t, VerifyOptions{Dir: dir, Postgres: p.Address()})
	if v.Err() != nil || v.Indexed == nil || *v.Indexed != 310 {
		t.Errorf("%+v", v)
	}
}

func TestSQLiteQueries(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	fill(t, l, 0, 299)
	t.Run("while the index follows", func(t *testing.T) { checkQueries(t, l) })
	eventually(t, indexed(l, 300))
	t.Run("from the index", func(t *testing.T) { checkQueries(t, l) })
}

// checkQueries compares answers with what matches among all entries.
func checkQueries(t *testing.T, l *Ledger) {
	var all []Entry
	if err := l.Each(t.Context(), entry.Query{Oldest: true}, func(e Entry) bool { all = append(all, e); return true }); err != nil {
		t.Fatal(err)
	}
	if len(all) != 300 {
		t.Fatalf("%d entries", len(all))
	}
	for name, q := range map[string]entry.Query{
		"all":              {},
		"oldest first":     {Oldest: true},
		"an application":   {Application: entry.Application{Namespace: "shop", Name: "app-2"}},
		"by its name only": {Application: entry.Application{Name: "app-2"}},
		"a project":        {Project: "team-1"},
		"kinds":            {Kinds: []entry.Kind{entry.Approved, entry.DriftFound}},
		"an actor":         {Person: "User-3@example.org"},
		"an author":        {Person: "ada"},
		"an operation":     {Operation: "op-17"},
		"a time":           {Since: day.Add(30 * time.Minute), Until: day.Add(90 * time.Minute), Oldest: true},
		"a text":           {Text: "NUMBER 29"},
		"several":          {Project: "team-1", Person: "user-2@example.org", Kinds: []entry.Kind{entry.DriftFound}, Text: "this is"},
		"nobody":           {Person: "'; DROP TABLE ledger_entries; --"},
		"a page":           {After: new(uint64(200)), Limit: 20},
		"a page forwards":  {After: new(uint64(200)), Limit: 20, Oldest: true, Project: "team-0"},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := l.Query(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			want, more := expected(all, q)
			if diff := cmp.Diff(want, page.Entries); diff != "" {
				t.Error(diff)
			}
			if more != (page.Next != nil) {
				t.Errorf("more: %v, next %v", more, page.Next)
			}
		})
	}
}

func expected(all []Entry, q entry.Query) (want []Entry, more bool) {
	all = slices.Clone(all)
	if !q.Oldest {
		slices.Reverse(all)
	}
	for _, e := range all {
		if q.After != nil && (q.Oldest && e.Index <= *q.After || !q.Oldest && e.Index >= *q.After) || !q.Matches(&e) {
			continue
		}
		if q.Limit > 0 && len(want) == q.Limit {
			return want, true
		}
		want = append(want, e)
	}
	return want, false
}
