package render

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// Keys open what a repository holds encrypted, and look up what it refers to in
// other places, with the credentials of one project. They are safe for
// concurrent use.
type Keys interface {
	// Fingerprint tells keys apart without holding them: with other keys the same
	// content may give another bundle.
	Fingerprint() string
	// Open starts one rendering. read gives the (decrypted) content of a file that
	// a reference names, by its path as written.
	Open(ctx context.Context, read func(path string) ([]byte, error)) Opener
}

// Opener decrypts and looks up for one rendering.
type Opener interface {
	// Decrypt gives the content of an encrypted file, and the secret texts in it.
	// Content that is not encrypted is given back as it is.
	Decrypt(file string, data []byte) (plain []byte, secrets []string, err error)
	// Resolve gives what a text means in which there may be references, and the
	// secret texts in it. A text that is nothing but a reference may mean a value
	// of another type. ErrNoCredentials is wrapped where the project has nothing
	// that could look a reference up; the text then stays.
	Resolve(text string) (value any, secrets []string, err error)
}

// ErrNoCredentials is wrapped where a project has no credentials for a reference.
var ErrNoCredentials = errors.New("no credentials")

// ReferencesAnnotation on an object, with the value "false", leaves what looks
// like references in it alone.
const ReferencesAnnotation = "plumb.dev/references"

// referenceMark is in every reference (ref+vault://…, secretref+vault://…).
const referenceMark = "ref+"

// referencesHold is how long what references meant is believed.
const referencesHold = 5 * time.Minute

// Opened is one rendering's access to secrets: trees that decrypt what is read
// of them, values and objects in which references are replaced, and the secret
// texts that came out, so that they can be masked wherever they might be shown.
// It is nil where nothing is opened, and works as such.
type Opened struct {
	opener Opener
	at     time.Time
	limits Limits

	mu         sync.Mutex
	texts      map[string]bool
	references bool // some were replaced
	left       map[string]bool
}

// Open gives the request with trees that decrypt, and what else is needed to
// render with secrets. Every renderer is used between Open and Seal: see Tools.
func Open(ctx context.Context, req Request) (Request, *Opened) {
	if req.Keys == nil || req.opened != nil {
		return req, req.opened
	}
	o := &Opened{at: req.At, limits: req.Limits.OrDefault(), texts: map[string]bool{}, left: map[string]bool{}}
	wrap := func(t source.Tree) source.Tree {
		if t == nil {
			return nil
		}
		return &openedTree{Tree: t, opened: o, memo: map[string][]byte{}}
	}
	req.Input.Tree = wrap(req.Input.Tree)
	refs := make(map[string]Input, len(req.Refs))
	for name, in := range req.Refs {
		in.Tree = wrap(in.Tree)
		refs[name] = in
	}
	req.Refs = refs
	if req.Remotes != nil {
		req.Remotes = openedRemotes{req.Remotes, wrap}
	}
	if req.Charts != nil {
		req.Charts = openedCharts{req.Charts, wrap}
	}
	tree, dir := req.Input.Tree, Clean(req.Input.Path)
	o.opener = req.Keys.Open(ctx, func(p string) ([]byte, error) {
		p, err := Resolve(dir, p)
		if err != nil {
			return nil, err
		}
		return ReadFile(tree, p, o.limits.FileBytes)
	})
	req.opened = o
	return req, o
}

// Resolve gives values with the references in them replaced. Maps and lists are
// copied where something in them changes.
func (r *Request) Resolve(values map[string]any) (map[string]any, error) {
	if r.opened == nil {
		return values, nil
	}
	out, err := r.opened.Values(values)
	if err != nil {
		return nil, err
	}
	m, ok := out.(map[string]any)
	if !ok {
		return values, nil
	}
	return m, nil
}

