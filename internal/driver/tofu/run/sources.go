package run

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// maxFetches bounds how often init is tried anew because modules that it has
// downloaded call further ones.
const maxFetches = 8

// Sources are the sources of modules from elsewhere, as they are written in the
// module, the ones that it calls by relative paths, and those that init has
// downloaded.
func (f Folder) Sources() []string {
	found, seen := map[string]bool{}, map[string]bool{}
	queue := append([]string{f.Module}, f.installed()...)
	for ; len(queue) > 0 && len(seen) < maxModules; queue = queue[1:] {
		dir := queue[0]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		for _, file := range parseDir(dir) {
			for _, source := range sourcesIn(file) {
				if isRelative(source) {
					queue = append(queue, filepath.Join(dir, filepath.FromSlash(source)))
					continue
				}
				found[source] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// downloaded is an entry of the list of what init has downloaded.
type downloaded struct{ Key, Source, Dir string }

func (f Folder) manifest() []downloaded {
	var manifest struct{ Modules []downloaded }
	b, err := os.ReadFile(filepath.Join(f.data(), "modules", "modules.json"))
	if err != nil || json.Unmarshal(b, &manifest) != nil {
		return nil
	}
	return manifest.Modules
}

// Downloaded are the sources of the modules that init has downloaded, as the program
// has understood them.
func (f Folder) Downloaded() []string {
	var sources []string
	for _, m := range f.manifest() {
		if m.Key != "" && !isRelative(m.Source) {
			sources = append(sources, m.Source)
		}
	}
	return sources
}

// installed are the folders of modules that init has downloaded.
func (f Folder) installed() []string {
	var dirs []string
	for _, m := range f.manifest() {
		dir := filepath.FromSlash(m.Dir)
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(f.Module, dir)
		}
		if m.Key != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

var (
	callSchema   = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "module", LabelNames: []string{"name"}}}}
	sourceSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
)

// sourcesIn are those that are written out: others are known to the program only.
func sourcesIn(file *hcl.File) []string {
	var all []string
	content, _, _ := file.Body.PartialContent(callSchema)
	for _, block := range content.Blocks {
		attrs, _, _ := block.Body.PartialContent(sourceSchema)
		a := attrs.Attributes["source"]
		if a == nil {
			continue
		}
		if v, diags := a.Expr.Value(nil); !diags.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			all = append(all, v.AsString())
		}
	}
	return all
}

// initOnce runs init with what Config.Fetch gives, and once more for as long as the
// modules that it has downloaded call others that have to be fetched.
func (r *Runner) initOnce(ctx context.Context, args []string) error {
	if r.config.Fetch == nil {
		return r.initWith(ctx, args, nil)
	}
	env, err := r.fetch(ctx)
	for range maxFetches {
		if err != nil {
			return err
		}
		failed := r.initWith(ctx, args, env)
		if failed == nil || ctx.Err() != nil {
			return failed
		}
		var more []string
		if more, err = r.fetch(ctx); err == nil && slices.Equal(more, env) {
			return failed
		}
		env = more
	}
	return err
}

func (r *Runner) fetch(ctx context.Context) ([]string, error) {
	env, err := r.config.Fetch(ctx, r.folder.Sources())
	if err != nil {
		return nil, &Error{Kind: KindRegistry, Operation: "init", Cause: err}
	}
	return env, nil
}

func (r *Runner) initWith(ctx context.Context, args, more []string) error {
	e, err := r.execute(ctx, job{operation: "init", args: args, env: func(env []string) []string { return append(r.cacheEnv(env), more...) }})
	if err != nil {
		return err
	}
	return r.verdict(ctx, "init", e, 0)
}
