package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/tessera/api/layout"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// VerifyOptions are what a ledger is verified with.
type VerifyOptions struct {
	// Dir is the ledger's folder, or a copy of it. It is only read.
	Dir string
	// Keys are the public keys, known from elsewhere. Without them those in the
	// folder are taken, which whoever could change the entries could change too.
	Keys *Keys
	// Witness is a checkpoint of this ledger that was kept elsewhere: only it
	// shows what somebody did who has the private key.
	Witness []byte
	// Postgres is the address of the index, if it is not in the folder.
	Postgres string
}

// Finding is something that is not as it was recorded.
type Finding struct {
	// First and Last are the entries that it is about: one, or all among which
	// the wrong one is.
	First, Last uint64
	What        string
}

// Verdict is what was verified, and what is wrong.
type Verdict struct {
	Checkpoint  Checkpoint // the latest that is properly signed
	Origin      string
	KnownKeys   bool    // the keys are not those of the folder
	Witness     *uint64 // the size that the witness knew, where there was one
	Checkpoints int     // how many properly signed ones the log agrees with
	Indexed     *uint64 // how many entries of the index agree; nil without an index
	Findings    []Finding
}

// TamperedError tells that a ledger is not as it was recorded.
type TamperedError struct{ Findings []Finding }

func (e *TamperedError) Error() string {
	return "the ledger was tampered with: " + e.Findings[0].What
}

// Err is a *TamperedError if something is wrong.
func (v *Verdict) Err() error {
	if len(v.Findings) == 0 {
		return nil
	}
	return &TamperedError{v.Findings}
}

// Verify checks a whole ledger offline: the hashes of all entries, the tree
// above them, the signatures of all checkpoints that were published, that the
// log grew from each to the next and from the witness's, and that the index
// says what the log says. It may be used while the ledger is written to. Its
// error is for what keeps it from verifying; what is wrong is in the verdict.
func Verify(ctx context.Context, o VerifyOptions) (Verdict, error) {
	v := verifier{store: newStore(o.Dir)}
	if err := v.loadKeys(o); err != nil {
		return v.verdict, err
	}
	// From what follows to what goes ahead: all of it may grow meanwhile.
	if err := v.openIndex(ctx, o); err != nil {
		return v.verdict, err
	}
	defer v.closeIndex()
	if err := v.readMarks(ctx, o); err != nil {
		return v.verdict, err
	}
	if err := v.walk(ctx); err != nil {
		return v.verdict, err
	}
	v.compareSizes()
	v.verdict.Findings = exactFirst(v.verdict.Findings)
	return v.verdict, nil
}

// exactFirst sorts by the first entry that is wrong. What is said of many entries
// comes after what is said of one among them.
func exactFirst(findings []Finding) []Finding {
	exact := func(f Finding) uint64 {
		first := f.First
		for _, g := range findings {
			if g.First == g.Last && g.First >= f.First && g.First <= f.Last && (first == f.First || g.First < first) {
				first = g.First
			}
		}
		return first
	}
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(exact(a), exact(b)), cmp.Compare(a.Last-min(a.First, a.Last), b.Last-min(b.First, b.Last)))
	})
	return sorted
}

// mark is a size at which the root of the tree is known.
type mark struct {
	Checkpoint
	of string
}

type verifier struct {
	store   store
	keys    Keys
	verdict Verdict

	marks     []mark // sorted by size
	published *Checkpoint

	index     *index.Index
	indexed   uint64
	differs   bool // the index, somewhere
	badLeaf   bool // an entry and its hash, somewhere
	lastGood  uint64
	badMark   bool
	stoppedAt *uint64 // the entry from which on nothing can be read
}

func (v *verifier) found(first, last uint64, format string, args ...any) {
	v.verdict.Findings = append(v.verdict.Findings, Finding{first, last, fmt.Sprintf(format, args...)})
}

func (v *verifier) loadKeys(o VerifyOptions) error {
	if o.Keys != nil {
		v.keys, v.verdict.KnownKeys = *o.Keys, true
	} else {
		keys, err := ReadKeys(filepath.Join(o.Dir, publicFile))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no ledger in %s: it has no %s", o.Dir, publicFile)
		}
		if err != nil {
			return err
		}
		v.keys = keys
	}
	v.verdict.Origin = v.keys.origin
	return nil
}

