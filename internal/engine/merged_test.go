package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// fakeBranches is a repository with branches whose commits can be compared.
type fakeBranches struct{ *fakePast }

func (g fakeBranches) Resolve(ctx context.Context, spec source.Spec, cred source.Credentials) (source.Resolved, error) {
	at, err := g.fakePast.Resolve(ctx, spec, cred)
	if at.Revision != spec.Revision {
		at.Ref = "refs/heads/main"
	}
	return at, err
}

func (g fakeBranches) Differences(_ context.Context, _ source.Spec, from, to source.Resolved, _ source.Credentials, _ int) (map[string]source.Difference, error) {
	a, b, out := g.trees[from.Revision], g.trees[to.Revision], map[string]source.Difference{}
	if a == nil || b == nil {
		return nil, fmt.Errorf("%s or %s is not there", from.Revision, to.Revision)
	}
	for name := range a {
		if a[name] != b[name] {
			out[name] = source.Difference{From: a[name], To: b[name]}
		}
	}
	for name := range b {
		if _, both := a[name]; !both {
			out[name] = source.Difference{To: b[name]}
		}
	}
	return out, nil
}

// branch is a commit beside the main branch.
func (g fakeBranches) branch(id string, files map[string]string, author string, parents ...string) {
	head := g.head
	g.trees[id] = files
	text := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
	for _, p := range parents {
		text += "parent " + p + "\n"
	}
	g.raw[id] = text + "author " + author + " 0 +0000\ncommitter " + author + " 0 +0000\n\nwork\n"
	g.head = head
}

// push is a commit on the main branch.
func (g fakeBranches) push(files map[string]string, parents ...string) {
	g.commit(files)
	g.made(eve, eve, "change", parents...)
}

// fakeMerges is a host that knows of pull requests, and counts what it is asked.
type fakeMerges struct {
	of    map[string]Merge
	asked map[string]int
}

func (m *fakeMerges) Of(_ context.Context, _, commit string) Merge {
	m.asked[commit]++
	return m.of[commit]
}

// pull is a merged one whose head two people have approved.
func (s *story) pull(change func(*Merge)) Merge {
	m := Merge{
		Found: true, URL: "https://git.example/shop/pulls/7", Host: "git.example", Branch: "main", Head: "work",
		MergedBy: "max", At: s.clock.now, ApprovedBy: []string{"ann", "bob"},
	}
	if change != nil {
		change(&m)
	}
	return m
}

func newMergeStory(t *testing.T, policy func(*v1alpha1.ApprovalPolicy)) (*story, *fakePlans, fakeBranches, *fakeMerges) {
	t.Helper()
	s, f := newApprovalStory(t)
	g := fakeBranches{&fakePast{s.git, map[string]string{}}}
	m := &fakeMerges{of: map[string]Merge{}, asked: map[string]int{}}
	s.e.Sources.Git, s.e.Merges = g, m
	g.push(files("web", "1", "1"))
	s.app("web", approval(func(p *v1alpha1.ApprovalPolicy) {
		yes := true
		p.PullRequest = &yes
		if policy != nil {
			policy(p)
		}
	}))
	s.tell("an Application for which pull requests are approvals")
	f.said("ann", v1alpha1.DecisionApprove)
	f.said("bob", v1alpha1.DecisionApprove)
	s.tell("it is approved by people the first time")
	return s, f, g, m
}

// broken renders nothing that is asked for as it is now, and counts that.
type broken struct {
	render.Renderer
	asked *int
}

func (b broken) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	if req.Uncached {
		*b.asked++
		return render.Bundle{}, errors.New("the chart is gone")
	}
	return b.Renderer.Render(ctx, req)
}

