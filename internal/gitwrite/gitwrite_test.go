package gitwrite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/git"
)

const canary = "c4n4ry-s3cret"

var isolated = []string{
	"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
	"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
}

// repo is a bare repository that things are pushed to, and a clone to look with.
type repo struct {
	t          *testing.T
	root, bare string
	work       string
}

func newRepo(t *testing.T, filter bool) *repo {
	root := t.TempDir()
	r := &repo{t, root, filepath.Join(root, "app.git"), filepath.Join(t.TempDir(), "work")}
	r.in("", "init", "-q", "--bare", "-b", "main", r.bare)
	r.in(r.bare, "config", "uploadpack.allowFilter", fmt.Sprint(filter))
	r.in(r.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
	r.in(r.bare, "config", "http.receivepack", "true")
	r.in("", "clone", "-q", r.bare, r.work)
	return r
}

func (r *repo) in(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GIT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, isolated...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) commit(message string, files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		file := filepath.Join(r.work, name)
		if content == "" {
			_ = os.Remove(file)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.in(r.work, "add", "-A")
	r.in(r.work, "commit", "-q", "--allow-empty", "-m", message)
	r.in(r.work, "push", "-q", "origin", "HEAD:main")
	return r.in(r.work, "rev-parse", "HEAD")
}

func (r *repo) show(ref, name string) string { r.t.Helper(); return r.in(r.bare, "show", ref+":"+name) }

func (r *repo) url() Repo { return Repo{URL: "file://" + r.bare} }

func newWriter(t *testing.T) *Writer {
	p, err := git.NewProgram(t.Context(), git.Options{CacheDir: t.TempDir(), Env: isolated, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return New(p)
}

// serve is a real smart HTTP server.
func (r *repo) serve() string {
	r.t.Helper()
	backend := filepath.Join(r.in("", "--exec-path"), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		r.t.Fatal("git-http-backend is not installed: it is a part of git, which .ci/run installs")
	}
	handler := &cgi.Handler{Path: backend, Env: append([]string{"GIT_PROJECT_ROOT=" + r.root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + r.root, "REMOTE_USER=ada"}, isolated...), InheritEnv: []string{"PATH"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, ok := req.BasicAuth(); !ok || user != "ada" || password != canary {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		h := *handler
		if p := req.Header.Get("Git-Protocol"); p != "" {
			h.Env = append(append([]string{}, h.Env...), "GIT_PROTOCOL="+p)
		}
		h.ServeHTTP(w, req)
	}))
	r.t.Cleanup(server.Close)
	return server.URL + "/app.git"
}

var plumb = Identity{"Plumb", "plumb@example.com"}

func TestCommitOnABranch(t *testing.T) {
	for name, c := range map[string]struct {
		filter, http bool
		reason       string
	}{
		"whole":   {false, false, "a server that gives no partial copies"},
		"partial": {true, false, "no contents are fetched"},
		"http":    {true, true, "with a password"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t, c.filter)
			head := r.commit("first", map[string]string{"apps/web/a.yaml": "a: 1\n", "apps/web/old.yaml": "x\n", "other": "o\n"})
			to := r.url()
			if c.http {
				to = Repo{URL: r.serve(), Credentials: source.Credentials{Username: "ada", Password: canary}}
			}
			w := newWriter(t)
			changes := []Change{
				{Path: "apps/web/a.yaml", Before: []byte("a: 1\n"), After: []byte("a: 2\n")},
				{Path: "apps/web/old.yaml", Before: []byte("x\n")},
				{Path: "apps/web/new/b.yaml", After: []byte("b\n")},
			}
			o := Options{Branch: BranchName("adopt", "web", changes), Message: "Adopt what runs", Author: plumb, Asked: []Identity{{"Ada\nevil: x", "ada@example.com"}}}
			done, err := w.Commit(t.Context(), to, o, changes)
			if err != nil {
				t.Fatal(err)
			}
			if done.Base != "main" || done.Parent != head || done.Unchanged || !strings.HasPrefix(done.Branch, "plumb/adopt/web-") {
				t.Errorf("%s: %+v", c.reason, done)
			}
			if got := r.show(done.Branch, "apps/web/a.yaml"); got != "a: 2" {
				t.Errorf("content %q", got)
			}
			want := "apps/web/a.yaml\napps/web/new/b.yaml\nother"
			if diff := cmp.Diff(want, r.in(r.bare, "ls-tree", "-r", "--name-only", done.Branch)); diff != "" {
				t.Error(diff)
			}
			message := r.in(r.bare, "log", "-1", "--format=%an <%ae>%n%B", done.Branch)
			wantMessage := "Plumb <plumb@example.com>\nAdopt what runs\n\nPlumb-Branch: " + done.Branch + "\nCo-authored-by: Adaevil: x <ada@example.com>"
			if diff := cmp.Diff(wantMessage, message); diff != "" {
				t.Error(diff)
			}
			again, err := w.Commit(t.Context(), to, o, changes)
			if err != nil || !again.Unchanged || again.Commit != done.Commit {
				t.Errorf("the same again: %+v, %v", again, err)
			}
			if got := r.in(r.bare, "rev-parse", "main"); got != head {
				t.Errorf("the base has moved to %s", got)
			}
		})
	}
}

func TestOwnBranchFollowsTheBase(t *testing.T) {
	r := newRepo(t, true)
	r.commit("first", map[string]string{"a": "1\n"})
	w, changes := newWriter(t), []Change{{Path: "a", Before: []byte("1\n"), After: []byte("2\n")}}
	o := Options{Branch: "plumb/adopt/web-1", Message: "m", Author: plumb}
	first, err := w.Commit(t.Context(), r.url(), o, changes)
	if err != nil {
		t.Fatal(err)
	}
	head := r.commit("elsewhere", map[string]string{"b": "1\n"})
	second, err := w.Commit(t.Context(), r.url(), o, changes)
	if err != nil || second.Parent != head || second.Commit == first.Commit {
		t.Fatalf("%+v, %v", second, err)
	}
	r.commit("the same by hand", map[string]string{"a": "2\n"})
	third, err := w.Commit(t.Context(), r.url(), o, changes)
	if err != nil || !third.Unchanged || third.Commit != "" {
		t.Errorf("done already: %+v, %v", third, err)
	}
	r.commit("otherwise", map[string]string{"a": "3\n"})
	var conflict *ConflictError
	if _, err := w.Commit(t.Context(), r.url(), o, changes); !errors.As(err, &conflict) || conflict.Files[0] != "a" {
		t.Errorf("got %v, want a conflict in a", err)
	}
}

func TestRefusals(t *testing.T) {
	r := newRepo(t, true)
	if err := os.Symlink("/etc", filepath.Join(r.work, "link")); err != nil {
		t.Fatal(err)
	}
	r.commit("first", map[string]string{"a": "1\n", "d/f": "1\n"})
	r.in(r.work, "push", "-q", "origin", "HEAD:refs/heads/plumb/adopt/theirs", "HEAD:refs/heads/theirs")
	w := newWriter(t)
	good := Options{Branch: "plumb/x", Message: "m"}
	for name, c := range map[string]struct {
		o            Options
		path, reason string
	}{
		"base":           {Options{Branch: "main", Message: "m"}, "n", "never the base unless asked"},
		"default base":   {Options{Base: "", Branch: "main"}, "n", "whatever it is called"},
		"option":         {Options{Branch: "--force"}, "n", "no option for git"},
		"ref":            {Options{Branch: "refs/heads/x"}, "n", "a branch, no ref"},
		"dots":           {Options{Branch: "a..b"}, "n", "no range"},
		"hostile base":   {Options{Base: "-x", Branch: "plumb/x"}, "n", "no option for git"},
		"no such base":   {Options{Base: "none", Branch: "plumb/x"}, "n", "nothing to commit on"},
		"somebody's":     {Options{Branch: "theirs"}, "n", "only Plumb's own is overwritten"},
		"looks like own": {Options{Branch: "plumb/adopt/theirs"}, "n", "the name alone does not make it Plumb's"},
		"up":             {good, "../x", ""},
		"absolute":       {good, "/etc/passwd", ""},
		"git":            {good, "d/.GIT/config", "never into git's own folder"},
		"link":           {good, "link", "a symbolic link is no file"},
		"below a link":   {good, "link/passwd", "nor a folder"},
		"below a file":   {good, "a/b", ""},
		"a folder":       {good, "d", ""},
		"line break":     {good, "x\ny", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Author = plumb
			if done, err := w.Commit(t.Context(), r.url(), c.o, []Change{{Path: c.path, After: []byte("x\n")}}); err == nil {
				t.Errorf("accepted (%s): %+v", c.reason, done)
			}
		})
	}
	if got := r.in(r.bare, "for-each-ref", "--format=%(refname)"); got != "refs/heads/main\nrefs/heads/plumb/adopt/theirs\nrefs/heads/theirs" {
		t.Errorf("refs are %s", got)
	}
}

func TestDirectPushIsTriedAgainOnANewHead(t *testing.T) {
	r := newRepo(t, true)
	r.commit("first", map[string]string{"a": "1\n"})
	w := newWriter(t)
	raced := 0
	done, err := w.push(t.Context(), r.url(), Options{Direct: true, Message: "m", Author: plumb}, 1, func(ctx context.Context, c *clone) (string, string, error) {
		if raced < 2 {
			raced++
			r.commit("race", map[string]string{"b": fmt.Sprint(raced) + "\n"})
		}
		tree, err := c.edit(ctx, []Change{{Path: "a", Before: []byte("1\n"), After: []byte("2\n")}})
		return tree, "m", err
	})
	if err != nil {
		t.Fatal(err)
	}
	if done.Branch != "main" || r.show("main", "a") != "2" || r.show("main", "b") != "2" {
		t.Errorf("%+v: a is %q, b is %q", done, r.show("main", "a"), r.show("main", "b"))
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	r := newRepo(t, true)
	r.commit("first", map[string]string{"a": "1\n"})
	to := Repo{URL: r.serve(), Credentials: source.Credentials{Username: "ada", Password: canary + "-wrong"}}
	_, err := newWriter(t).Commit(t.Context(), to, Options{Branch: "plumb/x", Message: "m"}, []Change{{Path: "a", After: []byte("2")}})
	if source.ReasonOf(err) != source.ReasonAuthentication || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("got %v", err)
	}
}

func TestHookRefusesThePush(t *testing.T) {
	r := newRepo(t, true)
	r.commit("first", map[string]string{"a": "1\n"})
	hook := filepath.Join(r.bare, "hooks", "pre-receive")
	_ = os.MkdirAll(filepath.Dir(hook), 0o755)
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho no >&2\nexit 1\n"), 0o755); err != nil { // git runs it
		t.Fatal(err)
	}
	_, err := newWriter(t).Commit(t.Context(), r.url(), Options{Direct: true, Message: "m"}, []Change{{Path: "a", Before: []byte("1\n"), After: []byte("2")}})
	if err == nil || !strings.Contains(err.Error(), "pull request") {
		t.Errorf("got %v", err)
	}
}

