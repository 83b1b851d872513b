package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// submodule is another repository at a commit that a tree pins.
type submodule struct {
	mu   sync.Mutex
	tree *tree
	err  error
	when time.Time
}

// maxModulesBytes bounds .gitmodules.
const maxModulesBytes = 1 << 20

// submodule gives the tree of a submodule, fetching it where needed; nil where
// submodules are switched off. A failure is kept for a little while.
func (t *tree) submodule(p place) (*tree, error) {
	if t.source.opts.NoSubmodules {
		return nil, nil
	}
	kept, _ := t.subs.LoadOrStore(p.path, &submodule{})
	sub := kept.(*submodule)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.tree != nil || sub.err != nil && time.Since(sub.when) < 5*time.Second {
		return sub.tree, sub.err
	}
	sub.tree, sub.err = t.openSubmodule(p)
	sub.when = time.Now()
	return sub.tree, sub.err
}

func (t *tree) openSubmodule(p place) (*tree, error) {
	if t.depth >= maxDepth {
		return nil, fmt.Errorf("submodule %s: submodules are nested deeper than %d", printable(p.path), maxDepth)
	}
	written, err := t.submoduleURL(p.path)
	if err != nil {
		return nil, fmt.Errorf("submodule %s: %w", printable(p.path), err)
	}
	ctx, cancel := context.WithTimeout(t.source.ctx, 3*t.source.opts.Timeout)
	defer cancel()
	cred := t.from.cred
	if !sameHost(t.from.url, written) {
		cred = source.Credentials{}
	}
	sub, err := t.source.fetch(ctx, written, source.Resolved{Revision: p.id.String()}, cred, t.depth+1)
	if err != nil {
		return nil, fmt.Errorf("submodule %s at %s: %w", printable(p.path), p.id, err)
	}
	return sub, nil
}

// submoduleURL reads .gitmodules for the repository of a path.
func (t *tree) submoduleURL(at string) (string, error) {
	root, err := t.root()
	if err != nil {
		return "", err
	}
	modules, err := root.child(".gitmodules")
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no .gitmodules file that says where it comes from")
	}
	if err != nil {
		return "", err
	}
	if modules.isLink() || modules.fileMode().IsDir() {
		return "", errors.New(".gitmodules is not a file")
	}
	raw, err := t.blob(modules.id, maxModulesBytes)
	if err != nil {
		return "", fmt.Errorf(".gitmodules: %w", err)
	}
	listing, err := t.source.runner.run(t.source.ctx, call{
		args:  []string{"config", "--no-includes", "--file", "-", "--null", "--list"},
		stdin: strings.NewReader(string(raw)), timeout: 20 * time.Second, maxOut: 4 * maxModulesBytes,
	})
	if err != nil {
		return "", fmt.Errorf(".gitmodules: %s", clip(firstLine(err.Error()), 200))
	}
	written, ok := moduleURL(string(listing), at)
	if !ok {
		return "", errors.New(".gitmodules does not say where it comes from")
	}
	return resolveSubmodule(t.from.url, t.from.effective, written)
}

// moduleURL finds the URL of the section whose path it is, in what git config
// --null --list printed.
func moduleURL(listing, at string) (string, bool) {
	paths, urls := map[string]string{}, map[string]string{}
	for item := range strings.SplitSeq(listing, "\x00") {
		key, value, _ := strings.Cut(item, "\n")
		rest, ok := strings.CutPrefix(key, "submodule.")
		if !ok {
			continue
		}
		if name, ok := strings.CutSuffix(rest, ".path"); ok {
			paths[name] = path.Clean(value)
		} else if name, ok := strings.CutSuffix(rest, ".url"); ok {
			urls[name] = value
		}
	}
	for name, p := range paths {
		if p == at && urls[name] != "" {
			return urls[name], true
		}
	}
	return "", false
}

// resolveSubmodule makes a submodule's URL absolute. A repository elsewhere
// must not reach for one on this machine, unless the user's own configuration
// (insteadOf) leads there.
func resolveSubmodule(parent, parentEffective, written string) (string, error) {
	if err := checkURL(written); err != nil {
		return "", err
	}
	absolute := written
	relative := written == "." || written == ".." || strings.HasPrefix(written, "./") || strings.HasPrefix(written, "../")
	if relative {
		joined, err := joinURL(parent, written)
		if err != nil {
			return "", err
		}
		absolute = joined
	}
	_, here := localPath(absolute)
	_, parentHere := localPath(parentEffective)
	if here && !parentHere {
		return "", fmt.Errorf("its URL %q is on the machine that Plumb runs on, which a repository elsewhere may not use", clip(source.MaskURL(written), 200))
	}
	return absolute, checkURL(absolute)
}

// joinURL applies a relative URL to the parent's, as git does.
func joinURL(parent, relative string) (string, error) {
	prefix, rest := "", strings.TrimRight(parent, "/")
	sep := "/"
	if i := strings.Index(rest, "://"); i >= 0 {
		host, p, _ := strings.Cut(rest[i+3:], "/")
		prefix, rest = rest[:i+3]+host, p
	} else if host, p, ok := source.SplitSCP(rest); ok {
		prefix, rest, sep = host, strings.TrimPrefix(p, "/"), ":"
		if strings.HasPrefix(p, "/") {
			sep = ":/"
		}
	} else if strings.HasPrefix(rest, "/") {
		rest = rest[1:]
	} else {
		return "", fmt.Errorf("its URL %q is relative, and so is the repository's", clip(relative, 200))
	}
	parts := split(rest)
	for _, part := range strings.Split(relative, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return "", fmt.Errorf("its URL %q leads above the server's root", clip(relative, 200))
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	return prefix + sep + strings.Join(parts, "/"), nil
}

// sameHost tells whether credentials for one URL may be used for another.
func sameHost(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	if errA == nil && errB == nil && ua.Scheme != "" && ub.Scheme != "" {
		return ua.Scheme == ub.Scheme && ua.Host == ub.Host && ua.Host != ""
	}
	hostA, _, okA := source.SplitSCP(a)
	hostB, _, okB := source.SplitSCP(b)
	return okA && okB && hostA == hostB
}
