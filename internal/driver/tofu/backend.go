package tofu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/hclfile"
)

// overridePrefix begins the name of the file by which a run keeps the state where
// Plumb wants it. No file of a module may begin so.
const overridePrefix = "plumb_backend_override"

// overrides tells whether a file of the root module is the one that a run adds.
func overrides(name string) bool {
	return slices.Contains([]string{".tf", ".tofu", ".tf.json", ".tofu.json"}, strings.TrimPrefix(name, overridePrefix))
}

// refuseOverrides refuses files that could be taken for ours: they would be
// replaced, or not be looked at.
func refuseOverrides(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(path.Base(name), overridePrefix) {
			return &driver.RefusedError{Why: name + ": files of this name are Plumb's own: give it another"}
		}
	}
	return nil
}

// backend is where a module says that its state is.
type backend struct {
	// own is true where it says so at all.
	own  bool
	kind string
}

// backendOf looks for a backend, or cloud block, in the root module. What is no
// file (programs of the module may have left it there) is told of by others.
func backendOf(root *os.Root, dir string) (backend, error) {
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return backend{}, fmt.Errorf("read the module: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() || !hclfile.Configuration(e.Name()) || overrides(e.Name()) {
			continue
		}
		text, err := readRegular(root, filepath.Join(dir, e.Name()))
		if errors.Is(err, errNotRegular) {
			continue
		}
		if err != nil {
			return backend{}, fmt.Errorf("read the module: %w", err)
		}
		if b := backendIn(e.Name(), text); b.own {
			return b, nil
		}
	}
	return backend{}, nil
}

func backendIn(name string, text []byte) backend {
	if strings.HasSuffix(name, ".json") {
		var file struct {
			Terraform json.RawMessage `json:"terraform"`
		}
		if json.Unmarshal(text, &file) != nil || file.Terraform == nil {
			return backend{}
		}
		type block struct {
			Backend map[string]json.RawMessage `json:"backend"`
			Cloud   json.RawMessage            `json:"cloud"`
		}
		var many []block
		if json.Unmarshal(file.Terraform, &many) != nil {
			var one block
			if json.Unmarshal(file.Terraform, &one) != nil {
				return backend{}
			}
			many = []block{one}
		}
		for _, b := range many {
			for kind := range b.Backend {
				return backend{true, kind}
			}
			if b.Cloud != nil {
				return backend{true, "cloud"}
			}
		}
		return backend{}
	}
	file, _ := hclfile.Parse(text, name)
	if file == nil {
		return backend{}
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return backend{}
	}
	for _, block := range body.Blocks {
		if block.Type != "terraform" {
			continue
		}
		for _, inner := range block.Body.Blocks {
			switch {
			case inner.Type == "backend" && len(inner.Labels) == 1:
				return backend{true, inner.Labels[0]}
			case inner.Type == "cloud":
				return backend{true, "cloud"}
			}
		}
	}
	return backend{}
}

// quoted is a text as an HCL expression.
func quoted(text string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(text)).Bytes())
}

// backendConfig are the settings of the module's own backend.
func (s *spec) backendConfig() map[string]string {
	texts := maps.Clone(s.Options.Backend)
	for name, v := range s.Backend {
		if texts == nil {
			texts = map[string]string{}
		}
		texts[name] = v.Text()
	}
	return hclStrings(texts)
}

func hclStrings(values map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range values {
		if text == "true" || text == "false" {
			out[name] = text
			continue
		}
		out[name] = quoted(text)
	}
	return out
}
