package preview

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// fakeEngine renders an Application's name and, for those that the change touches,
// the commit.
type fakeEngine struct {
	touched, module, brokenBefore, broken map[string]bool
	tip                                   string
}

func (f fakeEngine) Render(_ context.Context, app *v1alpha1.Application, _ engine.Key, o engine.PreviewOptions) (render.Bundle, error) {
	commit := strings.Join(o.Revisions, ",")
	if f.brokenBefore[app.Name] || f.broken[app.Name] && strings.Contains(commit, "to") {
		return render.Bundle{Secrets: render.NewTexts([]string{"c4n4ry-secret"})}, errors.New("x.yaml:1: broken, c4n4ry-secret")
	}
	if len(o.Revisions) == 0 {
		commit = f.tip
	}
	b := render.Bundle{Hash: app.Name, Secrets: render.NewTexts([]string{"c4n4ry-secret"})}
	if f.touched[app.Name] {
		b.Hash += commit
	}
	if f.module[app.Name] {
		b.Module = &render.Module{}
	}
	return b, nil
}

func (f fakeEngine) Preview(_ context.Context, app *v1alpha1.Application, _ engine.Key, o engine.PreviewOptions) (engine.Preview, error) {
	ref := plan.Ref{Kind: "Secret", Version: "v1", Name: app.Name}
	object := func(value string) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"password": value}, "note": "c4n4ry-secret"}
	}
	return engine.Preview{Comparison: driver.Comparison{
		Plan: plan.New([]plan.Step{
			{Phase: plan.Sync, Change: plan.Update{Resource: ref, Before: plan.State{Object: object("c4n4ry-1")}, After: plan.State{Object: object("c4n4ry-2")}}},
			{Phase: plan.Sync, Change: plan.Replace{Resource: plan.Ref{Kind: "x", Name: "y"}}},
		}),
	}, Revisions: o.Revisions}, nil
}

func app(name string, sources ...v1alpha1.ApplicationSource) App {
	return App{Key: engine.Key{Group: v1alpha1.Group, Namespace: "ns", Name: name}, Application: &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ApplicationSpec{Sources: sources},
	}}
}

func at(repo, revision string) v1alpha1.ApplicationSource {
	return v1alpha1.ApplicationSource{RepoURL: repo, TargetRevision: revision, Path: "p"}
}

