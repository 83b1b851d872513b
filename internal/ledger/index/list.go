package index

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// List gives the entries that are asked for among those from index lo up to
// before hi, in the order asked for, until yield says no.
func (x *Index) List(ctx context.Context, q entry.Query, lo, hi uint64, yield func(entry.Entry) bool) error {
	where, args := conditions(q, lo, hi)
	order := "DESC"
	if q.Oldest {
		order = "ASC"
	}
	rows, err := x.db.QueryContext(ctx, x.sql(`SELECT idx, body FROM ledger_entries WHERE `+where+` ORDER BY idx `+order), args...)
	if err != nil {
		return fmt.Errorf("read the index: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var i int64
		var body sql.RawBytes
		if err := rows.Scan(&i, &body); err != nil {
			return fmt.Errorf("read the index: %w", err)
		}
		e, err := entry.Decode(body)
		if err != nil {
			return fmt.Errorf("entry %d in the index: %w", i, err)
		}
		e.Index = uint64(i)
		if q.Matches(&e) && !yield(e) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the index: %w", err)
	}
	return nil
}

// conditions narrow down what the database looks at; the query itself says what
// matches.
func conditions(q entry.Query, lo, hi uint64) (string, []any) {
	conditions := []string{"idx >= ?", "idx < ?"}
	args := []any{int64(lo), int64(hi)}
	equal := func(column, value string) {
		if value != "" {
			conditions = append(conditions, column+" = ?")
			args = append(args, value)
		}
	}
	equal("app_group", q.Application.Group)
	equal("app_namespace", q.Application.Namespace)
	equal("app_name", q.Application.Name)
	equal("app_uid", q.Application.UID)
	equal("project", q.Project)
	equal("operation", q.Operation)
	if len(q.Kinds) > 0 {
		conditions = append(conditions, "kind IN (?"+strings.Repeat(", ?", len(q.Kinds)-1)+")")
		for _, k := range q.Kinds {
			args = append(args, string(k))
		}
	}
	if q.Person != "" {
		conditions = append(conditions, "idx IN (SELECT idx FROM ledger_persons WHERE person = ?)")
		args = append(args, strings.ToLower(q.Person))
	}
	if !q.Since.IsZero() {
		conditions = append(conditions, "at >= ?")
		args = append(args, q.Since.UnixMicro())
	}
	if !q.Until.IsZero() {
		conditions = append(conditions, "at <= ?")
		args = append(args, q.Until.UnixMicro())
	}
	return strings.Join(conditions, " AND "), args
}

// Difference is where the index differs from what was compared with it.
type Difference struct {
	Index uint64
	What  string
}

// Compare compares rows, which follow one another, with those in the index, and
// gives the first difference. The rows of the log are right.
func (x *Index) Compare(ctx context.Context, want []Row) (*Difference, error) {
	if len(want) == 0 {
		return nil, nil
	}
	lo, hi := want[0].Entry.Index, want[len(want)-1].Entry.Index
	persons, err := x.persons(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	rows, err := x.db.QueryContext(ctx, x.sql(`SELECT idx, leaf, at, kind, project, app_group, app_namespace, app_name, app_uid, operation, body
		FROM ledger_entries WHERE idx >= ? AND idx <= ? ORDER BY idx`), int64(lo), int64(hi))
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var i int64
		var got Row
		var c columns
		if err := rows.Scan(&i, &got.Leaf, &c.at, &c.kind, &c.project, &c.group, &c.namespace, &c.name, &c.uid, &c.operation, &got.Raw); err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		w := want[n]
		switch {
		case uint64(i) != w.Entry.Index:
			return &Difference{w.Entry.Index, "is missing in the index"}, nil
		case !bytes.Equal(got.Raw, w.Raw) || !bytes.Equal(got.Leaf, w.Leaf):
			return &Difference{w.Entry.Index, "is another one in the index"}, nil
		case c != columnsOf(w):
			return &Difference{w.Entry.Index, "is found by something else than what it says"}, nil
		case !slices.Equal(persons[i], sorted(w.Entry.Persons())):
			return &Difference{w.Entry.Index, "is found by other persons than it names"}, nil
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	if n < len(want) {
		return &Difference{want[n].Entry.Index, "is missing in the index"}, nil
	}
	return nil, nil
}

func (x *Index) persons(ctx context.Context, lo, hi uint64) (map[int64][]string, error) {
	rows, err := x.db.QueryContext(ctx, x.sql(`SELECT idx, person FROM ledger_persons WHERE idx >= ? AND idx <= ?`), int64(lo), int64(hi))
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	defer rows.Close()
	persons := map[int64][]string{}
	for rows.Next() {
		var i int64
		var person string
		if err := rows.Scan(&i, &person); err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		persons[i] = append(persons[i], person)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	for _, list := range persons {
		slices.Sort(list)
	}
	return persons, nil
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
