package git

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

const canary = "c4n4ry-s3cret!/+&"

// gitServer is a real smart HTTP server over the repositories in a directory.
type gitServer struct {
	*httptest.Server
	requests atomic.Int64
}

func serveHTTP(t testing.TB, root string, allow func(*http.Request) bool) *gitServer {
	t.Helper()
	backend := filepath.Join(gitIn(t, "", "--exec-path"), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("git-http-backend is not installed")
	}
	g := &gitServer{}
	handler := &cgi.Handler{
		Path:       backend,
		Env:        append([]string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root}, isolated...),
		InheritEnv: []string{"PATH"},
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.requests.Add(1)
		if allow != nil && !allow(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		if p := r.Header.Get("Git-Protocol"); p != "" {
			handler := *handler
			handler.Env = append(append([]string{}, handler.Env...), "GIT_PROTOCOL="+p)
			handler.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// bareClone puts a repository into a directory that a server serves.
func (r *repo) bareClone(name string) (root string) {
	r.t.Helper()
	root = r.t.TempDir()
	gitIn(r.t, "", "clone", "-q", "--bare", r.dir, filepath.Join(root, name))
	r.git("remote", "add", "origin", filepath.Join(root, name))
	return root
}

func TestHTTP(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	first := r.commit("first")
	root := r.bareClone("app.git")
	server := serveHTTP(t, root, nil)
	s := newSource(t)
	repoURL := server.URL + "/app.git"
	if got := read(t, fetch(t, s, repoURL, "main"), "a"); got != "1" {
		t.Errorf("content %q", got)
	}
	for i := range 5 {
		r.write("a", fmt.Sprint(i))
		r.commit("next")
		r.git("push", "-q", "origin", "main")
		s.Refresh(repoURL)
		if got := read(t, fetch(t, s, repoURL, "main"), "a"); got != fmt.Sprint(i) {
			t.Errorf("content %q", got)
		}
	}
	if got := read(t, fetch(t, s, repoURL, first), "a"); got != "1" {
		t.Errorf("an old commit by its id: %q", got)
	}
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: server.URL + "/none.git"}, source.Credentials{}); source.ReasonOf(err) != source.ReasonNotFound {
		t.Errorf("got %v, want not found", err)
	}
	before := server.requests.Load()
	for range 10 {
		fetch(t, s, repoURL, "main")
	}
	if got := server.requests.Load() - before; got != 0 {
		t.Errorf("%d requests for what is known, want none", got)
	}
}

func TestPollNoticesAPush(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	server := serveHTTP(t, r.bareClone("app.git"), nil)
	s := newSource(t, func(o *Options) { o.PollInterval = 50 * time.Millisecond })
	heard := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Watch(ctx, func(repo string) { heard <- repo }) }()
	defer func() { cancel(); <-done }()
	fetch(t, s, server.URL+"/app.git", "main")
	lists := s.lists.Load()
	until(t, "some polls", func() bool { return s.lists.Load() > lists+2 })
	if len(heard) != 0 || s.fetches.Load() != 1 {
		t.Errorf("nothing changed: heard %d times, fetched %d times", len(heard), s.fetches.Load())
	}
	r.write("a", "2")
	id := r.commit("second")
	r.git("push", "-q", "origin", "main")
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Fatal("not noticed")
	}
	if got := resolve(t, s, server.URL+"/app.git", "main"); got.Revision != id {
		t.Errorf("resolved %s", got.Revision)
	}
}

func basic(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && user == "ada" && password == canary
}

func TestHTTPCredentials(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	root := r.bareClone("app.git")
	bearer := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+canary }
	cases := map[string]struct {
		allow  func(*http.Request) bool
		cred   source.Credentials
		reason string
		want   source.Reason
	}{
		"password":       {basic, source.Credentials{Username: "ada", Password: canary}, "asked for by the server", ""},
		"forced":         {basic, source.Credentials{Username: "ada", Password: canary, ForceBasicAuth: true}, "sent at once", ""},
		"bearer":         {bearer, source.Credentials{BearerToken: canary}, "", ""},
		"wrong password": {basic, source.Credentials{Username: "ada", Password: canary + "x"}, "", source.ReasonAuthentication},
		"wrong bearer":   {bearer, source.Credentials{BearerToken: canary + "x"}, "", source.ReasonAuthentication},
		"none":           {basic, source.Credentials{}, "no prompt, no askpass", source.ReasonAuthentication},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server := serveHTTP(t, root, c.allow)
			s := newSource(t)
			spec := source.Spec{Repo: server.URL + "/app.git", Revision: "main"}
			at, err := s.Resolve(t.Context(), spec, c.cred)
			if got := source.ReasonOf(err); got != c.want {
				t.Fatalf("%s: got %q (%v), want %q", c.reason, got, err, c.want)
			}
			if err != nil {
				noSecret(t, err.Error())
				return
			}
			tree, err := s.Fetch(t.Context(), spec, at, c.cred)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, tree, "a"); got != "1" {
				t.Errorf("content %q", got)
			}
			noSecretOnDisk(t, s.opts.CacheDir)
		})
	}
}

