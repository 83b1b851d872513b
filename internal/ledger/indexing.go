package ledger

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// indexing makes the index of a log.
type indexing struct {
	dir, postgres, origin string
	store                 store
	total                 func(context.Context) (uint64, error) // how many entries the log has
	log                   *slog.Logger
}

// open opens the index. One that cannot be read, or does not end as the log does at
// that place, is made anew: the log is the truth.
func (n indexing) open(ctx context.Context) (*index.Index, error) {
	if n.postgres != "" {
		x, err := index.OpenPostgres(ctx, n.postgres, n.origin)
		if err != nil {
			return nil, err
		}
		return n.agreeing(ctx, x)
	}
	file := filepath.Join(n.dir, indexFile)
	x, err := index.OpenSQLite(ctx, file, n.origin)
	if err == nil {
		x, err = n.agreeing(ctx, x)
	}
	if err == nil {
		return x, nil
	}
	n.log.Warn("the ledger's index is made anew from the log", "err", err)
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(file + end); err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("remove the broken index: %w", err)
		}
	}
	return index.OpenSQLite(ctx, file, n.origin)
}

// agreeing empties an index whose last entry is not the log's.
func (n indexing) agreeing(ctx context.Context, x *index.Index) (*index.Index, error) {
	agrees, err := n.agrees(ctx, x)
	if err == nil && !agrees {
		n.log.Warn("the ledger's index does not agree with the log: it is made anew from it")
		err = x.Reset(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("check the index: %w", joinClose(err, x))
	}
	return x, nil
}

func (n indexing) agrees(ctx context.Context, x *index.Index) (bool, error) {
	size, err := x.Size(ctx)
	if err != nil || size == 0 {
		return true, err
	}
	total, err := n.total(ctx)
	if err != nil {
		return false, err
	}
	if size > total {
		return false, nil
	}
	rows, err := n.store.rows(ctx, size-1, size, total)
	if err != nil {
		return false, err
	}
	leaf, err := x.Leaf(ctx, size-1)
	return bytes.Equal(leaf, rows[0].Leaf), err
}

// copyInto copies entries up to a size into the index.
func (n indexing) copyInto(ctx context.Context, x *index.Index, size uint64) error {
	at, err := x.Size(ctx)
	if err != nil {
		return err
	}
	for at < size {
		rows, err := n.store.rows(ctx, at, size, size)
		if err != nil {
			return err
		}
		if err := x.Add(ctx, rows); err != nil {
			return err
		}
		at += uint64(len(rows))
	}
	return nil
}
