package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// store reads the files of a log: bundles of 256 entries, and tiles of 256
// hashes above them, as tlog-tiles has it.
type store struct {
	dir   string
	files client.FileFetcher
}

func newStore(dir string) store {
	root := filepath.Join(dir, logDir)
	return store{dir: root, files: client.FileFetcher{Root: root}}
}

// fresh tells whether nothing was ever written.
func (s store) fresh() (bool, error) {
	for _, name := range []string{layout.CheckpointPath, "tile"} {
		if _, err := os.Lstat(filepath.Join(s.dir, name)); err == nil {
			return false, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("read the ledger: %w", err)
		}
	}
	return true, nil
}

// checkpoint reads the published checkpoint.
func (s store) checkpoint(ctx context.Context, keys Keys) (Checkpoint, error) {
	raw, err := s.files.ReadCheckpoint(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read the ledger's checkpoint: %w", err)
	}
	return parseCheckpoint(raw, keys)
}

// bundle gives the entries of a bundle as a log of this size has them.
func (s store) bundle(ctx context.Context, i, size uint64) ([][]byte, error) {
	p := layout.PartialTileSize(0, i, size)
	raw, err := s.files.ReadEntryBundle(ctx, i, p)
	if err != nil {
		return nil, fmt.Errorf("read entries from %d on: %w", i*layout.EntryBundleWidth, err)
	}
	var b api.EntryBundle
	if err := b.UnmarshalText(raw); err != nil {
		return nil, fmt.Errorf("read entries from %d on: %w", i*layout.EntryBundleWidth, err)
	}
	want := int(p)
	if p == 0 {
		want = layout.EntryBundleWidth
	}
	if len(b.Entries) < want {
		return b.Entries, fmt.Errorf("entry %d is missing: the log has %d", i*layout.EntryBundleWidth+uint64(len(b.Entries)), size)
	}
	return b.Entries[:want], nil
}

// leaves gives the hashes of a bundle's entries as the tree has them.
func (s store) leaves(ctx context.Context, i, size uint64) ([][]byte, error) {
	p := layout.PartialTileSize(0, i, size)
	raw, err := s.files.ReadTile(ctx, 0, i, p)
	if err != nil {
		return nil, fmt.Errorf("read hashes from %d on: %w", i*layout.TileWidth, err)
	}
	var t api.HashTile
	if err := t.UnmarshalText(raw); err != nil {
		return nil, fmt.Errorf("read hashes from %d on: %w", i*layout.TileWidth, err)
	}
	return t.Nodes, nil
}

// rows reads the entries from lo to before hi of a log of this size, at most a
// bundle of them.
func (s store) rows(ctx context.Context, lo, hi, size uint64) ([]index.Row, error) {
	i := lo / layout.EntryBundleWidth
	first := i * layout.EntryBundleWidth
	raw, err := s.bundle(ctx, i, size)
	if err != nil {
		return nil, err
	}
	var rows []index.Row
	for at := lo; at < min(hi, first+uint64(len(raw))); at++ {
		text := raw[at-first]
		e, err := entry.Decode(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", at, err)
		}
		e.Index = at
		rows = append(rows, index.Row{Entry: e, Raw: text, Leaf: leafHash(text)})
	}
	return rows, nil
}

func leafHash(raw []byte) []byte { return rfc6962.DefaultHasher.HashLeaf(raw) }

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// root works out the root of a tree of this size from its tiles.
func (s store) root(ctx context.Context, size uint64) ([]byte, error) {
	if size == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	nodes, err := client.FetchRangeNodes(ctx, size, s.files.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("read the ledger's tree: %w", err)
	}
	r, err := ranges.NewRange(0, size, nodes)
	if err != nil {
		return nil, fmt.Errorf("read the ledger's tree: %w", err)
	}
	return r.GetRootHash(nil)
}

// consistent tells with an error if a tree does not begin with what an earlier
// checkpoint commits to.
func (s store) consistent(ctx context.Context, old Checkpoint, size uint64, root []byte) error {
	switch {
	case size < old.Size:
		return fmt.Errorf("the log has %d entries, but a checkpoint was published for %d: entries are missing", size, old.Size)
	case old.Size == 0:
		return nil
	}
	builder, err := client.NewProofBuilder(ctx, size, s.files.ReadTile)
	if err != nil {
		return fmt.Errorf("compare with the last checkpoint: %w", err)
	}
	var hashes [][]byte
	if old.Size < size {
		if hashes, err = builder.ConsistencyProof(ctx, old.Size, size); err != nil {
			return fmt.Errorf("compare with the last checkpoint: %w", err)
		}
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, size, hashes, old.Root, root); err != nil {
		return fmt.Errorf("the log does not go on from the checkpoint of %d entries: it was changed since", old.Size)
	}
	return nil
}

// checkTail compares the entries from the bundle of the given index on with
// their hashes in the tree.
func (s store) checkTail(ctx context.Context, from, size uint64) error {
	for i := from / layout.EntryBundleWidth; i*layout.EntryBundleWidth < size; i++ {
		raw, err := s.bundle(ctx, i, size)
		if err != nil {
			return err
		}
		leaves, err := s.leaves(ctx, i, size)
		if err != nil {
			return err
		}
		for n, text := range raw {
			if n >= len(leaves) || string(leaves[n]) != string(leafHash(text)) {
				return fmt.Errorf("entry %d is not the one that was recorded", i*layout.EntryBundleWidth+uint64(n))
			}
		}
	}
	return nil
}
