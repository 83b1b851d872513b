package helmrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/registry"
)

const canary = "c4n4ry-s3cret!/+&"

func chart(t testing.TB, name, version string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	w := tar.NewWriter(zipped)
	content := "name: " + name + "\nversion: " + version + "\n"
	err := w.WriteHeader(&tar.Header{Name: name + "/Chart.yaml", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err := errors.Join(err, w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// chartServer is a chart repository.
type chartServer struct {
	*httptest.Server
	mu                sync.Mutex
	index             string
	files             map[string][]byte
	allow             func(*http.Request) bool
	indexes, archives atomic.Int64
	unchanged         atomic.Int64
}

func newChartServer(t testing.TB, secure bool) *chartServer {
	t.Helper()
	s := &chartServer{files: map[string][]byte{}}
	handler := http.HandlerFunc(s.serve)
	if secure {
		s.Server = httptest.NewTLSServer(handler)
	} else {
		s.Server = httptest.NewServer(handler)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *chartServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.allow != nil && !s.allow(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/charts/")
	if name == "index.yaml" {
		s.indexes.Add(1)
		etag := `"` + digest([]byte(s.index)) + `"`
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			s.unchanged.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(s.index))
		return
	}
	raw, ok := s.files[name]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.archives.Add(1)
	_, _ = w.Write(raw)
}

func (s *chartServer) offer(t testing.TB, withDigest bool, versions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = "apiVersion: v1\nentries:\n  web:\n"
	for _, v := range versions {
		raw := chart(t, "web", v)
		s.files["web-"+v+".tgz"] = raw
		s.index += "  - version: " + v + "\n    description: the " + v + "\n    urls: [web-" + v + ".tgz]\n"
		if withDigest {
			s.index += "    digest: " + digest(raw) + "\n"
		}
	}
}

func newSource(t testing.TB, cache string) *Source {
	t.Helper()
	s, err := New(Options{CacheDir: cache, PollInterval: -1, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func get2(t testing.TB, s *Source, spec source.Spec, cred source.Credentials) (source.Resolved, source.Tree) {
	t.Helper()
	at, err := s.Resolve(t.Context(), spec, cred)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := s.Fetch(t.Context(), spec, at, cred)
	if err != nil {
		t.Fatal(err)
	}
	return at, tree
}

func TestVersions(t *testing.T) {
	server := newChartServer(t, false)
	server.offer(t, true, "1.0.0", "1.2.0", "1.10.1", "2.0.0", "2.1.0-rc.1")
	s := newSource(t, t.TempDir())
	for wanted, want := range map[string]string{
		"": "2.0.0", "1.x": "1.10.1", "^1.0.0": "1.10.1", "~1.2": "1.2.0", "1.0.0": "1.0.0", ">=1 <2": "1.10.1",
		"2.1.0-rc.1": "2.1.0-rc.1", ">0-0": "2.1.0-rc.1", "*": "2.0.0",
	} {
		at, tree := get2(t, s, source.Spec{Repo: server.URL + "/charts", Chart: "web", Revision: wanted}, source.Credentials{})
		raw, err := tree.ReadFile("Chart.yaml")
		if err != nil || at.Revision != want || tree.Revision() != want || !strings.Contains(string(raw), "version: "+want+"\n") {
			t.Errorf("%q: got %s %q %v, want %s", wanted, at.Revision, raw, err, want)
		}
	}
	if server.indexes.Load() != 1 {
		t.Errorf("the index was read %d times", server.indexes.Load())
	}
	c, err := s.Describe(t.Context(), source.Spec{Repo: server.URL + "/charts", Chart: "web"}, source.Resolved{Revision: "1.2.0"}, source.Credentials{})
	if err != nil || c.Message != "the 1.2.0" {
		t.Errorf("describe: %+v %v", c, err)
	}
}

func TestNotFound(t *testing.T) {
	server := newChartServer(t, false)
	server.offer(t, true, "1.0.0")
	s := newSource(t, t.TempDir())
	cases := map[string]struct {
		spec   source.Spec
		reason source.Reason
		want   string
	}{
		"version": {source.Spec{Repo: server.URL + "/charts/", Chart: "web", Revision: "3.x"}, source.ReasonRevisionNotFound, `chart web has no version "3.x": the newest are 1.0.0`},
		"chart":   {source.Spec{Repo: server.URL + "/charts", Chart: "webb"}, source.ReasonRevisionNotFound, "did you mean web?"},
		"repo":    {source.Spec{Repo: server.URL + "/none", Chart: "web"}, source.ReasonNotFound, "not found"},
		"host":    {source.Spec{Repo: "http://127.0.0.1:1/x", Chart: "web"}, source.ReasonUnreachable, "unreachable"},
		"scheme":  {source.Spec{Repo: "file:///etc", Chart: "web"}, source.ReasonRefused, "begins with https://"},
		"name":    {source.Spec{Repo: server.URL, Chart: "../x"}, source.ReasonRefused, "not allowed"},
		"none":    {source.Spec{Repo: server.URL}, source.ReasonRefused, "no chart is named"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := s.Resolve(t.Context(), c.spec, source.Credentials{})
			if source.ReasonOf(err) != c.reason || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %s: %v", source.ReasonOf(err), err)
			}
		})
	}
}

func TestDownloadsAreSharedAndKept(t *testing.T) {
	for name, withDigest := range map[string]bool{"digest in the index": true, "no digest": false} {
		t.Run(name, func(t *testing.T) {
			server := newChartServer(t, false)
			server.offer(t, withDigest, "1.0.0")
			cache := t.TempDir()
			s := newSource(t, cache)
			spec := source.Spec{Repo: server.URL + "/charts", Chart: "web"}
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() { get2(t, s, spec, source.Credentials{}) })
			}
			all.Wait()
			for range 5 {
				get2(t, s, spec, source.Credentials{})
			}
			if n := server.archives.Load(); n > 2 || withDigest && n != 1 {
				t.Errorf("downloaded %d times", n)
			}
			if !withDigest {
				return
			}
			get2(t, newSource(t, cache), spec, source.Credentials{})
			if server.archives.Load() != 1 || server.unchanged.Load() != 1 {
				t.Errorf("after a restart: %d downloads, %d times unchanged", server.archives.Load(), server.unchanged.Load())
			}
		})
	}
}

func TestNewVersionIsNoticed(t *testing.T) {
	server := newChartServer(t, false)
	server.offer(t, true, "1.0.0")
	s := newSource(t, t.TempDir())
	heard := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { s.Watch(ctx, func(repo string) { heard <- repo }) })
	defer func() { cancel(); watch.Wait() }()
	spec := source.Spec{Repo: server.URL + "/charts", Chart: "web", Revision: "1.x"}
	get2(t, s, spec, source.Credentials{})
	server.offer(t, true, "1.0.0", "1.1.0")
	deadline := time.After(20 * time.Second)
	for {
		s.Refresh(spec.Repo)
		select {
		case <-heard:
		case <-time.After(50 * time.Millisecond):
			continue
		case <-deadline:
			t.Fatal("not noticed")
		}
		break
	}
	if at, _ := get2(t, s, spec, source.Credentials{}); at.Revision != "1.1.0" {
		t.Errorf("resolved %s", at.Revision)
	}
}

func TestChangedArchiveIsRefused(t *testing.T) {
	server := newChartServer(t, false)
	server.offer(t, true, "1.0.0")
	server.files["web-1.0.0.tgz"] = chart(t, "web", "6.6.6")
	s := newSource(t, t.TempDir())
	spec := source.Spec{Repo: server.URL + "/charts", Chart: "web"}
	at, err := s.Resolve(t.Context(), spec, source.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), spec, at, source.Credentials{}); source.ReasonOf(err) != source.ReasonRefused || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v", err)
	}
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	leaked := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
		_, _ = w.Write(chart(t, "web", "1.0.0"))
	}))
	defer other.Close()
	server := newChartServer(t, false)
	server.allow = func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "ada" && password == canary
	}
	server.index = "entries:\n  web:\n  - version: 1.0.0\n    urls: [\"" + other.URL + "/web.tgz\"]\n"
	s := newSource(t, t.TempDir())
	spec := source.Spec{Repo: server.URL + "/charts", Chart: "web"}
	get2(t, s, spec, source.Credentials{Username: "ada", Password: canary})
	if got := <-leaked; got != "" {
		t.Errorf("another host got %q", got)
	}
	_, err := s.Resolve(t.Context(), spec, source.Credentials{Username: "ada", Password: canary + "x"})
	if source.ReasonOf(err) != source.ReasonAuthentication || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("got %v", err)
	}
	_ = filepath.WalkDir(s.opts.CacheDir, func(path string, d os.DirEntry, err error) error {
		if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, []byte("c4n4ry")) {
			t.Errorf("a secret is in %s", path)
		}
		return nil
	})
}

