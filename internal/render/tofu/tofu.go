// Package tofu collects OpenTofu and Terraform modules: the module's folder, the
// local modules that it calls, and the files elsewhere in the repository that
// its functions read. It evaluates nothing and knows no provider: what the
// module means is up to the program that plans it.
package tofu

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/hclfile"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// varFilesDir is where files of values from other sources are put.
const varFilesDir = ".plumb-var-files"

// Renderer renders modules.
type Renderer struct{}

// Render gives the bundle of a module.
func (Renderer) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	dir := render.Clean(req.Input.Path)
	if !render.HasModule(req.Input.Tree, dir) {
		return render.Bundle{}, fmt.Errorf("%s: no module: there is no *.tf, *.tofu or *.tf.json file in it", dir)
	}
	c := &collector{ctx: ctx, tree: req.Input.Tree, root: dir, limits: req.Limits.OrDefault(), files: map[string][]byte{}, done: map[string]bool{}}
	if err := c.module(dir, 0); err != nil {
		return render.Bundle{}, err
	}
	m := &render.Module{Files: c.files, Dir: dir}
	if o := req.Input.Source.Tofu; o != nil {
		m.Options = *o.DeepCopy()
	}
	if err := c.varFiles(m, req.Refs); err != nil {
		return render.Bundle{}, err
	}
	if len(c.warnings) > 0 {
		slices.Sort(c.warnings)
	}
	return render.Bundle{
		Driver: render.TofuDriver, SourceType: string(v1alpha1.ApplicationSourceTypeTofu),
		Module: m, Hash: hash(m), Warnings: slices.Compact(c.warnings),
	}, nil
}

// hash is of all that a plan depends on and that comes from Git.
func hash(m *render.Module) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		sum := sha256.Sum256(m.Files[name])
		fmt.Fprintf(h, "%d %s %x\n", len(name), name, sum)
	}
	options, err := json.Marshal(m.Options)
	if err != nil { // only values that came out of JSON are in options
		panic("tofu: hash of options: " + err.Error())
	}
	fmt.Fprintf(h, "%q %q %s", m.Dir, m.VarFiles, options)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// collector gathers the files of a module.
type collector struct {
	ctx      context.Context
	tree     source.Tree
	root     string
	limits   render.Limits
	files    map[string][]byte
	bytes    int64
	done     map[string]bool // folders of modules that were gathered
	warnings []string
}

// maxDepth bounds how deep modules call each other.
const maxDepth = 64

// module gathers a module's folder, and what it refers to elsewhere.
func (c *collector) module(dir string, depth int) error {
	if c.done[dir] {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: modules call each other deeper than %d", dir, maxDepth)
	}
	c.done[dir] = true
	if err := c.folder(dir); err != nil {
		return err
	}
	entries, err := c.tree.ReadDir(dir)
	if err != nil {
		return render.At(dir, 0, err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() || !hclfile.Configuration(e.Name()) || c.files[name] == nil {
			continue
		}
		found := references(name, c.files[name])
		for _, call := range found.modules {
			if err := c.call(dir, call, depth); err != nil {
				return err
			}
		}
		for _, read := range found.reads {
			if err := c.read(dir, read); err != nil {
				return err
			}
		}
	}
	return nil
}

// call gathers a local module.
func (c *collector) call(dir string, call reference, depth int) error {
	to, err := render.Resolve(dir, call.path)
	if err != nil {
		return render.At(call.file, call.line, err)
	}
	if !render.IsDir(c.tree, to) {
		return render.Errorf(call.file, call.line, "module %q: there is no folder %s in the repository", call.path, to)
	}
	return c.module(to, depth+1)
}

// read gathers a file or folder that a function reads. What is not there is for
// the program to complain about: a function may ask whether there is something.
func (c *collector) read(dir string, r reference) error {
	from := dir
	if r.fromRoot {
		from = c.root
	}
	to, err := render.Resolve(from, r.path)
	if err != nil {
		return render.At(r.file, r.line, err)
	}
	info, err := c.tree.Stat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return render.At(r.file, r.line, err)
	case !info.IsDir():
		return c.file(to)
	case to == "." && c.root != ".":
		c.warnings = append(c.warnings, fmt.Sprintf("%s:%d: a path that is not known before the plan leads to the top of the repository, of which only the module's own folders are there", r.file, r.line))
		return nil
	}
	return c.folder(to)
}

// folder gathers all files below a folder.
func (c *collector) folder(dir string) error {
	entries, err := c.tree.ReadDir(dir)
	if err != nil {
		return render.At(dir, 0, err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir() && (e.Name() == ".terraform" || e.Name() == ".git"):
		case e.IsDir():
			if err := c.folder(name); err != nil {
				return err
			}
		case isState(e.Name()):
			c.warnings = append(c.warnings, fmt.Sprintf("%s: a state is in the repository, and is not used: states hold secrets, and belong into a backend (plumb state push puts it there)", name))
		default:
			if err := c.file(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func isState(name string) bool {
	return strings.HasSuffix(name, ".tfstate") || strings.HasSuffix(name, ".tfstate.backup") || strings.HasSuffix(name, ".tfplan")
}

func (c *collector) file(name string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if _, known := c.files[name]; known {
		return nil
	}
	text, err := render.ReadFile(c.tree, name, c.limits.FileBytes)
	if err != nil {
		return err
	}
	if c.bytes += int64(len(text)); c.bytes > c.limits.TotalBytes {
		return fmt.Errorf("%s: the module has more than %d bytes: %w", name, c.limits.TotalBytes, render.ErrTooMuch)
	}
	if text == nil {
		text = []byte{}
	}
	c.files[name] = text
	return nil
}

// varFiles finds the files of values, also in other sources ($ref/path).
func (c *collector) varFiles(m *render.Module, refs map[string]render.Input) error {
	for i, name := range m.Options.VarFiles {
		if !strings.HasPrefix(name, "$") {
			to, err := render.Resolve(m.Dir, name)
			if err != nil {
				return fmt.Errorf("tofu.varFiles[%d]: %w", i, err)
			}
			if err := c.file(to); err != nil {
				return fmt.Errorf("tofu.varFiles[%d]: %w", i, err)
			}
			m.VarFiles = append(m.VarFiles, to)
			continue
		}
		ref, rest, _ := strings.Cut(strings.TrimPrefix(name, "$"), "/")
		in, ok := refs[ref]
		if !ok {
			return fmt.Errorf("tofu.varFiles[%d]: no source has the ref %q (there are: %s)", i, ref, cmp.Or(strings.Join(slices.Sorted(maps.Keys(refs)), ", "), "none"))
		}
		from, err := render.Resolve(".", rest)
		if err != nil {
			return fmt.Errorf("tofu.varFiles[%d]: %w", i, err)
		}
		text, err := render.ReadFile(in.Tree, from, c.limits.FileBytes)
		if err != nil {
			return fmt.Errorf("tofu.varFiles[%d]: %w", i, err)
		}
		to := path.Join(m.Dir, varFilesDir, fmt.Sprintf("%d-%s", i, path.Base(from)))
		m.Files[to] = text
		m.VarFiles = append(m.VarFiles, to)
	}
	return nil
}
