package tofu_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/test/tofutest"
)

// TestAPlanChangesNoState has what a plan runs, to which nobody has agreed yet, write
// another state into the working folder: it must not become the module's.
func TestAPlanChangesNoState(t *testing.T) {
	path := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = plan ]; then\n  state=../run/state/terraform.tfstate\n"+
		"  text=$(sed 's/\"serial\": *[0-9]*/\"serial\": 4711/' $state) && echo \"$text\" >$state\nfi\nexec %s \"$@\"\n", tofutest.Get(t).Tofu)
	if err := os.WriteFile(filepath.Join(path, "tofu"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := calm(t)
	s.driver.Close()
	s.path = path
	s.start()
	d := want("resource \"terraform_data\" \"it\" {}\n")
	s.good(s.apply(d, s.compare(d), true))
	d.Fresh, d.Full = true, true
	for range 2 {
		if _, err := s.driver.Compare(context.Background(), d); err != nil {
			t.Log(err)
		}
	}
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	if text := string(s.states.states[theState]); text == "" || strings.Contains(text, "4711") {
		t.Errorf("what a plan has written is the state now: %s", text)
	}
}
