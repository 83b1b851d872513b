package engine

import "time"

// Clock tells the time and rings later. Tests bring their own.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f after d, unless it is stopped before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Wall is the clock on the wall.
type Wall struct{}

// Now is the time.
func (Wall) Now() time.Time { return time.Now() }

// AfterFunc rings once.
func (Wall) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
