package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/plumb-dev/plumb/internal/plan"
)

// notes are intents that survive a crash of the engine.
type notes struct {
	byUID  map[string][]plan.Ref
	broken error
}

func (n *notes) Intend(_ context.Context, uid string, refs []plan.Ref) error {
	if n.broken == nil {
		n.byUID[uid] = append(n.byUID[uid], refs...)
	}
	return n.broken
}
func (n *notes) Fulfil(uid string)              { delete(n.byUID, uid) }
func (n *notes) Intended(uid string) []plan.Ref { return n.byUID[uid] }

func has(s *story, address plan.Address) bool {
	_, ok := s.world.Get(address)
	return ok
}

func TestIntentsOutliveACrash(t *testing.T) {
	s, n := newStory(t), &notes{byUID: map[string][]plan.Ref{}}
	s.e.Intents = n
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/b.yaml": object("ConfigMap", "b", "1")})
	s.app("web", nil)
	s.api.fail = errors.New("the API server is away")
	s.tell("a and b are made, and the process ends before it is in the status")
	if !has(s, "ConfigMap/shop/b") {
		t.Fatalf("b was not made: this test shows nothing\n%s", s.text.String())
	}
	s.restart()
	s.e.Intents, s.api.fail = n, nil
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.tell("b has left Git meanwhile")
	if has(s, "ConfigMap/shop/b") {
		t.Errorf("b stays behind\n%s", s.text.String())
	}
	if !has(s, "ConfigMap/shop/a") {
		t.Errorf("a is gone\n%s", s.text.String())
	}
	if len(n.byUID) > 0 {
		t.Errorf("intents that were fulfilled are kept: %v", n.byUID)
	}
}

func TestWithoutIntentsTheStatusIsWrittenBefore(t *testing.T) {
	s := newStory(t)
	s.e.Intents = &notes{broken: errors.New("forbidden")}
	s.git.commit(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1")})
	s.app("web", nil)
	s.api.fail = errors.New("the API server is away")
	s.tell("neither the intent nor the status can be written")
	if has(s, "ConfigMap/shop/a") {
		t.Errorf("a was made although nobody would know of it\n%s", s.text.String())
	}
	s.api.fail = nil
	s.tell("the status can be written again")
	if !has(s, "ConfigMap/shop/a") {
		t.Errorf("a was not made\n%s", s.text.String())
	}
}
