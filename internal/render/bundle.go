package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

// KubeDriver is the driver of the bundles of Kubernetes objects.
const KubeDriver = "kube"

// TofuDriver is the driver of the bundles of modules.
const TofuDriver = "tofu"

// hookAnnotations make an object a hook, which alone may have a generateName.
var hookAnnotations = []string{"argocd.argoproj.io/hook", "helm.sh/hook"}

// Canonical is the one form of an object that hashes are taken of: compact
// JSON with sorted keys.
func Canonical(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.Clone(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}

// Builder collects objects into a bundle. It is for one goroutine.
type Builder struct {
	limits  Limits
	bundle  Bundle
	at      map[plan.Ref]int      // of the last object with this identity
	seen    map[plan.Ref][]string // where objects with this identity are declared
	dropped map[int]bool
	images  map[string]bool
	bytes   int64
}

// NewBuilder starts an empty bundle.
func NewBuilder(kind v1alpha1.ApplicationSourceType, limits Limits) *Builder {
	return &Builder{
		limits:  limits.OrDefault(),
		bundle:  Bundle{Driver: KubeDriver, SourceType: string(kind)},
		at:      map[plan.Ref]int{},
		seen:    map[plan.Ref][]string{},
		dropped: map[int]bool{},
		images:  map[string]bool{},
	}
}

// Warn adds a warning, once.
func (b *Builder) Warn(text string) {
	for _, w := range b.bundle.Warnings {
		if w == text {
			return
		}
	}
	b.bundle.Warnings = append(b.bundle.Warnings, text)
}

// Add adds what a document holds: an object, or a list of them.
func (b *Builder) Add(value any, file string, line int) error {
	obj, ok := value.(map[string]any)
	if !ok {
		return Errorf(file, line, "a Kubernetes object is a map with apiVersion, kind and metadata, but this is %s", typeName(value))
	}
	items, isList := obj["items"]
	if !isList {
		return b.addObject(obj, file, line)
	}
	switch items := items.(type) {
	case []any:
		return b.addList(obj, items, file, line)
	case nil:
		if _, ok := obj["spec"]; !ok && obj["status"] == nil {
			return nil // a typed list with nothing in it
		}
	}
	return b.addObject(obj, file, line)
}

func (b *Builder) addList(list map[string]any, items []any, file string, line int) error {
	kind, _ := list["kind"].(string)
	for i, item := range items {
		obj, ok := item.(map[string]any)
		if !ok {
			return Errorf(file, line, "item %d of the %s is %s, not an object", i, kind, typeName(item))
		}
		// The items of a typed list may leave out what the list says already.
		if of, ok := strings.CutSuffix(kind, "List"); ok && of != "" && obj["kind"] == nil {
			obj["kind"] = of
			if obj["apiVersion"] == nil {
				obj["apiVersion"] = list["apiVersion"]
			}
		}
		if err := b.Add(obj, file, line); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) addObject(obj map[string]any, file string, line int) error {
	ref, err := refOf(obj)
	if err != nil {
		return At(file, line, err)
	}
	text, err := Canonical(obj)
	if err != nil {
		return At(file, line, err)
	}
	if len(b.bundle.Objects) >= b.limits.Objects {
		return Errorf(file, line, "more than %d objects in one Application: split it: %w", b.limits.Objects, ErrTooMuch)
	}
	if b.bytes += int64(len(text)); b.bytes > b.limits.TotalBytes {
		return Errorf(file, line, "more than %d bytes of objects in one Application: split it: %w", b.limits.TotalBytes, ErrTooMuch)
	}
	if ref.Name != "" {
		id := ref
		id.Version = ""
		if before, ok := b.at[id]; ok {
			b.dropped[before] = true
		}
		b.at[id] = len(b.bundle.Objects)
		b.seen[id] = append(b.seen[id], place(file, line))
	}
	sum := sha256.Sum256(text)
	b.bundle.Objects = append(b.bundle.Objects, Object{
		Ref: ref, JSON: text, Hash: hex.EncodeToString(sum[:]), File: file, Line: line,
	})
	collectImages(obj, b.images)
	return nil
}

func refOf(obj map[string]any) (plan.Ref, error) {
	apiVersion, ok := obj["apiVersion"].(string)
	if !ok || apiVersion == "" {
		return plan.Ref{}, fmt.Errorf("object has no apiVersion")
	}
	ref := plan.Ref{Version: apiVersion}
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		ref.Group, ref.Version = group, version
	}
	if ref.Kind, ok = obj["kind"].(string); !ok || ref.Kind == "" {
		return plan.Ref{}, fmt.Errorf("object has no kind (its apiVersion is %q)", apiVersion)
	}
	meta, ok := obj["metadata"].(map[string]any)
	if !ok {
		return plan.Ref{}, fmt.Errorf("%s has no metadata", ref.Kind)
	}
	var err error
	if ref.Name, err = stringField(meta, "name", ref.Kind); err != nil {
		return plan.Ref{}, err
	}
	if ref.Namespace, err = stringField(meta, "namespace", ref.Kind); err != nil {
		return plan.Ref{}, err
	}
	if ref.Name != "" {
		return ref, nil
	}
	generate, err := stringField(meta, "generateName", ref.Kind)
	switch {
	case err != nil:
		return plan.Ref{}, err
	case generate == "":
		return plan.Ref{}, fmt.Errorf("%s has no metadata.name", ref.Kind)
	case !isHook(meta):
		return plan.Ref{}, fmt.Errorf("%s has metadata.generateName %q and no name: only hooks may have a generated name", ref.Kind, generate)
	}
	return ref, nil
}

func stringField(meta map[string]any, field, kind string) (string, error) {
	switch v := meta[field].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", fmt.Errorf("%s: metadata.%s is %s, not a string: put it in quotes", kind, field, typeName(v))
	}
}

