package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/source"
)

// repo is a real repository that tests commit to.
type repo struct {
	t   testing.TB
	dir string
}

var isolated = []string{
	"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
	"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	"GIT_AUTHOR_DATE=2024-01-02T03:04:05+01:00", "GIT_COMMITTER_DATE=2024-01-02T03:04:05+01:00",
}

func newRepo(t testing.TB, init ...string) *repo {
	t.Helper()
	r := &repo{t, filepath.Join(t.TempDir(), "work")}
	gitIn(t, "", append(append([]string{"init", "-q", "-b", "main"}, init...), r.dir)...)
	return r
}

func gitIn(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(environ(), isolated...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// environ is the test's environment without what a hook would have set.
func environ() []string {
	var out []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GIT_") {
			out = append(out, e)
		}
	}
	return out
}

func (r *repo) git(args ...string) string { r.t.Helper(); return gitIn(r.t, r.dir, args...) }

func (r *repo) write(name, content string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) commit(message string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

func (r *repo) url() string { return "file://" + r.dir }

func newSource(t testing.TB, change ...func(*Options)) *Source {
	t.Helper()
	opts := Options{CacheDir: t.TempDir(), Env: isolated, PollInterval: -1, Timeout: 20 * time.Second}
	for _, f := range change {
		f(&opts)
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func resolve(t testing.TB, s *Source, url, revision string) source.Resolved {
	t.Helper()
	got, err := s.Resolve(t.Context(), source.Spec{Repo: url, Revision: revision}, source.Credentials{})
	if err != nil {
		t.Fatalf("resolve %q: %v", revision, err)
	}
	return got
}

func fetch(t testing.TB, s *Source, url, revision string) source.Tree {
	t.Helper()
	at := resolve(t, s, url, revision)
	got, err := s.Fetch(t.Context(), source.Spec{Repo: url, Revision: revision}, at, source.Credentials{})
	if err != nil {
		t.Fatalf("fetch %q: %v", revision, err)
	}
	return got
}

func read(t testing.TB, tree source.Tree, name string) string {
	t.Helper()
	raw, err := tree.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestResolveRevisions(t *testing.T) {
	r := newRepo(t)
	r.write("a.yaml", "1")
	first := r.commit("first")
	r.git("tag", "v1.0.0")
	r.git("tag", "v1.2.3")
	r.write("a.yaml", "2")
	second := r.commit("second")
	r.git("tag", "-a", "-m", "annotated", "v1.2.10")
	r.git("tag", "app/2.0.0")
	r.write("a.yaml", "3")
	third := r.commit("third")
	r.git("branch", "feature/x")
	r.git("update-ref", "refs/pull/7/head", first)
	r.git("tag", "v2.0.0-rc.1")
	s := newSource(t)

	cases := map[string]struct {
		revision, prefix, want, ref string
		reason                      string
	}{
		"empty":        {"", "", third, "refs/heads/main", "no revision is HEAD"},
		"HEAD":         {"HEAD", "", third, "refs/heads/main", "HEAD says which branch it is"},
		"branch":       {"main", "", third, "refs/heads/main", ""},
		"slash":        {"feature/x", "", third, "refs/heads/feature/x", "branches may have slashes"},
		"full ref":     {"refs/heads/main", "", third, "refs/heads/main", ""},
		"pull":         {"refs/pull/7/head", "", first, "refs/pull/7/head", "any reference can be named"},
		"tag":          {"v1.0.0", "", first, "refs/tags/v1.0.0", "an exact version is a tag, not a range"},
		"annotated":    {"v1.2.10", "", second, "refs/tags/v1.2.10", "an annotated tag means its commit"},
		"range":        {"1.2.*", "", second, "refs/tags/v1.2.10", "ten is more than three"},
		"v range":      {"v1.x", "", second, "refs/tags/v1.2.10", ""},
		"two bounds":   {">=1.0 <1.2", "", first, "refs/tags/v1.0.0", ""},
		"star":         {"*", "", second, "refs/tags/v1.2.10", "a range excludes pre-releases"},
		"prefix":       {"2.*", "app/", second, "refs/tags/app/2.0.0", "the prefix narrows the tags"},
		"exact prefix": {"2.0.0", "app/", second, "refs/tags/app/2.0.0", ""},
		"full id":      {first, "", first, "", "a commit is itself"},
		"upper id":     {strings.ToUpper(first), "", first, "", ""},
		"short tip":    {third[:8], "", third, "", "an advertised commit is found in memory"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := s.Resolve(t.Context(), source.Spec{Repo: r.url(), Revision: c.revision, TagPrefix: c.prefix}, source.Credentials{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(source.Resolved{Revision: c.want, Ref: c.ref}, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", c.reason, diff)
			}
		})
	}
	if n := s.lists.Load(); n != 1 {
		t.Errorf("the repository was asked %d times for its references, want once", n)
	}
}

func TestResolveShortIDFromHistory(t *testing.T) {
	r := newRepo(t)
	first := r.commit("first")
	r.commit("second")
	s := newSource(t)
	if got := resolve(t, s, r.url(), first[:9]); got.Revision != first {
		t.Errorf("got %s, want %s", got.Revision, first)
	}
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: r.url(), Revision: "abcdef0123"}, source.Credentials{}); source.ReasonOf(err) != source.ReasonRevisionNotFound {
		t.Errorf("got %v, want revision not found", err)
	}
}

func TestResolveNotFoundNamesNearMatches(t *testing.T) {
	r := newRepo(t)
	r.commit("first")
	r.git("branch", "production")
	s := newSource(t)
	_, err := s.Resolve(t.Context(), source.Spec{Repo: r.url(), Revision: "prodution"}, source.Credentials{})
	if source.ReasonOf(err) != source.ReasonRevisionNotFound || !strings.Contains(err.Error(), "did you mean production?") {
		t.Errorf("got %v", err)
	}
}

func TestRefusedURLsAndRevisions(t *testing.T) {
	s := newSource(t)
	for _, url := range []string{"", "-x", "--upload-pack=touch /tmp/x", "ext::sh -c id", "ext::x", "ssh://-oProxyCommand=x/y", "-h:x", "gopher://x/y", "a\nb", "ssh://user@-o/x"} {
		if _, err := s.Resolve(t.Context(), source.Spec{Repo: url}, source.Credentials{}); source.ReasonOf(err) != source.ReasonRefused {
			t.Errorf("URL %q: got %v, want a refusal", url, err)
		}
	}
	for _, revision := range []string{"-x", "--upload-pack=x", "a\x00b", "a\nb"} {
		if _, err := s.Resolve(t.Context(), source.Spec{Repo: "https://x/y", Revision: revision}, source.Credentials{}); source.ReasonOf(err) != source.ReasonRefused {
			t.Errorf("revision %q: got %v, want a refusal", revision, err)
		}
	}
}

func TestTreeReads(t *testing.T) {
	r := newRepo(t)
	r.write("apps/one/deployment.yaml", "kind: Deployment\n")
	r.write("apps/one/run.sh", "#!/bin/sh\n")
	r.write("README.md", "hello")
	if err := os.Chmod(filepath.Join(r.dir, "apps/one/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("apps/one", filepath.Join(r.dir, "current")); err != nil {
		t.Fatal(err)
	}
	id := r.commit("first")
	s := newSource(t)
	tree := fetch(t, s, r.url(), "main")

	if got := read(t, tree, "apps/one/deployment.yaml"); got != "kind: Deployment\n" {
		t.Errorf("content %q", got)
	}
	if got := read(t, tree, "current/deployment.yaml"); got != "kind: Deployment\n" {
		t.Errorf("content through a link %q", got)
	}
	if tree.Revision() != id {
		t.Errorf("revision %s, want %s", tree.Revision(), id)
	}
	for _, name := range []string{".", "apps", "apps/one", "README.md", "apps/one/deployment.yaml"} {
		want := r.git("rev-parse", "HEAD:"+strings.TrimPrefix(name, "."))
		if got := tree.ID(name); got != want {
			t.Errorf("ID(%q) = %q, want %q", name, got, want)
		}
	}
	if tree.ID("current") != tree.ID("apps/one") {
		t.Error("a link has the identity of what it leads to")
	}
	if got := tree.ID("no/such"); got != "" {
		t.Errorf("identity of nothing: %q", got)
	}
	var names []string
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		info, infoErr := d.Info()
		if err != nil || infoErr != nil {
			return errors.Join(err, infoErr)
		}
		names = append(names, fmt.Sprintf("%s %s", info.Mode(), path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drwxr-xr-x .", "-rw-r--r-- README.md", "drwxr-xr-x apps", "drwxr-xr-x apps/one",
		"-rw-r--r-- apps/one/deployment.yaml", "-rwxr-xr-x apps/one/run.sh", "Lrwxrwxrwx current",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, name := range []string{"nothing.yaml", "apps/two/x"} {
		if _, err := tree.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: %v, want not exist", name, err)
		}
	}
	for _, name := range []string{"../x", "/x", "a//b", ""} {
		if _, err := tree.Open(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("open %q: %v, want invalid", name, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	r := newRepo(t)
	id := r.commit("first line\n\nbody")
	r.git("tag", "v1")
	s := newSource(t)
	got, err := s.Describe(t.Context(), source.Spec{Repo: r.url()}, resolve(t, s, r.url(), ""), source.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	want := source.Commit{Revision: id, Author: "Ada <ada@example.com>", Committer: "Ada <ada@example.com>", Date: "2024-01-02T03:04:05+01:00", Message: "first line\n\nbody", Tags: []string{"v1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSymbolicLinksStayInside(t *testing.T) {
	r := newRepo(t)
	r.write("apps/shared/values.yaml", "x")
	for name, target := range map[string]string{
		"apps/out.yaml":      "../../etc/passwd",
		"apps/absolute.yaml": "/etc/passwd",
		"apps/loop-a":        "loop-b",
		"apps/loop-b":        "loop-a",
		"apps/self":          ".",
		"apps/in.yaml":       "../apps/shared/values.yaml",
		"apps/dangling":      "nothing",
	} {
		if err := os.Symlink(target, filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.commit("links")
	tree := fetch(t, newSource(t), r.url(), "main")
	if got := read(t, tree, "apps/in.yaml"); got != "x" {
		t.Errorf("content %q", got)
	}
	if got := read(t, tree, "apps/self/self/self/in.yaml"); got != "x" {
		t.Errorf("content %q", got)
	}
	for name, want := range map[string]string{
		"apps/out.yaml":      `symbolic link apps/out.yaml points to "../../etc/passwd", outside of the repository`,
		"apps/absolute.yaml": `symbolic link apps/absolute.yaml points to "/etc/passwd", outside of the repository`,
		"apps/loop-a":        "go round in circles",
	} {
		if _, err := tree.ReadFile(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	if _, err := tree.ReadFile("apps/dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dangling: got %v", err)
	}
}

func TestIDCountsWhatLinksLeadTo(t *testing.T) {
	r := newRepo(t)
	r.write("shared/values.yaml", "1")
	r.write("apps/a/x.yaml", "x")
	r.write("apps/b/x.yaml", "x")
	if err := os.Symlink("../../shared/values.yaml", filepath.Join(r.dir, "apps/a/values.yaml")); err != nil {
		t.Fatal(err)
	}
	r.commit("first")
	s := newSource(t)
	before := fetch(t, s, r.url(), "main")
	r.write("shared/values.yaml", "2")
	r.commit("second")
	s.Refresh("")
	after := fetch(t, s, r.url(), "main")
	if before.ID("apps/a") == after.ID("apps/a") {
		t.Error("the target of a link changed, and the identity did not")
	}
	if before.ID("apps/b") != after.ID("apps/b") {
		t.Error("nothing changed there, but the identity did")
	}
}

func TestFileOverTheLimit(t *testing.T) {
	r := newRepo(t)
	r.write("apps/huge.yaml", strings.Repeat("x", 100_000))
	r.write("apps/small.yaml", "y")
	r.commit("huge")
	tree := fetch(t, newSource(t, func(o *Options) { o.MaxFileBytes = 50_000 }), r.url(), "main")
	_, err := tree.ReadFile("apps/huge.yaml")
	if source.ReasonOf(err) != source.ReasonTooLarge || !strings.Contains(err.Error(), "apps/huge.yaml has 100000 bytes") {
		t.Errorf("got %v", err)
	}
	if got := read(t, tree, "apps/small.yaml"); got != "y" {
		t.Errorf("others are unaffected, got %q", got)
	}
}

func TestNamesThatAreNotUTF8(t *testing.T) {
	r := newRepo(t)
	r.write("apps/\xff\xfe.yaml", "odd")
	r.commit("odd name")
	tree := fetch(t, newSource(t), r.url(), "main")
	if got := read(t, tree, "apps/\xff\xfe.yaml"); got != "odd" {
		t.Errorf("content %q", got)
	}
}

func TestSHA256Repository(t *testing.T) {
	r := newRepo(t, "--object-format=sha256")
	r.write("a/b.yaml", "content")
	id := r.commit("first")
	tree := fetch(t, newSource(t), r.url(), "main")
	if len(id) != 64 || tree.Revision() != id {
		t.Errorf("revision %s, want %s", tree.Revision(), id)
	}
	if got := read(t, tree, "a/b.yaml"); got != "content" {
		t.Errorf("content %q", got)
	}
}

func TestConcurrentRequestsShareOneFetch(t *testing.T) {
	r := newRepo(t)
	for i := range 20 {
		r.write(fmt.Sprintf("apps/%d/a.yaml", i), fmt.Sprint(i))
	}
	r.commit("first")
	s := newSource(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if got := read(t, fetch(t, s, r.url(), "main"), fmt.Sprintf("apps/%d/a.yaml", i)); got != fmt.Sprint(i) {
				t.Errorf("content %q", got)
			}
		})
	}
	all.Wait()
	if l, f := s.lists.Load(), s.fetches.Load(); l != 1 || f != 1 {
		t.Errorf("listed %d times and fetched %d times, want once each", l, f)
	}
}

func TestRefreshAndForcePush(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	first := r.commit("first")
	r.write("a", "2")
	second := r.commit("second")
	s := newSource(t, func(o *Options) { o.Debounce = time.Hour }) // only Refresh tells
	old := fetch(t, s, r.url(), "main")
	if old.Revision() != second {
		t.Fatal("not the newest")
	}
	r.git("reset", "-q", "--hard", first)
	r.write("a", "3")
	third := r.commit("third")
	if got := resolve(t, s, r.url(), "main").Revision; got != second {
		t.Errorf("answered %s, want from memory", got)
	}
	s.Refresh(r.url() + ".git")
	forced := fetch(t, s, r.url(), "main")
	if forced.Revision() != third || read(t, forced, "a") != "3" {
		t.Errorf("after a force-push: %s", forced.Revision())
	}
	if got := read(t, old, "a"); got != "2" {
		t.Errorf("the old tree stays readable, got %q", got)
	}
	if got := read(t, fetch(t, s, r.url(), first), "a"); got != "1" {
		t.Errorf("a commit by its id: %q", got)
	}
}

func TestLocalPushIsNoticed(t *testing.T) {
	for name, bare := range map[string]bool{"bare": true, "work tree": false} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			r.write("a", "1")
			r.commit("first")
			url := r.url()
			if bare {
				hub := filepath.Join(t.TempDir(), "hub.git")
				gitIn(t, "", "clone", "-q", "--bare", r.dir, hub)
				r.git("remote", "add", "origin", hub)
				url = "file://" + hub
			}
			s := newSource(t)
			heard := make(chan string, 100)
			ctx, cancel := context.WithCancel(t.Context())
			var watch sync.WaitGroup
			watch.Go(func() { s.Watch(ctx, func(repo string) { heard <- repo }) })
			defer func() { cancel(); watch.Wait() }()
			fetch(t, s, url, "main")
			if _, err := s.Resolve(t.Context(), source.Spec{Repo: url, Revision: "new/branch"}, source.Credentials{}); err == nil {
				t.Fatal("there is no such branch yet")
			}
			push := func(ref string) {
				if bare {
					r.git("push", "-q", "origin", "HEAD:"+ref)
				} else if ref != "refs/heads/main" {
					r.git("update-ref", ref, "HEAD")
				}
			}
			for i, ref := range []string{"refs/heads/main", "refs/heads/new/branch", "refs/heads/main"} {
				r.write("a", fmt.Sprint("changed ", i))
				id := r.commit("change")
				push(ref)
				select {
				case repo := <-heard:
					if repo != url {
						t.Errorf("heard of %q, want %q", repo, url)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("no word of the push to %s", ref)
				}
				until(t, "resolved", func() bool { // the word may have been of the commit, before the branch was
					got, err := s.Resolve(t.Context(), source.Spec{Repo: url, Revision: ref}, source.Credentials{})
					return err == nil && got.Revision == id
				})
			}
		})
	}
}

func TestBranchDeletedIsNoticed(t *testing.T) {
	r := newRepo(t)
	r.commit("first")
	r.git("branch", "gone")
	s := newSource(t)
	resolve(t, s, r.url(), "gone")
	r.git("branch", "-D", "gone")
	until(t, "the branch is gone", func() bool {
		_, err := s.Resolve(t.Context(), source.Spec{Repo: r.url(), Revision: "gone"}, source.Credentials{})
		return source.ReasonOf(err) == source.ReasonRevisionNotFound
	})
}

func TestInsteadOfIsHonoured(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	config := filepath.Join(t.TempDir(), "gitconfig")
	base := filepath.Dir(r.dir)
	if err := os.WriteFile(config, []byte("[url \"file://"+base+"/\"]\n\tinsteadOf = https://git.example.com/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, func(o *Options) { o.Env = append(append([]string{}, isolated...), "GIT_CONFIG_GLOBAL="+config) })
	url := "https://git.example.com/work"
	heard := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { s.Watch(ctx, func(repo string) { heard <- repo }) })
	defer func() { cancel(); watch.Wait() }()
	if got := read(t, fetch(t, s, url, "main"), "a"); got != "1" {
		t.Errorf("content %q", got)
	}
	r.write("a", "2")
	r.commit("second")
	select {
	case repo := <-heard:
		if repo != url {
			t.Errorf("heard of %q, want the URL as written", repo)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a push to the mapped repository was not noticed")
	}
}

func TestMissingAndUnreachable(t *testing.T) {
	s := newSource(t)
	cases := map[string]struct {
		url  string
		want source.Reason
	}{
		"no such directory": {"file:///no/such/repository", source.ReasonNotFound},
		"no such path":      {"/no/such/repository", source.ReasonNotFound},
		"nobody listens":    {"http://127.0.0.1:1/x.git", source.ReasonUnreachable},
		"no such host":      {"https://no-such-host.invalid/x.git", source.ReasonUnreachable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := s.Resolve(t.Context(), source.Spec{Repo: c.url}, source.Credentials{})
			if got := source.ReasonOf(err); got != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
		})
	}
}

func TestRepositoryThatComesBackIsNoticed(t *testing.T) {
	r := newRepo(t)
	r.commit("first")
	hub := filepath.Join(t.TempDir(), "hub.git")
	s := newSource(t)
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: hub, Revision: "main"}, source.Credentials{}); source.ReasonOf(err) != source.ReasonNotFound {
		t.Fatalf("got %v", err)
	}
	heard := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { s.Watch(ctx, func(repo string) { heard <- repo }) })
	defer func() { cancel(); watch.Wait() }()
	gitIn(t, "", "clone", "-q", "--bare", r.dir, hub)
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Fatal("not noticed")
	}
	resolve(t, s, hub, "main")
}

func TestMirrorHealsAfterAKill(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	cache := t.TempDir()
	mirror := func(s *Source) string { return s.mirrorDir(r.url()) }
	cases := map[string]struct {
		damage func(t *testing.T, dir string)
		reason string
	}{
		"stale locks": {func(t *testing.T, dir string) {
			for _, name := range []string{"shallow.lock", "config.lock", "HEAD.lock", "packed-refs.lock", "objects/pack/tmp_pack_x"} {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
				must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
			}
		}, "a killed git leaves its locks"},
		"no HEAD": {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "HEAD"))) }, "half a mirror is made anew"},
		"empty config": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "config"), nil, 0o644))
		}, "a power cut leaves empty files"},
		"objects gone": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "objects")))
			must(t, os.MkdirAll(filepath.Join(dir, "objects"), 0o755))
		}, "references without their objects"},
		"objects empty": {func(t *testing.T, dir string) {
			must(t, filepath.WalkDir(filepath.Join(dir, "objects"), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				must(t, os.Chmod(path, 0o644))
				return os.Truncate(path, 0)
			}))
		}, "a power cut leaves empty objects"},
		"a file in its place": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, []byte("x"), 0o644))
		}, "whatever is there is replaced"},
	}
	n := 1
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := newSource(t, func(o *Options) { o.CacheDir = cache })
			fetch(t, before, r.url(), "main")
			must(t, before.Close())
			c.damage(t, mirror(before))
			n++
			s := newSource(t, func(o *Options) { o.CacheDir = cache })
			if got := read(t, fetch(t, s, r.url(), "main"), "a"); got != fmt.Sprint(n-1) {
				t.Errorf("%s: content %q, want %d", c.reason, got, n-1)
			}
			r.write("a", fmt.Sprint(n))
			r.commit("next")
			s.Refresh("")
			if got := read(t, fetch(t, s, r.url(), "main"), "a"); got != fmt.Sprint(n) {
				t.Errorf("%s: content %q, want %d", c.reason, got, n)
			}
		})
	}
}

