package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/source"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Merges tells by which pull requests commits have come.
type Merges interface {
	// Of gives the pull request that has brought a commit into a branch. It asks the
	// repository's host where it does not know yet, and no more often than needed.
	Of(ctx context.Context, repo, commit string) Merge
}

// Merge is the pull request by which a commit has come, as its host tells of it.
type Merge struct {
	// Found is false where there was none.
	Found bool
	// URL of it, for people. Host is where its people are known.
	URL, Host string
	// Branch that it went into, and Head, the commit that was approved and merged.
	Branch, Head string
	MergedBy     string
	At           time.Time
	// ApprovedBy are those who have approved Head, may write to the repository, and
	// have not opened it.
	ApprovedBy []string
	// Problem is why it is not known, and Again, when to ask once more: never before
	// somebody says that something has changed where it is zero.
	Problem string
	Again   time.Time
}

const (
	// mostMerges is how many pull requests may have come at once, and mostBack, how
	// many commits one of them may have made on the branch.
	mostMerges, mostBack = 10, 20
	// mostFiles is how many files may differ.
	mostFiles = 20_000
	// compareTime is how long it may take to find out what has come by one.
	compareTime = 30 * time.Second
	// comparePause is how long until that is tried again.
	comparePause = 30 * time.Second
	longestPause = 10 * time.Minute
	// mostCovered bounds what is remembered of it.
	mostCovered = 5_000
)

// merged is how the changes of now have come, by pull requests of all sources; or why
// that is not known.
type merged struct {
	pulls   []arrivedBy
	problem string
}

// arrivedBy is a pull request and the revision that has come by it.
type arrivedBy struct {
	Merge
	revision string
}

// lookAtMerges finds out how what has changed has come, where that may matter.
func (p *pass) lookAtMerges(ctx context.Context) {
	p.merged = nil
	policy := p.approvers()
	if p.e.Merges == nil || policy.GetWhen() == v1alpha1.ApproveNever || !policy.Snapshot().PullRequest {
		return
	}
	if !p.compared || p.st.comparison.Busy || p.deleting() || p.st.desired == nil || p.pin != nil {
		return
	}
	if run := p.st.running; run != nil && !run.awaits {
		return
	}
	if n := p.pending(); n.Declared+n.Extra == 0 {
		return
	}
	p.merged = p.mergesOfSources(ctx)
}

// mergesOfSources looks at each source that has changed since nothing was declared but
// what was synced.
func (p *pass) mergesOfSources(ctx context.Context) *merged {
	m, d := &merged{}, p.st.desired
	declared := p.app.Spec.GetSources()
	if len(p.st.settled) != len(declared) || len(d.revisions) != len(declared) {
		m.problem = "it was not seen in sync before the change"
		return m
	}
	sources, err := p.e.resolve(ctx, request{app: p.app, key: p.key, fence: p.fence})
	if err != nil {
		m.problem = "the sources can't be read"
		return m
	}
	for i, s := range sources {
		a, now := p.st.settled[i], d.revisions[i]
		switch {
		case a.repo != s.source.RepoURL:
			m.problem = "it has other sources than before"
		case a.revision == now:
			continue
		case s.from != p.e.Sources.Git || s.source.Chart != "":
			m.problem = "charts come by no pull request"
		default:
			var pulls []arrivedBy
			pulls, m.problem = p.mergesOf(ctx, s, a.revision, now)
			m.pulls = append(m.pulls, pulls...)
		}
		if m.problem != "" {
			return m
		}
	}
	if len(m.pulls) > 0 {
		m.problem = p.changedElse(ctx)
	}
	return m
}

