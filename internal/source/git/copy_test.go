package git

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/plumb-dev/plumb/internal/source"
)

// TestCopy makes copies that others can clone from, and that hold no credentials.
func TestCopy(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	first := r.commit("first")
	r.git("tag", "v1")
	r.write("a", "2")
	r.commit("second")
	root := r.bareClone("app.git")
	server := serveHTTP(t, root, basic)
	port, key, known := sshServer(t)
	user := os.Getenv("USER")
	if user == "" {
		user = "root"
	}
	for name, c := range map[string]struct {
		url  string
		cred source.Credentials
	}{
		"https": {server.URL + "/app.git", source.Credentials{Username: "ada", Password: canary}},
		"ssh":   {fmt.Sprintf("ssh://%s@127.0.0.1:%d%s/app.git", user, port, root), source.Credentials{SSHPrivateKey: key, KnownHosts: known}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			dir := filepath.Join(t.TempDir(), "copy")
			must(t, s.Copy(t.Context(), c.url, c.cred, dir))
			for _, revision := range []string{"HEAD", "main", "v1", first} {
				work := filepath.Join(t.TempDir(), "work")
				gitIn(t, "", "clone", "-q", "file://"+dir, work)
				gitIn(t, work, "checkout", "-q", revision)
			}
			r.write("a", name)
			r.commit("third")
			r.git("push", "-q", "origin", "main")
			must(t, s.Copy(t.Context(), c.url, c.cred, dir))
			if got := gitIn(t, dir, "show", "main:a"); got != name {
				t.Errorf("after a push it has %q", got)
			}
			for _, place := range []string{dir, s.opts.CacheDir} {
				noSecretOnDisk(t, place)
			}
			if left, _ := filepath.Glob(filepath.Join(s.tmp, "access-*")); len(left) > 0 {
				t.Errorf("keys are left in %v", left)
			}
		})
	}
	s := newSource(t)
	err := s.Copy(t.Context(), server.URL+"/app.git", source.Credentials{Username: "ada", Password: canary + "wrong"}, filepath.Join(t.TempDir(), "copy"))
	if source.ReasonOf(err) != source.ReasonAuthentication {
		t.Errorf("another password: %v", err)
	}
	noSecret(t, err.Error())
}
