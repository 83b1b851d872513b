package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// bad is one kind of bad input beside a good Application of the same repository.
type bad struct {
	reason string
	// files are in the directory bad, spec changes the Application of it, and
	// prepare makes what it needs beside.
	files   map[string]string
	spec    func(spec map[string]any)
	prepare func(t *testing.T, w *world, r *repository, namespace string) (spec func(map[string]any))
	// then is committed once the Application is Synced: it is only then bad.
	then map[string]string
	// condition must say all of these.
	condition string
	says      []string
}

func source(spec map[string]any) map[string]any { return spec["source"].(map[string]any) }

func TestBadInputHurtsOneApplicationAlone(t *testing.T) {
	w := plumb(t)
	for name, c := range badInputs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t, w)
		})
	}
}

// run gives the namespace.
func (c bad) run(t *testing.T, w *world) string {
	ns := kubetest.Namespace(t)
	files := map[string]string{"good/settings.yaml": configMap("good", "1"), "bad/fine.yaml": configMap("fine", "1")}
	for path, content := range c.files {
		files["bad/"+path] = content
	}
	r := newRepository(t, files)
	spec := c.spec
	if c.prepare != nil {
		spec = c.prepare(t, w, r, ns)
	}
	w.declare(t, ns, application("bad", r.url(), "bad", ns, spec), application("good", r.url(), "good", ns, nil))
	if c.then != nil {
		w.await(t, ns, "bad", "Synced", "Healthy")
		later := map[string]string{}
		for path, content := range c.then {
			later["bad/"+path] = content
		}
		r.commit(later)
	}
	c.complains(t, w, ns)
	w.await(t, ns, "good", "Synced", "Healthy")
	r.commit(map[string]string{"good/settings.yaml": configMap("good", "2")})
	eventually(t, "the good one follows its repository", func() (bool, string) {
		got := w.value(t, ".data.value", "configmap", "good", "-n", ns)
		return got == "2", got
	})
	c.complains(t, w, ns)
	if o := w.plumb(t, "get", "bad", "-n", ns); o.code != 0 || !strings.Contains(o.stdout, "bad") {
		t.Errorf("plumb get: %s", o)
	}
	o := w.plumb(t, "describe", "bad", "-n", ns)
	for _, want := range c.says {
		if !strings.Contains(unwrapped(o.stdout), want) {
			t.Errorf("plumb describe does not say %q: %s", want, o)
		}
	}
	w.kubectl(t, "", "delete", "applications.plumb.dev", "--all", "-n", ns)
	return ns
}

// unwrapped takes back the breaking of lines.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

func (c bad) complains(t *testing.T, w *world, ns string) {
	t.Helper()
	eventually(t, "the bad one has a "+c.condition+" that says "+strings.Join(c.says, " … "), func() (bool, string) {
		a := w.app(t, ns, "bad")
		message, ok := a.condition(c.condition)
		for _, want := range c.says {
			ok = ok && strings.Contains(unwrapped(message), want)
		}
		return ok, a.String()
	})
}

const chart = "apiVersion: v2\nname: broken\nversion: 1.0.0\n"

