package tofu_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
)

func TestGitRepository(t *testing.T) {
	for source, want := range map[string]string{
		"git::https://git.example.com/a/b.git//mod/x?ref=v1&depth=1": "https://git.example.com/a/b.git",
		"git::https://git.example.com/a/b?ref=v1":                    "https://git.example.com/a/b",
		"git::ssh://git@git.example.com:2222/a/b.git//x":             "ssh://git@git.example.com:2222/a/b.git",
		"git@github.com:a/b.git//x?ref=v1":                           "ssh://git@github.com/a/b.git",
		"git::git@github.com:a/b.git":                                "ssh://git@github.com/a/b.git",
		"github.com/a/b//x?ref=v1":                                   "https://github.com/a/b.git",
		"github.com/a/b.git":                                         "https://github.com/a/b.git",
		"hashicorp/consul/aws":                                       "",
		"registry.example.com:8080/a/b/c":                            "",
		"https://example.com/module.zip":                             "",
		"git::file:///etc":                                           "",
		"git::https://u:secret@git.example.com/a/b.git":              "",
		"git::https://-x/a":                                          "",
		"hg::https://example.com/x":                                  "",
		"s3::https://s3.amazonaws.com/b/x.zip":                       "",
	} {
		if got := tofu.GitRepository(source); got != want {
			t.Errorf("%s: %q, should be %q", source, got, want)
		}
	}
}

// TestPrivateModules runs modules from repositories that only Plumb can open. They
// call each other, and the URL of one begins like that of another.
func TestPrivateModules(t *testing.T) {
	s := calm(t)
	root := t.TempDir()
	const host = "https://git.invalid/"
	repository := func(name, text string) {
		t.Helper()
		dir := filepath.Join(root, name)
		git(t, "", "init", "-q", "-b", "main", dir)
		if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, dir, "add", ".")
		git(t, dir, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x")
		git(t, dir, "tag", "v1")
	}
	repository("net", providers+"module \"more\" {\n  source = \"git::"+host+"net-more?ref=v1\"\n}\noutput \"id\" {\n  value = module.more.id\n}\n")
	repository("net-more", providers+vpc("a", "10.0.0.0/16", "1")+"output \"id\" {\n  value = cloud_vpc.a.id\n}\n")
	var asked []string
	refuse := ""
	clone := func(_ context.Context, repo string, revisions []string, dir string) (bool, error) {
		if dir == "" || len(revisions) != 1 || revisions[0] != "v1" {
			t.Errorf("%s is asked for at %q, to %q", repo, revisions, dir)
		}
		asked = append(asked, repo)
		name := strings.TrimPrefix(repo, host)
		if name == refuse {
			return false, errors.New("the project shop does not permit the source " + repo)
		}
		if err := os.RemoveAll(dir); err != nil {
			return false, err
		}
		git(t, "", "clone", "-q", "--bare", filepath.Join(root, name), dir)
		return true, nil
	}
	with := func(text string) driver.Desired {
		d := want(idempotent + "module \"net\" {\n  source = \"git::" + host + "net//.?ref=v1\"\n  providers = { cloud = cloud }\n}\n" + text)
		d.Clone = clone
		return d
	}
	d := with(vpc("b", "10.1.0.0/16", "1"))
	refuse = "net-more"
	if _, err := s.driver.Compare(t.Context(), d); err == nil || !strings.Contains(err.Error(), "does not permit the source") {
		t.Fatalf("a source that is not permitted: %v", err)
	}
	refuse = ""
	s.driver.Forgive(owner)
	s.good(s.apply(d, s.planned(d, "create cloud_vpc.b", "create module.net.module.more.cloud_vpc.a"), false))
	s.inSync(d)
	n := len(asked)
	d = with(vpc("b", "10.1.0.0/16", "2")) // no other modules: nothing to fetch
	s.good(s.apply(d, s.planned(d, "update cloud_vpc.b"), false))
	s.inSync(d)
	if len(asked) != n {
		t.Errorf("repositories are copied without need: %q", asked[n:])
	}
	copies, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*", "git", "*"))
	if len(copies) != 2 {
		t.Errorf("there are %d copies", len(copies))
	}
	s.accounted()
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// TestUnseenModules asks before the program clones what Plumb can't copy.
func TestUnseenModules(t *testing.T) {
	s := calm(t)
	for name, tc := range map[string]struct{ reason, source, want string }{
		"password":  {"it brings its own credentials", "git::https://u:secret@git.invalid/net?ref=v1", "git.invalid/net"},
		"bitbucket": {"its kind is known to the host only", "bitbucket.org/a/net", "https://bitbucket.org/a/net"},
	} {
		d := want(idempotent + "module \"net\" {\n  source = \"" + tc.source + "\"\n}\n")
		asked := ""
		d.Clone = func(_ context.Context, repo string, _ []string, dir string) (bool, error) {
			if dir == "" {
				asked = repo
			}
			return false, errors.New("the project wants it to be signed")
		}
		_, err := s.driver.Compare(t.Context(), d)
		if err == nil || !strings.Contains(err.Error(), "wants it to be signed") || !strings.Contains(asked, tc.want) {
			t.Errorf("%s: %s: asked for %q: %v", name, tc.reason, asked, err)
		}
		s.driver.Forgive(owner)
	}
}