// changedElse says what else than Git has changed since there was nothing to do.
func (p *pass) changedElse(ctx context.Context) string {
	const what = "something else than Git has changed, too: the Application, its inputs, or what it uses from elsewhere"
	id, now := p.st.settledAs+" "+p.st.desired.hash, p.e.Clock.Now()
	known := &p.st.elsewhere
	if known.of != id || !known.again.IsZero() && !now.Before(known.again) {
		failures := 0
		if known.of == id {
			failures = known.failures
		}
		*known = elsewhere{of: id}
		switch same, err := p.meansTheSame(ctx); {
		case err != nil:
			p.e.Log.Warn("what an Application uses from elsewhere can't be compared", "application", p.key.String(), "error", err)
			known.says = "what it uses from elsewhere can't be compared just now (Plumb's log says why)"
			known.failures, known.again = failures+1, now.Add(min(comparePause<<min(failures, 10), longestPause))
		case !same:
			known.says = what
		}
	}
	if !known.again.IsZero() {
		p.e.queue.addAfter(p.key, known.again.Sub(now))
	}
	return known.says
}

// elsewhere is what else than Git has changed: says, from when to when it is known of,
// and where it could not be found out, how often, and when to try again.
type elsewhere struct {
	of, says string
	failures int
	again    time.Time
}

// meansTheSame tells whether the revisions of now and those from before still mean
// what they meant, with all else as it is now: the spec, inputs and values; secrets that
// are looked up, and bases and charts that are fetched from other places, too, which are
// in no commit of the Application's sources.
func (p *pass) meansTheSame(ctx context.Context) (bool, error) {
	r := request{app: p.app, key: p.key, fence: p.fence, namespace: p.target.Namespace, fresh: true, uncached: true}
	var err error
	if r.caps, err = p.e.Drivers[kubeDriver].Capabilities(ctx, p.target); err != nil {
		return false, err
	}
	if r.inputs, err = p.e.inputs(p.key, p.app); err != nil {
		return false, err
	}
	var before []string
	for _, a := range p.st.settled {
		before = append(before, a.revision)
	}
	for _, was := range []struct {
		revisions []string
		hash      string
	}{{before, p.st.settledAs}, {p.st.desired.revisions, p.st.desired.hash}} {
		r.revisions = was.revisions
		now, err := p.e.want(ctx, r, nil)
		if err != nil {
			return false, err
		}
		if now.hash != was.hash {
			return false, nil
		}
	}
	return true, nil
}

// mergesOf gives the pull requests by which a branch has gone from one commit to
// another, the last first: all that has changed must have come by them.
func (p *pass) mergesOf(ctx context.Context, s resolved, base, head string) ([]arrivedBy, string) {
	branch, ok := strings.CutPrefix(s.at.Ref, "refs/heads/")
	compared, can := s.from.(interface {
		source.Compared
		source.Signed
	})
	if !ok || !can {
		return nil, "it follows no branch"
	}
	var pulls []arrivedBy
	left := map[string]string{} // where each had left the branch
	for end := head; ; {
		m := p.e.Merges.Of(ctx, s.source.RepoURL, end)
		if !m.Again.IsZero() {
			p.e.queue.addAfter(p.key, m.Again.Sub(p.e.Clock.Now()))
		}
		switch {
		case m.Problem != "":
			return nil, m.Problem
		case !m.Found:
			return nil, shortRevisions([]string{end}) + " has not come by one"
		case m.Branch != branch:
			return nil, m.URL + " went into another branch"
		case len(pulls) == mostMerges:
			return nil, fmt.Sprintf("over %d have come at once", mostMerges)
		}
		pulls = append(pulls, arrivedBy{m, end})
		c := p.covered(ctx, compared, s, m, left[m.Head], base, end)
		if c.why != "" || c.start == base {
			return pulls, c.why
		}
		end, left[m.Head] = c.start, c.left
	}
}

// coverage is what has come by a pull request: all between start and a commit; or why
// that can't be told.
type coverage struct {
	start, why string
	// left is where what was looked at had left the branch.
	left string
	// failures is how often it could not be found out, and again, when to try once more.
	failures int
	again    time.Time
}

// coverages remembers them.
type coverages struct {
	mu    sync.Mutex
	known map[[5]string]coverage
}

func (c *coverages) get(id [5]string) (coverage, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.known[id]
	return known, ok
}

