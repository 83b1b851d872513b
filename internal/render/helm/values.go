package helm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// values merges what the Application sets: value files, then values or
// valuesObject, then parameters.
func (r *rendering) values() (map[string]any, error) {
	merged := map[string]any{}
	files, err := r.valueFiles()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := r.readValues(f)
		if err != nil {
			return nil, err
		}
		if merged, err = r.merge(merged, f.shown(), data); err != nil {
			return nil, err
		}
	}
	inline := []byte(r.opts.Values)
	if o := r.opts.ValuesObject; o != nil && len(o.Raw) > 0 {
		if inline, err = yaml.JSONToYAML(o.Raw); err != nil {
			return nil, fmt.Errorf("helm.valuesObject: %w", err)
		}
	}
	if merged, err = r.merge(merged, "helm.values", inline); err != nil {
		return nil, err
	}
	if err := r.parameters(merged); err != nil {
		return nil, err
	}
	return merged, nil
}

func (r *rendering) merge(into map[string]any, name string, data []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return into, nil
	}
	docs, err := render.ParseYAML(name, data, render.Parsing{LastKeyWins: true, Limits: r.limits, Warn: r.out.Warn})
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		if _, ok := d.Value.(map[string]any); !ok {
			return nil, render.Errorf(name, d.Line, "values are a map of keys")
		}
	}
	values, err := loader.LoadValues(bytes.NewReader(bytes.TrimPrefix(data, []byte(bom))))
	if err != nil {
		return nil, render.At(name, 0, err)
	}
	return loader.MergeMaps(into, values), nil
}

// parameters sets single values, as helm's --set, --set-string and --set-file,
// in that order.
func (r *rendering) parameters(into map[string]any) error {
	env := render.BuildEnv(r.req)
	for _, asString := range []bool{false, true} {
		for _, p := range r.opts.Parameters {
			if p.ForceString != asString {
				continue
			}
			set := strvals.ParseInto
			if asString {
				set = strvals.ParseIntoString
			}
			if err := set(p.Name+"="+escapeCommas(env.Subst(p.Value)), into); err != nil {
				return fmt.Errorf("helm.parameters: %s: %w", p.Name, err)
			}
		}
	}
	for _, p := range r.opts.FileParameters {
		f, err := r.resolve(p.Path)
		if err != nil {
			return fmt.Errorf("helm.fileParameters: %s: %w", p.Name, err)
		}
		data, err := r.readValues(f)
		if err != nil {
			return fmt.Errorf("helm.fileParameters: %s: %w", p.Name, err)
		}
		content := func([]rune) (any, error) { return string(data), nil }
		if err := strvals.ParseIntoFile(p.Name+"=file", into, content); err != nil {
			return fmt.Errorf("helm.fileParameters: %s: %w", p.Name, err)
		}
	}
	return nil
}

// escapeCommas keeps --set from cutting a value at its commas; {a,b} is a list.
func escapeCommas(s string) string {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		return s
	}
	var b strings.Builder
	before := rune(0)
	for _, c := range s {
		if c == ',' && before != '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
		before = c
	}
	return b.String()
}

// valueFile is a file of values: in a tree, or at a URL.
type valueFile struct {
	tree source.Tree
	ref  string // name of the source it is in, with its dollar sign
	path string
	url  string
}

func (f valueFile) shown() string {
	switch {
	case f.url != "":
		return f.url
	case f.ref != "":
		return f.ref + "/" + f.path
	}
	return f.path
}

// valueFiles resolves the list of value files. A file that is named by itself
// is read at that place, even if a pattern matches it as well.
func (r *rendering) valueFiles() ([]valueFile, error) {
	resolved := make([]valueFile, 0, len(r.opts.ValueFiles))
	explicit := map[valueFile]bool{}
	for _, name := range r.opts.ValueFiles {
		f, err := r.resolve(name)
		if err != nil {
			return nil, fmt.Errorf("helm.valueFiles: %w", err)
		}
		resolved = append(resolved, f)
		if !isPattern(f) {
			explicit[f] = true
		}
	}
	var out []valueFile
	seen := map[valueFile]bool{}
	for i, f := range resolved {
		found := []valueFile{f}
		if isPattern(f) {
			var err error
			if found, err = r.expand(f, explicit); err != nil {
				return nil, fmt.Errorf("helm.valueFiles: %q: %w", r.opts.ValueFiles[i], err)
			}
		} else if f.url == "" && r.opts.IgnoreMissingValueFiles && !render.Exists(f.tree, f.path) {
			continue
		}
		for _, one := range found {
			if !seen[one] {
				seen[one] = true
				out = append(out, one)
			}
		}
	}
	return out, nil
}

func isPattern(f valueFile) bool { return f.url == "" && strings.ContainsAny(f.path, "*?[") }

func (r *rendering) expand(f valueFile, explicit map[valueFile]bool) ([]valueFile, error) {
	matches, err := doublestar.Glob(f.tree, f.path, doublestar.WithFilesOnly())
	if err != nil {
		return nil, err
	}
	if len(matches) == 0 && !r.opts.IgnoreMissingValueFiles {
		return nil, fmt.Errorf("the pattern matches no file")
	}
	if len(matches) > 1_000 {
		return nil, fmt.Errorf("the pattern matches %d files: %w", len(matches), render.ErrTooMuch)
	}
	var out []valueFile
	for _, m := range matches {
		one := valueFile{tree: f.tree, ref: f.ref, path: m}
		if !explicit[one] {
			out = append(out, one)
		}
	}
	return out, nil
}

// resolve finds what the name of a value file means: $ref/path is in another
// source, /path at the repository's root, and anything else beside the chart.
func (r *rendering) resolve(name string) (valueFile, error) {
	env := render.BuildEnv(r.req)
	if strings.HasPrefix(name, "$") {
		ref, in, _ := strings.Cut(name, "/")
		if src, ok := r.req.Refs[strings.TrimPrefix(ref, "$")]; ok {
			p, err := render.Resolve(".", env.Subst(in))
			return valueFile{tree: src.Tree, ref: ref, path: p}, err
		}
		if env.Subst(ref) == "" {
			return valueFile{}, fmt.Errorf("%q: no source has ref %q", name, strings.TrimPrefix(ref, "$"))
		}
	}
	name = env.Subst(name)
	if u, err := url.Parse(name); err == nil && u.Scheme != "" {
		if u.Scheme != "https" && u.Scheme != "http" {
			return valueFile{}, fmt.Errorf("%q: the URL scheme %q is not allowed", name, u.Scheme)
		}
		return valueFile{url: name}, nil
	}
	p, err := render.Resolve(r.dir, name)
	return valueFile{tree: r.req.Input.Tree, path: p}, err
}

func (r *rendering) readValues(f valueFile) ([]byte, error) {
	if f.url == "" {
		data, err := render.ReadFile(f.tree, f.path, r.limits.FileBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("value file %s does not exist (set helm.ignoreMissingValueFiles to leave it out): %w", f.shown(), fs.ErrNotExist)
		}
		return data, err
	}
	if r.req.Remotes == nil {
		return nil, fmt.Errorf("value file %s is remote, and remote content is not fetched here: put it into a repository, as a source with a ref: %w", path.Base(f.url), render.ErrUnsupported)
	}
	data, err := r.req.Remotes.FetchFile(r.ctx, f.url)
	if err == nil && int64(len(data)) > r.limits.FileBytes {
		err = fmt.Errorf("%d bytes are more than the limit of %d: %w", len(data), r.limits.FileBytes, render.ErrTooMuch)
	}
	return data, err
}
