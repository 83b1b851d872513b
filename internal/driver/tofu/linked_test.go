package tofu_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// TestPipeAmongFiles has a program leave something among the module's files that
// would keep whoever reads it for ever.
func TestPipeAmongFiles(t *testing.T) {
	s := calm(t)
	d := want("resource \"terraform_data\" \"it\" {\n  provisioner \"local-exec\" {\n    command = \"mkfifo more.tf\"\n  }\n}\n")
	d.Modules = &v1alpha1.ModulePolicy{AllowLocalPrograms: true}
	s.good(s.apply(d, s.compare(d), true))
	d.Fresh = true
	said := make(chan error, 1)
	go func() {
		_, err := s.driver.Compare(context.Background(), d)
		said <- err
	}()
	select {
	case err := <-said:
		if err == nil || !strings.Contains(err.Error(), "more.tf") {
			t.Errorf("a pipe among the files: %v", err)
		}
	case <-time.After(30 * time.Second):
		pipes, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*", "module", "more.tf"))
		for _, pipe := range pipes { // so that the test comes to an end
			if f, err := os.OpenFile(pipe, os.O_RDWR, 0); err == nil {
				_ = f.Close()
			}
		}
		t.Error("a pipe among the module's files is waited for")
		<-said
	}
}
