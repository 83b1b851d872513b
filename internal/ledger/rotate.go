package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// Rotate replaces the private key of a ledger that no process has open, and
// gives the new public key. The last checkpoint that the old key signs commits
// to an entry which names the new one, so that whoever trusts the old key can
// trust the new one; by whom it was done is the actor.
func Rotate(ctx context.Context, o Options, by entry.Actor) (public string, err error) {
	l, err := Open(ctx, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close(ctx)) }()
	private, key, err := generateKey(l.keys.origin)
	if err != nil {
		return "", err
	}
	e := Entry{
		Kind: entry.KeyRotated, Actor: by, Message: "checkpoints after this entry are signed by another key",
		Details: map[string]string{"old": l.keys.Latest(), "new": key.public},
	}
	i, err := l.Append(ctx, e)
	if err != nil {
		return "", err
	}
	if err := l.awaitSigned(ctx, i); err != nil {
		return "", fmt.Errorf("%w: the old key is still in use", err)
	}
	if err := keepKey(o.Dir, private, key); err != nil {
		return "", fmt.Errorf("%w: the old key is still in use", err)
	}
	return key.public, nil
}

// awaitSigned returns when the checkpoint that is published commits to an entry.
func (l *Ledger) awaitSigned(ctx context.Context, i uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, shutdownTimeout, errors.New("the old key's last checkpoint is not published"))
	defer cancel()
	if err := l.flush(ctx); err != nil {
		return err
	}
	for {
		c, err := l.store.checkpoint(ctx, l.keys)
		if err == nil && c.Size > i {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
