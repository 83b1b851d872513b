package tofu_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver"
)

// TestRefused has a module that was never run: it says how it could be, and does
// not keep its Application from being deleted.
func TestRefused(t *testing.T) {
	s := newStage(t)
	want := driver.Desired{
		Target: target("plumb.dev/shop/refused"),
		Bundle: module(map[string]string{"main.tf": "resource \"terraform_data\" \"it\" {\n  provisioner \"local-exec\" {\n    command = \"id\"\n  }\n}\n"}),
	}
	_, err := s.driver.Compare(t.Context(), want)
	var refused *driver.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "main.tf:2") || !strings.Contains(err.Error(), "allow it by spec.modules.allowLocalPrograms: true in the project") {
		t.Fatalf("the module was not refused as it should be: %v", err)
	}
	want.Deleting = true
	c, err := s.driver.Compare(t.Context(), want)
	if err != nil || !c.Plan.Empty() || !c.Recorded {
		t.Errorf("a module that was never run keeps its Application from being deleted: %v %+v", err, c)
	}
}
