package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// runner starts the git program, hardened: it never prompts, runs no hook, no
// helper that a repository could choose, and no background maintenance.
type runner struct {
	program string
	home    string   // working directory, in no repository
	env     []string // the environment of every command
	configs int      // GIT_CONFIG_COUNT already in env
	network chan struct{}
}

// call is one run of git.
type call struct {
	gitDir  string // the repository it works in; empty for none
	args    []string
	access  *access  // what it needs to reach a remote; nil for none
	env     []string // further variables, which go before all others
	stdin   io.Reader
	timeout time.Duration
	maxOut  int64
}

// hardening holds for every command, whatever the user's configuration says.
var hardening = []string{
	"-c", "protocol.ext.allow=never",
	"-c", "core.hooksPath=/dev/null",
	"-c", "core.fsmonitor=false",
	"-c", "core.askPass=",
	"-c", "core.fsync=none", // mirrors are a cache that heals itself
	"-c", "gc.auto=0",
	"-c", "maintenance.auto=false",
	"-c", "fetch.recurseSubmodules=no",
	"-c", "fetch.writeCommitGraph=false",
	"-c", "transfer.bundleURI=false",
	"-c", "credential.interactive=false",
	"-c", "http.lowSpeedLimit=1000",
	"-c", "http.lowSpeedTime=30",
	"-c", "advice.fetchShowForcedUpdates=false",
}

// kept are the GIT_ variables that belong to the user's configuration. All
// others (GIT_DIR and the like, set inside hooks) would lead git astray.
var kept = []string{
	"GIT_CONFIG_", "GIT_SSL_", "GIT_SSH", "GIT_HTTP_", "GIT_PROXY_", "GIT_CURL_", "GIT_EXEC_PATH",
}

func newRunner(program, home string, base, extra []string, parallel int) *runner {
	r := &runner{program: program, home: home, network: make(chan struct{}, parallel)}
	for _, entry := range base {
		if keepVariable(entry) {
			r.env = append(r.env, entry)
		}
	}
	r.env = append(r.env, extra...)
	for _, entry := range r.env {
		if n, ok := strings.CutPrefix(entry, "GIT_CONFIG_COUNT="); ok {
			r.configs, _ = strconv.Atoi(n)
		}
	}
	r.env = append(r.env,
		"LC_ALL=C", "LANGUAGE=C",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE=never", "GCM_INTERACTIVE=never",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0",
		"GIT_CEILING_DIRECTORIES="+filepath.Dir(home),
	)
	return r
}

func keepVariable(entry string) bool {
	if !strings.HasPrefix(entry, "GIT_") {
		return true
	}
	for _, prefix := range kept {
		if strings.HasPrefix(entry, prefix) {
			return true
		}
	}
	return false
}

// failure is a git command that ended badly. Its text is not masked.
type failure struct {
	stderr   string
	timedOut bool
	err      error
}

func (f *failure) Error() string {
	if f.stderr == "" {
		return f.err.Error()
	}
	return f.stderr
}

func (f *failure) Unwrap() error { return f.err }

var errTooMuchOutput = errors.New("git printed more than is allowed")

// run runs git to its end and gives what it printed.
func (r *runner) run(ctx context.Context, c call) ([]byte, error) {
	if c.access != nil {
		select {
		case r.network <- struct{}{}:
			defer func() { <-r.network }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if c.maxOut == 0 {
		c.maxOut = 1 << 20
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmd := r.command(ctx, c)
	out := &bounded{max: c.maxOut, full: cancel}
	errOut := &tail{max: 16 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, out, errOut
	err := cmd.Run()
	switch {
	case out.over:
		return nil, fmt.Errorf("%w: git %s: over %d bytes", errTooMuchOutput, c.args[0], c.maxOut)
	case err != nil:
		return nil, &failure{
			stderr:   strings.TrimSpace(errOut.String()),
			timedOut: errors.Is(ctx.Err(), context.DeadlineExceeded),
			err:      fmt.Errorf("git %s: %w", c.args[0], err),
		}
	}
	return out.Bytes(), nil
}

func (r *runner) command(ctx context.Context, c call) *exec.Cmd {
	args := append([]string{}, hardening...)
	cmd := exec.CommandContext(ctx, r.program)
	cmd.Dir = r.home
	cmd.Env = append([]string{}, r.env...)
	if c.gitDir != "" {
		cmd.Env = append(cmd.Env, "GIT_DIR="+c.gitDir)
	}
	if c.access != nil {
		cmd.Env = append(cmd.Env, c.access.environment(r.configs)...)
	}
	cmd.Env = append(cmd.Env, c.env...)
	cmd.Args = append(append(cmd.Args, args...), c.args...)
	ownGroup(cmd)
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// bounded keeps what is written to it up to a size, then stops the writer.
type bounded struct {
	bytes.Buffer
	max  int64
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(b.Len()+len(p)) > b.max {
		b.over = true
		b.full()
		return 0, errTooMuchOutput
	}
	return b.Buffer.Write(p)
}

// tail keeps the last bytes written to it.
type tail struct {
	buf []byte
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }

// available checks that the git program is there and new enough.
func (r *runner) available(ctx context.Context) error {
	out, err := r.run(ctx, call{args: []string{"version"}, timeout: 10 * time.Second})
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("program %q not found: install git 2.36 or newer, or name it in the configuration", r.program)
		}
		return fmt.Errorf("run %q: %w", r.program, err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "git version %d.%d", &major, &minor); err != nil {
		return fmt.Errorf("program %q does not look like git: it says %q", r.program, firstLine(string(out)))
	}
	if major < 2 || major == 2 && minor < 36 {
		return fmt.Errorf("git %d.%d is too old: 2.36 or newer is needed", major, minor)
	}
	return nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
