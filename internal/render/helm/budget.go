package helm

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/plumb-dev/plumb/internal/render"
)

const (
	// growth is how much a rendering may produce in passing, in multiples of
	// what it may give in the end.
	growth = 8
	// maxItems bounds the length of one list.
	maxItems = 1_000_000
	// maxValueDepth bounds how deep a value may nest that is written out.
	maxValueDepth = 500
	// maxCompared bounds the lists whose items are all compared with each other.
	maxCompared = 20_000
)

// budget is what the templates of one rendering may use up.
type budget struct {
	ctx    context.Context
	limits render.Limits
	left   int64
	cause  error
}

func newBudget(ctx context.Context, limits render.Limits) *budget {
	limits = limits.OrDefault()
	return &budget{ctx: ctx, limits: limits, left: growth * limits.TotalBytes}
}

// exceeded is the first reason to stop, or nil.
func (b *budget) exceeded() error { return b.cause }

func (b *budget) stop(err error) error {
	if b.cause == nil {
		b.cause = err
	}
	return b.cause
}

// tick is called at each turn of a loop and at each call.
func (b *budget) tick() error {
	if b.cause != nil {
		return b.cause
	}
	if b.ctx.Err() != nil {
		return b.stop(context.Cause(b.ctx))
	}
	return nil
}

// spend takes bytes that are about to be, or were, produced.
func (b *budget) spend(n int64) error {
	if err := b.tick(); err != nil {
		return err
	}
	if n > b.limits.TotalBytes {
		return b.stop(fmt.Errorf("a template makes a text of more than %d bytes: %w", b.limits.TotalBytes, render.ErrTooMuch))
	}
	if b.left -= n; b.left < 0 {
		return b.stop(fmt.Errorf("the templates produce more than %d bytes in passing: %w", growth*b.limits.TotalBytes, render.ErrTooMuch))
	}
	return nil
}

// items checks the length of a list that is about to be made.
func (b *budget) items(n int64) error {
	if n > maxItems {
		return b.stop(fmt.Errorf("a template makes a list of more than %d items: %w", maxItems, render.ErrTooMuch))
	}
	return b.spend(n * 16)
}

// writer collects the output of one template.
func (b *budget) writer() *output { return &output{budget: b} }

type output struct {
	*budget
	strings.Builder
}

// Write stops the template when the budget is used up.
func (o *output) Write(p []byte) (int, error) {
	if err := o.spend(int64(len(p))); err != nil {
		return 0, err
	}
	if int64(o.Len()+len(p)) > o.limits.TotalBytes {
		return 0, o.stop(fmt.Errorf("a template gives more than %d bytes: %w", o.limits.TotalBytes, render.ErrTooMuch))
	}
	return o.Builder.Write(p)
}

// WriteString is Write.
func (o *output) WriteString(s string) (int, error) { return o.Write([]byte(s)) }

// weigh estimates what values are when they are written out, and stops where
// they contain themselves or repeat each other without bound.
func (b *budget) weigh(values ...any) (int64, error) {
	w := weighing{limit: b.limits.TotalBytes}
	for _, v := range values {
		w.add(reflect.ValueOf(v), 0)
	}
	if w.sum > w.limit {
		return w.sum, b.stop(fmt.Errorf("a template writes out a value that is more than %d bytes, or that contains itself: %w", w.limit, render.ErrTooMuch))
	}
	return w.sum, nil
}

type weighing struct{ sum, limit int64 }

func (w *weighing) add(v reflect.Value, depth int) {
	if w.sum > w.limit {
		return
	}
	if depth > maxValueDepth {
		w.sum = w.limit + 1
		return
	}
	w.sum += 8
	switch v.Kind() {
	case reflect.String:
		w.sum += int64(v.Len())
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			w.add(v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k >= reflect.Bool && k <= reflect.Float64 {
			w.sum += 4 * int64(v.Len())
			return
		}
		for i := 0; i < v.Len() && w.sum <= w.limit; i++ {
			w.add(v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next() && w.sum <= w.limit; {
			w.add(it.Key(), depth+1)
			w.add(it.Value(), depth+1)
		}
	}
}
