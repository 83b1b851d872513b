package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// fault is what can be wrong with a ledger.
type fault int

const (
	faultAppend fault = iota // entries cannot be written
	faultLog                 // entries cannot be put from the journal into the log
	faultSign                // checkpoints cannot be signed or published
	faultIndex               // the index does not follow
	faultChain               // checkpoints cannot be handed on
	faultCount
)

func (f fault) String() string {
	switch f {
	case faultAppend:
		return "entries cannot be written"
	case faultLog:
		return "entries wait in the journal"
	case faultSign:
		return "checkpoints cannot be signed"
	case faultIndex:
		return "the index does not work"
	default:
		return "checkpoints cannot be kept"
	}
}

// faults are what is wrong now.
type faults struct {
	mu   sync.Mutex
	errs [faultCount]error
}

func (f *faults) set(which fault, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[which] = err
}

func (f *faults) get(which fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[which]
}

func (f *faults) all() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []error
	for which, err := range f.errs {
		if err != nil {
			list = append(list, fmt.Errorf("%s: %w", fault(which), err))
		}
	}
	return errors.Join(list...)
}

// Health tells with an error why no further change should begin: entries or
// checkpoints cannot be written, the index does not follow, or the disk is so
// full that the end of what begins might not be recorded. It costs no more than
// a question to the file system, and is over by itself once the cause is.
// Appending goes on where it can: what has begun must be recorded.
func (l *Ledger) Health() error {
	err := l.faults.all()
	if full := l.room(); full != nil {
		err = errors.Join(err, full)
	}
	if err != nil {
		return fmt.Errorf("the ledger in %s: %w", l.options.Dir, err)
	}
	return nil
}

func (l *Ledger) room() error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(l.store.dir, &fs); err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free < l.options.Reserve {
		return fmt.Errorf("the disk has %d MiB left: changes begin again when there are %d", free>>20, l.options.Reserve>>20)
	}
	return nil
}

// probe tries whether the disk takes something again, after it did not.
func (l *Ledger) probe() {
	if l.faults.get(faultAppend) == nil {
		return
	}
	path := filepath.Join(l.store.dir, ".state", ".probe")
	err := writeFile(path, make([]byte, 1<<20), 0o600)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		l.options.Log.Info("the ledger can be written again")
		l.faults.set(faultAppend, nil)
	}
}
