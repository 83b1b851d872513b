package controller

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

type fakeClusters struct {
	projects   map[string]string
	namespaces map[string][]string
}

func (f fakeClusters) Scope(server string) (string, []string) {
	return f.projects[server], f.namespaces[server]
}

func (f fakeClusters) OfProject(project string) []string {
	var servers []string
	for s, p := range f.projects {
		if p == project {
			servers = append(servers, s)
		}
	}
	return servers
}

func fenceOf(t *testing.T, spec v1alpha1.AppProjectSpec, clusters Clusters, scoped ...string) *fence {
	t.Helper()
	r, err := compileProject("project shop (AppProject argocd/shop)", &v1alpha1.AppProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: "shop"}, Spec: spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &fence{rules: r, appNamespace: "team", clusters: clusters, scoped: scoped}
}

// verdict checks an error against a part of it; "" asks for none.
func verdict(t *testing.T, reason string, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want == "":
	case err == nil:
		t.Errorf("%s: allowed, want %q", reason, want)
	case want == "":
		t.Errorf("%s: refused: %v", reason, err)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: %q, want %q", reason, err, want)
	}
}

func TestAllowSource(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		allowed []string
		scoped  []string
		repo    string
		want    string
	}{
		"nothing":         {"a project without sources allows none", nil, nil, "https://a/b", "does not allow the repository https://a/b"},
		"everything":      {"a star", []string{"*"}, nil, "https://a/b", ""},
		"normalised":      {"letter case and .git do not matter", []string{"https://Git.example/Team/app.git"}, nil, "https://git.example/team/app", ""},
		"ssh forms":       {"the short form means the long one", []string{"ssh://git@git.example/team/app"}, nil, "git@git.example:team/app.git", ""},
		"glob":            {"one level", []string{"https://git.example/team/*"}, nil, "https://git.example/team/app", ""},
		"glob stops":      {"a star does not cross a slash", []string{"https://git.example/*"}, nil, "https://git.example/other/app", "no entry of spec.sourceRepos"},
		"denied":          {"a denial goes before what allows", []string{"*", "!https://git.example/team/secret"}, nil, "https://git.example/team/secret.git", `denies the repository https://git.example/team/secret.git by spec.sourceRepos[1]`},
		"not denied":      {"others are not concerned", []string{"*", "!https://git.example/team/secret"}, nil, "https://git.example/team/app", ""},
		"only a denial":   {"as in Argo CD, a denial allows what it does not name", []string{"!https://git.example/team/secret"}, nil, "https://git.example/team/app", ""},
		"scoped":          {"the project's own repository Secrets", nil, []string{"https://git.example/team/app"}, "https://git.example/team/app.git", ""},
		"scoped, another": {"only these", nil, []string{"https://git.example/team/app"}, "https://git.example/team/other", "does not allow"},
	} {
		t.Run(name, func(t *testing.T) {
			f := fenceOf(t, v1alpha1.AppProjectSpec{SourceRepos: tc.allowed}, nil, tc.scoped...)
			verdict(t, tc.reason, f.AllowSource(tc.repo), tc.want)
		})
	}
}

