package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/source"
)

const (
	// mostAuthors is how many names a plan can hold.
	mostAuthors = 1000
	// mostCommits is how many commits are looked at for who has made a change, and
	// mostBefore, how many for what was there before it.
	mostCommits = 1000
	mostBefore  = 10_000
)

// arrival is a revision of a repository at which there was nothing to do.
type arrival struct{ repo, revision string }

// arrived remembers the revisions at which there is nothing to do: what there is
// to do later was made after them.
func (p *pass) arrived() {
	if !p.compared || p.deleting() || p.sourceFailed || p.refused != "" || p.st.comparison.Busy || p.st.desired == nil {
		return
	}
	if n := p.pending(); n.Declared+n.Extra+n.Problems > 0 {
		return
	}
	sources := p.app.Spec.GetSources()
	if len(p.st.desired.seen) != len(sources) {
		return
	}
	p.st.arrivedDrift = nil
	for i := range p.st.comparison.Resources {
		if r := &p.st.comparison.Resources[i]; r.Cause == driver.CauseDrift || r.Cause == driver.CauseDeleted {
			if p.st.arrivedDrift == nil {
				p.st.arrivedDrift = map[plan.Address]bool{}
			}
			p.st.arrivedDrift[r.Ref.Address()] = true
		}
	}
	p.st.arrivals = make([]arrival, len(sources))
	for i, s := range sources {
		p.st.arrivals[i] = arrival{s.RepoURL, p.st.desired.seen[i]}
	}
	if p.st.settledAs == p.st.desired.hash || p.synced() {
		p.st.settled, p.st.settledAs = p.st.arrivals, p.st.desired.hash
	}
}

// synced tells whether what is declared now is what was synced last, as a whole. What
// was found there when nothing had been synced yet counts, too.
func (p *pass) synced() bool {
	if l := p.st.last; l != nil && !l.hidden {
		return l.whole && !l.failed && l.desired == p.st.desired.hash
	}
	h := p.app.Status.History
	if len(h) == 0 {
		return p.st.settledAs == ""
	}
	return p.ofSources(&h[len(h)-1]) && slices.Equal(h[len(h)-1].RevisionsOf(), p.st.desired.seen)
}

// before is the revision of a source that the changes were made after; empty where
// that is not known.
func (p *pass) before(i int, s v1alpha1.ApplicationSource) string {
	if a := p.st.arrivals; i < len(a) && a[i].repo == s.RepoURL {
		return a[i].revision
	}
	if h := p.app.Status.History; len(h) > 0 && p.ofSources(&h[len(h)-1]) {
		if r := h[len(h)-1].RevisionsOf(); i < len(r) {
			return r[i]
		}
	}
	return ""
}

// makers are the names of all who have made what a source has at a revision and had
// not before: authors, committers, and those who are named as co-authors.
func (p *pass) makers(ctx context.Context, i int, s v1alpha1.ApplicationSource, head source.Commit, revision string) ([]string, error) {
	names := append(namesOf(head.Author), namesOf(head.Committer)...)
	names = append(names, trailers(head.Message)...)
	from, err := p.e.origin(s)
	if err != nil {
		return nil, err
	}
	signed, can := from.(source.Signed)
	base, settled := p.before(i, s), ""
	if st := p.st.settled; i < len(st) && st[i].repo == s.RepoURL {
		settled = st[i].revision
	}
	if !can || base == revision && (settled == "" || settled == revision) {
		return names, nil
	}
	cred, err := p.e.Credentials.For(s.RepoURL, p.app.Spec.GetProject())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	h := history{signed: signed, spec: source.Spec{Repo: s.RepoURL, Revision: s.TargetRevision}, cred: cred}
	if settled != "" && settled != base {
		// Also who has made what made no difference by itself, as far as that can be told.
		if more, err := h.since(ctx, settled, revision); !errors.Is(err, errTooManyCommits) {
			return append(names, more...), err
		}
	}
	more, err := h.since(ctx, base, revision)
	return append(names, more...), err
}

// history is the past of a repository.
type history struct {
	signed source.Signed
	spec   source.Spec
	cred   source.Credentials
}

