package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// ledger is the folder of the engine's ledger, where a server keeps it if nobody says
// where.
func (w *world) ledger() string {
	return filepath.Join(w.dir, "home", ".local", "state", "plumb", "ledger")
}

// documented holds what a command has printed to its schema.
func documented(t *testing.T, schema string, o outcome) {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "reference", "schemas", schema+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Errorf("plumb %s does not print JSON: %v: %s", schema, err, o)
		return
	}
	if err := s.Validate(got); err != nil {
		t.Errorf("plumb %s prints something else than is documented: %v\n%s", schema, err, o.stdout)
	}
}

// TestJSONOfDecisionsIsAsDocumented is of what people decide with, and look back at.
func TestJSONOfDecisionsIsAsDocumented(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns := kubetest.Namespace(t)
	r := newRepository(t, map[string]string{"app/a.yaml": configMap("a", "1"), "app/s.yaml": manifest("v1", "Secret", "s", map[string]any{"stringData": map[string]any{"password": "one"}})})
	w.declare(t, ns, application("web", r.url(), "app", ns, func(s map[string]any) {
		s["syncPolicy"] = map[string]any{"automated": map[string]any{}, "drift": map[string]any{"default": "report"}}
	}))
	w.await(t, ns, "web", "Synced", "Healthy")
	first := r.git("rev-parse", "HEAD")
	r.commit(map[string]string{"app/a.yaml": configMap("a", "2")})
	eventually(t, "the second commit is applied", func() (bool, string) {
		a := w.app(t, ns, "web")
		return w.value(t, ".data.value", "configmap", "a", "-n", ns) == "2" && len(a.Status.History) == 2 && a.is("Synced", "Healthy"), a.String()
	})
	w.kubectl(t, "", "patch", "configmap", "a", "-n", ns, "--type=merge", "-p", `{"data":{"value":"mine"}}`)
	w.kubectl(t, "", "patch", "secret", "s", "-n", ns, "--type=merge", "-p", `{"stringData":{"password":"mine"}}`)
	eventually(t, "both drift", func() (bool, string) {
		o := w.plumb(t, "drift", "web", "-n", ns, "-o", "json")
		return strings.Count(o.stdout, `"since"`) == 2, o.String()
	})
	documented(t, "drift", w.plumb(t, "drift", "web", "-n", ns, "-o", "json"))
	adopted := w.plumb(t, "adopt", "web", "-n", ns, "--branch", "adopted", "-o", "json")
	documented(t, "adopt", adopted)
	for _, part := range []string{`"adopted": [`, `"refused": [`, `"files": [`, `"pushed": [`, `"branch": "adopted"`} {
		if !strings.Contains(adopted.stdout, part) {
			t.Errorf("there is no %s to check: %s", part, adopted)
		}
	}
	back := w.plumb(t, "rollback", "web", "-n", ns, "--to", first, "--branch", "back", "-o", "json")
	documented(t, "rollback", back)
	if !strings.Contains(back.stdout, `"subject": "Change"`) || !strings.Contains(back.stdout, `"branch": "back"`) {
		t.Errorf("nothing was taken back: %s", back)
	}
	documented(t, "preview", w.plumb(t, "preview", "--repo", r.dir, "--base", "main", "--head", "adopted", "-o", "json"))
	dir := []string{"--dir", w.ledger(), "-o", "json"}
	eventually(t, "the drift is in the ledger", func() (bool, string) {
		o := w.plumb(t, append([]string{"audit", "log", ns + "/web", "--kind", "DriftFound"}, dir...)...)
		return strings.Contains(o.stdout, "DriftFound"), o.String()
	})
	for schema, args := range map[string][]string{
		"audit-log": {"audit", "log", ns + "/web"}, "audit-show": {"audit", "show", "1"}, "audit-verify": {"audit", "verify"},
		"audit-checkpoint": {"audit", "checkpoint"}, "report": {"report"},
	} {
		documented(t, schema, w.plumb(t, append(args, dir...)...))
	}
	w.fromElsewhere(t, ns)
}

// fromElsewhere reads the ledger from the server, as an auditor.
func (w *world) fromElsewhere(t *testing.T, ns string) {
	t.Helper()
	w.kubectl(t, "", "create", "serviceaccount", "auditor", "-n", ns)
	w.kubectl(t, "", "create", "clusterrolebinding", ns+"-auditor", "--clusterrole", "plumb-auditor", "--serviceaccount", ns+":auditor")
	t.Cleanup(func() { w.kubectl(t, "", "delete", "clusterrolebinding", ns+"-auditor") })
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, w.kubectl(t, "", "create", "token", "auditor", "-n", ns))
	args := []string{"--server", w.engine.Metrics, "--token-file", token, "--dir", filepath.Join(t.TempDir(), "copy")}
	eventually(t, "the auditor reads the ledger", func() (bool, string) {
		o := w.plumb(t, append([]string{"audit", "log", ns + "/web", "--kind", "DriftFound", "-o", "json"}, args...)...)
		return strings.Contains(o.stdout, `"DriftFound"`), o.String()
	})
	if o := w.plumb(t, append([]string{"audit", "verify"}, args...)...); o.code != 0 || !strings.Contains(o.stdout, "this copy: the ledger only grew since") {
		t.Errorf("%s", o)
	}
	documented(t, "report", w.plumb(t, append([]string{"report", "-o", "json"}, args...)...))
}
