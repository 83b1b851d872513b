//go:build unix && !linux

package localkube

import "syscall"

// dieWithParent makes a child the leader of its own process group. Only Linux
// can end a child with a parent that was killed; elsewhere the next start finds
// the data directory held by it and says so.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func lockThread() {}
