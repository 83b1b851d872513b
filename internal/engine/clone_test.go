package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/plumb-dev/plumb/internal/source"
)

// copier is a source that notes what is copied with which password.
type copier struct {
	source.Source
	copied map[string]string
}

func (c *copier) Copy(_ context.Context, repo string, cred source.Credentials, _ string) error {
	c.copied[repo] = cred.Password
	return nil
}

// secretsOf opens one repository for one project.
type secretsOf map[string]source.Credentials

func (s secretsOf) For(repo, project string) (source.Credentials, error) {
	return s[project+" "+repo], nil
}

// narrow permits one source.
type narrow struct {
	open
	repo string
}

func (n narrow) AllowSource(repo string) error {
	if repo != n.repo {
		return errors.New("not permitted")
	}
	return nil
}

func TestClone(t *testing.T) {
	const mine, theirs = "https://git.example.com/mine.git", "https://git.example.com/theirs.git"
	password := source.Credentials{Password: "p"}
	cred := secretsOf{"shop " + mine: password, "shop " + theirs: password}
	for name, tc := range map[string]struct {
		reason, repo, project string
		done, fails           bool
	}{
		"own":     {"there are credentials, and it is permitted", mine, "shop", true, false},
		"fenced":  {"the project does not permit it", theirs, "shop", false, true},
		"other":   {"the credentials are another project's", mine, "web", false, false},
		"unknown": {"there are none: whoever needs none does it alone", "https://git.example.com/public.git", "shop", false, false},
	} {
		git := &copier{copied: map[string]string{}}
		f := fetcher{New(Options{Credentials: cred, Sources: Sources{Git: git}}), narrow{repo: mine}, tc.project, nil, Key{}}
		done, err := f.clone(t.Context(), tc.repo, t.TempDir())
		if done != tc.done || (err != nil) != tc.fails || len(git.copied) > 0 != tc.done {
			t.Errorf("%s: %s: %v, %v, copied %v", name, tc.reason, done, err, git.copied)
		}
	}
}
