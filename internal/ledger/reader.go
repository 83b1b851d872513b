package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// Reader reads a ledger, also while another process writes to it, as it was when
// the reader was opened.
type Reader struct {
	view       view
	keys       Keys
	checkpoint Checkpoint
}

// OpenReader opens the ledger in a folder to read it. Where its index cannot be
// used, the log itself is read.
func OpenReader(ctx context.Context, dir, postgres string) (*Reader, error) {
	keys, err := ReadKeys(filepath.Join(dir, publicFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no ledger in %s: it begins when the engine first runs; name another folder with --dir, or a server with --server", dir)
	}
	if err != nil {
		return nil, err
	}
	return OpenReaderWith(ctx, dir, postgres, keys)
}

// OpenReaderWith opens it for who knows the public keys from elsewhere.
func OpenReaderWith(ctx context.Context, dir, postgres string, keys Keys) (*Reader, error) {
	s := newStore(dir)
	c, err := s.checkpoint(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("%w: `plumb audit verify` says more", err)
	}
	x, err := readIndex(ctx, dir, postgres, keys.origin)
	if err != nil && postgres != "" {
		return nil, err
	}
	return &Reader{view: view{s, c.Size, x}, keys: keys, checkpoint: c}, nil
}

func readIndex(ctx context.Context, dir, postgres, origin string) (*index.Index, error) {
	if postgres != "" {
		return index.ReadPostgres(ctx, postgres, origin)
	}
	return index.ReadSQLite(ctx, filepath.Join(dir, indexFile), origin)
}

// Close closes it.
func (r *Reader) Close() error {
	if r.view.index == nil {
		return nil
	}
	return r.view.index.Close()
}

// Checkpoint is what the log commits to.
func (r *Reader) Checkpoint() Checkpoint { return r.checkpoint }

// Keys are the public keys in the folder.
func (r *Reader) Keys() Keys { return r.keys }

// Query gives a page of entries.
func (r *Reader) Query(ctx context.Context, q entry.Query) (entry.Page, error) {
	return r.view.page(ctx, q)
}

// Each gives entries one after the other until yield says no.
func (r *Reader) Each(ctx context.Context, q entry.Query, yield func(Entry) bool) error {
	return r.view.each(ctx, q, yield)
}

// Entry gives one entry from the log itself, after proving that the checkpoint
// commits to it.
func (r *Reader) Entry(ctx context.Context, i uint64) (Entry, error) {
	size := r.view.size
	if i >= size {
		return Entry{}, fmt.Errorf("there is no entry %d: the ledger has %d, from 0 on", i, size)
	}
	rows, err := r.view.store.rows(ctx, i, i+1, size)
	if err != nil {
		return Entry{}, err
	}
	builder, err := client.NewProofBuilder(ctx, size, r.view.store.files.ReadTile)
	if err != nil {
		return Entry{}, fmt.Errorf("prove entry %d: %w", i, err)
	}
	hashes, err := builder.InclusionProof(ctx, i)
	if err != nil {
		return Entry{}, fmt.Errorf("prove entry %d: %w", i, err)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, size, rows[0].Leaf, hashes, r.checkpoint.Root); err != nil {
		return Entry{}, fmt.Errorf("entry %d is not what the checkpoint commits to: the ledger was tampered with; `plumb audit verify` says more", i)
	}
	return rows[0].Entry, nil
}
