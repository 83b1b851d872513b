package tofu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/hclfile"
)

// fenceOf is what keeps the programs of modules apart. All of them may read what
// the operator's own settings name: mirrors of providers, and certificates.
func fenceOf(o Options) (*isolate.Fence, error) {
	set := o.Isolation
	set.Path, set.Private = o.Path, o.Dir
	mirrors, err := mirrorsOf(o.CLIConfig)
	if err != nil {
		return nil, err
	}
	set.Readable = append(append([]string{}, set.Readable...), mirrors...)
	for _, entry := range o.Env {
		name, value, _ := strings.Cut(entry, "=")
		if name == "SSL_CERT_FILE" || name == "SSL_CERT_DIR" {
			for _, path := range filepath.SplitList(value) {
				if filepath.IsAbs(path) {
					set.Readable = append(set.Readable, path)
				}
			}
		}
	}
	fence, err := isolate.New(set)
	if err != nil {
		return nil, err
	}
	for _, warning := range fence.Warnings() {
		o.Log.Warn(warning)
	}
	return fence, nil
}

// mirrorsOf are the folders that the programs' configuration file takes providers
// from.
func mirrorsOf(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of OpenTofu (TF_CLI_CONFIG_FILE): %w", err)
	}
	parsed, _ := hclfile.Parse(text, file)
	if parsed == nil {
		return nil, nil // the program itself says better what is wrong
	}
	body, ok := parsed.Body.(*hclsyntax.Body)
	if !ok {
		return nil, nil
	}
	var paths []string
	for _, block := range body.Blocks {
		if block.Type != "provider_installation" {
			continue
		}
		for _, method := range block.Body.Blocks {
			switch method.Type {
			case "filesystem_mirror":
				if path := method.Body.Attributes["path"]; path != nil {
					paths = append(paths, pathsIn(path.Expr)...)
				}
			case "dev_overrides":
				for _, path := range method.Body.Attributes {
					paths = append(paths, pathsIn(path.Expr)...)
				}
			}
		}
		if overrides := block.Body.Attributes["dev_overrides"]; overrides != nil {
			paths = append(paths, pathsIn(overrides.Expr)...)
		}
	}
	return paths, nil
}

// pathsIn are the absolute paths that an expression gives, or a map of them.
func pathsIn(e hcl.Expression) []string {
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		return nil
	}
	var paths []string
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() && filepath.IsAbs(v.AsString()) {
			paths = append(paths, v.AsString())
		}
		return true, nil
	})
	return paths
}

// Isolation says how much is kept apart: "full", "partial" or "none".
func (d *Driver) Isolation() string { return d.fence.Level() }
