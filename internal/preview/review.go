package preview

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
)

// review is one look at one pull request.
type review struct {
	*Reviewer
	id       pullID
	settings Settings
	pull     scm.Pull
	marker   string
	// mine is the comment that was made before, if there is one, and what it says
	// of itself.
	mine    scm.Comment
	found   bool
	planned string
	asked   int64
	// word is the request that is answered, if any.
	word request
	// again is set where the base has changed what it would do.
	again bool
}

// request is a comment that asks for a preview: /plumb preview, with the whole
// commit that is meant where it is a fork's.
type request struct {
	id     int64
	commit string
}

var (
	command = regexp.MustCompile(`(?m)^/plumb[ \t]+preview(?:[ \t]+([0-9a-fA-F]{7,64}))?[ \t]*\r?$`)
	said    = regexp.MustCompile(`head=([0-9a-z]*) asked=([0-9]+)`)
)

// review looks at a pull request and says what is to be said.
func (r *Reviewer) review(ctx context.Context, id pullID, again bool) error {
	s, ok, err := r.o.World.Settings(id.repo)
	if err != nil || !ok {
		return err
	}
	v := &review{Reviewer: r, id: id, settings: s, again: again, marker: r.mark(s, id.repo, id.number)}
	if v.pull, err = s.Host.Pulls.Get(ctx, s.Repo, id.number); err != nil {
		return err
	}
	r.mu.Lock()
	if j := r.jobs[id]; j != nil {
		j.head = v.pull.HeadSHA
	}
	r.mu.Unlock()
	comments, err := s.Host.Comments.List(ctx, s.Repo, id.number)
	if err != nil {
		return err
	}
	v.own(comments)
	if v.pull.State != scm.Open {
		r.forget(id)
		return v.close(ctx)
	}
	if err := v.hear(ctx, comments); err != nil {
		return err
	}
	if v.planned == v.pull.HeadSHA && v.word.id == 0 && !v.again {
		return nil // it is said already
	}
	if v.pull.Fork && !v.allowed() {
		return v.wait(ctx)
	}
	return v.plan(ctx)
}

// own finds the comment that we have made.
func (v *review) own(comments []scm.Comment) {
	for _, c := range comments {
		if strings.Contains(c.Body, v.marker) && (!v.found || c.ID < v.mine.ID) {
			v.mine, v.found = c, true
		}
	}
	last := v.recall(v.id) // where nothing had to be said there is no comment
	v.planned, v.asked = last.planned, last.asked
	if v.found {
		if m := said.FindStringSubmatch(v.mine.Body); m != nil {
			v.planned = m[1]
			if n, err := strconv.ParseInt(m[2], 10, 64); err == nil {
				v.asked = max(v.asked, n)
			}
		}
	}
}

// mostAsked is how many requests are looked at, the last ones.
const mostAsked = 5

// hear finds what somebody asks for who may.
func (v *review) hear(ctx context.Context, comments []scm.Comment) error {
	looked := 0
	for i := len(comments) - 1; i >= 0 && looked < mostAsked; i-- {
		c := comments[i]
		m := command.FindStringSubmatch(c.Body)
		if m == nil || c.ID <= v.asked || strings.Contains(c.Body, markPrefix) {
			continue // what we say ourselves is no request, nor what another installation says
		}
		looked++
		commit := strings.ToLower(m[1])
		if v.pull.Fork && commit != v.pull.HeadSHA {
			continue // of a fork, only what was looked at is planned: others with the same beginning are made in minutes
		}
		may, err := v.settings.Host.People.MayWrite(ctx, v.settings.Repo, c.Author)
		if err != nil {
			return err
		}
		if may {
			v.word = request{c.ID, commit}
			return nil
		}
	}
	return nil
}

// allowed tells whether a fork's head may be planned: somebody who may write has
// named it.
func (v *review) allowed() bool { return v.settings.Forks && v.word.commit != "" }

func (v *review) style(planned string) Style {
	asked := max(v.asked, v.word.id)
	s := Style{
		Bytes: v.settings.Host.CommentBytes, Plain: v.settings.Host.Kind == scm.BitbucketCloud || v.settings.Host.Kind == scm.BitbucketServer,
		Marker:       fmt.Sprintf("%s head=%s asked=%d", v.marker, planned, asked),
		Title:        fmt.Sprintf("Plumb preview of %s into %s", code(short(v.pull.HeadSHA)), code(v.pull.BaseBranch)),
		WithoutDiffs: !v.settings.Diffs,
		Again:        "Comment `/plumb preview` to plan it again.",
	}
	if v.settings.Name != "" {
		s.Title += " (" + code(v.settings.Name) + ")"
	}
	if v.pull.Fork {
		s.Again = "A push is planned when it is asked for again."
	}
	return s
}

func short(sha string) string { return sha[:min(len(sha), 8)] }

// wait says that somebody has to say a word.
func (v *review) wait(ctx context.Context) error {
	if !v.settings.Forks {
		return v.status(ctx, scm.Success, "pull requests of forks are not previewed")
	}
	text := Notice(v.style("waiting"),
		"This comes from a fork, so nothing of it has been looked at: a plan runs what the change holds, with credentials.",
		fmt.Sprintf("Somebody who may write to this repository can have it planned, after having read it, by the comment:\n\n```text\n/plumb preview %s\n```", v.pull.HeadSHA))
	if v.found && strings.TrimSpace(v.mine.Body) == strings.TrimSpace(text) {
		return nil // it is said already
	}
	if err := v.say(ctx, text); err != nil {
		return err
	}
	v.o.Previewed(OutcomeWaits, 0)
	return v.status(ctx, scm.Pending, "a fork: waits for /plumb preview by a maintainer")
}

