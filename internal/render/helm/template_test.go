package helm

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	charts "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

// TestSameAsTemplate renders the test charts of Argo CD and Helm, and compares
// with what "helm template --include-crds" gives: the same objects in the same
// order, or a failure of both.
func TestSameAsTemplate(t *testing.T) {
	if testing.Short() {
		t.Skip("walks the module cache")
	}
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(before) })
	same, failing := 0, 0
	for _, module := range []string{"github.com/argoproj/argo-cd/v3", "helm.sh/helm/v4"} {
		root := moduleDir(t, module)
		for _, dir := range chartsBelow(t, root) {
			if strings.Contains(dir, "/chart/v3/") {
				continue // an experiment of Helm
			}
			rel := strings.TrimPrefix(dir, root)
			theirs, err := helmTemplate(dir)
			req := request(nil, nil)
			req.APIVersions, req.KubeVersion = nil, ""
			req.Input.Tree, req.Input.Path = memtree.New(load(t, dir)), "."
			ours, oursErr := Renderer{}.Render(context.Background(), req)
			if err != nil || oursErr != nil {
				if (err == nil) != (oursErr == nil) {
					t.Errorf("%s: ours fails with %v, Helm's with %v", rel, oursErr, err)
				}
				failing++
				continue
			}
			if len(ours.Warnings) > 0 {
				continue // repeated objects and the like, which Helm gives twice
			}
			var got []string
			for _, o := range ours.Objects {
				got = append(got, string(o.JSON))
			}
			if diff := cmp.Diff(theirs, got); diff != "" && !changes(dir, theirs) {
				t.Errorf("%s: (-helm +ours)\n%s", rel, diff)
			}
			same++
		}
	}
	if same < 15 {
		t.Errorf("only %d charts were compared", same)
	}
	t.Logf("%d charts give the same, %d fail", same, failing)
}

func changes(dir string, before []string) bool {
	again, _ := helmTemplate(dir)
	return !cmp.Equal(before, again)
}

// helmTemplate is "helm template".
func helmTemplate(dir string) ([]string, error) {
	ch, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	var deps []charts.Dependency
	for _, d := range ch.Metadata.Dependencies {
		deps = append(deps, d)
	}
	if err := action.CheckDependencies(ch, deps); err != nil {
		return nil, err
	}
	i := action.NewInstall(new(action.Configuration))
	i.DryRunStrategy, i.ReleaseName, i.Namespace, i.Replace, i.IncludeCRDs = action.DryRunClient, "shop", "ns", true, true
	out, err := i.Run(ch, map[string]any{})
	if err != nil {
		return nil, err
	}
	rel := out.(*release.Release)
	text := rel.Manifest
	for _, h := range rel.Hooks {
		text += "\n---\n# Source: " + h.Path + "\n" + h.Manifest
	}
	docs, err := render.ParseYAML("out", []byte(glued.ReplaceAllString(text, "---\n$1")), render.Parsing{LastKeyWins: true})
	if err != nil {
		return nil, err
	}
	b := render.NewBuilder("Helm", render.Limits{})
	for _, d := range docs {
		if err := b.Add(d.Value, "out", d.Line); err != nil {
			return nil, err
		}
	}
	var objects []string
	for _, o := range b.Bundle().Objects {
		objects = append(objects, string(o.JSON))
	}
	return objects, nil
}