func TestRevert(t *testing.T) {
	for name, filter := range map[string]bool{"whole copy": false, "partial copy": true} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t, filter)
			first := r.commit("first", map[string]string{"web/a": "one\n", "web/gone": "g\n", "db/a": "one\n"})
			second := r.commit("both", map[string]string{"web/a": "two\n", "web/gone": "", "db/a": "two\n"})
			r.commit("db only", map[string]string{"db/b": "x\n"})
			last := r.commit("web", map[string]string{"web/a": "three\n", "web/n": "n\n"})
			w := newWriter(t)
			v := Revert{To: first, Paths: []string{"web"}, Application: "web"}
			o := Options{Message: "Roll web back", Author: plumb}
			dry, err := w.Revert(t.Context(), r.url(), o, v, true)
			if err != nil || !strings.Contains(dry.Diff, "-three\n+one\n") {
				t.Fatalf("dry: %+v, %v", dry, err)
			}
			done, err := w.Revert(t.Context(), r.url(), o, v, false)
			if err != nil {
				t.Fatal(err)
			}
			b := done.Branch
			if r.show(b, "web/a") != "one" || r.show(b, "web/gone") != "g" || r.show(b, "db/a") != "two" || r.show(b, "db/b") != "x" {
				t.Errorf("the branch holds %s", r.in(r.bare, "ls-tree", "-r", b))
			}
			if diff := cmp.Diff([]string{"web/a", "web/gone", "web/n"}, done.Files); diff != "" {
				t.Error(diff)
			}
			message := r.in(r.bare, "log", "-1", "--format=%B", b)
			for _, want := range []string{"Roll web back", "- " + last + " web\n- " + second + " both"} {
				if !strings.Contains(message, want) {
					t.Errorf("the message lacks %q:\n%s", want, message)
				}
			}
			again, err := w.Revert(t.Context(), r.url(), o, v, false)
			if err != nil || !again.Unchanged || again.Commit != done.Commit {
				t.Errorf("again: %+v, %v", again.Pushed, err)
			}
			v.Whole = true
			o.Branch = "plumb/rollback/whole"
			whole, err := w.Revert(t.Context(), r.url(), o, v, false)
			if err != nil {
				t.Fatal(err)
			}
			if b := whole.Branch; r.show(b, "web/a") != "one" || r.show(b, "db/a") != "one" || r.show(b, "db/b") != "x" {
				t.Errorf("whole commits: the branch holds %s", r.in(r.bare, "ls-tree", "-r", b))
			}
		})
	}
}

