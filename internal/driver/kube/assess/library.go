package assess

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	customizations "github.com/argoproj/argo-cd/v3/resource_customizations"
)

const scriptFile = "health.lua"

// library finds Argo CD's own checks. Its directories are named group/Kind; a
// "_" in a name stands for "*".
type library struct {
	index func() (*scriptIndex, error)

	mu      sync.RWMutex
	scripts map[string]*script // by directory
}

// scriptIndex lists the directories that hold a check.
type scriptIndex struct {
	exact     map[string]bool
	wildcards []wildcard // in the order in which they are tried
}

type wildcard struct{ pattern, dir string }

func newLibrary() *library {
	return &library{
		index:   sync.OnceValues(indexScripts),
		scripts: map[string]*script{},
	}
}

func indexScripts() (*scriptIndex, error) {
	files, err := fs.Glob(customizations.Embedded, "*/*/"+scriptFile)
	if err != nil {
		return nil, fmt.Errorf("list health checks: %w", err)
	}
	x := &scriptIndex{exact: make(map[string]bool, len(files))}
	slices.Sort(files)
	for _, f := range files {
		dir := path.Dir(f)
		x.exact[dir] = true
		if strings.Contains(dir, "_") {
			x.wildcards = append(x.wildcards, wildcard{strings.ReplaceAll(dir, "_", "*"), dir})
		}
	}
	return x, nil
}

// dir gives the directory of the check for a kind, or "".
func (x *scriptIndex) dir(key string) string {
	if x.exact[key] {
		return key
	}
	for _, w := range x.wildcards {
		if ok, err := path.Match(w.pattern, key); err == nil && ok {
			return w.dir
		}
	}
	return ""
}

// find gives the check for a kind, or nil.
func (l *library) find(group, kind string) (*script, error) {
	x, err := l.index()
	if err != nil {
		return nil, err
	}
	if group == "plumb.dev" && kind == "ApplicationSet" {
		group = "argoproj.io" // one object, two groups
	}
	dir := x.dir(key(group, kind))
	if dir == "" {
		return nil, nil
	}
	l.mu.RLock()
	s := l.scripts[dir]
	l.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	return l.load(dir)
}

func (l *library) load(dir string) (*script, error) {
	text, err := customizations.Embedded.ReadFile(dir + "/" + scriptFile)
	if err != nil {
		return nil, fmt.Errorf("read the health check of %s: %w", dir, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.scripts[dir]; s != nil {
		return s, nil
	}
	s := newScript(string(text), true)
	l.scripts[dir] = s
	return s, nil
}
