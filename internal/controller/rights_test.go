package controller

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestRightsOf(t *testing.T) {
	named := func(name string, builtin bool) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Name: name}
		if builtin {
			m.Labels = map[string]string{bootstrapLabel: "rbac-defaults"}
		}
		return m
	}
	clusterRole := func(name string, builtin bool, groups ...string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: named(name, builtin), Rules: []rbacv1.PolicyRule{{APIGroups: groups, Resources: []string{"*"}, Verbs: []string{"update", "get"}}}}
	}
	clusterBinding := func(name, role string, builtin bool, subjects ...string) *rbacv1.ClusterRoleBinding {
		b := &rbacv1.ClusterRoleBinding{ObjectMeta: named(name, builtin), RoleRef: rbacv1.RoleRef{Kind: kindClusterRole, Name: role}}
		for _, s := range subjects {
			kind, name, _ := strings.Cut(s, " ")
			ns, rest, _ := strings.Cut(name, "/")
			if kind == rbacv1.ServiceAccountKind {
				b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: kind, Namespace: ns, Name: rest})
			} else {
				b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: kind, Name: name})
			}
		}
		return b
	}
	groups := []string{"plumb.dev"}
	cases := map[string]struct {
		reason   string
		roles    []*rbacv1.ClusterRole
		bindings []*rbacv1.ClusterRoleBinding
		want     []string
	}{
		"Role":     {"a role for Plumb's objects", []*rbacv1.ClusterRole{clusterRole("a", false, "apps", "plumb.dev")}, nil, []string{"ClusterRole a allows: get, update * of plumb.dev"}},
		"All":      {"all groups are Plumb's, too", []*rbacv1.ClusterRole{clusterRole("a", false, "*")}, nil, []string{"ClusterRole a allows: get, update * of *"}},
		"Other":    {"other roles are others' business", []*rbacv1.ClusterRole{clusterRole("a", false, "apps")}, []*rbacv1.ClusterRoleBinding{clusterBinding("b", "a", false, "User ann")}, nil},
		"NotHeld":  {"Argo CD's own objects where Plumb does not hold them", []*rbacv1.ClusterRole{clusterRole("a", false, "argoproj.io")}, nil, nil},
		"Binding":  {"who is given the role", []*rbacv1.ClusterRole{clusterRole("plumb-approver", false, "plumb.dev")}, []*rbacv1.ClusterRoleBinding{clusterBinding("ann-approves", "plumb-approver", false, "User ann", "ServiceAccount ci/bot")}, []string{"ClusterRole plumb-approver allows: get, update * of plumb.dev", "ClusterRoleBinding ann-approves binds ClusterRole plumb-approver to User ann, ServiceAccount ci/bot"}},
		"NoRole":   {"a binding to a role of Plumb's that is not there counts once it is", nil, []*rbacv1.ClusterRoleBinding{clusterBinding("b", "plumb-approver", false, "User ann")}, []string{"ClusterRoleBinding b binds ClusterRole plumb-approver to User ann"}},
		"Default":  {"what every cluster has is no news", []*rbacv1.ClusterRole{clusterRole("cluster-admin", true, "*")}, []*rbacv1.ClusterRoleBinding{clusterBinding("cluster-admin", "cluster-admin", true, "Group system:masters", "User system:kube-scheduler", "ServiceAccount kube-system/gc")}, nil},
		"Given":    {"it is where somebody is given it", []*rbacv1.ClusterRole{clusterRole("cluster-admin", true, "*")}, []*rbacv1.ClusterRoleBinding{clusterBinding("cluster-admin", "cluster-admin", true, "Group system:masters", "User ann")}, []string{"ClusterRole cluster-admin allows: get, update * of *", "ClusterRoleBinding cluster-admin binds ClusterRole cluster-admin to Group system:masters, User ann"}},
		"Everyone": {"everybody is not what every cluster has", []*rbacv1.ClusterRole{clusterRole("system:x", true, "*")}, []*rbacv1.ClusterRoleBinding{clusterBinding("x", "system:x", true, "Group system:authenticated")}, []string{"ClusterRole system:x allows: get, update * of *", "ClusterRoleBinding x binds ClusterRole system:x to Group system:authenticated"}},
		"Nobody":   {"a binding without anybody", []*rbacv1.ClusterRole{clusterRole("a", true, "*")}, []*rbacv1.ClusterRoleBinding{clusterBinding("b", "plumb-a", false)}, []string{"ClusterRoleBinding b binds ClusterRole plumb-a to nobody"}},
		"Hostile":  {"names cannot be misread", nil, []*rbacv1.ClusterRoleBinding{clusterBinding("b", "plumb-a", false, "User x, User admin\n\x1b[31m")}, []string{`ClusterRoleBinding b binds ClusterRole plumb-a to User "x, User admin\n\x1b[31m"`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range rightsOf(groups, nil, tc.roles, nil, tc.bindings) {
				got = append(got, r.Text)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: %s", tc.reason, diff)
			}
		})
	}
	namespaced := rightsOf(groups, []*rbacv1.Role{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: groups, Resources: []string{"applications"}, ResourceNames: []string{"web"}, Verbs: []string{"approve"}}},
	}}, nil, []*rbacv1.RoleBinding{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"}, RoleRef: rbacv1.RoleRef{Kind: kindRole, Name: "r"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}},
	}, {
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "b"}, RoleRef: rbacv1.RoleRef{Kind: kindRole, Name: "r"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}},
	}}, nil)
	if len(namespaced) != 2 || namespaced[0].Text != "Role shop/r allows: approve applications of plumb.dev called web" ||
		namespaced[1].Text != "RoleBinding shop/b binds Role shop/r to User ann" {
		t.Errorf("in a namespace: %+v", namespaced)
	}
	a, b := shortened(strings.Repeat("x", 2*mostText)+"a"), shortened(strings.Repeat("x", 2*mostText)+"b")
	if a == b || len(a) > mostText+40 {
		t.Errorf("long texts are told apart by %d bytes: %s", len(a), a)
	}
}

