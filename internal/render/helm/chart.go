package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

const (
	maxChartFiles = 20_000
	maxChartDepth = 20 // of directories, and of archives in archives
	bom           = "\xef\xbb\xbf"
)

// chart loads the chart at the source's path with all its dependencies.
func (r *rendering) chart() (*chart.Chart, error) {
	l := &chartLoader{rendering: r, left: r.limits.TotalBytes}
	files, err := l.load(r.req.Input.Tree, r.dir)
	if err != nil {
		return nil, err
	}
	ch, err := l.parse(r.dir, files)
	if err != nil {
		return nil, err
	}
	switch ch.Metadata.Type {
	case "", "application":
	default:
		return nil, r.at("Chart.yaml", fmt.Errorf("%s charts are not installable", ch.Metadata.Type))
	}
	if err := l.dependencies(ch); err != nil {
		return nil, err
	}
	return ch, nil
}

// chartLoader reads charts; what it reads in all is bounded.
type chartLoader struct {
	*rendering
	left  int64
	count int
}

func (l *chartLoader) spend(file string, n int64) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if l.count++; l.count > maxChartFiles {
		return render.Errorf(file, 0, "the chart has more than %d files: %w", maxChartFiles, render.ErrTooMuch)
	}
	if l.left -= n; l.left < 0 {
		return render.Errorf(file, 0, "the chart has more than %d bytes: %w", l.limits.TotalBytes, render.ErrTooMuch)
	}
	return nil
}

// load reads a chart's directory, without what its .helmignore names.
func (l *chartLoader) load(tree source.Tree, dir string) ([]*archive.BufferedFile, error) {
	if _, err := tree.Stat(path.Join(dir, "Chart.yaml")); err != nil {
		return nil, render.Errorf(dir, 0, "no Chart.yaml in this directory")
	}
	rules := ignore.Empty()
	if data, err := tree.ReadFile(path.Join(dir, ignore.HelmIgnore)); err == nil {
		if rules, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return nil, render.At(path.Join(dir, ignore.HelmIgnore), 0, err)
		}
	}
	rules.AddDefaults()
	w := &chartWalk{chartLoader: l, tree: tree, root: dir, rules: rules}
	err := w.dir("", 0)
	return w.files, err
}

type chartWalk struct {
	*chartLoader
	tree  source.Tree
	root  string
	rules *ignore.Rules
	files []*archive.BufferedFile
}

func (w *chartWalk) dir(in string, depth int) error {
	at := path.Join(w.root, in)
	if depth > maxChartDepth {
		return render.Errorf(at, 0, "directories nest more than %d deep: %w", maxChartDepth, render.ErrTooMuch)
	}
	entries, err := w.tree.ReadDir(at)
	if err != nil {
		return render.At(at, 0, err)
	}
	for _, e := range entries {
		name := path.Join(in, e.Name())
		info, err := w.tree.Stat(path.Join(w.root, name))
		if err != nil {
			if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
				err = pe.Err
			}
			return render.At(path.Join(w.root, name), 0, err)
		}
		if w.rules.Ignore(name, info) {
			continue
		}
		if info.IsDir() {
			if err := w.dir(name, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := w.file(name, info); err != nil {
			return err
		}
	}
	return nil
}

func (w *chartWalk) file(name string, info fs.FileInfo) error {
	at := path.Join(w.root, name)
	if err := w.spend(at, info.Size()); err != nil {
		return err
	}
	data, err := render.ReadFile(w.tree, at, w.limits.FileBytes)
	if err != nil {
		return err
	}
	return w.add(name, bytes.TrimPrefix(data, []byte(bom)), 0)
}

// add keeps a file. An archive in charts/ is unpacked here rather than by Helm,
// so that archives in archives count against the same bound.
func (w *chartWalk) add(name string, data []byte, depth int) error {
	dir, base := path.Split(name)
	packed := strings.HasSuffix(base, ".tgz") && path.Base(path.Dir(dir+"x")) == "charts" && !strings.HasPrefix(base, ".") && !strings.HasPrefix(base, "_")
	if !packed {
		w.files = append(w.files, &archive.BufferedFile{Name: name, Data: data})
		return nil
	}
	if depth > maxChartDepth {
		return render.Errorf(path.Join(w.root, name), 0, "archives nest more than %d deep: %w", maxChartDepth, render.ErrTooMuch)
	}
	err := w.unpack(path.Join(w.root, name), data, func(in string, content []byte) error {
		return w.add(path.Join(dir, base+"~", in), content, depth+1)
	})
	return render.At(path.Join(w.root, name), 0, err)
}

func (l *chartLoader) unpack(name string, data []byte, keep func(string, []byte) error) error {
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("not a chart archive: %w", err)
	}
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not a chart archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		_, in, ok := strings.Cut(strings.ReplaceAll(h.Name, "\\", "/"), "/")
		if !ok || !fs.ValidPath(path.Clean(in)) || path.Clean(in) == "." {
			return fmt.Errorf("archive holds %q, which is outside of the chart's directory", h.Name)
		}
		if h.Size > l.limits.FileBytes {
			return fmt.Errorf("%s has %d bytes, more than the limit of %d: %w", h.Name, h.Size, l.limits.FileBytes, render.ErrTooMuch)
		}
		if err := l.spend(name, h.Size); err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(tr, h.Size))
		if err != nil {
			return fmt.Errorf("not a chart archive: %w", err)
		}
		if err := keep(path.Clean(in), bytes.TrimPrefix(content, []byte(bom))); err != nil {
			return err
		}
	}
}

