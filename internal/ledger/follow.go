package ledger

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// How often what has failed is tried again.
const (
	retryFirst = 500 * time.Millisecond
	retryMost  = 15 * time.Second
	// justSigned is how long a checkpoint takes from its signature to its file.
	justSigned = 5 * time.Millisecond
	// neverPublished is when it is taken for one that cannot be written.
	neverPublished = 5 * time.Second
)

// follow hands on each checkpoint that is published, and copies into the index
// what it commits to, until the ledger is closed.
func (l *Ledger) follow() {
	defer close(l.followed)
	f := follower{l: l, wait: retryFirst}
	open := true
	for {
		done := f.step()
		if done && !open {
			return
		}
		var again <-chan time.Time
		if !done {
			if !open && l.faults.all() != nil {
				return // it is closed and fails: the next one catches up
			}
			again = time.After(f.pause())
		}
		signed := l.signer.signed
		if !open {
			signed = nil
		}
		select {
		case _, open = <-signed:
		case <-again:
		}
	}
}

// follower is how far everything has followed.
type follower struct {
	l      *Ledger
	handed uint64 // the size of the checkpoint that was handed on last
	wait   time.Duration
	late   time.Duration // how long the signed checkpoint's file was waited for
}

// pause is how long to wait before the next try: longer each time it fails.
func (f *follower) pause() time.Duration {
	if f.late > 0 {
		return f.late
	}
	wait := f.wait
	f.wait = min(2*wait, retryMost)
	return wait
}

// step does what there is to do, and tells whether that was all.
func (f *follower) step() bool {
	l := f.l
	l.probe()
	published, err := l.store.checkpoint(context.Background(), l.keys)
	if err != nil {
		l.faults.set(faultChain, err)
		return false
	}
	if published.Size > f.handed {
		err := l.chain.add(l.options.Now(), published.Note)
		if l.faults.set(faultChain, err); err != nil {
			return false
		}
		f.handed = published.Size
		l.options.OnCheckpoint(published)
	} else if f.late < neverPublished {
		l.faults.set(faultChain, nil)
	}
	err = l.catchUp(context.Background(), published.Size)
	l.noteIndex(err)
	if err != nil {
		return false
	}
	if signed := l.signer.size(); published.Size < signed {
		if f.late = max(justSigned, 2*f.late); f.late > neverPublished {
			f.late = neverPublished
			l.faults.set(faultChain, fmt.Errorf("the checkpoint of %d entries was signed, but is not published", signed))
		}
		return false
	}
	f.late = 0
	if l.faults.get(faultAppend) != nil {
		return false
	}
	f.wait = retryFirst
	return true
}

func (l *Ledger) noteIndex(err error) {
	before := l.faults.get(faultIndex)
	switch {
	case err != nil && before == nil:
		l.options.Log.Error("the ledger's index does not follow", "index", l.options.describe(), "err", err)
	case err == nil && before != nil:
		l.options.Log.Info("the ledger's index follows again")
	}
	l.faults.set(faultIndex, err)
}

// catchUp copies entries up to a size into the index, and opens it before where
// that has not happened.
func (l *Ledger) catchUp(ctx context.Context, size uint64) error {
	x := l.currentIndex()
	if x == nil {
		var err error
		if x, err = l.openIndex(ctx); err != nil {
			return err
		}
		l.mu.Lock()
		l.index = x
		l.mu.Unlock()
	}
	if err := l.copyInto(ctx, x, size); err != nil {
		l.mu.Lock() // it is opened, and looked at, anew
		l.index = nil
		l.mu.Unlock()
		return joinClose(err, x)
	}
	return nil
}

func (l *Ledger) copyInto(ctx context.Context, x *index.Index, size uint64) error {
	at, err := x.Size(ctx)
	if err != nil {
		return err
	}
	for at < size {
		rows, err := l.store.rows(ctx, at, size, size)
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

func (l *Ledger) currentIndex() *index.Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index
}

// openIndex opens the index. One that cannot be read, or does not end as the log
// does at that place, is made anew: the log is the truth.
func (l *Ledger) openIndex(ctx context.Context) (*index.Index, error) {
	if l.options.Postgres != "" {
		x, err := index.OpenPostgres(ctx, l.options.Postgres, l.keys.origin)
		if err != nil {
			return nil, err
		}
		return l.agreeing(ctx, x)
	}
	file := filepath.Join(l.options.Dir, indexFile)
	x, err := index.OpenSQLite(ctx, file, l.keys.origin)
	if err == nil {
		x, err = l.agreeing(ctx, x)
	}
	if err == nil {
		return x, nil
	}
	l.options.Log.Warn("the ledger's index is made anew from the log", "err", err)
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(file + end); err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("remove the broken index: %w", err)
		}
	}
	return index.OpenSQLite(ctx, file, l.keys.origin)
}

// agreeing empties an index whose last entry is not the log's.
func (l *Ledger) agreeing(ctx context.Context, x *index.Index) (*index.Index, error) {
	agrees, err := l.agrees(ctx, x)
	if err == nil && !agrees {
		l.options.Log.Warn("the ledger's index does not agree with the log: it is made anew from it")
		err = x.Reset(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("check the index: %w", joinClose(err, x))
	}
	return x, nil
}

func (l *Ledger) agrees(ctx context.Context, x *index.Index) (bool, error) {
	size, err := x.Size(ctx)
	if err != nil || size == 0 {
		return true, err
	}
	total, err := l.integrated(ctx)
	if err != nil {
		return false, err
	}
	if size > total {
		return false, nil
	}
	rows, err := l.store.rows(ctx, size-1, size, total)
	if err != nil {
		return false, err
	}
	leaf, err := x.Leaf(ctx, size-1)
	return bytes.Equal(leaf, rows[0].Leaf), err
}

func joinClose(err error, x *index.Index) error {
	_ = x.Close()
	return err
}