func badInputs() map[string]bad {
	all := map[string]bad{
		"repository gone": {
			reason:    "the rest must go on while a repository does not exist",
			spec:      func(s map[string]any) { source(s)["repoURL"] = "file:///nonexistent/repo" },
			condition: "ComparisonError", says: []string{"file:///nonexistent/repo"},
		},
		"revision missing": {
			reason:    "a mistyped branch is answered with the likely one",
			spec:      func(s map[string]any) { source(s)["targetRevision"] = "mian" },
			condition: "ComparisonError", says: []string{"mian", "main"},
		},
		"path missing": {
			reason:    "a mistyped path is answered",
			spec:      func(s map[string]any) { source(s)["path"] = "bda" },
			condition: "ComparisonError", says: []string{"bda"},
		},
		"invalid YAML": {
			reason:    "file and line",
			files:     map[string]string{"broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  \tlabels: {}\n"},
			condition: "ComparisonError", says: []string{"bad/broken.yaml:5"},
		},
		"unknown kind": {
			reason:    "the others of the Application are applied",
			files:     map[string]string{"odd.yaml": manifest("example.org/v1", "Gadget", "odd", nil)},
			condition: "SyncError", says: []string{"Gadget"},
		},
		"duplicate object": {
			reason:    "the last one counts, and it says so",
			files:     map[string]string{"again.yaml": configMap("fine", "2")},
			condition: "RepeatedResourceWarning", says: []string{"ConfigMap", "fine"},
		},
		"invalid Helm template": {
			reason: "file and line",
			files: map[string]string{"fine.yaml": "", "Chart.yaml": chart,
				"templates/x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.a.b.c }}\n"},
			condition: "ComparisonError", says: []string{"templates/x.yaml:4"},
		},
		"Kustomize base outside the repository": {
			reason:    "no path leaves the repository",
			files:     map[string]string{"kustomization.yaml": "resources: [../../../../../../etc]\n"},
			condition: "ComparisonError", says: []string{"bad/kustomization.yaml:1", "leads out of the repository"},
		},
		"symlink out of the tree": {
			reason:    "no link leaves the repository",
			files:     map[string]string{"passwd.yaml": "-> /etc/passwd"},
			condition: "ComparisonError", says: []string{"bad/passwd.yaml"},
		},
		"100 MB file": {
			reason:    "what is too large is refused before it is read",
			files:     map[string]string{"large.yaml": "a: " + strings.Repeat("x", 100<<20)},
			condition: "ComparisonError", says: []string{"bad/large.yaml", "10485760"},
		},
		"YAML alias bomb": {
			reason:    "a few lines must not become gigabytes",
			files:     map[string]string{"bomb.yaml": bomb()},
			condition: "ComparisonError", says: []string{"bad/bomb.yaml"},
		},
		"immutable field changed": {
			reason:    "what to do about it is said",
			files:     map[string]string{"web.yaml": deployment("web", "registry.example/web:1", nil)},
			then:      map[string]string{"web.yaml": strings.ReplaceAll(deployment("web", "registry.example/web:1", nil), "app: web", "app: other")},
			condition: "SyncError", says: []string{"deployment.apps/web", "spec.selector", "field is immutable", "Replace=true"},
		},
		"namespace missing": {
			reason:    "CreateNamespace=true is what most forget",
			spec:      func(s map[string]any) { s["destination"].(map[string]any)["namespace"] = "not-there-at-all" },
			condition: "SyncError", says: []string{"not-there-at-all", "CreateNamespace=true"},
		},
		"invalid field": {
			reason:    "the API server's own words",
			files:     map[string]string{"pod.yaml": manifest("v1", "Service", "Not_A_Name", map[string]any{"spec": map[string]any{"ports": []any{}}})},
			condition: "SyncError", says: []string{"Not_A_Name"},
		},
		"destination not registered": {
			reason:    "the name that nobody knows",
			spec:      func(s map[string]any) { s["destination"] = map[string]any{"name": "moon", "namespace": "x"} },
			condition: "ComparisonError", says: []string{"no cluster has the name moon"},
		},
		"project missing": {
			reason:    "no project is no permission",
			spec:      func(s map[string]any) { s["project"] = "nobodys" },
			condition: "InvalidSpecError", says: []string{"nobodys"},
		},
		"field not implemented": {
			reason:    "never silently ignored",
			spec:      func(s map[string]any) { source(s)["plugin"] = map[string]any{"name": "mine"} },
			condition: "UnimplementedField", says: []string{"spec.source.plugin"},
		},
	}
	for name, c := range badDestinations() {
		all[name] = c
	}
	return all
}

func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	return b.String()
}