// parse makes a chart of its files.
func (l *chartLoader) parse(dir string, files []*archive.BufferedFile) (*chart.Chart, error) {
	for _, f := range files {
		switch path.Base(f.Name) {
		case "Chart.yaml":
			if err := l.metadata(path.Join(dir, f.Name), f.Data); err != nil {
				return nil, err
			}
		case "values.yaml", "Chart.lock", "requirements.yaml", "requirements.lock":
			if _, err := render.ParseYAML(path.Join(dir, f.Name), f.Data, render.Parsing{LastKeyWins: true, Limits: l.limits}); err != nil {
				return nil, err
			}
		}
	}
	ch, err := loader.LoadFiles(files)
	if err != nil {
		return nil, render.At(path.Join(dir, "Chart.yaml"), 0, err)
	}
	return ch, nil
}

func (l *chartLoader) metadata(file string, data []byte) error {
	if _, err := render.ParseYAML(file, data, render.Parsing{LastKeyWins: true, Limits: l.limits}); err != nil {
		return err
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return render.At(file, 0, err)
	}
	if head.APIVersion == "v3" {
		return render.Errorf(file, 0, "charts of apiVersion v3 are an experiment of Helm: use v2: %w", render.ErrUnsupported)
	}
	return nil
}

// dependencies adds the charts that Chart.yaml names and charts/ lacks.
func (l *chartLoader) dependencies(ch *chart.Chart) error {
	have := map[string]bool{}
	for _, d := range ch.Dependencies() {
		have[d.Name()] = true
	}
	for _, dep := range ch.Metadata.Dependencies {
		if dep == nil || have[dep.Name] {
			continue
		}
		sub, err := l.dependency(ch, dep)
		if err != nil {
			return l.at("Chart.yaml", fmt.Errorf("dependency %s: %w", dep.Name, err))
		}
		have[dep.Name] = true
		ch.AddDependency(sub)
	}
	return nil
}

func (l *chartLoader) dependency(ch *chart.Chart, dep *chart.Dependency) (*chart.Chart, error) {
	if in, ok := strings.CutPrefix(dep.Repository, "file://"); ok {
		dir, err := render.Resolve(l.dir, strings.TrimPrefix(in, "/./"))
		if err != nil {
			return nil, err
		}
		return l.loadAt(l.req.Input.Tree, dir)
	}
	if dep.Repository == "" {
		return nil, fmt.Errorf("found in Chart.yaml, but missing in charts/ directory, and it names no repository")
	}
	if l.req.Charts == nil {
		return nil, fmt.Errorf("found in Chart.yaml, but missing in charts/ directory, and charts are not fetched here: run \"helm dependency build\" and commit charts/: %w", render.ErrUnsupported)
	}
	version := dep.Version
	if ch.Lock != nil {
		for _, locked := range ch.Lock.Dependencies {
			if locked != nil && locked.Name == dep.Name && locked.Version != "" {
				version = locked.Version
			}
		}
	}
	tree, err := l.req.Charts.FetchChart(l.ctx, dep.Repository, dep.Name, version)
	if err != nil {
		return nil, fmt.Errorf("fetch version %s from %s: %w", version, dep.Repository, err)
	}
	return l.loadAt(tree, ".")
}

func (l *chartLoader) loadAt(tree source.Tree, dir string) (*chart.Chart, error) {
	files, err := l.load(tree, dir)
	if err != nil {
		return nil, err
	}
	return l.parse(dir, files)
}
