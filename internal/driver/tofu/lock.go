package tofu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// takeLock takes the lock of the module's state. That it does is written down
// before: whoever comes after a crash knows that the lock is to be given back.
func (m *module) takeLock(ctx context.Context, s *spec, lock Lock) error {
	if s.backend.own {
		return nil
	}
	before, err := m.heldLock()
	if err != nil {
		return err
	}
	if err := writeFile(m.path("lock"), []byte(lock.ID)); err != nil {
		return err
	}
	err = m.d.o.States.Lock(ctx, stateID(m.owner, s.Options.Workspace), lock)
	var locked *LockedError
	if errors.As(err, &locked) { // whatever else the error is, the lock may be ours
		return errors.Join(err, m.noteLock(before))
	}
	return err
}

// giveLock gives the lock back that was taken last, be it by a process that was
// killed. Where none was, it does nothing.
func (m *module) giveLock(ctx context.Context, s *spec) error {
	id, err := m.heldLock()
	if err != nil || id == "" || s.backend.own {
		return err
	}
	err = m.d.o.States.Unlock(ctx, stateID(m.owner, s.Options.Workspace), id)
	if err != nil && !errors.Is(err, ErrNotHeld) {
		return err
	}
	return m.noteLock("")
}

// heldLock is the id of the lock that is to be given back, or empty.
func (m *module) heldLock() (string, error) {
	text, err := os.ReadFile(m.path("lock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read which lock is held: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (m *module) noteLock(id string) error {
	if id != "" {
		return writeFile(m.path("lock"), []byte(id))
	}
	if err := os.Remove(m.path("lock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note that no lock is held: %w", err)
	}
	return nil
}
