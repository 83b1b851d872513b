package v1alpha1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func ptr[T any](v T) *T { return &v }

func TestSources(t *testing.T) {
	one := v1alpha1.ApplicationSource{RepoURL: "one"}
	two := v1alpha1.ApplicationSource{RepoURL: "two"}
	hydrator := &v1alpha1.SourceHydrator{
		DrySource:  v1alpha1.DrySource{RepoURL: "dry"},
		SyncSource: v1alpha1.SyncSource{TargetBranch: "env", Path: "p"},
	}
	for name, c := range map[string]struct {
		reason   string
		spec     v1alpha1.ApplicationSpec
		want     v1alpha1.ApplicationSources
		multiple bool
	}{
		"none":     {"nothing is declared", v1alpha1.ApplicationSpec{}, nil, false},
		"one":      {"the source counts", v1alpha1.ApplicationSpec{Source: &one}, v1alpha1.ApplicationSources{one}, false},
		"both":     {"sources go before source", v1alpha1.ApplicationSpec{Source: &one, Sources: v1alpha1.ApplicationSources{two}}, v1alpha1.ApplicationSources{two}, true},
		"hydrator": {"the hydrator goes before both", v1alpha1.ApplicationSpec{Source: &one, Sources: v1alpha1.ApplicationSources{two}, SourceHydrator: hydrator}, v1alpha1.ApplicationSources{{RepoURL: "dry", Path: "p", TargetRevision: "env"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.spec.GetSources()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if got := c.spec.HasMultipleSources(); got != c.multiple {
				t.Errorf("%s: several sources: %v", c.reason, got)
			}
		})
	}
}

func TestAutomated(t *testing.T) {
	for name, c := range map[string]struct {
		reason        string
		policy        *v1alpha1.SyncPolicyAutomated
		enabled, heal bool
	}{
		"none":     {"without the field nothing is automatic", nil, false, false},
		"empty":    {"the field alone turns it on", &v1alpha1.SyncPolicyAutomated{}, true, false},
		"on":       {"said explicitly", &v1alpha1.SyncPolicyAutomated{Enabled: ptr(true), SelfHeal: ptr(true)}, true, true},
		"off":      {"turned off, the rest does not count", &v1alpha1.SyncPolicyAutomated{Enabled: ptr(false), SelfHeal: ptr(true)}, false, false},
		"explicit": {"said explicitly not", &v1alpha1.SyncPolicyAutomated{SelfHeal: ptr(false)}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.policy.IsEnabled(); got != c.enabled {
				t.Errorf("%s: enabled: %v", c.reason, got)
			}
			if got := c.policy.GetSelfHeal(); got != c.heal {
				t.Errorf("%s: self-heal: %v", c.reason, got)
			}
		})
	}
}

func TestRetryWait(t *testing.T) {
	backoff := func(duration, longest string, factor *int64) *v1alpha1.RetryStrategy {
		return &v1alpha1.RetryStrategy{Backoff: &v1alpha1.Backoff{Duration: duration, MaxDuration: longest, Factor: factor}}
	}
	for name, c := range map[string]struct {
		reason  string
		retry   *v1alpha1.RetryStrategy
		retried int64
		want    time.Duration
		fails   bool
	}{
		"none":     {"the defaults", nil, 1, 10 * time.Second, false},
		"first":    {"the first wait is the duration", backoff("1m", "", nil), 0, time.Minute, false},
		"grows":    {"multiplied by the factor", backoff("1s", "1h", ptr(int64(3))), 3, 27 * time.Second, false},
		"seconds":  {"a bare number is seconds", backoff("7", "", nil), 0, 7 * time.Second, false},
		"longest":  {"never longer than the longest", backoff("5s", "20s", nil), 9, 20 * time.Second, false},
		"overflow": {"no overflow", backoff("5s", "100000h", ptr(int64(1)<<62)), 1 << 62, 100000 * time.Hour, false},
		"constant": {"a factor of one ends at once", backoff("5s", "1h", ptr(int64(1))), 1 << 62, 5 * time.Second, false},
		"zero":     {"no wait at all ends at once", backoff("0", "1h", nil), 1 << 62, 0, false},
		"wrong":    {"not a duration", backoff("soon", "", nil), 0, 0, true},
		"negative": {"not a duration to wait", backoff("-5s", "", nil), 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.retry.Wait(c.retried)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("%s: got %v, %v; want %v", c.reason, got, err, c.want)
			}
		})
	}
}

