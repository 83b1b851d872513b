package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/sync/errgroup"
)

// atOnce is how many bundles are fetched at once.
const atOnce = 8

// grow fetches the entries up to a checkpoint and builds the tree above them from
// them: its root must be the one that was signed. Bundles that an earlier try has
// left are taken for what they may be, and fetched anew if they are not that.
func (m *mirror) grow(ctx context.Context, next Checkpoint) error {
	kept, err := m.tryGrow(ctx, next, true)
	if err == nil {
		return nil
	}
	if _, wrong := err.(*TamperedError); wrong { //nolint:errorlint // it is not wrapped yet
		m.discard(next)
		if kept {
			if _, err = m.tryGrow(ctx, next, false); err != nil {
				m.discard(next)
			}
		}
	}
	return err
}

// discard removes what was fetched and is not what was signed.
func (m *mirror) discard(next Checkpoint) {
	for i := m.have.Size / layout.EntryBundleWidth; i < next.Size/layout.EntryBundleWidth; i++ {
		_ = os.Remove(m.path(layout.EntriesPath(i, 0)))
		_ = os.Remove(m.path(layout.TilePath(0, i, 0)))
	}
}

func (m *mirror) path(place string) string {
	return filepath.Join(m.store.files.Root, filepath.FromSlash(place))
}

// tryGrow tells also whether it has taken bundles that were there.
func (m *mirror) tryGrow(ctx context.Context, next Checkpoint, keep bool) (kept bool, err error) {
	g, err := m.growth(ctx)
	if err != nil {
		return false, err
	}
	const width = layout.EntryBundleWidth
	end := (next.Size + width - 1) / width
	for i := m.have.Size / width; i < end; i += atOnce {
		n := min(atOnce, end-i)
		raws, have := make([][]byte, n), make([]bool, n)
		var fetching errgroup.Group
		for k := range n {
			fetching.Go(func() (err error) {
				raws[k], have[k], err = m.bundle(ctx, i+k, next.Size, keep)
				return err
			})
		}
		if err := fetching.Wait(); err != nil {
			return kept, err
		}
		for k, raw := range raws {
			kept = kept || have[k]
			if err := m.take(ctx, g, i+uint64(k), next.Size, raw); err != nil {
				return kept, err
			}
		}
		m.Progress(min((i+n)*width, next.Size), next.Size)
	}
	root, err := g.tree.GetRootHash(nil)
	if err != nil {
		return kept, fmt.Errorf("build the tree of the ledger's copy: %w", err)
	}
	if !bytes.Equal(root, next.Root) {
		return kept, m.diagnose(ctx, next)
	}
	return kept, m.writeTiles(g, next.Size)
}

// bundle gives a bundle of entries as a ledger of this size has it, and whether the
// copy had it.
func (m *mirror) bundle(ctx context.Context, i, size uint64, keep bool) ([]byte, bool, error) {
	p := layout.PartialTileSize(0, i, size)
	if p == 0 && keep {
		if raw, err := os.ReadFile(m.path(layout.EntriesPath(i, 0))); err == nil {
			return raw, true, nil
		}
	}
	raw, err := m.Fetch(ctx, layout.EntriesPath(i, p))
	if p != 0 && errNotThere(err) { // it has become a whole one since
		raw, err = m.Fetch(ctx, layout.EntriesPath(i, 0))
	}
	if errNotThere(err) {
		return nil, false, tampered(i*layout.EntryBundleWidth, size-1, "entries from %d on are missing: its checkpoint is of %d", i*layout.EntryBundleWidth, size)
	}
	return raw, false, err
}

// take puts the new entries of a bundle into the tree, and the bundle into the copy.
func (m *mirror) take(ctx context.Context, g *growth, i, size uint64, raw []byte) error {
	first := i * layout.EntryBundleWidth
	want := min(layout.EntryBundleWidth, size-first)
	var b api.EntryBundle
	if err := b.UnmarshalText(raw); err != nil || uint64(len(b.Entries)) < want {
		return tampered(first, size-1, "the entries from %d on are not whole: %d of %d can be read", first, len(b.Entries), want)
	}
	var known [][]byte
	if m.have.Size > first {
		var err error
		if known, err = m.store.leaves(ctx, i, m.have.Size); err != nil {
			return err
		}
		known = known[:min(uint64(len(known)), m.have.Size-first)]
	}
	var bundle, leaves []byte
	for n, text := range b.Entries[:want] {
		leaf := leafHash(text)
		switch {
		case n >= len(known):
			if err := g.add(leaf); err != nil {
				return fmt.Errorf("build the tree of the ledger's copy: %w", err)
			}
		case !bytes.Equal(known[n], leaf):
			at := first + uint64(n)
			return tampered(at, at, "entry %d is not the one that was read here %s", at, m.when())
		}
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(text))), text...)
		leaves = append(leaves, leaf...)
	}
	p := layout.PartialTileSize(0, i, size)
	if err := m.put(layout.EntriesPath(i, p), bundle); err != nil {
		return err
	}
	return m.put(layout.TilePath(0, i, p), leaves)
}

// put writes a file of the copy. What a crash leaves of it is fetched anew: nothing
// counts before a checkpoint commits to it.
func (m *mirror) put(place string, content []byte) error {
	path := m.path(place)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the ledger's copy: %w", err)
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("write the ledger's copy: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the ledger's copy: %w", err)
	}
	return nil
}