// badDestinations are those where something beside the repository is bad.
func badDestinations() map[string]bad {
	return map[string]bad{
		"wrong credentials": {
			reason: "which repository, and that it is the credentials; never the credentials",
			prepare: func(t *testing.T, w *world, r *repository, ns string) func(map[string]any) {
				url := serveWithPassword(t, r)
				w.kubectl(t, manifest("v1", "Secret", "wrong-"+ns, map[string]any{
					"metadata":   map[string]any{"labels": map[string]any{"argocd.argoproj.io/secret-type": "repository"}},
					"stringData": map[string]any{"type": "git", "url": url, "username": "dev", "password": "hunter-two"},
				}), "apply", "-n", "plumb-system", "-f", "-")
				return func(s map[string]any) { source(s)["repoURL"] = url }
			},
			condition: "ComparisonError", says: []string{"127.0.0.1", "authentication failed", "Secret"},
		},
		"denied by RBAC": {
			reason: "changes are made with the identity that the project names",
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				w.kubectl(t, manifest("v1", "ServiceAccount", "powerless", nil), "apply", "-n", ns, "-f", "-")
				project := manifest("plumb.dev/v1alpha1", "AppProject", "powerless-"+ns, map[string]any{"spec": map[string]any{
					"sourceRepos": []any{"*"}, "destinations": []any{map[string]any{"server": "*", "namespace": "*"}},
					"sourceNamespaces":           []any{"*"},
					"destinationServiceAccounts": []any{map[string]any{"server": "*", "namespace": ns, "defaultServiceAccount": "powerless"}},
				}})
				w.kubectl(t, project, "apply", "-n", "plumb-system", "-f", "-")
				return func(s map[string]any) { s["project"] = "powerless-" + ns }
			},
			condition: "SyncError", says: []string{"forbidden", "powerless"},
		},
		"outside the project": {
			reason: "which rule of which project",
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				project := manifest("plumb.dev/v1alpha1", "AppProject", "fenced-"+ns, map[string]any{"spec": map[string]any{
					"sourceRepos": []any{"https://git.example/*"}, "destinations": []any{map[string]any{"server": "*", "namespace": "*"}},
					"sourceNamespaces": []any{"*"},
				}})
				w.kubectl(t, project, "apply", "-n", "plumb-system", "-f", "-")
				return func(s map[string]any) { s["project"] = "fenced-" + ns }
			},
			condition: "InvalidSpecError", says: []string{"fenced-", "sourceRepos"},
		},
		"kind denied by the project": {
			reason: "which rule of which project",
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				project := manifest("plumb.dev/v1alpha1", "AppProject", "nomaps-"+ns, map[string]any{"spec": map[string]any{
					"sourceRepos": []any{"*"}, "destinations": []any{map[string]any{"server": "*", "namespace": "*"}},
					"sourceNamespaces":           []any{"*"},
					"namespaceResourceBlacklist": []any{map[string]any{"group": "", "kind": "ConfigMap"}},
				}})
				w.kubectl(t, project, "apply", "-n", "plumb-system", "-f", "-")
				return func(s map[string]any) { s["project"] = "nomaps-" + ns }
			},
			condition: "SyncError", says: []string{"ConfigMap", "nomaps-"},
		},
		"refused by admission": {
			reason: "the policy's own words",
			files:  map[string]string{"odd.yaml": configMap("forbidden-by-policy", "1")},
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				w.kubectl(t, admissionPolicy(ns), "apply", "-f", "-")
				t.Cleanup(func() {
					w.command(t, "", "kubectl", "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "deny-"+ns)
				})
				eventually(t, "the policy is in force", func() (bool, string) {
					o := w.command(t, configMap("forbidden-by-policy", "1"), "kubectl", "create", "--dry-run=server", "-n", ns, "-f", "-")
					return o.code != 0, o.String()
				})
				return nil
			},
			condition: "SyncError", says: []string{"forbidden-by-policy", "not on my watch"},
		},
		"destination unreachable": {
			reason: "which cluster and why",
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				server := "https://" + deadAddress(t)
				w.kubectl(t, manifest("v1", "Secret", "dead-"+ns, map[string]any{
					"metadata":   map[string]any{"labels": map[string]any{"argocd.argoproj.io/secret-type": "cluster"}},
					"stringData": map[string]any{"name": "dead-" + ns, "server": server, "config": `{"tlsClientConfig":{"insecure":true}}`},
				}), "apply", "-n", "plumb-system", "-f", "-")
				return func(s map[string]any) { s["destination"] = map[string]any{"name": "dead-" + ns, "namespace": ns} }
			},
			condition: "ComparisonError", says: []string{"cannot be reached", "connection refused"},
		},
		"claimed by two": {
			reason: "the second says so and changes nothing",
			files:  map[string]string{"mine.yaml": configMap("claimed", "second")},
			prepare: func(t *testing.T, w *world, r *repository, ns string) func(map[string]any) {
				r.commit(map[string]string{"first/mine.yaml": configMap("claimed", "first")})
				w.declare(t, ns, application("first", r.url(), "first", ns, nil))
				w.await(t, ns, "first", "Synced", "Healthy")
				return nil
			},
			condition: "SharedResourceWarning", says: []string{"claimed", "first"},
		},
	}
}

func admissionPolicy(ns string) string {
	policy := manifest("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "deny-"+ns, map[string]any{"spec": map[string]any{
		"failurePolicy": "Fail",
		"matchConstraints": map[string]any{
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": ns}},
			"resourceRules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE", "UPDATE"}, "resources": []any{"configmaps"},
			}},
		},
		"validations": []any{map[string]any{
			"expression": "object.metadata.name != 'forbidden-by-policy'", "message": "not on my watch",
		}},
	}})
	binding := manifest("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "deny-"+ns, map[string]any{"spec": map[string]any{
		"policyName": "deny-" + ns, "validationActions": []any{"Deny"},
	}})
	return policy + "\n---\n" + binding
}

// deadAddress is one on which nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serveWithPassword serves a repository over HTTP to who knows the password.
func serveWithPassword(t *testing.T, r *repository) string {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + r.dir, "GIT_HTTP_EXPORT_ALL=1"}}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if _, password, _ := req.BasicAuth(); password != "correct horse" {
			rw.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(rw, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(rw, req)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/.git"
}
