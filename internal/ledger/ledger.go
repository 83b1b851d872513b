// Package ledger is the record of what happened, which nobody rewrites without
// being noticed: a transparency log (tlog-tiles, kept by Tessera in files) with
// signed checkpoints, and an index to find entries in, which is copied from the
// log and can be lost.
//
// It knows how entries are kept, found and verified. It knows neither who makes
// them nor what they mean: that is the business of packages entry and report.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/storage/posix"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// Entry is one record.
type Entry = entry.Entry

// Options are how a ledger is kept.
type Options struct {
	// Dir is the ledger's folder. It is made if it does not exist.
	Dir string
	// Postgres is the address of the database of the index. Where it is empty the
	// index is a SQLite file in the folder.
	Postgres string
	// CheckpointInterval is how long an entry waits at most for its signature.
	CheckpointInterval time.Duration
	// OnCheckpoint is called with each checkpoint that was published, one after
	// the other, to keep it where whoever can write to Dir cannot.
	OnCheckpoint func(Checkpoint)
	// Reserve is how many bytes must be free for the ledger to be healthy: room
	// to record how what has begun ends.
	Reserve uint64
	Log     *slog.Logger
	// Now is the clock for entries that have no time.
	Now func() time.Time
}

const (
	defaultInterval = 500 * time.Millisecond
	defaultReserve  = 64 << 20

	batchSize = layout.EntryBundleWidth

	// shutdownTimeout is how long Close waits for the last checkpoint.
	shutdownTimeout = 10 * time.Second
)

func (o Options) withDefaults() Options {
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = defaultInterval
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnCheckpoint == nil {
		o.OnCheckpoint = func(Checkpoint) {}
	}
	return o
}

// ErrHeld tells that another process has the ledger open for writing.
var ErrHeld = errors.New("another process has the ledger open")

// ErrClosed tells that the ledger was closed.
var ErrClosed = errors.New("the ledger is closed")

// Ledger is an open ledger. One process at a time has it.
type Ledger struct {
	options Options
	keys    Keys
	store   store
	signer  *signer
	chain   *chain
	lock    *flock.Flock

	add        tessera.AddFn
	integrated func(context.Context) (uint64, error)
	shutdown   func(context.Context) error
	cancel     context.CancelFunc

	closing  sync.RWMutex // held for writing by Close
	closed   bool
	pending  sync.WaitGroup
	requests chan request    // to the batcher
	batched  chan struct{}   // closed when the batcher has ended
	news     chan struct{}   // has a token when the journal has something new
	flushes  chan chan error // to the sequencer
	// sequenced is closed when the sequencer has ended; last says why it has left
	// something in the journal.
	sequenced chan struct{}
	last      error
	followed  chan struct{} // closed when the follower has ended

	journal *journal
	// taken are the entries, from the index takenFrom on, that are being put into the
	// log. Only the sequencer has them.
	taken     [][]byte
	takenFrom uint64

	faults faults
	index  *index.Index // the follower's until it is set
	mu     sync.Mutex   // guards index
}

// Open opens the ledger in a folder for writing, and makes one where there is
// none. It refuses a log that does not agree with its last checkpoint, and never
// mends one: what is wrong with it is for somebody to see.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	o = o.withDefaults()
	if o.CheckpointInterval < 100*time.Millisecond {
		return nil, errors.New("open the ledger: checkpoints are published every 100 ms at most")
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, logDir), 0o700); err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	l := &Ledger{
		options: o, store: newStore(o.Dir), lock: flock.New(filepath.Join(o.Dir, lockFile)),
		followed: make(chan struct{}), batched: make(chan struct{}), requests: make(chan request, batchSize),
		news: make(chan struct{}, 1), flushes: make(chan chan error), sequenced: make(chan struct{}),
	}
	held, err := l.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	if !held {
		return nil, fmt.Errorf("open the ledger in %s: %w: stop it first, or read with `plumb audit`", o.Dir, ErrHeld)
	}
	first, err := l.start(ctx)
	if err != nil {
		l.abandon()
		return nil, fmt.Errorf("open the ledger in %s: %w", o.Dir, err)
	}
	go l.follow()
	go l.batch()
	go l.sequence()
	if first {
		_, err := l.Append(ctx, Entry{Kind: entry.LedgerOpened, Actor: entry.Actor{User: "plumb"}, Message: "the ledger begins", Details: map[string]string{"origin": l.keys.origin, "key": l.keys.Latest()}})
		if err != nil {
			return nil, errors.Join(err, l.Close(ctx))
		}
	}
	return l, nil
}

// start opens the parts, and tells whether the log is empty.
func (l *Ledger) start(ctx context.Context) (bool, error) {
	dir := l.options.Dir
	fresh, err := l.store.fresh()
	if err != nil {
		return false, err
	}
	if fresh {
		if fresh, err = noChain(dir); err != nil {
			return false, err
		}
		if !fresh {
			return false, errors.New("checkpoints were published, but the log is gone: bring it back, or move the folder away to begin a new ledger")
		}
	}
	key, err := loadKey(dir, fresh)
	if err != nil {
		return false, err
	}
	if err := addPublic(dir, key.public); err != nil {
		return false, err
	}
	if l.keys, err = ReadKeys(filepath.Join(dir, publicFile)); err != nil {
		return false, err
	}
	var last Checkpoint
	if !fresh {
		if last, err = l.lastPublished(ctx); err != nil {
			return false, err
		}
	}
	if l.chain, err = openChain(dir); err != nil {
		return false, err
	}
	l.signer = newSigner(key.signer, l.store, last, l.faults.set)
	return l.startAppender(ctx, last)
}

