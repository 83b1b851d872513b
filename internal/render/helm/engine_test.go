package helm

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	helmengine "helm.sh/helm/v4/pkg/engine"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// moduleDir gives the directory of a module in the module cache.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil || strings.TrimSpace(string(out)) == "" {
		t.Skipf("module %s is not at hand: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// chartsBelow finds charts in a directory.
func chartsBelow(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() == "Chart.yaml" && !strings.Contains(p, "/charts/") {
			out = append(out, filepath.Dir(p))
		}
		return nil
	})
	return out
}

// load reads a directory into memory.
func load(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if data, err := os.ReadFile(p); err == nil {
			rel, _ := filepath.Rel(dir, p)
			out[filepath.ToSlash(rel)] = string(data)
		}
		return nil
	})
	return out
}

// TestSameAsHelm renders every chart of the modules' test data with this
// engine and with Helm's.
func TestSameAsHelm(t *testing.T) {
	if testing.Short() {
		t.Skip("walks the module cache")
	}
	compared, failing := 0, 0
	for _, module := range []string{"helm.sh/helm/v4", "github.com/argoproj/argo-cd/v3"} {
		root := moduleDir(t, module)
		for _, dir := range chartsBelow(t, root) {
			files := load(t, dir)
			ours, oursErr := renderWith(t, files, func(ch *chart.Chart, v common.Values) (map[string]string, error) {
				return newEngine(context.Background(), render.Limits{}, func(s string) string { return s }).render(ch, v)
			})
			helm := func(ch *chart.Chart, v common.Values) (map[string]string, error) { return helmengine.Render(ch, v) }
			theirs, theirsErr := renderWith(t, files, helm)
			again, _ := renderWith(t, files, helm)
			rel := strings.TrimPrefix(dir, root)
			if (oursErr == nil) != (theirsErr == nil) {
				t.Errorf("%s: ours fails with %v, Helm's with %v", rel, oursErr, theirsErr)
				continue
			}
			if oursErr != nil {
				failing++
				continue
			}
			compared++
			for name, text := range again {
				if theirs[name] != text { // random passwords and the like
					delete(theirs, name)
					delete(ours, name)
				}
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("%s: (-helm +ours)\n%s", rel, diff)
			}
		}
	}
	if compared < 20 {
		t.Errorf("only %d charts were compared", compared)
	}
	t.Logf("%d charts give the same, %d fail with both", compared, failing)
}

type engineFunc func(*chart.Chart, common.Values) (map[string]string, error)

func renderWith(t *testing.T, files map[string]string, run engineFunc) (map[string]string, error) {
	t.Helper()
	req := render.Request{AppName: "rel", Namespace: "ns", Input: render.Input{Tree: memtree.New(files), Path: "."}}
	r := &rendering{ctx: t.Context(), req: &req, dir: ".", limits: render.Limits{}.OrDefault(), out: render.NewBuilder("Helm", render.Limits{})}
	l := &chartLoader{rendering: r, left: r.limits.TotalBytes}
	raw, err := l.load(req.Input.Tree, ".")
	if err != nil {
		return nil, err
	}
	ch, err := l.parse(".", raw)
	if err != nil {
		return nil, err
	}
	vals := map[string]any{}
	if err := chartutil.ProcessDependencies(ch, vals); err != nil {
		return nil, err
	}
	top, err := commonutil.ToRenderValuesWithSchemaValidation(ch, vals, common.ReleaseOptions{Name: "rel", Namespace: "ns", Revision: 1, IsInstall: true}, nil, true)
	if err != nil {
		return nil, err
	}
	return run(ch, top)
}
