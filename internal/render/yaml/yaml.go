// Package yaml renders directories of plain manifests: YAML, JSON and Jsonnet.
// It knows nothing of other tools' directories; what is no manifest at all is
// left alone, as Argo CD leaves it.
package yaml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gobwas/glob"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// skipMarker in a file keeps the file from being rendered.
const skipMarker = "+argocd:skip-file-rendering"

// maxFiles bounds how many files one directory source may hold.
const maxFiles = 50_000

// Renderer renders directories of manifests.
type Renderer struct{}

// Render gives the objects of all manifests, in the order of their paths.
func (Renderer) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	var opts v1alpha1.ApplicationSourceDirectory
	if req.Input.Source.Directory != nil {
		opts = *req.Input.Source.Directory
	}
	w, err := newWalk(ctx, &req, opts)
	if err != nil {
		return render.Bundle{}, err
	}
	if err := w.dir(render.Clean(req.Input.Path), 0); err != nil {
		return render.Bundle{}, err
	}
	return w.out.Bundle(), nil
}

// walk is one pass over a directory.
type walk struct {
	ctx              context.Context
	req              *render.Request
	opts             v1alpha1.ApplicationSourceDirectory
	tree             source.Tree
	root             string
	limits           render.Limits
	include, exclude glob.Glob
	files            int
	bytes            int64
	out              *render.Builder
}

func newWalk(ctx context.Context, req *render.Request, opts v1alpha1.ApplicationSourceDirectory) (*walk, error) {
	w := &walk{
		ctx: ctx, req: req, opts: opts, tree: req.Input.Tree, root: render.Clean(req.Input.Path),
		limits: req.Limits.OrDefault(),
		out:    render.NewBuilder(v1alpha1.ApplicationSourceTypeDirectory, req.Limits),
	}
	var err error
	if w.include, err = pattern("include", opts.Include); err != nil {
		return nil, err
	}
	w.exclude, err = pattern("exclude", opts.Exclude)
	return w, err
}

// pattern compiles a glob in which * also matches slashes, as Argo CD has it.
// A pattern that cannot be read is an error: taken for "nothing" it would let
// everything be pruned.
func pattern(field, text string) (glob.Glob, error) {
	if text == "" {
		return nil, nil
	}
	g, err := glob.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("directory.%s: %q is not a glob: %w", field, text, err)
	}
	return g, nil
}

func (w *walk) dir(dir string, depth int) error {
	if depth > 100 {
		return render.Errorf(dir, 0, "directories nest more than 100 deep: %w", render.ErrTooMuch)
	}
	entries, err := w.tree.ReadDir(dir)
	if err != nil {
		return render.At(dir, 0, err)
	}
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		p := render.Clean(dir + "/" + e.Name())
		if e.IsDir() {
			if w.opts.Recurse {
				if err := w.dir(p, depth+1); err != nil {
					return err
				}
			}
			continue
		}
		if err := w.entry(p, e); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(p string, e fs.DirEntry) error {
	kind := path.Ext(e.Name())
	if kind != ".yaml" && kind != ".yml" && kind != ".json" && kind != ".jsonnet" {
		return nil
	}
	if w.files++; w.files > maxFiles {
		return render.Errorf(w.root, 0, "more than %d files in one Application: split it: %w", maxFiles, render.ErrTooMuch)
	}
	rel := strings.TrimPrefix(p, w.root+"/")
	if w.exclude != nil && w.exclude.Match(rel) {
		return nil
	}
	if w.include != nil && !w.include.Match(rel) {
		return nil
	}
	if e.Type()&fs.ModeSymlink != 0 {
		info, err := w.tree.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			w.out.Warn(p + ": symbolic link to a file that does not exist is skipped")
			return nil
		case err != nil:
			return render.At(p, 0, cause(err))
		case info.IsDir():
			return nil
		}
	}
	data, err := render.ReadFile(w.tree, p, w.limits.FileBytes)
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte(skipMarker)) {
		return nil
	}
	return w.file(p, kind, data)
}

func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (w *walk) file(p, kind string, data []byte) error {
	if kind == ".jsonnet" {
		return w.jsonnet(p)
	}
	if w.bytes += int64(len(data)); w.bytes > w.limits.TotalBytes {
		return render.Errorf(p, 0, "with this file the manifests have more than %d bytes: %w", w.limits.TotalBytes, render.ErrTooMuch)
	}
	if kind == ".json" {
		return w.json(p, data)
	}
	docs, err := render.ParseYAML(p, data, render.Parsing{Limits: w.limits})
	if err != nil {
		if len(docs) == 0 && !contains(data, "apiVersion", "kind") && !errors.Is(err, render.ErrTooMuch) {
			// Some other YAML: templates, values, configuration. But who meant it to
			// be a manifest must not look for it in vain.
			w.out.Warn(err.Error() + ": the file does not look like a manifest and is skipped")
			return nil
		}
		return err
	}
	good := 0
	for _, d := range docs {
		if !hasKind(d.Value) && good == 0 && !looksLikeManifest(data) {
			return nil
		}
		good++
		if err := w.out.Add(d.Value, p, d.Line); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) json(p string, data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	v, err := render.ParseJSON(p, data, w.limits)
	if err != nil {
		return err
	}
	if !hasKind(v) && !looksLikeManifest(data) {
		return nil
	}
	return w.out.Add(v, p, 1)
}

func hasKind(v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	kind, _ := m["kind"].(string)
	return kind != ""
}

// looksLikeManifest says whether a text that is no object was meant to be one.
func looksLikeManifest(data []byte) bool { return contains(data, "apiVersion", "kind", "metadata") }

// contains tells whether a text has all of the keys, anywhere.
func contains(data []byte, keys ...string) bool {
	for _, key := range keys {
		if !bytes.Contains(data, []byte(key+":")) && !bytes.Contains(data, []byte(`"`+key+`"`)) {
			return false
		}
	}
	return true
}
