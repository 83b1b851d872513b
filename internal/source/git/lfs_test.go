package git

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/source"
)

func TestLFS(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Skip("git-lfs is not installed")
	}
	r := newRepo(t)
	r.git("lfs", "install", "--local")
	r.git("lfs", "track", "*.bin")
	r.write("big.bin", strings.Repeat("large ", 1000))
	r.commit("large file")
	hub := filepath.Join(t.TempDir(), "hub.git")
	gitIn(t, "", "init", "-q", "--bare", "-b", "main", hub)
	r.git("remote", "add", "origin", "file://"+hub)
	r.git("push", "-q", "origin", "main")
	s := newSource(t)
	spec := source.Spec{Repo: "file://" + hub, Revision: "main"}
	cred := source.Credentials{EnableLFS: true}
	at, err := s.Resolve(t.Context(), spec, cred)
	must(t, err)
	tree, err := s.Fetch(t.Context(), spec, at, cred)
	must(t, err)
	if got := read(t, tree, "big.bin"); got != strings.Repeat("large ", 1000) {
		t.Errorf("%d bytes: %q", len(got), clip(got, 100))
	}
}
