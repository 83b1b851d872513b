package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source"
)

// fakePast is a repository whose commits have makers and parents.
type fakePast struct {
	*fakeGit
	raw map[string]string
}

// made makes the head a commit of somebody.
func (g *fakePast) made(author, committer, message string, parents ...string) {
	text := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
	for _, p := range parents {
		text += "parent " + p + "\n"
	}
	g.raw[g.revision()] = text + fmt.Sprintf("author %s 0 +0000\ncommitter %s 0 +0000\n\n%s\n", author, committer, message)
}

func (g *fakePast) Describe(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials) (source.Commit, error) {
	_, rest, _ := strings.Cut(g.raw[at.Revision], "author ")
	author, _, _ := strings.Cut(rest, " 0 +0000")
	return source.Commit{Author: author, Message: "change a"}, nil
}

func (g *fakePast) Signatures(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials, visit func(source.Object) bool) error {
	visit(source.Object{ID: at.Revision, Raw: []byte(g.raw[at.Revision])})
	return nil
}

func (g *fakePast) History(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials, visit func(source.Object) bool) error {
	seen := map[string]bool{}
	for next := []string{at.Revision}; len(next) > 0; next = next[1:] {
		if id := next[0]; !seen[id] {
			seen[id] = true
			if visit(source.Object{ID: id, Raw: []byte(g.raw[id])}) {
				next = append(next, source.Parents([]byte(g.raw[id]))...)
			}
		}
	}
	return nil
}

const (
	mallory = "Mallory <mallory@example.com>"
	eve     = "Eve <eve@example.com>"
)

func TestWhoHasMadeAChange(t *testing.T) {
	cases := map[string]struct {
		reason string
		push   func(g *fakePast)
		want   []string
	}{
		"One": {"its author has made a commit", func(g *fakePast) {
			g.commit(files("web", "2"))
			g.made(mallory, mallory, "change", "commit-1")
		}, []string{"mallory", "mallory@example.com"}},
		"Committer": {"who commits what another is said to have written has made it, too", func(g *fakePast) {
			g.commit(files("web", "2"))
			g.made(eve, mallory, "change", "commit-1")
		}, []string{"eve", "eve@example.com", "mallory", "mallory@example.com"}},
		"CoAuthor": {"co-authors are authors", func(g *fakePast) {
			g.commit(files("web", "2"))
			g.made(eve, eve, "change\n\nco-authored-by: 12+mal-lory <12+mallory@users.noreply.github.com>", "commit-1")
		}, []string{"12+mal-lory", "12+mallory", "12+mallory@users.noreply.github.com", "eve", "eve@example.com", "mallory"}},
		"Behind": {"a commit on top does not hide the one below it", func(g *fakePast) {
			g.commit(files("web", "2"))
			g.made(mallory, mallory, "evil", "commit-1")
			g.commit(files("web", "2"))
			g.made(eve, eve, "innocent", "commit-2")
		}, []string{"eve", "eve@example.com", "mallory", "mallory@example.com"}},
		"Merge": {"who has made what is merged has made it, not only who merges it", func(g *fakePast) {
			g.commit(files("web", "2"))
			g.made(mallory, mallory, "evil", "commit-1")
			g.commit(files("web", "2"))
			g.made(eve, eve, "merge", "commit-1", "commit-2")
		}, []string{"eve", "eve@example.com", "mallory", "mallory@example.com"}},
		"Elsewhere": {"who has changed something else, which nobody had to approve, has not made it", func(g *fakePast) {
			g.commit(files("web", "1"))
			g.made("Joe <joe@example.com>", eve, "elsewhere", "commit-1")
		}, []string{"mallory", "mallory@example.com"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, f := newApprovalStory(t)
			g := &fakePast{fakeGit: s.git, raw: map[string]string{}}
			s.e.Sources.Git = g
			g.commit(files("web", "1"))
			g.made("Joe <joe@example.com>", "Joe <joe@example.com>", "first")
			s.app("web", nil)
			s.tell("an Application appears")
			s.app("web", approval(nil))
			c.push(g)
			s.tell("a push")
			if name == "Elsewhere" {
				g.commit(files("web", "2"))
				g.made(mallory, mallory, "change", "commit-2")
				s.tell("another")
			}
			if len(f.plans) != 1 {
				t.Fatalf("there are %d plans:\n%s", len(f.plans), s.text.String())
			}
			if diff := cmp.Diff(c.want, f.plans[0].Spec.Authors); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			f.said("https://login.example#mallory@example.com", v1alpha1.DecisionApprove)
			s.tell("Mallory approves")
			if f.plans[0].Status.Phase != v1alpha1.PlanPending && name != "CoAuthor" {
				t.Errorf("who has made it may not approve it: %s", f.plans[0].Status.Phase)
			}
		})
	}
}

func TestIsAuthor(t *testing.T) {
	authors := []string{"ann", "ann@example.com"}
	for user, want := range map[string]bool{
		"ann": true, "Ann": true, "oidc:ann@example.com": true, "https://login.example#ANN": true, `CORP\ann`: true, "sso/ann": true,
		"joann": false, "bob": false, "ann@example.org": false, "": false,
	} {
		if got := isAuthor(user, authors); got != want {
			t.Errorf("%s: got %t", user, got)
		}
	}
}

func TestTooManyAuthorsHideNobody(t *testing.T) {
	s, f := newApprovalStory(t)
	g := &fakePast{fakeGit: s.git, raw: map[string]string{}}
	s.e.Sources.Git = g
	g.commit(files("web", "1"))
	var crowd strings.Builder
	for i := range mostAuthors {
		fmt.Fprintf(&crowd, "Co-authored-by: A%04d <a%04d@example.com>\n", i, i)
	}
	g.made(mallory, mallory, "evil\n\n"+crowd.String())
	s.app("web", approval(nil))
	s.tell("a commit of a crowd")
	if len(f.plans) > 0 || !strings.Contains(s.text.String(), "too many people have made the change") {
		t.Errorf("who is not told of may approve:\n%s", s.text.String())
	}
}

// TestAuthorsOfHooks counts who has made what ran with a later change, and made no
// difference before.
func TestAuthorsOfHooks(t *testing.T) {
	s, f, g, _ := newMergeStory(t, nil)
	hook := map[string]string{"web/hook.yaml": object("Job", "hook", "1", "hook=PreSync")}
	for name, text := range files("web", "1", "1") {
		hook[name] = text
	}
	g.commit(hook)
	g.made("Ann <ann@example.com>", "Ann <ann@example.com>", "hook", "commit-1")
	s.run()
	both := map[string]string{"web/hook.yaml": hook["web/hook.yaml"]}
	for name, text := range files("web", "2", "1") {
		both[name] = text
	}
	g.push(both, "commit-2")
	s.run()
	if last := f.plans[len(f.plans)-1]; !slices.Contains(last.Spec.Authors, "ann") {
		t.Errorf("authors are %v", last.Spec.Authors)
	}
}
