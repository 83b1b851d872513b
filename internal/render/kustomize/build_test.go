package kustomize

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// TestSameAsBuild builds every kustomization of Argo CD's repository that needs
// no network, and compares with what "kustomize build" gives.
func TestSameAsBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("walks the module cache")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		t.Skipf("the module is not at hand: %v", err)
	}
	files, dirs := kustomizationsBelow(root)
	tree, same := memtree.New(files), 0
	for _, dir := range dirs {
		ours, err := Renderer{}.Render(context.Background(), render.Request{Input: render.Input{Tree: tree, Path: dir}})
		if err != nil && strings.Contains(err.Error(), "is remote") {
			continue
		}
		opts := krusty.MakeDefaultOptions()
		opts.Reorder = krusty.ReorderOptionUnspecified
		m, theirsErr := krusty.MakeKustomizer(opts).Run(filesys.MakeFsOnDisk(), filepath.Join(root, dir))
		if (err == nil) != (theirsErr == nil) {
			t.Errorf("%s: ours fails with %v, kustomize's with %v", dir, err, theirsErr)
			continue
		}
		if err != nil {
			continue
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
		same++
	}
	if same < 10 {
		t.Errorf("only %d kustomizations were compared", same)
	}
	t.Logf("%d kustomizations give the same", same)
}

func objectsOf(b render.Bundle) []string {
	var out []string
	for _, o := range b.Objects {
		out = append(out, string(o.JSON))
	}
	return out
}

func kustomizationsBelow(root string) (map[string]string, []string) {
	files, dirs := map[string]string{}, []string{}
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if d.IsDir() && (rel == "ui" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || strings.HasSuffix(p, ".go") {
			return nil
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
