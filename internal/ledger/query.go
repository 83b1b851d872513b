package ledger

import (
	"context"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// view is a log of a size together with an index that may have less of it, or be
// missing: entries are looked up in the index as far as it goes, and read from
// the log from there on.
type view struct {
	store store
	size  uint64
	index *index.Index
}

// Query gives a page of entries.
func (l *Ledger) Query(ctx context.Context, q entry.Query) (entry.Page, error) {
	v, err := l.view(ctx)
	if err != nil {
		return entry.Page{}, err
	}
	return v.page(ctx, q)
}

// Each gives entries one after the other until yield says no.
func (l *Ledger) Each(ctx context.Context, q entry.Query, yield func(Entry) bool) error {
	v, err := l.view(ctx)
	if err != nil {
		return err
	}
	return v.each(ctx, q, yield)
}

// view is of all that was appended before.
func (l *Ledger) view(ctx context.Context) (view, error) {
	if err := l.flush(ctx); err != nil {
		return view{}, err
	}
	size, err := l.integrated(ctx)
	return view{l.store, size, l.currentIndex()}, err
}

func (v view) page(ctx context.Context, q entry.Query) (entry.Page, error) {
	var page entry.Page
	limit := q.Limit
	q.Limit = 0
	err := v.each(ctx, q, func(e Entry) bool {
		if limit > 0 && len(page.Entries) == limit {
			last := page.Entries[limit-1].Index
			page.Next = &last
			return false
		}
		page.Entries = append(page.Entries, e)
		return true
	})
	return page, err
}

func (v view) each(ctx context.Context, q entry.Query, yield func(Entry) bool) error {
	lo, hi := uint64(0), v.size
	if q.After != nil && q.Oldest {
		lo = *q.After + 1
	} else if q.After != nil {
		hi = min(hi, *q.After)
	}
	indexed := uint64(0)
	if v.index != nil {
		if n, err := v.index.Size(ctx); err == nil {
			indexed = min(n, v.size)
		}
	}
	more, given := true, 0
	counted := func(e Entry) bool {
		if q.Limit > 0 && given == q.Limit {
			more = false
		} else {
			given++
			more = yield(e)
		}
		return more
	}
	fromIndex := func() error {
		if lo >= min(hi, indexed) || !more {
			return nil
		}
		return v.index.List(ctx, q, lo, min(hi, indexed), counted)
	}
	fromLog := func() error {
		if max(lo, indexed) >= hi || !more {
			return nil
		}
		return v.scan(ctx, q, max(lo, indexed), hi, counted)
	}
	if q.Oldest {
		if err := fromIndex(); err != nil {
			return err
		}
		return fromLog()
	}
	if err := fromLog(); err != nil {
		return err
	}
	return fromIndex()
}

// scan reads the log itself.
func (v view) scan(ctx context.Context, q entry.Query, lo, hi uint64, yield func(Entry) bool) error {
	const width = layout.EntryBundleWidth
	for lo < hi {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := lo, min(hi, (lo/width+1)*width)
		if !q.Oldest {
			from, to = max(lo, (hi-1)/width*width), hi
		}
		rows, err := v.store.rows(ctx, from, to, v.size)
		if err != nil {
			return err
		}
		for n := range rows {
			row := &rows[n]
			if !q.Oldest {
				row = &rows[len(rows)-1-n]
			}
			if q.Matches(&row.Entry) && !yield(row.Entry) {
				return nil
			}
		}
		if q.Oldest {
			lo = to
		} else {
			hi = from
		}
	}
	return nil
}
