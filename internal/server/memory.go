package server

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// defaultGCPercent is Go's own; another value is the user's (GOGC).
	defaultGCPercent = 100
	// gcPercent trades a little CPU during bursts for less memory: the live heap
	// is small against what a burst of renderings leaves behind.
	gcPercent = 50
	// quietCheck is how often to look whether a burst is over.
	quietCheck = 10 * time.Second
)

// tuneMemory has the garbage collector run earlier, unless the user has said
// when it should.
func tuneMemory() {
	if set := debug.SetGCPercent(gcPercent); set != defaultGCPercent {
		debug.SetGCPercent(set)
	}
}

// returnMemory gives memory back to the system once after each burst of work.
func (s *Server) returnMemory(ctx context.Context) {
	tick := time.NewTicker(quietCheck)
	defer tick.Stop()
	var freed, last uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		passes := s.metrics.passes.Load()
		if passes == last && passes != freed {
			debug.FreeOSMemory()
			freed = passes
		}
		last = passes
	}
}
