package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// recorded makes a ledger of 600 entries after the first, in two sittings.
func recorded(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range [][2]int{{0, 300}, {300, 600}} {
		l := open(t, Options{Dir: dir})
		fill(t, l, part[0], part[1])
		closeLedger(t, l)
	}
	return dir
}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(to, keyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func verify(t *testing.T, o VerifyOptions) Verdict {
	t.Helper()
	v, err := Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// editBundle changes the file of entries in which an index is.
func editBundle(t *testing.T, dir string, at, size uint64, edit func([][]byte) [][]byte) {
	t.Helper()
	i := at / layout.EntryBundleWidth
	path := filepath.Join(dir, logDir, layout.EntriesPath(i, layout.PartialTileSize(0, i, size)))
	raw := read(t, path)
	var b api.EntryBundle
	if err := b.UnmarshalText(raw); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, e := range edit(b.Entries) {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(e))), e...)
	}
	write(t, path, out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func editIndex(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, indexFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Exec(statement)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := r.RowsAffected(); n == 0 {
		t.Fatal("nothing was edited")
	}
}

// replaceLog puts the log of another ledger in the place of this one's, as
// somebody does who can write files and knows how such a log is made. What names
// files to keep keeps those of the ledger.
func replaceLog(t *testing.T, dir, other string, keep ...string) {
	t.Helper()
	kept := map[string][]byte{}
	for _, name := range keep {
		kept[name] = read(t, filepath.Join(dir, name))
	}
	if err := os.RemoveAll(filepath.Join(dir, logDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, logDir), os.DirFS(filepath.Join(other, logDir))); err != nil {
		t.Fatal(err)
	}
	for name, content := range kept {
		write(t, filepath.Join(dir, name), content)
	}
}

// rewritten is a ledger with the key of another one and changed entries.
func rewritten(t *testing.T, dir string, count int) string {
	t.Helper()
	original, err := OpenReader(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	other := t.TempDir()
	for _, name := range []string{keyFile, publicFile} {
		write(t, filepath.Join(other, name), read(t, filepath.Join(dir, name)))
	}
	l := open(t, Options{Dir: other})
	if err := l.flush(t.Context()); err != nil { // what follows goes past the journal
		t.Fatal(err)
	}
	n := 0
	var pending []tessera.IndexFuture
	err = original.Each(t.Context(), entry.Query{Oldest: true}, func(e Entry) bool {
		if n++; n == 1 {
			return true // the first entry is there already
		}
		if e.Index == 123 {
			e.Actor.User = "mallory@example.org"
		}
		raw, err := entry.Encode(e)
		if err != nil {
			t.Error(err)
		}
		pending = append(pending, l.add(t.Context(), tessera.NewEntry(raw)))
		return n < count
	})
	for _, wait := range pending {
		_, failed := wait()
		err = errors.Join(err, failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	return other
}

func TestVerifyFindsNothing(t *testing.T) {
	dir := recorded(t)
	v := verify(t, VerifyOptions{Dir: dir})
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	if v.Checkpoint.Size != 601 || v.Indexed == nil || *v.Indexed != 601 || v.Checkpoints < 3 {
		t.Errorf("size %d, %v indexed, %d checkpoints", v.Checkpoint.Size, v.Indexed, v.Checkpoints)
	}
	r, err := OpenReader(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if e, err := r.Entry(t.Context(), 400); err != nil || e.Index != 400 {
		t.Errorf("entry 400: %v, %v", e.Index, err)
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	original := recorded(t)
	keys, err := ReadKeys(filepath.Join(original, publicFile))
	if err != nil {
		t.Fatal(err)
	}
	latest := read(t, filepath.Join(original, logDir, "checkpoint"))
	var older []byte // of the first sitting
	err = readChain(original, func(_ int, raw []byte) error {
		if c, err := parseCheckpoint(raw, keys); err == nil && c.Size <= 301 {
			older = raw
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	forged := rewritten(t, original, 601)

	for name, c := range map[string]struct {
		reason  string
		tamper  func(t *testing.T, dir string)
		witness []byte
		first   uint64
		what    string
	}{
		"an entry changed": {
			reason: "its hash is another one",
			tamper: func(t *testing.T, dir string) {
				editBundle(t, dir, 300, 601, func(list [][]byte) [][]byte {
					list[44] = bytes.Replace(list[44], []byte("user-"), []byte("usur-"), 1)
					return list
				})
			},
			first: 300, what: "entry 300 is not the one that was recorded",
		},
		"an entry dropped": {
			reason: "those after it are in its place",
			tamper: func(t *testing.T, dir string) {
				editBundle(t, dir, 300, 601, func(list [][]byte) [][]byte { return append(list[:44], list[45:]...) })
			},
			first: 300, what: "entry 300 is not the one that was recorded",
		},
		"two entries changed places": {
			reason: "each has the other's hash",
			tamper: func(t *testing.T, dir string) {
				editBundle(t, dir, 7, 601, func(list [][]byte) [][]byte {
					list[7], list[9] = list[9], list[7]
					return list
				})
			},
			first: 7, what: "entry 7 is not the one that was recorded",
		},
		"the last entries cut off": {
			reason: "the checkpoint says how many there are",
			tamper: func(t *testing.T, dir string) {
				editBundle(t, dir, 600, 601, func(list [][]byte) [][]byte { return list[:50] })
			},
			first: 562, what: "entry 562 is missing",
		},
		"a file of entries removed": {
			reason: "the same",
			tamper: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, logDir, layout.EntriesPath(1, 0))); err != nil {
					t.Fatal(err)
				}
			},
			first: 256, what: "entries from 256 on",
		},
		"the checkpoint replaced by an older one": {
			reason: "a later one was published, and the index has more",
			tamper: func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, logDir, "checkpoint"), older)
			},
			first: 301, what: "of 301 entries, but one of 601 was signed",
		},
		"the checkpoint replaced by one of another key": {
			reason: "its signature is not the ledger's",
			tamper: func(t *testing.T, dir string) {
				other := open(t, Options{Dir: t.TempDir()})
				closeLedger(t, other)
				write(t, filepath.Join(dir, logDir, "checkpoint"), read(t, filepath.Join(other.store.dir, "checkpoint")))
			},
			first: 601, what: "not signed by the ledger's key",
		},
		"the checkpoint put back with all that tells": {
			reason:  "without the chain and the index only a witness knows",
			witness: latest,
			tamper: func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, logDir, "checkpoint"), older)
				write(t, filepath.Join(dir, chainFile), nil)
				if err := os.Remove(filepath.Join(dir, indexFile)); err != nil {
					t.Fatal(err)
				}
			},
			first: 301, what: "of 301 entries, but one of 601 was signed",
		},
		"what the index says of an entry": {
			reason: "the log says something else",
			tamper: func(t *testing.T, dir string) {
				editIndex(t, dir, `UPDATE ledger_entries SET project = 'nobody' WHERE idx = 77`)
			},
			first: 77, what: "entry 77 is found by something else",
		},
		"an entry in the index": {
			reason: "the log says something else",
			tamper: func(t *testing.T, dir string) {
				editIndex(t, dir, `UPDATE ledger_entries SET body = replace(body, 'user', 'loser') WHERE idx = 78`)
			},
			first: 78, what: "entry 78 is another one in the index",
		},
		"a person removed from the index": {
			reason: "the log says something else",
			tamper: func(t *testing.T, dir string) { editIndex(t, dir, `DELETE FROM ledger_persons WHERE idx = 300`) },
			first:  300, what: "entry 300 is found by other persons",
		},
		"an entry removed from the index": {
			reason: "the log has it",
			tamper: func(t *testing.T, dir string) { editIndex(t, dir, `DELETE FROM ledger_entries WHERE idx = 301`) },
			first:  301, what: "entry 301 is missing in the index",
		},
		"a published checkpoint in the chain": {
			reason: "its signature does not fit",
			tamper: func(t *testing.T, dir string) {
				path := filepath.Join(dir, chainFile)
				write(t, path, bytes.Replace(read(t, path), []byte("\\n301\\n"), []byte("\\n302\\n"), 1))
			},
			what: "published checkpoints was changed",
		},
		"a hash in the middle of the tree": {
			reason: "it is not what the entries make",
			tamper: func(t *testing.T, dir string) {
				path := filepath.Join(dir, logDir, layout.TilePath(1, 0, 2))
				raw := read(t, path)
				raw[40] ^= 1
				write(t, path, raw)
			},
			what: "the tree's hashes above entry 0 (level 1) were changed",
		},
		"all entries and hashes rewritten": {
			reason: "the checkpoints are of another tree, and the index remembers what was there",
			tamper: func(t *testing.T, dir string) { replaceLog(t, dir, forged, filepath.Join(logDir, "checkpoint")) },
			what:   "entry 0 is another one in the index",
		},
		"all rewritten, and signed with the stolen key": {
			reason:  "only a witness's checkpoint is of another tree",
			witness: older,
			tamper: func(t *testing.T, dir string) {
				replaceLog(t, dir, forged)
				for _, name := range []string{indexFile, chainFile} {
					write(t, filepath.Join(dir, name), read(t, filepath.Join(forged, name)))
				}
				if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil {
					t.Fatalf("without the witness: %v", v.Err()) // as the documentation says
				}
			},
			first: 0, what: "the witness's checkpoint commits to",
		},
		"the end cut off, and signed with the stolen key": {
			reason:  "only a witness knows of more entries",
			witness: latest,
			tamper: func(t *testing.T, dir string) {
				short := rewritten(t, original, 100)
				replaceLog(t, dir, short)
				for _, name := range []string{indexFile, chainFile} {
					write(t, filepath.Join(dir, name), read(t, filepath.Join(short, name)))
				}
			},
			first: 100, what: "of 100 entries, but one of 601 was signed",
		},
		"key and all rewritten": {
			reason:  "the witness's checkpoint has another signature",
			witness: latest,
			tamper: func(t *testing.T, dir string) {
				other := t.TempDir()
				l := open(t, Options{Dir: other})
				fill(t, l, 0, 5)
				closeLedger(t, l)
				replaceLog(t, dir, other)
				for _, name := range []string{indexFile, chainFile, publicFile, keyFile} {
					write(t, filepath.Join(dir, name), read(t, filepath.Join(other, name)))
				}
			},
			what: "does not fit the key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, original)
			c.tamper(t, dir)
			v := verify(t, VerifyOptions{Dir: dir, Witness: c.witness})
			var tampered *TamperedError
			if !errors.As(v.Err(), &tampered) {
				t.Fatalf("nothing found: %s", c.reason)
			}
			for _, f := range v.Findings {
				if strings.Contains(f.What, c.what) && (c.first == 0 || f.First == c.first) {
					return
				}
			}
			t.Errorf("not found: %q at %d (%s), but\n%+v", c.what, c.first, c.reason, v.Findings)
		})
	}
}

