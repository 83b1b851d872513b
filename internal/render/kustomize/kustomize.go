// Package kustomize renders kustomizations in process, with the libraries of
// the kustomize program and over the files of a tree alone. It runs no plugin
// that is not built in, starts no program, and asks no network: what a
// kustomization names by URL comes from the request's fetcher, or is refused.
package kustomize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// schemaInUse guards kustomize's OpenAPI schema, which is global to the
// process: builds that bring their own schema run alone, all others together.
var schemaInUse sync.RWMutex

// schemaParsed is true while kustomize's own schema is in place and parsed.
var schemaParsed atomic.Bool

// Renderer renders kustomizations.
type Renderer struct{}

// Render builds the kustomization at the source's path.
func (Renderer) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	b := &build{
		req:  &req,
		opts: req.Input.Source.Kustomize,
		out:  render.NewBuilder(v1alpha1.ApplicationSourceTypeKustomize, req.Limits),
		docs: map[string][]render.Head{},
	}
	if b.opts == nil {
		b.opts = &v1alpha1.ApplicationSourceKustomize{}
	}
	if b.opts.Version != "" {
		b.out.Warn(fmt.Sprintf("kustomize.version %q is ignored: one version of kustomize is built in", b.opts.Version))
	}
	root := render.Clean(req.Input.Path)
	if render.Kustomization(req.Input.Tree, root) == "" {
		return render.Bundle{}, render.Errorf(root, 0, "no kustomization.yaml, kustomization.yml or Kustomization in this directory")
	}
	m, err := b.run(ctx, root)
	if err != nil {
		return render.Bundle{}, err
	}
	if err := b.collect(m, root); err != nil {
		return render.Bundle{}, err
	}
	return b.out.Bundle(), nil
}

// build is one run.
type build struct {
	req  *render.Request
	opts *v1alpha1.ApplicationSourceKustomize
	out  *render.Builder
	fs   *treeFS
	docs map[string][]render.Head
	// wantsOrigins says that the user wants the origin annotations to stay.
	wantsOrigins bool
}

func (b *build) run(ctx context.Context, root string) (resmap.ResMap, error) {
	m, err := b.shared(ctx, root)
	if !errors.Is(err, errOwnSchema) {
		return m, err
	}
	schemaInUse.Lock()
	defer schemaInUse.Unlock()
	schemaParsed.Store(false)
	openapi.ResetOpenAPI()
	defer openapi.ResetOpenAPI()
	return b.once(ctx, root, true)
}

func (b *build) shared(ctx context.Context, root string) (resmap.ResMap, error) {
	schemaInUse.RLock()
	for !schemaParsed.Load() {
		schemaInUse.RUnlock()
		parseSchema()
		schemaInUse.RLock()
	}
	defer schemaInUse.RUnlock()
	return b.once(ctx, root, false)
}

// parseSchema has kustomize parse its schema now. It would do so when it first
// needs it, in the middle of a build, while other builds read it without a lock.
func parseSchema() {
	schemaInUse.Lock()
	defer schemaInUse.Unlock()
	if !schemaParsed.Load() {
		openapi.Schema()
		schemaParsed.Store(true)
	}
}

func (b *build) once(ctx context.Context, root string, ownSchema bool) (resmap.ResMap, error) {
	b.fs = newTreeFS(ctx, b.req, root, ownSchema)
	b.fs.edit = b.edit
	opts := krusty.MakeDefaultOptions()
	opts.Reorder = krusty.ReorderOptionUnspecified
	m, err := krusty.MakeKustomizer(opts).Run(b.fs, absolute(root))
	switch {
	case b.fs.failed != nil:
		return nil, b.fs.failed // what kustomize makes of it only hides it
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, b.explain(root, err)
	}
	return m, nil
}

// explain shortens what kustomize says, and names the kustomization.
func (b *build) explain(root string, err error) error {
	msg := strings.TrimSpace(err.Error())
	for _, noise := range []string{"accumulating resources: accumulation err=", "accumulating resources: "} {
		msg = strings.TrimPrefix(msg, noise)
	}
	return render.Errorf(render.Kustomization(b.req.Input.Tree, root), 0, "kustomize build: %s", msg)
}

// edit makes the changes of the Application's options to the kustomization, as
// "kustomize edit" does.
func (b *build) edit(k *types.Kustomization) error {
	for _, m := range k.BuildMetadata {
		b.wantsOrigins = b.wantsOrigins || m == types.OriginAnnotations
	}
	if err := applyOptions(k, b.opts, render.BuildEnv(b.req), b.componentExists); err != nil {
		return err
	}
	if err := k.CheckEmpty(); err != nil {
		return errors.New("the kustomization is empty")
	}
	if !b.wantsOrigins {
		k.BuildMetadata = append(k.BuildMetadata, types.OriginAnnotations)
	}
	return nil
}

func (b *build) componentExists(ref string) bool {
	p, err := render.Resolve(render.Clean(b.req.Input.Path), ref)
	return err == nil && render.Exists(b.req.Input.Tree, p)
}

func (b *build) collect(m resmap.ResMap, root string) error {
	for _, res := range m.Resources() {
		file, line := b.place(res, root)
		if !b.wantsOrigins {
			if err := res.SetOrigin(nil); err != nil {
				return render.At(file, line, err)
			}
		}
		text, err := res.MarshalJSON()
		if err != nil {
			return render.At(file, line, err)
		}
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			return render.At(file, line, err)
		}
		if err := b.out.Add(v, file, line); err != nil {
			return err
		}
	}
	return nil
}

// place finds where a resource was declared, by the origin that kustomize
// noted on it.
func (b *build) place(res *resource.Resource, root string) (string, int) {
	fallback := render.Kustomization(b.req.Input.Tree, root)
	origin, err := res.GetOrigin()
	if err != nil || origin == nil {
		return fallback, 0
	}
	where := origin.Path
	if where == "" {
		where = origin.ConfiguredIn
	}
	p, err := render.Resolve(root, where)
	if where == "" || err != nil {
		return fallback, 0
	}
	if origin.Path == "" {
		return p, 0
	}
	heads, ok := b.docs[p]
	if !ok {
		data, _ := b.fs.read(p)
		heads = render.Heads(data)
		b.docs[p] = heads
	}
	return b.fs.shown(p), render.FindHead(heads, res.GetKind(), res.GetName())
}

func absolute(p string) string { return path.Clean("/" + p) }