func noSecret(t testing.TB, text string) {
	t.Helper()
	for _, form := range []string{canary, url.QueryEscape(canary), url.PathEscape(canary), "c4n4ry"} {
		if strings.Contains(text, form) {
			t.Errorf("a secret shows: %s", text)
		}
	}
}

func noSecretOnDisk(t testing.TB, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if raw, err := os.ReadFile(path); err == nil && strings.Contains(string(raw), "c4n4ry") {
				t.Errorf("a secret is on disk in %s", path)
			}
		}
		return nil
	})
}

func TestCredentialsInTheURLDoNotShow(t *testing.T) {
	r := newRepo(t)
	r.commit("first")
	server := serveHTTP(t, r.bareClone("app.git"), basic)
	u, _ := url.Parse(server.URL + "/app.git")
	s := newSource(t)
	u.User = url.UserPassword("ada", canary+"wrong")
	_, err := s.Resolve(t.Context(), source.Spec{Repo: u.String()}, source.Credentials{})
	if source.ReasonOf(err) != source.ReasonAuthentication {
		t.Errorf("got %v", err)
	}
	noSecret(t, err.Error())
	u.User = url.UserPassword("ada", canary)
	tree := fetch(t, s, u.String(), "main")
	_, err = tree.ReadFile("missing")
	noSecret(t, err.Error())
	_, err = s.Resolve(t.Context(), source.Spec{Repo: u.String(), Revision: "none"}, source.Credentials{})
	noSecret(t, err.Error())
	noSecretOnDisk(t, s.opts.CacheDir)
}

func TestContentIsNotShownToOthersCredentials(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	id := r.commit("first")
	server := serveHTTP(t, r.bareClone("app.git"), basic)
	s := newSource(t)
	spec := source.Spec{Repo: server.URL + "/app.git", Revision: "main"}
	good := source.Credentials{Username: "ada", Password: canary}
	at, err := s.Resolve(t.Context(), spec, good)
	must(t, err)
	_, err = s.Fetch(t.Context(), spec, at, good)
	must(t, err)
	for _, bad := range []source.Credentials{{}, {Username: "ada", Password: "guess"}} {
		if _, err := s.Resolve(t.Context(), source.Spec{Repo: spec.Repo, Revision: id}, bad); source.ReasonOf(err) != source.ReasonAuthentication {
			t.Errorf("resolve: got %v", err)
		}
		if _, err := s.Fetch(t.Context(), spec, source.Resolved{Revision: id}, bad); source.ReasonOf(err) != source.ReasonAuthentication {
			t.Errorf("fetch: got %v", err)
		}
	}
}

func TestRedirectDoesNotTakeTheCredentials(t *testing.T) {
	r := newRepo(t)
	r.commit("first")
	leaked := make(chan string, 100)
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer thief.Close()
	port := thief.URL[strings.LastIndex(thief.URL, ":"):]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://localhost"+port+r.URL.String(), http.StatusFound)
	}))
	defer server.Close()
	for _, cred := range []source.Credentials{
		{Username: "ada", Password: canary},
		{Username: "ada", Password: canary, ForceBasicAuth: true},
		{BearerToken: canary},
	} {
		s := newSource(t)
		if _, err := s.Resolve(t.Context(), source.Spec{Repo: server.URL + "/app.git"}, cred); err == nil {
			t.Error("the thief has no repository")
		}
	}
	close(leaked)
	for header := range leaked {
		if header != "" {
			t.Errorf("another host got %q", header)
		}
	}
}

func TestServerThatIsDownKeepsWhatWasSeen(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	server := serveHTTP(t, r.bareClone("app.git"), nil)
	s := newSource(t)
	repoURL := server.URL + "/app.git"
	fetch(t, s, repoURL, "main")
	server.Close()
	s.Refresh(repoURL)
	got := resolve(t, s, repoURL, "main")
	if got.Stale == "" || !strings.Contains(got.Stale, "unreachable") {
		t.Errorf("the answer is old and says %q", got.Stale)
	}
	if got := read(t, fetch(t, s, repoURL, "main"), "a"); got != "1" {
		t.Errorf("content %q", got)
	}
	again := newSource(t, func(o *Options) { o.CacheDir = s.opts.CacheDir })
	tree, err := again.Fetch(t.Context(), source.Spec{Repo: repoURL}, got, source.Credentials{})
	if err != nil {
		t.Fatalf("after a restart, what is on disk may be read: %v", err)
	}
	if got := read(t, tree, "a"); got != "1" {
		t.Errorf("content %q", got)
	}
}

