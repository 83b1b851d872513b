package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const (
	// journalFiles are used in turn: one takes entries while those of the other are
	// put into the log.
	journalFiles = 2
	// journalRoom is kept on the disk for each, so that to sync an entry writes no
	// more than the entry, and a full disk leaves room for what has begun.
	journalRoom = 512 << 10
	// journalMost is how much one may hold while nothing can be put into the log.
	journalMost = 64 << 20

	journalHeader = 16 // index, length and checksum of an entry
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal keeps entries that are recorded and not in the log yet: a place at the
// end of one file costs a single sync, where the log's bundles, tiles and state
// are many files. An entry's index is fixed when it is written here.
//
// A file is used again from its beginning. Behind what was written last an end is
// written: what an earlier use has left there has a lower index, but what was written
// and not acknowledged may have the next one.
type journal struct {
	mu      sync.Mutex
	files   [journalFiles]*os.File
	active  int
	size    int64  // of what counts in the active file
	next    uint64 // the index of the next entry
	torn    bool   // behind size there may be what was not acknowledged
	pending [][]byte
}

// openJournal opens the journal of a log of this size. Nothing may be added before
// what is pending was taken and put into the log.
func openJournal(dir string, logged uint64) (*journal, error) {
	j := &journal{next: logged}
	found := map[uint64][]byte{}
	for i := range j.files {
		file, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("journal.%d", i)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, errors.Join(err, j.close())
		}
		j.files[i] = file
		raw, err := io.ReadAll(io.LimitReader(file, journalMost+journalRoom))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read the ledger's journal: %w", err), j.close())
		}
		first, entries := parseJournal(raw)
		for n, e := range entries {
			if at := first + uint64(n); at >= logged {
				found[at] = e
			}
		}
		if err := reserve(file, int64(len(raw))); err != nil {
			return nil, errors.Join(fmt.Errorf("reserve room for the ledger's journal: %w", err), j.close())
		}
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the ledger's journal: %w", err), j.close())
	}
	for ; found[j.next] != nil; j.next++ {
		j.pending = append(j.pending, found[j.next])
		delete(found, j.next)
	}
	if len(found) > 0 {
		return nil, errors.Join(fmt.Errorf("its journal has entries beyond the %d of the log: the log was put back to an earlier day: bring it back as it was", logged), j.close())
	}
	return j, nil
}

// reserve writes zeros behind what a file has.
func reserve(file *os.File, size int64) error {
	if size >= journalRoom {
		return nil
	}
	if _, err := file.WriteAt(make([]byte, journalRoom-size), size); err != nil {
		return err
	}
	return file.Sync()
}

// parseJournal gives the entries of a journal's file, up to the first that is not
// whole or does not continue those before, and the index of the first.
func parseJournal(raw []byte) (first uint64, entries [][]byte) {
	for len(raw) >= journalHeader {
		index, length := binary.BigEndian.Uint64(raw), int64(binary.BigEndian.Uint32(raw[8:]))
		if length == 0 || length > int64(len(raw)-journalHeader) {
			break
		}
		end := journalHeader + length
		if checksum(raw[:12], raw[journalHeader:end]) != binary.BigEndian.Uint32(raw[12:]) {
			break
		}
		if len(entries) == 0 {
			first = index
		} else if index != first+uint64(len(entries)) {
			break
		}
		entries = append(entries, raw[journalHeader:end])
		raw = raw[end:]
	}
	return first, entries
}

// frame writes an entry behind others.
func frame(text []byte, index uint64, e []byte) []byte {
	header := binary.BigEndian.AppendUint64(nil, index)
	header = binary.BigEndian.AppendUint32(header, uint32(len(e)))
	header = binary.BigEndian.AppendUint32(header, checksum(header, e))
	return append(append(text, header...), e...)
}

func checksum(parts ...[]byte) uint32 {
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// add keeps entries, all or none of them, and gives the index of the first. The
// disk has them when it returns. After an error they may come into the log all
// the same, if the process ends before the next entry is kept.
func (j *journal) add(entries [][]byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var text []byte
	for n, e := range entries {
		text = frame(text, j.next+uint64(n), e)
	}
	if j.size+int64(len(text)) > journalMost {
		return 0, fmt.Errorf("%d entries wait to be put into the log, and no more are taken", len(j.pending))
	}
	if err := j.mend(); err != nil {
		return 0, err
	}
	size := int64(len(text))
	text = append(text, make([]byte, journalHeader)...) // the end
	j.torn = true
	if err := j.write(text); err != nil {
		return 0, err
	}
	j.torn = false
	first := j.next
	j.size += size
	j.next += uint64(len(entries))
	j.pending = append(j.pending, entries...)
	return first, nil
}

// mend makes unreadable what an add that failed has left: its index is given to
// another entry, perhaps in the other file.
func (j *journal) mend() error {
	if j.torn {
		if err := j.write(make([]byte, journalHeader)); err != nil {
			return err
		}
		j.torn = false
	}
	return nil
}

func (j *journal) write(text []byte) error {
	file := j.files[j.active]
	if _, err := file.WriteAt(text, j.size); err != nil {
		return err
	}
	return syncData(file)
}

// take gives what the log does not have yet, and the index of the first. Whoever
// takes puts all of it into the log before he takes again: then its file is used
// again.
func (j *journal) take() (first uint64, entries [][]byte, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.pending) == 0 {
		return j.next, nil, nil
	}
	if err := j.mend(); err != nil {
		return 0, nil, err
	}
	entries = j.pending
	j.pending, j.active, j.size = nil, (j.active+1)%journalFiles, 0
	return j.next - uint64(len(entries)), entries, nil
}

func (j *journal) close() error {
	var errs []error
	for _, file := range j.files {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}
