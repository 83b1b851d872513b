package helm

import (
	"encoding/base64"
	"path"
	"strings"

	"github.com/gobwas/glob"
	"helm.sh/helm/v4/pkg/chart/common"
)

// files are a chart's files, as templates see them (.Files).
type files map[string][]byte

func filesOf(list []*common.File) files {
	out := make(files, len(list))
	for _, f := range list {
		out[f.Name] = f.Data
	}
	return out
}

// GetBytes gives a file's content, or nothing.
func (f files) GetBytes(name string) []byte {
	if data, ok := f[name]; ok {
		return data
	}
	return []byte{}
}

// Get gives a file's content as a text.
func (f files) Get(name string) string { return string(f.GetBytes(name)) }

// Glob gives the files that match a pattern.
func (f files) Glob(pattern string) files {
	g, err := glob.Compile(pattern, '/')
	if err != nil {
		g = glob.MustCompile("**") // Helm's answer to a bad pattern
	}
	out := files{}
	for name, data := range f {
		if g.Match(name) {
			out[name] = data
		}
	}
	return out
}

// AsConfig gives the files as the data of a ConfigMap.
func (f files) AsConfig() string {
	if f == nil {
		return ""
	}
	out := map[string]string{}
	for _, name := range sortedNames(f) {
		out[path.Base(name)] = string(f[name])
	}
	return toYAML(out)
}

// AsSecrets gives the files as the data of a Secret.
func (f files) AsSecrets() string {
	if f == nil {
		return ""
	}
	out := map[string]string{}
	for _, name := range sortedNames(f) {
		out[path.Base(name)] = base64.StdEncoding.EncodeToString(f[name])
	}
	return toYAML(out)
}

// Lines gives the lines of a file.
func (f files) Lines(name string) []string {
	text := string(f[name])
	if text == "" {
		return []string{}
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