// Values gives a value (of maps with string keys, lists and scalars) with the
// references in it replaced. Where the project has no credentials for one, it
// stays, and is warned of by Seal if it is still there in the end.
func (o *Opened) Values(v any) (any, error) {
	if o == nil {
		return v, nil
	}
	w := &referenceWalk{opened: o}
	return w.value(v, "")
}

// note keeps secret texts.
func (o *Opened) note(texts []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range texts {
		o.texts[t] = true
	}
}

// Texts are the secret texts that have come out so far.
func (o *Opened) Texts() Texts {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return NewTexts(sortedKeys(o.texts))
}

// Mask masks the secrets in an error; its place in the repository stays.
func (o *Opened) Mask(err error) error {
	if o == nil || err == nil {
		return err
	}
	return o.Texts().MaskError(err)
}

// Seal ends a rendering: references in the bundle's objects are replaced, and
// the bundle says what in it is secret and until when it holds.
func (o *Opened) Seal(b Bundle) (Bundle, error) {
	if o == nil {
		return b, nil
	}
	changed := false
	objects := b.Objects
	for i := range objects {
		out, err := o.object(objects[i])
		if err != nil {
			return Bundle{}, o.Mask(At(objects[i].File, objects[i].Line, err))
		}
		if out == nil {
			continue
		}
		if !changed {
			objects, changed = append([]Object(nil), objects...), true
		}
		objects[i] = *out
	}
	if changed {
		b.Objects = objects
		b.Hash = hashObjects(objects)
	}
	if err := o.module(&b); err != nil {
		return Bundle{}, o.Mask(err)
	}
	b.Secrets = o.Texts()
	b.Warnings = append([]string(nil), b.Warnings...)
	for i, w := range b.Warnings {
		b.Warnings[i] = b.Secrets.Mask(w)
	}
	for _, what := range sortedKeys(o.left) {
		b.Warnings = append(b.Warnings, b.Secrets.Mask(what))
	}
	if o.references && !o.at.IsZero() {
		b.Expires = o.at.Add(referencesHold)
	}
	return b, nil
}

// module looks up the references in the variables and the environment of a
// module. What they mean is sensitive, and no longer an option, which is shown.
func (o *Opened) module(b *Bundle) error {
	if b.Module == nil {
		return nil
	}
	m := *b.Module
	m.Variables, m.Env = maps.Clone(m.Variables), maps.Clone(m.Env)
	m.Options = *m.Options.DeepCopy()
	found := ""
	look := func(where, name, text string, into *map[string]Value) (bool, error) {
		w := &referenceWalk{opened: o, where: where}
		v, err := w.text(text, name)
		if err != nil || !w.changed {
			return false, err
		}
		asJSON, err := Canonical(v)
		if err != nil {
			return false, fmt.Errorf("%s%s: %w", where, name, err)
		}
		if *into == nil {
			*into = map[string]Value{}
		}
		(*into)[name] = Value{JSON: asJSON, Sensitive: true}
		found += fmt.Sprintf("%q %q %q\n", where, name, asJSON)
		return true, nil
	}
	for _, name := range slices.Sorted(maps.Keys(m.Options.Vars)) {
		done, err := look("tofu.vars.", name, m.Options.Vars[name], &m.Variables)
		if err != nil {
			return err
		}
		if done {
			delete(m.Options.Vars, name)
		}
	}
	env := m.Options.Env[:0:0]
	for _, e := range m.Options.Env {
		done, err := look("tofu.env.", e.Name, e.Value, &m.Env)
		if err != nil {
			return err
		}
		if !done {
			env = append(env, e)
		}
	}
	if found == "" {
		return nil
	}
	m.Options.Env = env
	b.Module, b.Hash = &m, hashText(b.Hash + "\n" + found)[:32]
	return nil
}

