package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/render"
)

// errOwnSchema asks for the build to be run again, alone.
var errOwnSchema = errors.New("the kustomization brings its own OpenAPI schema")

// checker checks one kustomization: kustomize itself would fetch what it does
// not find, over the network or by running git.
type checker struct {
	fs   *treeFS
	file string // as it is told to the user
	dir  string
	data []byte
}

func (c checker) check(k *types.Kustomization) error {
	if len(k.OpenAPI) > 0 && !c.fs.ownSchema {
		return errOwnSchema
	}
	if len(k.HelmCharts) > 0 || k.HelmGlobals != nil {
		return render.Errorf(c.file, c.line("helm"), "helmCharts needs kustomize's --enable-helm, which runs another program: render the chart as a source of its own: %w", render.ErrUnsupported)
	}
	for i, ref := range k.Resources {
		got, err := c.resource("resource", ref, true)
		if err != nil {
			return err
		}
		k.Resources[i] = got
	}
	for i, ref := range k.Components {
		got, err := c.resource("component", ref, false)
		if err != nil {
			return err
		}
		k.Components[i] = got
	}
	if err := c.plugins(k); err != nil {
		return err
	}
	return c.files(k)
}

// resource checks a reference to a file or directory, and gives what kustomize
// is to read in its place.
func (c checker) resource(what, ref string, mayBeFile bool) (string, error) {
	p, outside := render.Resolve(c.dir, ref)
	if outside == nil && !looksRemote(ref) {
		return ref, c.inside(what, ref, p)
	}
	if outside == nil && c.fs.Exists("/"+p) {
		return "./" + ref, c.inside(what, ref, p) // a path that kustomize would take for a URL
	}
	if looksRemote(ref) {
		return c.remote(what, ref, mayBeFile)
	}
	return "", render.Errorf(c.file, c.line(ref), "%s %q %w: a kustomization may only use what is in its repository", what, ref, render.ErrOutside)
}

func (c checker) inside(what, ref, p string) error {
	if err := c.sameTree(what, ref, p); err != nil {
		return err
	}
	info, err := c.fs.stat("/" + p)
	if err != nil {
		return render.Errorf(c.file, c.line(ref), "%s %q: %s: %w", what, ref, p, plain(err))
	}
	if info.IsDir() {
		t, in := c.fs.at(p)
		if render.Kustomization(t, in) == "" {
			return render.Errorf(c.file, c.line(ref), "%s %q: the directory %s holds no kustomization.yaml", what, ref, p)
		}
	}
	return nil
}

// sameTree refuses a reference that leads from a fetched repository into
// another one, or into the Application's own.
func (c checker) sameTree(what, ref, p string) error {
	from, _ := c.fs.at(c.dir)
	to, _ := c.fs.at(p)
	if from == to && (c.dir == "." || strings.HasPrefix(c.dir, remoteDir+"/") == strings.HasPrefix(p, remoteDir+"/")) {
		return nil
	}
	return render.Errorf(c.file, c.line(ref), "%s %q %w", what, ref, render.ErrOutside)
}

