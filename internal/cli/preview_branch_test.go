package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/preview"
)

// clone is a clone with the branches main and feature; main has moved on since.
func clone(t *testing.T) (dir string, commits map[string]string) {
	t.Helper()
	dir, commits = t.TempDir(), map[string]string{}
	run := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		run("add", "-A")
		run("commit", "-q", "-m", name)
		commits[name] = run("rev-parse", "HEAD")
	}
	run("init", "-q", "-b", "main")
	run("remote", "add", "origin", "git@git.example:shop/deploy.git")
	commit("left")
	run("checkout", "-q", "-b", "feature")
	commit("head")
	run("checkout", "-q", "main")
	commit("tip")
	run("checkout", "-q", "feature")
	return dir, commits
}

func TestBranchOfAClone(t *testing.T) {
	dir, commits := clone(t)
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	app := func(url string) preview.App {
		return preview.App{Application: &v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{Source: &v1alpha1.ApplicationSource{RepoURL: url}}}}
	}
	for name, tc := range map[string]struct {
		reason string
		flags  branchFlags
		app    string
		want   preview.Change
		err    string
	}{
		"plain": {
			"what is checked out goes into the default branch, from where it has left it",
			branchFlags{repo: dir}, "https://git.example/shop/deploy",
			preview.Change{Repo: "git@git.example:shop/deploy.git", Base: "main", Default: true, From: commits["left"], To: commits["head"], Places: map[string]string{"https://git.example/shop/deploy": dir}}, "",
		},
		"by its folder": {
			"an Application may read the clone itself",
			branchFlags{repo: dir, head: "feature"}, "file://" + dir,
			preview.Change{Repo: dir, Base: "main", Default: true, From: commits["left"], To: commits["head"], Places: map[string]string{"file://" + dir: dir}}, "",
		},
		"no branch":    {"a name that is none is told", branchFlags{repo: dir, head: "nope"}, dir, preview.Change{}, `no branch or commit "nope"`},
		"no base":      {"a name that is none is told", branchFlags{repo: dir, base: "nope"}, dir, preview.Change{}, `no branch "nope"`},
		"option":       {"a name is never an option", branchFlags{repo: dir, head: "--all"}, dir, preview.Change{}, "no branch or commit"},
		"nobody":       {"nobody reads it", branchFlags{repo: dir}, "https://git.example/other", preview.Change{}, "no Application reads"},
		"no clone":     {"a folder that is none", branchFlags{repo: t.TempDir()}, dir, preview.Change{}, "no clone"},
		"url, no head": {"a URL has nothing checked out", branchFlags{repo: "https://git.example/x"}, dir, preview.Change{}, "--head"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.flags.change(t.Context(), []preview.App{app(tc.app)})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("%s: got %v", tc.reason, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestPreviewOfABranch(t *testing.T) {
	w := newWorld(t)
	dir, _ := clone(t)
	const spec = "{project: default, source: {repoURL: 'https://git.example/shop/deploy', path: ., targetRevision: HEAD}}"
	w.application(v1alpha1.Group, "web", spec, "")
	plumb := func(args ...string) (string, string, int) {
		var out, errs buffer
		args = append(args, "--kubeconfig", w.k.kubeconfig)
		code := run(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, environment{NoColor: true, DataDir: "/nonexistent/plumb", CacheDir: t.TempDir()})
		return out.String(), errs.String(), code
	}
	out, errs, code := plumb("preview", "--repo", dir)
	if code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	for _, part := range []string{"`HEAD`", "into `main`", "**1 Application changes**: 2 to create", "`" + w.namespace + "/web`", "waits for a sync by hand", "+  name: head"} {
		if !strings.Contains(out, part) {
			t.Errorf("there is no %q in\n%s", part, out)
		}
	}
	if strings.Contains(out, "name: tip") {
		t.Error("what has gone into the base since is shown")
	}
	out, errs, code = plumb("preview", "--repo", dir, "--head", "feature", "-o", "json")
	if code != 0 || !strings.Contains(out, `"followers": 1`) || !strings.Contains(out, `"then": "byHand"`) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if _, errs, code = plumb("preview", "web"); code != 1 || !strings.Contains(errs, "plumb plan web") {
		t.Errorf("the old name says %d %s", code, errs)
	}
}
