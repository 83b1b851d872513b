package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
)

// glance is how often a process that is not our child, and what processes
// write, is looked at.
const glance = 100 * time.Millisecond

// ended is how a process ended.
type ended struct {
	// code is the exit code, -1 where nobody can tell: it was not our child, or a
	// signal ended it.
	code        int
	ours        bool
	interrupted bool
	out         *output
}

// job is a command to run.
type job struct {
	operation string
	args      []string
	planFile  string
	env       func([]string) []string
	progress  func(Event)
	// writes and reads are further paths that it may write, or read.
	writes, reads []string
}

// execute runs the program on its own feet: in a session of its own, with files
// for its output, noted in the folder's record.
func (r *Runner) execute(ctx context.Context, j job) (*ended, error) {
	if err := ctx.Err(); err != nil {
		return nil, r.cancelled(j.operation, ctx)
	}
	if rec, running := Running(r.folder); running {
		return nil, &Error{Kind: KindBusy, Operation: j.operation, Cause: fmt.Errorf("%s (process %d, since %s) is still under way", rec.Operation, rec.PID, rec.Started.UTC().Format(time.RFC3339))}
	}
	if err := r.remember(); err != nil {
		return nil, err
	}
	rec := Record{ID: rand.Text(), Operation: j.operation, Started: time.Now().UTC(), PlanFile: j.planFile, Who: who(), Supervised: true}
	if err := errors.Join(r.tidy(), r.freshHome(), r.contained()); err != nil {
		return nil, err
	}
	if err := r.folder.writeRecord(rec); err != nil {
		return nil, err
	}
	cmd, err := r.start(j, rec.ID)
	if err != nil {
		rec.Ended, rec.Read = time.Now().UTC(), true
		return nil, errors.Join(&Error{Kind: KindProgram, Operation: j.operation, Cause: fmt.Errorf("start %s: %w", filepath.Base(r.config.Program), err)}, r.folder.writeRecord(rec))
	}
	done := make(chan error, 1)
	rec.PID, rec.Boot, rec.Start = cmd.Process.Pid, bootID(), startOf(cmd.Process.Pid) // before it is waited for: the number is its own
	go func() { done <- cmd.Wait() }()
	noted := r.folder.writeRecord(rec)
	e, err := r.follow(ctx, rec, j.progress, done)
	if err != nil {
		return nil, err
	}
	return e, noted
}

