package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// Program is the git program for those who write to repositories: hardened, and
// given credentials, as it is for reading.
type Program struct {
	runner  *runner
	dir     string
	timeout time.Duration
}

// NewProgram gives the program. Of the options CacheDir, Program, Env, Timeout
// and Parallel count.
func NewProgram(ctx context.Context, opts Options) (*Program, error) {
	if opts.CacheDir == "" {
		return nil, errors.New("git: no directory given")
	}
	opts = withDefaults(opts)
	dir, err := prepareCache(opts.CacheDir)
	if err != nil {
		return nil, err
	}
	p := &Program{dir: dir, timeout: opts.Timeout, runner: newRunner(opts.Program, dir, os.Environ(), opts.Env, opts.Parallel)}
	if err := p.runner.available(ctx); err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	return p, nil
}

// Temp makes a directory for one piece of work, which its user removes. What a
// killed process has left of such is removed by and by.
func (p *Program) Temp() (string, error) { return os.MkdirTemp(p.dir, ".new-write-") }

// Remote is a repository with what opens it.
type Remote struct {
	// URL for git, without a password in it.
	URL    string
	repo   string
	cred   source.Credentials
	access *access
}

// Reach prepares the way to a repository. The remote must be closed.
func (p *Program) Reach(ctx context.Context, repoURL string, cred source.Credentials) (*Remote, error) {
	if err := checkURL(repoURL); err != nil {
		return nil, refused(repoURL, cred, err)
	}
	wire, inURL := withoutPassword(repoURL)
	if inURL != nil && cred.Password == "" && cred.BearerToken == "" {
		cred.Username = inURL.Username()
		cred.Password, _ = inURL.Password()
	}
	out, err := p.runner.run(ctx, call{args: []string{"ls-remote", "--get-url", "--", wire}, timeout: p.timeout})
	if err != nil {
		return nil, explain(repoURL, cred, err)
	}
	effective := strings.TrimSuffix(string(out), "\n")
	if err := checkEffective(effective); err != nil {
		return nil, refused(repoURL, cred, err)
	}
	a, err := newAccess(p.dir+"/tmp", effective, cred)
	if err != nil {
		return nil, err
	}
	return &Remote{URL: wire, repo: repoURL, cred: cred, access: a}, nil
}

// Close removes what was written down of credentials.
func (r *Remote) Close() { r.access.close() }

// Explain makes a user's error of a failed command. It shows no credentials.
func (r *Remote) Explain(err error) error { return explain(r.repo, r.cred, err) }

// Refuse is an error about the repository that trying again does not help.
func (r *Remote) Refuse(err error) error { return refused(r.repo, r.cred, err) }

// Command is one run of git.
type Command struct {
	// Dir is the repository that it works in (GIT_DIR); empty for none.
	Dir  string
	Args []string
	// Env is further variables ("KEY=value").
	Env   []string
	Stdin io.Reader
	// Remote that it reaches; nil for none.
	Remote *Remote
	// MaxOutput bounds what it may print; 1 MiB where zero.
	MaxOutput int64
}

// Run runs git to its end and gives what it printed. The text of an error is
// not masked: it is for Explain, and for Output.
func (p *Program) Run(ctx context.Context, c Command) ([]byte, error) {
	in := call{gitDir: c.Dir, args: c.Args, env: c.Env, stdin: c.Stdin, timeout: p.timeout, maxOut: c.MaxOutput}
	if c.Remote != nil {
		in.access = c.Remote.access
		// What a partial copy lacks may be asked for.
		in.env = append([]string{"GIT_NO_LAZY_FETCH=0"}, c.Env...)
	}
	return p.runner.run(ctx, in)
}

// ExitCode is how a failed command ended; -1 where that is not known.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// CheckBranch refuses what is no name of a branch, or could be taken for
// something else.
func CheckBranch(name string) error {
	switch {
	case name == "":
		return errors.New("the branch's name is empty")
	case len(name) > 200:
		return errors.New("the branch's name has more than 200 characters")
	case strings.HasPrefix(name, "-"), strings.HasPrefix(name, "/"), strings.HasPrefix(name, "refs/"), name == "HEAD", name == "@",
		strings.HasSuffix(name, "/"), strings.HasSuffix(name, "."),
		strings.Contains(name, ".."), strings.Contains(name, "//"), strings.Contains(name, "@{"),
		strings.ContainsAny(name, " ~^:?*[\\\x7f"):
		return fmt.Errorf("%q is no name of a branch", clip(name, 80))
	}
	for _, c := range name {
		if c < 0x20 {
			return fmt.Errorf("%q is no name of a branch", clip(name, 80))
		}
	}
	for _, part := range strings.Split(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return fmt.Errorf("%q is no name of a branch", clip(name, 80))
		}
	}
	return nil
}