func (v *verifier) openIndex(ctx context.Context, o VerifyOptions) error {
	x, err := readIndex(ctx, o.Dir, o.Postgres, v.keys.origin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && o.Postgres != "" {
		return err // it cannot be reached
	}
	if err == nil {
		v.indexed, err = x.Size(ctx)
	}
	if err != nil {
		v.found(0, 0, "the index cannot be read (%v): remove it, and it is made anew", err)
		return nil
	}
	v.index, v.verdict.Indexed = x, new(uint64)
	return nil
}

func (v *verifier) closeIndex() {
	if v.index != nil {
		_ = v.index.Close()
	}
}

// readMarks collects all checkpoints, and judges their signatures.
func (v *verifier) readMarks(ctx context.Context, o VerifyOptions) error {
	if o.Witness != nil {
		c, err := parseCheckpoint(o.Witness, v.keys)
		if err != nil {
			v.found(0, 0, "the witness's checkpoint does not fit the key: %v: the key was replaced, or the checkpoint is of another ledger", err)
		} else {
			v.verdict.Witness = &c.Size
			v.marks = append(v.marks, mark{c, "the witness's checkpoint"})
		}
	}
	before := uint64(0)
	err := readChain(o.Dir, func(line int, raw []byte) error {
		c, err := parseCheckpoint(raw, v.keys)
		if err != nil {
			v.found(before, before, "line %d of the published checkpoints was changed: %v", line, err)
			return nil
		}
		if c.Size < before {
			v.found(c.Size, before, "line %d of the published checkpoints is of %d entries, after one of %d: the ledger was put back to an earlier day, or lines were moved", line, c.Size, before)
		}
		before = max(before, c.Size)
		v.marks = append(v.marks, mark{c, fmt.Sprintf("the published checkpoint in line %d", line)})
		return nil
	})
	if err != nil {
		return err
	}
	switch c, err := v.store.checkpoint(ctx, v.keys); {
	case errors.Is(err, fs.ErrNotExist):
		v.found(before, before, "the log's checkpoint is gone")
	case err != nil:
		v.found(before, before, "the log's checkpoint was replaced: %v", err)
	default:
		v.published = &c
		v.marks = append(v.marks, mark{c, "the log's checkpoint"})
	}
	slices.SortStableFunc(v.marks, func(a, b mark) int { return cmp.Compare(a.Size, b.Size) })
	if len(v.marks) > 0 {
		v.verdict.Checkpoint = v.marks[len(v.marks)-1].Checkpoint
	}
	return nil
}

// walk reads all entries and builds the tree from them.
func (v *verifier) walk(ctx context.Context) error {
	size := v.verdict.Checkpoint.Size
	tree := newTree(v.store, size)
	v.checkMarks(tree)
	for i := uint64(0); i*layout.EntryBundleWidth < size; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		whole, err := v.bundle(ctx, tree, i, size)
		if err != nil {
			return err
		}
		if !whole {
			return nil // nothing after it can be judged
		}
	}
	if level, at, ok := tree.checkUpper(ctx); !ok {
		first := at << (level * layout.TileHeight)
		v.found(min(first, size-1), size-1, "the tree's hashes above entry %d (level %d) were changed; the entries are not affected", first, level)
	}
	return nil
}

// bundle verifies a bundle of entries, and tells whether all of it was there.
func (v *verifier) bundle(ctx context.Context, tree *tree, i, size uint64) (bool, error) {
	first := i * layout.EntryBundleWidth
	entries, err := v.store.bundle(ctx, i, size)
	if err != nil {
		missing := first + uint64(len(entries))
		v.stoppedAt = &missing
		v.found(missing, size-1, "%v: entries were cut off, or a file is damaged", err)
	}
	leaves, leavesErr := v.store.leaves(ctx, i, size)
	if leavesErr != nil && !v.badLeaf && len(entries) > 0 {
		v.badLeaf = true
		v.found(first, first, "%v: hashes of the tree are missing", leavesErr)
	}
	var rows []index.Row
	for n, raw := range entries {
		at := first + uint64(n)
		leaf := leafHash(raw)
		if !v.badLeaf && (n >= len(leaves) || !bytes.Equal(leaves[n], leaf)) {
			v.badLeaf = true
			v.found(at, at, "entry %d is not the one that was recorded: it was changed, moved or left out", at)
		}
		e, decodeErr := entry.Decode(raw)
		if decodeErr != nil {
			v.found(at, at, "entry %d: %v", at, decodeErr)
		}
		e.Index = at
		if at < v.indexed && decodeErr == nil {
			rows = append(rows, index.Row{Entry: e, Raw: raw, Leaf: leaf})
		}
		if err := tree.add(leaf); err != nil {
			return false, fmt.Errorf("build the tree: %w", err)
		}
		v.checkMarks(tree)
	}
	return err == nil, v.compareIndex(ctx, rows)
}

