package render

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/hclfile"
	"github.com/plumb-dev/plumb/internal/source"
)

// KustomizationNames are the names that make a directory a kustomization.
var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// IsKustomization says whether a file name is that of a kustomization.
func IsKustomization(name string) bool {
	for _, n := range kustomizationNames {
		if n == name {
			return true
		}
	}
	return false
}

// Kustomization gives the path of a directory's kustomization file, or "".
func Kustomization(tree source.Tree, dir string) string {
	for _, n := range kustomizationNames {
		p := Clean(dir + "/" + n)
		if info, err := tree.Stat(p); err == nil && !info.IsDir() {
			return p
		}
	}
	return ""
}

// Detect says which kind of renderer a source needs: the one it has options
// for, else the one whose files its directory holds.
func Detect(tree source.Tree, dir string, src *v1alpha1.ApplicationSource) (v1alpha1.ApplicationSourceType, error) {
	explicit, err := explicitType(src)
	if err != nil || explicit != "" {
		return explicit, err
	}
	if src.Chart != "" {
		return v1alpha1.ApplicationSourceTypeHelm, nil
	}
	// A directory that holds both is a kustomization to Argo CD as well.
	if Kustomization(tree, dir) != "" {
		return v1alpha1.ApplicationSourceTypeKustomize, nil
	}
	if info, err := tree.Stat(Clean(dir + "/Chart.yaml")); err == nil && !info.IsDir() {
		return v1alpha1.ApplicationSourceTypeHelm, nil
	}
	if HasModule(tree, dir) {
		return v1alpha1.ApplicationSourceTypeTofu, nil
	}
	return v1alpha1.ApplicationSourceTypeDirectory, nil
}

// HasModule tells whether a directory holds an OpenTofu or Terraform module.
func HasModule(tree source.Tree, dir string) bool {
	entries, err := tree.ReadDir(Clean(dir))
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() && hclfile.Configuration(e.Name()) })
}

func explicitType(src *v1alpha1.ApplicationSource) (v1alpha1.ApplicationSourceType, error) {
	var found []string
	if src.Kustomize != nil {
		found = append(found, string(v1alpha1.ApplicationSourceTypeKustomize))
	}
	if src.Helm != nil {
		found = append(found, string(v1alpha1.ApplicationSourceTypeHelm))
	}
	if src.Directory != nil {
		found = append(found, string(v1alpha1.ApplicationSourceTypeDirectory))
	}
	if src.Plugin != nil {
		found = append(found, string(v1alpha1.ApplicationSourceTypePlugin))
	}
	if src.Tofu != nil {
		found = append(found, string(v1alpha1.ApplicationSourceTypeTofu))
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return v1alpha1.ApplicationSourceType(found[0]), nil
	}
	return "", fmt.Errorf("source has options for several tools: %s: leave one", strings.Join(found, ", "))
}

// Override gives the source with what the files .argocd-source.yaml and
// .argocd-source-<app>.yaml of its directory change: only the options of the
// tools, never where the source comes from.
func Override(tree source.Tree, dir, appName string, src v1alpha1.ApplicationSource, limits Limits) (v1alpha1.ApplicationSource, error) {
	files := []string{".argocd-source.yaml"}
	if appName != "" && !strings.ContainsAny(appName, `/\`) {
		files = append(files, ".argocd-source-"+appName+".yaml")
	}
	out := src
	for _, name := range files {
		p := Clean(dir + "/" + name)
		info, err := tree.Stat(p)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && info.IsDir()) {
			continue
		}
		data, err := ReadFile(tree, p, limits.OrDefault().FileBytes)
		if err != nil {
			return src, err
		}
		if out, err = patchSource(out, p, data, limits); err != nil {
			return src, err
		}
	}
	out.RepoURL, out.Path, out.TargetRevision, out.Chart = src.RepoURL, src.Path, src.TargetRevision, src.Chart
	out.TagPrefix, out.Ref, out.Name, out.Tofu = src.TagPrefix, src.Ref, src.Name, src.Tofu
	return out, nil
}

func patchSource(src v1alpha1.ApplicationSource, file string, data []byte, limits Limits) (v1alpha1.ApplicationSource, error) {
	lim := limits.OrDefault()
	data, err := decodeText(file, data)
	if err != nil {
		return src, err
	}
	if err := checkAliases(file, 0, data, lim.FileBytes); err != nil {
		return src, err
	}
	patch, err := yaml.YAMLToJSON(data)
	if err != nil {
		return src, yamlError(file, 0, err)
	}
	if string(patch) == "null" {
		return src, nil
	}
	if patch[0] != '{' {
		return src, Errorf(file, 1, "parameter overrides are a map of source options")
	}
	doc, err := json.Marshal(src)
	if err != nil {
		return src, At(file, 0, err)
	}
	merged, err := jsonpatch.MergePatch(doc, patch)
	if err != nil {
		return src, At(file, 1, err)
	}
	var out v1alpha1.ApplicationSource
	if err := json.Unmarshal(merged, &out); err != nil {
		return src, At(file, 0, err)
	}
	return out, nil
}

// Tools renders a source with the tool that it needs.
type Tools struct {
	Directory, Kustomize, Helm, Tofu Renderer
}

// Render finds the tool by the source's options and files, and renders.
func (t Tools) Render(ctx context.Context, req Request) (Bundle, error) {
	req, opened := Open(ctx, req)
	b, err := t.render(ctx, req)
	if err != nil {
		return Bundle{}, opened.Mask(err)
	}
	return opened.Seal(b)
}

func (t Tools) render(ctx context.Context, req Request) (Bundle, error) {
	req.Limits = req.Limits.OrDefault()
	req.Input.Path = Clean(req.Input.Path)
	tree, dir := req.Input.Tree, req.Input.Path
	info, err := tree.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Bundle{}, fmt.Errorf("%s: app path does not exist at revision %s", dir, tree.Revision())
	case err != nil:
		return Bundle{}, fileError(dir, err)
	case !info.IsDir():
		return Bundle{}, fmt.Errorf("%s: app path is not a directory", dir)
	}
	src, err := Override(tree, dir, req.AppName, req.Input.Source, req.Limits)
	if err != nil {
		return Bundle{}, fmt.Errorf("parameter overrides: %w", err)
	}
	req.Input.Source = src
	kind, err := Detect(tree, dir, &req.Input.Source)
	if err != nil {
		return Bundle{}, err
	}
	if req.Input.Source, err = withInputs(req.Input.Source, kind, req.Inputs); err != nil {
		return Bundle{}, err
	}
	renderer := t.of(kind)
	if renderer == nil {
		return Bundle{}, fmt.Errorf("source of type %s: %w", kind, ErrUnsupported)
	}
	return Bounded(ctx, req.Limits, func(ctx context.Context) (Bundle, error) {
		return renderer.Render(ctx, req)
	})
}

func (t Tools) of(kind v1alpha1.ApplicationSourceType) Renderer {
	switch kind {
	case v1alpha1.ApplicationSourceTypeHelm:
		return t.Helm
	case v1alpha1.ApplicationSourceTypeKustomize:
		return t.Kustomize
	case v1alpha1.ApplicationSourceTypeDirectory:
		return t.Directory
	case v1alpha1.ApplicationSourceTypeTofu:
		return t.Tofu
	default:
		return nil
	}
}
