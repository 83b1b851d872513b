package ledger

import (
	"context"
	"fmt"
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
		if x, err = l.indexing().open(ctx); err != nil {
			return err
		}
		l.mu.Lock()
		l.index = x
		l.mu.Unlock()
	}
	if err := l.indexing().copyInto(ctx, x, size); err != nil {
		l.mu.Lock() // it is opened, and looked at, anew
		l.index = nil
		l.mu.Unlock()
		return joinClose(err, x)
	}
	return nil
}

func (l *Ledger) indexing() indexing {
	return indexing{dir: l.options.Dir, postgres: l.options.Postgres, origin: l.keys.origin, store: l.store, total: l.integrated, log: l.options.Log}
}

func (l *Ledger) currentIndex() *index.Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index
}

func joinClose(err error, x *index.Index) error {
	_ = x.Close()
	return err
}