func (c *coverages) put(id [5]string, what coverage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= mostCovered {
		c.known = map[[5]string]coverage{}
	}
	c.known[id] = what
}

// covered tells from where on all that leads to a commit has come by a pull request.
func (p *pass) covered(ctx context.Context, from interface {
	source.Compared
	source.Signed
}, s resolved, m Merge, left, base, end string) coverage {
	id := [5]string{s.spec.Repo, left, base, end, m.Head}
	now := p.e.Clock.Now()
	known, ok := p.e.coverages.get(id)
	if ok && (known.again.IsZero() || now.Before(known.again)) {
		if !known.again.IsZero() {
			p.e.queue.addAfter(p.key, known.again.Sub(now))
		}
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	l := lineage{history: history{signed: from, spec: s.spec, cred: s.cred}, compared: from, head: m.Head, left: left}
	c, err := l.covers(ctx, base, end, m.URL)
	switch {
	case err != nil && source.ReasonOf(err) == source.ReasonRevisionNotFound:
		c = coverage{why: "the repository does not have any more what was approved in " + m.URL}
	case err != nil:
		p.e.Log.Warn("what has come by a pull request can't be found out", "application", p.key.String(), "pull", m.URL, "error", err)
		pause := min(comparePause<<min(known.failures, 10), longestPause)
		p.e.queue.addAfter(p.key, pause)
		c = coverage{why: "what has come by " + m.URL + " can't be found out just now (Plumb's log says why)", failures: known.failures + 1, again: now.Add(pause)}
	}
	p.e.coverages.put(id, c)
	return c
}

// takeMerge has the pull requests count by which a proposal's changes have come, or
// says why they don't.
func (p *pass) takeMerge(pr *proposal, authors []string, v *verdict) {
	pr.notMerged = ""
	if !pr.policy.PullRequest || p.e.Merges == nil || pr.op.scope != decide.Full || v.standing != decide.Asked || v.recorded {
		return
	}
	m := p.mergedStart(pr, authors)
	until, why := m.Taken()
	if why != "" {
		pr.notMerged = why
		return
	}
	var pulls []v1alpha1.PlanPullRequest
	for i, by := range p.merged.pulls {
		pulls = append(pulls, v1alpha1.PlanPullRequest{
			URL: by.URL, Revision: by.revision, MergedBy: by.at(by.MergedBy), MergedAt: metav1.NewTime(by.At.Truncate(time.Second)),
			ApprovedBy: by.people(m.Pulls[i].By),
		})
	}
	v.count(pulls, until)
}

// count has pull requests be the approval.
func (v *verdict) count(pulls []v1alpha1.PlanPullRequest, until time.Time) {
	v.standing, v.until, v.pulls, v.said = decide.Approved, until, pulls, nil
	v.have, v.expired = len(pulls[0].ApprovedBy), false
	for _, by := range pulls {
		v.have = min(v.have, len(by.ApprovedBy))
		for _, who := range by.ApprovedBy {
			v.said = append(v.said, v1alpha1.PlanApprovalRecord{
				Name: by.URL, Decision: v1alpha1.DecisionApprove, User: who, At: by.MergedAt, Reason: "approved " + by.URL,
			})
		}
	}
}

// at names somebody as they are known at the host.
func (a arrivedBy) at(who string) string {
	if who == "" {
		return ""
	}
	return who + " at " + a.Host
}

func (a arrivedBy) people(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = a.at(n)
	}
	return out
}

