package git

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a command into a session of its own, so that it cannot ask at
// the terminal, is ended with all its children, and does not outlive us: a git
// left behind by a killed Plumb would write to a mirror that the next one uses.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
