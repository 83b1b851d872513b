package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// EngineOptions say how the engine is to run.
type EngineOptions struct {
	// Binary is plumb.
	Binary string
	// Dir keeps the engine's home, its mirrors of repositories and its log.
	Dir string
	// Kubeconfig is the way to the control plane.
	Kubeconfig string
	// Args are further arguments of "plumb server".
	Args []string
	// Env is added to the environment.
	Env []string
}

// Engine is a running "plumb server".
type Engine struct {
	// Pid is its process.
	Pid int
	// Metrics is the address where it tells of itself.
	Metrics string
	// Log is the file with its output.
	Log string

	ended chan struct{}
	err   error
}

// StartEngine starts the engine. It does not wait for it.
func StartEngine(o EngineOptions) (*Engine, error) {
	home := filepath.Join(o.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(o.Dir, "engine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	args := append([]string{"server", "--kubeconfig", o.Kubeconfig, "--listen", address}, o.Args...)
	cmd := exec.Command(o.Binary, args...)
	cmd.Env = append(GitEnvironment(home), o.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	e := &Engine{Metrics: "http://" + address, Log: log.Name(), ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the child would die with the thread that started it
		defer log.Close()
		err := cmd.Start()
		if err == nil {
			e.Pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			e.err = cmd.Wait()
		}
		close(e.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	return e, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Ended is closed when the engine has ended.
func (e *Engine) Ended() <-chan struct{} { return e.ended }

// AwaitReady waits until the engine answers that it works.
func (e *Engine) AwaitReady(ctx context.Context) error {
	err := Await(ctx, func() error {
		select {
		case <-e.ended:
			return nil
		default:
		}
		return e.get(ctx, "/readyz?leading=1", func(*bufio.Scanner) error { return nil })
	})
	select {
	case <-e.ended:
		return fmt.Errorf("the engine ended: %w\n%s", e.err, Tail(e.Log, 20))
	default:
	}
	if err != nil {
		return fmt.Errorf("wait for the engine: %w\n%s", err, Tail(e.Log, 20))
	}
	return nil
}

// Kill ends the engine, and the programs that it started, at once.
func (e *Engine) Kill() {
	_ = syscall.Kill(-e.Pid, syscall.SIGKILL)
	<-e.ended
}

// Stop asks the engine to end, and kills it when it does not within 20 s.
func (e *Engine) Stop() error {
	_ = syscall.Kill(e.Pid, syscall.SIGTERM)
	select {
	case <-e.ended:
		return nil
	case <-time.After(20 * time.Second):
		e.Kill()
		return errors.New("the engine did not end within 20 s of SIGTERM")
	}
}

// Samples are the engine's metrics: by name and labels as they are written.
type Samples map[string]float64

// Sum adds up the samples of a metric whose labels contain all the given texts.
func (s Samples) Sum(name string, labels ...string) float64 {
	total := 0.0
next:
	for key, value := range s {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(key, label) {
				continue next
			}
		}
		total += value
	}
	return total
}

// Scrape reads the engine's metrics.
func (e *Engine) Scrape(ctx context.Context) (Samples, error) {
	samples := Samples{}
	err := e.get(ctx, "/metrics", func(lines *bufio.Scanner) error {
		for lines.Scan() {
			line := lines.Text()
			at := strings.LastIndexByte(line, ' ')
			if at < 0 || strings.HasPrefix(line, "#") {
				continue
			}
			if value, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
				samples[line[:at]] = value
			}
		}
		return lines.Err()
	})
	return samples, err
}

// Profile writes where the engine spends its CPU from now on, for whole seconds,
// to a file. The engine must have been started with --pprof.
func (e *Engine) Profile(ctx context.Context, seconds int, file string) error {
	profile, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = e.read(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), func(body io.Reader) error {
		_, err := io.Copy(profile, body)
		return err
	})
	return errors.Join(err, profile.Close())
}

func (e *Engine) get(ctx context.Context, path string, read func(*bufio.Scanner) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return e.read(ctx, path, func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 1<<20)
		return read(lines)
	})
}

func (e *Engine) read(ctx context.Context, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Metrics+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, response.Status)
	}
	return read(response.Body)
}

// Tail returns the last lines of a file.
func Tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