// mergedStart is what is known of how a proposal's changes have come.
func (p *pass) mergedStart(pr *proposal, authors []string) decide.Merged {
	op := pr.op
	m := decide.Merged{
		Start: pr.start, Back: len(op.revisions) > 0 || p.pin != nil, Now: p.e.Clock.Now(),
		Part:   op.request.Sync != nil && len(op.request.Sync.Resources) > 0,
		Forced: op.force || op.replace || op.request.Sync != nil && len(op.request.Sync.SyncOptions) > 0,
		Named:  len(pr.policy.Approvers) > 0, Need: int(pr.policy.Min), ValidFor: pr.policy.Validity(),
		Drift: p.notOfGit(pr.steps),
	}
	if p.merged == nil {
		m.Problem = "nothing has come by one"
		return m
	}
	m.Problem = p.merged.problem
	m.Applied, m.RejectedBy = p.knownRevision()
	for _, by := range p.merged.pulls {
		one := decide.Pull{Name: by.URL, At: by.At}
		for _, who := range by.ApprovedBy {
			if isAuthor(who, authors) {
				one.Not++
			} else {
				one.By = append(one.By, who)
			}
		}
		m.Pulls = append(m.Pulls, one)
	}
	return m
}

// notOfGit counts the steps that put right what was changed where it runs, also those
// of what Git has changed since.
func (p *pass) notOfGit(steps []plan.Step) int {
	causes := map[plan.Address]driver.Cause{}
	for i := range p.st.comparison.Resources {
		r := &p.st.comparison.Resources[i]
		causes[r.Ref.Address()] = r.Cause
	}
	n := 0
	for _, s := range steps {
		if s.Hook {
			continue
		}
		switch cause := causes[s.Address()]; {
		case p.st.arrivedDrift[s.Address()]:
			n++
		case cause != driver.CauseMissing && cause != driver.CauseDeclared && cause != driver.CauseExtra:
			n++
		}
	}
	return n
}

// knownRevision tells whether the revision of now was applied before, and who has
// rejected a plan of it: what was approved once is not approved for good.
func (p *pass) knownRevision() (applied bool, rejecter string) {
	now := p.st.desired.revisions
	for _, h := range p.app.Status.History {
		applied = applied || p.ofSources(&h) && slices.Equal(h.RevisionsOf(), now)
	}
	for _, c := range p.e.Plans.Of(p.key) {
		if c.Spec.Application.UID != p.app.UID || !ofRevisions(c, now) {
			continue
		}
		applied = applied || c.Status.Phase == v1alpha1.PlanApplied
		if c.Status.Phase == v1alpha1.PlanRejected && rejecter == "" {
			rejecter = rejectedBy(c)
		}
	}
	return applied, rejecter
}

func ofRevisions(c *v1alpha1.Plan, revisions []string) bool {
	return slices.EqualFunc(c.Spec.Revisions, revisions, func(r v1alpha1.PlanRevision, id string) bool { return r.Revision == id })
}

// recall has the pull requests count that a plan was approved by before. It is that
// very plan, so all that was found out about them holds: the digest covers what is
// declared and each step. Where nobody made sure who writes plans since it was made, it
// is found out anew.
func (p *pass) recall(v *verdict, c *v1alpha1.Plan, now time.Time) {
	if len(c.Status.PullRequests) == 0 || !wasApproved(c.Status.Phase) || !c.Spec.Approval.PullRequest {
		return
	}
	made := v1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{Name: c.Name, CreationTimestamp: c.CreationTimestamp}}
	if p.e.Plans.Doubt(&made) != "" {
		return
	}
	v.recorded = true
	var until time.Time
	for _, by := range c.Status.PullRequests {
		if _, end := decide.Valid(by.MergedAt.Time, now, c.Spec.Approval.Validity()); until.IsZero() || end.Before(until) {
			until = end
		}
	}
	if !now.Before(until) {
		v.expired = true
		return
	}
	v.count(c.Status.PullRequests, until)
}

// byPulls says by which pull requests a plan was approved.
func byPulls(pulls []v1alpha1.PlanPullRequest) string {
	var texts []string
	for _, by := range pulls {
		text := by.URL + " ("
		if by.MergedBy != "" {
			text += "merged by " + by.MergedBy + ", "
		}
		texts = append(texts, text+"approved by "+names(slices.Clone(by.ApprovedBy))+")")
	}
	noun := "pull request "
	if len(pulls) > 1 {
		noun = "pull requests "
	}
	return "approved by " + noun + strings.Join(texts, "; ")
}
