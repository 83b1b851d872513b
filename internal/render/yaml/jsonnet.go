package yaml

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-jsonnet"

	"github.com/plumb-dev/plumb/internal/render"
)

// jsonnet evaluates a file, which gives one object or a list of them.
func (w *walk) jsonnet(p string) error {
	vm, err := w.vm()
	if err != nil {
		return err
	}
	text, err := vm.EvaluateFile(p)
	if err != nil {
		return jsonnetError(p, err)
	}
	if int64(len(text)) > w.limits.TotalBytes {
		return render.Errorf(p, 0, "gives %d bytes, more than the limit of %d: %w", len(text), w.limits.TotalBytes, render.ErrTooMuch)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return render.At(p, 0, err)
	}
	list, ok := v.([]any)
	if !ok {
		return w.out.Add(v, p, 1)
	}
	for _, item := range list {
		if item == nil {
			continue
		}
		if err := w.out.Add(item, p, 1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) vm() (*jsonnet.VM, error) {
	vm, env := jsonnet.MakeVM(), render.BuildEnv(w.req)
	vm.SetTraceOut(io.Discard)
	for _, v := range w.opts.Jsonnet.TLAs {
		if v.Code {
			vm.TLACode(v.Name, env.Subst(v.Value))
		} else {
			vm.TLAVar(v.Name, env.Subst(v.Value))
		}
	}
	for _, v := range w.opts.Jsonnet.ExtVars {
		if v.Code {
			vm.ExtCode(v.Name, env.Subst(v.Value))
		} else {
			vm.ExtVar(v.Name, env.Subst(v.Value))
		}
	}
	// Libraries are found from the root of the repository; the last one first,
	// the Application's own directory at the end.
	dirs := []string{w.root}
	for _, lib := range w.opts.Jsonnet.Libs {
		dir, err := render.Resolve(".", lib)
		if err != nil {
			return nil, fmt.Errorf("directory.jsonnet.libs: %w", err)
		}
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	vm.Importer(&importer{walk: w, dirs: dirs, loaded: map[string]jsonnet.Contents{}})
	return vm, nil
}

// importer reads imports from the tree only.
type importer struct {
	walk   *walk
	dirs   []string
	loaded map[string]jsonnet.Contents
}

// Import finds a file beside the importing one, then in the libraries.
func (i *importer) Import(from, name string) (jsonnet.Contents, string, error) {
	if err := i.walk.ctx.Err(); err != nil {
		return jsonnet.Contents{}, "", err
	}
	if path.IsAbs(name) {
		return jsonnet.Contents{}, "", fmt.Errorf("import %q is an absolute path: imports are relative to the file or a library", name)
	}
	outside := error(nil)
	for _, dir := range append([]string{path.Dir("/" + from)[1:]}, i.dirs...) {
		p, err := render.Resolve(dir, name)
		if err != nil {
			outside = err
			continue
		}
		if c, ok := i.loaded[p]; ok {
			return c, p, nil
		}
		info, err := i.walk.tree.Stat(p)
		if err != nil || info.IsDir() {
			if err != nil && errors.Is(err, fs.ErrPermission) {
				outside = err
			}
			continue
		}
		data, err := render.ReadFile(i.walk.tree, p, i.walk.limits.FileBytes)
		if err != nil {
			return jsonnet.Contents{}, "", err
		}
		i.loaded[p] = jsonnet.MakeContentsRaw(data)
		return i.loaded[p], p, nil
	}
	if outside != nil {
		return jsonnet.Contents{}, "", fmt.Errorf("import %q: %w", name, outside)
	}
	return jsonnet.Contents{}, "", fmt.Errorf("import %q: no such file beside %s or in the libraries", name, from)
}

var jsonnetPlace = regexp.MustCompile(`([^\s:()]+):\(?(\d+):\d+`)

// jsonnetError takes the first place that the message names.
func jsonnetError(p string, err error) error {
	msg := strings.TrimSpace(err.Error())
	if m := jsonnetPlace.FindStringSubmatch(msg); m != nil {
		if line, convErr := strconv.Atoi(m[2]); convErr == nil {
			return render.Errorf(m[1], line, "jsonnet: %s", msg)
		}
	}
	return render.Errorf(p, 0, "jsonnet: %s", msg)
}