func TestCertificates(t *testing.T) {
	server := newChartServer(t, true)
	server.offer(t, true, "1.0.0")
	s := newSource(t, t.TempDir())
	spec := source.Spec{Repo: server.URL + "/charts", Chart: "web"}
	if _, err := s.Resolve(t.Context(), spec, source.Credentials{}); source.ReasonOf(err) != source.ReasonCertificate {
		t.Errorf("got %v", err)
	}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	get2(t, s, spec, source.Credentials{CABundle: ca})
	get2(t, s, spec, source.Credentials{Insecure: true})
}

func TestBadIndexes(t *testing.T) {
	for name, raw := range map[string]string{
		"empty": "", "not YAML": "a: [", "no entries": "apiVersion: v1", "a page": "<html>",
		"bomb": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nentries: *g\n",
	} {
		if _, err := parseIndex([]byte(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add("entries:\n  web:\n  - version: 1.0.0\n    urls: [a.tgz]\n", "web", "1.x")
	f.Fuzz(func(t *testing.T, raw, name, wanted string) {
		i, err := parseIndex([]byte(raw))
		if err != nil {
			return
		}
		if v, err := i.find(name, wanted); err == nil {
			_, _, _ = chartURL("https://example.com/charts", v.URLs[0])
		}
	})
}

// ociServer is a registry with the charts under one path.
func ociServer(t testing.TB, charts map[string][]byte, allow func(*http.Request) bool) string {
	t.Helper()
	blobs := map[string][]byte{}
	manifests := map[string][]byte{}
	var tags []string
	for version, raw := range charts {
		tag := strings.ReplaceAll(version, "+", "_")
		layer := "sha256:" + digest(raw)
		blobs[layer] = raw
		manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:%s","size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}],"annotations":{"org.opencontainers.image.description":"the %s"}}`,
			digest([]byte("{}")), registry.ChartLayer, layer, len(raw), version)
		manifests[tag] = manifest
		manifests["sha256:"+digest(manifest)] = manifest
		tags = append(tags, tag)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allow != nil && !allow(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		rest, ok := strings.CutPrefix(r.URL.Path, "/v2/charts/web/")
		kind, name, _ := strings.Cut(rest, "/")
		switch {
		case ok && kind == "tags":
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "charts/web", "tags": tags})
		case ok && kind == "manifests" && manifests[name] != nil:
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", "sha256:"+digest(manifests[name]))
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(manifests[name]))
		case ok && kind == "blobs" && blobs[name] != nil:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blobs[name]))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/charts"
}

func TestOCI(t *testing.T) {
	charts := map[string][]byte{}
	for _, v := range []string{"1.0.0", "1.2.0+build.5", "2.0.0-rc.1"} {
		charts[v] = chart(t, "web", v)
	}
	allow := func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "ada" && password == canary
	}
	host := ociServer(t, charts, allow)
	cred := source.Credentials{Username: "ada", Password: canary, InsecureOCIForceHTTP: true}
	s := newSource(t, t.TempDir())
	for wanted, want := range map[string]string{"": "1.2.0+build.5", "1.x": "1.2.0+build.5", "1.0.0": "1.0.0", "1.2.0+build.5": "1.2.0+build.5", "2.0.0-rc.1": "2.0.0-rc.1"} {
		at, tree := get2(t, s, source.Spec{Repo: "oci://" + host, Chart: "web", Revision: wanted}, cred)
		raw, err := tree.ReadFile("Chart.yaml")
		if err != nil || at.Revision != want || !strings.Contains(string(raw), "version: "+want+"\n") {
			t.Errorf("%q: got %s %q %v, want %s", wanted, at.Revision, raw, err, want)
		}
	}
	withoutScheme := cred
	withoutScheme.EnableOCI = true
	get2(t, s, source.Spec{Repo: host, Chart: "web"}, withoutScheme)
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: "oci://" + host, Chart: "web", Revision: "9.9.9"}, cred); source.ReasonOf(err) != source.ReasonRevisionNotFound {
		t.Errorf("got %v", err)
	}
	bad := cred
	bad.Password = canary + "x"
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: "oci://" + host, Chart: "web"}, bad); source.ReasonOf(err) != source.ReasonAuthentication || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("got %v", err)
	}
}