func TestMayRetry(t *testing.T) {
	for limit, want := range map[int64]bool{0: false, 3: false, 4: true, -1: true} {
		if got := (&v1alpha1.RetryStrategy{Limit: limit}).MayRetry(3); got != want {
			t.Errorf("limit %d, after three: %v", limit, got)
		}
	}
	if (*v1alpha1.RetryStrategy)(nil).MayRetry(0) {
		t.Error("without a strategy there is no retry")
	}
}

func TestSyncOptions(t *testing.T) {
	options := v1alpha1.ParseSyncOptions(" Prune=false, Replace=true,,Odd")
	if diff := cmp.Diff(v1alpha1.SyncOptions{"Prune=false", "Replace=true", "Odd"}, options); diff != "" {
		t.Fatal(diff)
	}
	if v, ok := options.Get(v1alpha1.SyncOptionPrune); v != "false" || !ok {
		t.Errorf("Prune: %q, %v", v, ok)
	}
	if _, ok := options.Get(v1alpha1.SyncOptionPruneLast); ok {
		t.Error("PruneLast is not set: Prune is not its prefix")
	}
	if !options.IsTrue(v1alpha1.SyncOptionReplace) || !options.Has("Odd") {
		t.Errorf("options are lost: %v", options)
	}
}

func TestLookup(t *testing.T) {
	annotations := map[string]string{v1alpha1.AnnotationSyncWave: "1", v1alpha1.PlumbAnnotationSyncWave: "2", v1alpha1.AnnotationHook: "Sync"}
	if v, ok := v1alpha1.Lookup(annotations, v1alpha1.NameSyncWave); v != "2" || !ok {
		t.Errorf("Plumb's own annotation goes first: %q, %v", v, ok)
	}
	if v, ok := v1alpha1.Lookup(annotations, v1alpha1.NameHook); v != "Sync" || !ok {
		t.Errorf("Argo CD's annotation counts: %q, %v", v, ok)
	}
	if _, ok := v1alpha1.Lookup(nil, v1alpha1.NameHook); ok {
		t.Error("there is none")
	}
}