func (r *Runner) start(j job, id string) (*exec.Cmd, error) {
	stdout, err := os.OpenFile(r.folder.stdout(id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := os.OpenFile(r.folder.stderr(id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stderr.Close() }()
	cmd := exec.CommandContext(context.Background(), r.config.Program, j.args...) // follow cancels it, with more care
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.folder.Module, stdout, stderr
	cmd.Env = r.environment(id)
	if j.env != nil {
		cmd.Env = j.env(cmd.Env)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := r.config.Fence.Confine(cmd, r.reach(j)); err != nil {
		return nil, err
	}
	isolate.Supervise(cmd) // what a module leaves in the background keeps no rights
	return cmd, cmd.Start()
}

type detachKey struct{}

// Detachable gives a context whose program is left running once detach is closed,
// also where it was asked to end before and has not yet.
func Detachable(ctx context.Context, detach <-chan struct{}) context.Context {
	return context.WithValue(ctx, detachKey{}, detach)
}

// follow reads what a process writes until it ends. done is nil for a process
// that an earlier caller started.
func (r *Runner) follow(ctx context.Context, rec Record, progress func(Event), done <-chan error) (*ended, error) {
	e := &ended{code: -1, ours: done != nil, out: r.newOutput(progress)}
	tail := &tail{path: r.folder.stdout(rec.ID), line: e.out.line}
	defer tail.close()
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	cancel, kill := ctx.Done(), (<-chan time.Time)(nil)
	detach, _ := ctx.Value(detachKey{}).(<-chan struct{})
	for over, asked := false, false; !over; {
		select {
		case err := <-done:
			e.code, over = exitCode(err), true
		case <-cancel:
			if errors.Is(context.Cause(ctx), ErrDetached) {
				return nil, ErrDetached
			}
			cancel, e.interrupted = nil, true
			asked = rec.interrupt()
			if r.config.Grace > 0 {
				kill = time.After(r.config.Grace)
			}
		case <-detach:
			return nil, ErrDetached
		case <-kill:
			kill = nil
			rec.kill()
		case <-ticker.C:
			over = done == nil && !rec.alive()
			if e.interrupted && !asked { // it had not begun yet
				asked = rec.interrupt()
			}
		}
		if err := tail.read(); err != nil {
			return nil, fmt.Errorf("read the output of %s: %w", rec.Operation, err)
		}
	}
	tail.flush()
	e.out.finish(readSome(r.folder.stderr(rec.ID)))
	return e, r.over(rec, e.code == -1 && (e.ours || !e.out.concluded()), done != nil)
}

// over notes the end of a run, once what it has left is safe.
func (r *Runner) over(rec Record, killed, read bool) error {
	if err := r.rescue(); err != nil {
		return err
	}
	rec.Ended, rec.Killed = time.Now().UTC(), killed
	rec.Read = read && !rec.Unsettled()
	if killed {
		killProcesses(rec.ID) // providers outlive a program that was killed
		if err := r.keepKilled(rec); err != nil {
			return err
		}
	}
	return r.folder.writeRecord(rec)
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}

// remember notes the end of a process that nobody waited for.
func (r *Runner) remember() error {
	rec, err := r.folder.readRecord()
	if err != nil || rec == nil || !rec.Ended.IsZero() {
		return err
	}
	out := r.newOutput(nil)
	tail := &tail{path: r.folder.stdout(rec.ID), line: out.line}
	defer tail.close()
	if err := tail.read(); err != nil {
		return fmt.Errorf("read the output of %s: %w", rec.Operation, err)
	}
	return r.over(*rec, !out.concluded(), false)
}

// tidy removes the output of runs but the last.
func (r *Runner) tidy() error {
	last, err := r.folder.readRecord()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(r.folder.output())
	if err != nil {
		return fmt.Errorf("tidy the working folder: %w", err)
	}
	for _, entry := range entries {
		if last != nil && strings.HasPrefix(entry.Name(), last.ID+".") {
			continue
		}
		if err := os.Remove(filepath.Join(r.folder.output(), entry.Name())); err != nil {
			return fmt.Errorf("tidy the working folder: %w", err)
		}
	}
	return nil
}

// queryID is what the processes of queries bear instead of the id of a run.
func (f Folder) queryID() string {
	sum := sha256.Sum256([]byte(f.Path))
	return "query-" + hex.EncodeToString(sum[:12])
}

// query runs a command that changes nothing and returns what it printed.
func (r *Runner) query(ctx context.Context, operation string, env func([]string) []string, args ...string) ([]byte, error) {
	return r.queryFile(ctx, "", operation, env, args...)
}

// queryFile is a query that reads a file, which may be anywhere.
func (r *Runner) queryFile(ctx context.Context, file, operation string, env func([]string) []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.config.Program, args...)
	cmd.Dir, cmd.Env = r.folder.Module, r.environment(r.folder.queryID())
	if env != nil {
		cmd.Env = env(cmd.Env)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := errors.Join(r.contained(), r.config.Fence.Confine(cmd, r.queryReach(file))); err != nil {
		return nil, &Error{Kind: KindProgram, Operation: operation, Cause: err}
	}
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == -1 { // its providers outlive a program that was killed
		_ = syscall.Kill(-cmd.ProcessState.Pid(), syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		return nil, r.cancelled(operation, ctx)
	}
	out := r.newOutput(nil)
	for line := range bytes.Lines(stdout.Bytes()) {
		out.line(line)
	}
	out.finish(stderr.String())
	return nil, r.failed(operation, out, fmt.Errorf("%s %s: %w", filepath.Base(r.config.Program), operation, err))
}

// failed makes an error of what a program said, or where it said nothing, of
// how it ended.
func (r *Runner) failed(operation string, out *output, how error) error {
	if len(out.errors()) > 0 {
		return failure(operation, out.diagnostics)
	}
	said := r.masker.Mask(strings.TrimSpace(out.rest.String()))
	if said != "" {
		how = fmt.Errorf("%w: %s", how, last(said, 2000))
		if r.config.Fence.Active() && strings.Contains(strings.ToLower(said), "permission denied") {
			return &Error{Kind: KindReach, Operation: operation, Diagnostics: out.diagnostics, Cause: how}
		}
	}
	return &Error{Kind: KindProgram, Operation: operation, Diagnostics: out.diagnostics, Cause: how}
}

func (r *Runner) cancelled(operation string, ctx context.Context) error {
	return &Error{Kind: KindCancelled, Operation: operation, Cause: fmt.Errorf("%s was cancelled: %w", operation, context.Cause(ctx))}
}

// verdict tells how a run went, whoever waited for it: nil for one of the given
// exit codes. A stranger's exit code is not known; then what it said decides.
func (r *Runner) verdict(ctx context.Context, operation string, e *ended, good ...int) error {
	for _, code := range good {
		if e.code == code {
			return nil
		}
	}
	if !e.ours && e.out.concluded() && len(e.out.errors()) == 0 {
		return nil
	}
	switch {
	case e.interrupted:
		return &Error{Kind: KindCancelled, Operation: operation, Diagnostics: e.out.diagnostics, Cause: fmt.Errorf("%s was cancelled: %w", operation, context.Cause(ctx))}
	case e.code == -1 && len(e.out.errors()) == 0:
		return &Error{Kind: KindKilled, Operation: operation, Diagnostics: e.out.diagnostics, Cause: fmt.Errorf("%s died before it had said how it went", operation)}
	default:
		return r.failed(operation, e.out, fmt.Errorf("%s: exit status %d", operation, e.code))
	}
}

// who is what the programs write into a lock as its holder.
func who() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}

// readSome reads as much of a file as is worth showing.
func readSome(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	b, _ := io.ReadAll(io.LimitReader(file, 1<<20))
	return string(b)
}

func last(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return "…" + strings.ToValidUTF8(text[len(text)-n:], "")
}

// tail reads the lines of a file as it grows.
type tail struct {
	path string
	line func([]byte)
	file *os.File
	rest []byte
}

// maxLine bounds a line of output; longer ones are dropped.
const maxLine = 4 << 20

func (t *tail) read() error {
	if t.file == nil {
		file, err := os.Open(t.path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		t.file = file
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := t.file.Read(buffer)
		t.rest = append(t.rest, buffer[:n]...)
		for {
			line, rest, found := bytes.Cut(t.rest, []byte{'\n'})
			if !found {
				break
			}
			t.line(line)
			t.rest = rest
		}
		if len(t.rest) > maxLine {
			t.rest = nil
		}
		if errors.Is(err, io.EOF) || n == 0 {
			t.rest = bytes.Clone(t.rest)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tail) flush() {
	if len(t.rest) > 0 {
		t.line(t.rest)
		t.rest = nil
	}
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}