func noChain(dir string) (bool, error) {
	none := true
	err := readChain(dir, func(int, []byte) error { none = false; return nil })
	return none, err
}

// lastPublished reads the published checkpoint, and refuses one that is older
// than others that were.
func (l *Ledger) lastPublished(ctx context.Context) (Checkpoint, error) {
	last, err := l.store.checkpoint(ctx, l.keys)
	if err != nil {
		return last, err
	}
	return last, readChain(l.options.Dir, func(_ int, raw []byte) error {
		c, err := parseCheckpoint(raw, l.keys)
		if err == nil && c.Size > last.Size {
			return fmt.Errorf("the checkpoint is of %d entries, but one of %d was published: the ledger was put back to an earlier day", last.Size, c.Size)
		}
		return nil // what is not a checkpoint, `plumb audit verify` names
	})
}

func (l *Ledger) startAppender(ctx context.Context, last Checkpoint) (bool, error) {
	running, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	driver, err := posix.New(running, posix.Config{Path: l.store.dir})
	if err != nil {
		return false, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(l.signer).
		WithCheckpointInterval(l.options.CheckpointInterval).
		WithCheckpointRepublishInterval(0).
		WithBatching(batchSize, handOver).
		WithShutdownTimeout(shutdownTimeout)
	still := &quiet{driver: driver}
	appender, shutdown, _, err := tessera.NewAppender(running, still, options)
	if err != nil {
		return false, err
	}
	reader := still.reader
	l.add, l.shutdown, l.integrated = appender.Add, shutdown, reader.IntegratedSize
	size, err := reader.IntegratedSize(ctx)
	if err != nil {
		return false, err
	}
	if err := l.check(ctx, last, size); err != nil {
		return false, err
	}
	if l.journal, err = openJournal(l.options.Dir, size); err != nil {
		return false, err
	}
	return l.journal.next == 0, l.drainOnce()
}

// check tells with an error if the log of this size does not go on from the last
// checkpoint.
func (l *Ledger) check(ctx context.Context, last Checkpoint, size uint64) error {
	if size == 0 && last.Size == 0 {
		return nil
	}
	root, err := l.store.root(ctx, size)
	if err != nil {
		return err
	}
	if err := l.store.consistent(ctx, last, size, root); err != nil {
		return err
	}
	return l.store.checkTail(ctx, min(last.Size, size-1), size)
}

// abandon closes what start has opened.
func (l *Ledger) abandon() {
	if l.cancel != nil {
		l.cancel()
	}
	if l.chain != nil {
		_ = l.chain.close()
	}
	if l.journal != nil {
		_ = l.journal.close()
	}
	_ = l.lock.Unlock()
}

// Keys are the public keys of the log.
func (l *Ledger) Keys() Keys { return l.keys }

// Append records entries, all or none of them, one directly after the other, and
// gives the index of the first. When it returns without an error they are in the
// journal, and the disk has it: no crash loses them. The log takes them from there,
// and the signed checkpoint that commits to them follows within the checkpoint
// interval after that; neither is waited for, since both are done for all entries
// of a while. Where the context ends first, or the disk fails, the entries may be
// recorded all the same.
//
// The index need not work for it: Health tells.
func (l *Ledger) Append(ctx context.Context, entries ...Entry) (uint64, error) {
	if len(entries) == 0 {
		return 0, nil
	}
	what := entries[0].Kind
	raw := make([][]byte, len(entries))
	for i, e := range entries {
		if e.Time.IsZero() {
			e.Time = l.options.Now()
		}
		var err error
		if raw[i], err = entry.Encode(entry.Clean(e)); err != nil {
			return 0, fmt.Errorf("record %s: %w", e.Kind, err)
		}
	}
	l.closing.RLock()
	if l.closed {
		l.closing.RUnlock()
		return 0, fmt.Errorf("record %s: %w", what, ErrClosed)
	}
	l.pending.Add(1)
	l.closing.RUnlock()

	r := request{raw, make(chan answer, 1)}
	select {
	case l.requests <- r:
	case <-ctx.Done():
		l.pending.Done()
		return 0, fmt.Errorf("record %s in the ledger: %w", what, context.Cause(ctx))
	}
	select {
	case a := <-r.answer:
		if a.err != nil {
			return 0, fmt.Errorf("record %s in the ledger: %w", what, a.err)
		}
		return a.index, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("record %s in the ledger: %w (it may be recorded all the same)", what, context.Cause(ctx))
	}
}

// Close records what is pending, publishes the last checkpoint and gives the
// ledger free.
func (l *Ledger) Close(ctx context.Context) error {
	l.closing.Lock()
	if l.closed {
		l.closing.Unlock()
		return nil
	}
	l.closed = true
	l.closing.Unlock()

	l.pending.Wait()
	close(l.requests)
	<-l.sequenced
	err := l.shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("publish the ledger's last checkpoint: %w", err)
	}
	if l.last != nil {
		err = errors.Join(err, fmt.Errorf("entries stay in the ledger's journal until it is opened again: %w", l.last))
	}
	l.signer.stop()
	<-l.followed
	l.cancel()
	err = errors.Join(err, l.chain.close(), l.journal.close(), l.lock.Unlock())
	if x := l.currentIndex(); x != nil {
		err = errors.Join(err, x.Close())
	}
	if err != nil {
		return fmt.Errorf("close the ledger: %w", err)
	}
	return nil
}

// describe says where the index is, without a password.
func (o Options) describe() string {
	if o.Postgres != "" {
		return "the PostgreSQL database"
	}
	return strings.TrimSpace(filepath.Join(o.Dir, indexFile))
}
