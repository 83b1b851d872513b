package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/scm"
)

const (
	// mergeTime is how long a host may take to tell of a pull request.
	mergeTime = 10 * time.Second
	// mostMerges bounds what is remembered of commits, and mostApprovers, of how many
	// people it is asked whether they may write.
	mostMerges, mostApprovers = 5_000, 20
	// hostPause is the shortest time until a host is asked again that does not answer,
	// and longestHostPause the longest.
	hostPause, longestHostPause = 15 * time.Second, 10 * time.Minute
	// unknownHostPause is how long until it is looked again whether a host is known.
	unknownHostPause = 5 * time.Minute
	// mostHostName is the longest name that is taken over of a host.
	mostHostName = 100
)

// laterMerges are when a host is asked again that knows of no merged pull request: it
// may tell of a push before it has made a note of the merge.
var laterMerges = [...]time.Duration{5 * time.Second, 20 * time.Second, time.Minute}

// merges asks hosts by which pull requests commits have come, once for each commit.
type merges struct {
	// of gives what speaks with a repository's host.
	of  func(repoURL string) (scm.Host, scm.Repo, bool, error)
	now func() time.Time
	log *slog.Logger

	asking singleflight.Group
	mu     sync.Mutex
	known  map[mergeKey]knownMerge
	down   map[string]downHost
}

var _ engine.Merges = (*merges)(nil)

type mergeKey struct{ repo, commit string }

type knownMerge struct {
	engine.Merge
	// asked is how often nothing was found.
	asked int
}

// downHost is the host of a repository that does not answer.
type downHost struct {
	until    time.Time
	failures int
	problem  string
}

func newMerges(h *hosts, log *slog.Logger) *merges {
	return &merges{
		of: func(repoURL string) (scm.Host, scm.Repo, bool, error) {
			host, repo, _, ok, err := h.of(repoURL)
			return host, repo, ok, err
		},
		now: time.Now, log: log, known: map[mergeKey]knownMerge{}, down: map[string]downHost{},
	}
}

// Of gives the pull request by which a commit has come, from memory where that is
// known.
func (m *merges) Of(ctx context.Context, repoURL, commit string) engine.Merge {
	key := mergeKey{repoURL, commit}
	if known, ok := m.recall(key); ok {
		return known
	}
	found, _, _ := m.asking.Do(repoURL+"\x00"+commit, func() (any, error) {
		if known, ok := m.recall(key); ok {
			return known, nil
		}
		return m.ask(ctx, key), nil
	})
	return found.(engine.Merge)
}

func (m *merges) recall(key mergeKey) (engine.Merge, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if known, ok := m.known[key]; ok && (known.Again.IsZero() || now.Before(known.Again)) {
		return known.Merge, true
	}
	if d, ok := m.down[key.repo]; ok && now.Before(d.until) {
		return engine.Merge{Problem: d.problem, Again: d.until}, true
	}
	return engine.Merge{}, false
}

// ask asks the host.
func (m *merges) ask(ctx context.Context, key mergeKey) engine.Merge {
	host, repo, ok, err := m.of(key.repo)
	switch {
	case err != nil:
		return m.failed(key, "what speaks with the repository's host can't be used", err)
	case !ok:
		return engine.Merge{Problem: "the repository's host is not known to Plumb: there is no Secret for it", Again: m.now().Add(unknownHostPause)}
	}
	ctx, cancel := context.WithTimeout(ctx, mergeTime)
	defer cancel()
	found, ok, err := scm.MergeOf(ctx, host, repo, key.commit)
	if err != nil {
		return m.failed(key, "the repository's host does not answer", err)
	}
	out := engine.Merge{Found: ok}
	if ok {
		if out, err = toldMerge(ctx, host, repo, key, found); err != nil {
			return m.failed(key, "the repository's host does not say who may write", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.down, key.repo)
	known := m.known[key]
	if !ok && known.asked < len(laterMerges) {
		out.Again = m.now().Add(laterMerges[known.asked])
	}
	if len(m.known) >= mostMerges {
		clear(m.known)
	}
	m.known[key] = knownMerge{out, known.asked + 1}
	return out
}

// failed has a host rest that does not answer.
func (m *merges) failed(key mergeKey, problem string, err error) engine.Merge {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.down[key.repo]
	d.problem, d.until = problem+" (Plumb's log says why)", m.now().Add(min(hostPause<<min(d.failures, 10), longestHostPause))
	d.failures++
	m.down[key.repo] = d
	m.log.Warn("not known by which pull request a commit has come", "commit", key.commit, "problem", problem, "error", err)
	return engine.Merge{Problem: d.problem, Again: d.until}
}

// forget has a repository's host asked again: something about a pull request has
// changed.
func (m *merges) forget(repoURL string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.down, repoURL)
	for key := range m.known {
		if key.repo == repoURL {
			delete(m.known, key)
		}
	}
}

// toldMerge takes over what a host tells of a pull request. Of those who have approved, the
// ones count who may write to the repository, of which a host has others approve as
// well; programs don't.
func toldMerge(ctx context.Context, host scm.Host, repo scm.Repo, key mergeKey, found scm.Merge) (engine.Merge, error) {
	p := found.Pull
	at, _, _ := scm.Locate(key.repo)
	out := engine.Merge{
		Found: true, Host: hostName(at), Branch: p.BaseBranch, Head: strings.ToLower(p.HeadSHA), At: p.MergedAt,
		MergedBy: hostName(p.MergedBy), URL: pullName(p, repo),
	}
	if left := strings.ToLower(p.MergeBase); isCommit(left) {
		out.Left = left
	}
	if !isCommit(out.Head) || out.At.IsZero() {
		return engine.Merge{Problem: "the repository's host does not say what was merged, or when"}, nil
	}
	for i, who := range found.ApprovedBy {
		if i == mostApprovers {
			break
		}
		if strings.HasSuffix(who, "[bot]") {
			continue
		}
		may, err := host.People.MayWrite(ctx, repo, who)
		if err != nil {
			return engine.Merge{}, err
		}
		if may {
			out.ApprovedBy = append(out.ApprovedBy, hostName(who))
		}
	}
	return out, nil
}

// pullName is a pull request's URL, or what it can be found by where the host gives
// none that may be shown.
func pullName(p scm.Pull, repo scm.Repo) string {
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(p.URL) > 512 {
		return fmt.Sprintf("%s#%d", hostName(repo.String()), p.Number)
	}
	return (&url.URL{Scheme: u.Scheme, Host: hostName(u.Host), Path: u.Path}).String()
}

// hostName is a name that somebody has at a host, without what names do not have.
func hostName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-_.@+/:~[]", r):
			return r
		}
		return '·'
	}, s)
	if r := []rune(s); len(r) > mostHostName {
		return string(r[:mostHostName])
	}
	return s
}

// mergesMoved has the Applications looked at again that wait for somebody's word, and
// read a repository of which a pull request has changed.
func (p *parts) mergesMoved(repoURL string) {
	p.merges.forget(repoURL)
	p.engine.Enqueue(p.controller.Where(func(_ engine.Key, app *v1alpha1.Application) bool {
		return conditionOf(app, v1alpha1.ConditionWaitingForApproval) != "" && slices.ContainsFunc(app.Spec.GetSources(), func(s v1alpha1.ApplicationSource) bool {
			return s.RepoURL == repoURL
		})
	})...)
}
