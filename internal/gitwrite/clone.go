package gitwrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/source/git"
)

// clone is a bare, partial copy that lives for one attempt.
type clone struct {
	git    *git.Program
	remote *git.Remote
	dir    string
	zero   string // the id of nothing

	base, branch   string // names of branches
	head, baseTree string // of the base
	tip            string // of the branch, where it exists already
}

// clone fetches the head of the base, with so much of its history.
func (w *Writer) clone(ctx context.Context, remote *git.Remote, o Options, depth int) (*clone, error) {
	c := &clone{git: w.git, remote: remote, base: o.Base, branch: o.Branch}
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	if o.Direct && c.branch == "" {
		c.branch = c.base
	}
	switch {
	case c.branch == c.base && !o.Direct:
		return nil, remote.Refuse(fmt.Errorf("%s is the branch itself that is tracked: name another one", c.base))
	case c.branch == c.base:
		c.tip = c.head
	}
	dir, err := w.git.Temp()
	if err != nil {
		return nil, fmt.Errorf("directory for a copy: %w", err)
	}
	c.dir = dir
	if err := c.prepare(ctx, depth); err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

func (c *clone) remove() { _ = os.RemoveAll(c.dir) }

// look finds the branches.
func (c *clone) look(ctx context.Context) error {
	args := []string{"ls-remote", "--symref", "--", c.remote.URL, "HEAD"}
	for _, name := range []string{c.base, c.branch} {
		if name != "" {
			args = append(args, "refs/heads/"+name)
		}
	}
	out, err := c.git.Run(ctx, git.Command{Args: args, Remote: c.remote})
	if err != nil {
		return c.remote.Explain(err)
	}
	ids, byHead := map[string]string{}, c.base == ""
	for line := range strings.Lines(string(out)) {
		id, name, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if target, isRef := strings.CutPrefix(id, "ref: "); ok && isRef && name == "HEAD" && byHead {
			c.base = strings.TrimPrefix(target, "refs/heads/")
		} else if ok {
			ids[name] = id
		}
	}
	if c.base == "" {
		return c.remote.Refuse(errors.New("it does not say which branch is its default: name one"))
	}
	if err := git.CheckBranch(c.base); err != nil {
		return c.remote.Refuse(err)
	}
	c.head, c.tip = ids["refs/heads/"+c.base], ids["refs/heads/"+c.branch]
	if c.head == "" && byHead {
		c.head = ids["HEAD"] // it is the same one, and only HEAD was asked for
	}
	if c.head == "" {
		return c.remote.Refuse(fmt.Errorf("there is no branch %q: commits are made on branches, not on tags or single commits", c.base))
	}
	return nil
}

func (c *clone) prepare(ctx context.Context, depth int) error {
	format := "sha1"
	if len(c.head) == 64 {
		format = "sha256"
	}
	c.zero = strings.Repeat("0", len(c.head))
	if _, err := c.git.Run(ctx, git.Command{Args: []string{
		"init", "--quiet", "--bare", "--template=", "--initial-branch=plumb", "--object-format=" + format, "--", c.dir,
	}}); err != nil {
		return fmt.Errorf("make a copy: %w", err)
	}
	if _, err := c.run(ctx, "config", "remote.origin.url", c.remote.URL); err != nil {
		return err
	}
	refs := []string{"+refs/heads/" + c.base + ":refs/plumb/base"}
	if c.tip != "" && c.branch != c.base {
		refs = append(refs, "+refs/heads/"+c.branch+":refs/plumb/tip")
	}
	fixed := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules"}
	little := []string{"--filter=blob:none"}
	if depth > 0 {
		little = append(little, fmt.Sprintf("--depth=%d", depth))
	}
	_, err := c.reach(ctx, slices.Concat(fixed, little, []string{"origin"}, refs)...)
	if err != nil { // a server that gives nothing less than all
		if _, again := c.reach(ctx, slices.Concat(fixed, []string{"origin"}, refs)...); again != nil {
			return c.remote.Explain(again)
		}
	}
	if c.head, err = c.id(ctx, "refs/plumb/base"); err != nil {
		return err
	}
	if len(refs) > 1 {
		if c.tip, err = c.id(ctx, "refs/plumb/tip"); err != nil {
			return err
		}
	}
	c.baseTree, err = c.id(ctx, c.head+"^{tree}")
	return err
}

// run runs git in the copy; nobody is reached.
func (c *clone) run(ctx context.Context, args ...string) (string, error) {
	return c.local(ctx, git.Command{Args: args})
}

func (c *clone) local(ctx context.Context, command git.Command) (string, error) {
	command.Dir = c.dir
	if command.MaxOutput == 0 {
		command.MaxOutput = 256 << 20
	}
	out, err := c.git.Run(ctx, command)
	if err != nil {
		return "", c.remote.Explain(err)
	}
	return string(out), nil
}

// reach runs git in the copy with what opens the repository. Its errors are not
// explained yet.
func (c *clone) reach(ctx context.Context, args ...string) (string, error) {
	out, err := c.git.Run(ctx, git.Command{Dir: c.dir, Args: args, Remote: c.remote, MaxOutput: 256 << 20})
	return string(out), err
}

func (c *clone) id(ctx context.Context, name string) (string, error) {
	out, err := c.run(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
	return strings.TrimSpace(out), err
}

// entry is one line of a tree.
type entry struct{ mode, kind, id, path string }

// list gives entries of a commit's tree: those of the paths themselves, or all
// files below them.
func (c *clone) list(ctx context.Context, commit string, below bool, paths ...string) ([]entry, error) {
	args := []string{"--literal-pathspecs", "ls-tree", "-z", "--full-tree"}
	if below {
		args = append(args, "-r")
	}
	out, err := c.run(ctx, append(append(args, commit, "--"), paths...)...)
	if err != nil {
		return nil, err
	}
	var all []entry
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		meta, name, ok := strings.Cut(line, "\t")
		parts := strings.Fields(meta)
		if !ok || len(parts) != 3 {
			continue
		}
		all = append(all, entry{parts[0], parts[1], parts[2], name})
	}
	return all, nil
}

// edit makes the tree of the base with files changed. Files that are not as
// they were when the change was made up are a conflict.
func (c *clone) edit(ctx context.Context, changes []Change) (string, error) {
	var lines bytes.Buffer
	var conflicts []string
	for _, change := range changes {
		mode, is, err := c.current(ctx, change.Path)
		if err != nil {
			return "", err
		}
		was, err := c.blob(ctx, change.Before, false)
		if err != nil {
			return "", err
		}
		wanted, err := c.blob(ctx, change.After, true)
		if err != nil {
			return "", err
		}
		switch {
		case is == wanted: // somebody has done it already
		case is != was:
			conflicts = append(conflicts, change.Path)
		case wanted == "":
			fmt.Fprintf(&lines, "0 %s\t%s\x00", c.zero, change.Path)
		default:
			fmt.Fprintf(&lines, "%s %s\t%s\x00", mode, wanted, change.Path)
		}
	}
	if len(conflicts) > 0 {
		return "", &ConflictError{Files: conflicts, Branch: c.base}
	}
	return c.tree(ctx, &lines)
}

// current gives what is at a path of the base: the id is empty where there is
// nothing. What is no file, or reached through something else than directories,
// is refused.
func (c *clone) current(ctx context.Context, name string) (mode, id string, err error) {
	paths := []string{name}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		paths = append(paths, dir)
	}
	mode = "100644"
	for _, p := range paths {
		found, err := c.list(ctx, c.head, false, p)
		if err != nil {
			return "", "", err
		}
		for _, e := range found {
			switch {
			case e.path != p:
			case p != name && e.kind != "tree":
				return "", "", fmt.Errorf("%s: %s is no directory of the repository", name, p)
			case p == name && e.kind == "blob" && e.mode != "120000":
				mode, id = e.mode, e.id
			case p == name:
				return "", "", fmt.Errorf("%s is no regular file of the repository", name)
			}
		}
	}
	return mode, id, nil
}

