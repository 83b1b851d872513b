package adopt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// object gives a resource as it is rendered.
func (s *session) object(b render.Bundle, ref plan.Ref) (map[string]any, render.Object, error) {
	i := indexOf(b, ref)
	if i < 0 {
		return nil, render.Object{}, errors.New("the sources do not declare it: it comes from elsewhere (a namespace that is made on the way, say)")
	}
	v, err := decode(b.Objects[i].JSON)
	return v, b.Objects[i], err
}

// indexOf finds a resource among rendered objects, which may leave out their
// namespace. An object that names it goes before one that does not.
func indexOf(b render.Bundle, ref plan.Ref) int {
	found := -1
	for i, o := range b.Objects {
		if o.Ref.Group != ref.Group || o.Ref.Kind != ref.Kind || o.Ref.Name != ref.Name {
			continue
		}
		if o.Ref.Namespace == ref.Namespace {
			return i
		}
		if o.Ref.Namespace == "" {
			found = i
		}
	}
	return found
}

func decode(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v map[string]any
	err := d.Decode(&v)
	return v, err
}

func (s *session) satisfied(object map[string]any, f Field) bool {
	v, there := get(object, f.Path)
	return there == f.HasLive && (!there || equal(v, f.Live))
}

// verify renders with a candidate: the field must be what is live then, and
// whatever else changes must become what is live, too.
func (s *session) verify(ctx context.Context, c candidate, d Drift, f Field) (render.Bundle, string) {
	b, err := s.Render(ctx, merged(s.edits, c))
	if err != nil {
		return b, "with the edit the sources can't be rendered: " + err.Error()
	}
	object, _, err := s.object(b, d.Ref)
	if err != nil {
		return b, err.Error()
	}
	if !s.satisfied(object, f) {
		return b, "what is edited does not become the field's value: it is set in another place (options of the Application itself, or a later file)"
	}
	if at := s.strays(b); at != "" {
		return b, "the value is used in another place as well (" + at + "), which would change with it"
	}
	return b, ""
}

// strays finds a change between the bundle as it is and another one that does
// not lead to what is live.
func (s *session) strays(b render.Bundle) string {
	known := map[plan.Ref]render.Object{}
	for _, o := range s.bundle.Objects {
		known[o.Ref] = o
	}
	for _, o := range b.Objects {
		old, ok := known[o.Ref]
		if !ok {
			return string(o.Ref.Address()) + " is new"
		}
		delete(known, o.Ref)
		if old.Hash == o.Hash {
			continue
		}
		if at := s.stray(old, o); at != "" {
			return string(o.Ref.Address()) + " " + at
		}
	}
	for ref := range known {
		return string(ref.Address()) + " would be gone"
	}
	return ""
}

func (s *session) stray(old, now render.Object) string {
	a, err := decode(old.JSON)
	if err != nil {
		return err.Error()
	}
	b, err := decode(now.JSON)
	if err != nil {
		return err.Error()
	}
	for _, f := range Differences(a, b) {
		if !s.toLive(now.Ref, f) {
			return f.Path.String()
		}
	}
	return ""
}

// toLive tells whether a change of a rendered object leads to what is live.
func (s *session) toLive(ref plan.Ref, f Field) bool {
	for _, d := range s.Drift {
		if d.Ref.Group != ref.Group || d.Ref.Kind != ref.Kind || d.Ref.Name != ref.Name || ref.Namespace != "" && d.Ref.Namespace != ref.Namespace {
			continue
		}
		live, there := get(d.Live, f.Path)
		if there == f.HasLive && (!there || equal(live, f.Live)) {
			return true
		}
	}
	return false
}
