package kube

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// panics carry a panic from the goroutines that look at an Application's objects
// to the one that works on the Application, where it ends that work only: in its
// own goroutine it would end the process.
type panics struct {
	mu    sync.Mutex
	first string
}

// guard does something and keeps the first panic.
func (p *panics) guard(do func()) {
	defer func() {
		if v := recover(); v != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.first == "" {
				p.first = fmt.Sprintf("%v\n%s", v, debug.Stack())
			}
		}
	}()
	do()
}

// raise panics if something has.
func (p *panics) raise() {
	if p.first != "" {
		panic(p.first)
	}
}
