package render

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Bounded runs a rendering and gives up on it when its time is over or ctx is
// done. A rendering that does not notice is abandoned: it goes on in its
// goroutine until it next looks, and its result is thrown away. A panic is an
// error of this rendering alone.
func Bounded(ctx context.Context, limits Limits, run func(context.Context) (Bundle, error)) (Bundle, error) {
	allowed := time.Duration(limits.OrDefault().RenderMillis) * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, allowed,
		fmt.Errorf("rendering took more than %s: %w", allowed, ErrTooMuch))
	defer cancel()
	type result struct {
		bundle Bundle
		err    error
	}
	done, ended := make(chan result, 1), make(chan struct{})
	go func() {
		defer close(ended)
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: &PanicError{Value: p, Stack: debug.Stack()}}
			}
			done <- r
		}()
		r.bundle, r.err = run(ctx)
	}()
	select {
	case r := <-done:
		if r.err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrTooMuch) {
			return Bundle{}, context.Cause(ctx)
		}
		return r.bundle, r.err
	case <-ctx.Done():
		if f, ok := ctx.Value(abandonment{}).(func(<-chan struct{})); ok {
			f(ended)
		}
		return Bundle{}, context.Cause(ctx)
	}
}

// abandonment is the key of who wants to know of abandoned renderings, by a
// channel that is closed when they end.
type abandonment struct{}

// PanicError is a panic of a renderer.
type PanicError struct {
	Value any
	Stack []byte
}

// Error says what the panic said; the stack is for the log.
func (e *PanicError) Error() string { return fmt.Sprintf("the renderer failed: %v", e.Value) }
