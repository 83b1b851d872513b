package harness

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Repository is a bare Git repository with somebody who pushes to it.
type Repository struct {
	// Path is the repository that is pushed to.
	Path string
	// author is the repository that is pushed from.
	author string
	env    []string
}

// NewRepository makes the repository dir/NAME.git.
func NewRepository(ctx context.Context, dir, name string) (*Repository, error) {
	r := &Repository{
		Path: filepath.Join(dir, name+".git"), author: filepath.Join(dir, "authors", name+".git"),
		env: GitEnvironment(dir),
	}
	for _, path := range []string{r.Path, r.author} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		if _, err := r.git(ctx, path, nil, "init", "-q", "--bare", "-b", "main"); err != nil {
			return nil, err
		}
		for _, setting := range []string{"gc.auto=0", "receive.autogc=false"} {
			key, value, _ := strings.Cut(setting, "=")
			if _, err := r.git(ctx, path, nil, "config", key, value); err != nil {
				return nil, err
			}
		}
	}
	_, err := r.git(ctx, r.author, nil, "remote", "add", "origin", r.Path)
	return r, err
}

// GitEnvironment is one in which the user's own settings do not count.
func GitEnvironment(home string) []string {
	return []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
	}
}

// Commit commits files by their paths (nil removes one) without pushing them,
// and returns the commit's id.
func (r *Repository) Commit(ctx context.Context, files map[string][]byte, message string) (string, error) {
	var in bytes.Buffer
	fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Bench <bench@plumb.dev> %d +0000\n", time.Now().Unix())
	fmt.Fprintf(&in, "data %d\n%s\n", len(message), message)
	if _, err := r.git(ctx, r.author, nil, "rev-parse", "-q", "--verify", "refs/heads/main"); err == nil {
		fmt.Fprintln(&in, "from refs/heads/main^0")
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if content := files[path]; content == nil {
			fmt.Fprintf(&in, "D %s\n", path)
		} else {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(content), content)
		}
	}
	if _, err := r.git(ctx, r.author, &in, "fast-import", "--quiet", "--date-format=raw"); err != nil {
		return "", err
	}
	return r.git(ctx, r.author, nil, "rev-parse", "refs/heads/main")
}

// Push pushes what is committed.
func (r *Repository) Push(ctx context.Context) error {
	_, err := r.git(ctx, r.author, nil, "push", "-q", "origin", "refs/heads/main")
	return err
}

func (r *Repository) git(ctx context.Context, dir string, in *bytes.Buffer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = r.env
	if in != nil {
		cmd.Stdin = in
	}
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(problem.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