// blob gives the id of a content, and keeps it if it is to be pushed.
func (c *clone) blob(ctx context.Context, content []byte, keep bool) (string, error) {
	if content == nil {
		return "", nil
	}
	args := []string{"hash-object", "--stdin"}
	if keep {
		args = append(args, "-w")
	}
	out, err := c.local(ctx, git.Command{Args: args, Stdin: bytes.NewReader(content)})
	return strings.TrimSpace(out), err
}

// tree makes a tree of the base's with lines of an index in place.
func (c *clone) tree(ctx context.Context, lines *bytes.Buffer) (string, error) {
	if lines.Len() == 0 {
		return c.baseTree, nil
	}
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(c.dir, "plumb-index")}
	for _, step := range []git.Command{
		{Args: []string{"read-tree", c.head}},
		{Args: []string{"update-index", "-z", "--index-info"}, Stdin: lines},
	} {
		step.Env = env
		if _, err := c.local(ctx, step); err != nil {
			return "", err
		}
	}
	out, err := c.local(ctx, git.Command{Args: []string{"write-tree", "--missing-ok"}, Env: env})
	return strings.TrimSpace(out), err
}

// branchHas tells whether the branch holds the tree already, made on a commit
// of the base or an older one.
func (c *clone) branchHas(ctx context.Context, tree string) (bool, error) {
	if c.tip == "" || c.branch == c.base {
		return false, nil
	}
	has, err := c.id(ctx, c.tip+"^{tree}")
	return has == tree, err
}