// growth is the tree of the copy as it grows.
type growth struct {
	tree *compact.Range
	// tiles are those above the lowest that have changed, by level of tiles and index.
	tiles map[compact.NodeID][]byte
}

// growth begins with the tree that the copy has.
func (m *mirror) growth(ctx context.Context) (*growth, error) {
	g := &growth{tree: ranges.NewEmptyRange(0), tiles: map[compact.NodeID][]byte{}}
	size := m.have.Size
	if size == 0 {
		return g, nil
	}
	damaged := func(err error) error {
		return fmt.Errorf("the copy in %s is damaged: %w: move the folder away to begin anew", m.Dir, err)
	}
	root, err := m.store.root(ctx, size)
	if err == nil && !bytes.Equal(root, m.have.Root) {
		err = fmt.Errorf("its hashes are not those of the checkpoint of %d entries", size)
	}
	if err != nil {
		return nil, damaged(err)
	}
	nodes, err := client.FetchRangeNodes(ctx, size, m.store.files.ReadTile)
	if err != nil {
		return nil, damaged(err)
	}
	if g.tree, err = ranges.NewRange(0, size, nodes); err != nil {
		return nil, damaged(err)
	}
	for level := uint64(1); size>>(level*layout.TileHeight) > 0; level++ {
		n := size >> (level * layout.TileHeight)
		i, count := n/layout.TileWidth, n%layout.TileWidth
		if count == 0 {
			continue
		}
		raw, err := m.store.files.ReadTile(ctx, level, i, uint8(count))
		if err != nil || uint64(len(raw)) < count*hashSize {
			return nil, damaged(fmt.Errorf("its tile %d of level %d can't be read: %w", i, level, err))
		}
		g.tiles[compact.NodeID{Level: uint(level), Index: i}] = bytes.Clone(raw[:count*hashSize])
	}
	return g, nil
}

func (g *growth) add(leaf []byte) error {
	return g.tree.Append(leaf, func(id compact.NodeID, hash []byte) {
		if id.Level == 0 || id.Level%layout.TileHeight != 0 {
			return
		}
		tile := compact.NodeID{Level: id.Level / layout.TileHeight, Index: id.Index / layout.TileWidth}
		g.tiles[tile] = append(g.tiles[tile], hash...)
	})
}

// writeTiles writes the hashes above the lowest level, and removes what whole tiles
// have taken the place of.
func (m *mirror) writeTiles(g *growth, size uint64) error {
	for id, content := range g.tiles {
		level := uint64(id.Level)
		if err := m.put(layout.TilePath(level, id.Index, layout.PartialTileSize(level, id.Index, size)), content); err != nil {
			return err
		}
	}
	for level := uint64(0); size>>(level*layout.TileHeight) > 0; level++ {
		i := (m.have.Size >> (level * layout.TileHeight)) / layout.TileWidth
		if size>>(level*layout.TileHeight) < (i+1)*layout.TileWidth {
			continue // it is not whole
		}
		_ = os.RemoveAll(m.path(layout.TilePath(level, i, 0)) + ".p")
		if level == 0 {
			_ = os.RemoveAll(m.path(layout.EntriesPath(i, 0)) + ".p")
		}
	}
	return nil
}

// diagnose says what is wrong where the entries do not give the root that was
// signed: with the tree as the ledger gives it, what was read before was rewritten,
// or the entries that came are not those of the tree.
func (m *mirror) diagnose(ctx context.Context, next Checkpoint) error {
	tile := func(ctx context.Context, level, i uint64, p uint8) ([]byte, error) {
		raw, err := m.Fetch(ctx, layout.TilePath(level, i, p))
		if p != 0 && errNotThere(err) {
			raw, err = m.Fetch(ctx, layout.TilePath(level, i, 0))
		}
		return raw, err
	}
	if old := m.have; old.Size > 0 {
		var hashes [][]byte
		builder, err := client.NewProofBuilder(ctx, next.Size, tile)
		if err == nil {
			hashes, err = builder.ConsistencyProof(ctx, old.Size, next.Size)
		}
		if err != nil || proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, next.Size, hashes, old.Root, next.Root) != nil {
			return tampered(0, old.Size-1, "it does not go on from the %d entries that were read here %s: it was rewritten", old.Size, m.when())
		}
	}
	for i := m.have.Size / layout.TileWidth; i*layout.TileWidth < next.Size; i++ {
		p := layout.PartialTileSize(0, i, next.Size)
		ours, err := m.store.files.ReadTile(ctx, 0, i, p)
		if err != nil {
			return fmt.Errorf("read the ledger's copy: %w", err)
		}
		theirs, err := tile(ctx, 0, i, p)
		if err != nil {
			break
		}
		for n := 0; n+hashSize <= len(ours); n += hashSize {
			if at := i*layout.TileWidth + uint64(n/hashSize); n+hashSize > len(theirs) || !bytes.Equal(ours[n:n+hashSize], theirs[n:n+hashSize]) {
				return tampered(at, at, "entry %d is not the one that was recorded: it was changed, moved or left out", at)
			}
		}
	}
	return tampered(m.have.Size, next.Size-1, "the entries from %d up to %d are not those that its checkpoint commits to", m.have.Size, next.Size-1)
}