// since are the names of those who have made the commits that a revision has, and
// another had not. Where that one is empty, as for what was never applied, the
// commit itself and what it merges counts.
func (h history) since(ctx context.Context, base, revision string) ([]string, error) {
	var head source.Object
	err := h.signed.Signatures(ctx, h.spec, source.Resolved{Revision: revision}, h.cred, func(o source.Object) bool {
		if o.Tag == "" {
			head = o
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	parents := source.Parents(head.Raw)
	switch {
	case base == "" && len(parents) < 2:
		return makersOf(head.Raw), nil
	case base == "":
		base = parents[0]
	case len(parents) == 1 && parents[0] == base:
		return makersOf(head.Raw), nil // no need to fetch what lies further back
	}
	old := map[string]bool{}
	err = h.signed.History(ctx, h.spec, source.Resolved{Revision: base}, h.cred, func(o source.Object) bool {
		old[o.ID] = true
		return len(old) < mostBefore
	})
	if ctx.Err() != nil {
		return nil, err
	}
	gone := err != nil // somebody has rewritten the history: what is new is not known
	return h.walk(ctx, revision, old, gone)
}

func (h history) walk(ctx context.Context, revision string, old map[string]bool, gone bool) ([]string, error) {
	var names []string
	n, most := 0, mostCommits
	if gone {
		most = 100
	}
	err := h.signed.History(ctx, h.spec, source.Resolved{Revision: revision}, h.cred, func(o source.Object) bool {
		if old[o.ID] || n >= most {
			return false
		}
		n++
		names = append(names, makersOf(o.Raw)...)
		slices.Sort(names)
		names = slices.Compact(names)
		return true
	})
	if err != nil {
		return nil, err
	}
	if n >= most && !gone {
		return nil, errTooManyCommits
	}
	return names, nil
}

var errTooManyCommits = fmt.Errorf("over %d commits have come at once, too many to tell who has made them: sync an earlier revision first, or set syncPolicy.approval.notAuthor to false", mostCommits)

// headOf parts a commit's headers from its message.
func headOf(raw []byte) (head, message []byte) {
	head, message, _ = bytes.Cut(raw, []byte("\n\n"))
	return head, message
}

func makersOf(raw []byte) []string {
	var out []string
	head, message := headOf(raw)
	for line := range bytes.Lines(head) {
		key, who, _ := strings.Cut(string(line), " ")
		if key == "author" || key == "committer" {
			out = append(out, namesOf(who)...)
		}
	}
	return append(out, trailers(string(message))...)
}

// trailers are the names of the co-authors that a commit's message tells of.
func trailers(message string) []string {
	const key = "co-authored-by:"
	var out []string
	for line := range strings.Lines(message) {
		if line = strings.TrimSpace(line); len(line) > len(key) && strings.EqualFold(line[:len(key)], key) {
			out = append(out, namesOf(line[len(key):])...)
		}
	}
	return out
}

// namesOf are the names under which somebody ("Name <mail>") may be known to the
// API server, in lower case.
func namesOf(who string) []string {
	name, rest, _ := strings.Cut(who, "<")
	mail, _, _ := strings.Cut(rest, ">")
	mail = strings.TrimSpace(mail)
	local, host, _ := strings.Cut(mail, "@")
	all := []string{strings.TrimSpace(name), mail, local}
	if _, login, numbered := strings.Cut(local, "+"); numbered && strings.HasPrefix(strings.ToLower(host), "users.noreply.") {
		all = append(all, login) // as GitHub hides addresses: 123+login@users.noreply.github.com
	}
	var out []string
	for _, n := range all {
		if n = clip(strings.ToLower(n), 512); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// authors are the names under which those may be known to the API server who have
// made the changes: those of now, and those of earlier plans that were never
// applied, whose changes are among these.
func (p *pass) authors(makers []string, notAuthor bool) ([]string, error) {
	all := makers
	for _, c := range p.e.Plans.Of(p.key) {
		if c.Spec.Application.UID != p.app.UID || c.Spec.Scope != string(decide.Full) {
			continue
		}
		if c.Status.Phase == v1alpha1.PlanApplied {
			break
		}
		all = append(all, c.Spec.Authors...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > mostAuthors && notAuthor {
		return nil, errTooManyAuthors
	}
	return all[:min(len(all), mostAuthors)], nil
}

var errTooManyAuthors = errors.New("too many people have made the change to tell who may approve it: sync an earlier revision first, or set syncPolicy.approval.notAuthor to false")

// separators stand between the prefix that an API server gives to names and the
// name itself.
const separators = `:#/|\`

// isAuthor tells whether a user may be one of the authors, whatever prefix the API
// server gives to names.
func isAuthor(user string, authors []string) bool {
	user = strings.ToLower(user)
	return slices.ContainsFunc(authors, func(a string) bool {
		prefix, ok := strings.CutSuffix(user, a)
		return ok && (prefix == "" || strings.ContainsRune(separators, rune(prefix[len(prefix)-1])))
	})
}
