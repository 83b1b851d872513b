package adopt

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// overlayDir is the kustomization that an Application points to.
type kustomization struct {
	s      *session
	source int
	dir    string
	file   string
	data   []byte
	value  map[string]any
}

// maxFiles bounds the files of an overlay that are looked into.
const maxFiles = 500

func (s *session) kustomization(i int) (*kustomization, error) {
	k := &kustomization{s: s, source: i, dir: dirOf(s.specs[i])}
	k.file = render.Kustomization(s.Sources[i].Tree, k.dir)
	if k.file == "" {
		return nil, fmt.Errorf("there is no kustomization in %s", k.dir)
	}
	var err error
	if k.data, err = s.content(i, k.file); err != nil {
		return nil, err
	}
	values, err := editable(k.data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	if len(values) != 1 {
		return nil, fmt.Errorf("%s holds %d documents", k.file, len(values))
	}
	k.value, _ = values[0].(map[string]any)
	return k, nil
}

// kustomize gives the edits of an overlay for a field, the most fitting first:
// where the overlay says it already, then a patch.
func (s *session) kustomize(i int, d Drift, f Field, object map[string]any, reason *string) []candidate {
	k, err := s.kustomization(i)
	if err != nil {
		*reason = err.Error()
		return nil
	}
	var out []candidate
	out = append(out, k.images(f, object)...)
	out = append(out, k.replicas(d, f)...)
	out = append(out, k.ownFiles(d, f)...)
	out = append(out, k.patchFile(d, f, object)...)
	return append(out, k.operations(d, f, object)...)
}

// edited is the kustomization with one value set, and further files.
func (k *kustomization) edited(at Path, value any, more map[string][]byte) []candidate {
	data, err := EditYAML(k.data, 0, at, value, false)
	if err != nil {
		return nil
	}
	files := map[string][]byte{k.file: data}
	shown := k.file
	for name, content := range more {
		files[name], shown = content, name
	}
	return []candidate{{source: k.source, files: files, file: shown}}
}

// images uses the overlay's own field for images.
func (k *kustomization) images(f Field, object map[string]any) []candidate {
	live, ok := f.Live.(string)
	current, _ := get(object, f.Path)
	now, _ := current.(string)
	if !ok || now == "" || f.Path[len(f.Path)-1].Key != "image" {
		return nil
	}
	list, _ := k.value["images"].([]any)
	var out []candidate
	for i, e := range list {
		entry, _ := e.(map[string]any)
		name, _ := entry["name"].(string)
		if renamed, ok := entry["newName"].(string); ok {
			name = renamed
		}
		repo, _, _ := splitImage(now)
		if name != repo {
			continue
		}
		at := Path{key("images"), {Index: i}}
		repo, tag, digest := splitImage(live)
		data, err := k.data, error(nil)
		set := func(field, value string) {
			if err == nil {
				_, there := entry[field]
				if value == "" && !there {
					return
				}
				data, err = EditYAML(data, 0, at.with(key(field)), value, value == "")
			}
		}
		if repo != name {
			set("newName", repo)
		}
		set("newTag", tag)
		set("digest", digest)
		if err == nil {
			out = append(out, candidate{source: k.source, files: map[string][]byte{k.file: data}, file: k.file})
		}
	}
	return out
}

func splitImage(image string) (repo, tag, digest string) {
	repo, digest, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(repo, ":"); i > strings.LastIndex(repo, "/") {
		repo, tag = repo[:i], repo[i+1:]
	}
	return repo, tag, digest
}

// replicas uses the overlay's own field for replicas.
func (k *kustomization) replicas(d Drift, f Field) []candidate {
	if f.Path.String() != "spec.replicas" || !f.HasLive {
		return nil
	}
	list, _ := k.value["replicas"].([]any)
	var out []candidate
	for i, e := range list {
		entry, _ := e.(map[string]any)
		if name, _ := entry["name"].(string); name != "" && strings.Contains(d.Ref.Name, name) {
			out = append(out, k.edited(Path{key("replicas"), {Index: i}, key("count")}, f.Live, nil)...)
		}
	}
	return out
}

// ownFiles edits manifests and patches in the overlay's own folder; those that
// set the field already go first.
func (k *kustomization) ownFiles(d Drift, f Field) []candidate {
	var setting, others []candidate
	for _, name := range k.files() {
		data, err := k.s.content(k.source, name)
		if err != nil || data == nil || name == k.file || name == k.patchName(d.Ref) {
			continue
		}
		docs, err := find(data, func(o map[string]any) bool {
			n := nameOf(o)
			return sameKind(o, d.Ref) && n != "" && strings.Contains(d.Ref.Name, n)
		})
		if err != nil {
			continue
		}
		for _, doc := range docs {
			at := append(slices.Clip(doc.in), f.Path...)
			_, there := get(doc.value, f.Path)
			for _, gone := range []bool{true, false} {
				edited, err := EditYAML(data, doc.index, at, patchValueOr(f, gone), !f.HasLive && gone)
				if err != nil {
					continue
				}
				c := candidate{source: k.source, files: map[string][]byte{name: edited}, file: name}
				if there {
					setting = append(setting, c)
				} else {
					others = append(others, c)
				}
				if f.HasLive {
					break
				}
			}
		}
	}
	return append(setting, others...)
}

// patchValueOr is the live value, or the mark of a patch for what is gone.
func patchValueOr(f Field, plain bool) any {
	if plain || f.HasLive {
		return f.Live
	}
	return patchValue(f)
}

// files are the manifests in the overlay's folder, without those of other
// kustomizations below it.
func (k *kustomization) files() []string {
	var out []string
	tree := k.s.Sources[k.source].Tree
	_ = fs.WalkDir(tree, k.dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil //nolint:nilerr // what can't be read is not edited
		case len(out) >= maxFiles:
			return fs.SkipAll
		case e.IsDir() && name != k.dir && render.Kustomization(tree, name) != "":
			return fs.SkipDir
		case !e.IsDir() && isManifest(name):
			out = append(out, name)
		}
		return nil
	})
	for name := range k.s.edits[k.source] {
		if path.Dir(name) == k.dir && isManifest(name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// names that a resource may have at the time when patches are applied: prefixes
// and suffixes come later.
func (k *kustomization) names(ref plan.Ref) []string {
	prefix, _ := k.value["namePrefix"].(string)
	suffix, _ := k.value["nameSuffix"].(string)
	names := []string{ref.Name}
	if bare := strings.TrimSuffix(strings.TrimPrefix(ref.Name, prefix), suffix); bare != ref.Name && bare != "" {
		names = []string{bare, ref.Name}
	}
	return names
}

// patchFile puts the field into Plumb's own patch of the resource.
func (k *kustomization) patchFile(d Drift, f Field, object map[string]any) []candidate {
	target := k.patchName(d.Ref)
	existing, err := k.s.content(k.source, target)
	if err == nil && existing != nil {
		return k.morePatch(target, existing, f, object)
	}
	var out []candidate
	for _, name := range k.names(d.Ref) {
		patch, _ := with(seeded(header(d.Ref, name), object, f.Path), f.Path, patchValue(f), false).(map[string]any)
		out = append(out, k.addPatch(map[string]any{
			"path": path.Base(target), "target": map[string]any{"kind": d.Ref.Kind, "name": name},
		}, map[string][]byte{target: manifest(patch)})...)
	}
	return out
}

// morePatch adds a field to the patch that is there.
func (k *kustomization) morePatch(target string, data []byte, f Field, object map[string]any) []candidate {
	values, err := editable(data)
	if err != nil || len(values) != 1 {
		return nil
	}
	patch, ok := values[0].(map[string]any)
	if !ok {
		return nil
	}
	patch, _ = with(seeded(patch, object, f.Path), f.Path, patchValue(f), false).(map[string]any)
	top := f.Path[:1]
	value, _ := get(patch, top)
	edited, err := EditYAML(data, 0, top, value, false)
	if err != nil {
		return nil
	}
	return []candidate{{source: k.source, files: map[string][]byte{target: edited}, file: target}}
}

// seeded gives a patch with all items of the lists that a path leads through, by
// their names alone: a merge puts the items first that a patch names, and the
// order would change.
func seeded(patch, object map[string]any, p Path) map[string]any {
	var out any = patch
	for i, s := range p {
		if s.isKey() || len(s.Match) == 0 {
			continue
		}
		list, _ := get(object, p[:i])
		items, _ := list.([]any)
		if len(items) > 50 {
			continue
		}
		for n, item := range items {
			m, _ := item.(map[string]any)
			match := map[string]any{}
			for name := range s.Match {
				if v, ok := m[name]; ok {
					match[name] = v
				} else if v, ok := defaults[name]; ok {
					match[name] = v
				}
			}
			at := p[:i:i].with(Step{Index: n, Match: match})
			if _, there := get(out, at); !there {
				out = with(out, at, match, false)
			}
		}
	}
	return out.(map[string]any) //nolint:forcetypeassert // it was one
}

func (k *kustomization) patchName(ref plan.Ref) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(ref.Kind+"-"+ref.Name))
	return render.Clean(k.dir + "/plumb-adopt-" + clean + ".yaml")
}

