package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

func texts(from, to int) (out [][]byte) {
	for n := from; n < to; n++ {
		out = append(out, []byte(strings.Repeat(fmt.Sprintf("entry %d;", n), 1+n%5)))
	}
	return out
}

func openTestJournal(t *testing.T, dir string, logged uint64) *journal {
	t.Helper()
	j, err := openJournal(dir, logged)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	return j
}

func mustAdd(t *testing.T, j *journal, from, to int) {
	t.Helper()
	for n, text := range texts(from, to) {
		if i, err := j.add([][]byte{text}); err != nil || i != uint64(from+n) {
			t.Fatalf("entry %d: index %d, %v", from+n, i, err)
		}
	}
}

func mustTake(t *testing.T, j *journal, from, to int) {
	t.Helper()
	first, got, err := j.take()
	if err != nil || first != uint64(from) || !slices.EqualFunc(got, texts(from, to), slices.Equal[[]byte]) {
		t.Fatalf("took %d entries from %d on, %v; want those from %d to %d", len(got), first, err, from, to)
	}
}

// TestJournal uses the files again and again, and opens them as they are after a
// crash.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, 0)
	mustAdd(t, j, 0, 40)
	mustTake(t, openTestJournal(t, dir, 0), 0, 40)
	mustTake(t, openTestJournal(t, dir, 25), 25, 40)
	mustTake(t, openTestJournal(t, dir, 40), 40, 40)
	mustTake(t, j, 0, 40) // being put into the log
	mustAdd(t, j, 40, 43)
	mustTake(t, openTestJournal(t, dir, 0), 0, 43)
	mustTake(t, openTestJournal(t, dir, 40), 40, 43)
	mustTake(t, j, 40, 43) // so the log has 40
	mustAdd(t, j, 43, 45)  // over what 0 to 40 have left
	mustTake(t, openTestJournal(t, dir, 40), 40, 45)
	mustTake(t, openTestJournal(t, dir, 44), 44, 45)
	mustTake(t, j, 43, 45)
	mustTake(t, j, 45, 45)
	mustTake(t, openTestJournal(t, dir, 43), 43, 45)
	if _, err := openJournal(dir, 2); err == nil || !strings.Contains(err.Error(), "beyond the 2 of the log") {
		t.Errorf("opened beside a log that lacks entries: %v", err)
	}
	for i := range journalFiles {
		if info, err := os.Stat(filepath.Join(dir, fmt.Sprintf("journal.%d", i))); err != nil || info.Mode().Perm() != 0o600 || info.Size() != journalRoom {
			t.Errorf("journal.%d: %v %v", i, info, err)
		}
	}
}

// TestJournalTorn cuts what was written last at each byte.
func TestJournalTorn(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, 0)
	mustAdd(t, j, 0, 3)
	whole := j.size
	mustAdd(t, j, 3, 4)
	path := filepath.Join(dir, "journal.0")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole; cut < j.size; cut++ {
		torn := append(slices.Clone(raw[:cut]), make([]byte, 100)...)
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		mustTake(t, openTestJournal(t, dir, 0), 0, 3)
	}
}

// TestJournalFails has the disk refuse an entry after some of it was written: its
// index goes to the next, in the other file, and nothing of it comes back.
func TestJournalFails(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, 0)
	mustAdd(t, j, 0, 2)
	good := j.files[0]
	if _, err := good.WriteAt(record(2, []byte("never acknowledged")), j.size); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(good.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	j.files[0] = readOnly
	if _, err := j.add(texts(2, 3)); err == nil {
		t.Fatal("added to a file that cannot be written")
	}
	if _, _, err := j.take(); err == nil {
		t.Error("the file is given up with what was not acknowledged in it")
	}
	j.files[0] = good
	mustTake(t, j, 0, 2)
	mustAdd(t, j, 2, 3)
	mustTake(t, openTestJournal(t, dir, 0), 0, 3)
}

// TestJournalForgetsWhatFailed has the disk write several entries and say that it has
// not: the next ones have their indexes, and may have their lengths.
func TestJournalForgetsWhatFailed(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, 0)
	mustAdd(t, j, 0, 2)
	failed := append(record(2, []byte("a failed")), append(record(3, []byte("b failed")), record(4, []byte("c failed"))...)...)
	if _, err := j.files[0].WriteAt(failed, j.size); err != nil {
		t.Fatal(err)
	}
	j.torn = true // as after a sync that failed
	add := func(index uint64, text string) {
		t.Helper()
		if i, err := j.add([][]byte{[]byte(text)}); err != nil || i != index {
			t.Fatalf("index %d, %v", i, err)
		}
	}
	add(2, "a second")
	after := func(want ...string) {
		t.Helper()
		_, got, err := openTestJournal(t, dir, 2).take()
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, e := range got {
			found = append(found, string(e))
		}
		if !slices.Equal(found, want) {
			t.Errorf("after a crash there is %q, where %q was acknowledged", found, want)
		}
	}
	after("a second")
	if _, _, err := j.take(); err != nil {
		t.Fatal(err)
	}
	add(3, "in the other file")
	after("a second", "in the other file")
}

func record(index uint64, text []byte) []byte { return frame(nil, index, text) }

// TestOpenTakesTheJournal has a process end before the log has what was recorded.
func TestOpenTakesTheJournal(t *testing.T) {
	for name, count := range map[string]int{"a few": 3, "more than a batch": 2*batchSize + 3} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, Options{Dir: dir})
			fill(t, l, 0, 10)
			closeLedger(t, l)
			j, err := openJournal(dir, 11)
			if err != nil {
				t.Fatal(err)
			}
			var all [][]byte
			for n := range count {
				raw, err := entry.Encode(entry.Clean(sample(n)))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, raw)
			}
			if _, err := j.add(all); err != nil {
				t.Fatal(err)
			}
			if err := j.close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, Options{Dir: dir})
			if i, err := l.Append(t.Context(), sample(0), sample(1)); err != nil || i != uint64(11+count) {
				t.Errorf("the next is %d: %v", i, err)
			}
			seen := 0
			err = l.Each(t.Context(), entry.Query{Oldest: true}, func(e Entry) bool {
				if n := int(e.Index) - 11; n >= 0 && n < count && e.Message != sample(n).Message {
					t.Errorf("entry %d is %q", e.Index, e.Message)
				}
				seen++
				return true
			})
			if err != nil || seen != 13+count {
				t.Errorf("%d entries: %v", seen, err)
			}
			closeLedger(t, l)
			if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil || v.Checkpoint.Size != uint64(13+count) {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestCrashBeforeTheFirstEntry opens a ledger anew that ended before its log was.
func TestCrashBeforeTheFirstEntry(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := entry.Encode(entry.Clean(Entry{Time: day, Kind: entry.LedgerOpened, Message: "the ledger begins"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.add([][]byte{raw}); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	l := open(t, Options{Dir: dir})
	page, err := l.Query(context.Background(), entry.Query{})
	if err != nil || len(page.Entries) != 1 {
		t.Errorf("%+v %v", page, err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add(record(7, []byte("one")))
	f.Add(append(record(7, []byte("one")), record(8, []byte("two"))...))
	f.Add(append(record(7, []byte("one")), record(3, []byte("old"))...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, entries := parseJournal(raw)
		var again []byte
		for n, e := range entries {
			again = frame(again, first+uint64(n), e)
		}
		if len(again) > len(raw) || string(again) != string(raw[:len(again)]) {
			t.Errorf("read as %d entries from %d on, which is %q", len(entries), first, again)
		}
	})
}
