package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// fillDisk lets no file grow beyond a size, as a full disk does, until the test
// calls what it gives.
func fillDisk(t *testing.T, size uint64) func() {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	free := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(free)
	return free
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	fill(t, l, 0, 20)
	free := fillDisk(t, 50)
	if _, err := l.Append(t.Context(), sample(20)); err == nil {
		t.Fatal("recorded on a full disk")
	}
	if err := l.Health(); err == nil || !strings.Contains(err.Error(), "entries cannot be written") {
		t.Errorf("health on a full disk: %v", err)
	}
	free()
	eventually(t, l.Health)
	if i, err := l.Append(t.Context(), sample(21)); err != nil || i != 21 {
		t.Errorf("after there is room again: index %d, %v", i, err)
	}
	closeLedger(t, l)
	if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil || v.Checkpoint.Size != 22 {
		t.Errorf("%d entries: %+v", v.Checkpoint.Size, v.Findings)
	}
}

// TestUnwritableLog has the journal take what the log does not: who looks for entries
// is told, and nothing is lost.
func TestUnwritableLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	fill(t, l, 0, 10)
	if _, err := l.Query(t.Context(), entry.Query{}); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, logDir, ".state")
	if err := os.RemoveAll(filepath.Join(state, ".writable")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(state, ".writable"), 0o700); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 10, 20)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := l.Query(ctx, entry.Query{})
		if cancel(); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("who asks for what is not in the log: %v", err)
		}
	}
	if err := l.Health(); err == nil || !strings.Contains(err.Error(), "entries wait in the journal") {
		t.Errorf("health: %v", err)
	}
	fill(t, l, 20, 30)
	if err := os.Remove(filepath.Join(state, ".writable")); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil || v.Checkpoint.Size != 31 {
		t.Errorf("%d entries: %v", v.Checkpoint.Size, v.Err())
	}
}

func TestNearlyFullDisk(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	l.options.Reserve = 1 << 60
	if err := l.Health(); err == nil || !strings.Contains(err.Error(), "MiB left") {
		t.Errorf("health: %v", err)
	}
	if _, err := l.Append(t.Context(), sample(0)); err != nil {
		t.Errorf("what has begun cannot be recorded: %v", err)
	}
}

func TestDeadIndex(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	fill(t, l, 0, 10)
	eventually(t, indexed(l, 11))
	// A folder in its place can be neither read nor removed.
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, indexFile+end)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, indexFile, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.currentIndex().Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 10, 20)
	eventually(t, func() error {
		if err := l.Health(); err == nil || !strings.Contains(err.Error(), "the index does not work") {
			return errors.New("it is healthy")
		}
		return nil
	})
	fill(t, l, 20, 30)
	seen := 0
	if err := l.Each(t.Context(), entry.Query{Oldest: true}, func(Entry) bool { seen++; return true }); err != nil || seen != 31 {
		t.Errorf("%d entries from the log alone: %v", seen, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, indexFile)); err != nil {
		t.Fatal(err)
	}
	eventually(t, l.Health)
	eventually(t, indexed(l, 31))
	closeLedger(t, l)
	if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil || *v.Indexed != 31 {
		t.Errorf("%+v", v)
	}
}

func TestBrokenIndexIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	fill(t, l, 0, 10)
	closeLedger(t, l)
	write(t, filepath.Join(dir, indexFile), []byte("this is no database, but it is longer than nothing"))
	l = open(t, Options{Dir: dir})
	eventually(t, indexed(l, 11))
}

func TestOnCheckpoint(t *testing.T) {
	dir := t.TempDir()
	got := make(chan Checkpoint, 100)
	l := open(t, Options{Dir: dir, OnCheckpoint: func(c Checkpoint) { got <- c }})
	fill(t, l, 0, 50)
	closeLedger(t, l)
	close(got)
	var last Checkpoint
	for c := range got {
		if c.Size <= last.Size && last.Size > 0 {
			t.Errorf("a checkpoint of %d after one of %d", c.Size, last.Size)
		}
		last = c
	}
	if last.Size != 51 {
		t.Errorf("the last checkpoint is of %d entries", last.Size)
	}
	if v := verify(t, VerifyOptions{Dir: dir, Witness: last.Note}); v.Err() != nil || *v.Witness != 51 {
		t.Errorf("%+v", v)
	}
}
