package cli

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/adopt"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// gitRepo is a bare repository and a clone of it.
type gitRepo struct {
	t          *testing.T
	bare, work string
}

func newGitRepo(t *testing.T) *gitRepo {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is not installed: .ci/run installs it")
	}
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	r := &gitRepo{t, filepath.Join(dir, "app.git"), filepath.Join(dir, "work")}
	r.git("", "init", "-q", "--bare", "-b", "main", r.bare)
	r.git("", "clone", "-q", r.bare, r.work)
	return r
}

func (r *gitRepo) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *gitRepo) commit(message string, files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		file := filepath.Join(r.work, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git(r.work, "add", "-A")
	r.git(r.work, "commit", "-q", "-m", message)
	r.git(r.work, "push", "-q", "origin", "HEAD:main")
	return r.git(r.work, "rev-parse", "HEAD")
}

func TestAdoptPushesABranchAfterWhichNothingDiffers(t *testing.T) {
	r := newGitRepo(t)
	manifest := "# settings\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  # how loud\n  level: \"1\" # quiet\n"
	r.commit("first", map[string]string{"web/cm.yaml": manifest})
	w := newWorld(t)
	w.application(v1alpha1.Group, "web", `
source: {repoURL: "file://`+r.bare+`", path: web, targetRevision: main}
destination: {server: https://kubernetes.default.svc, namespace: `+w.namespace+`}
`, "")
	client, err := w.k.typed()
	if err != nil {
		t.Fatal(err)
	}
	maps := client.CoreV1().ConfigMaps(w.namespace)
	_, err = maps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"level": "3"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := w.namespace + "/web"
	_, errs, code := w.plumb("adopt", name)
	if code != 0 || !strings.Contains(errs, "Git has changed since the last sync") {
		t.Errorf("what was never synced is no drift: exit %d, %s", code, errs)
	}
	patch, errs, code := w.plumb("adopt", name, "ConfigMap/settings", "-o", "patch")
	if code != 0 || !strings.Contains(patch, "-  level: \"1\" # quiet\n+  level: \"3\" # quiet\n") {
		t.Fatalf("exit %d: %s\n%s", code, errs, patch)
	}
	if got := r.git(r.bare, "for-each-ref", "--format=%(refname)"); got != "refs/heads/main" {
		t.Errorf("a patch pushes nothing, and there is %s", got)
	}
	out, errs, code := w.plumb("adopt", name, "ConfigMap/settings", "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var doc adoptDocument
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Pushed) != 1 || doc.Pushed[0].Base != "main" {
		t.Fatalf("%v: %s", err, out)
	}
	branch := doc.Pushed[0].Branch
	want := strings.Replace(manifest, `"1"`, `"3"`, 1)
	if diff := cmp.Diff(strings.TrimSpace(want), r.git(r.bare, "show", branch+":web/cm.yaml")); diff != "" {
		t.Error(diff)
	}
	_, errs, code = w.plumb("adopt", name, "ConfigMap/settings")
	if code != 0 || !strings.Contains(errs, "holds it already") {
		t.Errorf("again: exit %d, %s", code, errs)
	}
	out, errs, code = w.plumb("adopt", name, "ConfigMap/settings", "--field", "data.other")
	if code != 0 || out != "" || !strings.Contains(errs, "nothing has drifted") {
		t.Errorf("another field: exit %d, %s%s", code, out, errs)
	}
	if _, errs, code = w.plumb("adopt", name, "ConfigMap/none"); code == 0 || !strings.Contains(errs, "no resource") {
		t.Errorf("exit %d: %s", code, errs)
	}
	diff, errs, _ := w.plumb("diff", name, "--revision", branch, "-o", "json")
	if strings.Contains(diff, `level: \"1\"`) || !strings.Contains(diff, "settings") {
		t.Errorf("on the branch the field still differs: %s%s", diff, errs)
	}
}

func TestDrifted(t *testing.T) {
	ref := func(name string) plan.Ref {
		return plan.Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: name}
	}
	update := func(name string, drift bool) plan.Step {
		return plan.Step{Change: plan.Update{Resource: ref(name), Drift: drift}}
	}
	c := driver.Comparison{
		Resources: []driver.Resource{
			{Ref: ref("a"), Cause: driver.CauseDrift}, {Ref: ref("b"), Cause: driver.CauseDeclared},
			{Ref: ref("c"), Cause: driver.CauseDeleted}, {Ref: ref("d"), Cause: driver.CauseDrift},
		},
		Plan: plan.Plan{Steps: []plan.Step{update("a", true), update("b", false), {Change: plan.Create{Resource: ref("c")}}, {Change: plan.Replace{Resource: ref("d")}}}},
	}
	for name, test := range map[string]struct {
		reason string
		names  []string
		want   []string
		notes  int
		wrong  bool
	}{
		"all":     {"what Git has changed is no drift", nil, []string{"c", "a", "d"}, 1, false},
		"name":    {"what is named is taken", []string{"b"}, []string{"b"}, 0, false},
		"kind":    {"case does not matter in kinds", []string{"deployment/a"}, []string{"a"}, 0, false},
		"address": {"as other commands print it", []string{"apps/Deployment/shop/c"}, []string{"c"}, 0, false},
		"unknown": {"a name that means nothing is an error", []string{"a", "x"}, nil, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			found, notes, err := drifted(c, test.names)
			if (err != nil) != test.wrong {
				t.Fatalf("%s: %v", test.reason, err)
			}
			var got []string
			for _, d := range found {
				got = append(got, d.Ref.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || len(notes) != test.notes {
				t.Errorf("%s: %v %s", test.reason, notes, diff)
			}
		})
	}
}

func TestRollback(t *testing.T) {
	r := newGitRepo(t)
	first := r.commit("first", map[string]string{"web/a": "one\n", "db/a": "one\n"})
	second := r.commit("second", map[string]string{"web/a": "two\n", "db/a": "two\n"})
	w := newWorld(t)
	source := `{repoURL: "file://` + r.bare + `", path: web, targetRevision: main}`
	w.application(v1alpha1.Group, "web", "source: "+source+"\ndestination: {server: https://kubernetes.default.svc, namespace: shop}\n", `
sync: {status: Synced, revision: `+second+`}
history:
- {id: 0, revision: `+first+`, source: `+source+`, deployedAt: "2026-01-01T00:00:00Z"}
- {id: 1, revision: `+second+`, source: `+source+`, deployedAt: "2026-01-02T00:00:00Z"}
`)
	name := w.namespace + "/web"
	out, errs, code := w.plumb("rollback", name, "--dry-run")
	if code != 0 || !strings.Contains(out, "-two\n+one\n") || !strings.Contains(errs, "nothing was pushed") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if _, errs, code = w.plumb("rollback", name, "0"); code != 0 || !strings.Contains(errs, "pushed plumb/rollback/web-") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if _, errs, code = w.plumb("rollback", name, "--to", "7"); code == 0 || !strings.Contains(errs, "neither an ID") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code = w.plumb("rollback", name, "--to", second); code == 0 || !strings.Contains(errs, "nothing to roll back") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code = w.plumb("rollback", name, "--to", first[:8], "--push", "-m", "Back"); code != 0 || !strings.Contains(errs, "is on main") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if r.git(r.bare, "show", "main:web/a") != "one" || r.git(r.bare, "show", "main:db/a") != "two" {
		t.Error("main is not as wanted")
	}
	if got := r.git(r.bare, "log", "-1", "--format=%s", "main"); got != "Back" {
		t.Errorf("the message is %q", got)
	}
}

func TestPathsOfAnApplication(t *testing.T) {
	values := func(files ...string) *v1alpha1.ApplicationSourceHelm {
		return &v1alpha1.ApplicationSourceHelm{ValueFiles: files}
	}
	for name, c := range map[string]struct {
		reason  string
		sources []v1alpha1.ApplicationSource
		i       int
		want    []string
	}{
		"folder": {"its own", []v1alpha1.ApplicationSource{{Path: "apps/web/"}}, 0, []string{"apps/web"}},
		"top":    {"no path is all", []v1alpha1.ApplicationSource{{}}, 0, []string{"."}},
		"values": {"those beside the chart, too", []v1alpha1.ApplicationSource{{Path: "chart", Helm: values("../env/prod.yaml", "https://x/y.yaml")}}, 0, []string{"chart", "env/prod.yaml"}},
		"ref":    {"what another source takes from it", []v1alpha1.ApplicationSource{{Chart: "c", Helm: values("$v/env/prod.yaml")}, {Ref: "v"}}, 1, []string{"env/prod.yaml"}},
		"escape": {"nothing outside", []v1alpha1.ApplicationSource{{Path: "chart", Helm: values("../../x")}}, 0, []string{"chart"}},
	} {
		if diff := cmp.Diff(c.want, pathsOf(c.sources, c.i, nil)); diff != "" {
			t.Errorf("%s: %s: %s", name, c.reason, diff)
		}
	}
}

// openerFunc is a host of repositories.
type openerFunc func(repo, head, base, title string) (string, error)

func (f openerFunc) Open(_ context.Context, repo, head, base, title, _ string) (string, error) {
	return f(repo, head, base, title)
}

func TestCommitFilesOpensAPullRequest(t *testing.T) {
	r := newGitRepo(t)
	r.commit("first", map[string]string{"a.yaml": "a: 1\n"})
	c := commandline{env: environment{CacheDir: t.TempDir()}}
	git, err := c.newCommitter(t.Context(), pullRequestIfPossible)
	if err != nil {
		t.Fatal(err)
	}
	git.opener = openerFunc(func(_, head, base, title string) (string, error) {
		return "https://git.example/pulls/" + base + "/" + strings.Split(head, "/")[1] + "/" + strings.ReplaceAll(title, " ", "-"), nil
	})
	a := application{}
	a.key.Name = "web"
	a.Spec.Source = &v1alpha1.ApplicationSource{RepoURL: "file://" + r.bare, TargetRevision: "main"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done, err := git.commitFiles(ctx, a, adoptFlags{}, adopt.Proposal{Files: []adopt.File{{Path: "a.yaml", Before: []byte("a: 1\n"), After: []byte("a: 2\n")}}})
	if err != nil || len(done) != 1 || done[0].URL != "https://git.example/pulls/main/adopt/Adopt-what-runs-into-web" {
		t.Errorf("%+v, %v", done, err)
	}
}