func TestOpenRefusesTampering(t *testing.T) {
	original := recorded(t)
	forged := rewritten(t, original, 601)
	for name, c := range map[string]struct {
		reason string
		tamper func(t *testing.T, dir string)
		want   string
	}{
		"the last entry changed": {
			reason: "its hash is another one",
			tamper: func(t *testing.T, dir string) {
				editBundle(t, dir, 600, 601, func(list [][]byte) [][]byte {
					list[88] = bytes.Replace(list[88], []byte("user-"), []byte("usur-"), 1)
					return list
				})
			},
			want: "entry 600 is not the one that was recorded",
		},
		"all rewritten without the key": {
			reason: "the engine must not sign what others have written",
			tamper: func(t *testing.T, dir string) { replaceLog(t, dir, forged, filepath.Join(logDir, "checkpoint")) },
			want:   "does not go on from the checkpoint",
		},
		"the log gone": {
			reason: "a new one in its place would hide it",
			tamper: func(t *testing.T, dir string) {
				if err := os.RemoveAll(filepath.Join(dir, logDir)); err != nil {
					t.Fatal(err)
				}
			},
			want: "the log is gone",
		},
		"the key gone": {
			reason: "a new one in its place would fit nothing",
			tamper: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
					t.Fatal(err)
				}
			},
			want: "its private key key is gone",
		},
		"the key open to all": {
			reason: "somebody else may have it",
			tamper: func(t *testing.T, dir string) {
				if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			want: "can be read by others",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, original)
			c.tamper(t, dir)
			l, err := Open(t.Context(), Options{Dir: dir})
			if err == nil {
				closeLedger(t, l)
				t.Fatalf("opened: %s", c.reason)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: not %q", err, c.want)
			}
		})
	}
}

