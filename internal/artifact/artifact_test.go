package artifact

import (
	"errors"
	"os"
	"testing"
)

func TestStore(t *testing.T) {
	s := Open(t.TempDir())
	digest, err := s.Put("a long text")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Put("a long text"); err != nil || again != digest {
		t.Errorf("the same text again: %s, %v", again, err)
	}
	if text, err := s.Get(digest); err != nil || text != "a long text" {
		t.Errorf("%q, %v", text, err)
	}
	for name, bad := range map[string]string{"Unknown": Digest("another"), "Path": "sha256:../../../etc/passwd", "Empty": ""} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Get(bad); !errors.Is(err, ErrUnknown) {
				t.Errorf("%v", err)
			}
		})
	}
	path, _ := s.path(digest)
	if err := os.WriteFile(path, []byte("forged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(digest); err == nil {
		t.Error("a damaged artifact was given out")
	}
	if err := errors.Join(s.Remove(digest), s.Remove(digest)); err != nil {
		t.Error(err)
	}
}
