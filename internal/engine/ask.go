package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/decide"
	"github.com/plumb-dev/plumb/internal/diff"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/source"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// mostSteps is how many steps people can be asked about at once.
	mostSteps = 20000
	// mostText bounds what is kept of what a plan changes.
	mostText = 16 << 20
	// mostAddresses is how many of the resources are named that are destroyed.
	mostAddresses = 100
	// describeTime is how long a repository may take to say who has made a commit.
	describeTime = 20 * time.Second
)

// ask makes the plan that people are asked about.
func (p *pass) ask(ctx context.Context, pr *proposal) error {
	if len(pr.marks) > mostSteps {
		return fmt.Errorf("it has %d steps, and people can be asked about %d at once: divide the Application", len(pr.marks), mostSteps)
	}
	spec, err := p.planSpec(ctx, pr)
	if err != nil {
		return err
	}
	text, err := p.planText(ctx, pr)
	if err != nil {
		return err
	}
	asked := verdict{standing: decide.Asked}
	p.takeMerge(pr, spec.Authors, &asked)
	draft := &v1alpha1.Plan{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.key.Namespace, Name: p.planName(pr)},
		Spec:       spec,
		Status:     v1alpha1.PlanStatus{Phase: v1alpha1.PlanPending},
	}
	counts := plan.New(pr.steps).Count()
	record := Record{
		Kind: RecordPlanProposed, Digest: pr.digest, Plan: draft.Name, Counts: counts, Approved: asked.standing == decide.Approved,
		Message: fmt.Sprintf("%s plan: %d to create, %d to update, %d to replace, %d to delete", strings.ToLower(string(spec.Reason)), counts.Create, counts.Update, counts.Replace, counts.Delete),
	}
	if told := draft.Name + " " + pr.digest; p.st.askedFor != told { // what could not be made is tried again
		if !p.append(ctx, record) {
			return errors.New(p.st.unrecorded)
		}
		p.st.askedFor = told
	}
	made, err := p.e.Plans.Propose(ctx, p.app, p.key, draft, text)
	if err != nil {
		return err
	}
	p.st.askedFor = ""
	pr.plan, pr.verdict = made, p.heard(made)
	p.takeMerge(pr, spec.Authors, &pr.verdict)
	p.unproposed = ""
	if pr.verdict.standing != decide.Approved {
		p.event(false, "PlanProposed", fmt.Sprintf("plan %s needs %s", made.Name, approvalsText(int(pr.policy.Min))))
	}
	return nil
}

// askAgain is when people may be asked the next time: where something keeps changing
// what there is to do, they would be asked over and over of what is stale a moment
// later.
func (p *pass) askAgain() time.Time {
	var newest time.Time
	n := 0
	for _, c := range p.e.Plans.Of(p.key) {
		if at := c.CreationTimestamp.Time; c.Status.Phase == v1alpha1.PlanStale && p.e.Clock.Now().Sub(at) < quietTime {
			n++
			if at.After(newest) {
				newest = at
			}
		}
	}
	if n <= quickPlans {
		return time.Time{}
	}
	return newest.Add(min(decide.DefaultRetry.Delay(n-quickPlans), quietTime/2))
}

const (
	// quickPlans is how many plans may become stale within quietTime before the next
	// one has to wait.
	quickPlans = 4
	quietTime  = 10 * time.Minute
)

func approvalsText(n int) string {
	if n == 1 {
		return "an approval"
	}
	return fmt.Sprintf("%d approvals", n)
}

