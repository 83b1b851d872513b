package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source"
)

// noting is a source that notes what is copied with which password.
type noting struct {
	source.Source
	copied map[string]string
}

func (c *noting) CopyAt(context.Context, string, source.Credentials, string, map[string]string) error {
	panic("nobody asks for signatures")
}

func (c *noting) Copy(_ context.Context, repo string, cred source.Credentials, _ string) error {
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
		git := &noting{copied: map[string]string{}}
		f := fetcher{New(Options{Credentials: cred, Sources: Sources{Git: git}}), narrow{repo: mine}, tc.project, nil, Key{}}
		done, err := f.clone(t.Context(), tc.repo, []string{""}, t.TempDir())
		if done != tc.done || (err != nil) != tc.fails || len(git.copied) > 0 != tc.done {
			t.Errorf("%s: %s: %v, %v, copied %v", name, tc.reason, done, err, git.copied)
		}
	}
}

// signedCopier notes which commits of a signed repository are copied.
type signedCopier struct {
	*fakeSigned
	copied map[string]string
	whole  int
}

func (c *signedCopier) Copy(context.Context, string, source.Credentials, string) error {
	c.whole++
	return nil
}

func (c *signedCopier) CopyAt(_ context.Context, _ string, _ source.Credentials, _ string, commits map[string]string) error {
	c.copied = commits
	return nil
}

func TestCloneOfSignedRepositories(t *testing.T) {
	ada := signer(0)
	r := &rule{}
	s, g := signedStory(t, r)
	git := &signedCopier{fakeSigned: g}
	s.e.Sources.Git = git
	f := fetcher{e: s.e, fence: open{}, project: "shop", app: &v1alpha1.Application{}, key: Key{Name: "web"}}
	clone := func(dir string) (bool, error) {
		return f.clone(t.Context(), "https://git.example.com/mod.git", []string{""}, dir)
	}
	g.commit(webAt("1"))
	g.sign(nil, "one\n")
	if done, err := clone(t.TempDir()); done || err != nil || git.whole > 0 {
		t.Errorf("nobody asks for signatures: %v, %v", done, err)
	}
	if _, err := clone(""); err != nil {
		t.Errorf("nobody asks for signatures: %v", err)
	}
	r.of = allowing(t, false, ada)
	var refused untrusted
	if _, err := clone(t.TempDir()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "https://git.example.com/mod.git") || git.copied != nil {
		t.Errorf("what is not signed is refused by name: %v, copied %v", err, git.copied)
	}
	if _, err := clone(""); !errors.As(err, &refused) || !strings.Contains(err.Error(), "can't be verified") {
		t.Errorf("what nobody can verify is refused: %v", err)
	}
	g.commit(webAt("2"))
	g.sign(ada, "two\n")
	if done, err := clone(t.TempDir()); !done || err != nil || git.whole > 0 {
		t.Errorf("what is signed is copied, also where no credentials are needed: %v, %v", done, err)
	}
	if diff := cmp.Diff(map[string]string{"": g.revision()}, git.copied); diff != "" {
		t.Errorf("what is copied is what was verified (-want +got):\n%s", diff)
	}
}
