package git

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// TestCopyAt gives some commits and what they build on, and nothing else.
func TestCopyAt(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	first := r.commit("first")
	r.git("tag", "v1")
	r.write("a", "2")
	second := r.commit("second")
	r.git("checkout", "-q", "-b", "feature/x")
	r.write("a", "3")
	third := r.commit("third")
	s := newSource(t)
	dir := filepath.Join(t.TempDir(), "copy")
	for name, c := range map[string]struct {
		reason          string
		commits         map[string]string
		there, notThere []string
	}{
		"tag":    {"what comes after it was not asked for", map[string]string{"v1": first}, []string{"HEAD", "v1", first, first[:8]}, []string{second, third, "main", "feature/x"}},
		"branch": {"a branch has what it builds on", map[string]string{"feature/x": second}, []string{"feature/x", second, first}, []string{third, third[:9]}},
		"commit": {"a commit needs no name", map[string]string{first: first, "": second}, []string{"HEAD", first, second}, []string{third, "v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, s.CopyAt(t.Context(), r.dir, source.Credentials{}, dir, c.commits))
			work := filepath.Join(t.TempDir(), "work")
			gitIn(t, "", "clone", "-q", "file://"+dir, work)
			for _, revision := range c.there {
				gitIn(t, work, "checkout", "-q", revision)
			}
			for _, revision := range c.notThere {
				cmd := exec.Command("git", "-C", work, "checkout", "-q", revision)
				if out, err := cmd.CombinedOutput(); err == nil {
					t.Errorf("%s: %s is there: %s", c.reason, revision, out)
				}
			}
		})
	}
	must(t, s.Copy(t.Context(), r.dir, source.Credentials{}, dir)) // it can be widened again
	gitIn(t, dir, "cat-file", "-e", "refs/heads/feature/x")
	for _, name := range []string{"v1~1", "main@{1}", "a..b", "-x", "x.lock", "a//b"} {
		if err := s.CopyAt(t.Context(), r.dir, source.Credentials{}, dir, map[string]string{name: first}); err == nil || !strings.Contains(err.Error(), "is not the name of a branch, tag or commit") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
