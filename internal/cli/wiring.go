package cli

import (
	"context"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/helm"
	"github.com/plumb-dev/plumb/internal/render/kustomize"
	"github.com/plumb-dev/plumb/internal/render/tofu"
	"github.com/plumb-dev/plumb/internal/render/yaml"
	"github.com/plumb-dev/plumb/internal/server"
)

// renderers are the tools that need no control plane.
func renderers() render.Tools {
	return render.Tools{Directory: yaml.Renderer{}, Kustomize: kustomize.Renderer{}, Helm: helm.Renderer{}, Tofu: tofu.Renderer{}}
}

// newPreviewer gives what previews Applications with the user's own rights.
// What it gives last must be called at the end.
func (c commandline) newPreviewer(ctx context.Context) (previewer, func(), error) {
	dir := c.env.CacheDir
	if dir == "" {
		var err error
		if dir, err = serverDataDir(); err != nil {
			return nil, nil, err
		}
	}
	p, end, err := server.NewPreviewer(ctx, c.connection.config, dir, c.tools(), nil)
	if err != nil {
		return nil, nil, c.connection.explain(err)
	}
	return p, end, nil
}
