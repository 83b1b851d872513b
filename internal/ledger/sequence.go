package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
)

const (
	// gather is how long entries wait in the journal at most, before they are put
	// into the log together: a batch costs the disk several files, however many
	// entries it has.
	gather = 250 * time.Millisecond
	// handOver is how long Tessera waits for more: a batch is complete already.
	handOver = 200 * time.Microsecond
)

// sequence puts what is in the journal into the log, until the ledger is closed
// and nothing is left, or what is left can't be put there.
func (l *Ledger) sequence() {
	defer close(l.sequenced)
	open, wait := true, retryFirst
	for open {
		var flushes []chan error
		select {
		case <-l.news:
			flushes, open = l.linger(min(gather, l.options.CheckpointInterval/2))
		case f := <-l.flushes:
			flushes = append(flushes, f)
		case <-l.batched:
			open = false
		}
		err := l.drain()
		for err != nil {
			l.options.Log.Error("entries wait in the ledger's journal, since they cannot be put into the log", "error", err)
			answerAll(flushes, err)
			flushes = nil
			if !open {
				l.last = err
				return
			}
			open = l.refuse(wait, err)
			wait = min(2*wait, retryMost)
			err = l.drain()
		}
		wait = retryFirst
		answerAll(flushes, nil)
	}
}

// linger waits for more entries, but not if somebody waits for those that are
// there.
func (l *Ledger) linger(most time.Duration) (flushes []chan error, open bool) {
	select {
	case <-time.After(most):
	case f := <-l.flushes:
		flushes = append(flushes, f)
	case <-l.batched:
		return nil, false
	}
	return flushes, true
}

// refuse answers who waits for the log with why it does not take anything, for a
// while. It is false once nothing more will come.
func (l *Ledger) refuse(most time.Duration, err error) (open bool) {
	again := time.After(most)
	for {
		select {
		case <-again:
			return true
		case f := <-l.flushes:
			f <- err
		case <-l.batched:
			return false
		}
	}
}

func answerAll(flushes []chan error, err error) {
	for _, f := range flushes {
		f <- err
	}
}

// drain puts into the log all that the journal has.
func (l *Ledger) drain() error {
	err := l.drainOnce()
	if l.faults.set(faultLog, err); err != nil {
		return err
	}
	return nil
}

func (l *Ledger) drainOnce() error {
	if err := l.putTaken(); err != nil { // which an earlier try has left
		return err
	}
	first, entries, err := l.journal.take()
	if err != nil {
		return err
	}
	l.taken, l.takenFrom = entries, first
	return l.putTaken()
}

// putTaken puts into the log what was taken from the journal.
func (l *Ledger) putTaken() error {
	if len(l.taken) == 0 {
		return nil
	}
	ctx := context.Background()
	size, err := l.integrated(ctx)
	if err != nil {
		return err
	}
	end := l.takenFrom + uint64(len(l.taken))
	if size < l.takenFrom || size > end {
		return fmt.Errorf("the log has %d entries, where there were %d: somebody else has changed it", size, l.takenFrom)
	}
	for size < end {
		n := min(batchSize, end-size)
		if err := l.addAll(ctx, size, l.taken[size-l.takenFrom:][:n]); err != nil {
			return err
		}
		size += n
	}
	l.taken = nil
	return nil
}

// addAll adds entries to the log, of which the first is to have this index.
func (l *Ledger) addAll(ctx context.Context, index uint64, raw [][]byte) error {
	if err := l.writable(); err != nil {
		return err
	}
	futures := make([]tessera.IndexFuture, len(raw))
	for i := range raw {
		futures[i] = l.add(ctx, tessera.NewEntry(raw[i]))
	}
	var failed error
	for i, f := range futures { // all of them: what fails later must not come into the log meanwhile
		got, err := f()
		if err == nil && got.Index != index+uint64(i) {
			err = fmt.Errorf("entry %d came into the log as %d", index+uint64(i), got.Index)
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// flush returns when the log has what was appended before.
func (l *Ledger) flush(ctx context.Context) error {
	f := make(chan error, 1)
	select {
	case l.flushes <- f:
	case <-l.sequenced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-f:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writable tells with an error if the log's folder cannot be written. Tessera
// ends the process where it cannot open its lock, as on a disk that has become
// read only; this asks first.
func (l *Ledger) writable() error {
	file, err := os.OpenFile(filepath.Join(l.store.dir, ".state", ".writable"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}
