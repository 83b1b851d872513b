package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// canary is planted wherever users keep secrets. It must come out nowhere.
const canary = "c4n4ry-s3cr3t-do-not-leak"

// TestSecretsComeOutNowhere plants a secret in Secrets that are in sync, changed,
// drifted, invalid and refused, and in credentials, and looks for it in all that
// Plumb says.
func TestSecretsComeOutNowhere(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns := kubetest.Namespace(t)
	secret := func(name, value string, more map[string]any) string {
		fields := map[string]any{"stringData": map[string]any{"token": canary + value}}
		for k, v := range more {
			fields[k] = v
		}
		return manifest("v1", "Secret", name, fields)
	}
	r := newRepository(t, map[string]string{
		"app/one.yaml":      secret("one", "-1", nil),
		"app/two.yaml":      manifest("v1", "Secret", "two", map[string]any{"data": map[string]any{"token": encoded("-1")}}),
		"app/invalid.yaml":  secret("invalid", "", map[string]any{"data": map[string]any{"not base64": canary}}),
		"app/typed.yaml":    secret("typed", "", map[string]any{"type": "kubernetes.io/tls"}),
		"app/odd.yaml":      secret("odd", "", map[string]any{"stringData": []any{canary}}),
		"manual/waits.yaml": secret("waits", "", nil),
		"chart/Chart.yaml":  chart, "chart/values.yaml": "password: " + canary + "\n",
		"chart/templates/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: from-values}\nstringData:\n  password: {{ .Values.password }}\n",
		"wrong/Chart.yaml":            chart, "wrong/values.yaml": "password: " + canary + "\n",
		"wrong/templates/x.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: broken}\nstringData:\n  password: {{ .Values.password }}\n  bad: {{ fail .Values.password }}\n",
		"yaml/broken.yaml":       "apiVersion: v1\nkind: Secret\nstringData:\n  password: " + canary + "\n  \tbad: x\n",
	})
	url := serveWithPassword(t, r)
	w.kubectl(t, manifest("v1", "Secret", "canary-"+ns, map[string]any{
		"metadata":   map[string]any{"labels": map[string]any{"argocd.argoproj.io/secret-type": "repository"}},
		"stringData": map[string]any{"type": "git", "url": url, "username": "dev", "password": canary},
	}), "apply", "-n", "plumb-system", "-f", "-")
	manual := func(s map[string]any) { s["syncPolicy"] = map[string]any{} }
	w.declare(t, ns,
		application("web", r.url(), "app", ns, nil), application("manual", r.url(), "manual", ns, manual),
		application("chart", r.url(), "chart", ns, nil), application("wrong", r.url(), "wrong", ns, nil),
		application("broken", r.url(), "yaml", ns, nil), application("denied", url, "app", ns, nil),
		application("embedded", strings.Replace(url, "http://", "http://dev:"+canary+"@", 1), "app", ns, nil),
	)
	for _, name := range []string{"web", "wrong", "broken", "denied", "embedded"} {
		eventually(t, name+" complains", func() (bool, string) {
			a := w.app(t, ns, name)
			return len(a.Status.Conditions) > 0, a.String()
		})
	}
	w.await(t, ns, "chart", "Synced", "Healthy")
	r.commit(map[string]string{"app/one.yaml": secret("one", "-2", nil), "chart/values.yaml": "password: " + canary + "-2\n"})
	eventually(t, "the change is applied", func() (bool, string) {
		got := w.value(t, ".data.token", "secret", "one", "-n", ns)
		return got == encoded("-2"), w.app(t, ns, "app").String()
	})
	w.kubectl(t, "", "patch", "secret", "one", "-n", ns, "--type=merge", "-p", `{"data":{"token":"`+encoded("-3")+`"}}`)
	said := w.everythingSaid(t, ns, []string{"web", "manual", "chart", "wrong", "broken", "denied", "embedded"})
	if len(said) < 40 {
		t.Fatalf("only %d things were looked at", len(said))
	}
	for where, text := range said {
		for form, leaked := range map[string]string{
			"plain": canary, "base64": strings.TrimRight(encoded(""), "=")[:20], "quoted": strings.ToUpper(canary),
		} {
			if at := strings.Index(text, leaked); at >= 0 {
				t.Errorf("%s shows the secret (%s): …%s…", where, form, text[max(0, at-150):min(len(text), at+60)])
			}
		}
	}
}

func encoded(more string) string {
	return base64.StdEncoding.EncodeToString([]byte(canary + more))
}

// everythingSaid is what Plumb says about Applications, by where it says it.
func (w *world) everythingSaid(t *testing.T, ns string, names []string) map[string]string {
	t.Helper()
	said := map[string]string{}
	for _, name := range names {
		for _, args := range [][]string{
			{"get", "-o", "json"}, {"get", "-o", "wide"}, {"describe"}, {"describe", "-o", "json"}, {"diff"}, {"diff", "-o", "json"},
			{"plan"}, {"plan", "-o", "json"}, {"sync", "--dry-run", "--timeout", "20s"}, {"tree"}, {"history"}, {"render"}, {"logs"},
		} {
			o := w.plumb(t, append([]string{args[0], name, "-n", ns}, args[1:]...)...)
			text := o.stdout + o.stderr
			if slices.Contains(args, "json") {
				// What the user wrote into spec is the user's.
				text = strings.ReplaceAll(text, "dev:"+canary+"@", "")
			}
			said[fmt.Sprintf("plumb %s (%s)", strings.Join(args, " "), name)] = text
		}
		said["status of "+name] = w.value(t, ".status", "applications.plumb.dev", name, "-n", ns)
	}
	said["events"] = w.kubectl(t, "", "get", "events", "-A", "-o", "yaml")
	said["intents"] = w.kubectl(t, "", "get", "configmaps", "-n", "plumb-system", "-o", "yaml")
	log, err := os.ReadFile(w.engine.Log)
	if err != nil {
		t.Fatal(err)
	}
	said["the engine's log"] = string(log)
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		response, err := http.Get(w.engine.Metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		said[path] = string(body)
	}
	return said
}
