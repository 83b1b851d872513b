package server

import (
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/helm"
	"github.com/plumb-dev/plumb/internal/render/kustomize"
	"github.com/plumb-dev/plumb/internal/render/tofu"
	"github.com/plumb-dev/plumb/internal/render/yaml"
)

// renderer joins the tools that render.
func renderer() render.Renderer {
	return render.Tools{Directory: yaml.Renderer{}, Kustomize: kustomize.Renderer{}, Helm: helm.Renderer{}, Tofu: tofu.Renderer{}}
}
