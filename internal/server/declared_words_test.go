package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// TestDeclaredInWords takes a project through changes, as a server sees them that is
// started anew before each.
func TestDeclaredInWords(t *testing.T) {
	platform := []v1alpha1.Approver{{Group: "platform"}, {User: "ann"}}
	night := v1alpha1.SyncWindow{Kind: "deny", Schedule: "0 22 * * *", Duration: "8h", TimeZone: "Europe/Berlin", Applications: []string{"*"}}
	day := v1alpha1.SyncWindow{Kind: "allow", Schedule: "0 8 * * *", Duration: "1h", ManualSync: true}
	ops := v1alpha1.ProjectRole{Name: "ops", Groups: []string{"sre"}, Policies: []string{"p, proj:shop:ops, applications, sync, shop/*, allow"}, JWTTokens: []v1alpha1.JWTToken{{ID: planted}}}
	no := false
	recorded := map[string]declaredState{}
	for _, step := range []struct {
		name    string
		spec    v1alpha1.AppProjectSpec
		want    []string
		details map[string]string
	}{
		{"made with nothing", v1alpha1.AppProjectSpec{}, []string{"PermissionChanged: roles and service accounts of project shop", "ProjectChanged: project shop was made"}, nil},
		{
			"an approval policy", v1alpha1.AppProjectSpec{Approval: &v1alpha1.ApprovalPolicy{MinApprovals: 2, Approvers: platform}},
			[]string{"ProjectChanged: project shop was changed: approval: none → always, 2 of group platform, user ann"}, map[string]string{"approval": "always, 2 of group platform, user ann"},
		},
		{
			"windows", v1alpha1.AppProjectSpec{Approval: &v1alpha1.ApprovalPolicy{MinApprovals: 2, Approvers: platform}, SyncWindows: v1alpha1.SyncWindows{night, day}},
			[]string{`ProjectChanged: project shop was changed: windows: + deny "0 22 * * *" for 8h Europe/Berlin, applications *; + allow "0 8 * * *" for 1h UTC, by hand all the same`}, nil,
		},
		{
			"no approvals, a window less", v1alpha1.AppProjectSpec{Approval: &v1alpha1.ApprovalPolicy{Required: &no}, SyncWindows: v1alpha1.SyncWindows{day}},
			[]string{`ProjectChanged: project shop was changed: approval: always, 2 of group platform, user ann → never. windows: − deny "0 22 * * *" for 8h Europe/Berlin, applications *`}, nil,
		},
		{
			"a role and an account", v1alpha1.AppProjectSpec{
				Approval: &v1alpha1.ApprovalPolicy{Required: &no}, SyncWindows: v1alpha1.SyncWindows{day}, Roles: []v1alpha1.ProjectRole{ops},
				DestinationServiceAccounts: []v1alpha1.ApplicationDestinationServiceAccount{{Server: "https://x:" + planted + "@k.example", DefaultServiceAccount: "deployer"}},
			},
			[]string{"PermissionChanged: roles and service accounts of project shop: roles: none → ops (groups sre): p, proj:shop:ops, applications, sync, shop/*, allow. accounts: none → https://x:xxxxx@k.example in any namespace as deployer"}, nil,
		},
	} {
		d := newDeclared(nil, nil)
		d.known = recorded
		p := &v1alpha1.AppProject{ObjectMeta: metav1.ObjectMeta{Namespace: "plumb-system", Name: "shop"}, Spec: step.spec}
		d.Project("plumb.dev", nil, p)
		var said []string
		next := declaredState{facets: map[string]string{}}
		next.hear(knownWords(recorded))
		for _, e := range d.entries(d.take()[0]) {
			raw, err := entry.Encode(entry.Clean(e))
			if err != nil || strings.Contains(string(raw), planted) {
				t.Errorf("%s: %v %s", step.name, err, raw)
			}
			said = append(said, string(e.Kind)+": "+e.Message)
			next.hear(e.Details)
			for name, want := range step.details {
				if e.Details[name] != want {
					t.Errorf("%s: %s is %q", step.name, name, e.Details[name])
				}
			}
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(step.want)), slices.Sorted(slices.Values(said))); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		for id, s := range d.known { // what the next server finds in the ledger
			s.words = next.words
			recorded = map[string]declaredState{id: s}
		}
	}
}

func knownWords(recorded map[string]declaredState) map[string]string {
	for _, s := range recorded {
		return s.words
	}
	return nil
}