func isHook(meta map[string]any) bool {
	annotations, _ := meta["annotations"].(map[string]any)
	for _, a := range hookAnnotations {
		if _, ok := annotations[a]; ok {
			return true
		}
	}
	return false
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	default:
		return "a number"
	}
}

// Bundle is what was added. Of objects with one identity the last stays.
func (b *Builder) Bundle() Bundle {
	out := b.bundle
	if len(b.dropped) > 0 {
		kept := make([]Object, 0, len(out.Objects)-len(b.dropped))
		for i, o := range out.Objects {
			if !b.dropped[i] {
				kept = append(kept, o)
			}
		}
		out.Objects = kept
		out.Warnings = append(out.Warnings, repeated(b.seen)...)
	}
	out.Images = sortedKeys(b.images)
	out.Hash = hashObjects(out.Objects)
	return out
}

// placesShown are how many places of a repeated object a warning names.
const placesShown = 5

// repeated warns of objects that are declared more than once, in Argo CD's words
// and then in our own.
func repeated(seen map[plan.Ref][]string) []string {
	var out []string
	for ref, places := range seen {
		if len(places) < 2 {
			continue
		}
		text := fmt.Sprintf("Resource %s/%s/%s/%s appeared %d times among application resources.", ref.Group, ref.Kind, ref.Namespace, ref.Name, len(places))
		if at := slices.DeleteFunc(slices.Clone(places), func(p string) bool { return p == "" }); len(at) > 0 {
			shown := at[max(0, len(at)-placesShown):]
			text += " The last one counts: " + strings.Join(shown, ", ") + "."
		}
		out = append(out, text)
	}
	sort.Strings(out)
	return out
}

// place writes a line of a file; either may be unknown.
func place(file string, line int) string {
	if file == "" || line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

func hashObjects(objects []Object) string {
	h := sha256.New()
	for _, o := range objects {
		h.Write([]byte(o.Hash))
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sortedKeys(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// collectImages finds the images of containers at any depth, as pod templates
// are found in many kinds.
func collectImages(v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			if list, ok := child.([]any); ok && (key == "containers" || key == "initContainers") {
				for _, c := range list {
					if m, ok := c.(map[string]any); ok {
						if image, ok := m["image"].(string); ok && image != "" {
							into[image] = true
						}
					}
				}
				continue
			}
			collectImages(child, into)
		}
	case []any:
		for _, child := range v {
			collectImages(child, into)
		}
	}
}

// Merge makes one bundle of the bundles of an Application's sources. Where two
// sources hold the same object, the later source goes before the earlier one.
func Merge(bundles ...Bundle) Bundle {
	if len(bundles) == 1 {
		return bundles[0]
	}
	out := Bundle{Driver: KubeDriver}
	last, seen, images := map[plan.Ref][2]int{}, map[plan.Ref][]string{}, map[string]bool{}
	for i, b := range bundles {
		if i == 0 || out.SourceType == "" {
			out.SourceType = b.SourceType
		}
		out.Warnings = append(out.Warnings, b.Warnings...)
		out.Secrets = out.Secrets.With(b.Secrets)
		if !b.Expires.IsZero() && (out.Expires.IsZero() || b.Expires.Before(out.Expires)) {
			out.Expires = b.Expires
		}
		for _, image := range b.Images {
			images[image] = true
		}
		for j, o := range b.Objects {
			id := o.Ref
			id.Version = ""
			last[id] = [2]int{i, j}
			seen[id] = append(seen[id], place(o.File, o.Line))
		}
	}
	for i, b := range bundles {
		for j, o := range b.Objects {
			id := o.Ref
			id.Version = ""
			if o.Ref.Name == "" || last[id] == [2]int{i, j} {
				out.Objects = append(out.Objects, o)
			}
		}
	}
	for id := range seen {
		if id.Name == "" {
			delete(seen, id)
		}
	}
	out.Warnings = append(out.Warnings, repeated(seen)...)
	out.Images = sortedKeys(images)
	out.Hash = hashObjects(out.Objects)
	return out
}
