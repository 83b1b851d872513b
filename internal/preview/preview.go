// Package preview shows what a change in a Git repository would do to the
// Applications that read it, before it is merged: it asks the engine itself, and
// never a second implementation of it. A report is JSON, or one comment on a pull
// request (Markdown, bounded, harmless whatever the repository holds). The
// Reviewer keeps such a comment on every open pull request.
//
// It changes nothing but comments and statuses of commits. It does not know where
// Applications, credentials and webhooks come from: whoever composes it says so.
package preview

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/source"
)

// Engine looks, and never acts.
type Engine interface {
	Preview(ctx context.Context, app *v1alpha1.Application, key engine.Key, o engine.PreviewOptions) (engine.Preview, error)
	Render(ctx context.Context, app *v1alpha1.Application, key engine.Key, o engine.PreviewOptions) (render.Bundle, error)
}

// App is an Application to look at.
type App struct {
	Key engine.Key
	*v1alpha1.Application
}

// Change is what is looked at: a branch that is to go into another one.
type Change struct {
	// Repo is the repository's URL, in any of its forms.
	Repo string
	// Base is the branch that it goes into, and Default says that it is the
	// repository's default one.
	Base    string
	Default bool
	// From and To are the commits whose difference is the change.
	From, To string
	// Head is the commit that has to be signed where a project asks for signatures, if
	// it is not To: what a host has merged on trial nobody has signed.
	Head string
	// Places has repositories read somewhere else: see engine.PreviewOptions.
	Places map[string]string
	// WithoutModules leaves modules unplanned, for the reason given.
	WithoutModules string
}

// Report is what a change would do.
type Report struct {
	// Applications that the change touches, in order.
	Applications []Result `json:"applications"`
	// Followers is how many Applications follow the branch.
	Followers int `json:"followers"`
	// Took is how long it took to find out.
	Took time.Duration `json:"tookNanoseconds"`
}