func TestRevertOfWholeCommits(t *testing.T) {
	r := newRepo(t, true)
	first := r.commit("first", map[string]string{"web/a": "one\n", "db/a": "one\n"})
	r.in(r.work, "switch", "-q", "-c", "side")
	r.in(r.work, "commit", "-q", "--allow-empty", "-m", "nothing")
	if err := os.WriteFile(filepath.Join(r.work, "web/b"), []byte("b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.in(r.work, "add", "-A")
	r.in(r.work, "commit", "-q", "-m", "on the side")
	r.in(r.work, "switch", "-q", "main")
	r.commit("db", map[string]string{"db/c": "c\n"})
	r.in(r.work, "merge", "-q", "--no-ff", "-m", "merge the side", "side")
	r.in(r.work, "push", "-q", "origin", "main")
	w := newWriter(t)
	done, err := w.Revert(t.Context(), r.url(), Options{Message: "m", Author: plumb}, Revert{To: first, Paths: []string{"web"}, Whole: true, Application: "web"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.in(r.bare, "ls-tree", "-r", "--name-only", done.Branch); got != "db/a\ndb/c\nweb/a" || len(done.Commits) != 1 {
		t.Errorf("a merge is taken back as one: %q, %+v", got, done.Commits)
	}
	before := r.commit("both", map[string]string{"web/a": "two\n", "db/a": "two\n"})
	before = r.in(r.work, "rev-parse", before+"^")
	r.commit("db alone", map[string]string{"db/a": "three\n"})
	var conflict *ConflictError
	_, err = w.Revert(t.Context(), r.url(), Options{Message: "m"}, Revert{To: before, Paths: []string{"web"}, Whole: true, Application: "x"}, false)
	if !errors.As(err, &conflict) || !cmp.Equal(conflict.Files, []string{"db/a"}) {
		t.Errorf("got %v, want a conflict in db/a", err)
	}
	if _, err = w.Revert(t.Context(), r.url(), Options{Message: "m"}, Revert{To: before, Paths: []string{"web"}, Application: "x"}, false); err != nil {
		t.Errorf("only its own path: %v", err)
	}
	nothing, err := w.Revert(t.Context(), r.url(), Options{Message: "m"}, Revert{To: r.in(r.work, "rev-parse", "HEAD"), Paths: []string{"web"}, Application: "x"}, false)
	if err != nil || !nothing.Unchanged || len(nothing.Commits) > 0 {
		t.Errorf("nothing to take back: %+v, %v", nothing, err)
	}
	for name, to := range map[string]string{"unknown": strings.Repeat("1", 40), "no commit": "main", "option": "--all"} {
		if _, err := w.Revert(t.Context(), r.url(), Options{Message: "m"}, Revert{To: to, Paths: []string{"web"}}, false); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCompareURL(t *testing.T) {
	for repo, want := range map[string]string{
		"https://github.com/acme/shop.git":        "https://github.com/acme/shop/compare/main...plumb/adopt/x?expand=1",
		"git@github.com:acme/shop.git":            "https://github.com/acme/shop/compare/main...plumb/adopt/x?expand=1",
		"ssh://git@gitlab.example.com:22/a/b.git": "https://gitlab.example.com/a/b/-/merge_requests/new?merge_request%5Bsource_branch%5D=plumb%2Fadopt%2Fx&merge_request%5Btarget_branch%5D=main",
		"https://codeberg.org/a/b":                "https://codeberg.org/a/b/compare/main...plumb/adopt/x",
		"https://user:secret@bitbucket.org/a/b":   "https://bitbucket.org/a/b/pull-requests/new?dest=main&source=plumb%2Fadopt%2Fx",
		"https://git.example.com/a/b":             "",
		"file:///srv/a.git":                       "",
		"/srv/a.git":                              "",
	} {
		if got := CompareURL(repo, "main", "plumb/adopt/x"); got != want {
			t.Errorf("%s: %q, want %q", repo, got, want)
		}
	}
}
