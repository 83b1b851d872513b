package tofu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// State works on the state of one module, with the program itself, as people do
// who know it. What changes a state holds its lock meanwhile.
type State struct {
	m    *module
	want driver.Desired
}

// State of the module that is desired.
func (d *Driver) State(want driver.Desired) (*State, error) {
	m, err := d.module(want.Target.Owner)
	if err != nil {
		return nil, err
	}
	return &State{m, want}, nil
}

// open makes the folder ready, with the state of now.
func (s *State) open(ctx context.Context) (*spec, error) {
	sp, err := s.m.specOf(&s.want)
	if err != nil {
		return nil, err
	}
	if sp == nil {
		return nil, errors.New("its source is no module")
	}
	if err := s.m.prepare(ctx, sp); err != nil {
		return nil, err
	}
	return sp, s.m.loadState(ctx, sp)
}

func (s *State) read(ctx context.Context, do func(*run.Runner) error) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if _, err := s.open(ctx); err != nil {
		return explain(err)
	}
	return explain(do(s.m.runner))
}

// change does something to the state, and saves what comes of it.
func (s *State) change(ctx context.Context, operation string, do func(*run.Runner) error) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	sp, err := s.open(ctx)
	if err != nil {
		return explain(err)
	}
	if sp.backend.own {
		return explain(do(s.m.runner))
	}
	id := stateID(s.m.owner, sp.Options.Workspace)
	lock := Lock{ID: lockID(), Operation: operation, Who: who(), Version: "plumb", Created: time.Now().UTC()}
	if err := s.m.d.o.States.Lock(ctx, id, lock); err != nil {
		return err
	}
	err = s.m.loadState(ctx, sp) // nobody else can change it any more
	if err == nil {
		err = do(s.m.runner)
		err = errors.Join(err, s.m.saveState(context.WithoutCancel(ctx), sp))
	}
	return explain(errors.Join(err, s.m.d.o.States.Unlock(context.WithoutCancel(ctx), id, lock.ID)))
}

// List gives the addresses of all that the state holds.
func (s *State) List(ctx context.Context) (addresses []string, err error) {
	err = s.read(ctx, func(r *run.Runner) error {
		if len(s.m.state.text) == 0 {
			return nil
		}
		addresses, err = r.List(ctx)
		return err
	})
	return addresses, err
}

// Show describes a resource for people, without what is sensitive.
func (s *State) Show(ctx context.Context, address string) (text string, err error) {
	err = s.read(ctx, func(r *run.Runner) error {
		text, err = r.Show(ctx, address)
		return err
	})
	return text, err
}

// Pull gives the state as it is. It holds secrets.
func (s *State) Pull(ctx context.Context) (text []byte, err error) {
	err = s.read(ctx, func(*run.Runner) error {
		text = s.m.state.text
		return nil
	})
	return text, err
}

// Push replaces the state by that of a file: a newer one of the same lineage, or
// any where there is none yet.
func (s *State) Push(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := readState(text); err != nil || len(text) == 0 {
		return fmt.Errorf("%s holds no state", file)
	}
	return s.change(ctx, "state push", func(r *run.Runner) error { return r.Push(ctx, file) })
}

// Remove lets resources out of the state without destroying them.
func (s *State) Remove(ctx context.Context, addresses ...string) error {
	return s.change(ctx, "state rm", func(r *run.Runner) error { return r.Remove(ctx, addresses...) })
}

// Move gives a resource another address.
func (s *State) Move(ctx context.Context, from, to string) error {
	return s.change(ctx, "state mv", func(r *run.Runner) error { return r.Move(ctx, from, to) })
}

// Import takes something that exists into the state.
func (s *State) Import(ctx context.Context, address, id string) error {
	return s.change(ctx, "import", func(r *run.Runner) error { return r.Import(ctx, address, id) })
}

// Unlock takes the lock from whoever holds it. An id must be that of the lock; it
// is needed where the module has a backend of its own.
func (s *State) Unlock(ctx context.Context, id string) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	sp, err := s.m.specOf(&s.want)
	if err != nil {
		return err
	}
	if sp == nil {
		return errors.New("its source is no module")
	}
	if err := s.m.prepare(ctx, sp); err != nil {
		return err
	}
	if sp.backend.own {
		if id == "" {
			return errors.New("the module has a backend of its own: name the lock's id, as the Application's condition tells it")
		}
		return s.m.runner.ForceUnlock(ctx, id)
	}
	return s.m.d.o.States.Unlock(ctx, stateID(s.m.owner, sp.Options.Workspace), id)
}

func who() string { return "plumb@" + hostname() }
