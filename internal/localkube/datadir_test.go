package localkube_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube"
)

func TestStartRefusesDirectory(t *testing.T) {
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   string
	}{
		"SomebodyElses": {
			reason: "a reset would remove what is in it",
			files:  map[string]string{"main.go": "package main"},
			want:   "not a data directory of Plumb",
		},
		"NewerLayout": {
			reason: "an older program would misread it",
			files:  map[string]string{"cluster.json": `{"layout": 99}`},
			want:   "written by a newer Plumb (layout 99",
		},
		"DamagedStamp": {
			reason: "nothing can be known about it",
			files:  map[string]string{"cluster.json": `{`},
			want:   "cluster.json",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := localkube.Start(t.Context(), localkube.Options{Binary: "/nonexistent", DataDir: dir})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Start: %v, want an error with %q: %s", err, tc.want, tc.reason)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) != len(tc.files) {
				t.Errorf("the refused directory holds %v: something was put into it", entries)
			}
		})
	}
}

func TestResetRefusesSomebodyElsesDirectory(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := localkube.Reset(dir); err == nil || !strings.Contains(err.Error(), "nothing was removed") {
		t.Errorf("Reset: %v, want a refusal", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestDownWithoutAnythingRunning(t *testing.T) {
	if err := localkube.Down(t.Context(), t.TempDir()); !errors.Is(err, localkube.ErrNotRunning) {
		t.Errorf("Down: %v, want ErrNotRunning", err)
	}
}
