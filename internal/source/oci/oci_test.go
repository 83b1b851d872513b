package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func pack(t testing.TB, name, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	w := tar.NewWriter(zipped)
	err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err := errors.Join(err, w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// server is a registry with one repository, team/app.
type server struct {
	address   string
	mu        sync.Mutex
	blobs     map[string][]byte
	manifests map[string][]byte
	served    atomic.Int64 // blobs
	tamper    bool
}

func newServer(t testing.TB) *server {
	s := &server{blobs: map[string][]byte{}, manifests: map[string][]byte{}}
	h := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(h.Close)
	s.address = "oci://" + strings.TrimPrefix(h.URL, "http://") + "/team/app"
	return s
}

func (s *server) push(tag, mediaType string, layers ...[]byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, raw := range layers {
		s.blobs[digest(raw)] = raw
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest(raw), len(raw)))
	}
	m := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` +
		digest([]byte("{}")) + `","size":2},"layers":[` + strings.Join(list, ",") + `],"annotations":{"org.opencontainers.image.authors":"Ada","org.opencontainers.image.created":"2024-01-02T03:04:05Z","org.opencontainers.image.description":"` + tag + `"}}`)
	s.manifests[tag], s.manifests[digest(m)] = m, m
	return digest(m)
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest, _ := strings.CutPrefix(r.URL.Path, "/v2/team/app/")
	kind, name, _ := strings.Cut(rest, "/")
	switch {
	case kind == "tags":
		var tags []string
		for tag := range s.manifests {
			if !strings.Contains(tag, ":") {
				tags = append(tags, tag)
			}
		}
		slices.Sort(tags)
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "team/app", "tags": tags})
	case kind == "manifests" && s.manifests[name] != nil:
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digest(s.manifests[name]))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.manifests[name]))
	case kind == "blobs" && s.blobs[name] != nil:
		s.served.Add(1)
		raw := bytes.Clone(s.blobs[name])
		if s.tamper {
			raw[len(raw)/2] ^= 1
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

var plain = source.Credentials{InsecureOCIForceHTTP: true}

const layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

func newSource(t testing.TB) *Source {
	s, err := New(Options{CacheDir: t.TempDir(), PollInterval: -1, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestArtifact(t *testing.T) {
	r := newServer(t)
	one := r.push("1.0.0", layerType, pack(t, "deploy/a.yaml", "one"))
	two := r.push("1.1.0", layerType, pack(t, "deploy/a.yaml", "two"))
	r.push("latest", layerType, pack(t, "./deploy/a.yaml", "one"))
	s := newSource(t)
	for revision, want := range map[string]struct{ digest, tag string }{
		"1.0.0": {one, "1.0.0"}, "1.x": {two, "1.1.0"}, one: {one, ""},
	} {
		spec := source.Spec{Repo: r.address, Revision: revision}
		at, err := s.Resolve(t.Context(), spec, plain)
		if err != nil || at.Revision != want.digest || at.Ref != want.tag {
			t.Fatalf("%s: got %+v %v", revision, at, err)
		}
		tree, err := s.Fetch(t.Context(), spec, at, plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := fstest.TestFS(tree, "deploy/a.yaml"); err != nil {
			t.Error(err)
		}
	}
	at, err := s.Resolve(t.Context(), source.Spec{Repo: r.address}, plain)
	if err != nil || at.Ref != "latest" {
		t.Errorf("no revision is the tag latest: %+v %v", at, err)
	}
	c, err := s.Describe(t.Context(), source.Spec{Repo: r.address}, source.Resolved{Revision: two, Ref: "1.1.0"}, plain)
	if err != nil || c.Author != "Ada" || c.Date != "2024-01-02T03:04:05Z" || c.Message != "1.1.0" {
		t.Errorf("describe: %+v %v", c, err)
	}
	if n := r.served.Load(); n != 2 {
		t.Errorf("%d layers downloaded, want two", n)
	}
}

func TestTagThatMoves(t *testing.T) {
	r := newServer(t)
	r.push("stable", layerType, pack(t, "a.yaml", "one"))
	s := newSource(t)
	spec := source.Spec{Repo: r.address, Revision: "stable"}
	before, err := s.Resolve(t.Context(), spec, plain)
	if err != nil {
		t.Fatal(err)
	}
	moved := r.push("stable", layerType, pack(t, "a.yaml", "two"))
	if at, _ := s.Resolve(t.Context(), spec, plain); at != before {
		t.Error("answered from memory until a refresh")
	}
	s.Refresh(r.address)
	if at, err := s.Resolve(t.Context(), spec, plain); err != nil || at.Revision != moved {
		t.Errorf("got %+v %v", at, err)
	}
}

func TestRefusals(t *testing.T) {
	r := newServer(t)
	raw := pack(t, "a.yaml", "x")
	r.push("two", layerType, raw, pack(t, "b.yaml", "x"))
	r.push("other", "application/x-program", raw)
	r.push("hostile", layerType, pack(t, "../../etc/passwd", "x"))
	s := newSource(t)
	for tag, want := range map[string]string{
		"two": "this one has 2", "other": "application/x-program", "hostile": "leads out of the archive", "none": `there is no artifact "none"`,
	} {
		spec := source.Spec{Repo: r.address, Revision: tag}
		at, err := s.Resolve(t.Context(), spec, plain)
		if err == nil {
			_, err = s.Fetch(t.Context(), spec, at, plain)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", tag, err, want)
		}
	}
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: "oci://127.0.0.1:1/x/y"}, plain); source.ReasonOf(err) != source.ReasonUnreachable {
		t.Errorf("got %v", err)
	}
}

func TestTamperedLayerIsRefused(t *testing.T) {
	r := newServer(t)
	r.push("latest", layerType, pack(t, "a.yaml", "some content that is long enough"))
	r.tamper = true
	s := newSource(t)
	at, err := s.Resolve(t.Context(), source.Spec{Repo: r.address}, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), source.Spec{Repo: r.address}, at, plain); source.ReasonOf(err) != source.ReasonRefused || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v", err)
	}
}
