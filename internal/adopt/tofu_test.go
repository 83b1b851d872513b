package adopt

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/test/tofutest"
)

const bucket = `terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}

variable "team" {}

# what the shop keeps
resource "cloud_bucket" "b" {
  name       = "assets"
  versioning = true # for now

  labels = {
    team  = var.team # who pays
    stage = "prod"
  }

  lifecycle_rule {
    id              = "old"
    expiration_days = 90 # a quarter

    transition {
      days          = 30
      storage_class = "cold"
    }
  }
}
`

// TestModulePlansAreEmptyAfterwards changes a real provider's object behind
// OpenTofu's back: after what is adopted is written, a real plan is empty.
func TestModulePlansAreEmptyAfterwards(t *testing.T) {
	tools, cloud := tofutest.Get(t), tofutest.Cloud(t)
	files := map[string]string{"main.tf": bucket, "prod.tfvars": "team = \"shop\" # ours\n"}
	dir := tofutest.Write(t, files)
	env := append(tools.Env(t), cloud.Env()...)
	tofu := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(tools.Tofu, args...)
		cmd.Dir, cmd.Env = dir, env
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tofu %v: %v\n%s%s", args, err, out, errs.String())
		}
		return out
	}
	tofu("init", "-no-color")
	tofu("apply", "-no-color", "-auto-approve", "-var-file=prod.tfvars")
	if err := cloud.Change(cloud.Objects("bucket")[0].ID, func(body map[string]any) {
		body["versioning"] = false
		body["labels"] = map[string]any{"team": "it", "stage": "prod", "who": "ada"}
		body["lifecycle_rule"].([]any)[0].(map[string]any)["expiration_days"] = 120
	}); err != nil {
		t.Fatal(err)
	}
	planned := func() planjson.Result {
		t.Helper()
		tofu("plan", "-no-color", "-var-file=prod.tfvars", "-out=p")
		var p tfjson.Plan
		if err := json.Unmarshal(tofu("show", "-json", "p"), &p); err != nil {
			t.Fatal(err)
		}
		return planjson.Convert(&p, planjson.Options{})
	}
	before := planned()
	if before.Plan.Empty() {
		t.Fatal("there is no drift")
	}
	s := newScene(t, v1alpha1.ApplicationSource{Path: ".", Tofu: &v1alpha1.ApplicationSourceTofu{VarFiles: []string{"prod.tfvars"}}}, files)
	var drift []Drift
	for _, step := range before.Plan.Steps {
		if d, ok := DriftOf(step.Change); ok {
			drift = append(drift, d)
		}
	}
	p := s.propose(Request{Drift: drift})
	for _, r := range p.Refused {
		t.Errorf("%s is refused: %s", r.Field, r.Reason)
	}
	for _, f := range p.Files {
		if err := os.WriteFile(filepath.Join(dir, f.Path), f.After, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if after := planned(); !after.Plan.Empty() {
		t.Errorf("the plan is not empty: %+v\n%s", after.Plan.Steps, s.shown(p))
	}
	all := s.shown(p)
	for _, want := range []string{"+  versioning = false # for now\n", "+    who   = \"ada\"\n", "+    expiration_days = 120 # a quarter\n", "+team = \"it\" # ours\n"} {
		if !strings.Contains(all, want[1:]) && !strings.Contains(strings.ReplaceAll(all, "who = ", "who   = "), want[1:]) {
			t.Errorf("%q is not among the changes:\n%s", want, all)
		}
	}
}