// heard is told of rights.
type heard struct{ told chan RightChange }

func (h heard) Right(c RightChange) { h.told <- c }

func (heard) Application(string, *v1alpha1.Application, *v1alpha1.Application) {}
func (heard) Project(string, *v1alpha1.AppProject, *v1alpha1.AppProject)       {}
func (heard) Freeze(*v1alpha1.Freeze)                                          {}
func (heard) Guard(GuardChange)                                                {}

// TestRightsThatMayNotBeSeen has all go on where Plumb may not list roles.
func TestRightsThatMayNotBeSeen(t *testing.T) {
	admin := kubernetes.NewForConfigOrDie(kubetest.Config(t))
	installed, err := Install(t.Context(), kubetest.Config(t), false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	name := "no-rights-" + kubetest.Namespace(t)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"", "plumb.dev", "argoproj.io"}, Resources: []string{"*"}, Verbs: []string{"*"},
	}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kindClusterRole, Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
	if _, err := admin.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = admin.RbacV1().ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{})
		_ = admin.RbacV1().ClusterRoles().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	for user, sees := range map[string]bool{"": true, name: false} {
		config := kubetest.Config(t)
		config.Impersonate.UserName = user
		h, logged := heard{told: make(chan RightChange, 1000)}, &lines{}
		c, err := New(Options{Config: config, Installed: installed, Declared: h, Log: slog.New(slog.NewTextHandler(logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := c.Start(ctx, &sink{}); err != nil {
			t.Fatal(err)
		}
		if !sees {
			eventually(t, "it is said that rights are not recorded", func() bool {
				return strings.Contains(logged.String(), "are not recorded: Plumb may not list and watch them")
			})
			if _, ok := c.Rights(); ok {
				t.Error("rights are told that may not be seen")
			}
			continue
		}
		if c := <-h.told; c != (RightChange{}) {
			t.Errorf("told first is %+v", c)
		}
		rights, ok := c.Rights()
		if !ok || !slices.ContainsFunc(rights, func(r Right) bool {
			return r.Text == "ClusterRoleBinding "+name+" binds ClusterRole "+name+" to User "+name
		}) {
			t.Errorf("rights are %v %v", ok, rights)
		}
	}
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
