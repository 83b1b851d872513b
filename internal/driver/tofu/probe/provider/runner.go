package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/hashicorp/go-plugin/runner"
)

// Spawner starts processes that end when this one does. The kernel ties a
// child's life to the thread that started it, so one thread starts them all.
type Spawner struct {
	tasks chan func()
	once  sync.Once
}

// NewSpawner returns a Spawner, which the caller closes after the last process
// has ended.
func NewSpawner() *Spawner {
	s := &Spawner{tasks: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for task := range s.tasks {
			task()
		}
	}()
	return s
}

// Close ends the thread, and by that whatever it started that still runs.
func (s *Spawner) Close() { s.once.Do(func() { close(s.tasks) }) }

func (s *Spawner) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s.tasks <- func() { done <- cmd.Start() }
	return <-done
}

// groupRunner runs a provider in a process group of its own, and kills all of
// that.
type groupRunner struct {
	spawner        *Spawner
	cmd            *exec.Cmd
	stdout, stderr io.ReadCloser
}

var _ runner.Runner = (*groupRunner)(nil)

func newGroupRunner(spawner *Spawner, cmd *exec.Cmd) (*groupRunner, error) {
	cmd.Stdin = nil
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	return &groupRunner{spawner: spawner, cmd: cmd, stdout: stdout, stderr: stderr}, nil
}

func (r *groupRunner) Start(context.Context) error { return r.spawner.start(r.cmd) }

func (r *groupRunner) Wait(context.Context) error { return r.cmd.Wait() }

func (r *groupRunner) Kill(context.Context) error {
	if r.cmd.Process == nil {
		return nil
	}
	err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (r *groupRunner) Stdout() io.ReadCloser { return r.stdout }
func (r *groupRunner) Stderr() io.ReadCloser { return r.stderr }
func (r *groupRunner) Name() string          { return r.cmd.Path }

func (r *groupRunner) ID() string {
	if r.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(r.cmd.Process.Pid)
}

func (r *groupRunner) Diagnose(context.Context) string {
	return "is it a provider for this operating system and processor?"
}

func (r *groupRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (r *groupRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// RSS is how much memory the process holds, in bytes; 0 if it is gone.
func (p *Process) RSS() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%s/statm", p.client.ID()))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

func killGroup(id string) {
	if pid, err := strconv.Atoi(id); err == nil && pid > 1 {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // gone already is as good
	}
}
