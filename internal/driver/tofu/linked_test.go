package tofu_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
)

// TestLinkedMeanwhile has programs that a project allows put something else in the
// place of the state while the run goes on, of which Plumb saves the state now and
// then.
func TestLinkedMeanwhile(t *testing.T) {
	s, neighbour := neighbours(t)
	state := filepath.Join(neighbour, "run", "state", "terraform.tfstate")
	for name, tc := range map[string]struct{ reason, command string }{
		"link": {"a neighbour's state would be saved as the module's own", "rm -f ../run/state/terraform.tfstate && ln -s " + state + " ../run/state/terraform.tfstate"},
		"pipe": {"whoever reads it would wait for ever", "rm -f ../run/state/terraform.tfstate && mkfifo ../run/state/terraform.tfstate"},
	} {
		d := want(fmt.Sprintf("resource \"terraform_data\" \"it\" {\n  input = %q\n  provisioner \"local-exec\" {\n    command = self.input\n  }\n}\n",
			tc.command+" && sleep 5 && rm -f ../run/state/terraform.tfstate"))
		d.Modules = &v1alpha1.ModulePolicy{AllowLocalPrograms: true}
		d.Target = target(driver.Owner("team/" + name))
		if said := s.attempt(d); len(leaks(said)) > 0 {
			t.Errorf("%s: %s", tc.reason, said)
		}
	}
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	for id, text := range s.states.states {
		if id != tofu.StateOf(neighbourOwner, "") && len(leaks(string(text))) > 0 {
			t.Errorf("the neighbour's state was saved as that of %s", id.Name)
		}
	}
}
