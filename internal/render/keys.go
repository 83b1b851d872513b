package render

import (
	"context"
	"errors"
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
