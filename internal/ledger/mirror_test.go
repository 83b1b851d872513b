package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// elsewhere is a ledger that is fetched from.
type elsewhere struct {
	dir   string
	mu    sync.Mutex
	asked []string
	fail  string // the place that can't be had
}

func (e *elsewhere) fetch(_ context.Context, place string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, place)
	if place == e.fail {
		return nil, errors.New("the line is dead")
	}
	p, err := ReadPublic(e.dir, place)
	return p.Content, err
}

func mirrored(t *testing.T, from *elsewhere, dir string) (Mirrored, error) {
	t.Helper()
	from.asked = nil
	return Mirror(t.Context(), MirrorOptions{Dir: dir, Fetch: from.fetch})
}

func must(t *testing.T, from *elsewhere, dir string) Mirrored {
	t.Helper()
	m, err := mirrored(t, from, dir)
	if err != nil {
		t.Fatal(err)
	}
	if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil || v.Indexed == nil || *v.Indexed != m.Checkpoint.Size {
		t.Fatalf("the copy: %v, %+v", v.Err(), v)
	}
	return m
}

func more(t *testing.T, dir string, from, to int) {
	t.Helper()
	l := open(t, Options{Dir: dir})
	fill(t, l, from, to)
	closeLedger(t, l)
}

func TestMirrorFollows(t *testing.T) {
	from, dir := &elsewhere{dir: t.TempDir()}, filepath.Join(t.TempDir(), "copy")
	more(t, from.dir, 0, 299) // and the first, which says that the ledger begins
	first := must(t, from, dir)
	if !first.First || first.Before != 0 || first.Checkpoint.Size != 300 {
		t.Errorf("%+v", first)
	}
	for i, to := range []int{299, 310, 511, 512, 1100, 1101} {
		if i > 0 {
			more(t, from.dir, []int{0, 299, 310, 511, 512, 1100}[i], to)
		}
		m := must(t, from, dir)
		if m.First || m.Checkpoint.Size != uint64(to)+1 {
			t.Errorf("up to %d: %+v", to, m)
		}
	}
	more(t, from.dir, 1101, 1103)
	must(t, from, dir)
	if diff := cmp.Diff([]string{"checkpoint", "tile/entries/004.p/80"}, from.asked); diff != "" {
		t.Errorf("it has fetched what it had: %s", diff)
	}
	must(t, from, dir)
	if diff := cmp.Diff([]string{"checkpoint"}, from.asked); diff != "" {
		t.Errorf("it has fetched where nothing is new: %s", diff)
	}
	r, err := OpenReader(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if e, err := r.Entry(t.Context(), 700); err != nil || e.Index != 700 || e.Kind == "" {
		t.Errorf("%+v %v", e, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, logDir, "tile", "*", "*.p")); len(left) != 3 {
		t.Errorf("parts of tiles: %v", left) // of entries, of their hashes, and of those above them
	}
}

// TestMirrorGoesOnWhereItWasInterrupted has an interrupted try leave what is right, and
// what is wrong.
func TestMirrorGoesOnWhereItWasInterrupted(t *testing.T) {
	from, dir := &elsewhere{dir: t.TempDir(), fail: "tile/entries/008.p/53"}, t.TempDir()
	more(t, from.dir, 0, 2100)
	interrupted := func(dir string) {
		t.Helper()
		from.fail = "tile/entries/008.p/53"
		if _, err := mirrored(t, from, dir); err == nil || !strings.Contains(err.Error(), "the line is dead") {
			t.Fatal(err)
		}
		if _, err := OpenReader(t.Context(), dir, ""); err == nil {
			t.Error("half a copy is taken for one")
		}
		from.fail = ""
	}
	interrupted(dir)
	must(t, from, dir)
	if slices.Contains(from.asked, "tile/entries/003") {
		t.Errorf("what was there was fetched again: %v", from.asked)
	}
	damaged := t.TempDir()
	interrupted(damaged)
	bundles := filepath.Join(damaged, logDir, "tile", "entries")
	write(t, filepath.Join(bundles, "002"), read(t, filepath.Join(bundles, "001")))
	must(t, from, damaged)
}

func TestMirrorFindsTampering(t *testing.T) {
	original := recorded(t)
	forged := rewritten(t, original, 601)
	for name, c := range map[string]struct {
		reason string
		tamper func(t *testing.T, dir string)
		before int // what the reader has
		want   string
	}{
		"rewritten with the key": {
			"only who has read it before can know", func(t *testing.T, dir string) { replaceLog(t, dir, forged) }, 601, "its 601 entries are not those that were read here on ",
		},
		"rewritten with the key, and grown": {
			"the tree does not go on", func(t *testing.T, dir string) {
				replaceLog(t, dir, forged)
				if err := os.Remove(filepath.Join(dir, chainFile)); err != nil {
					t.Fatal(err)
				}
				more(t, dir, 600, 700)
			}, 601, "it does not go on from the 601 entries that were read here on ",
		},
		"cut off with the key": {
			"the checkpoint is properly signed", func(t *testing.T, dir string) { replaceLog(t, dir, rewritten(t, original, 500)) }, 601, "it has 500 entries, but 601 were read here",
		},
		"an entry changed, never read": {
			"its hash is not the tree's", func(t *testing.T, dir string) {
				editBundle(t, dir, 123, 601, func(all [][]byte) [][]byte {
					all[123] = []byte(strings.Replace(string(all[123]), "user-", "eve-", 1))
					return all
				})
			}, 0, "entry 123 is not the one that was recorded",
		},
		"entries left out": {
			"a bundle is too short", func(t *testing.T, dir string) {
				editBundle(t, dir, 300, 601, func(all [][]byte) [][]byte { return all[:100] })
			}, 0, "are not whole",
		},
		"another ledger": {
			"its origin is another", func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				more(t, dir, 0, 700)
			}, 601, "this is another ledger than the one that was read here before: plumb.dev/ledger/",
		},
		"another key": {
			"nothing names it", func(t *testing.T, dir string) {
				keys, err := ReadKeys(filepath.Join(dir, publicFile))
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{keyFile, publicFile, chainFile} {
					if err := os.Remove(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.RemoveAll(filepath.Join(dir, logDir)); err != nil {
					t.Fatal(err)
				}
				if _, err := newKey(dir, keys.Origin()); err != nil {
					t.Fatal(err)
				}
				other := t.TempDir()
				for _, name := range []string{keyFile, publicFile} {
					write(t, filepath.Join(other, name), read(t, filepath.Join(dir, name)))
				}
				if err := os.CopyFS(filepath.Join(dir, logDir), os.DirFS(filepath.Join(forgedWith(t, other), logDir))); err != nil {
					t.Fatal(err)
				}
			}, 601, "nothing proves that its key follows one that is trusted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, dir := &elsewhere{dir: copied(t, original)}, t.TempDir()
			if c.before > 0 {
				must(t, from, dir)
			}
			c.tamper(t, from.dir)
			_, err := mirrored(t, from, dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if c.before > 0 { // the copy is as it was
				if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil || v.Checkpoint.Size != uint64(c.before) {
					t.Errorf("%+v %v", v, v.Err())
				}
			}
		})
	}
}

// forgedWith is a log signed by the key in a folder.
func forgedWith(t *testing.T, dir string) string {
	t.Helper()
	more(t, dir, 0, 700)
	return dir
}

func TestMirrorFollowsKeys(t *testing.T) {
	from, kept, late := &elsewhere{dir: t.TempDir()}, t.TempDir(), t.TempDir()
	more(t, from.dir, 0, 10)
	must(t, from, kept)
	pinned, err := ReadKeys(filepath.Join(from.dir, publicFile))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if _, err := Rotate(t.Context(), Options{Dir: from.dir}, entry.Actor{User: "ada"}); err != nil {
			t.Fatal(err)
		}
		more(t, from.dir, 10+300*n, 310+300*n)
	}
	if m := must(t, from, kept); len(m.Keys.Texts()) != 3 || m.Checkpoint.Size != 613 {
		t.Errorf("%d keys are trusted, %d entries", len(m.Keys.Texts()), m.Checkpoint.Size)
	}
	m, err := Mirror(t.Context(), MirrorOptions{Dir: late, Fetch: from.fetch, Keys: &pinned})
	if err != nil || m.First || len(m.Keys.Texts()) != 3 {
		t.Errorf("who knows the first key only: %+v %v", m, err)
	}
	for n := range 2 { // again, with the same key named
		more(t, from.dir, 700+n, 701+n)
		for _, dir := range []string{late, kept} {
			m, err := Mirror(t.Context(), MirrorOptions{Dir: dir, Fetch: from.fetch, Keys: &pinned})
			if err != nil || len(m.Keys.Texts()) != 3 || m.Checkpoint.Size != uint64(614+n) {
				t.Errorf("who names the first key again: %+v %v", m, err)
			}
			if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil {
				t.Error(v.Err())
			}
		}
	}
}

func TestMirrorPins(t *testing.T) {
	from, other := &elsewhere{dir: t.TempDir()}, t.TempDir()
	more(t, from.dir, 0, 10)
	more(t, other, 0, 10)
	keys, err := ReadKeys(filepath.Join(other, publicFile))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Mirror(t.Context(), MirrorOptions{Dir: t.TempDir(), Fetch: from.fetch, Keys: &keys})
	if err == nil || !strings.Contains(err.Error(), "another ledger") {
		t.Error(err)
	}
	_, err = Mirror(t.Context(), MirrorOptions{Dir: other, Fetch: from.fetch})
	if err == nil || !strings.Contains(err.Error(), "the folder of a ledger itself") {
		t.Error(err)
	}
	_, hostile, err := note.GenerateKey(rand.Reader, "a\x1b[2Jb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKeys([]byte(hostile)); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("a ledger's name is shown on terminals: %v", err)
	}
	nonsense := func(context.Context, string) ([]byte, error) { return []byte("<html>"), nil }
	if _, err = Mirror(t.Context(), MirrorOptions{Dir: t.TempDir(), Fetch: nonsense}); err == nil || !strings.Contains(err.Error(), "what answers is no ledger") {
		t.Error(err)
	}
}

func TestReadPublic(t *testing.T) {
	dir := t.TempDir()
	more(t, dir, 0, 300)
	write(t, filepath.Join(dir, logDir, "tile", "secret"), []byte("secret"))
	if err := os.Symlink(filepath.Join(dir, keyFile), filepath.Join(dir, logDir, "tile", "0", "007")); err != nil {
		t.Fatal(err)
	}
	for place, lasting := range map[string]bool{"keys": false, "checkpoint": false, "handovers": false, "tile/entries/000": true, "tile/0/000": true, "tile/0/001.p/45": false, "tile/entries/001.p/45": false, "tile/1/000.p/1": false} {
		p, err := ReadPublic(dir, place)
		if err != nil || p.Lasting != lasting || len(p.Content) == 0 {
			t.Errorf("%s: %v %v", place, p.Lasting, err)
		}
	}
	for _, place := range []string{
		"", "key", "../key", "index.db", "checkpoints", "lock", "tile", "tile/", "tile/secret", "tile/0/../../../key", "tile/entries/../../key", "tile/0/000/", "/checkpoint",
		"tile/00/000", "tile/64/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/0", "tile/0/x000/000", "tile/entries/999", ".state/treeState", "tile/0/000.p/1/../../../key",
	} {
		if p, err := ReadPublic(dir, place); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q %v", place, p.Content, err)
		}
	}
	if p, err := ReadPublic(dir, "tile/0/007"); err == nil {
		t.Errorf("a link leads out of the log: %s", fmt.Sprintf("%.9s", p.Content))
	}
}