// checkMarks compares the tree with the checkpoints of its size.
func (v *verifier) checkMarks(t *tree) {
	for len(v.marks) > 0 && v.marks[0].Size == t.size() {
		m := v.marks[0]
		v.marks = v.marks[1:]
		root, err := t.root()
		switch {
		case err == nil && bytes.Equal(root, m.Root):
			if !v.badMark {
				v.lastGood = m.Size
				v.verdict.Checkpoints++
			}
		case !v.badMark:
			v.badMark = true
			if m.Size <= v.lastGood { // the entries agree with another checkpoint of this size
				v.found(max(m.Size, 1)-1, max(m.Size, 1)-1, "two checkpoints of %d entries do not agree: %s is of another history", m.Size, m.of)
				continue
			}
			v.found(v.lastGood, m.Size-1, "the entries from %d up to %d are not those that %s commits to: at least one was changed, moved or left out", v.lastGood, m.Size-1, m.of)
		}
	}
}

func (v *verifier) compareIndex(ctx context.Context, rows []index.Row) error {
	if v.index == nil || v.differs || len(rows) == 0 {
		return nil
	}
	d, err := v.index.Compare(ctx, rows)
	if err != nil {
		return err
	}
	if d != nil {
		v.differs = true
		v.found(d.Index, d.Index, "entry %d %s: one of the two was changed", d.Index, d.What)
		return nil
	}
	*v.verdict.Indexed += uint64(len(rows))
	return nil
}

// compareSizes says what is shorter than something that followed it.
func (v *verifier) compareSizes() {
	size := v.verdict.Checkpoint.Size
	if p := v.published; p != nil && p.Size < size {
		v.found(p.Size, size-1, "the log's checkpoint is of %d entries, but one of %d was signed: entries were cut off, or an older checkpoint was put in its place", p.Size, size)
	}
	if v.indexed > size {
		v.found(size, v.indexed-1, "the index has %d entries, but the log has %d: entries were cut off, or the index was changed", v.indexed, size)
	}
}

// tree is the Merkle tree as the entries make it.
type tree struct {
	store  store
	total  uint64
	leaves *compact.Range
	upper  map[compact.NodeID][]byte // hashes of the tiles above the lowest, by level of tiles and index
}

func newTree(s store, total uint64) *tree {
	return &tree{store: s, total: total, leaves: ranges.NewEmptyRange(0), upper: map[compact.NodeID][]byte{}}
}

func (t *tree) size() uint64 { return t.leaves.End() }

func (t *tree) add(leaf []byte) error {
	return t.leaves.Append(leaf, func(id compact.NodeID, hash []byte) {
		if id.Level == 0 || id.Level%layout.TileHeight != 0 {
			return
		}
		tile := compact.NodeID{Level: id.Level / layout.TileHeight, Index: id.Index / layout.TileWidth}
		t.upper[tile] = append(t.upper[tile], hash...)
	})
}

func (t *tree) root() ([]byte, error) {
	if t.size() == 0 {
		return t.store.root(context.Background(), 0)
	}
	return t.leaves.GetRootHash(nil)
}

// checkUpper compares the tiles above the lowest with those in the files, and
// gives the first that differs.
func (t *tree) checkUpper(ctx context.Context) (level, at uint64, ok bool) {
	ids := make([]compact.NodeID, 0, len(t.upper))
	for id := range t.upper {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b compact.NodeID) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Index, b.Index))
	})
	for _, id := range ids {
		want := t.upper[id]
		level := uint64(id.Level)
		got, err := t.store.files.ReadTile(ctx, level, id.Index, layout.PartialTileSize(level, id.Index, t.total))
		if err != nil || len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
			return level, id.Index * layout.TileWidth, false
		}
	}
	return 0, 0, true
}
