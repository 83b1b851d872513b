// Package demo holds the examples of `plumb up --demo`: local Git repositories
// and the Applications that declare them. It makes repositories and manifests,
// and knows no cluster.
package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

//go:embed all:content
var content embed.FS

//go:embed applications/*.yaml
var applications embed.FS

// Repositories are the names of the demo's repositories.
func Repositories() []string { return []string{"shop", "charts", "values"} }

// Prepare makes the repositories below a directory. What is there already is
// left as it is: it is the user's.
func Prepare(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("the demo needs the program git to make its repositories: install git, or start without --demo")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // demo content is not secret
		return fmt.Errorf("create the directory of the demo: %w", err)
	}
	for _, name := range Repositories() {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			continue
		}
		if err := prepare(ctx, dir, name); err != nil {
			return fmt.Errorf("make the demo's repository %s: %w", name, err)
		}
	}
	return nil
}

// prepare makes one repository aside and moves it to its place when it is whole.
func prepare(ctx context.Context, dir, name string) error {
	files, err := fs.Sub(content, path.Join("content", name))
	if err != nil {
		return err
	}
	aside, err := os.MkdirTemp(dir, ".new-"+name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	work := filepath.Join(aside, name)
	if err := os.CopyFS(work, files); err != nil {
		return err
	}
	if _, err := Git(ctx, work, "init", "--quiet", "--initial-branch=main"); err != nil {
		return err
	}
	// Who commits by hand later may have no name set.
	for key, value := range map[string]string{"user.name": "Demo", "user.email": "demo@plumb.invalid", "commit.gpgsign": "false"} {
		if _, err := Git(ctx, work, "config", key, value); err != nil {
			return err
		}
	}
	if err := Commit(ctx, work, "Declare the demo"); err != nil {
		return err
	}
	return os.Rename(work, filepath.Join(dir, name))
}

// Commit commits all that was changed in a repository of the demo.
func Commit(ctx context.Context, repository, message string) error {
	if _, err := Git(ctx, repository, "add", "--all"); err != nil {
		return err
	}
	_, err := Git(ctx, repository, "commit", "--quiet", "--no-verify", "--message", message)
	return err
}

// Git runs git in a repository of the demo and gives what it prints.
func Git(ctx context.Context, repository string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", repository}, args...)...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(problem.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Applications gives the demo's Applications, whose repositories are below a
// directory, in the order of their files.
func Applications(dir string) ([]*unstructured.Unstructured, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	repo := func(name string) string {
		return (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(dir, name))}).String()
	}
	t, err := template.New("").Funcs(template.FuncMap{"repo": repo}).ParseFS(applications, "applications/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read the demo's applications: %w", err)
	}
	names, err := fs.Glob(applications, "applications/*.yaml")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, name := range names {
		var text bytes.Buffer
		if err := t.ExecuteTemplate(&text, path.Base(name), nil); err != nil {
			return nil, fmt.Errorf("read the demo's application %s: %w", name, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text.Bytes(), &object.Object); err != nil {
			return nil, fmt.Errorf("read the demo's application %s: %w", name, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}
