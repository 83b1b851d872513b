package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNotFound is returned where no program is found.
var ErrNotFound = errors.New("neither OpenTofu nor Terraform was found")

// Find looks for a tool in directories: "tofu", "terraform", or with "" and
// "auto" for the first and then the second.
func Find(tool string, path []string) (string, error) {
	var names []string
	switch tool {
	case "", "auto":
		names = []string{"tofu", "terraform"}
	case "tofu", "terraform":
		names = []string{tool}
	default:
		return "", configError("Unknown tool", fmt.Sprintf("source.tofu.tool is %q: it may be auto, tofu or terraform", tool))
	}
	for _, name := range names {
		for _, dir := range path {
			if !filepath.IsAbs(dir) {
				continue
			}
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("%w: there is no %s on the PATH", ErrNotFound, names[0])
}
