package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/transparency-dev/tessera/api/layout"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// Fetch gives what a ledger elsewhere has at a place, as ReadPublic does there. What
// is not there is an error that wraps fs.ErrNotExist. It may be called by several
// goroutines at once.
type Fetch func(ctx context.Context, place string) ([]byte, error)

// MirrorOptions are how a ledger elsewhere is copied.
type MirrorOptions struct {
	// Dir is the copy's folder. It is made if it does not exist.
	Dir   string
	Fetch Fetch
	// Keys are public keys known from elsewhere: only what they have signed, or who
	// follows them, counts. Without them those of the copy are taken, and the first
	// time those that the ledger itself gives.
	Keys *Keys
	// Progress is told how many entries have come.
	Progress func(entries, of uint64)
	Log      *slog.Logger
	Now      func() time.Time
}

// Mirrored is what a copy has become.
type Mirrored struct {
	Checkpoint Checkpoint
	Keys       Keys
	// Before is how many entries the copy had, and First tells that it had none, nor
	// anything else to trust.
	Before uint64
	First  bool
}

// Mirror makes the copy of a ledger in a folder have what the ledger has now: a
// folder that can be read and verified like the ledger's own. Only what is new is
// fetched. All of it is verified before the copy commits to it: that the checkpoint
// is signed by a key that is trusted, that the ledger still begins with all that was
// copied before, and that the entries are those that the checkpoint commits to.
// Otherwise it gives a *TamperedError, and the copy stays as it was. So whoever reads
// a ledger now and then finds out when it was rewritten, whoever has the key.
func Mirror(ctx context.Context, o MirrorOptions) (Mirrored, error) {
	o = o.withDefaults()
	if _, err := os.Lstat(filepath.Join(o.Dir, keyFile)); err == nil {
		return Mirrored{}, fmt.Errorf("%s is the folder of a ledger itself, and no copy: name another one with --dir", o.Dir)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, logDir), 0o700); err != nil {
		return Mirrored{}, fmt.Errorf("copy the ledger: %w", err)
	}
	lock := flock.New(filepath.Join(o.Dir, lockFile))
	if _, err := lock.TryLockContext(ctx, lockPause); err != nil {
		return Mirrored{}, fmt.Errorf("copy the ledger into %s: %w", o.Dir, err)
	}
	defer func() { _ = lock.Unlock() }() // it ends with the process at the latest
	m := mirror{MirrorOptions: o, store: newStore(o.Dir)}
	if err := m.load(ctx); err != nil {
		return Mirrored{}, err
	}
	done := Mirrored{Before: m.have.Size, First: m.first}
	next, err := m.latest(ctx)
	if err != nil {
		return Mirrored{}, err
	}
	if err := m.advance(ctx, next); err != nil {
		return Mirrored{}, err
	}
	done.Checkpoint, done.Keys = m.have, m.keys
	return done, m.index(ctx)
}

const lockPause = 100 * time.Millisecond

