package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	f_log "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is what the log commits to: so many entries, in this order, with
// this content. Whoever keeps one can prove later whether the log still has them.
type Checkpoint struct {
	Size uint64
	Root []byte
	Note []byte // the signed note, as it is published
}

// parseCheckpoint verifies a signed note and reads the checkpoint in it.
func parseCheckpoint(raw []byte, keys Keys) (Checkpoint, error) {
	n, err := note.Open(raw, keys.verifiers)
	if err != nil {
		var unknown *note.UnverifiedNoteError
		if errors.As(err, &unknown) {
			return Checkpoint{}, fmt.Errorf("the checkpoint is not signed by the ledger's key (%s)", keys.origin)
		}
		return Checkpoint{}, fmt.Errorf("the checkpoint's signature: %w", err)
	}
	c, err := parseText([]byte(n.Text))
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != keys.origin {
		return Checkpoint{}, fmt.Errorf("the checkpoint is of another ledger: %s, not %s", c.Origin, keys.origin)
	}
	return Checkpoint{Size: c.Size, Root: c.Hash, Note: raw}, nil
}

func parseText(text []byte) (f_log.Checkpoint, error) {
	var c f_log.Checkpoint
	if _, err := c.Unmarshal(text); err != nil {
		return c, fmt.Errorf("the checkpoint: %w", err)
	}
	if len(c.Hash) != hashSize || c.Size > maxLogSize {
		return c, errors.New("the checkpoint: it has no such size or hash")
	}
	return c, nil
}

const (
	hashSize = 32
	// maxLogSize is more entries than anybody will have, and still an int64.
	maxLogSize = 1 << 56
)

// chained is a line of the chain: a checkpoint that was published, and when.
type chained struct {
	At   time.Time `json:"at"`
	Note string    `json:"checkpoint"`
}

// chain is a file with the checkpoints that were published, in their order. It
// lets one who verifies say between which two of them something was changed, and
// notices a log that was put back to an earlier day.
type chain struct{ file *os.File }

// openChain opens the chain to add to it. What a crash left of a last line goes.
func openChain(dir string) (*chain, error) {
	file, err := os.OpenFile(filepath.Join(dir, chainFile), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the checkpoints: %w", err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	for at := size; err == nil && at > 0; at-- {
		var b [1]byte
		if _, err = file.ReadAt(b[:], at-1); err == nil && b[0] == '\n' {
			if at < size {
				err = file.Truncate(at)
			}
			break
		}
		if at == 1 && err == nil {
			err = file.Truncate(0)
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open the checkpoints: %w", err)
	}
	return &chain{file}, nil
}

func (c *chain) add(at time.Time, note []byte) error {
	line, err := json.Marshal(chained{at.UTC(), string(note)})
	if err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	end, err := c.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	if _, err := c.file.Write(append(line, '\n')); err != nil {
		// Half a line, as on a full disk, must not become the beginning of the next.
		return fmt.Errorf("keep a checkpoint: %w", errors.Join(err, c.file.Truncate(end)))
	}
	return nil
}

func (c *chain) close() error {
	return errors.Join(c.file.Sync(), c.file.Close())
}

// readChain gives the checkpoints of the chain. A last line without an end is of a
// crash, or of a writer that has not finished it.
func readChain(dir string, yield func(line int, raw []byte) error) error {
	return readLines(dir, func(n int, line chained) error {
		if line.Note == "" {
			return yield(n, nil)
		}
		return yield(n, []byte(line.Note))
	})
}

// readLines gives the lines of the chain; one that can't be read is empty.
func readLines(dir string, yield func(n int, line chained) error) error {
	file, err := os.Open(filepath.Join(dir, chainFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the checkpoints: %w", err)
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	for n := 1; ; n++ {
		raw, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the checkpoints: %w", err)
		}
		var line chained
		if err := json.Unmarshal(bytes.TrimSpace(raw), &line); err != nil {
			line = chained{}
		}
		if err := yield(n, line); err != nil {
			return err
		}
	}
}
