package e2e

import (
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestCommandLineWhenSomethingIsWrong(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns := kubetest.Namespace(t)
	for name, c := range map[string]struct {
		reason string
		args   []string
		code   int
		says   []string
	}{
		"mistyped command":    {"the likely one is named", []string{"snyc", "web"}, 1, []string{"sync"}},
		"mistyped flag":       {"the likely one is named", []string{"get", "--ouput", "json"}, 1, []string{"--output"}},
		"unknown format":      {"the known ones are named", []string{"get", "-o", "xml"}, 1, []string{"xml", "json", "yaml"}},
		"missing Application": {"where it was looked for", []string{"describe", "nobody", "-n", ns}, 1, []string{"nobody", ns}},
		"missing for diff":    {"1 would be a difference", []string{"diff", "nobody", "-n", ns}, 2, []string{"nobody"}},
		"dead server":         {"which server, and why", []string{"get", "--kubeconfig", "KUBECONFIG"}, 1, []string{"127.0.0.1", "refused"}},
		"no kubeconfig":       {"which file", []string{"get", "--kubeconfig", "/nonexistent/config"}, 1, []string{"/nonexistent/config"}},
		"no name":             {"what to add", []string{"sync"}, 1, []string{"--all"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := c.args
			for i, a := range args {
				if a == "KUBECONFIG" {
					args[i] = deadKubeconfig(t)
				}
			}
			o := w.plumb(t, args...)
			if o.code != c.code {
				t.Errorf("%s: want exit code %d: %s", c.reason, c.code, o)
			}
			for _, want := range c.says {
				if !strings.Contains(o.stderr, want) {
					t.Errorf("%s: stderr does not say %q: %s", c.reason, want, o)
				}
			}
			if strings.Contains(o.stderr, "goroutine ") {
				t.Errorf("it panicked: %s", o)
			}
		})
	}
}

func deadKubeconfig(t *testing.T) string {
	t.Helper()
	file := t.TempDir() + "/kubeconfig"
	text := strings.ReplaceAll(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://ADDRESS", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: x}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, "ADDRESS", deadAddress(t))
	writeFile(t, file, text)
	return file
}
