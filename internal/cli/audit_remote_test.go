package cli

import (
	"context"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// ledgerServer gives a ledger as plumb server does, to who has the token "good".
type ledgerServer struct {
	*httptest.Server
	dir string

	mu     sync.Mutex
	places []string
	tokens map[string]bool
}

func newLedgerServer(t *testing.T, dir string) *ledgerServer {
	t.Helper()
	s := &ledgerServer{dir: dir, tokens: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/ledger/{place...}", s.give)
	mux.HandleFunc("GET /moved/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example.org/", http.StatusFound)
	})
	mux.HandleFunc("GET /odd/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>welcome")) })
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *ledgerServer) give(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places = append(s.places, r.PathValue("place"))
	s.tokens[r.Header.Get("Authorization")] = true
	switch r.Header.Get("Authorization") {
	case "Bearer good":
	case "Bearer viewer":
		http.Error(w, "vera may not read the ledger: it takes the verb get on ledgers.plumb.dev\x1b[2J", http.StatusForbidden)
		return
	case "Bearer standby":
		http.Error(w, "this server stands by: web-1 leads, and has the ledger", http.StatusServiceUnavailable)
		return
	default:
		http.Error(w, "send a token", http.StatusUnauthorized)
		return
	}
	p, err := ledger.ReadPublic(s.dir, r.PathValue("place"))
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "nothing there", http.StatusNotFound)
		return
	}
	_, _ = w.Write(p.Content)
}

func TestAuditFromAServer(t *testing.T) {
	dir, home := recordedLedger(t), t.TempDir()
	s := newLedgerServer(t, dir)
	file := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, name := range []string{"good", "viewer", "standby", "expired"} {
		file(name, name+"\n")
	}
	file("ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	plumb := func(args string) (string, int) {
		t.Helper()
		var o, e buffer
		args = strings.NewReplacer("URL", s.URL, "HOME", home).Replace(args)
		env := environment{NoColor: true, DataDir: "/nonexistent/plumb", StateDir: home}
		code := run(t.Context(), strings.Fields(args), Streams{In: strings.NewReader(""), Out: &o, Err: &e}, env)
		return o.String() + e.String(), code
	}
	const good = " --server URL --token-file HOME/good --certificate-authority HOME/ca"
	for _, c := range []struct {
		name, args string
		code       int
		want       []string
	}{
		{"no token", "audit log --server URL --certificate-authority HOME/ca", 1, []string{"name a file with a token with --token-file"}},
		{"an old token", "audit log --server URL --certificate-authority HOME/ca --token-file HOME/expired", 1, []string{"does not accept the token in", "expired"}},
		{"no right", "audit log --server URL --certificate-authority HOME/ca --token-file HOME/viewer", 1, []string{"vera may not read the ledger: it takes the verb get on ledgers.plumb.dev?[2J"}},
		{"who stands by", "audit verify --server URL --certificate-authority HOME/ca --token-file HOME/standby", 2, []string{"web-1 leads, and has the ledger"}},
		{"an unknown authority", "audit log --server URL --token-file HOME/good", 1, []string{"--certificate-authority"}},
		{"plain", "audit log --server http://plumb.example.org --token-file HOME/good", 1, []string{"anybody between here and plumb.example.org", "--insecure-plain-http"}},
		{"a password", "audit log --server https://ann:secret@plumb.example.org", 1, []string{"no password belongs into an address"}},
		{"sent elsewhere", "audit log --server URL/moved --token-file HOME/good --certificate-authority HOME/ca", 1, []string{"sends elsewhere, to https://elsewhere.example.org/"}},
		{"no Plumb", "audit log --server URL/odd --token-file HOME/good --certificate-authority HOME/ca", 1, []string{"what answers is no ledger"}},
		{"not there", "audit log --server URL/nothing --token-file HOME/good --certificate-authority HOME/ca", 1, []string{"there is no ledger at", "is it the address of a plumb server"}},
		{"no server", "audit log --token-file HOME/good", 1, []string{"--token-file is about a server"}},
		{"an index elsewhere", "audit log --index-database-file x" + good, 1, []string{"has an index of its own"}},
		{"the first time", "audit log" + good, 0, []string{"read for the first time", "\nplumb.dev/ledger/", "Healed", "shop/web"}},
		{"again", "audit log shop/web --kind approved" + good, 0, []string{"bob@example.org"}},
		{"show", "audit show 3" + good, 0, []string{"ada@example.org", "Proved by the checkpoint of 6 entries"}},
		{"export", "audit export web -o csv" + good, 0, []string{"index,time,kind"}},
		{"report", "report --since 30d" + good, 0, []string{"12m / 12m"}},
		{"checkpoint", "audit checkpoint" + good, 0, []string{"\n6\n"}},
		{"verify", "audit verify" + good, 0, []string{"Witness:      this copy: the ledger only grew since", "Keys:         those that were trusted when the copy was begun", "Nothing was changed."}},
		{"pinned", "audit verify --key " + filepath.Join(dir, "key.pub") + good, 0, []string{"Nothing was changed."}},
		{"a folder of one's own", "audit log --dir HOME/mine" + good, 0, []string{"Healed"}},
		{"the ledger itself", "audit log --dir " + dir + good, 1, []string{"is the folder of a ledger itself"}},
		{"offline", "audit log --dir HOME/mine", 0, []string{"Healed"}},
		{"rotate", "audit rotate-key --yes --dir HOME/mine", 1, []string{"private key key is gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			said, code := plumb(c.args)
			if code != c.code {
				t.Errorf("exit code %d, not %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("no %q in\n%s", want, said)
				}
			}
		})
	}
	if len(s.tokens) != 5 || s.tokens["Bearer secret"] {
		t.Errorf("other tokens were sent than those that were named: %v", s.tokens)
	}
	followsAndFinds(t, s, plumb, good)
}

// followsAndFinds fetches what is new only, and notices a ledger that was rewritten, and
// a server that is dead.
func followsAndFinds(t *testing.T, s *ledgerServer, plumb func(string) (string, int), good string) {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: s.dir, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), entry.Entry{Kind: entry.Frozen, Project: "shop", Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.places = nil
	if said, code := plumb("audit log --kind frozen" + good); code != 0 || !strings.Contains(said, "Frozen") || strings.Contains(said, "first time") {
		t.Errorf("%d %s", code, said)
	}
	if got := strings.Join(s.places, " "); got != "checkpoint tile/entries/000.p/7" {
		t.Errorf("fetched: %s", got)
	}
	rewritten := recordedLedger(t) // by who can write to the folder, and begins anew
	s.mu.Lock()
	s.dir = rewritten
	s.mu.Unlock()
	if said, code := plumb("audit log" + good); code != 1 || !strings.Contains(said, "this is another ledger than the one that was read here before") {
		t.Errorf("%d %s", code, said)
	}
	s.Close()
	if said, code := plumb("audit log" + good); code != 1 || !strings.Contains(said, "is `plumb server` running there?") || !strings.Contains(said, "read it with --dir instead") {
		t.Errorf("%d %s", code, said)
	}
	var config net.ListenConfig
	plainly, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	go func() { _ = h.Serve(plainly) }()
	t.Cleanup(func() { _ = h.Close() })
	for address, want := range map[string]string{"https://" + plainly.Addr().String(): "it speaks no TLS there", "http://" + plainly.Addr().String(): "there is no ledger at"} {
		if said, code := plumb("audit log --token-file HOME/good --server " + address); code != 1 || !strings.Contains(said, want) {
			t.Errorf("%s: %d %s", address, code, said)
		}
	}
}
