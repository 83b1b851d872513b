package tofu_test

import (
	"bytes"
	"context"
	"sync"

	"github.com/plumb-dev/plumb/internal/driver/tofu"
)

// memoryStates keeps states in memory, with locks that outlive drivers.
type memoryStates struct {
	mu     sync.Mutex
	states map[tofu.StateID][]byte
	locks  map[tofu.StateID]tofu.Lock
	saves  int
	broken error
	refuse int
	// process counts drivers: one takes only what an earlier one has left.
	process int
	by      map[tofu.StateID]int
}

// fail breaks the store, or mends it.
func (s *memoryStates) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// refused counts what was not saved.
func (s *memoryStates) refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refuse
}

func newStates() *memoryStates {
	return &memoryStates{states: map[tofu.StateID][]byte{}, locks: map[tofu.StateID]tofu.Lock{}, by: map[tofu.StateID]int{}}
}

func (s *memoryStates) Load(_ context.Context, id tofu.StateID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.states[id]), s.broken
}

func (s *memoryStates) Save(_ context.Context, id tofu.StateID, state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		s.refuse++
		return s.broken
	}
	s.saves++
	s.states[id] = bytes.Clone(state)
	return nil
}

func (s *memoryStates) Delete(_ context.Context, id tofu.StateID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.states, id)
	delete(s.locks, id)
	return nil
}

func (s *memoryStates) Lock(_ context.Context, id tofu.StateID, lock tofu.Lock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.locks[id]; ok && (held.Who != lock.Who || s.by[id] == s.process) {
		return &tofu.LockedError{Lock: held}
	}
	s.locks[id], s.by[id] = lock, s.process
	return nil
}

func (s *memoryStates) Unlock(_ context.Context, id tofu.StateID, lockID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lockID == "" || s.locks[id].ID == lockID {
		delete(s.locks, id)
	}
	return nil
}

func (s *memoryStates) locked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.locks)
}