// mayOverwrite refuses to push over a branch that is not Plumb's own.
func (c *clone) mayOverwrite(ctx context.Context, o Options) error {
	if c.tip == "" || c.branch == c.base && o.Direct {
		return nil
	}
	message, err := c.run(ctx, "log", "-1", "--format=%B", c.tip, "--")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(c.branch, OwnPrefix) || !strings.Contains(message, "\n"+ownTrailer+": "+c.branch+"\n") {
		return c.remote.Refuse(fmt.Errorf("the branch %s exists already and holds something else: name another one, or delete it", c.branch))
	}
	return nil
}

// commit makes the commit object.
func (c *clone) commit(ctx context.Context, o Options, tree, message string) (string, error) {
	at := o.At
	if at.IsZero() {
		at = time.Now()
	}
	date := fmt.Sprintf("%d +0000", at.Unix())
	env := []string{
		"GIT_AUTHOR_NAME=" + line(o.Author.Name, "Plumb"), "GIT_AUTHOR_EMAIL=" + line(o.Author.Email, "plumb@localhost"), "GIT_AUTHOR_DATE=" + date,
		"GIT_COMMITTER_NAME=" + line(o.Author.Name, "Plumb"), "GIT_COMMITTER_EMAIL=" + line(o.Author.Email, "plumb@localhost"), "GIT_COMMITTER_DATE=" + date,
	}
	var text strings.Builder
	text.WriteString(strings.TrimSpace(message) + "\n\n")
	if !(o.Direct && c.branch == c.base) {
		text.WriteString(ownTrailer + ": " + c.branch + "\n")
	}
	for _, who := range o.Asked {
		fmt.Fprintf(&text, "Co-authored-by: %s <%s>\n", line(who.Name, "unknown"), line(who.Email, "unknown"))
	}
	out, err := c.local(ctx, git.Command{Args: []string{"commit-tree", tree, "-p", c.head}, Env: env, Stdin: strings.NewReader(text.String())})
	return strings.TrimSpace(out), err
}

// line makes a text fit for one line of a commit.
func line(s, orElse string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '<' || r == '>' {
			return -1
		}
		return r
	}, s))
	if s == "" {
		return orElse
	}
	return s
}

// push brings the commit to the branch, if that is still where it was.
func (c *clone) push(ctx context.Context, commit string, direct bool) error {
	ref := "refs/heads/" + c.branch
	args := []string{"push", "--quiet", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"}
	if !direct || c.branch != c.base {
		args = append(args, "--force-with-lease="+ref+":"+c.tip)
	}
	_, err := c.reach(ctx, append(args, "origin", commit+":"+ref)...)
	if err == nil {
		return nil
	}
	moved, lookErr := c.hasMoved(ctx, ref)
	if lookErr == nil && moved {
		return errMoved
	}
	return c.refusedPush(err)
}

// hasMoved asks whether somebody else has pushed: git's words for it depend on
// the server.
func (c *clone) hasMoved(ctx context.Context, ref string) (bool, error) {
	out, err := c.reach(ctx, "ls-remote", "--", c.remote.URL, ref)
	if err != nil {
		return false, err
	}
	id, _, _ := strings.Cut(strings.TrimSpace(out), "\t")
	return id != c.tip, nil
}

func (c *clone) refusedPush(err error) error {
	text := strings.ToLower(err.Error())
	for _, word := range []string{"protected branch", "pre-receive hook declined", "hook declined", "gh006", "gh013", "not allowed to push", "remote rejected"} {
		if strings.Contains(text, word) {
			return fmt.Errorf("push to %s: the server refuses it (a protected branch or a hook): push a branch and open a pull request instead: %w", c.branch, c.remote.Explain(err))
		}
	}
	return fmt.Errorf("push to %s: %w", c.branch, c.remote.Explain(err))
}
