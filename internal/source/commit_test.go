package source

import (
	"slices"
	"testing"
)

func TestCommitParts(t *testing.T) {
	cases := map[string]struct {
		commit              Commit
		name, mail, subject string
	}{
		"usual":         {Commit{Author: "Ada Byron <ada@example.com>", Message: "fix\n\nbody"}, "Ada Byron", "ada@example.com", "fix"},
		"no mail":       {Commit{Author: "ada", Message: "fix "}, "ada", "", "fix"},
		"nothing known": {},
		"two brackets":  {Commit{Author: "A <a@x> <b@x>"}, "A", "a@x", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.commit.AuthorName() != c.name || c.commit.AuthorEmail() != c.mail || c.commit.Subject() != c.subject {
				t.Errorf("got %q %q %q", c.commit.AuthorName(), c.commit.AuthorEmail(), c.commit.Subject())
			}
		})
	}
}

func TestParents(t *testing.T) {
	for name, c := range map[string]struct {
		reason, raw string
		want        []string
	}{
		"first":   {"the first commit has none", "tree t\nauthor A <a@x> 1 +0000\n\nparent a\n", nil},
		"merge":   {"in their order", "tree t\nparent a\nparent b\nauthor A <a@x> 1 +0000\n\nm\n", []string{"a", "b"}},
		"forged":  {"what stands after the author is none for Git", "tree t\nparent a\nauthor A <a@x> 1 +0000\nparent b\n\nm\n", []string{"a"}},
		"signed":  {"and what is folded is text", "tree 1\nparent a\nparent b\nauthor x\nparent c\ncommitter x\ngpgsig -\n parent d\n\nparent e\n", []string{"a", "b"}},
		"nothing": {"no commit at all", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Parents([]byte(c.raw)); !slices.Equal(got, c.want) {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}