func TestWhatCantBeComparedIsAskedForSeldom(t *testing.T) {
	s, f, g, m := newMergeStory(t, nil)
	n := 0
	s.e.Renderer = broken{s.e.Renderer, &n}
	g.branch("work", files("web", "2", "1"), eve, "commit-1")
	g.push(files("web", "2", "1"), "commit-1", "work")
	m.of["commit-2"] = s.pull(nil)
	for range 60 {
		s.run()
		s.clock.now = s.clock.now.Add(time.Minute)
	}
	if last := f.plans[len(f.plans)-1]; !strings.Contains(last.Status.Message, "can't be compared just now") || n > 12 {
		t.Errorf("it was asked for %d times in an hour: %s", n, last.Status.Message)
	}
}

// elsewhereRenderer renders something that is in no source of the Application, unless it is
// asked for what is there now.
type elsewhereRenderer struct{ render.Renderer }

func (e elsewhereRenderer) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	b, err := e.Renderer.Render(ctx, req)
	if !req.Uncached {
		b.Hash += " of a remote base"
	}
	return b, err
}

func TestAMergedPullRequestApproves(t *testing.T) {
	s, f, g, m := newMergeStory(t, func(p *v1alpha1.ApprovalPolicy) { p.MinApprovals = 2 })
	s.e.Ledger = &fakeLedger{s: s}
	g.branch("work", files("web", "2", "1"), eve, "commit-1")
	g.push(files("web", "2", "1"), "commit-1", "work")
	m.of["commit-2"] = s.pull(nil)
	s.tell("a pull request is merged")
	for _, plan := range f.plans {
		if plan.Status.Phase != v1alpha1.PlanApplied {
			t.Errorf("plan %s is %s", plan.Name, plan.Status.Phase)
		}
	}
	g.push(files("web", "3", "1"), "commit-2")
	s.tell("somebody pushes without one")
	s.check()
	asked := m.asked["commit-3"]
	s.run()
	if m.asked["commit-2"] == 0 || asked == 0 {
		t.Error("the host was not asked")
	}
}

