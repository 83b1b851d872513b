package localkube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	logMegabytes   = 20
	logBackups     = 2
	firstBackOff   = 200 * time.Millisecond
	lastBackOff    = 10 * time.Second
	settledAfter   = 30 * time.Second
	startAttempts  = 3
	readyInterval  = 25 * time.Millisecond
	readyTimeout   = 2 * time.Minute
	stopTimeout    = 15 * time.Second
	tailLines      = 12
	tailBytes      = 8 << 10
	outputPatience = 2 * time.Second
)

// Process is a child that a Supervisor keeps alive.
type Process struct {
	// Name names the child in messages and its log file.
	Name string
	// Path is the program; Args are its arguments without the program's name.
	Path string
	Args []string
	// Env is the whole environment of the child; nil inherits the parent's.
	Env []string
	// Ready reports whether the child does its work; it is asked again until
	// it returns nil. Without it a child is ready once it runs.
	Ready func(context.Context) error
	// ReadyTimeout bounds the wait for Ready; 0 means two minutes.
	ReadyTimeout time.Duration
	// StopTimeout is how long the child may take to end when it is asked to,
	// before it is killed; 0 means fifteen seconds.
	StopTimeout time.Duration
}

// Supervisor starts children, starts them again when they die, and stops them
// in the reverse of the order in which they were started. Each child leads a
// process group of its own, so that a Ctrl-C in the terminal reaches the parent
// only, and dies with its parent even if that is killed.
type Supervisor struct {
	logDir string
	notify func(string)

	mu       sync.Mutex
	children []*child
	stopped  bool
}

// NewSupervisor returns a Supervisor that writes the output of each child to
// logDir/NAME.log, rotated by size. It tells notify, if that is not nil, when
// a child died and is started again; that may be in several goroutines at once.
func NewSupervisor(logDir string, notify func(string)) *Supervisor {
	if notify == nil {
		notify = func(string) {}
	}
	return &Supervisor{logDir: logDir, notify: notify}
}

// Start starts a child and waits until it is ready. The child then lives until
// Stop, whatever becomes of ctx. If it does not become ready it is stopped, and
// the error holds the end of its log.
func (s *Supervisor) Start(ctx context.Context, p Process) error {
	c, err := s.launch(p)
	if err != nil {
		return err
	}
	if err := c.awaitReady(ctx); err != nil {
		c.shutDown()
		return err
	}
	return nil
}

func (s *Supervisor) launch(p Process) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, fmt.Errorf("start %s: the supervisor has been stopped", p.Name)
	}
	if err := os.MkdirAll(s.logDir, 0o700); err != nil {
		return nil, fmt.Errorf("create the directory for logs: %w", err)
	}
	if p.ReadyTimeout == 0 {
		p.ReadyTimeout = readyTimeout
	}
	if p.StopTimeout == 0 {
		p.StopTimeout = stopTimeout
	}
	c := &child{
		Process: p,
		notify:  s.notify,
		logPath: filepath.Join(s.logDir, p.Name+".log"),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		exits:   make(chan string, startAttempts),
	}
	s.children = append(s.children, c)
	go c.keepAlive()
	return c, nil
}

// Stop stops the children, the last one started first. A child that does not
// end in time is killed.
func (s *Supervisor) Stop() {
	s.mu.Lock()
	children := s.children
	s.children, s.stopped = nil, true
	s.mu.Unlock()
	for i := len(children) - 1; i >= 0; i-- {
		children[i].shutDown()
	}
}

// Pid returns the process id of the named child, or 0 if it does not run now.
func (s *Supervisor) Pid(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		if c.Name == name {
			return c.currentPid()
		}
	}
	return 0
}

// child is one Process with its life.
type child struct {
	Process
	notify  func(string)
	logPath string
	stop    chan struct{} // closed to end the child for good
	once    sync.Once
	done    chan struct{} // closed when it has ended for good
	exits   chan string   // how it ended, for those who wait for its readiness

	mu  sync.Mutex
	pid int
}

// keepAlive runs the child again and again until it is stopped. It owns one
// operating system thread for as long as the child may live: Linux ends a
// child with the thread that started it (see dieWithParent).
func (c *child) keepAlive() {
	lockThread()
	defer close(c.done)
	log := &lumberjack.Logger{Filename: c.logPath, MaxSize: logMegabytes, MaxBackups: logBackups}
	defer log.Close()

	backOff := firstBackOff
	for {
		began := time.Now()
		how := c.runOnce(log)
		select {
		case <-c.stop:
			return
		default:
		}
		if time.Since(began) > settledAfter {
			backOff = firstBackOff
		}
		fmt.Fprintf(log, "plumb: %s ended (%s); it starts again in %s\n", c.Name, how, backOff)
		c.notify(fmt.Sprintf("%s ended (%s); it starts again in %s (log: %s)", c.Name, how, backOff, c.logPath))
		select {
		case c.exits <- how:
		default:
		}
		select {
		case <-c.stop:
			return
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, lastBackOff)
	}
}

// runOnce runs the child until it ends or is stopped, and says how it ended.
func (c *child) runOnce(log io.Writer) string {
	cmd := exec.Command(c.Path, c.Args...) //nolint:noctx // a child is asked to end before it is killed
	cmd.Env = c.Env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = outputPatience
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	c.setPid(cmd.Process.Pid)
	defer c.setPid(0)

	// Whatever the child left behind in its group goes with it.
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }()

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return describeExit(err)
	case <-c.stop:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended: //nolint:errcheck // how it ends does not matter when it was asked to
	case <-time.After(c.StopTimeout):
		fmt.Fprintf(log, "plumb: %s did not end when asked and is killed\n", c.Name)
		_ = cmd.Process.Kill()
		<-ended //nolint:errcheck // as above
	}
	return "stopped"
}

func describeExit(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// shutDown ends the child for good and waits until it is gone.
func (c *child) shutDown() {
	c.once.Do(func() { close(c.stop) })
	<-c.done
}

// awaitReady waits until the child is ready. A child that ends again and again
// is given up.
func (c *child) awaitReady(ctx context.Context) error {
	if c.Ready == nil {
		return nil
	}
	deadline := time.NewTimer(c.ReadyTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()

	var last error
	for exits := 0; ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", c.Name, ctx.Err())
		case how := <-c.exits:
			if exits++; exits >= startAttempts {
				return c.failure(fmt.Sprintf("it ended %d times, at last with: %s", exits, how))
			}
		case <-deadline.C:
			return c.failure(fmt.Sprintf("it was not ready after %s: %v", c.ReadyTimeout, last))
		case <-tick.C:
			probe, cancel := context.WithTimeout(ctx, 2*time.Second)
			last = c.Ready(probe)
			cancel()
			if last == nil {
				return nil
			}
		}
	}
}

// failure is the error of a child that did not start, with the end of its log.
func (c *child) failure(why string) error {
	message := fmt.Sprintf("%s did not start: %s", c.Name, why)
	if tail := tailOf(c.logPath); tail != "" {
		message += "\nThe last lines of its log:\n" + tail
	}
	return errors.New(message + "\nThe whole log is in " + c.logPath)
}

// tailOf returns the last lines of a log file, indented.
func tailOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd)
	}
	content, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "    " + strings.Join(lines, "\n    ")
}

func (c *child) setPid(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

func (c *child) currentPid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}