func TestLook(t *testing.T) {
	const repo = "https://git.example/shop/deploy"
	e := fakeEngine{
		touched:      map[string]bool{"touched": true, "ssh": true, "second": true, "module": true, "tag": true, "other": true},
		module:       map[string]bool{"module": true},
		brokenBefore: map[string]bool{"was": true}, broken: map[string]bool{"breaks": true},
	}
	apps := []App{
		app("touched", at(repo, "main")), app("same", at(repo, "")), app("ssh", at("ssh://git@git.example:2222/shop/deploy.git", "refs/heads/main")),
		app("second", at("https://git.example/else", "main"), at(repo, "HEAD")), app("module", at(repo, "main")),
		app("tag", at(repo, "v1")), app("other", at("https://git.example/shop/deploys", "main")), app("was", at(repo, "main")), app("breaks", at(repo, "main")),
	}
	got, err := Look(t.Context(), e, apps, Change{Repo: repo, Base: "main", Default: true, From: "from", To: "to", WithoutModules: "not here"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, r := range got.Applications {
		names[r.Application] = r.Skipped + r.Error
		for _, d := range r.Changes {
			if strings.Contains(d.Diff, "c4n4ry") {
				t.Errorf("a secret is shown: %s", d.Diff)
			}
		}
	}
	want := map[string]string{"ns/touched": "", "ns/ssh": "", "ns/second": "", "ns/module": "not here", "ns/breaks": "x.yaml:1: broken, ++++++++"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if got.Followers != 7 || got.Failed() != 1 || got.Total().Update != 3 {
		t.Errorf("%d follow, %d failed, %+v", got.Followers, got.Failed(), got.Total())
	}
	r := got.Applications[len(got.Applications)-1]
	if r.Destroys != 1 || r.Irreversible != 1 || r.Then != ThenByHand {
		t.Errorf("risk of %+v", r)
	}
	if got, _ := Look(t.Context(), e, apps, Change{Repo: repo, Base: "main", From: "from", To: "to"}); got.Followers != 5 {
		t.Errorf("%d follow main where it is not the default branch", got.Followers)
	}
}

func TestThen(t *testing.T) {
	yes, no := true, false
	type policy = v1alpha1.ApprovalPolicy
	auto, manual := &v1alpha1.SyncPolicy{Automated: &v1alpha1.SyncPolicyAutomated{}}, &v1alpha1.SyncPolicy{}
	for name, c := range map[string]struct {
		reason          string
		sync            *v1alpha1.SyncPolicy
		approval        *policy
		destroys, drift bool
		want            Then
	}{
		"Automated":   {"nobody is asked", auto, nil, false, false, ThenApplied},
		"Manual":      {"somebody has to sync it", manual, nil, false, false, ThenByHand},
		"None":        {"there is no policy", nil, nil, false, false, ThenByHand},
		"Always":      {"people are asked", auto, &policy{}, false, false, ThenApproval},
		"AskedToSync": {"people are asked, and what they approve is done", manual, &policy{}, false, false, ThenApproval},
		"Off":         {"the policy is turned off", auto, &policy{Required: &no}, false, false, ThenApplied},
		"Harmless":    {"nothing is destroyed", auto, &policy{When: v1alpha1.ApproveDestructive}, false, false, ThenApplied},
		"Destructive": {"something is", auto, &policy{When: v1alpha1.ApproveDestructive}, true, false, ThenApproval},
		"ByHand":      {"nobody is asked before somebody syncs", manual, &policy{When: v1alpha1.ApproveDestructive}, true, false, ThenByHand},
		"Drift":       {"a change in Git is no drift", auto, &policy{When: v1alpha1.ApproveDrift}, true, false, ThenApplied},
		"Pull":        {"the approvals of the pull request count", auto, &policy{PullRequest: &yes}, false, false, ThenPull},
		"PullByHand":  {"not where nobody has asked for a sync", manual, &policy{PullRequest: &yes}, false, false, ThenApproval},
		"PullNamed":   {"not where approvers are named", auto, &policy{PullRequest: &yes, Approvers: []v1alpha1.Approver{{User: "ann"}}}, false, false, ThenApproval},
		"PullDrift":   {"not for what was changed where it runs", auto, &policy{PullRequest: &yes}, false, true, ThenApproval},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{SyncPolicy: c.sync}}
			if got := thenOf(app, c.approval, c.destroys, c.drift); got != c.want {
				t.Errorf("%s: %s, want %s", c.reason, got, c.want)
			}
		})
	}
}

// vouchedEngine fails for commits that are not signed, of which there is one.
type vouchedEngine struct{ fakeEngine }

func (e vouchedEngine) Render(ctx context.Context, app *v1alpha1.Application, key engine.Key, o engine.PreviewOptions) (render.Bundle, error) {
	signed := o.Revisions[0]
	if len(o.Vouched) > 0 && o.Vouched[0] != "" {
		signed = o.Vouched[0]
	}
	if signed == "trial" || signed == "unsigned" {
		return render.Bundle{}, errors.New("commit " + signed + " is not signed")
	}
	return e.fakeEngine.Render(ctx, app, key, o)
}

func TestHeadsHaveToBeSigned(t *testing.T) {
	e := vouchedEngine{fakeEngine{touched: map[string]bool{"web": true}}}
	apps := []App{app("web", at("https://git.example/shop/deploy", "main"))}
	look := func(head string) Result {
		r, err := Look(t.Context(), e, apps, Change{Repo: "https://git.example/shop/deploy", Base: "main", From: "from", To: "trial", Head: head})
		if err != nil || len(r.Applications) != 1 {
			t.Fatalf("got %+v, %v", r, err)
		}
		return r.Applications[0]
	}
	if r := look("signed"); r.Error != "" {
		t.Errorf("nobody signs what a host merges on trial: %s", r.Error)
	}
	if r := look("unsigned"); r.Error != "commit unsigned is not signed" {
		t.Errorf("it is planned though a sync would be refused: %+v", r)
	}
}
