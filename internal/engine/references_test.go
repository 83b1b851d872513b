package engine

import (
	"context"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/render"
)

// fakeKeys are keys that open nothing.
type fakeKeys string

func (k fakeKeys) Keys(string) render.Keys { return k }
func (k fakeKeys) Fingerprint() string     { return string(k) }
func (fakeKeys) Open(context.Context, func(string) ([]byte, error)) render.Opener {
	return nil
}

// lookingUp renders as if there were a reference whose value is a secret.
type lookingUp struct {
	renders int
	fresh   bool
	value   string
}

func (l *lookingUp) Render(_ context.Context, req render.Request) (render.Bundle, error) {
	l.renders, l.fresh = l.renders+1, req.Fresh
	return render.Bundle{
		Driver: "kube", Hash: l.value, SourceType: "Directory",
		Secrets: render.NewTexts([]string{l.value}), Expires: req.At.Add(time.Minute),
	}, nil
}

func TestReferencesLapse(t *testing.T) {
	s := newStory(t)
	r := &lookingUp{value: "first-value"}
	s.git.trees["c1"] = map[string]string{"a.yaml": ""}
	keys := fakeKeys("one")
	s.e = New(Options{
		Applications: s.api, Projects: open{}, Destinations: open{}, Credentials: open{}, Events: s.api, Secrets: keys,
		Sources: Sources{Git: s.git}, Renderer: r, Drivers: map[string]driver.Driver{"kube": memory.New()}, Clock: s.clock,
	})
	app := &v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{Source: &v1alpha1.ApplicationSource{RepoURL: repo, Path: ".", TargetRevision: "c1"}}}
	var before *desired
	want := func(what string, fresh bool, renders int) *desired {
		t.Helper()
		fence, _ := open{}.Fence(app, Key{})
		d, err := s.e.want(t.Context(), request{app: app, fence: fence, fresh: fresh}, before)
		if err != nil {
			t.Fatal(err)
		}
		if r.renders != renders {
			t.Fatalf("%s: rendered %d times, not %d", what, r.renders, renders)
		}
		before = d
		return d
	}
	want("the first", false, 1)
	want("nothing has changed", false, 1)
	want("a refresh", true, 2)
	if !r.fresh {
		t.Error("a refresh does not ask for fresh values")
	}
	s.clock.now = s.clock.now.Add(59 * time.Second)
	want("not yet", false, 2)
	s.clock.now = s.clock.now.Add(time.Second)
	want("looked up again", false, 3)
	want("and believed again", false, 3)
	s.clock.now = s.clock.now.Add(time.Minute)
	r.value = "second-value"
	d := want("rotated", false, 4)
	for _, value := range []string{"first-value", "second-value"} {
		if got := d.bundle.Secrets.Mask(value); got == value {
			t.Errorf("%s is not masked after the rotation", value)
		}
	}
	s.e.Secrets = fakeKeys("two")
	want("other keys", false, 5)
}
