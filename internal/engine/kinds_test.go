package engine

import (
	"context"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver/memory"
	"github.com/plumb-dev/plumb/internal/render"
)

// changing renders for one driver, and then for another.
type changing struct {
	plainRenderer
	module bool
}

func (c *changing) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	b, err := c.plainRenderer.Render(ctx, req)
	if c.module {
		b.Driver, b.SourceType = render.TofuDriver, string(v1alpha1.ApplicationSourceTypeTofu)
	}
	return b, err
}

// TestSourceOfAnotherKind leaves nothing behind without a word.
func TestSourceOfAnotherKind(t *testing.T) {
	for name, module := range map[string]bool{"module": true, "manifests": false} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			r := &changing{plainRenderer{s.renders}, module}
			cloud := memory.New()
			s.e.Renderer, s.e.Drivers[render.TofuDriver] = r, cloud
			worlds := map[bool]*memory.World{true: cloud.World(), false: s.world}
			key := Key{v1alpha1.Group, "plumb", "web"}
			look := func() v1alpha1.ApplicationStatus {
				for range 5 {
					s.e.pass(context.Background(), key)
				}
				if app := s.api.apps[key]; app != nil {
					return app.Status
				}
				return v1alpha1.ApplicationStatus{}
			}
			s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
			s.app("web", nil)
			if st := look(); st.Sync.Status != v1alpha1.SyncStatusCodeSynced || len(st.Inventory) != 1 {
				t.Fatalf("at first: %s, %d", st.Sync.Status, len(st.Inventory))
			}
			r.module = !module
			s.git.commit(map[string]string{"web/b.yaml": object("ConfigMap", "b", "1")})
			st := look()
			if len(st.Conditions) != 1 || !strings.Contains(st.Conditions[0].Message, "leave-behind="+name) || len(st.Inventory) != 1 {
				t.Fatalf("what is left is not told: %+v, holds %d", st.Conditions, len(st.Inventory))
			}
			if n := len(worlds[!module].Log()); n > 0 {
				t.Errorf("the other driver has done something: %d", n)
			}
			worlds[module].Log()
			if module { // a deletion is of what was made
				s.remove("web")
				look()
				if log := strings.Join(worlds[true].Log(), " "); !strings.Contains(log, "a") || s.api.apps[key] != nil {
					t.Errorf("it is not deleted: %q", log)
				}
				return
			}
			s.app("web", func(app *v1alpha1.Application) {
				app.Annotations = map[string]string{v1alpha1.PlumbPrefix + v1alpha1.NameLeaveBehind: name}
			})
			if st := look(); st.Sync.Status != v1alpha1.SyncStatusCodeSynced || len(st.Inventory) != 1 || len(st.Conditions) > 0 {
				t.Errorf("left behind: %s, %+v, %d", st.Sync.Status, st.Conditions, len(st.Inventory))
			}
			if log := worlds[false].Log(); len(log) > 0 {
				t.Errorf("what was to be left is touched: %q", log)
			}
		})
	}
}

// TestQuickAgain has an Application that is no module any more leave the slow lane.
func TestQuickAgain(t *testing.T) {
	s := newStory(t)
	r := &changing{plainRenderer{s.renders}, true}
	s.e.Renderer, s.e.Drivers[render.TofuDriver] = r, memory.New()
	key := Key{v1alpha1.Group, "plumb", "web"}
	s.git.commit(map[string]string{"web/x.yaml": object("ConfigMap", "a", "1")})
	s.app("web", func(app *v1alpha1.Application) {
		app.Annotations = map[string]string{v1alpha1.PlumbPrefix + v1alpha1.NameLeaveBehind: "module"}
	})
	look := func() {
		for range 5 {
			s.e.pass(context.Background(), key)
		}
	}
	look()
	if !s.e.queue.slow[key] {
		t.Fatal("a module is in the quick lane")
	}
	r.module = false
	s.git.commit(map[string]string{"web/x.yaml": object("ConfigMap", "a", "2")})
	look()
	if s.e.queue.slow[key] {
		t.Error("it is still in the slow lane")
	}
}