// object gives an object with its references replaced, or nil where it has none.
func (o *Opened) object(obj Object) (*Object, error) {
	mark := []byte(referenceMark)
	secret := obj.Ref.Group == "" && obj.Ref.Kind == "Secret"
	if !bytes.Contains(obj.JSON, mark) && !secret {
		return nil, nil
	}
	value, err := decodeJSON(obj.JSON)
	if err != nil {
		return nil, err
	}
	m, ok := value.(map[string]any)
	if !ok || referencesOff(m) {
		return nil, nil
	}
	w := &referenceWalk{opened: o, where: obj.Ref.Kind + " " + obj.Ref.Name + ": "}
	out := map[string]any{}
	for key, child := range m {
		path := key
		switch {
		case key == "apiVersion" || key == "kind":
		case key == "metadata":
			child, err = w.metadata(child)
		case key == "data" && secret:
			child, err = w.data(child)
		default:
			child, err = w.value(child, path)
		}
		if err != nil {
			return nil, err
		}
		out[key] = child
	}
	if !w.changed {
		return nil, nil
	}
	if obj.JSON, err = Canonical(out); err != nil {
		return nil, err
	}
	obj.Hash = hashText(string(obj.JSON))
	return &obj, nil
}

func referencesOff(object map[string]any) bool {
	meta, _ := object["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	return annotations[ReferencesAnnotation] == "false"
}

// referenceWalk replaces references in one value.
type referenceWalk struct {
	opened  *Opened
	where   string // of the value, before paths; empty where nothing is to be warned of
	changed bool
}

func (w *referenceWalk) value(v any, path string) (any, error) {
	switch v := v.(type) {
	case string:
		return w.text(v, path)
	case map[string]any:
		var out map[string]any
		for key, child := range v {
			now, err := w.value(child, join(path, key))
			if err != nil {
				return nil, err
			}
			if !same(now, child) {
				if out == nil {
					out = make(map[string]any, len(v))
					for k, c := range v {
						out[k] = c
					}
				}
				out[key] = now
			}
		}
		if out != nil {
			return out, nil
		}
		return v, nil
	case []any:
		var out []any
		for i, child := range v {
			now, err := w.value(child, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			if !same(now, child) {
				if out == nil {
					out = append(out, v...)
				}
				out[i] = now
			}
		}
		if out != nil {
			return out, nil
		}
		return v, nil
	}
	return v, nil
}

// same tells whether a walk has left a value as it was: what it changes it
// copies.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && fmt.Sprintf("%p", a) == fmt.Sprintf("%p", b)
	case []any:
		b, ok := b.([]any)
		return ok && len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
	case string:
		b, ok := b.(string)
		return ok && a == b
	}
	return fmt.Sprintf("%T%v", a, a) == fmt.Sprintf("%T%v", b, b)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (w *referenceWalk) text(s, path string) (any, error) {
	if !strings.Contains(s, referenceMark) {
		return s, nil
	}
	v, secrets, err := w.opened.opener.Resolve(s)
	w.opened.note(secrets)
	switch {
	case errors.Is(err, ErrNoCredentials):
		if w.where != "" {
			w.opened.mu.Lock()
			w.opened.left[w.where+path+" stays as it is: "+err.Error()] = true
			w.opened.mu.Unlock()
		}
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("%s%s: %w", w.where, path, err)
	}
	if now, ok := v.(string); ok && now == s {
		return s, nil
	}
	w.changed = true
	w.opened.mu.Lock()
	w.opened.references = true
	w.opened.mu.Unlock()
	return plainJSON(v)
}

// plainJSON gives a value in the types that JSON is decoded to.
func plainJSON(v any) (any, error) {
	switch v.(type) {
	case string, nil, bool:
		return v, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("a reference means a value that is none of JSON")
	}
	return decodeJSON(text)
}

// metadata leaves alone what tells which object it is.
func (w *referenceWalk) metadata(v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return v, nil
	}
	out := make(map[string]any, len(m))
	for key, child := range m {
		if key != "name" && key != "namespace" && key != "generateName" {
			var err error
			if child, err = w.value(child, "metadata."+key); err != nil {
				return nil, err
			}
		}
		out[key] = child
	}
	return out, nil
}

