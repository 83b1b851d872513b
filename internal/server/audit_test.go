package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/audit"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/plan"
)

// person is somebody as whom tests act.
type person struct {
	kube kubernetes.Interface
	api  dynamic.Interface
}

func somebodyCalled(t *testing.T, name string) person {
	t.Helper()
	config := kubetest.Config(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:masters", "team-" + name}}
	config.UserAgent = "kubectl/v1 (test)"
	return person{kubernetes.NewForConfigOrDie(config), dynamic.NewForConfigOrDie(config)}
}

func (p person) patch(t *testing.T, ns, name, patch string) {
	t.Helper()
	if _, err := p.api.Resource(applications).Namespace(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// audited has a server read the audit log of the tests' control plane, with the
// engine's own identity.
func audited(t *testing.T) func(*Options) {
	t.Helper()
	cluster := kubetest.Cluster(t)
	config, err := cluster.EngineConfig()
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) {
		o.RESTConfig, o.Audit.Logs = config, []AuditLog{{File: cluster.AuditLog()}}
	}
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`

// TestActors has people change things, and looks whether the ledger and the history
// of drift name them, also for what they did while no server ran.
func TestActors(t *testing.T) {
	dir, ns := t.TempDir(), kubetest.Namespace(t)
	log := filepath.Join(dir, ledgerDir)
	r := runServer(t, dir, audited(t))
	eventually(t, "the server leads", r.leads)
	ann, bob, cy := somebodyCalled(t, "ann"), somebodyCalled(t, "bob"), somebodyCalled(t, "cy")
	if _, err := ann.kube.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"x": planted}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1"), "app/two.yaml": configMap("two", "1"), "app/web.yaml": deployment})
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application", "metadata": map[string]any{"namespace": ns, "name": "app"},
		"spec": map[string]any{
			"source": map[string]any{"repoURL": repo.dir, "path": "app"},
			"syncPolicy": map[string]any{
				"automated": map[string]any{"prune": true, "selfHeal": true},
				"drift":     map[string]any{"rules": []any{map[string]any{"name": "one", "action": "report"}, map[string]any{"kind": "Deployment", "action": "report"}}},
			},
		},
	}}
	if _, err := ann.api.Resource(applications).Namespace(ns).Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	of := entry.Query{Application: entry.Application{Namespace: ns, Name: "app"}}
	made := tells(t, log, of, "who has made it", entry.ApplicationCreated, by("ann"))
	if made.Actor.Via != "kubectl" || made.Details["impersonatedBy"] != "plumb-admin" || !strings.Contains(fmt.Sprint(made.Actor.Groups), "team-ann") {
		t.Errorf("%+v %v", made.Actor, made.Details)
	}
	synced := func() error {
		if s, _ := status(t, ns, "app"); s != "Synced" {
			return errors.New(s)
		}
		return nil
	}
	eventually(t, "it is applied", synced)
	bob.patch(t, ns, "app", `{"spec":{"revisionHistoryLimit":3}}`)
	tells(t, log, of, "who has changed it", entry.ApplicationChanged, by("bob"))
	bob.patch(t, ns, "app", `{"metadata":{"annotations":{"plumb.dev/pin":"`+repo.head()+`","plumb.dev/pin-by":"bob"}}}`)
	tells(t, log, of, "who has pinned it", entry.Pinned, by("bob"))
	ann.patch(t, ns, "app", `{"metadata":{"annotations":null}}`)
	tells(t, log, of, "who has let it go", entry.Unpinned, by("ann"))

	t.Run("projects", func(t *testing.T) { actorsOfProjects(t, log, "p-"+ns, ann, bob) })
	t.Run("rights", func(t *testing.T) { actorsOfRights(t, log, ns, ann, bob) })
	t.Run("drift", func(t *testing.T) { actorsOfDrift(t, log, ns, ann, bob) })

	if n := r.metric(t, "plumb_audit_events_total", "kept"); n < 10 {
		t.Errorf("%v events were kept", n)
	}
	r.stop()
	cy.patch(t, ns, "app", `{"spec":{"revisionHistoryLimit":4}}`)
	binding := bindingOf("cy-"+ns, "plumb-editor", "dana")
	if _, err := cy.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r = runServer(t, dir, audited(t))
	tells(t, log, of, "who has changed it meanwhile", entry.ApplicationChanged, by("cy"))
	tells(t, log, entry.Query{}, "who has given rights meanwhile", entry.PermissionChanged, func(e entry.Entry) bool {
		return e.Actor.User == "cy" && strings.Contains(e.Message, "cy-"+ns)
	})
	if err := ann.api.Resource(applications).Namespace(ns).Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ann.kube.RbacV1().ClusterRoleBindings().Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	tells(t, log, of, "who has deleted it", entry.ApplicationDeleted, by("ann"))
	tells(t, log, entry.Query{}, "who has taken rights away", entry.PermissionChanged, func(e entry.Entry) bool {
		return e.Actor.User == "ann" && strings.HasPrefix(e.Message, "no more: ClusterRoleBinding cy-"+ns)
	})
	r.stop()
	verified(t, log)
	noneHas(t, dir, planted)
	noneHas(t, filepath.Dir(kubetest.Cluster(t).AuditLog()), planted)
	told := map[string]int{}
	for _, e := range entries(t, log, entry.Query{Kinds: []entry.Kind{entry.PermissionChanged}}) {
		if told[e.Message]++; told[e.Message] > 1 && e.Details["created"] != "" {
			t.Errorf("told again after a restart: %s", e.Message)
		}
		if strings.Contains(e.Message, "system:") || strings.Contains(e.Message, "cluster-admin") {
			t.Errorf("what every cluster has is told of: %s", e.Message)
		}
		if strings.HasPrefix(e.Message, "ClusterRole plumb-admin allows") && e.Actor.User == somebody { // perhaps before this test
			t.Errorf("Plumb's own role was made by %+v", e.Actor)
		}
	}
}

func actorsOfProjects(t *testing.T, log, name string, ann, bob person) {
	projects := func(p person) dynamic.ResourceInterface {
		return p.api.Resource(appProjects).Namespace(controller.SystemNamespace)
	}
	change := func(p person, patch string) {
		t.Helper()
		if _, err := projects(p).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	project := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "AppProject", "metadata": map[string]any{"name": name}, "spec": map[string]any{"sourceRepos": []any{"*"}},
	}}
	if _, err := projects(ann).Create(t.Context(), project, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	q := entry.Query{Project: name}
	tells(t, log, q, "who has made a project", entry.ProjectChanged, by("ann"))
	change(bob, `{"spec":{"roles":[{"name":"ops"}]}}`)
	tells(t, log, q, "who has changed its roles", entry.PermissionChanged, by("bob"))
	change(bob, `{"spec":{"freeze":{"reason":"launch","by":"bob"}}}`)
	tells(t, log, q, "who has frozen it", entry.Frozen, by("bob"))
	change(ann, `{"spec":{"freeze":null}}`)
	tells(t, log, q, "who has thawed it", entry.Thawed, by("ann"))
	if err := projects(bob).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	tells(t, log, q, "who has deleted it", entry.ProjectChanged, by("bob"))
}

func bindingOf(name, role string, users ...string) *rbacv1.ClusterRoleBinding {
	b := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, user := range users {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user})
	}
	return b
}

func actorsOfRights(t *testing.T, log, ns string, ann, bob person) {
	expect := func(what, user, message string) entry.Entry {
		t.Helper()
		return tells(t, log, entry.Query{}, what, entry.PermissionChanged, func(e entry.Entry) bool {
			return e.Actor.User == user && e.Message == message
		})
	}
	bindings, roles := ann.kube.RbacV1().ClusterRoleBindings(), ann.kube.RbacV1().ClusterRoles()
	approves, role := "ann-approves-"+ns, "r-"+ns
	t.Cleanup(func() { _ = roles.Delete(context.Background(), role, metav1.DeleteOptions{}) })
	if _, err := bindings.Create(t.Context(), bindingOf(approves, "plumb-approver", "ann"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	text := "ClusterRoleBinding " + approves + " binds ClusterRole plumb-approver to User ann"
	expect("who has given rights", "ann", text)
	if _, err := bob.kube.RbacV1().ClusterRoleBindings().Update(t.Context(), bindingOf(approves, "plumb-approver", "ann", "eve"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := expect("who has given more", "bob", text+", User eve"); e.Details["before"] != text {
		t.Errorf("before it was %q", e.Details["before"])
	}
	if err := bindings.Delete(t.Context(), approves, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("who has taken them away", "ann", "no more: "+text+", User eve")

	brief := "brief-" + ns // nobody has the time to look at it
	if _, err := bindings.Create(t.Context(), bindingOf(brief, "plumb-admin", "eve"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := bob.kube.RbacV1().ClusterRoleBindings().Delete(t.Context(), brief, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	text = "ClusterRoleBinding " + brief + " binds ClusterRole plumb-admin to User eve"
	expect("who has given rights for a moment", "ann", text)
	expect("who has taken them back", "bob", "no more: "+text)

	rules := func(group string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{"applications"}, Verbs: []string{"get"}}}}
	}
	if _, err := roles.Create(t.Context(), rules("apps"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.Create(t.Context(), bindingOf(role, role, "eve"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// What comes together is looked at together: this is to have been looked at.
	if _, err := bindings.Create(t.Context(), bindingOf(approves, "plumb-viewer", "ann"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bindings.Delete(context.Background(), approves, metav1.DeleteOptions{}) })
	expect("who has given other rights", "ann", "ClusterRoleBinding "+approves+" binds ClusterRole plumb-viewer to User ann")
	if _, err := bob.kube.RbacV1().ClusterRoles().Update(t.Context(), rules(v1alpha1.Group), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	allows, binds := "ClusterRole "+role+" allows: get applications of plumb.dev", "ClusterRoleBinding "+role+" binds ClusterRole "+role+" to User eve"
	expect("who has had a role allow more", "bob", allows)
	expect("and what was bound to it", "bob", binds)
	if _, err := roles.Update(t.Context(), rules("apps"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("who has had it allow less", "ann", "no more: "+allows)
	expect("and what was bound to it", "ann", "no more: "+binds)
}

func actorsOfDrift(t *testing.T, log, ns string, ann, bob person) {
	drifts := func(kind, name, user, manager string) {
		t.Helper()
		eventually(t, "the drift of "+name+" is "+user+"'s", func() error {
			u, err := ann.api.Resource(applications).Namespace(ns).Get(t.Context(), "app", metav1.GetOptions{})
			if err != nil {
				return err
			}
			all, _, _ := unstructured.NestedSlice(u.Object, "status", "drift")
			for _, d := range all {
				if d := d.(map[string]any); d["kind"] == kind && d["name"] == name && d["user"] == user && d["impersonatedBy"] == "plumb-admin" && fmt.Sprint(d["manager"]) == manager {
					return nil
				}
			}
			return fmt.Errorf("drift is %v", all)
		})
	}
	if _, err := bob.kube.CoreV1().ConfigMaps(ns).Patch(t.Context(), "one", types.MergePatchType, []byte(`{"data":{"value":"9"}}`), metav1.PatchOptions{FieldManager: "hand"}); err != nil {
		t.Fatal(err)
	}
	drifts("ConfigMap", "one", "bob", "hand")
	scale, err := ann.kube.AppsV1().Deployments(ns).GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 5
	if _, err := ann.kube.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	drifts("Deployment", "web", "ann", "kubectl")
	if err := ann.kube.CoreV1().ConfigMaps(ns).Delete(t.Context(), "two", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	of := entry.Query{Application: entry.Application{Namespace: ns, Name: "app"}, Person: "ann"}
	tells(t, log, of, "who has deleted what came back", entry.Healed, func(e entry.Entry) bool {
		return strings.Contains(e.Message, "two") && strings.Contains(e.Message, "changed by ann")
	})
}

// TestPlumbByName has somebody act in Plumb's name, as who may impersonate all can.
func TestPlumbByName(t *testing.T) {
	i := &informant{own: "system:serviceaccount:plumb-system:plumb"}
	for name, c := range map[string]struct {
		reason  string
		write   audit.Write
		actor   string
		details map[string]string
		named   engine.Witnessed
		ignored bool
	}{
		"itself":  {"the loop has done it", audit.Write{User: i.own, Verb: "update"}, "plumb", map[string]string{}, engine.Witnessed{User: "plumb"}, true},
		"as Ann":  {"Plumb applies as who a project names", audit.Write{User: "ann", Through: i.own, Verb: "update"}, "ann", map[string]string{"impersonatedBy": i.own}, engine.Witnessed{User: "ann", Through: "plumb"}, false},
		"as it":   {"Eve has done it", audit.Write{User: i.own, Groups: []string{"system:serviceaccounts"}, Through: "eve", Verb: "update"}, "eve", map[string]string{"impersonated": i.own}, engine.Witnessed{User: "eve"}, false},
		"another": {"somebody has", audit.Write{User: "bob", Verb: "update"}, "bob", map[string]string{}, engine.Witnessed{User: "bob"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			actor, details := i.actor(audit.Answer{Write: c.write})
			if actor.User != c.actor || cmp.Diff(c.details, details) != "" {
				t.Errorf("%s: recorded as of %+v %v", c.reason, actor, details)
			}
			if got := i.witnessed(c.write); got != c.named {
				t.Errorf("%s: told as of %+v", c.reason, got)
			}
			if got := i.bookkeeping(c.write); got != c.ignored {
				t.Errorf("%s: bookkeeping: %v", c.reason, got)
			}
		})
	}
}

// TestWhoHasDrifted has two people delete what Plumb has made anew in between, and looks
// who is named while only the first is heard of.
func TestWhoHasDrifted(t *testing.T) {
	i := &informant{own: "plumb", feed: audit.New(audit.Options{})}
	i.feed.Expect("")
	deleted := func(user string, at time.Time) {
		t.Helper()
		stamp := at.UTC().Format(time.RFC3339Nano)
		text := fmt.Sprintf(`{"items":[{"stage":"ResponseComplete","verb":"delete","requestURI":"/x","user":{"username":%q},
			"objectRef":{"resource":"configmaps","namespace":"shop","name":"web"},"responseStatus":{"code":200},
			"requestReceivedTimestamp":%q,"stageTimestamp":%q}]}`, user, stamp, stamp)
		if err := i.feed.Receive("", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	asks := func(found time.Time, want string) {
		t.Helper()
		who, later := i.Who(engine.Trace{
			Server: v1alpha1.InClusterServer, Deleted: true, Found: found.Truncate(time.Second),
			Ref: plan.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "web"},
		})
		if who.User != want || later != (want == "") {
			t.Errorf("it was %+v, which may be known later: %v; want %q", who, later, want)
		}
	}
	now := time.Now()
	deleted("bob", now.Add(-time.Minute))
	asks(now.Add(-time.Minute), "bob")
	asks(now, "") // and not bob
	deleted("ann", now)
	asks(now, "ann")
}

// TestWhoHasWeakened has Eve change a role and remove a policy that Bob has just written,
// which Plumb puts back.
func TestWhoHasWeakened(t *testing.T) {
	own := "system:serviceaccount:plumb-system:plumb"
	for name, c := range map[string]struct {
		reason       string
		what, object string
		writes       []string // user, verb
	}{
		"changed": {"who has put it back has not weakened it", "was changed", `"apiGroup":"rbac.authorization.k8s.io","resource":"clusterroles","name":"plumb-approver"`, []string{"eve", "patch", own, "patch"}},
		"removed": {"who has written it has not removed it", "was removed", `"apiGroup":"rbac.authorization.k8s.io","resource":"clusterroles","name":"plumb-approver"`, []string{"eve", "delete", "bob", "patch", own, "patch"}},
		"unheard": {"a wrong name is worse than none", "was removed", `"apiGroup":"rbac.authorization.k8s.io","resource":"clusterroles","name":"plumb-approver"`, []string{"bob", "patch", own, "patch"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeclared(nil, nil)
			d.informant = &informant{own: own, feed: audit.New(audit.Options{})}
			d.informant.feed.Expect("")
			for i := 0; i < len(c.writes); i += 2 {
				stamp := time.Now().UTC().Format(time.RFC3339Nano)
				text := fmt.Sprintf(`{"items":[{"stage":"ResponseComplete","verb":%q,"requestURI":"/x?force=true","user":{"username":%q},
					"objectRef":{%s},"responseStatus":{"code":200},"requestReceivedTimestamp":%q,"stageTimestamp":%q}]}`, c.writes[i+1], c.writes[i], c.object, stamp, stamp)
				if err := d.informant.feed.Receive("", strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
			}
			d.Guard(controller.GuardChange{Kind: "ClusterRole", Name: "plumb-approver", What: c.what, Removed: c.what == "was removed"})
			s := d.take()[0]
			e := d.entries(s)[0]
			d.identify(t.Context(), []openEntry{{entry: &e, now: s}})
			want := "eve"
			if c.writes[0] != want {
				want = somebody
			}
			if e.Actor.User != want {
				t.Errorf("%s: it was %+v", c.reason, e.Actor)
			}
		})
	}
}

func TestAuditReceiver(t *testing.T) {
	const token = "t0k3n"
	event := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"stage":"ResponseComplete","verb":"update","requestURI":"/x","user":{"username":"ann"},` +
		`"objectRef":{"resource":"configmaps","namespace":"shop","name":"web"},"responseStatus":{"code":200},` +
		`"requestReceivedTimestamp":"2026-03-02T12:00:00.0Z","stageTimestamp":"2026-03-02T12:00:00.1Z","requestObject":{"x":"` + planted + `"}}]}`
	leads := &parts{informant: &informant{feed: audit.New(audit.Options{})}}
	cases := map[string]struct {
		reason            string
		token, sent, body string
		leading           bool
		code              int
	}{
		"Taken":    {"events are taken", token, "Bearer " + token, event, true, http.StatusOK},
		"Off":      {"without a token nothing is", "", "Bearer ", event, true, http.StatusNotFound},
		"Wrong":    {"anybody could say who has done what", token, "Bearer wrong", event, true, http.StatusUnauthorized},
		"NoBearer": {"a token is shown as one", token, token, event, true, http.StatusUnauthorized},
		"Standby":  {"API servers send it again to the one that leads", token, "Bearer " + token, event, false, http.StatusServiceUnavailable},
		"Broken":   {"half a list is none", token, "Bearer " + token, event[:100], true, http.StatusBadRequest},
		"TooLarge": {"lists are bounded", token, "Bearer " + token, `{"items":["` + strings.Repeat("x", auditBytes) + `"]}`, true, http.StatusRequestEntityTooLarge},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &Server{Options: Options{Log: slog.New(slog.DiscardHandler), Audit: AuditOptions{Token: []byte(tc.token)}}}
			if tc.leading {
				s.leading.Store(leads)
			}
			mux := http.NewServeMux()
			mux.Handle("POST /api/audit/{cluster}", newAuditReceiver(s))
			req := httptest.NewRequest(http.MethodPost, "/api/audit/far", strings.NewReader(tc.body))
			req.Header.Set("Authorization", tc.sent)
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, req)
			if w.Code != tc.code || strings.Contains(w.Body.String(), planted) {
				t.Errorf("%s: %d %s", tc.reason, w.Code, w.Body.String())
			}
			if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
				t.Error("nobody would send it again")
			}
		})
	}
	trace := engine.Trace{
		Server: "https://far.example", Cluster: "far", Ref: plan.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "web"},
		Found: time.Date(2026, 3, 2, 12, 0, 1, 0, time.UTC),
	}
	if who, _ := leads.informant.Who(trace); who.User != "ann" {
		t.Errorf("who has changed what runs far away is %+v", who)
	}
	trace.Cluster = "near"
	if who, later := leads.informant.Who(trace); who.User != "" || later {
		t.Errorf("of a cluster that nothing was heard of: %+v %v", who, later)
	}
}