func TestAllowDestination(t *testing.T) {
	const server, other = "https://prod.example", "https://dev.example"
	type d = v1alpha1.ApplicationDestination
	for name, tc := range map[string]struct {
		reason                  string
		spec                    v1alpha1.AppProjectSpec
		server, name, namespace string
		want                    string
	}{
		"none":      {"nothing is allowed by default", v1alpha1.AppProjectSpec{}, server, "prod", "shop", "does not allow the namespace \"shop\" of the cluster prod"},
		"server":    {"by server", v1alpha1.AppProjectSpec{Destinations: []d{{Server: server, Namespace: "shop"}}}, server, "prod", "shop", ""},
		"name":      {"by name", v1alpha1.AppProjectSpec{Destinations: []d{{Name: "pr*", Namespace: "shop-*"}}}, server, "prod", "shop-eu", ""},
		"namespace": {"another namespace", v1alpha1.AppProjectSpec{Destinations: []d{{Server: server, Namespace: "shop"}}}, server, "prod", "kube-system", "no entry of spec.destinations"},
		"denied namespace": {
			"a denied namespace", v1alpha1.AppProjectSpec{Destinations: []d{{Server: "*", Namespace: "*"}, {Server: "*", Namespace: "!kube-system"}}},
			server, "prod", "kube-system", "by spec.destinations[1]",
		},
		"denied server": {
			"a denied server", v1alpha1.AppProjectSpec{Destinations: []d{{Server: "*", Namespace: "*"}, {Server: "!" + server, Namespace: "*"}}},
			server, "prod", "shop", "by spec.destinations[1]",
		},
		"denied name": {
			"a denied name", v1alpha1.AppProjectSpec{Destinations: []d{{Server: "*", Namespace: "*"}, {Name: "!prod", Namespace: "*"}}},
			server, "prod", "shop", "by spec.destinations[1]",
		},
		"scoped only": {
			"a cluster of nobody, where only the project's own may be used",
			v1alpha1.AppProjectSpec{Destinations: []d{{Server: "*", Namespace: "*"}}, PermitOnlyProjectScopedClusters: true},
			other, "dev", "shop", "permitOnlyProjectScopedClusters",
		},
		"scoped":   {"the project's own cluster", v1alpha1.AppProjectSpec{PermitOnlyProjectScopedClusters: true}, server, "prod", "shop", ""},
		"brackets": {"a set of letters", v1alpha1.AppProjectSpec{Destinations: []d{{Server: "*", Namespace: "shop-[ab]"}}}, server, "prod", "shop-b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			clusters := fakeClusters{}
			if strings.HasPrefix(name, "scoped") {
				clusters.projects = map[string]string{server: "shop"}
			}
			f := fenceOf(t, tc.spec, clusters)
			verdict(t, tc.reason, f.AllowDestination(tc.server, tc.name, tc.namespace), tc.want)
		})
	}
}

func TestAllowResource(t *testing.T) {
	anywhere := []v1alpha1.ApplicationDestination{{Server: "*", Namespace: "shop"}}
	deployment := plan.Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	role := plan.Ref{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", Name: "view"}
	namespace := plan.Ref{Version: "v1", Kind: "Namespace", Name: "shop-eu"}
	for name, tc := range map[string]struct {
		reason     string
		spec       v1alpha1.AppProjectSpec
		ref        plan.Ref
		namespaced bool
		want       string
	}{
		"namespaced by default":    {"all namespaced kinds are allowed", v1alpha1.AppProjectSpec{}, deployment, true, ""},
		"cluster by default":       {"no cluster-scoped kind is", v1alpha1.AppProjectSpec{}, role, false, "no entry of spec.clusterResourceWhitelist"},
		"empty namespaced list":    {"an empty list allows nothing", v1alpha1.AppProjectSpec{NamespaceResourceWhitelist: []metav1.GroupKind{}}, deployment, true, "namespaceResourceWhitelist"},
		"namespaced allow":         {"by kind", v1alpha1.AppProjectSpec{NamespaceResourceWhitelist: []metav1.GroupKind{{Group: "apps", Kind: "*"}}}, deployment, true, ""},
		"namespaced deny":          {"a denial", v1alpha1.AppProjectSpec{NamespaceResourceBlacklist: []metav1.GroupKind{{Group: "*", Kind: "Deployment"}}}, deployment, true, "denies apps/Deployment/shop/web by spec.namespaceResourceBlacklist[0]"},
		"cluster allow":            {"by kind", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.ClusterResourceRestrictionItem{{Group: "*", Kind: "*"}}}, role, false, ""},
		"cluster allow by name":    {"by a name's pattern", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.ClusterResourceRestrictionItem{{Kind: "Namespace", Name: "shop-*"}}}, namespace, false, ""},
		"cluster refused by name":  {"another name", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.ClusterResourceRestrictionItem{{Kind: "Namespace", Name: "web-*"}}}, namespace, false, "does not allow"},
		"cluster deny":             {"a denial goes before what allows", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.ClusterResourceRestrictionItem{{Group: "*", Kind: "*"}}, ClusterResourceBlacklist: []v1alpha1.ClusterResourceRestrictionItem{{Group: "rbac.*", Kind: "*"}}}, role, false, "spec.clusterResourceBlacklist[0]"},
		"outside the destinations": {"a namespace that the manifest itself names", v1alpha1.AppProjectSpec{}, plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "kube-system", Name: "x"}, true, "no entry of spec.destinations"},
		"outside the cluster":      {"the cluster is limited", v1alpha1.AppProjectSpec{}, plan.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "elsewhere", Name: "x"}, true, "registered for the namespaces shop, kube-system only"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.spec.Destinations = anywhere
			f := fenceOf(t, tc.spec, fakeClusters{namespaces: map[string][]string{"https://prod": {"shop", "kube-system"}}})
			verdict(t, tc.reason, f.AllowResource(tc.ref, tc.namespaced, "https://prod", "prod", tc.ref.Namespace), tc.want)
		})
	}
}

