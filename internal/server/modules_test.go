package server

import (
	"strings"
	"testing"
)

// TestInstance has commands of one user keep each other's locks, and a server know
// its own of before.
func TestInstance(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		lenient bool
		same    bool
	}{
		"Server":  {"what an earlier process has left is its own", false, true},
		"Command": {"another command may be under way", true, false},
	} {
		s := &Server{lenient: tc.lenient}
		dir := t.TempDir()
		a, err := s.instance(dir)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.instance(dir)
		if err != nil || (a == b) != tc.same || a == "" {
			t.Errorf("%s: %s: %q, %q, %v", name, tc.reason, a, b, err)
		}
	}
}

// TestToolsRefused starts no server with an isolation that can't be meant.
func TestToolsRefused(t *testing.T) {
	for reason, tc := range map[string]struct {
		tools Tools
		want  string
	}{
		"an unknown mode":     {Tools{Isolation: "strict"}, "required, preferred, off"},
		"a relative path":     {Tools{Readable: []string{"mirror"}}, `"mirror"`},
		"another one":         {Tools{Writable: []string{"./files"}}, `"./files"`},
		"nothing is set":      {Tools{}, ""},
		"all is as it may be": {Tools{Isolation: "required", Readable: []string{"/srv"}, Writable: []string{"/srv/x"}}, ""},
	} {
		if err := tc.tools.check(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}
