package ledger

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
)

const (
	// coalesce is how long a batch waits for more entries: those who were told
	// of the last batch come back with their next entry meanwhile, instead of
	// waiting for a batch of their own. The disk takes several times as long.
	coalesce = time.Millisecond
	// handOver is how long Tessera waits for more: a batch is complete already.
	handOver = 200 * time.Microsecond
)

// request is an entry to append.
type request struct {
	raw    []byte
	answer chan answer // never blocks
}

type answer struct {
	index uint64
	err   error
}

// batch appends entries, all that are waiting at once, until there will be no
// further ones. Only one batch is on its way to the disk.
func (l *Ledger) batch() {
	defer close(l.batched)
	for first := range l.requests {
		requests := []request{first}
		full := time.After(coalesce)
	collect:
		for len(requests) < batchSize {
			select {
			case r, more := <-l.requests:
				if !more {
					break collect
				}
				requests = append(requests, r)
			case <-full:
				break collect
			}
		}
		l.appendAll(requests)
	}
}

func (l *Ledger) appendAll(requests []request) {
	err := l.writable()
	futures := make([]tessera.IndexFuture, len(requests))
	for i, r := range requests {
		if err == nil {
			futures[i] = l.add(context.Background(), tessera.NewEntry(r.raw))
		}
	}
	answers := make([]answer, len(requests))
	for i := range requests {
		answers[i].err = err
		if futures[i] != nil {
			var index tessera.Index
			index, answers[i].err = futures[i]()
			answers[i].index = index.Index
		}
	}
	for _, a := range answers { // the health first: who is told can ask for it
		if a.err != nil {
			err = a.err
		}
	}
	l.faults.set(faultAppend, err)
	if err != nil {
		l.signer.wake() // the follower tries when it works again
	}
	for i, r := range requests {
		r.answer <- answers[i]
		l.pending.Done()
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
