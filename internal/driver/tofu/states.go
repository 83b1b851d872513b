package tofu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// States keeps the states of modules without a backend of their own.
type States interface {
	// Load gives a state, or nil where there is none.
	Load(ctx context.Context, id StateID) ([]byte, error)
	// Save replaces a state. It returns once that would survive a crash.
	Save(ctx context.Context, id StateID, state []byte) error
	// Delete removes a state and its lock.
	Delete(ctx context.Context, id StateID) error
	// Lock takes the lock of a state, or gives a *LockedError. It takes a lock that
	// an earlier process of the same instance has left, and one of another instance
	// that has not renewed it for long.
	Lock(ctx context.Context, id StateID, lock Lock) error
	// Unlock gives a lock back, or gives ErrNotHeld. An empty id takes it from
	// whoever holds it.
	Unlock(ctx context.Context, id StateID, lockID string) error
}

// StateID names a state.
type StateID struct{ Namespace, Name, Workspace string }

// Lock describes who holds a state's lock, as OpenTofu writes it.
type Lock struct {
	ID        string
	Operation string
	Info      string
	Who       string
	Version   string
	Created   time.Time
	Path      string
}

// ErrNotHeld is what Unlock gives where somebody else holds the lock.
var ErrNotHeld = errors.New("the lock is held by somebody else by now")

// LockedError says that somebody else holds a state's lock.
type LockedError struct{ Lock }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the state is locked by %s since %s (%s, lock %s): it goes on when that ends; if that has crashed, release the lock with plumb state unlock",
		e.Who, e.Created.UTC().Format(time.RFC3339), strings.TrimPrefix(e.Operation, "OperationType"), e.ID)
}