func TestWhichPullRequestsApprove(t *testing.T) {
	one, two := files("web", "2", "1"), files("web", "2", "2")
	cases := map[string]struct {
		reason string
		policy func(*v1alpha1.ApprovalPolicy)
		do     func(s *story, g fakeBranches, m *fakeMerges)
		want   string // empty where it is applied
	}{
		"Merge": {"a merge commit", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, ""},
		"Squash": {"one commit of the whole branch", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("first", one, eve, "commit-1")
			g.branch("work", two, eve, "first")
			g.push(two, "commit-1")
			m.of["commit-2"] = s.pull(nil)
		}, ""},
		"Rebase": {"the branch's commits anew, of which the host knows the last", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("first", one, eve, "commit-1")
			g.branch("work", two, eve, "first")
			g.push(one, "commit-1")
			g.push(two, "commit-2")
			m.of["commit-3"] = s.pull(nil)
		}, ""},
		"Behind": {"the branch was left before others have come by pull requests of their own", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("other", files("web", "1", "2"), eve, "commit-1")
			g.branch("work", one, eve, "commit-1")
			g.push(files("web", "1", "2"), "commit-1", "other")
			g.push(two, "commit-2", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.Head, m.URL = "other", "https://git.example/shop/pulls/6" })
			m.of["commit-3"] = s.pull(nil)
		}, ""},
		"Updated": {"what the branch has merged from the main branch is not its own", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("first", one, eve, "commit-1")
			g.push(map[string]string{"web/a.yaml": object("ConfigMap", "a", "1"), "web/b.yaml": object("ConfigMap", "b", "1"), "other": "1"}, "commit-1")
			s.run()
			both := map[string]string{"web/a.yaml": object("ConfigMap", "a", "2"), "web/b.yaml": object("ConfigMap", "b", "1"), "other": "1"}
			g.branch("work", both, eve, "first", "commit-2")
			g.push(both, "commit-2", "work")
			m.of["commit-3"] = s.pull(nil)
		}, ""},
		"UpdatedBelow": {"what somebody has pushed does not come by the pull request whose branch was updated with it", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("first", one, eve, "commit-1")
			g.push(files("web", "1", "2"), "commit-1")
			g.branch("work", two, eve, "first", "commit-2")
			g.push(two, "commit-2", "work")
			m.of["commit-3"] = s.pull(nil)
		}, "commit-2 has not come by one"},
		"Onto": {"nor where its branch was made anew on top of that", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.push(files("web", "1", "2"), "commit-1")
			g.branch("work", two, eve, "commit-2")
			g.push(two, "commit-2")
			m.of["commit-3"] = s.pull(nil)
		}, "commit-2 has not come by one"},
		"Forward": {"the branch's commits themselves: nobody knows which of them were there before it was looked at", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.push(one, "commit-1")
			g.push(two, "commit-2")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.Head = "commit-3" })
			m.of["commit-3"] = m.of["commit-2"]
		}, "commit-2 holds other changes"},
		"ForwardOne": {"the branch's only commit itself", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.push(one, "commit-1")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.Head = "commit-2" })
		}, ""},
		"LeftOut": {"a merge made by hand that holds less than the branch", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", two, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "commit-2 holds other changes than https://git.example/shop/pulls/7 had when it was approved"},
		"Picked": {"part of it was there already", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("other", one, eve, "commit-1")
			g.branch("work", two, eve, "commit-1")
			g.push(one, "commit-1", "other")
			g.push(two, "commit-2", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.Head, m.URL = "other", "https://git.example/shop/pulls/6" })
			m.of["commit-3"] = s.pull(nil)
		}, ""},
		"Pushed": {"no pull request", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.push(one, "commit-1")
		}, "commit-2 has not come by one"},
		"OnTop": {"a push on top of a merge", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			g.push(two, "commit-2")
			m.of["commit-2"] = s.pull(nil)
		}, "commit-3 has not come by one"},
		"Below": {"a push below a merge", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(files("web", "1", "2"), "commit-1")
			g.push(two, "commit-2", "work")
			m.of["commit-3"] = s.pull(nil)
		}, "commit-2 has not come by one"},
		"Evil": {"a merge made by hand that holds more than the branch", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(two, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "commit-2 holds other changes than https://git.example/shop/pulls/7 had when it was approved"},
		"OtherBranch": {"it was merged into another branch, and pushed to this one", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.Branch = "dev" })
		}, "went into another branch"},
		"Few": {"too few have approved", func(p *v1alpha1.ApprovalPolicy) { p.MinApprovals = 2 }, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.ApprovedBy = []string{"ann"} })
		}, "has 1 of 2 approvals of what was merged"},
		"Authors": {"who has made commits of it does not count", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, "Ann <ann@example.com>", "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.ApprovedBy = []string{"ann"} })
		}, "has 0 of 1 approvals, without those of the authors"},
		"AuthorsAllowed": {"not even where authors may approve", func(p *v1alpha1.ApprovalPolicy) { no := false; p.NotAuthor = &no }, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, "Ann <ann@example.com>", "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.ApprovedBy = []string{"ann"} })
		}, "has 0 of 1 approvals, without those of the authors"},
		"Named": {"a host's users are not the API server's", func(p *v1alpha1.ApprovalPolicy) {
			p.Approvers = []v1alpha1.Approver{{User: "ann"}, {User: "bob"}}
		}, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "the policy names approvers"},
		"Old": {"approvals do not last for ever", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.At = m.At.Add(-25 * time.Hour) })
		}, "was merged more than 24h0m0s ago"},
		"Down": {"the host does not answer", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = Merge{Problem: "git.example does not answer", Again: s.clock.now.Add(time.Minute)}
		}, "git.example does not answer"},
		"Drift": {"what was changed where it runs does not come from Git", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { no := false; a.Spec.SyncPolicy.Automated.SelfHeal = &no })
			s.world.Edit("ConfigMap/shop/b", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
			s.run()
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "one of the changes does not come from Git"},
		"DriftBelow": {"not even where Git has changed the same thing since", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { no := false; a.Spec.SyncPolicy.Automated.SelfHeal = &no })
			s.world.Edit("ConfigMap/shop/a", func(live map[string]any) { live["data"] = map[string]any{"value": "mine"} })
			s.run()
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "one of the changes does not come from Git"},
		"Policy": {"the Application has changed, too", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy.SyncOptions = v1alpha1.SyncOptions{"Replace=true"} })
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "something else than Git has changed, too"},
		"Elsewhere": {"what it uses from another place has changed, too", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
			s.e.Renderer = elsewhereRenderer{s.e.Renderer}
		}, "something else than Git has changed, too"},
		"Gone": {"what was approved can't be fetched", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", nil, eve, "commit-1")
			g.push(one, "commit-1")
			m.of["commit-2"] = s.pull(nil)
		}, "can't be found out just now"},
		"Unseen": {"nobody knows what was there before", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			options := s.e.Options
			s.restart()
			s.e.Options = options
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "it was not seen in sync before the change"},
		"ByHand": {"nobody has asked for a sync", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy.Automated = nil })
			s.run()
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "syncs are not automated, and nobody has asked for one"},
		"Asked": {"somebody has", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy.Automated = nil })
			s.run()
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
			s.run()
			s.app("web", func(a *v1alpha1.Application) { a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}} })
		}, ""},
		"Part": {"a part of it is not what was looked at", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy.Automated = nil })
			s.run()
			g.branch("work", two, eve, "commit-1")
			g.push(two, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
			s.app("web", func(a *v1alpha1.Application) {
				a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{Resources: []v1alpha1.SyncOperationResource{{Kind: "ConfigMap", Name: "a"}}}}
			})
		}, "only a part of what has come by one is asked for"},
		"Hook": {"what runs with the next sync is no difference before", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			hook := map[string]string{"web/hook.yaml": object("Job", "hook", "1", "hook=PreSync")}
			maps.Copy(hook, files("web", "1", "1"))
			g.push(hook, "commit-1")
			s.run()
			both := maps.Clone(hook)
			maps.Copy(both, one)
			g.branch("work", both, eve, "commit-2")
			g.push(both, "commit-2", "work")
			m.of["commit-3"] = s.pull(nil)
		}, "commit-2 has not come by one"},
		"HookMerged": {"where all has come by them", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			hook := map[string]string{"web/hook.yaml": object("Job", "hook", "1", "hook=PreSync")}
			maps.Copy(hook, files("web", "1", "1"))
			g.branch("hooked", hook, eve, "commit-1")
			g.push(hook, "commit-1", "hooked")
			m.of["commit-2"] = s.pull(func(m *Merge) { m.Head = "hooked" })
			s.run()
			both := maps.Clone(hook)
			maps.Copy(both, one)
			g.branch("work", both, eve, "commit-2")
			g.push(both, "commit-2", "work")
			m.of["commit-3"] = s.pull(nil)
		}, ""},
		"Forced": {"by force is not what was looked at", nil, func(s *story, g fakeBranches, m *fakeMerges) {
			s.app("web", func(a *v1alpha1.Application) { a.Spec.SyncPolicy.Automated = nil })
			s.run()
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
			s.app("web", func(a *v1alpha1.Application) {
				a.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{SyncOptions: v1alpha1.SyncOptions{"Force=true"}}}
			})
		}, "more is asked for than what is declared"},
		"Off": {"the policy does not have it so", func(p *v1alpha1.ApprovalPolicy) { p.PullRequest = nil }, func(s *story, g fakeBranches, m *fakeMerges) {
			g.branch("work", one, eve, "commit-1")
			g.push(one, "commit-1", "work")
			m.of["commit-2"] = s.pull(nil)
		}, "waits for approval"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, f, g, m := newMergeStory(t, c.policy)
			c.do(s, g, m)
			s.run()
			last := f.plans[len(f.plans)-1]
			if c.want == "" {
				if last.Status.Phase != v1alpha1.PlanApplied || len(last.Status.PullRequests) == 0 {
					t.Errorf("%s: the plan is %s: %s\n%s", c.reason, last.Status.Phase, last.Status.Message, s.text.String())
				}
				return
			}
			if last.Status.Phase != v1alpha1.PlanPending || !strings.Contains(last.Status.Message, c.want) {
				t.Errorf("%s: the plan is %s: %s\n%s", c.reason, last.Status.Phase, last.Status.Message, s.text.String())
			}
		})
	}
}

