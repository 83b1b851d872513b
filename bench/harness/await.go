package harness

import (
	"context"
	"fmt"
	"time"
)

const (
	patience = 2 * time.Minute
	interval = 25 * time.Millisecond
)

// Await asks until there is no error, and returns the last one when ctx or two
// minutes have gone.
func Await(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		last := ask()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", last, ctx.Err())
		case <-tick.C:
		}
	}
}

// Sleep waits, or returns early with an error when ctx is done.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