// addPatch adds an entry to the overlay's patches.
func (k *kustomization) addPatch(entry map[string]any, files map[string][]byte) []candidate {
	list, _ := k.value["patches"].([]any)
	if len(list) == 0 {
		return k.edited(Path{key("patches")}, []any{entry}, files)
	}
	return k.edited(Path{key("patches")}, append(slices.Clone(list), entry), files)
}

// operations puts the field into a patch of single operations, for what a merge
// can't say: items of lists that have no names.
func (k *kustomization) operations(d Drift, f Field, object map[string]any) []candidate {
	pointer, there, ok := pointerIn(object, f.Path)
	if !ok {
		return nil
	}
	operation := map[string]any{"op": "add", "path": pointer, "value": f.Live}
	switch {
	case !f.HasLive:
		operation = map[string]any{"op": "remove", "path": pointer}
	case there:
		operation["op"] = "replace"
	}
	var out []candidate
	for _, name := range k.names(d.Ref) {
		file := &file{eol: "\n", step: 2}
		body := file.writer(false).block([]any{operation}, 0) + "\n"
		out = append(out, k.addPatch(map[string]any{
			"target": map[string]any{"kind": d.Ref.Kind, "name": name}, "patch": body,
		}, nil)...)
	}
	return out
}

// pointerIn writes a path with the indexes that items have in an object. It can
// only be written where all but the last step is there.
func pointerIn(object map[string]any, p Path) (pointer string, there, ok bool) {
	var v any = object
	at := make(Path, 0, len(p))
	for i, s := range p {
		last := i == len(p)-1
		if s.isKey() {
			m, isMap := v.(map[string]any)
			if !isMap {
				return "", false, false
			}
			if v, there = m[s.Key]; !there && !last {
				return "", false, false
			}
			at = append(at, s)
			continue
		}
		list, isList := v.([]any)
		if !isList {
			return "", false, false
		}
		n := s.matchItem(list)
		if n < 0 && !last {
			return "", false, false
		}
		if there = n >= 0; !there {
			return at.Pointer() + "/-", false, true
		}
		at, v = append(at, Step{Index: n}), list[n]
	}
	return at.Pointer(), there, true
}

// removeByPatch deletes a resource that a base declares, and takes it out of
// the overlay's own files otherwise.
func (s *session) removeByPatch(i int, d Drift) []candidate {
	k, err := s.kustomization(i)
	if err != nil {
		return nil
	}
	var out []candidate
	for _, name := range k.names(d.Ref) {
		object := header(d.Ref, name)
		object["$patch"] = "delete"
		body := manifest(object)
		target := k.patchName(d.Ref)
		out = append(out, k.addPatch(map[string]any{
			"path": path.Base(target), "target": map[string]any{"kind": d.Ref.Kind, "name": name},
		}, map[string][]byte{target: body})...)
	}
	return out
}
