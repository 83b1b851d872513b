package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNotify(t *testing.T) {
	const token = "canary-notify-token"
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != token {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer receiver.Close()
	dir := t.TempDir()
	cm, secret := filepath.Join(dir, "cm.yaml"), filepath.Join(dir, "secret.yaml")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(cm, `apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-notifications-cm}
data:
  service.webhook.hook: |
    url: `+receiver.URL+`
    headers: [{name: X-Token, value: $token}]
  service.awssqs: "queue: x"
`)
	write(secret, "apiVersion: v1\nkind: Secret\nmetadata: {name: argocd-notifications-secret}\nstringData: {token: "+token+"}\n")
	notify := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"notify", "--config-map", cm, "--secret", secret}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &out}, environment{})
		return code, out.String()
	}
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"list":           {[]string{"list"}, 0, "service.awssqs: the service awssqs is not supported"},
		"send":           {[]string{"test", "hook"}, 0, "sent to hook"},
		"unknown":        {[]string{"test", "slack:ops"}, 1, `there is no service "slack": there are hook`},
		"console":        {[]string{"test", "console", "--trigger", "on-sync-failed"}, 0, "example failed to sync"},
		"no trigger":     {[]string{"test", "console", "--trigger", "on-party"}, 1, `there is no trigger "on-party"`},
		"template":       {[]string{"template", "get", "app-deployed"}, 0, "runs a new revision"},
		"templates":      {[]string{"template", "get"}, 0, "app-drift-detected (built in)"},
		"other template": {[]string{"template", "get", "x"}, 1, "there is no template"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out := notify(tt.args...)
			if code != tt.code || !strings.Contains(out, tt.want) || strings.Contains(out, token) {
				t.Errorf("exit code %d, want %d; want %q in:\n%s", code, tt.code, tt.want, out)
			}
		})
	}
}
