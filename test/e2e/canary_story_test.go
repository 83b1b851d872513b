package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// storied is the secret of TestSecretsComeOutNowhereInAStory.
const storied = "c4n4ry-st0ry-do-not-leak"

const secretModule = `variable "password" {
  sensitive = true
}

variable "fails" {
  default = false
}

resource "terraform_data" "it" {
  input = var.password
}

output "password" {
  value     = var.password
  sensitive = true
}
`

// It says the secret out loud when it fails.
const failingModule = secretModule + `
output "refused" {
  value = "x"
  precondition {
    condition     = nonsensitive(var.password) == ""
    error_message = "the password ${nonsensitive(var.password)} is refused"
  }
}
`

// hearer is a webhook that keeps what it is told.
type hearer struct {
	mu  sync.Mutex
	all strings.Builder
}

func (h *hearer) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(&h.all, "%s %v %s\n", r.URL, r.Header, body)
}

func (h *hearer) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all.String()
}

// TestSecretsComeOutNowhereInAStory plans, approves, applies, lets drift, heals and
// fails, with secrets in a module's variable, its state and output, and in a Secret,
// and looks for them in all that is kept of it.
func TestSecretsComeOutNowhereInAStory(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns, heard := kubetest.Namespace(t), &hearer{}
	sink := httptest.NewServer(heard)
	t.Cleanup(sink.Close)
	w.kubectl(t, manifest("v1", "ConfigMap", "argocd-notifications-cm", map[string]any{"data": map[string]any{"service.webhook.sink": "url: " + sink.URL}}), "apply", "-n", "plumb-system", "-f", "-")
	t.Cleanup(func() { w.kubectl(t, "", "delete", "configmap", "argocd-notifications-cm", "-n", "plumb-system") })
	key := func(value string) string {
		return manifest("v1", "Secret", "keys", map[string]any{"stringData": map[string]any{"token": storied + value}})
	}
	w.declare(t, ns, manifest("v1", "Secret", "values", map[string]any{"stringData": map[string]any{"password": storied + "-var"}}))
	r := newRepository(t, map[string]string{"module/main.tf": secretModule, "app/keys.yaml": key("-1")})
	approved := func(change func(map[string]any)) func(map[string]any) {
		return func(s map[string]any) {
			s["syncPolicy"].(map[string]any)["approval"] = map[string]any{"when": "always", "notAuthor": false}
			if change != nil {
				change(s)
			}
		}
	}
	w.declare(t, ns,
		subscribed(application("keys", r.url(), "app", ns, approved(nil))),
		subscribed(application("module", r.url(), "module", ns, approved(func(s map[string]any) {
			source(s)["tofu"] = map[string]any{"varsFrom": []any{map[string]any{"secret": "values"}}}
		}))),
	)
	w.approveNext(t, ns, "keys", "Synced")
	w.approveNext(t, ns, "module", "Synced")
	w.kubectl(t, "", "patch", "secret", "keys", "-n", ns, "--type=merge", "-p", `{"stringData":{"token":"`+storied+`-live"}}`)
	w.approveNext(t, ns, "keys", "Synced") // it is healed
	r.commit(map[string]string{"module/main.tf": failingModule, "app/keys.yaml": key("-2")})
	w.approveNext(t, ns, "keys", "Synced")
	eventually(t, "the module's failure is told of", func() (bool, string) {
		a := w.app(t, ns, "module")
		return strings.Contains(a.String(), "is refused"), a.String()
	})
	w.kubectl(t, "", "patch", "secret", "keys", "-n", ns, "--type=merge", "-p", `{"stringData":{"token":"`+storied+`-again"}}`)
	w.waiting(t, ns, "keys")
	eventually(t, "notifications were sent", func() (bool, string) {
		return strings.Contains(heard.String(), "keys") && strings.Contains(heard.String(), "module"), heard.String()
	})
	said := w.keptOf(t, ns)
	said["notifications"] = heard.String()
	for where, text := range said {
		for _, form := range forms(storied) {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s shows the secret: …%s…", where, text[max(0, at-150):min(len(text), at+60)])
			}
		}
	}
	if n := len(said); n < 20 {
		t.Errorf("only %d things were looked at", n)
	}
}