func TestIdentity(t *testing.T) {
	type sa = v1alpha1.ApplicationDestinationServiceAccount
	for name, tc := range map[string]struct {
		reason    string
		accounts  []sa
		namespace string
		want      string
		refused   string
	}{
		"none":          {"a project that names no identity", nil, "shop", "", ""},
		"in place":      {"a plain name is of the destination's namespace", []sa{{Server: "*", Namespace: "shop", DefaultServiceAccount: "deployer"}}, "shop", "system:serviceaccount:shop:deployer", ""},
		"qualified":     {"namespace:name", []sa{{Server: "https://prod", Namespace: "*", DefaultServiceAccount: "ops:deployer"}}, "shop", "system:serviceaccount:ops:deployer", ""},
		"first counts":  {"the first that matches", []sa{{Server: "*", Namespace: "shop", DefaultServiceAccount: "one"}, {Server: "*", Namespace: "*", DefaultServiceAccount: "two"}}, "shop", "system:serviceaccount:shop:one", ""},
		"no namespace":  {"then it is of the Application's", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: "deployer"}}, "", "system:serviceaccount:team:deployer", ""},
		"none fits":     {"never a fall back to Plumb's own rights", []sa{{Server: "*", Namespace: "other", DefaultServiceAccount: "deployer"}}, "shop", "", "names identities to apply with, but none"},
		"empty":         {"an empty claim is a refusal", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: " "}}, "shop", "", "is no name"},
		"pattern":       {"an identity is no pattern", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: "*"}}, "shop", "", "is no name"},
		"empty half":    {"an empty claim is a refusal", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: "ops:"}}, "shop", "", "is no name"},
		"three parts":   {"not another kind of user", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: "a:b:c"}}, "shop", "", "is no name"},
		"with a space":  {"not two names", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: "a b"}}, "shop", "", "is no name"},
		"with a slash":  {"not a path", []sa{{Server: "*", Namespace: "*", DefaultServiceAccount: "a/b"}}, "shop", "", "is no name"},
		"other servers": {"of another cluster", []sa{{Server: "https://dev", Namespace: "*", DefaultServiceAccount: "a"}}, "shop", "", "but none"},
	} {
		t.Run(name, func(t *testing.T) {
			f := fenceOf(t, v1alpha1.AppProjectSpec{DestinationServiceAccounts: tc.accounts}, nil)
			got, err := f.Identity("https://prod", tc.namespace)
			verdict(t, tc.reason, err, tc.refused)
			if got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestCompileProjectRefusesWhatItCannotRead(t *testing.T) {
	for name, spec := range map[string]v1alpha1.AppProjectSpec{
		"sourceRepos[0]":                {SourceRepos: []string{"!["}},
		"destinations[0]":               {Destinations: []v1alpha1.ApplicationDestination{{Server: "[", Namespace: "*"}}},
		"sourceNamespaces[0]":           {SourceNamespaces: []string{"/(/"}},
		"destinationServiceAccounts[0]": {DestinationServiceAccounts: []v1alpha1.ApplicationDestinationServiceAccount{{Server: "["}}},
	} {
		_, err := compileProject("project x", &v1alpha1.AppProject{Spec: spec})
		verdict(t, "a fence that is not understood lets nothing through", err, "spec."+name)
	}
}
