//go:build unix && !linux

package git

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a command into a session of its own, so that it cannot ask at
// the terminal and is ended with all its children.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