// plan plans, and says what came of it.
func (v *review) plan(ctx context.Context) error {
	start := time.Now()
	change, notes, err := v.change(ctx)
	if err != nil {
		return err
	}
	apps := v.o.World.Applications()
	if err := v.status(ctx, scm.Pending, "looking at what changes"); err != nil {
		return err
	}
	e, release, err := v.o.World.Engine(ctx)
	if err != nil {
		return err
	}
	defer release()
	report, err := Look(ctx, e, apps, change)
	if err != nil {
		return err
	}
	if len(report.Applications) > 0 || v.found {
		style := v.style(v.pull.HeadSHA)
		style.Notes = notes
		if err := v.say(ctx, Markdown(report, style)); err != nil {
			return err
		}
	}
	before := v.meanings(ctx, e, apps, report)
	v.remember(v.id, func(s *seen) {
		s.planned, s.asked, s.before = v.pull.HeadSHA, max(v.asked, v.word.id), before
	})
	state, text := outcome(report)
	v.o.Previewed(outcomeOf(report), time.Since(start))
	v.o.Log.Info("pull request previewed", "repository", v.id.repo, "number", v.id.number, "head", short(v.pull.HeadSHA),
		"applications", len(report.Applications), "of", report.Followers, "looked", report.Took.Round(time.Millisecond), "took", time.Since(start).Round(time.Millisecond))
	return v.status(ctx, state, text)
}

// change is what is compared: where the host has merged it on trial, that with
// what it was merged into, and else the head with where it has left the base.
func (v *review) change(ctx context.Context) (Change, []string, error) {
	p := v.pull
	branch, err := v.o.World.DefaultBranch(ctx, v.id.repo)
	if err != nil {
		return Change{}, nil, err
	}
	c := Change{Repo: v.id.repo, Base: p.BaseBranch, Default: branch == p.BaseBranch, From: p.MergeBase, To: p.HeadSHA}
	if !v.settings.Modules {
		c.WithoutModules = "modules are not planned on pull requests of this repository"
	}
	notes := []string{"What is compared is the branch as it is, without what has gone into " + code(p.BaseBranch) + " since it was left: what is newer there may look like a change back. Rebase it for an exact plan."}
	if p.Merge != "" && p.MergeParent != "" {
		c.From, c.To, c.Head, notes = p.MergeParent, p.Merge, p.HeadSHA, nil
	}
	if c.From == "" || c.To == "" {
		return Change{}, nil, fmt.Errorf("the host does not say where pull request %d has left %s", p.Number, p.BaseBranch)
	}
	if tip, err := v.tip(ctx); err == nil && tip == c.From {
		notes = nil
	}
	return c, notes, nil
}

// tip of the base, if whoever composes us can tell.
func (v *review) tip(ctx context.Context) (string, error) {
	t, ok := v.o.World.(interface {
		Tip(ctx context.Context, repoURL, branch string) (string, error)
	})
	if !ok {
		return "", errors.ErrUnsupported
	}
	return t.Tip(ctx, v.id.repo, v.pull.BaseBranch)
}

func outcomeOf(r Report) Outcome {
	switch {
	case r.Failed() > 0:
		return OutcomeRefused
	case len(r.Applications) == 0:
		return OutcomeNone
	}
	return OutcomeChanges
}

func outcome(r Report) (scm.StatusState, string) {
	if n := r.Failed(); n > 0 {
		return scm.Failure, fmt.Sprintf("%s cannot be applied as declared", applications(n))
	}
	if len(r.Applications) == 0 {
		return scm.Success, "no Application changes"
	}
	return scm.Success, fmt.Sprintf("%s: %s", applications(len(r.Applications)), countsText(r.Total()))
}

// close says that nothing more will be said.
func (v *review) close(ctx context.Context) error {
	if !v.found || v.planned == "closed" {
		return nil
	}
	end := "closed without being merged"
	if v.pull.State == scm.Merged {
		end = "merged: what was applied is shown by the statuses of the commit"
	}
	style := v.style("closed")
	body := v.mine.Body
	if at := strings.Index(body, "### "); at >= 0 {
		body = body[at:]
	}
	if strings.Contains(v.mine.Body, "/plumb preview "+v.pull.HeadSHA) {
		body = "### " + style.Title + "\n"
	}
	head := style.marker() + "**This pull request is " + end + ".** The last preview was:\n\n"
	return v.say(ctx, bound(head+body, style.Bytes))
}

// say makes the one comment say the text.
func (v *review) say(ctx context.Context, text string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if v.found {
		if strings.TrimSpace(v.mine.Body) == strings.TrimSpace(text) {
			return nil
		}
		return v.settings.Host.Comments.Update(ctx, v.settings.Repo, v.id.number, v.mine.ID, text)
	}
	_, err := v.settings.Host.Comments.Create(ctx, v.settings.Repo, v.id.number, text)
	return err
}

func (v *review) status(ctx context.Context, state scm.StatusState, text string) error {
	return v.settings.Host.Statuses.Set(ctx, v.settings.Repo, v.pull.HeadSHA, scm.Status{
		Context: v.settings.Context(), State: state, Description: text,
	})
}
