package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/plumb-dev/plumb/internal/source"
)

type file struct {
	name, content string
	kind          byte
}

func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	w := tar.NewWriter(zipped)
	for _, f := range files {
		if f.kind == 0 {
			f.kind = tar.TypeReg
		}
		h := &tar.Header{Name: f.name, Typeflag: f.kind, Mode: 0o644, Size: int64(len(f.content))}
		if f.kind != tar.TypeReg {
			h.Size, h.Linkname = 0, f.content
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if f.kind == tar.TypeReg {
			if _, err := w.Write([]byte(f.content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func newStore(t testing.TB, limits Limits) *Store {
	t.Helper()
	s, err := NewStore(t.TempDir(), limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *Store, raw []byte) string {
	t.Helper()
	digest, err := s.Put(bytes.NewReader(raw), "")
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestTree(t *testing.T) {
	s := newStore(t, Limits{})
	digest := put(t, s, pack(t, file{name: "app/Chart.yaml", content: "name: app"}, file{name: "app/templates/a.yaml", content: "a"}))
	tree, err := s.Tree(digest, true, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "Chart.yaml", "templates/a.yaml"); err != nil {
		t.Error(err)
	}
	if tree.Revision() != "1.2.3" || tree.ID("nothing") != "" {
		t.Error("revision or identity of nothing")
	}
	other, err := s.Tree(put(t, s, pack(t, file{name: "app/Chart.yaml", content: "name: other"}, file{name: "app/templates/a.yaml", content: "a"})), true, "1")
	if err != nil {
		t.Fatal(err)
	}
	if tree.ID("templates") != other.ID("templates") || tree.ID(".") == other.ID(".") {
		t.Error("the identity is that of the content at the path")
	}
}

func TestHostileArchives(t *testing.T) {
	limits := Limits{FileBytes: 1000, TotalBytes: 3000, Entries: 20}
	many := make([]file, 30)
	for i := range many {
		many[i] = file{name: "app/" + strings.Repeat("x", i+1)}
	}
	cases := map[string]struct {
		raw  []byte
		want string
	}{
		"leaves":       {pack(t, file{name: "app/../../etc/passwd"}), "leads out of the archive"},
		"absolute":     {pack(t, file{name: "/etc/passwd"}), "not allowed"},
		"backslash":    {pack(t, file{name: `app\..\x`}), "not allowed"},
		"outside":      {pack(t, file{name: "Chart.yaml"}), "outside of the chart's directory"},
		"link":         {pack(t, file{name: "app/x", content: "/etc/passwd", kind: tar.TypeSymlink}), "is a link"},
		"hard link":    {pack(t, file{name: "app/x", content: "app/y", kind: tar.TypeLink}), "is a link"},
		"device":       {pack(t, file{name: "app/x", kind: tar.TypeChar}), "neither file nor directory"},
		"many":         {pack(t, many...), "over 20 entries"},
		"total":        {pack(t, file{name: "app/a", content: strings.Repeat("a", 900)}, file{name: "app/b", content: strings.Repeat("a", 900)}, file{name: "app/c", content: strings.Repeat("a", 900)}, file{name: "app/d", content: strings.Repeat("a", 900)}), "more than 3000 bytes"},
		"bomb":         {pack(t, file{name: "app/a", content: strings.Repeat("a", 30<<20)}), "more than 3000 bytes"},
		"file and dir": {pack(t, file{name: "app/a", content: "x"}, file{name: "app/a/b", content: "x"}), "both a file and a directory"},
		"cut short":    {pack(t, file{name: "app/a", content: "xyz"})[:60], "archive"},
		"not a tar":    {[]byte("hello, this is no archive at all"), "archive"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, limits)
			if _, err := s.Tree(put(t, s, c.raw), true, "1"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestFileOverTheLimitFailsAlone(t *testing.T) {
	s := newStore(t, Limits{FileBytes: 10})
	tree, err := s.Tree(put(t, s, pack(t, file{name: "app/big", content: strings.Repeat("x", 11)}, file{name: "app/small", content: "y"})), true, "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("big"); source.ReasonOf(err) != source.ReasonTooLarge || !strings.Contains(err.Error(), "big has 11 bytes") {
		t.Errorf("got %v", err)
	}
	if raw, err := tree.ReadFile("small"); err != nil || string(raw) != "y" {
		t.Errorf("got %q %v", raw, err)
	}
}

func TestStoreChecksDigests(t *testing.T) {
	s := newStore(t, Limits{PackedBytes: 1000})
	raw := pack(t, file{name: "app/a", content: "x"})
	if _, err := s.Put(bytes.NewReader(raw), strings.Repeat("0", 64)); source.ReasonOf(err) != source.ReasonRefused {
		t.Errorf("wrong digest: %v", err)
	}
	if _, err := s.Put(bytes.NewReader(make([]byte, 1001)), ""); source.ReasonOf(err) != source.ReasonTooLarge {
		t.Errorf("too large: %v", err)
	}
	digest := put(t, s, raw)
	if err := os.WriteFile(s.path(digest), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tree(digest, true, "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("damaged on disk: %v", err)
	}
	if s.Has(digest) || s.Has("../../etc/passwd") {
		t.Error("a damaged archive is removed")
	}
	if left, _ := os.ReadDir(s.dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := newStore(t, Limits{})
	s.memory = 128 << 10
	first := put(t, s, pack(t, file{name: "app/a", content: strings.Repeat("x", 60<<10)}))
	tree, err := s.Tree(first, true, "1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := s.Tree(put(t, s, pack(t, file{name: "app/a", content: strings.Repeat(string(rune('a'+i)), 60<<10)})), true, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if s.bytes > s.memory {
		t.Errorf("%d bytes are kept", s.bytes)
	}
	if tree.ID("a") == "" {
		t.Error("a tree that was let go is read again")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, file{name: "app/Chart.yaml", content: "x"}, file{name: "app/t/a", content: "y"}), true)
	f.Add([]byte("plain"), false)
	f.Fuzz(func(t *testing.T, raw []byte, top bool) {
		c, err := unpack(bytes.NewReader(raw), top, Limits{FileBytes: 1 << 16, TotalBytes: 1 << 18, Entries: 100})
		if err == nil && c.bytes > 1<<18 {
			t.Error("over the bound")
		}
	})
}