// Result is what a change would do to one Application.
type Result struct {
	Application string      `json:"application"`
	Project     string      `json:"project"`
	Counts      plan.Counts `json:"counts"`
	// Destroys counts what would cease to be, and Irreversible, what of it a revert
	// does not bring back.
	Destroys     int `json:"destroys,omitempty"`
	Irreversible int `json:"irreversible,omitempty"`
	// Drift counts the changes that have nothing to do with Git: where it runs,
	// something was changed.
	Drift int `json:"drift,omitempty"`
	// Then says what happens once it is merged.
	Then Then `json:"then"`
	// Approvals is how many approvals it will need, where it needs any.
	Approvals int          `json:"approvals,omitempty"`
	Digest    string       `json:"digest,omitempty"`
	Changes   []Difference `json:"changes,omitempty"`
	// Remarks are about resources that can't be changed, Warnings about the rest.
	Remarks  []string `json:"remarks,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Skipped is why it was not planned, and Error, why it could not be.
	Skipped string        `json:"skipped,omitempty"`
	Error   string        `json:"error,omitempty"`
	Took    time.Duration `json:"tookNanoseconds"`

	key engine.Key
}

// Then is what happens with a change once it is merged.
type Then string

// The closed set of what may happen.
const (
	ThenApplied  Then = "applied"
	ThenApproval Then = "approval"
	// ThenPull: the approvals of the pull request are those that it needs.
	ThenPull   Then = "pullRequest"
	ThenByHand Then = "byHand"
)

// Failed tells whether an Application could not be planned, or not whole.
func (r Report) Failed() int {
	n := 0
	for _, a := range r.Applications {
		if a.Error != "" || len(a.Remarks) > 0 {
			n++
		}
	}
	return n
}

// Total counts the changes of all Applications.
func (r Report) Total() plan.Counts {
	var c plan.Counts
	for _, a := range r.Applications {
		c.Create += a.Counts.Create
		c.Update += a.Counts.Update
		c.Replace += a.Counts.Replace
		c.Delete += a.Counts.Delete
		c.Forget += a.Counts.Forget
		c.Hooks += a.Counts.Hooks
	}
	return c
}

const (
	// together is how many Applications are looked at at once.
	together = 8
	// mostPlanned is how many Applications one report plans.
	mostPlanned = 300
)

// Look finds the Applications that a change touches, and what it would do to
// them. Only a context that is done is an error.
func Look(ctx context.Context, e Engine, apps []App, c Change) (Report, error) {
	start := time.Now()
	var followers []App
	for _, a := range apps {
		if follows(a.Application, c) && a.DeletionTimestamp == nil {
			followers = append(followers, a)
		}
	}
	slices.SortFunc(followers, func(a, b App) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	found := make([]*Result, len(followers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i, a := range followers {
		group.Go(func() error {
			found[i] = look(ctx, e, a, c)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return Report{}, err
	}
	report := Report{Followers: len(followers), Applications: []Result{}}
	for _, r := range found {
		switch {
		case r == nil:
		case len(report.Applications) == mostPlanned:
			r.Changes, r.Skipped = nil, fmt.Sprintf("more than %d Applications change", mostPlanned)
			report.Applications = append(report.Applications, *r)
		default:
			report.Applications = append(report.Applications, *r)
		}
	}
	report.Took = time.Since(start)
	return report, nil
}

// follows tells whether an Application reads the branch that a change goes into.
func follows(app *v1alpha1.Application, c Change) bool {
	return slices.ContainsFunc(app.Spec.GetSources(), func(s v1alpha1.ApplicationSource) bool { return isFollowed(s, c) })
}

func isFollowed(s v1alpha1.ApplicationSource, c Change) bool {
	if s.Chart != "" || !source.SameRepo(s.RepoURL, c.Repo) && !scm.Same(s.RepoURL, c.Repo) {
		return false
	}
	switch s.TargetRevision {
	case "", "HEAD":
		return c.Default
	case c.Base, "refs/heads/" + c.Base:
		return true
	}
	return false
}

// revisions are those to read an Application's sources at.
func revisions(app *v1alpha1.Application, c Change, commit string) []string {
	sources := app.Spec.GetSources()
	out := make([]string, len(sources))
	for i, s := range sources {
		if isFollowed(s, c) {
			out[i] = commit
		}
	}
	return out
}

// look gives nil for an Application that the change does not touch: that means
// the same before and after it. What it reads outside of its path counts, and
// what is only moved about does not.
func look(ctx context.Context, e Engine, a App, c Change) *Result {
	start := time.Now()
	options := func(commit string) engine.PreviewOptions {
		o := engine.PreviewOptions{Revisions: revisions(a.Application, c, commit), Places: c.Places}
		if commit == c.To && c.Head != "" {
			o.Vouched = revisions(a.Application, c, c.Head)
		}
		return o
	}
	after, afterErr := e.Render(ctx, a.Application, a.Key, options(c.To))
	before, beforeErr := e.Render(ctx, a.Application, a.Key, options(c.From))
	switch {
	case ctx.Err() != nil:
		return nil
	case beforeErr == nil && afterErr == nil && before.Hash == after.Hash:
		return nil
	case beforeErr != nil && afterErr != nil && beforeErr.Error() == afterErr.Error():
		return nil // it was broken before, and it is not this change that did it
	}
	r := &Result{Application: a.Key.String(), Project: a.Spec.GetProject(), key: a.Key}
	defer func() { r.Took = time.Since(start) }()
	secrets := after.Secrets.With(before.Secrets)
	switch {
	case afterErr != nil:
		r.Error = secrets.Mask(afterErr.Error())
		return r
	case after.Module != nil && c.WithoutModules != "":
		r.Skipped = c.WithoutModules
		return r
	}
	p, err := e.Preview(ctx, a.Application, a.Key, options(c.To))
	if err != nil {
		r.Error = secrets.Mask(err.Error())
		return r
	}
	r.fill(a.Application, p, secrets.With(p.Bundle.Secrets))
	return r
}

func (r *Result) fill(app *v1alpha1.Application, p engine.Preview, secrets render.Texts) {
	steps := p.Comparison.Plan
	r.Counts, r.Digest = steps.Count(), steps.Digest()
	for _, s := range steps.Steps {
		if s.Hook {
			continue
		}
		risk := s.Change.Risk()
		if risk.Destroys {
			r.Destroys++
		}
		if risk.Irreversible {
			r.Irreversible++
		}
		d := differenceOf(s.Change)
		if d.Drift {
			r.Drift++
		}
		d.Diff, d.Reason = secrets.Mask(d.Diff), secrets.Mask(d.Reason)
		r.Changes = append(r.Changes, d)
	}
	for _, resource := range p.Comparison.Resources {
		if resource.Problem != nil {
			r.Remarks = append(r.Remarks, secrets.Mask(string(resource.Ref.Address())+": "+resource.Problem.Message))
		} else if resource.Guard != "" && resource.Cause == driver.CauseExtra {
			r.Warnings = append(r.Warnings, string(resource.Ref.Address())+": no longer declared, and kept because of "+resource.Guard)
		}
	}
	for _, w := range slices.Concat(p.Bundle.Warnings, p.Comparison.Notes) {
		r.Warnings = append(r.Warnings, secrets.Mask(w))
	}
	r.Then = thenOf(app, p.Approval, r.Destroys > 0, r.Drift > 0)
	if r.Then == ThenApproval || r.Then == ThenPull {
		r.Approvals = int(p.Approval.Snapshot().Min)
	}
}

// thenOf says what happens once a change is merged, by the policy of the Application
// and its project. Where people have to approve, the pull request's approvals count
// only if the engine would have them count.
func thenOf(app *v1alpha1.Application, approval *v1alpha1.ApprovalPolicy, destroys, drift bool) Then {
	policy := app.Spec.SyncPolicy
	automated := policy != nil && policy.Automated.IsEnabled()
	when := approval.GetWhen()
	asked := when == v1alpha1.ApproveAlways || when == v1alpha1.ApproveDestructive && destroys
	switch snapshot := approval.Snapshot(); {
	case !automated && when != v1alpha1.ApproveAlways: // nobody is asked before somebody asks for a sync
		return ThenByHand
	case !asked:
		return ThenApplied
	case automated && snapshot.PullRequest && len(snapshot.Approvers) == 0 && !drift:
		return ThenPull
	}
	return ThenApproval
}
