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

//go:embed applications/*.yaml infrastructure/*.yaml
var applications embed.FS

//go:embed access/*.yaml
var access embed.FS

// Demo says what of the demo there is to be.
type Demo struct {
	// Dir is the directory that holds all of it.
	Dir string
	// Infrastructure adds an OpenTofu module, and an Application that uses what it
	// makes. It needs a tool that applies modules.
	Infrastructure bool
}

// Repositories are the names of the demo's repositories.
func (d Demo) Repositories() []string {
	names := []string{"shop", "charts", "values"}
	if d.Infrastructure {
		names = append(names, "infra")
	}
	return names
}

// Repository is the directory of one of the repositories.
func (d Demo) Repository(name string) string { return filepath.Join(d.Dir, name) }

// Files is the folder that the demo's infrastructure writes files to.
func (d Demo) Files() string { return filepath.Join(d.Dir, "infra-files") }

// Prepare makes the repositories. What is there already is left as it is: it is
// the user's.
func (d Demo) Prepare(ctx context.Context) error {
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("the demo needs the program git to make its repositories: install git, or start without --demo")
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil { //nolint:gosec // demo content is not secret
		return fmt.Errorf("create the directory of the demo: %w", err)
	}
	for _, name := range d.Repositories() {
		if _, err := os.Stat(d.Repository(name)); err == nil {
			continue
		}
		if err := prepare(ctx, d.Dir, name); err != nil {
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
	return commit(ctx, repository, message)
}

// CommitAs commits as an author, "Name <mail>".
func CommitAs(ctx context.Context, repository, author, message string) error {
	return commit(ctx, repository, message, "--author", author)
}

func commit(ctx context.Context, repository, message string, options ...string) error {
	if _, err := Git(ctx, repository, "add", "--all"); err != nil {
		return err
	}
	_, err := Git(ctx, repository, append([]string{"commit", "--quiet", "--no-verify", "--message", message}, options...)...)
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

// Access gives who may approve what in the demo.
func (d Demo) Access() ([]*unstructured.Unstructured, error) {
	text, err := access.ReadFile("access/payments.yaml")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, part := range strings.Split(string(text), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(part), &object.Object); err != nil {
			return nil, fmt.Errorf("read who may approve what: %w", err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// Applications gives the demo's Applications, in the order of their files.
func (d Demo) Applications() ([]*unstructured.Unstructured, error) {
	dir, err := filepath.Abs(d.Dir)
	if err != nil {
		return nil, err
	}
	functions := template.FuncMap{
		"repo": func(name string) string {
			return (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(dir, name))}).String()
		},
		"files": func() string { return Demo{Dir: dir}.Files() },
	}
	patterns := []string{"applications/*.yaml"}
	if d.Infrastructure {
		patterns = append(patterns, "infrastructure/*.yaml")
	}
	var objects []*unstructured.Unstructured
	for _, pattern := range patterns {
		names, err := fs.Glob(applications, pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			object, err := application(name, functions)
			if err != nil {
				return nil, fmt.Errorf("read the demo's application %s: %w", name, err)
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// application reads one of the files.
func application(name string, functions template.FuncMap) (*unstructured.Unstructured, error) {
	t, err := template.New("").Funcs(functions).ParseFS(applications, name)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.ExecuteTemplate(&text, path.Base(name), nil); err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, yaml.Unmarshal(text.Bytes(), &object.Object)
}
