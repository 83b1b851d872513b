package source

import "testing"

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