// data is that of a Secret. A reference in it may be in base64, as a chart or a
// kustomization has made it; what it means is so as well then.
func (w *referenceWalk) data(v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return v, nil
	}
	out := make(map[string]any, len(m))
	for key, child := range m {
		path := "data." + key
		text, _ := child.(string)
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Contains(decoded, []byte(referenceMark)) {
			if child, err = w.value(child, path); err != nil {
				return nil, err
			}
			out[key] = child
			continue
		}
		now, err := w.text(string(decoded), path)
		if err != nil {
			return nil, err
		}
		if s, ok := now.(string); ok {
			out[key] = base64.StdEncoding.EncodeToString([]byte(s))
			continue
		}
		asJSON, err := json.Marshal(now)
		if err != nil {
			return nil, fmt.Errorf("%s: the reference means a value that is none of JSON", path)
		}
		out[key] = base64.StdEncoding.EncodeToString(asJSON)
	}
	return out, nil
}

// openedTree decrypts what is read of a tree.
type openedTree struct {
	source.Tree
	opened *Opened

	mu   sync.Mutex
	memo map[string][]byte // decrypted files by path
}

// ReadFile decrypts.
func (t *openedTree) ReadFile(name string) ([]byte, error) {
	t.mu.Lock()
	plain, known := t.memo[name]
	t.mu.Unlock()
	if known {
		return bytes.Clone(plain), nil
	}
	data, err := t.Tree.ReadFile(name)
	if err != nil || !bytes.Contains(data, []byte("sops")) {
		return data, err
	}
	if int64(len(data)) > t.opened.limits.FileBytes {
		return data, nil // whoever reads it refuses it
	}
	plain, secrets, err := t.opened.opener.Decrypt(name, data)
	if err != nil {
		return nil, At(name, 0, err)
	}
	t.opened.note(secrets)
	if secrets != nil {
		t.mu.Lock()
		t.memo[name] = bytes.Clone(plain)
		t.mu.Unlock()
	}
	return plain, nil
}

// Open gives a file whose content is decrypted.
func (t *openedTree) Open(name string) (fs.File, error) {
	f, err := t.Tree.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, nil //nolint:nilerr // whoever reads it hears of it
	}
	_ = f.Close()
	data, err := t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &openedFile{Reader: bytes.NewReader(data), info: info}, nil
}

// noteDestination keeps the tree's own word of what a rendering looked at.
func (t *openedTree) noteDestination() {
	if n, ok := t.Tree.(interface{ noteDestination() }); ok {
		n.noteDestination()
	}
}

type openedFile struct {
	*bytes.Reader
	info fs.FileInfo
}

var _ io.ReadSeeker = (*openedFile)(nil)

func (f *openedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openedFile) Close() error               { return nil }

// openedRemotes decrypts what is fetched from other repositories.
type openedRemotes struct {
	RemoteFetcher
	wrap func(source.Tree) source.Tree
}

func (r openedRemotes) FetchRepo(ctx context.Context, repo, revision string) (source.Tree, error) {
	t, err := r.RemoteFetcher.FetchRepo(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	return r.wrap(t), nil
}

type openedCharts struct {
	ChartFetcher
	wrap func(source.Tree) source.Tree
}

func (c openedCharts) FetchChart(ctx context.Context, repo, name, version string) (source.Tree, error) {
	t, err := c.ChartFetcher.FetchChart(ctx, repo, name, version)
	if err != nil {
		return nil, err
	}
	return c.wrap(t), nil
}

// sortedTexts is longest first: a text may be part of another.
func sortedTexts(texts []string) {
	sort.Slice(texts, func(i, j int) bool {
		if len(texts[i]) != len(texts[j]) {
			return len(texts[i]) > len(texts[j])
		}
		return texts[i] < texts[j]
	})
}