// plugins checks generators, transformers and validators, which are YAML texts
// or references.
func (c checker) plugins(k *types.Kustomization) error {
	for what, list := range map[string][]string{
		"generator": k.Generators, "transformer": k.Transformers, "validator": k.Validators,
	} {
		for i, entry := range list {
			if strings.Contains(entry, "\n") || strings.HasPrefix(entry, "{") {
				if err := render.CheckAliases(c.file, []byte(entry), c.fs.limits.TotalBytes); err != nil {
					return err
				}
				if err := refuseRemotePlugin(c.file, []byte(entry)); err != nil {
					return err
				}
				continue
			}
			got, err := c.resource(what, entry, true)
			if err != nil {
				return err
			}
			list[i] = got
			if err := c.onlyResources(what, got, map[string]bool{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyResources refuses a directory of plugin configurations that are changed
// before they are used: what they would then read could not be checked. The
// directories that are seen already are not looked at again.
func (c checker) onlyResources(what, ref string, seen map[string]bool) error {
	p, err := render.Resolve(c.dir, ref)
	if err != nil || seen[p] || !c.fs.IsDir("/"+p) {
		return nil //nolint:nilerr // the reference was checked already: this one is to what was fetched
	}
	seen[p] = true
	t, in := c.fs.at(p)
	file := path.Join(p, path.Base(render.Kustomization(t, in)))
	data, err := c.fs.read("/" + file)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(data, &fields); err != nil {
		return kustomizationError(p, data, err)
	}
	inner := checker{fs: c.fs, file: c.fs.shown(file), dir: p, data: data}
	for field, value := range fields {
		switch field {
		case "apiVersion", "kind", "metadata":
		case "resources", "bases":
			if err := inner.alsoOnlyResources(what, value, seen); err != nil {
				return err
			}
		default:
			return render.Errorf(c.file, c.line(ref), "%s %q: its kustomization has %q, but one that holds plugin configurations may only have resources: %w", what, ref, field, render.ErrUnsupported)
		}
	}
	return nil
}

func (c checker) alsoOnlyResources(what string, list any, seen map[string]bool) error {
	entries, _ := list.([]any)
	for _, entry := range entries {
		ref, _ := entry.(string)
		got, err := c.resource(what, ref, true)
		if err != nil {
			return err
		}
		if err := c.onlyResources(what, got, seen); err != nil {
			return err
		}
	}
	return nil
}

// files checks the references that can only be files.
func (c checker) files(k *types.Kustomization) error {
	var refs []string
	refs = append(refs, k.Crds...)
	refs = append(refs, k.Configurations...)
	if p := k.OpenAPI["path"]; p != "" {
		refs = append(refs, p)
	}
	for _, p := range append(append([]types.Patch{}, k.Patches...), k.PatchesJson6902...) { //nolint:staticcheck // deprecated, and still in use
		refs = append(refs, p.Path)
	}
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // deprecated, and still in use
		if !strings.Contains(string(p), "\n") {
			refs = append(refs, string(p))
		}
	}
	for _, r := range k.Replacements {
		refs = append(refs, r.Path)
	}
	for _, g := range k.ConfigMapGenerator {
		refs = append(refs, dataFiles(g.KvPairSources)...)
	}
	for _, g := range k.SecretGenerator {
		refs = append(refs, dataFiles(g.KvPairSources)...)
	}
	for _, ref := range refs {
		if err := c.onlyFile(ref); err != nil {
			return err
		}
	}
	return nil
}

func dataFiles(s types.KvPairSources) []string {
	out := append([]string{}, s.EnvSources...)
	for _, f := range s.FileSources {
		if _, file, ok := strings.Cut(f, "="); ok {
			f = file
		}
		out = append(out, f)
	}
	return out
}

func (c checker) onlyFile(ref string) error {
	if ref == "" {
		return nil
	}
	if isURL(ref) {
		return render.Errorf(c.file, c.line(ref), "file %q is a URL: only resources and components may be remote: %w", ref, render.ErrUnsupported)
	}
	if filepath.IsAbs(ref) {
		return render.Errorf(c.file, c.line(ref), "file %q is an absolute path: paths are relative to the kustomization", ref)
	}
	p, err := render.Resolve(c.dir, ref)
	if err != nil {
		return render.Errorf(c.file, c.line(ref), "file %w", err)
	}
	if err := c.sameTree("file", ref, p); err != nil {
		return err
	}
	if _, err := c.fs.stat("/" + p); err != nil {
		return render.Errorf(c.file, c.line(ref), "file %q: %s: %w", ref, p, plain(err))
	}
	return nil
}

// line is the first line that has the text.
func (c checker) line(text string) int {
	if i := bytes.Index(c.data, []byte(text)); i >= 0 {
		return 1 + bytes.Count(c.data[:i], []byte("\n"))
	}
	return 0
}

var (
	badField = regexp.MustCompile(`unknown field "([^"]+)"`)
	badLine  = regexp.MustCompile(`line (\d+)`)
)

func kustomizationError(file string, data []byte, err error) error {
	msg := err.Error()
	for _, noise := range []string{"invalid Kustomization: ", "error converting YAML to JSON: ", "yaml: ", "error unmarshaling JSON: ", "while decoding JSON: ", "json: "} {
		msg = strings.TrimPrefix(msg, noise)
	}
	line := 0
	if m := badLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
	} else if m := badField.FindStringSubmatch(msg); m != nil {
		line = checker{data: data}.line(m[1] + ":")
	}
	return render.Errorf(file, line, "invalid kustomization: %s", msg)
}

var withUser = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// looksRemote says whether kustomize may take a reference for a URL.
func looksRemote(ref string) bool {
	s := strings.ToLower(ref)
	s = strings.TrimPrefix(s, "git::")
	for _, scheme := range []string{"ssh://", "https://", "http://", "file://", "github.com/", "github.com:"} {
		if strings.HasPrefix(s, scheme) {
			return true
		}
	}
	return withUser.MatchString(s) || isURL(ref)
}

func isURL(ref string) bool {
	u, err := url.Parse(ref)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// refuseRemotePlugin refuses the configuration of a built-in plugin that names
// a URL where kustomize would read a file. It reads the text with kustomize's
// own parser: another one could see something else in it.
func refuseRemotePlugin(file string, data []byte) error {
	if !mayNameURL(data) {
		return nil
	}
	nodes, err := provider.NewDefaultDepProvider().GetResourceFactory().RNodesFromBytes(data)
	if err != nil {
		return nil //nolint:nilerr // kustomize reads it in the same way, uses none of it, and says what is wrong
	}
	for _, n := range nodes {
		if group, version := resid.ParseGroupVersion(n.GetApiVersion()); group != "" || version != konfig.BuiltinPluginApiVersion {
			continue
		}
		fields, err := n.Map()
		if err != nil {
			// Not with the error, which shows the whole object.
			return render.Errorf(file, 0, "the plugin configuration %q cannot be read: has it equal keys, or keys that are no texts?", n.GetName())
		}
		if ref := urlIn(fields); ref != "" {
			return render.Errorf(file, checker{data: data}.line(ref), "the plugin configuration names the URL %q: %w", ref, render.ErrUnsupported)
		}
	}
	return nil
}

var webScheme = regexp.MustCompile(`(?i)https?:`)

// mayNameURL is a quick look: a text without escapes, tags and wide characters
// says literally what it means.
func mayNameURL(data []byte) bool {
	return bytes.ContainsAny(data, "\\!\x00") ||
		bytes.Contains(data, []byte(konfig.BuiltinPluginApiVersion)) && webScheme.Match(data)
}

// urlIn finds a text that is a URL, other than in labels and annotations.
func urlIn(v any) string {
	switch v := v.(type) {
	case string:
		if _, file, ok := strings.Cut(v, "="); ok && isURL(file) {
			return v
		}
		if isURL(v) {
			return v
		}
	case []any:
		for _, item := range v {
			if ref := urlIn(item); ref != "" {
				return ref
			}
		}
	case map[string]any:
		for key, item := range v {
			if key == "annotations" || key == "labels" || key == "literals" {
				continue
			}
			if ref := urlIn(item); ref != "" {
				return ref
			}
		}
	}
	return ""
}

func (c checker) remote(what, ref string, mayBeFile bool) (string, error) {
	line := c.line(ref)
	if c.fs.req.Remotes == nil {
		return "", render.Errorf(c.file, line, "%s %q is remote, and remote content is not fetched here: copy it into the repository, or add it as a source of its own: %w", what, ref, render.ErrUnsupported)
	}
	if len(c.fs.remotes)+len(c.fs.files) >= 50 {
		return "", render.Errorf(c.file, line, "more than 50 remote references in one build: %w", render.ErrTooMuch)
	}
	spec, isRepo := parseRepo(ref)
	if mayBeFile && isURL(ref) && !isRepo {
		return c.remoteFile(ref, line)
	}
	if !isRepo {
		return "", render.Errorf(c.file, line, "%s %q: not understood as a Git repository", what, ref)
	}
	n, err := c.fetchRepo(spec)
	if err != nil {
		return "", render.Errorf(c.file, line, "%s %q: %w", what, ref, err)
	}
	target := path.Join(remoteDir, strconv.Itoa(n), spec.dir)
	if err := c.withDir(target, what, ref, line); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(absolute(c.dir), absolute(target))
	if err != nil {
		return "", render.At(c.file, line, err)
	}
	return rel, nil
}

func (c checker) withDir(target, what, ref string, line int) error {
	if _, err := c.fs.stat("/" + target); err != nil {
		return render.Errorf(c.file, line, "%s %q: %w", what, ref, plain(err))
	}
	return nil
}

func (c checker) fetchRepo(spec repoSpec) (int, error) {
	for n, r := range c.fs.remotes {
		if r.repo == spec.repo && r.revision == spec.revision {
			return n, nil
		}
	}
	tree, err := c.fs.req.Remotes.FetchRepo(c.fs.ctx, spec.repo, spec.revision)
	if err != nil {
		return 0, err
	}
	c.fs.remotes = append(c.fs.remotes, remote{repo: spec.repo, revision: spec.revision, tree: tree})
	return len(c.fs.remotes) - 1, nil
}

// remoteFile puts the content of a URL beside the kustomization.
func (c checker) remoteFile(ref string, line int) (string, error) {
	name := fmt.Sprintf("%s-file-%d.yaml", remoteDir, len(c.fs.files))
	at := render.Clean(c.dir + "/" + name)
	data, err := c.fs.req.Remotes.FetchFile(c.fs.ctx, ref)
	if err != nil {
		return "", render.Errorf(c.file, line, "resource %q: %w", ref, err)
	}
	if int64(len(data)) > c.fs.limits.FileBytes {
		return "", render.Errorf(c.file, line, "resource %q has %d bytes, more than the limit of %d: %w", ref, len(data), c.fs.limits.FileBytes, render.ErrTooMuch)
	}
	c.fs.files[at] = data
	return name, nil
}

// repoSpec is a reference to a directory in a Git repository.
type repoSpec struct{ repo, dir, revision string }

// parseRepo reads the forms that kustomize knows: host/org/repo[//dir]?ref=x,
// a ".git" in the path, Azure's "_git/", and user@host:path.
func parseRepo(ref string) (repoSpec, bool) {
	s, query, _ := strings.Cut(ref, "?")
	if len(s) > 5 && strings.EqualFold(s[:5], "git::") {
		s = s[5:]
	}
	var spec repoSpec
	if q, err := url.ParseQuery(query); err == nil {
		spec.revision = q.Get("version")
		if r := q.Get("ref"); r != "" {
			spec.revision = r
		}
	}
	scheme := ""
	if i := strings.Index(s, "://"); i >= 0 {
		scheme, s = strings.ToLower(s[:i+3]), s[i+3:]
	} else if strings.HasPrefix(strings.ToLower(s), "github.com") {
		scheme = "https://"
		s = "github.com/" + s[len("github.com")+1:]
	}
	if scheme == "file://" {
		return spec, false
	}
	raw := query == "" && strings.HasPrefix(scheme, "http")
	repo, dir, ok := splitRepo(s)
	if !ok || (raw && !strings.Contains(s, ".git") && !strings.Contains(s, "//") && isManifestName(s)) {
		return spec, false
	}
	spec.repo, spec.dir = scheme+repo, render.Clean(dir)
	if strings.HasPrefix(path.Clean(dir), "..") {
		return spec, false
	}
	return spec, true
}

func isManifestName(s string) bool {
	switch path.Ext(s) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func splitRepo(s string) (repo, dir string, ok bool) {
	if i := strings.Index(s, "_git/"); i >= 0 {
		name, rest, _ := strings.Cut(s[i+5:], "/")
		return s[:i+5] + name, rest, name != ""
	}
	if i := strings.Index(s, "//"); i >= 0 {
		return s[:i], s[i+2:], i > 0
	}
	if i := strings.Index(s, ".git"); i >= 0 {
		return s[:i+4], strings.TrimPrefix(s[i+4:], "/"), i > 0
	}
	sep := strings.IndexAny(s, "/:")
	if sep < 0 {
		return "", "", false
	}
	parts := strings.SplitN(s[sep+1:], "/", 3)
	if len(parts) < 2 || parts[1] == "" {
		return "", "", false
	}
	if len(parts) == 3 {
		dir = parts[2]
	}
	return s[:sep+1] + parts[0] + "/" + parts[1], dir, true
}