// planName is short, and free.
func (p *pass) planName(pr *proposal) string {
	const longest, digits = 220, 7
	name := p.key.Name
	if len(name) > longest {
		name = strings.TrimRight(name[:longest], "-.")
	}
	name += "-" + strings.TrimPrefix(pr.digest, "sha256:")[:digits]
	taken := map[string]bool{}
	for _, c := range p.e.Plans.Of(p.key) {
		taken[c.Name] = true
	}
	free := name
	for n := 2; taken[free]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

func (p *pass) planSpec(ctx context.Context, pr *proposal) (v1alpha1.PlanSpec, error) {
	n := plan.New(pr.steps).Count()
	spec := v1alpha1.PlanSpec{
		Application: v1alpha1.PlanApplication{Group: p.key.Group, Name: p.key.Name, UID: p.app.UID},
		Project:     p.app.Spec.GetProject(),
		Reason:      v1alpha1.PlanReasonSync,
		Scope:       string(pr.op.scope),
		Prune:       pr.op.prune,
		Desired:     p.desiredHash(),
		Digest:      pr.digest,
		Counts:      v1alpha1.PlanCounts{Create: n.Create, Update: n.Update, Replace: n.Replace, Delete: n.Delete, Forget: n.Forget, Hooks: n.Hooks},
		Risk:        riskOf(pr.steps),
		Steps:       pr.marks,
		Approval:    pr.policy,
	}
	switch pr.op.scope {
	case decide.Heal:
		spec.Reason = v1alpha1.PlanReasonDrift
	case decide.Remove:
		spec.Reason = v1alpha1.PlanReasonDelete
	default:
		if len(pr.op.revisions) > 0 || p.pin != nil {
			spec.Reason = v1alpha1.PlanReasonRollback
		}
	}
	if !pr.op.automated {
		spec.RequestedBy = clip(pr.op.request.InitiatedBy.Username, 1024)
	}
	if pr.op.scope == decide.Remove {
		return spec, nil
	}
	var err error
	var makers []string
	notAuthor := (pr.policy.NotAuthor || pr.policy.PullRequest) && pr.op.scope == decide.Full
	if spec.Revisions, makers, err = p.planRevisions(ctx, notAuthor); err != nil {
		return spec, err
	}
	if pr.op.scope == decide.Full {
		spec.Authors, err = p.authors(makers, notAuthor)
	}
	return spec, err
}

func riskOf(steps []plan.Step) v1alpha1.PlanRisk {
	var r v1alpha1.PlanRisk
	for _, s := range steps {
		if s.Hook {
			continue
		}
		ref, risk := s.Change.Target(), s.Change.Risk()
		switch s.Change.Action() {
		case plan.ActionDelete:
			r.Destroys++
		case plan.ActionReplace:
			r.Replaces++
		default:
		}
		if ref.Kind == "Secret" && ref.Group == "" {
			r.Secrets++
		}
		if risk.Irreversible {
			r.Irreversible++
		}
		if risk.Destroys && len(r.Addresses) < mostAddresses {
			r.Addresses = append(r.Addresses, clip(string(ref.Address()), 1024))
		}
	}
	return r
}

// planRevisions says what the plan is made from, and by whom that was made: by the
// last commits, and where it matters by all that have come since there was nothing
// to do.
func (p *pass) planRevisions(ctx context.Context, all bool) (out []v1alpha1.PlanRevision, makers []string, err error) {
	if p.st.desired == nil {
		return nil, nil, nil
	}
	for i, s := range p.app.Spec.GetSources() {
		if i >= len(p.st.desired.revisions) {
			break
		}
		r := v1alpha1.PlanRevision{RepoURL: clip(v1alpha1.RedactURL(s.RepoURL), 2048), Revision: clip(p.st.desired.revisions[i], 512)}
		c, err := p.describe(ctx, s, p.st.desired.revisions[i])
		switch {
		case errors.Is(err, errors.ErrUnsupported):
		case err != nil:
			return nil, nil, fmt.Errorf("find out who has made %s: %w", r.Revision, err)
		default:
			r.Author, r.AuthorEmail = clip(c.AuthorName(), 512), clip(c.AuthorEmail(), 512)
			r.Subject, r.Date = clip(c.Subject(), 1024), clip(c.Date, 64)
			if all {
				who, err := p.makers(ctx, i, s, c, p.st.desired.revisions[i])
				if err != nil {
					return nil, nil, fmt.Errorf("find out who has made %s: %w", r.Revision, err)
				}
				makers = append(makers, who...)
				break
			}
			makers = append(makers, append(namesOf(c.Author), namesOf(c.Committer)...)...)
		}
		if i < len(p.st.desired.signatures) {
			r.Signature = clip(signatureText(p.st.desired.signatures[i]), 1024)
			makers = append(makers, namesOf(p.st.desired.signatures[i].Signer)...)
		}
		out = append(out, r)
	}
	return out, makers, nil
}

func (p *pass) describe(ctx context.Context, s v1alpha1.ApplicationSource, revision string) (source.Commit, error) {
	from, err := p.e.origin(s)
	if err != nil {
		return source.Commit{}, err
	}
	cred, err := p.e.Credentials.For(s.RepoURL, p.app.Spec.GetProject())
	if err != nil {
		return source.Commit{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	spec := source.Spec{Repo: s.RepoURL, Revision: s.TargetRevision, Chart: s.Chart, TagPrefix: s.TagPrefix}
	return from.Describe(ctx, spec, source.Resolved{Revision: revision}, cred)
}

// signatureText says what is known of a signature, or nothing where nobody has
// looked.
func signatureText(s source.Signature) string {
	if s.Status == source.NotVerified {
		return ""
	}
	text := string(s.Status)
	if s.Key != "" {
		text += ", " + strings.TrimSpace(s.Kind+" key "+s.Key)
	}
	if s.Signer != "" {
		text += " of " + s.Signer
	}
	return text
}

// clip bounds a text that others have written.
func clip(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// planText shows line by line what the steps change.
func (p *pass) planText(ctx context.Context, pr *proposal) (string, error) {
	shown, problems, err := p.inFull(ctx, pr.steps)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, s := range shown {
		if b.Len() > mostText {
			fmt.Fprintf(&b, "… and %d more steps\n", len(shown)-i)
			break
		}
		if s.Hook {
			fmt.Fprintf(&b, "run %s (%s)\n", s.Address(), s.Phase)
			continue
		}
		d, err := diff.Of(s.Change)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, d.Title())
		if why := problems[s.Address()]; why != "" {
			fmt.Fprintf(&b, "  (the destination says: %s)\n", why)
		}
		b.WriteString(d.Diff)
	}
	text := b.String()
	if p.st.desired != nil {
		text = p.st.desired.bundle.Secrets.Mask(text)
	}
	return strings.ToValidUTF8(text, "\uFFFD"), nil
}

// inFull gives steps with all that they change, which the destination may have to
// be asked for. What it says is for people to look at: what is done is what the
// steps themselves say.
func (p *pass) inFull(ctx context.Context, steps []plan.Step) ([]plan.Step, map[plan.Address]string, error) {
	if p.st.comparison.Whole || !slices.ContainsFunc(steps, lacksContent) {
		return steps, nil, nil
	}
	want := p.want
	want.Full = true
	c, err := p.st.driver.Compare(ctx, want)
	if err != nil {
		return nil, nil, fmt.Errorf("look at what would change: %w", err)
	}
	type place struct {
		address plan.Address
		phase   plan.Phase
		action  plan.Action
	}
	full := map[place]plan.Step{}
	for _, s := range c.Plan.Steps {
		full[place{s.Address(), s.Phase, s.Change.Action()}] = s
	}
	out := slices.Clone(steps)
	for i, s := range out {
		if f, found := full[place{s.Address(), s.Phase, s.Change.Action()}]; found && lacksContent(s) {
			out[i] = f
		}
	}
	return out, problemsOf(c.Resources), nil
}

func problemsOf(resources []driver.Resource) map[plan.Address]string {
	out := map[plan.Address]string{}
	for i := range resources {
		if r := &resources[i]; r.Problem != nil {
			out[r.Ref.Address()] = r.Problem.Message
		}
	}
	return out
}

// lacksContent tells whether a step does not show what it changes.
func lacksContent(s plan.Step) bool {
	switch c := s.Change.(type) {
	case plan.Create:
		return c.After.Object == nil && !s.Hook
	case plan.Delete:
		return c.Before.Object == nil
	}
	return false
}
