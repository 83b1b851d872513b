package tofu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Modules from private Git repositories are copied by Plumb, with the credentials
// that it has for them, and init is told to clone from the copies. So init, in
// which functions of the module may run already, has no credentials.

// fetch copies what the project has credentials for, and gives the environment by
// which git takes the copies.
func (m *module) fetch(ctx context.Context, sources []string) ([]string, error) {
	if m.clone == nil {
		return nil, nil
	}
	m.called = map[string]bool{}
	var repos []string
	revisions := map[string][]string{}
	for _, s := range sources {
		repo := gitRepository(s)
		if repo == "" {
			if err := m.unseen(ctx, s); err != nil {
				return nil, err
			}
			continue
		}
		if revision := gitRevision(s); !slices.Contains(revisions[repo], revision) {
			revisions[repo] = append(revisions[repo], revision)
		}
		if !m.called[repo] {
			m.called[repo] = true
			repos = append(repos, repo)
		}
	}
	const most = 50
	if len(repos) > most {
		return nil, fmt.Errorf("the module calls modules of more than %d Git repositories", most)
	}
	var pairs [][2]string
	copied := map[string]bool{}
	for _, repo := range repos {
		sum := sha256.Sum256([]byte(repo))
		name := hex.EncodeToString(sum[:8]) + ".git"
		dir := m.path("git", name)
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for the copies of repositories: %w", err)
		}
		done, err := m.clone(ctx, repo, revisions[repo], dir)
		if err != nil {
			return nil, fmt.Errorf("the module calls a module of a Git repository: %w", err)
		}
		to := repo // else, one whose URL begins with that of a copied one would be taken for that
		if done {
			to, copied[name] = "file://"+dir, true
		}
		pairs = append(pairs, [2]string{"url." + to + ".insteadOf", repo})
	}
	if len(copied) == 0 {
		return nil, m.removeCopies(copied)
	}
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(pairs))}
	for i, p := range pairs {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+p[0], "GIT_CONFIG_VALUE_"+n+"="+p[1])
	}
	return env, m.removeCopies(copied)
}

// unseen makes sure that the program may clone by itself what Plumb can't copy.
func (m *module) unseen(ctx context.Context, source string) error {
	if address := gitAddress(source); address != "" && m.clone != nil {
		if _, err := m.clone(ctx, address, nil, ""); err != nil {
			return fmt.Errorf("the module calls a module of a Git repository: %w", err)
		}
	}
	return nil
}

// expected looks at what init has downloaded: also from repositories that are named
// by expressions, which only the program knows.
func (m *module) expected(sources []string) error {
	for _, s := range sources {
		if m.called[gitRepository(s)] {
			continue
		}
		if err := m.unseen(context.Background(), s); err != nil {
			return err
		}
	}
	return nil
}

// gitRevision is the revision that a source asks for, or empty.
func gitRevision(source string) string {
	_, query, _ := strings.Cut(source, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "?" + query // no revision is called so
	}
	return values.Get("ref")
}

// gitAddress is what the program would give to git, however it is written, or empty
// where that is nothing.
func gitAddress(source string) string {
	if repo := gitRepository(source); repo != "" {
		return repo
	}
	text, forced := strings.CutPrefix(source, "git::")
	text, _, _ = strings.Cut(text, "?")
	switch {
	case strings.HasPrefix(text, "bitbucket.org/"):
		return "https://" + text
	case forced, scp.MatchString(text), strings.HasPrefix(text, "ssh://"), strings.HasPrefix(text, "git://"):
		return text
	}
	return ""
}

// removeCopies removes those of repositories that the module calls no more.
func (m *module) removeCopies(but map[string]bool) error {
	entries, _ := os.ReadDir(m.path("git")) // where there is none, there is nothing to do
	for _, e := range entries {
		if !but[e.Name()] {
			if err := os.RemoveAll(m.path("git", e.Name())); err != nil {
				return fmt.Errorf("remove the copy of a repository: %w", err)
			}
		}
	}
	return nil
}

// scp is how ssh addresses are written without a scheme. A user is needed: else,
// it may be the address of a registry with a port.
var scp = regexp.MustCompile(`^([A-Za-z0-9][\w.-]*)@([A-Za-z0-9][\w.-]*):/?([^:].*)$`)

// gitRepository is the URL that the program gives to git for a source, or empty
// where the source is no Git repository's.
func gitRepository(source string) string {
	text, forced := strings.CutPrefix(source, "git::")
	if !forced {
		if strings.Contains(source, "::") {
			return ""
		}
		for _, host := range []string{"github.com/", "gitlab.com/"} {
			if rest, is := strings.CutPrefix(text, host); is {
				return hosted(host, rest)
			}
		}
	}
	text, _, _ = strings.Cut(text, "?")
	if parts := scp.FindStringSubmatch(text); parts != nil {
		text = "ssh://" + parts[1] + "@" + parts[2] + "/" + parts[3]
	} else if !forced && !strings.HasPrefix(text, "ssh://") && !strings.HasPrefix(text, "git://") {
		return ""
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !slices.Contains([]string{"https", "http", "ssh", "git"}, scheme) {
		return ""
	}
	rest, _, _ = strings.Cut(rest, "//") // the folder in the repository
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || u.Host == "" || strings.HasPrefix(u.Host, "-") {
		return ""
	}
	if _, secret := u.User.Password(); secret { // it brings its own
		return ""
	}
	return u.String()
}

// hosted is a repository at a host whose addresses need no scheme.
func hosted(host, rest string) string {
	rest, _, _ = strings.Cut(rest, "?")
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return ""
	}
	return "https://" + path.Join(host, parts[0], strings.TrimSuffix(parts[1], ".git")) + ".git"
}