func TestRotate(t *testing.T) {
	dir := recorded(t)
	before, err := ReadKeys(filepath.Join(dir, publicFile))
	if err != nil {
		t.Fatal(err)
	}
	witness := read(t, filepath.Join(dir, logDir, "checkpoint"))
	public, err := Rotate(t.Context(), Options{Dir: dir, Reserve: 1}, entry.Actor{User: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, Options{Dir: dir})
	fill(t, l, 0, 10)
	if got := l.Keys().Latest(); got != public || got == before.Latest() {
		t.Errorf("the key is %s, not %s", got, public)
	}
	closeLedger(t, l)
	v := verify(t, VerifyOptions{Dir: dir, Witness: witness})
	if v.Err() != nil || v.Checkpoint.Size != 612 {
		t.Errorf("%d entries: %+v", v.Checkpoint.Size, v.Findings)
	}
	if v := verify(t, VerifyOptions{Dir: dir, Keys: &before}); v.Err() == nil {
		t.Error("the old key alone verifies what the new one signed")
	}
}

func TestVerifyWhileWriting(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	done := make(chan struct{})
	go func() {
		defer close(done)
		fill(t, l, 0, 400)
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		v, err := Verify(context.Background(), VerifyOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if v.Err() != nil {
			t.Fatalf("%+v", v.Findings)
		}
	}
	closeLedger(t, l)
}