func (o MirrorOptions) withDefaults() MirrorOptions {
	if o.Progress == nil {
		o.Progress = func(uint64, uint64) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// mirror is a copy that is brought up to date.
type mirror struct {
	MirrorOptions
	store store
	keys  Keys       // those that are trusted
	have  Checkpoint // what the copy commits to; none has no entries
	since time.Time  // when that was fetched
	first bool
}

// load finds what is trusted: keys, and the checkpoint that was fetched last.
func (m *mirror) load(ctx context.Context) error {
	known, err := ReadKeys(filepath.Join(m.Dir, publicFile))
	if err != nil && !errNotThere(err) {
		return fmt.Errorf("the copy in %s can't be used: %w", m.Dir, err)
	}
	m.keys = known
	switch there := err == nil; {
	case m.Keys != nil && there && known.origin != m.Keys.origin:
		return m.another(known.origin, m.Keys.origin)
	case m.Keys != nil:
		m.keys = *m.Keys
	case !there:
		m.first = true
		if m.keys, err = m.servedKeys(ctx); err != nil {
			return err
		}
	}
	raw, err := m.store.files.ReadCheckpoint(ctx)
	if errNotThere(err) {
		return nil
	}
	if err == nil {
		if m.have, err = parseCheckpoint(raw, m.keys); err != nil && known.verifiers != nil {
			m.have, err = parseCheckpoint(raw, known)
		}
	}
	if err != nil {
		return fmt.Errorf("the copy in %s can't be used: %w: move the folder away to begin anew", m.Dir, err)
	}
	if info, err := os.Stat(filepath.Join(m.store.files.Root, layout.CheckpointPath)); err == nil {
		m.since = info.ModTime()
	}
	return nil
}

func (m *mirror) servedKeys(ctx context.Context) (Keys, error) {
	raw, err := m.Fetch(ctx, placeKeys)
	if err != nil {
		return Keys{}, err
	}
	keys, err := ParseKeys(raw)
	if err != nil {
		return Keys{}, fmt.Errorf("what answers is no ledger: its list of public keys: %w", err)
	}
	return keys, nil
}

func (m *mirror) another(known, now string) error {
	return fmt.Errorf("this is another ledger than the one that was read here before: %s, not %s. Where several servers each have a ledger of their own, name a folder for each with --dir; where this one was begun anew, ask why, and move %s away", now, known, m.Dir)
}

// latest fetches the checkpoint that the ledger has now, signed by a key that is
// trusted.
func (m *mirror) latest(ctx context.Context) (Checkpoint, error) {
	raw, err := m.Fetch(ctx, placeCheckpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseCheckpoint(raw, m.keys)
	if err == nil {
		return c, nil
	}
	served, problem := m.servedKeys(ctx)
	if problem != nil {
		return Checkpoint{}, errors.Join(problem, err)
	}
	if served.origin != m.keys.origin {
		return Checkpoint{}, m.another(m.keys.origin, served.origin)
	}
	if err := m.followKeys(ctx); err != nil {
		return Checkpoint{}, err
	}
	if c, err = parseCheckpoint(raw, m.keys); err != nil {
		return Checkpoint{}, fmt.Errorf("%w, and nothing proves that its key follows one that is trusted: ask whoever runs the server for what `plumb audit checkpoint --keys` prints there, and name it with --key", err)
	}
	return c, nil
}

// followKeys trusts keys that those that are trusted have named: a key's last
// checkpoint commits to the entry with the next one.
func (m *mirror) followKeys(ctx context.Context) error {
	raw, err := m.Fetch(ctx, placeHandovers)
	if errNotThere(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var notes []string
	if err := json.Unmarshal(raw, &notes); err != nil {
		return fmt.Errorf("what answers is no ledger: its earlier keys' checkpoints: %w", err)
	}
	for _, text := range notes {
		c, err := parseCheckpoint([]byte(text), m.keys)
		if err != nil || c.Size == 0 {
			continue
		}
		if c.Size >= m.have.Size {
			err = m.advance(ctx, c)
		} else if err = m.store.consistent(ctx, c, m.have.Size, m.have.Root); err != nil { // the copy has it, by keys that were followed before
			err = tampered(0, c.Size-1, "the last checkpoint of an earlier key is of %d other entries than were read here %s: %v", c.Size, m.when(), err)
		}
		if err != nil {
			return err
		}
		rows, err := m.store.rows(ctx, c.Size-1, c.Size, m.have.Size)
		if err != nil {
			return err
		}
		e := rows[0].Entry
		if e.Kind != entry.KeyRotated || slices.Contains(m.keys.texts, e.Details["new"]) {
			continue
		}
		keys, err := ParseKeys([]byte(strings.Join(append(m.keys.Texts(), e.Details["new"]), "\n")))
		if err != nil {
			return fmt.Errorf("entry %d names no key: %w", c.Size-1, err)
		}
		m.keys = keys
	}
	return nil
}

// advance makes the copy commit to a checkpoint that is signed by a trusted key.
func (m *mirror) advance(ctx context.Context, next Checkpoint) error {
	switch {
	case next.Size < m.have.Size:
		return tampered(next.Size, m.have.Size-1, "it has %d entries, but %d were read here %s: it was put back to an earlier day, or entries were cut off", next.Size, m.have.Size, m.when())
	case next.Size == m.have.Size && m.have.Root != nil && string(next.Root) != string(m.have.Root):
		return tampered(0, next.Size-1, "its %d entries are not those that were read here %s: it was rewritten", next.Size, m.when())
	case next.Size > m.have.Size:
		if err := m.grow(ctx, next); err != nil {
			return err
		}
	}
	return m.commit(next)
}

func tampered(first, last uint64, format string, args ...any) error {
	return &TamperedError{[]Finding{{first, last, fmt.Sprintf(format, args...)}}}
}

// when says when the copy was made true last.
func (m *mirror) when() string {
	if m.since.IsZero() {
		return "before"
	}
	return "on " + m.since.Local().Format(time.DateTime)
}

// commit keeps the checkpoint: what it commits to is there.
func (m *mirror) commit(next Checkpoint) error {
	keys := []byte(strings.Join(m.keys.texts, "\n") + "\n")
	if known, err := os.ReadFile(filepath.Join(m.Dir, publicFile)); err != nil || !slices.Equal(known, keys) {
		if err := writeFile(filepath.Join(m.Dir, publicFile), keys, 0o600); err != nil {
			return fmt.Errorf("keep the ledger's public keys: %w", err)
		}
	}
	if string(next.Note) != string(m.have.Note) {
		if err := writeFile(filepath.Join(m.store.files.Root, layout.CheckpointPath), next.Note, 0o600); err != nil {
			return fmt.Errorf("keep the ledger's checkpoint: %w", err)
		}
		chain, err := openChain(m.Dir)
		if err != nil {
			return err
		}
		if err := errors.Join(chain.add(m.Now(), next.Note), chain.close()); err != nil {
			return err
		}
	}
	m.have, m.since = next, m.Now()
	return nil
}

// index copies into the index of the copy what is new.
func (m *mirror) index(ctx context.Context) error {
	n := indexing{
		dir: m.Dir, origin: m.keys.origin, store: m.store, log: m.Log,
		total: func(context.Context) (uint64, error) { return m.have.Size, nil },
	}
	x, err := n.open(ctx)
	if err != nil {
		return fmt.Errorf("index the ledger's copy in %s: %w", m.Dir, err)
	}
	if err := n.copyInto(ctx, x, m.have.Size); err != nil {
		return fmt.Errorf("index the ledger's copy in %s: %w", m.Dir, joinClose(err, x))
	}
	return x.Close()
}

// Seen tells since when there is a copy of a ledger in a folder, and when it was made
// true last. Times are zero where there is none.
func Seen(dir string) (first, last time.Time) {
	_ = readLines(dir, func(_ int, line chained) error {
		if first.IsZero() {
			first = line.At
		}
		last = line.At
		return nil
	})
	return first, last
}