// TestDeclaredAsKept has a server begin anew with what the ledger keeps of what was
// declared: nothing is new.
func TestDeclaredAsKept(t *testing.T) {
	for name, s := range map[string]declaredState{
		"many revisions":       {id: "app/1", facets: map[string]string{facetPin: pinned(strings.Repeat("0123456789abcdef0123456789abcdef01234567,", 40))}},
		"what terminals obey":  {id: "app/1", facets: map[string]string{facetPin: pinned("a\x1b[31m\u202eb")}},
		"what is in addresses": {id: rightPrefix + "RoleBinding/shop/b", facets: map[string]string{facetPermissions: "RoleBinding shop/b binds Role shop/r to User https://ann:" + planted + "@x.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := newDeclared(nil, nil), newDeclared(nil, nil)
			s.seen = time.Now()
			kept := declaredState{id: s.id, facets: map[string]string{}}
			for _, e := range before.entries(s) {
				raw, err := entry.Encode(entry.Clean(e))
				if err != nil || strings.Contains(string(raw), planted) {
					t.Fatalf("%s %v", raw, err)
				}
				if e, err = entry.Decode(raw); err != nil {
					t.Fatal(err)
				}
				for _, facet := range []string{facetPin, facetPermissions} {
					if v, ok := e.Details[facet]; ok {
						kept.facets[facet] = v
					}
				}
			}
			after.known[s.id] = kept
			for _, e := range after.entries(s) {
				t.Errorf("recorded again: %s %s", e.Kind, e.Message)
			}
		})
	}
}

// TestFrozenByName looks whose name counts for a freeze.
func TestFrozenByName(t *testing.T) {
	frozen := &v1alpha1.AppProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plumb-system", Name: "shop", UID: "1"},
		Spec:       v1alpha1.AppProjectSpec{Freeze: &v1alpha1.Freeze{By: "ann", Reason: "launch"}},
	}
	free := frozen.DeepCopy()
	free.Spec.Freeze = nil
	for name, c := range map[string]struct {
		reason       string
		first        *v1alpha1.AppProject
		early        bool
		actor, named string
	}{
		"frozen":      {"the API server has checked who did it", free, false, "ann", ""},
		"made frozen": {"it has not", nil, false, somebody, "ann"},
		"found":       {"it was frozen before, as far as is known", nil, true, "ann", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeclared(nil, nil)
			if c.first != nil {
				d.Project(v1alpha1.Group, nil, c.first)
				d.entries(d.take()[0])
			}
			d.Project(v1alpha1.Group, c.first, frozen)
			s := d.take()[0]
			s.early = c.early
			var actor, named string
			for _, e := range d.entries(s) {
				if e.Kind == entry.Frozen {
					actor, named = e.Actor.User, e.Details["named"]
				}
			}
			if actor != c.actor || named != c.named {
				t.Errorf("%s: frozen by %q, named %q", c.reason, actor, named)
			}
		})
	}
}

// TestMissing has things end while no server runs.
func TestMissing(t *testing.T) {
	d := newDeclared(nil, nil)
	d.known = map[string]declaredState{
		everything:                       {id: everything, facets: map[string]string{facetFreeze: "sha256:1"}},
		"project/plumb.dev/ns/gone":      {id: "project/plumb.dev/ns/gone", entry: entry.Entry{Project: "gone"}},
		"project/plumb.dev/ns/there":     {id: "project/plumb.dev/ns/there", entry: entry.Entry{Project: "there"}},
		"project/argoproj.io/ns/other":   {id: "project/argoproj.io/ns/other", entry: entry.Entry{Project: "other"}},
		rightPrefix + "Role/shop/reader": {id: rightPrefix + "Role/shop/reader"}, // compared once they are known
	}
	missing := d.missing([]declaredState{{id: "project/plumb.dev/ns/there"}}, func(group string) bool { return group == v1alpha1.Group })
	var said []string
	for range 2 {
		for _, s := range missing {
			for _, e := range d.entries(s) {
				said = append(said, string(e.Kind)+": "+e.Message)
			}
		}
	}
	slices.Sort(said)
	if diff := cmp.Diff([]string{"ProjectChanged: project gone is gone", "Thawed: all projects may be changed again"}, said); diff != "" {
		t.Error(diff)
	}
}

func pinned(revisions string) string {
	d := newDeclared(nil, nil)
	d.Application(v1alpha1.Group, nil, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationPin: revisions}}})
	return d.take()[0].facets[facetPin]
}

func TestWordsAreBounded(t *testing.T) {
	var spec v1alpha1.AppProjectSpec
	for range 100 {
		spec.Roles = append(spec.Roles, v1alpha1.ProjectRole{Name: "role", Policies: []string{strings.Repeat("p, ", 20)}})
	}
	if text := wordsOfProject(spec)["roles"]; len(text) > 1024 || !strings.HasSuffix(text, " more") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}
