package kustomize

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// TestSameAsBuild builds every kustomization of Argo CD's repository that needs
// no network, and compares with what "kustomize build" gives. The schemas of its
// definitions, which many of them have in common and which take most of the time,
// are built whole in one of them.
func TestSameAsBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("walks the module cache")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		t.Fatalf("the module is not at hand: %v", err)
	}
	const definitions = "manifests/crds"
	files, dirs := kustomizationsBelow(root)
	if !sameAsBuild(t, root, memtree.New(files), definitions) {
		t.Errorf("%s was not compared", definitions)
	}
	for name, text := range files {
		if path.Dir(name) == definitions && strings.HasSuffix(name, "-crd.yaml") {
			files[name] = withoutSchema(t, text)
		}
	}
	short, tree, same := written(t, files), memtree.New(files), 0
	for _, dir := range dirs {
		if sameAsBuild(t, short, tree, dir) {
			same++
		}
	}
	if same < 10 {
		t.Errorf("only %d kustomizations were compared", same)
	}
	t.Logf("%d kustomizations give the same", same)
}

// sameAsBuild tells whether a kustomization could be compared.
func sameAsBuild(t *testing.T, root string, tree source.Tree, dir string) bool {
	t.Helper()
	ours, err := Renderer{}.Render(context.Background(), render.Request{Input: render.Input{Tree: tree, Path: dir}})
	if err != nil && strings.Contains(err.Error(), "is remote") {
		return false
	}
	opts := krusty.MakeDefaultOptions()
	opts.Reorder = krusty.ReorderOptionUnspecified
	m, theirsErr := krusty.MakeKustomizer(opts).Run(filesys.MakeFsOnDisk(), filepath.Join(root, dir))
	if (err == nil) != (theirsErr == nil) {
		t.Errorf("%s: ours fails with %v, kustomize's with %v", dir, err, theirsErr)
		return false
	}
	if err != nil {
		return false
	}
	text, _ := m.AsYaml()
	docs, err := render.ParseYAML("out", text, render.Parsing{LastKeyWins: true})
	if err != nil {
		t.Fatal(err)
	}
	b := render.NewBuilder("Kustomize", render.Limits{})
	for _, d := range docs {
		if err := b.Add(d.Value, "out", d.Line); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(objectsOf(b.Bundle()), objectsOf(ours)); diff != "" {
		t.Errorf("%s: (-kustomize +ours)\n%s", dir, diff)
	}
	for _, o := range ours.Objects {
		if o.File == "" || strings.HasPrefix(o.File, "/") {
			t.Errorf("%s: %s has no place", dir, o.Ref.Address())
		}
	}
	return true
}

// withoutSchema is a definition of a kind of which everything is allowed.
func withoutSchema(t *testing.T, text string) string {
	t.Helper()
	var definition map[string]any
	if err := yaml.Unmarshal([]byte(text), &definition); err != nil {
		t.Fatal(err)
	}
	versions, _, err := unstructured.NestedSlice(definition, "spec", "versions")
	if err != nil || len(versions) == 0 {
		t.Fatalf("the definition has no versions: %v", err)
	}
	for _, v := range versions {
		v.(map[string]any)["schema"] = map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}
	}
	if err := unstructured.SetNestedSlice(definition, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(definition)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// written are files in a folder.
func written(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func objectsOf(b render.Bundle) []string {
	var out []string
	for _, o := range b.Objects {
		out = append(out, string(o.JSON))
	}
	return out
}

// kustomizationsBelow gives all files that kustomizations may read, and where
// there are kustomizations.
func kustomizationsBelow(root string) (map[string]string, []string) {
	files, dirs := map[string]string{}, []string{}
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if d.IsDir() && (rel == "ui" || rel == "docs" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if installed, _ := filepath.Match("*install*.yaml", d.Name()); d.IsDir() || installed || strings.HasSuffix(p, ".go") {
			return nil // what was built already, and is large
		}
		if data, err := os.ReadFile(p); err == nil {
			files[filepath.ToSlash(rel)] = string(data)
		}
		if render.IsKustomization(d.Name()) {
			dirs = append(dirs, filepath.ToSlash(filepath.Dir(rel)))
		}
		return nil
	})
	return files, dirs
}
