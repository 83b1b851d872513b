package localkube

import (
	"runtime"
	"syscall"
)

// dieWithParent makes a child the leader of its own process group, and makes
// the kernel kill it when its parent is gone.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// lockThread ties the calling goroutine to its thread for good: the kernel
// takes the end of the thread that started a child for the parent's death.
func lockThread() { runtime.LockOSThread() }
