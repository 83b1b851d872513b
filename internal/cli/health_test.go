package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// offline runs one of the commands that need no control plane.
func offline(t *testing.T, command func(Streams) *cobra.Command, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	cmd := command(Streams{In: strings.NewReader(stdin), Out: &out, Err: &err})
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&err)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if failed := cmd.ExecuteContext(t.Context()); failed != nil {
		code = 1
		var coded interface{ ExitCode() int }
		if errors.As(failed, &coded) {
			code = coded.ExitCode()
		}
		err.WriteString(failed.Error())
	}
	return out.String(), err.String(), code
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const sickDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, generation: 1}
spec: {replicas: 2}
status: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 1}
`

func TestHealthJSON(t *testing.T) {
	dir := t.TempDir()
	one := writeFile(t, dir, "one.yaml", sickDeployment+"---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
	list := writeFile(t, dir, "sub/list.json", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"p"},"status":{"phase":"Bound"}}]}`)
	stdin := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n"
	out, stderr, code := offline(t, newHealthCommand, stdin, "-f", one, "-f", "-", "-f", filepath.Join(dir, "sub"), "-o", "json")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var got []objectHealth
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := []objectHealth{
		{one, "apps/v1", "Deployment", "shop", "web", "Progressing", "Waiting for rollout to finish: 1 of 2 updated replicas are available..."},
		{one, "v1", "ConfigMap", "", "c", "Healthy", ""},
		{"-", "batch/v1", "Job", "", "j", "Progressing", ""},
		{list, "v1", "PersistentVolumeClaim", "", "p", "Healthy", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
}

func TestHealthTable(t *testing.T) {
	file := writeFile(t, t.TempDir(), "d.yaml", sickDeployment)
	out, _, _ := offline(t, newHealthCommand, "", file)
	fields := strings.Fields(strings.Split(out, "\n")[0])
	if diff := cmp.Diff([]string{"FILE", "KIND", "NAMESPACE", "NAME", "STATUS", "MESSAGE"}, fields); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
	if !strings.Contains(out, "Progressing   Waiting for rollout") {
		t.Errorf("got\n%s", out)
	}
}

func TestHealthErrors(t *testing.T) {
	dir := t.TempDir()
	good := writeFile(t, dir, "good.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
	cases := map[string]struct {
		reason, file, want string
	}{
		"broken":  {"with its line", writeFile(t, dir, "broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n bad: b\n"), "broken.yaml:"},
		"no kind": {"no object", writeFile(t, dir, "nokind.yaml", "---\napiVersion: v1\nmetadata: {name: a}\n"), "nokind.yaml:2: this is no Kubernetes object: it has no kind"},
		"scalar":  {"no object", writeFile(t, dir, "scalar.yaml", "hello\n"), "scalar.yaml:1: this is no Kubernetes object"},
		"missing": {"no file", filepath.Join(dir, "missing.yaml"), "missing.yaml: no such file"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out, stderr, code := offline(t, newHealthCommand, "", "-f", c.file, "-f", good, "-o", "json")
			if code != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("%s: exit code %d, %q; want 1 and %q", c.reason, code, stderr, c.want)
			}
			if !strings.Contains(out, `"name": "c"`) {
				t.Errorf("the other file is read all the same: %s", out)
			}
		})
	}
	if _, stderr, code := offline(t, newHealthCommand, ""); code != 1 || !strings.Contains(stderr, "-f") {
		t.Errorf("no file at all: exit code %d, %q", code, stderr)
	}
}

func TestHealthOverrides(t *testing.T) {
	dir := t.TempDir()
	cm := writeFile(t, dir, "cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm}\ndata:\n  resource.customizations.health.ConfigMap: |\n    return {status = 'Degraded', message = 'mine'}\n")
	out, _, _ := offline(t, newHealthCommand, "", "-f", cm, "--argocd-cm-path", cm)
	if !strings.Contains(out, "Degraded   mine") {
		t.Errorf("got\n%s", out)
	}
}

// TestHealthOfUpstream runs the command over the objects of Argo CD's own tests.
func TestHealthOfUpstream(t *testing.T) {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3").Output()
	if err != nil {
		t.Fatalf("find Argo CD's module: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(module)), "resource_customizations")
	want := map[string][2]string{}
	var args []string
	err = fs.WalkDir(os.DirFS(root), ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(p) != "health_test.yaml" {
			return err
		}
		dir := filepath.Join(root, filepath.Dir(p))
		var suite struct {
			Tests []struct {
				InputPath    string
				HealthStatus struct{ Status, Message string }
			}
		}
		text, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			return err
		}
		if err := yaml.Unmarshal(text, &suite); err != nil {
			return err
		}
		for _, c := range suite.Tests {
			file := filepath.Join(dir, c.InputPath)
			if _, twice := want[file]; !twice {
				args = append(args, "-f", file)
			}
			want[file] = [2]string{c.HealthStatus.Status, c.HealthStatus.Message}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out, stderr, code := offline(t, newHealthCommand, "", append(args, "-o", "json")...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var got []objectHealth
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("got %d objects of %d files", len(got), len(want))
	}
	deleted := 0
	for _, h := range got {
		if h.Message == "Pending deletion" {
			deleted++ // Argo CD's own test runs only the script
			continue
		}
		if h.Status != want[h.File][0] || h.Message != want[h.File][1] {
			t.Errorf("%s: got %s %q, want %q", h.File, h.Status, h.Message, want[h.File])
		}
	}
	t.Logf("%d objects, %d in deletion", len(got), deleted)
}
