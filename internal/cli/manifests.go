package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/render"
)

// manifestFiles is the value of -f for commands that read manifests.
type manifestFiles struct{ names []string }

// bind adds -f and -R, as kubectl has them.
func (m *manifestFiles) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&m.names, "filename", "f", nil, "file or directory to read, - for standard input; may be repeated")
	cmd.Flags().BoolP("recursive", "R", true, "directories are read with all below them")
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json")
}

// named tells whether any file was named.
func (m *manifestFiles) named(cmd *cobra.Command, args []string) error {
	if len(m.names)+len(args) == 0 {
		return usageError(cmd, "name the files to read with -f")
	}
	return nil
}

// manifestText is the content of one file.
type manifestText struct {
	file string
	data []byte
}

// read reads all files that were named by -f or as arguments. Files that can't
// be read are errors; the others are given all the same.
func (m *manifestFiles) read(cmd *cobra.Command, in io.Reader, args []string) ([]manifestText, []error) {
	names := append(append([]string{}, m.names...), args...)
	deep, _ := cmd.Flags().GetBool("recursive")
	var texts []manifestText
	var errs []error
	for _, name := range names {
		files := []string{name}
		if name != "-" {
			var err error
			if files, err = manifestsIn(name, deep); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		for _, file := range files {
			data, err := readManifest(in, file)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			texts = append(texts, manifestText{file, data})
		}
	}
	return texts, errs
}

// maxManifest is the largest file that is read.
const maxManifest = 64 << 20

func readManifest(in io.Reader, file string) ([]byte, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, rootCause(err))
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, rootCause(err))
	}
	if len(data) > maxManifest {
		return nil, fmt.Errorf("read %s: it is larger than %d MiB", file, maxManifest>>20)
	}
	return data, nil
}

// manifestsIn gives a file as it is, and of a directory the YAML and JSON files
// in and below it, in order.
func manifestsIn(name string, deep bool) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, rootCause(err))
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var files []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if path != name && (!deep || d.Name() == ".git") {
				return fs.SkipDir
			}
			return nil
		}
		switch strings.ToLower(filepath.Ext(path)) {
		case ".yaml", ".yml", ".json":
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, rootCause(err))
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no .yaml, .yml or .json files", name)
	}
	return files, nil
}

// manifest is one object of a file.
type manifest struct {
	file string
	line int
	obj  *unstructured.Unstructured
	// text knows where the object's fields are written; nil where it was not
	// asked for or can't be known.
	text *yamlv3.Node
}

// objects gives the objects of a file, those in lists one by one. A strict
// reading accepts no key twice, and knows the fields' lines.
func (t manifestText) objects(strict bool) ([]manifest, error) {
	docs, err := render.ParseYAML(t.file, t.data, render.Parsing{
		LastKeyWins: !strict, Limits: render.Limits{FileBytes: maxManifest, TotalBytes: maxManifest},
	})
	if err != nil {
		return nil, err
	}
	var texts []*yamlv3.Node
	if strict {
		texts = t.documents(len(docs))
	}
	var out []manifest
	for i, d := range docs {
		if d.Value == nil {
			continue
		}
		m, ok := kubeNumbers(d.Value).(map[string]any)
		if !ok {
			return out, render.Errorf(t.file, d.Line, "this is no Kubernetes object: it is a %s, not a mapping with apiVersion and kind", wordFor(d.Value))
		}
		var text *yamlv3.Node
		if texts != nil {
			text = texts[i]
		}
		found, err := t.flatten(m, text, d.Line)
		if err != nil {
			return out, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// documents gives the text of each document that holds anything, or nil where
// it is not clear which is which.
func (t manifestText) documents(want int) []*yamlv3.Node {
	decoder := yamlv3.NewDecoder(bytes.NewReader(t.data))
	var out []*yamlv3.Node
	for {
		var doc yamlv3.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil
		}
		if len(doc.Content) == 1 && doc.Content[0].ShortTag() != "!!null" {
			out = append(out, doc.Content[0])
		}
	}
	if len(out) != want {
		return nil
	}
	return out
}

func (t manifestText) flatten(m map[string]any, text *yamlv3.Node, line int) ([]manifest, error) {
	if text != nil {
		line = text.Line
	}
	version, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	items, hasItems := m["items"].([]any)
	if strings.HasSuffix(kind, "List") && hasItems {
		var out []manifest
		for i, item := range items {
			child, ok := item.(map[string]any)
			if !ok {
				return out, render.Errorf(t.file, line, "items[%d] of the %s is no Kubernetes object", i, kind)
			}
			found, err := t.flatten(child, itemAt(valueAt(text, "items"), i), line)
			if err != nil {
				return out, err
			}
			out = append(out, found...)
		}
		return out, nil
	}
	var missing []string
	if version == "" {
		missing = append(missing, "apiVersion")
	}
	if kind == "" {
		missing = append(missing, "kind")
	}
	if len(missing) > 0 {
		return nil, render.Errorf(t.file, line, "this is no Kubernetes object: it has no %s", strings.Join(missing, " and no "))
	}
	return []manifest{{t.file, line, &unstructured.Unstructured{Object: m}, text}}, nil
}

// keyAt gives the text of a mapping's key and value, or nil.
func keyAt(n *yamlv3.Node, key string) (k, v *yamlv3.Node) {
	n = resolved(n)
	if n == nil || n.Kind != yamlv3.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func valueAt(n *yamlv3.Node, key string) *yamlv3.Node {
	_, v := keyAt(n, key)
	return v
}

func itemAt(n *yamlv3.Node, i int) *yamlv3.Node {
	n = resolved(n)
	if n == nil || n.Kind != yamlv3.SequenceNode || i < 0 || i >= len(n.Content) {
		return nil
	}
	return n.Content[i]
}

// resolved gives what an alias stands for.
func resolved(n *yamlv3.Node) *yamlv3.Node {
	if n != nil && n.Kind == yamlv3.AliasNode {
		return n.Alias
	}
	return n
}

func wordFor(v any) string {
	switch v.(type) {
	case []any:
		return "list"
	case map[string]any:
		return "mapping"
	}
	return "single value"
}

// kubeNumbers makes numbers what Kubernetes' own decoder makes of them.
func kubeNumbers(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = kubeNumbers(e)
		}
	case []any:
		for i, e := range x {
			x[i] = kubeNumbers(e)
		}
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil {
			return f
		}
	}
	return v
}

// printErrors prints all errors and gives what the command returns: nil, or an
// error with exit code 1 that prints nothing more.
func printErrors(w io.Writer, errs []error) error {
	for _, err := range errs {
		fmt.Fprintln(w, "error: "+describeError(err))
	}
	if len(errs) > 0 {
		return exitError{code: 1}
	}
	return nil
}