func TestServersThatGiveNoSingleCommit(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	first := r.commit("first")
	r.write("a", "2")
	r.commit("second")
	root := r.bareClone("app.git")
	gitIn(t, filepath.Join(root, "app.git"), "update-server-info")

	old := func(o *Options) {
		o.Env = append(append([]string{}, isolated...), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=protocol.version", "GIT_CONFIG_VALUE_0=0")
	}
	dumb := httptest.NewServer(http.FileServer(http.Dir(root)))
	defer dumb.Close()
	smart := serveHTTP(t, root, nil)
	for name, base := range map[string]string{"dumb": dumb.URL, "old protocol": smart.URL} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, old)
			if got := read(t, fetch(t, s, base+"/app.git", "main"), "a"); got != "2" {
				t.Errorf("content %q", got)
			}
			if got := read(t, fetch(t, s, base+"/app.git", first), "a"); got != "1" {
				t.Errorf("content of an old commit %q", got)
			}
			at := source.Resolved{Revision: strings.Repeat("ab", 20)}
			if _, err := s.Fetch(t.Context(), source.Spec{Repo: base + "/app.git"}, at, source.Credentials{}); source.ReasonOf(err) != source.ReasonRevisionNotFound {
				t.Errorf("a commit that is not there: %v", err)
			}
		})
	}
}

func TestKilledFetchRecovers(t *testing.T) {
	r := newRepo(t)
	for i := range 400 {
		r.write(fmt.Sprintf("dir-%d/file", i), strings.Repeat(fmt.Sprint(i), 2000))
	}
	r.commit("first")
	cache := t.TempDir()
	for i := range 8 {
		s := newSource(t, func(o *Options) { o.CacheDir = cache })
		at := resolve(t, s, r.url(), "main")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = s.Fetch(ctx, source.Spec{Repo: r.url()}, at, source.Credentials{})
		}()
		time.Sleep(time.Duration(5+i*7) * time.Millisecond)
		must(t, s.Close()) // kills git with SIGKILL
		cancel()
		<-done
	}
	s := newSource(t, func(o *Options) { o.CacheDir = cache })
	if got := read(t, fetch(t, s, r.url(), "main"), "dir-7/file"); got != strings.Repeat("7", 2000) {
		t.Errorf("content of %d bytes", len(got))
	}
}

// sshServer is a real sshd on this machine, for one key.
func sshServer(t *testing.T) (port int, key, known string) {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("openssh-server is not installed")
	}
	if os.Getuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755)
	}
	dir := t.TempDir()
	for _, name := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Skipf("ssh-keygen: %v %s", err, out)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port = listener.Addr().(*net.TCPAddr).Port
	must(t, listener.Close())
	config := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n", port, dir, dir)
	must(t, os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600))
	log := &tail{max: 8 << 10}
	cmd := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "config"))
	cmd.Stderr = log
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "sshd listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	private, err := os.ReadFile(filepath.Join(dir, "user"))
	must(t, err)
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	must(t, err)
	return port, string(private), fmt.Sprintf("[127.0.0.1]:%d %s", port, public)
}

func TestSSH(t *testing.T) {
	port, key, known := sshServer(t)
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	root := r.bareClone("app.git")
	user := os.Getenv("USER")
	if user == "" {
		user = "root"
	}
	repoURL := fmt.Sprintf("ssh://%s@127.0.0.1:%d%s/app.git", user, port, root)
	_, otherKey, _ := sshServer(t)
	cases := map[string]struct {
		url    string
		cred   source.Credentials
		want   source.Reason
		reason string
	}{
		"key and known host":   {repoURL, source.Credentials{SSHPrivateKey: key, KnownHosts: known}, "", ""},
		"insecure":             {repoURL, source.Credentials{SSHPrivateKey: key, Insecure: true}, "", "the host key is not looked at"},
		"host not known":       {repoURL, source.Credentials{SSHPrivateKey: key, KnownHosts: "example.com ssh-ed25519 AAAA"}, source.ReasonHostKey, ""},
		"wrong key":            {repoURL, source.Credentials{SSHPrivateKey: otherKey, KnownHosts: known}, source.ReasonAuthentication, ""},
		"not a key":            {repoURL, source.Credentials{SSHPrivateKey: canary, KnownHosts: known}, source.ReasonAuthentication, ""},
		"no such repository":   {repoURL + "x", source.Credentials{SSHPrivateKey: key, KnownHosts: known}, source.ReasonNotFound, ""},
		"nobody listens there": {"ssh://x@127.0.0.1:1/app.git", source.Credentials{SSHPrivateKey: key, KnownHosts: known}, source.ReasonUnreachable, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			spec := source.Spec{Repo: c.url, Revision: "main"}
			at, err := s.Resolve(t.Context(), spec, c.cred)
			if got := source.ReasonOf(err); got != c.want {
				t.Fatalf("%s got %q (%v), want %q", c.reason, got, err, c.want)
			}
			if err != nil {
				noSecret(t, err.Error())
			} else {
				tree, err := s.Fetch(t.Context(), spec, at, c.cred)
				must(t, err)
				if got := read(t, tree, "a"); got != "1" {
					t.Errorf("content %q", got)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(s.opts.CacheDir, "tmp", "*")); len(left) != 0 {
				t.Errorf("keys are left on disk: %v", left)
			}
		})
	}
}