func TestExplicitType(t *testing.T) {
	helm := &v1alpha1.ApplicationSourceHelm{}
	for name, c := range map[string]struct {
		source v1alpha1.ApplicationSource
		want   v1alpha1.ApplicationSourceType
		err    string
	}{
		"none":    {v1alpha1.ApplicationSource{}, "", ""},
		"one":     {v1alpha1.ApplicationSource{Helm: helm}, v1alpha1.ApplicationSourceTypeHelm, ""},
		"several": {v1alpha1.ApplicationSource{Helm: helm, Kustomize: &v1alpha1.ApplicationSourceKustomize{}}, "", "the source has options for Kustomize and Helm: keep those of one"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.source.ExplicitType()
			message := ""
			if err != nil {
				message = err.Error()
			}
			if got != c.want || message != c.err {
				t.Errorf("got %q, %q", got, message)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	h := v1alpha1.RevisionHistories{{ID: 1}, {ID: 2}, {ID: 3}}
	for n, want := range map[int]int{-1: 0, 0: 0, 2: 2, 9: 3} {
		if got := h.Trunc(n); len(got) != want || (want > 0 && got[want-1].ID != 3) {
			t.Errorf("the latest %d: %v", n, got)
		}
	}
	if h.LastRevisionHistory().ID != 3 || (v1alpha1.RevisionHistories)(nil).LastRevisionHistory().ID != 0 {
		t.Error("the latest sync is the last of the list")
	}
}

func TestInventoryID(t *testing.T) {
	for _, parts := range [][4]string{
		{"apps", "Deployment", "shop", "web"},
		{"", "Namespace", "", "shop"},
		{"rbac.authorization.k8s.io", "ClusterRole", "", "system:a/b"},
	} {
		group, kind, namespace, name, ok := v1alpha1.InventoryEntry{ID: v1alpha1.InventoryID(parts[0], parts[1], parts[2], parts[3])}.Split()
		if got := [4]string{group, kind, namespace, name}; got != parts || !ok {
			t.Errorf("got %v, want %v", got, parts)
		}
	}
	if _, _, _, _, ok := (v1alpha1.InventoryEntry{ID: "a/b"}).Split(); ok {
		t.Error("an id has four parts")
	}
}

func TestDestinationInCluster(t *testing.T) {
	for _, c := range []struct {
		destination v1alpha1.ApplicationDestination
		want        bool
	}{
		{v1alpha1.ApplicationDestination{Namespace: "shop"}, true},
		{v1alpha1.ApplicationDestination{Server: v1alpha1.InClusterServer + "/"}, true},
		{v1alpha1.ApplicationDestination{Name: v1alpha1.InClusterName}, true},
		{v1alpha1.ApplicationDestination{Name: "prod"}, false},
		{v1alpha1.ApplicationDestination{Server: "https://10.0.0.1:6443"}, false},
	} {
		if got := c.destination.IsInCluster(); got != c.want {
			t.Errorf("%+v: %v", c.destination, got)
		}
	}
}

func TestApprovalAtLeast(t *testing.T) {
	type policy = v1alpha1.ApprovalPolicy
	lead, ann, bob := v1alpha1.Approver{Group: "leads"}, v1alpha1.Approver{User: "ann"}, v1alpha1.Approver{User: "bob"}
	yes, no := true, false
	cases := map[string]struct {
		reason     string
		own, floor *policy
		when       v1alpha1.ApprovalWhen
		want       v1alpha1.PlanApproval
	}{
		"Neither": {"nobody asks", nil, nil, v1alpha1.ApproveNever, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s"}},
		"Own":     {"the project does not ask", &policy{When: v1alpha1.ApproveDrift}, &policy{Required: &no}, v1alpha1.ApproveDrift, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s"}},
		"Floor": {"an Application can't ask for nothing", &policy{When: v1alpha1.ApproveNever, MinApprovals: 9}, &policy{When: v1alpha1.ApproveDestructive, MinApprovals: 2},
			v1alpha1.ApproveDestructive, v1alpha1.PlanApproval{Min: 2, NotAuthor: true, ValidFor: "24h0m0s"}},
		"More": {"it may ask for more", &policy{When: v1alpha1.ApproveAlways, MinApprovals: 3, ValidFor: "1h"}, &policy{When: v1alpha1.ApproveDestructive, MinApprovals: 2},
			v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 3, NotAuthor: true, ValidFor: "1h0m0s"}},
		"Less": {"and not for less", &policy{When: v1alpha1.ApproveDrift, MinApprovals: 1, NotAuthor: &no, ValidFor: "99h"}, &policy{When: v1alpha1.ApproveDestructive, MinApprovals: 2, NotAuthor: &yes},
			v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 2, NotAuthor: true, ValidFor: "24h0m0s"}},
		"Others": {"nor for others", &policy{Approvers: []v1alpha1.Approver{bob}}, &policy{Approvers: []v1alpha1.Approver{lead, ann}},
			v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s", Approvers: []v1alpha1.Approver{lead, ann}}},
		"Pulls":    {"a pull request is enough where it is for both", &policy{PullRequest: &yes}, &policy{PullRequest: &yes}, v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s", PullRequest: true}},
		"NoPulls":  {"an Application can't say that it is", &policy{PullRequest: &yes}, &policy{}, v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s"}},
		"OwnPulls": {"nor can the project where the Application asks for more", &policy{}, &policy{PullRequest: &yes}, v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s"}},
		"Some": {"but for some of them", &policy{Approvers: []v1alpha1.Approver{bob, lead}}, &policy{Approvers: []v1alpha1.Approver{lead, ann}},
			v1alpha1.ApproveAlways, v1alpha1.PlanApproval{Min: 1, NotAuthor: true, ValidFor: "24h0m0s", Approvers: []v1alpha1.Approver{lead}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := c.own.AtLeast(c.floor)
			if got.GetWhen() != c.when {
				t.Errorf("%s: when is %s, want %s", c.reason, got.GetWhen(), c.when)
			}
			if diff := cmp.Diff(c.want, got.Snapshot()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
