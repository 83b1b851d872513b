package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// catFile reads objects of one mirror through a git cat-file process that is
// started when needed and ended when idle. Calls take turns.
type catFile struct {
	runner *runner
	gitDir string
	idle   time.Duration

	mu      sync.Mutex
	process *catProcess
	closed  bool
	last    time.Time
}

type catProcess struct {
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *tail
	done   chan struct{}
}

var (
	errMissing = errors.New("object missing")
	errCorrupt = errors.New("object cannot be read")
	errClosed  = errors.New("source is closed")
)

// sizeError says that an object is over the limit.
type sizeError struct{ size, limit int64 }

func (e *sizeError) Error() string {
	return fmt.Sprintf("%d bytes, over the limit of %d", e.size, e.limit)
}

// readTimeout bounds one read; only a hung disk takes that long.
const readTimeout = time.Minute

// read gives an object's content, having checked kind and size before.
func (c *catFile) read(id objectID, kind string, limit int64) ([]byte, error) {
	var out []byte
	err := c.use(func(p *catProcess) error {
		size, err := p.info(id, kind)
		if err != nil {
			return err
		}
		if size > limit {
			return &sizeError{size, limit}
		}
		out, err = p.contents(id, size)
		return err
	})
	return out, err
}

// size gives an object's size.
func (c *catFile) size(id objectID, kind string) (size int64, err error) {
	err = c.use(func(p *catProcess) error {
		size, err = p.info(id, kind)
		return err
	})
	return size, err
}

// use runs f with the process, and once more with a new one where the old one
// turned out to be dead.
func (c *catFile) use(f func(*catProcess) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	for range 2 {
		if c.closed {
			return errClosed
		}
		if c.process == nil {
			if c.process, err = c.start(); err != nil {
				return err
			}
		}
		watchdog := time.AfterFunc(readTimeout, c.process.cancel)
		err = f(c.process)
		watchdog.Stop()
		var over *sizeError
		if err == nil || errors.Is(err, errMissing) || errors.As(err, &over) {
			c.last = time.Now()
			return err
		}
		err = fmt.Errorf("%w: %w: %s", errCorrupt, err, firstLine(c.stop()))
	}
	return err
}

func (c *catFile) start() (*catProcess, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.runner.command(ctx, call{gitDir: c.gitDir, args: []string{"cat-file", "--batch-command"}})
	p := &catProcess{cancel: cancel, stderr: &tail{max: 4 << 10}, done: make(chan struct{})}
	cmd.Stderr = p.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start git cat-file: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start git cat-file: %w", err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start git cat-file: %w", err)
	}
	p.in, p.out = in, bufio.NewReaderSize(out, 64<<10)
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is told by what it said
	}()
	c.last = time.Now()
	time.AfterFunc(c.idle, c.endIdle)
	return p, nil
}

// endIdle ends a process that nobody used for a while.
func (c *catFile) endIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return
	}
	if rest := c.idle - time.Since(c.last); rest > 0 {
		time.AfterFunc(rest, c.endIdle)
		return
	}
	c.stop()
}

// stop ends the process and gives what it complained of. c.mu is held.
func (c *catFile) stop() string {
	p := c.process
	if p == nil {
		return ""
	}
	c.process = nil
	_ = p.in.Close()
	p.cancel()
	<-p.done
	return p.stderr.String()
}

// restart makes the next read start anew, as after the mirror was replaced.
func (c *catFile) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
}

func (c *catFile) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.stop()
}

func (p *catProcess) info(id objectID, kind string) (int64, error) {
	if _, err := io.WriteString(p.in, "info "+id.String()+"\n"); err != nil {
		return 0, err
	}
	return p.header(id, kind)
}

func (p *catProcess) header(id objectID, kind string) (int64, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(line)
	if len(fields) == 2 && fields[1] == "missing" {
		return 0, fmt.Errorf("%w: %s", errMissing, id)
	}
	if len(fields) != 3 || fields[0] != id.String() {
		return 0, fmt.Errorf("unexpected answer of git cat-file: %q", clip(line, 120))
	}
	if fields[1] != kind {
		return 0, fmt.Errorf("%w: %s is a %s, not a %s", errMissing, id, fields[1], kind)
	}
	return strconv.ParseInt(fields[2], 10, 64)
}

func (p *catProcess) contents(id objectID, size int64) ([]byte, error) {
	if _, err := io.WriteString(p.in, "contents "+id.String()+"\n"); err != nil {
		return nil, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(line, " "+strconv.FormatInt(size, 10)+"\n") {
		return nil, fmt.Errorf("unexpected answer of git cat-file: %q", clip(line, 120))
	}
	out := make([]byte, size+1)
	if _, err := io.ReadFull(p.out, out); err != nil {
		return nil, err
	}
	return out[:size:size], nil
}