func TestDamageUnderAnOpenTreeHeals(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.write("deep/b", "2")
	r.commit("first")
	s := newSource(t)
	tree := fetch(t, s, r.url(), "main")
	must(t, os.RemoveAll(s.mirrorDir(r.url())))
	s.repository(r.url(), source.Credentials{})
	if got := read(t, tree, "deep/b"); got != "2" {
		t.Errorf("content %q", got)
	}
}

func TestMaintenanceDropsOldCommits(t *testing.T) {
	r := newRepo(t)
	s := newSource(t)
	var first source.Tree
	for i := range keptCommits + 6 {
		r.write("a", fmt.Sprint(i))
		r.commit("next")
		s.Refresh("")
		tree := fetch(t, s, r.url(), "main")
		if i == 0 {
			first = tree
		}
	}
	m := s.repos[r.url()].mirror
	m.mu.Lock()
	for id := range m.used {
		m.used[id] = m.used[id].Add(-2 * keptFor)
	}
	m.mu.Unlock()
	must(t, m.maintain(t.Context()))
	left, err := os.ReadDir(filepath.Join(m.dir, "refs", "plumb"))
	if err != nil || len(left) != keptCommits {
		t.Errorf("%d commits are kept (%v), want %d", len(left), err, keptCommits)
	}
	s.blobs, s.trees, s.commits = newLRU[[]byte](1<<20), newLRU[*directory](1<<20), newLRU[*commit](1<<20)
	if got := read(t, first, "a"); got != "0" {
		t.Errorf("a dropped commit is fetched again, got %q", got)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSubmodules(t *testing.T) {
	inner := newRepo(t)
	inner.write("inner.yaml", "inner 1")
	inner.commit("inner")
	outer := newRepo(t)
	outer.write("a.yaml", "a")
	relative, err := filepath.Rel(outer.dir, inner.dir)
	must(t, err)
	outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.dir, "vendored/inner")
	outer.git("config", "-f", ".gitmodules", "submodule.vendored/inner.url", relative)
	outer.commit("outer")
	inner.write("inner.yaml", "inner 2")
	inner.commit("not pinned")

	s := newSource(t)
	tree := fetch(t, s, outer.url(), "main")
	if got := read(t, tree, "vendored/inner/inner.yaml"); got != "inner 1" {
		t.Errorf("content %q", got)
	}
	if got := tree.ID("vendored/inner"); got != outer.git("rev-parse", "HEAD:vendored/inner") {
		t.Errorf("identity %q", got)
	}
	entries, err := tree.ReadDir("vendored/inner")
	if err != nil || len(entries) != 1 || entries[0].Name() != "inner.yaml" {
		t.Errorf("entries %v %v", entries, err)
	}
	none := newSource(t, func(o *Options) { o.NoSubmodules = true })
	if entries, err := fetch(t, none, outer.url(), "main").ReadDir("vendored/inner"); err != nil || len(entries) != 0 {
		t.Errorf("switched off: %v %v", entries, err)
	}
}

func TestLFSPointerIsNamed(t *testing.T) {
	r := newRepo(t)
	r.write("big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:"+strings.Repeat("a", 64)+"\nsize 12345\n")
	r.commit("pointer")
	s := newSource(t)
	_, err := fetch(t, s, r.url(), "main").ReadFile("big.bin")
	if err == nil || !strings.Contains(err.Error(), "big.bin is a Git LFS pointer") || !strings.Contains(err.Error(), "enableLfs") {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	cache := t.TempDir()
	s := newSource(t, func(o *Options) { o.CacheDir = cache })
	tree := fetch(t, s, r.url(), "main")
	read(t, tree, "a")
	must(t, s.Close())
	left, err := filepath.Glob(filepath.Join(cache, "tmp", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v %v", left, err)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range procs {
		if raw, err := os.ReadFile(p); err == nil && bytes.Contains(raw, []byte("GIT_DIR="+s.mirrorDir(r.url()))) {
			t.Errorf("a process is left: %s", p)
		}
	}
	if _, err := s.Resolve(t.Context(), source.Spec{Repo: r.url()}, source.Credentials{}); err == nil {
		t.Error("a closed source answers no more")
	}
}

func TestPruneRemovesUnusedMirrorsOnly(t *testing.T) {
	r := newRepo(t)
	r.write("a", "1")
	r.commit("first")
	cache := t.TempDir()
	s := newSource(t, func(o *Options) { o.CacheDir = cache })
	fetch(t, s, r.url(), "main")
	there := func() bool { _, err := os.Stat(s.mirrorDir(r.url())); return err == nil }
	must(t, s.Prune(-time.Hour))
	if !there() {
		t.Error("a mirror in use was removed")
	}
	s.Forget(r.url())
	must(t, s.Prune(time.Hour))
	if !there() {
		t.Error("a mirror that was used just now was removed")
	}
	must(t, s.Prune(-time.Hour))
	if there() {
		t.Error("an unused mirror stays")
	}
	if got := read(t, fetch(t, s, r.url(), "main"), "a"); got != "1" {
		t.Errorf("after that it is fetched again: %q", got)
	}
}
