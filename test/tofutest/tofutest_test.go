package tofutest_test

import (
	"os/exec"
	"testing"

	"github.com/plumb-dev/plumb/test/tofutest"
)

// TestTools applies a module of real and fake providers.
func TestTools(t *testing.T) {
	tools := tofutest.Get(t)
	cloud := tofutest.Cloud(t)
	env := append(tools.Env(t), cloud.Env()...)
	module := map[string]string{"main.tf": `
terraform {
  required_providers {
    cloud  = { source = "plumb-dev/cloud" }
    random = { source = "hashicorp/random" }
  }
}

resource "random_pet" "name" {}

resource "cloud_bucket" "it" {
  name = random_pet.name.id
}
`}
	programs := map[string]string{"OpenTofu": tools.Tofu}
	if tools.Terraform != "" {
		programs["Terraform"] = tools.Terraform
	}
	for name, program := range programs {
		t.Run(name, func(t *testing.T) {
			dir := tofutest.Write(t, module)
			for _, args := range [][]string{{"init"}, {"apply", "-auto-approve"}, {"plan", "-detailed-exitcode"}, {"destroy", "-auto-approve"}} {
				cmd := exec.Command(program, args...)
				cmd.Dir, cmd.Env = dir, env
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
		})
	}
	if a := cloud.Audit(); !a.Clean() {
		t.Errorf("after the destroy: %s", a)
	}
	if n := cloud.Stats()["read/bare"]; n > 0 {
		t.Errorf("%d reads without the private data of the resource", n)
	}
	created := 0
	for _, e := range cloud.Log(0) {
		if e.Op == "create" {
			created++
		}
	}
	if created != len(programs) {
		t.Errorf("%d buckets were created by %d programs", created, len(programs))
	}
}
