package assess

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/health"
)

const upstreamScripts = 238

// TestUpstream runs every case that Argo CD has for its own checks.
func TestUpstream(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3").Output()
	if err != nil {
		t.Fatalf("find Argo CD's module: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "resource_customizations")
	a := New()
	scripts, cases := 0, 0
	err = fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || path.Base(p) != scriptFile {
			return err
		}
		scripts++
		cases += runUpstream(t, a, root, path.Dir(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scripts < upstreamScripts || cases < 2*upstreamScripts {
		t.Errorf("found %d scripts with %d cases: Argo CD has %d", scripts, cases, upstreamScripts)
	}
	t.Logf("%d scripts, %d cases", scripts, cases)
}

func runUpstream(t *testing.T, a *Assessor, root, dir string) int {
	t.Helper()
	var suite struct {
		Tests []struct {
			InputPath    string        `json:"inputPath"`
			HealthStatus health.Health `json:"healthStatus"`
		} `json:"tests"`
	}
	readYAML(t, filepath.Join(root, dir, "health_test.yaml"), &suite)
	for _, c := range suite.Tests {
		t.Run(dir+"/"+c.InputPath, func(t *testing.T) {
			obj := &unstructured.Unstructured{}
			readYAML(t, filepath.Join(root, dir, c.InputPath), &obj.Object)
			before := obj.DeepCopy()
			// Some of the objects happen to be in deletion, which Argo CD's own
			// test does not see, as it runs only the script.
			group, kind := groupKind(obj)
			s, err := a.script(group, kind)
			if err != nil || s == nil {
				t.Fatalf("no script for %s: %v", key(group, kind), err)
			}
			got := s.run(obj)
			if diff := cmp.Diff(c.HealthStatus, got); diff != "" {
				t.Errorf("health (-Argo CD, +ours):\n%s", diff)
			}
			if obj.GetDeletionTimestamp() == nil || s.deletion {
				if diff := cmp.Diff(got, a.Health(obj)); diff != "" {
					t.Errorf("health (-script, +assessed):\n%s", diff)
				}
			}
			if diff := cmp.Diff(before.Object, obj.Object); diff != "" {
				t.Errorf("the object was changed:\n%s", diff)
			}
		})
	}
	return len(suite.Tests)
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
