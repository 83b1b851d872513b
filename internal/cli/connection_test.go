package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// A data directory that was named is meant, whatever the environment says: a
// command that changes something must not go to another cluster.
func TestANamedDataDirectoryIsMeant(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("KUBECONFIG", filepath.Join(home, "production"))
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for reason, c := range map[string]struct{ dataDir, kubeconfig, want string }{
		"nothing is named: the environment counts":      {filepath.Join(home, "default"), "", ""},
		"a data directory is named":                     {dir, "", filepath.Join(dir, "kubeconfig")},
		"one is named that has no control plane":        {filepath.Join(dir, "typo"), "", filepath.Join(dir, "typo", "kubeconfig")},
		"a kubeconfig is named beside a data directory": {dir, "mine", "mine"},
	} {
		k := &connection{env: environment{DataDir: filepath.Join(home, "default")}, dataDir: c.dataDir, kubeconfig: c.kubeconfig}
		if _, rules := k.loader(); rules.ExplicitPath != c.want {
			t.Errorf("%s: got %q, want %q", reason, rules.ExplicitPath, c.want)
		}
	}
}