func subscribed(app string) string {
	notes := ""
	for _, trigger := range []string{"on-deployed", "on-approval-needed", "on-approved", "on-drift-detected", "on-drift-healed", "on-sync-failed", "on-sync-status-unknown"} {
		notes += "\n    notifications.argoproj.io/subscribe." + trigger + ".sink: \"\""
	}
	return strings.Replace(app, "metadata:\n", "metadata:\n  annotations:"+notes+"\n", 1)
}

// forms are the ways in which a secret may be written, at any place in base64.
func forms(secret string) []string {
	all := []string{secret}
	for skip := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", skip) + secret))
		all = append(all, text[4:len(text)-4])
	}
	return all
}

// waiting is the plan of an Application that waits.
func (w *world) waiting(t *testing.T, ns, app string) string {
	t.Helper()
	plan := ""
	eventually(t, "a plan of "+app+" waits", func() (bool, string) {
		lines := w.kubectl(t, "", "get", "plans.plumb.dev", "-n", ns, "-o", `jsonpath={range .items[?(@.status.phase=="Pending")]}{.spec.application.name} {.metadata.name}{"\n"}{end}`)
		for line := range strings.Lines(lines) {
			if name, found, _ := strings.Cut(strings.TrimSpace(line), " "); name == app {
				plan = found
			}
		}
		return plan != "", lines + w.app(t, ns, app).String()
	})
	return plan
}

// approveNext approves the plan that waits, and waits until it is applied.
func (w *world) approveNext(t *testing.T, ns, app, sync string) {
	t.Helper()
	plan := w.waiting(t, ns, app)
	if o := w.plumb(t, "approve", plan, "-n", ns); o.code != 0 {
		t.Fatal(o)
	}
	eventually(t, plan+" is applied", func() (bool, string) {
		phase := w.value(t, ".status.phase", "plans.plumb.dev", plan, "-n", ns)
		return phase == "Applied" && w.app(t, ns, app).Status.Sync.Status == sync, phase + w.app(t, ns, app).String()
	})
}

// keptOf is all that Plumb keeps and says of what has happened in a namespace.
func (w *world) keptOf(t *testing.T, ns string) map[string]string {
	t.Helper()
	said := map[string]string{}
	for _, resource := range []string{"plans.plumb.dev", "approvals.plumb.dev", "applications.plumb.dev", "events"} {
		said[resource] = w.kubectl(t, "", "get", resource, "-n", ns, "-o", "yaml")
	}
	for _, args := range [][]string{
		{"audit", "export"}, {"audit", "export", "-o", "csv"}, {"audit", "log", "--limit", "0"}, {"audit", "verify"}, {"report"}, {"report", "-o", "json"},
	} {
		said["plumb "+strings.Join(args, " ")] = w.plumb(t, append(args, "--dir", w.ledger())...).stdout
	}
	for _, name := range []string{"keys", "module"} {
		for _, args := range [][]string{{"plans"}, {"describe"}, {"history"}, {"drift"}, {"diff"}, {"logs"}} {
			o := w.plumb(t, append([]string{args[0], name, "-n", ns}, args[1:]...)...)
			said["plumb "+args[0]+" of "+name] = o.stdout + o.stderr
		}
	}
	if n := strings.Count(said["plumb audit export"], `"namespace":"`+ns+`"`); n < 12 {
		t.Errorf("the ledger has %d entries only", n)
	}
	for _, dir := range []string{w.ledger(), filepath.Join(w.dir, "home", ".cache", "plumb", "artifacts"), filepath.Join(w.dir, "home", ".cache", "plumb", "notifications")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) || err == nil && d.IsDir() {
				return nil
			}
			text, err := os.ReadFile(path)
			if !os.IsNotExist(err) { // it may be replaced meanwhile
				said[path] = string(text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(w.engine.Log)
	if err != nil {
		t.Fatal(err)
	}
	said["the engine's log"] = string(log)
	return said
}
