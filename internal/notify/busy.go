package notify

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// busy lets one call for each recipient run at a time, and no longer waits for
// one than sendTime: it is for libraries that cannot be stopped. There is never
// more than one forgotten call for each recipient.
type busy struct {
	mu      sync.Mutex
	running map[string]bool
}

func newBusy() *busy { return &busy{running: map[string]bool{}} }

func (b *busy) do(ctx context.Context, recipient string, call func() error) error {
	b.mu.Lock()
	if b.running[recipient] {
		b.mu.Unlock()
		return fmt.Errorf("the message before is still on its way")
	}
	b.running[recipient] = true
	b.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		err := call()
		b.mu.Lock()
		delete(b.running, recipient)
		b.mu.Unlock()
		done <- err
	}()
	timer := time.NewTimer(sendTime)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("there is no answer after %s", sendTime)
	}
}
