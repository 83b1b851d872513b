package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/source"
)

// entries are those of a ledger, the oldest first.
func entries(t *testing.T, dir string, q entry.Query) []entry.Entry {
	t.Helper()
	r, err := ledger.OpenReader(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	q.Oldest = true
	var all []entry.Entry
	if err := r.Each(t.Context(), q, func(e entry.Entry) bool { all = append(all, e); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// tells waits until the ledger has an entry of the kind that fits, and gives it.
func tells(t *testing.T, dir string, q entry.Query, what string, kind entry.Kind, fits func(entry.Entry) bool) entry.Entry {
	t.Helper()
	var found entry.Entry
	eventually(t, "the ledger tells: "+what, func() error {
		var seen []string
		for _, e := range entries(t, dir, q) {
			if e.Kind == kind && fits(e) {
				found = e
				return nil
			}
			seen = append(seen, fmt.Sprintf("%s by %s: %s %v", e.Kind, e.Actor.User, e.Message, e.Details))
		}
		return errors.New(strings.Join(seen, "\n"))
	})
	return found
}

func verified(t *testing.T, dir string) {
	t.Helper()
	v, err := ledger.Verify(t.Context(), ledger.VerifyOptions{Dir: dir})
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		t.Error(err)
	}
}

func by(user string) func(entry.Entry) bool {
	return func(e entry.Entry) bool { return e.Actor.User == user }
}

func anyone(entry.Entry) bool { return true }

// TestLedgerOfGates takes an Application through all that people decide, and looks
// for each of it in the ledger.
func TestLedgerOfGates(t *testing.T) {
	dir := t.TempDir()
	r := runServer(t, dir, nil)
	eventually(t, "the server leads", r.leads)
	g := newGated(t)
	user, err := g.kube.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	me, log := user.Status.UserInfo.Username, filepath.Join(dir, ledgerDir)
	app := entry.Query{Application: entry.Application{Namespace: g.ns, Name: "web"}}
	g.set(nil)
	g.commit("1", true)
	gatedApp(t, g)
	g.value("a signed commit is applied", "1")
	first := g.head()
	done := tells(t, log, app, "a sync", entry.SyncFinished, func(e entry.Entry) bool { return e.Result == entry.Succeeded })
	started := tells(t, log, app, "its beginning", entry.SyncStarted, func(e entry.Entry) bool { return e.Operation == done.Operation })
	want := []entry.Revision{{
		Repo: g.repo.dir, Revision: first, Author: "t", AuthorEmail: "t@example.com", CommittedAt: done.Revisions[0].CommittedAt,
		Signature: entry.Signature{Status: "Good", Key: done.Revisions[0].Signature.Key, Signer: "ada@example.com"},
	}}
	for _, e := range []entry.Entry{started, done} {
		if diff := cmp.Diff(want, e.Revisions); diff != "" || e.Revisions[0].CommittedAt.IsZero() {
			t.Errorf("%s: %s", e.Kind, diff)
		}
		if e.Plan.Counts.Create != 1 || e.Plan.Digest == "" || e.Project != g.project {
			t.Errorf("%s: %+v of %s", e.Kind, e.Plan, e.Project)
		}
	}
	if done.Details["health"] != "Healthy" {
		tells(t, log, app, "it became healthy", entry.Healthy, anyone)
	}
	tells(t, log, app, "the Application was made", entry.ApplicationCreated, anyone)
	tells(t, log, entry.Query{Project: g.project}, "the project was made", entry.ProjectChanged, anyone)

	g.set(map[string]any{"syncWindows": []any{map[string]any{"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": []any{"web"}}}})
	g.commit("2", true)
	g.says("a closed window holds", "1", "SyncWindow")
	g.patch(map[string]any{"operation": map[string]any{
		"sync": map[string]any{}, "initiatedBy": map[string]any{"username": me},
		"info": []any{map[string]any{"name": v1alpha1.InfoOverride, "value": "the shop is down"}},
	}})
	g.value("an override goes through", "2")
	tells(t, log, app, "an override, and why", entry.Overridden, func(e entry.Entry) bool {
		return e.Actor.User == me && strings.Contains(e.Message, "the shop is down")
	})
	g.set(map[string]any{"freeze": map[string]any{"reason": "launch", "by": me}, "roles": []any{map[string]any{"name": "ops"}}})
	tells(t, log, entry.Query{Project: g.project}, "a freeze", entry.Frozen, by(me))
	tells(t, log, entry.Query{Project: g.project}, "a new role", entry.PermissionChanged, func(e entry.Entry) bool { return e.Details["before"] != "" })
	g.set(nil)
	tells(t, log, entry.Query{Project: g.project}, "a thaw", entry.Thawed, anyone)
	g.patch(map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.AnnotationPin: first, v1alpha1.AnnotationPinBy: me}}})
	g.value("a pin goes back", "1")
	tells(t, log, app, "a pin", entry.Pinned, func(e entry.Entry) bool { return e.Actor.User == me && e.Details["pin"] == first })
	r.stop() // what happens meanwhile is not missed, and nothing is told twice
	g.patch(map[string]any{"metadata": map[string]any{"annotations": nil}, "spec": map[string]any{"revisionHistoryLimit": 3}})
	r = runServer(t, dir, nil)
	g.value("without it Git is followed again", "2")
	tells(t, log, app, "the pin is gone", entry.Unpinned, anyone)
	tells(t, log, app, "the Application was changed", entry.ApplicationChanged, anyone)
	if err := g.client.Resource(applications).Namespace(g.ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	tells(t, log, app, "the Application is gone", entry.ApplicationDeleted, anyone)
	r.stop()
	verified(t, log)
	for _, kind := range []entry.Kind{entry.ApplicationCreated, entry.Pinned, entry.Unpinned, entry.ApplicationChanged, entry.ApplicationDeleted} {
		if n := len(entries(t, log, entry.Query{Application: app.Application, Kinds: []entry.Kind{kind}})); n != 1 {
			t.Errorf("%d entries of kind %s", n, kind)
		}
	}
	cm, err := g.kube.CoreV1().ConfigMaps(controller.SystemNamespace).Get(t.Context(), checkpointConfigMap, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := ledger.Verify(t.Context(), ledger.VerifyOptions{Dir: log, Witness: []byte(cm.Data["checkpoint"])})
	if err != nil || v.Err() != nil || v.Witness == nil {
		t.Errorf("the checkpoint in the control plane is no witness: %v %v %+v", err, v.Err(), v)
	}
}

func gatedApp(t *testing.T, g *gated) {
	t.Helper()
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"namespace": g.ns, "name": "web", "finalizers": []any{"resources-finalizer.argocd.argoproj.io"}},
		"spec": map[string]any{
			"project": g.project, "source": map[string]any{"repoURL": g.repo.dir, "path": "app"},
			"syncPolicy": map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
		},
	}}
	if _, err := g.client.Resource(applications).Namespace(g.ns).Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestLedgerOfApprovals(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, ledgerDir)
	r := runServer(t, dir, nil)
	eventually(t, "the server leads", r.leads)
	repo := newRepository(t, map[string]string{"app/keys.yaml": secretFile("one-" + planted)})
	w := newApprovalWorld(t, repo)
	app := entry.Query{Application: entry.Application{Namespace: w.ns, Name: "app"}}
	first := w.waits("the first plan waits")
	w.approve(first)
	w.becomes(first.Name, v1alpha1.PlanApplied)
	yes := tells(t, log, app, "an approval", entry.Approved, by(w.user))
	if yes.Plan.Name != first.Name || yes.Plan.Digest != first.Spec.Digest {
		t.Errorf("approved was %+v, not %s", yes.Plan, first.Name)
	}
	tells(t, log, app, "its sync", entry.SyncFinished, func(e entry.Entry) bool { return e.Plan.Name == first.Name && e.Result == entry.Succeeded })
	if _, err := w.kube.CoreV1().Secrets(w.ns).Patch(t.Context(), "keys", "application/merge-patch+json", []byte(`{"stringData":{"password":"live-`+planted+`"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	tells(t, log, app, "drift", entry.DriftFound, anyone)
	repo.commit(map[string]string{"app/keys.yaml": secretFile("two-" + planted)})
	w.waits("a changed secret waits", first.Name)
	r.stop()
	verified(t, log)
	noneHas(t, log, planted)
}

// noneHas looks for a text in all files.
func noneHas(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, []byte(text)) {
			t.Errorf("%s is in %s", text, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLedgerOfAKilledServer kills servers while they sync: what began has one end.
func TestLedgerOfAKilledServer(t *testing.T) {
	const many, kills = 12, 3
	dir, ns := t.TempDir(), ""
	log := filepath.Join(dir, ledgerDir)
	files := func(value int) map[string]string {
		all := map[string]string{}
		for n := range many {
			all[fmt.Sprintf("a%d/one.yaml", n)] = configMap(fmt.Sprintf("one-%d", n), fmt.Sprint(value))
			all[fmt.Sprintf("a%d/two.yaml", n)] = configMap(fmt.Sprintf("two-%d", n), fmt.Sprint(value))
		}
		return all
	}
	repo := newRepository(t, files(0))
	for round := range kills {
		r, kill := child(t, dir)
		eventually(t, "the server leads", r.leads)
		if ns == "" {
			ns = kubetest.Namespace(t)
			for n := range many {
				createApplication(t, ns, fmt.Sprintf("a%d", n), repo.dir, fmt.Sprintf("a%d", n))
			}
		} else {
			repo.commit(files(round))
		}
		known := 0
		eventually(t, "syncs have begun", func() error {
			now := len(entries(t, log, entry.Query{Kinds: []entry.Kind{entry.SyncStarted}}))
			if known == 0 && round > 0 {
				known = now
			}
			if now < round*many+3 && now < known+3 {
				return fmt.Errorf("%d have", now)
			}
			return nil
		})
		kill()
	}
	last := runServer(t, dir, nil)
	kube := kubernetes.NewForConfigOrDie(kubetest.Config(t))
	eventually(t, "all is applied", func() error {
		for n := range many {
			cm, err := kube.CoreV1().ConfigMaps(ns).Get(t.Context(), fmt.Sprintf("two-%d", n), metav1.GetOptions{})
			if err != nil {
				return err
			}
			if s, _ := status(t, ns, fmt.Sprintf("a%d", n)); cm.Data["value"] != fmt.Sprint(kills-1) || s != "Synced" {
				return fmt.Errorf("a%d has %s and is %s", n, cm.Data["value"], s)
			}
		}
		return nil
	})
	count := map[string]map[entry.Kind]int{}
	eventually(t, "what began has an end", func() error {
		clear(count)
		for _, e := range entries(t, log, entry.Query{Kinds: []entry.Kind{entry.SyncStarted, entry.SyncFinished}}) {
			if count[e.Operation] == nil {
				count[e.Operation] = map[entry.Kind]int{}
			}
			count[e.Operation][e.Kind]++
		}
		for op, n := range count {
			if n[entry.SyncStarted] == 1 && n[entry.SyncFinished] == 0 {
				return fmt.Errorf("operation %s has no end", op)
			}
		}
		return nil
	})
	for op, n := range count {
		if n[entry.SyncStarted] > 1 || n[entry.SyncFinished] != 1 {
			t.Errorf("operation %s: %v", op, n)
		}
	}
	last.stop()
	verified(t, log)
}

// TestNoChangeWithoutLedger keeps the ledger from being opened, and then from
// being written: nothing is changed, and all goes on by itself.
func TestNoChangeWithoutLedger(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "disk", "ledger")
	if err := os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := runServer(t, t.TempDir(), func(o *Options) { o.Ledger.Dir = log })
	eventually(t, "the server leads", r.leads)
	ns := kubetest.Namespace(t)
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1")})
	createApplication(t, ns, "app", repo.dir, "app")
	client := dynamic.NewForConfigOrDie(kubetest.Config(t))
	held := func(want bool) func() error {
		return func() error {
			app, err := client.Resource(applications).Namespace(ns).Get(t.Context(), "app", metav1.GetOptions{})
			if err != nil {
				return err
			}
			list, _, _ := unstructured.NestedSlice(app.Object, "status", "conditions")
			if has := strings.Contains(fmt.Sprint(list), v1alpha1.ConditionLedgerUnavailable); has != want {
				return fmt.Errorf("the conditions are %v", list)
			}
			return nil
		}
	}
	kube := kubernetes.NewForConfigOrDie(kubetest.Config(t))
	value := func() string {
		cm, err := kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "one", metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return cm.Data["value"]
	}
	becomes := func(want string) func() error {
		return func() error {
			if got := value(); got != want {
				return fmt.Errorf("the value is %q", got)
			}
			return nil
		}
	}
	eventually(t, "the Application says that the ledger is missing", held(true))
	if got := value(); got != "" {
		t.Fatalf("it was applied unrecorded: %s", got)
	}
	if err := os.Remove(filepath.Join(dir, "disk")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	small := syscall.Mount("tmpfs", filepath.Join(dir, "disk"), "tmpfs", 0, "size=80m") == nil
	if small {
		t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(dir, "disk"), syscall.MNT_DETACH) })
	}
	eventually(t, "it is applied once there is a ledger", becomes("1"))
	eventually(t, "and says so", held(false))
	if !small {
		t.Skip("no disk can be mounted here")
	}
	full := filepath.Join(dir, "disk", "full")
	if err := os.WriteFile(full, make([]byte, 40<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	repo.commit(map[string]string{"app/one.yaml": configMap("one", "2")})
	eventually(t, "the Application says that the disk is full", held(true))
	if got := value(); got != "1" {
		t.Fatalf("it was applied with a full disk: %s", got)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is applied once there is room", becomes("2"))
	eventually(t, "and says so", held(false))
	r.stop()
	verified(t, log)
}

func TestEntryOf(t *testing.T) {
	kinds := []engine.RecordKind{
		engine.RecordSyncStarted, engine.RecordSyncFinished, engine.RecordPlanProposed, engine.RecordApprovalGiven, engine.RecordPlanApproved, engine.RecordPlanRejected,
		engine.RecordPlanStale, engine.RecordPlanExpired, engine.RecordDriftFound, engine.RecordDriftEnded, engine.RecordOverridden,
		engine.RecordOverrideIgnored, engine.RecordRolledBack, engine.RecordDriftHealed, engine.RecordHealthy, engine.RecordDegraded,
	}
	for _, k := range kinds {
		e := entryOf(engine.Record{
			Kind: k, Time: time.Unix(0, 0), Result: string(v1alpha1.OperationFailed), Repos: []string{"https://a:" + planted + "@git.example/x"},
			Revisions: []string{"1", "2"}, Commits: []source.Commit{{Author: "Ann <ann@example.com>", Date: "2026-03-02T09:00:00Z"}},
		})
		raw, err := entry.Encode(entry.Clean(e))
		if err != nil {
			t.Errorf("%s: %v", k, err)
		}
		if bytes.Contains(raw, []byte(planted)) {
			t.Errorf("%s holds a password: %s", k, raw)
		}
		if !slices.Equal(e.Persons(), []string{"ann", "ann@example.com"}) || e.Revisions[0].CommittedAt.IsZero() {
			t.Errorf("%s: %+v", k, e.Revisions)
		}
	}
}

// closed is a ledger that is not there any more.
func TestAClosedRecorderRefuses(t *testing.T) {
	r := &recorder{why: errOpening}
	if err := r.Append(context.Background(), engine.Record{Kind: engine.RecordSyncStarted}); !errors.Is(err, errOpening) {
		t.Error(err)
	}
}
