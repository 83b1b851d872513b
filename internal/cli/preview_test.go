package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestLocalDirectoryIsFoundFromItsTopAndFromWithin(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{".git", "apps/web", "bare"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ reason, dir, declared, want string }{
		"top of a work tree":     {"the Application's path is looked up in it", "", "apps/web", "apps/web"},
		"the Application's own":  {"it is taken as it is", "apps/web", "apps/web", "apps/web"},
		"another place":          {"what the user names counts", "bare", "apps/web", "bare"},
		"top without the path":   {"the path is to come, or was never there", "", "elsewhere", "."},
		"top is the Application": {"no path is the top", "", "", "."},
	} {
		t.Run(name, func(t *testing.T) {
			a := application{Application: v1alpha1.Application{}}
			a.Spec.Source = &v1alpha1.ApplicationSource{RepoURL: "https://git.example/x", Path: c.declared}
			app, _, done, err := previewFlags{local: filepath.Join(top, c.dir)}.options(a)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			if got := filepath.ToSlash(filepath.Clean(app.Spec.Source.Path)); got != c.want {
				t.Errorf("%s: the path is %q, want %q", c.reason, got, c.want)
			}
		})
	}
}