func TestAPullRequestIsNoApprovalForGood(t *testing.T) {
	merged := func(t *testing.T) (*story, *fakePlans, fakeBranches, *fakeMerges) {
		s, f, g, m := newMergeStory(t, nil)
		g.branch("work", files("web", "2", "1"), eve, "commit-1")
		g.push(files("web", "2", "1"), "commit-1", "work")
		m.of["commit-2"] = s.pull(nil)
		return s, f, g, m
	}
	last := func(f *fakePlans) *v1alpha1.Plan { return f.plans[len(f.plans)-1] }
	t.Run("Rollback", func(t *testing.T) {
		s, f, _, _ := merged(t)
		s.tell("it is merged")
		s.app("web", func(a *v1alpha1.Application) {
			a.Annotations = map[string]string{v1alpha1.AnnotationPin: "commit-1", v1alpha1.AnnotationPinBy: "ann"}
		})
		s.tell("somebody pins it to what was there before")
		f.said("ann", v1alpha1.DecisionApprove)
		s.tell("which is approved")
		s.app("web", func(a *v1alpha1.Application) { a.Annotations = nil })
		s.tell("and follows Git again")
		if c := last(f); c.Status.Phase != v1alpha1.PlanPending || !strings.Contains(c.Status.Message, "this revision was applied before") {
			t.Errorf("the plan is %s: %s\n%s", c.Status.Phase, c.Status.Message, s.text.String())
		}
	})
	t.Run("Rejected", func(t *testing.T) {
		s, f, _, m := merged(t)
		found := m.of["commit-2"]
		m.of["commit-2"] = Merge{Problem: "git.example does not answer"}
		s.tell("the host is down")
		f.said("bob", v1alpha1.DecisionReject)
		s.tell("Bob rejects")
		m.of["commit-2"] = found
		s.tell("the host is back")
		if c := last(f); c.Status.Phase != v1alpha1.PlanRejected {
			t.Errorf("the plan is %s: %s", c.Status.Phase, c.Status.Message)
		}
	})
	t.Run("Restart", func(t *testing.T) {
		s, f, g, m := merged(t)
		s.gates.frozen = []Frozen{{Where: "all projects"}}
		s.tell("it is merged while all is frozen")
		options := s.e.Options
		s.restart()
		s.e.Options = options
		s.e.Sources.Git = g
		asked := m.asked["commit-2"]
		s.gates.frozen = nil
		s.tell("and goes on after a restart")
		if c := last(f); c.Status.Phase != v1alpha1.PlanApplied || m.asked["commit-2"] != asked {
			t.Errorf("the plan is %s: %s\n%s", c.Status.Phase, c.Status.Message, s.text.String())
		}
	})
	t.Run("Doubtful", func(t *testing.T) {
		s, f, _, m := merged(t)
		s.gates.frozen = []Frozen{{Where: "all projects"}}
		s.tell("it is merged while all is frozen")
		f.doubted = map[string]string{last(f).Name: "somebody has weakened what guards plans"}
		m.of["commit-2"] = Merge{}
		s.gates.frozen = nil
		s.tell("nobody knows who has written its status since")
		if c := last(f); c.Status.Phase != v1alpha1.PlanPending {
			t.Errorf("the plan is %s: %s\n%s", c.Status.Phase, c.Status.Message, s.text.String())
		}
	})
	t.Run("Overtaken", func(t *testing.T) {
		s, f, g, _ := merged(t)
		s.gates.frozen = []Frozen{{Where: "all projects"}}
		s.tell("it is merged while all is frozen")
		g.push(files("web", "3", "1"), "commit-2")
		s.gates.frozen = nil
		s.tell("somebody pushes before it begins")
		if c := last(f); c.Status.Phase != v1alpha1.PlanPending || f.plans[len(f.plans)-2].Status.Phase != v1alpha1.PlanStale {
			t.Errorf("the plan is %s: %s", c.Status.Phase, c.Status.Message)
		}
	})
}
