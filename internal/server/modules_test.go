package server

import "testing"

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
