package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/server"
)

func TestAuditFlags(t *testing.T) {
	token, empty := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "empty")
	for file, text := range map[string]string{token: "t0k3n\n", empty: "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		reason string
		logs   []string
		token  string
		want   server.AuditOptions
		err    string
	}{
		"None":      {"nothing is heard where nothing is said", nil, "", server.AuditOptions{}, ""},
		"File":      {"a file is that of the control plane", []string{"/var/log/audit.log"}, "", server.AuditOptions{Logs: []server.AuditLog{{File: "/var/log/audit.log"}}}, ""},
		"Cluster":   {"a cluster is named before it", []string{"far=/x=y.log", "audit.log"}, "", server.AuditOptions{Logs: []server.AuditLog{{Cluster: "far", File: "/x=y.log"}, {File: "audit.log"}}}, ""},
		"Path":      {"a path may have an equals sign", []string{"/var/a=b.log", "./a=b"}, "", server.AuditOptions{Logs: []server.AuditLog{{File: "/var/a=b.log"}, {File: "./a=b"}}}, ""},
		"NoFile":    {"a cluster alone says nothing", []string{"far="}, "", server.AuditOptions{}, "it must be FILE or CLUSTER=FILE"},
		"NoCluster": {"nor nothing", []string{"=/x"}, "", server.AuditOptions{}, "it must be FILE or CLUSTER=FILE"},
		"Token":     {"a token is read from its file", nil, token, server.AuditOptions{Token: []byte("t0k3n")}, ""},
		"Empty":     {"an empty token would let anybody speak", nil, empty, server.AuditOptions{}, "is empty"},
		"Missing":   {"a missing file is said", nil, token + "x", server.AuditOptions{}, "read the token for audit events"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := serverFlags{auditLogs: tc.logs, auditToken: tc.token}
			err := f.setAudit()
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%s: %v", tc.reason, err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, f.options.Audit); diff != "" || err != nil {
				t.Errorf("%s: %v %s", tc.reason, err, diff)
			}
		})
	}
}
