package probe_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/module"
	"github.com/plumb-dev/plumb/test/tofutest"
)

// workspace is a folder with a module, a cloud and OpenTofu.
type workspace struct {
	t     testing.TB
	tofu  string
	dir   string
	env   []string
	cloud tofutest.Server
}

func newWorkspace(t testing.TB, files map[string]string) *workspace {
	t.Helper()
	tools, cloud := tofutest.Get(t), tofutest.Cloud(t)
	return &workspace{
		t: t, tofu: tools.Tofu, dir: tofutest.Write(t, files), cloud: cloud,
		env: append(tools.Env(t), cloud.Env()...),
	}
}

func (w *workspace) write(files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// try runs tofu and returns what it says and its exit code.
func (w *workspace) try(args ...string) (string, int) {
	w.t.Helper()
	cmd := exec.Command(w.tofu, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (w *workspace) run(args ...string) string {
	w.t.Helper()
	out, code := w.try(args...)
	if code != 0 {
		w.t.Fatalf("tofu %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *workspace) apply() {
	w.t.Helper()
	w.run("init", "-no-color", "-input=false", "-upgrade")
	w.run("apply", "-no-color", "-input=false", "-auto-approve")
}

func (w *workspace) state() []byte {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "terraform.tfstate"))
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *workspace) target() probe.Target {
	w.t.Helper()
	return probe.Target{State: w.state(), Module: module.Options{Root: w.dir}, Env: w.env, Secrets: []string{tofutest.Token}}
}

func newProber(t testing.TB, o probe.Options) *probe.Prober {
	t.Helper()
	fence, err := isolate.New(isolate.Options{Mode: isolate.Required})
	if err != nil {
		t.Fatal(err)
	}
	o.Fence = fence
	p, err := probe.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (w *workspace) subject(p *probe.Prober) *probe.Subject {
	w.t.Helper()
	s, err := p.Subject(w.target())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func check(t testing.TB, s *probe.Subject) probe.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return s.Check(ctx)
}

func TestSmoke(t *testing.T) {
	w := newWorkspace(t, map[string]string{"main.tf": `
terraform {
  required_providers {
    cloud  = { source = "plumb-dev/cloud" }
    cloud5 = { source = "plumb-dev/cloud5" }
    random = { source = "hashicorp/random" }
  }
}

provider "cloud" {
  alias  = "us"
  region = local.region
}

locals {
  region = "us-east-1"
}

resource "random_password" "it" {
  length = 10
}

resource "cloud_vpc" "it" {
  provider   = cloud.us
  for_each   = { "a\"$${b}" = 1 }
  cidr_block = "10.0.0.0/16"
  tags       = { a = "b" }
}

resource "cloud_secret" "it" {
  provider = cloud5
  name     = "it"
  value    = random_password.it.result
}

resource "terraform_data" "it" {}
`})
	w.apply()
	s := w.subject(newProber(t, probe.Options{}))
	if r := check(t, s); !r.Same() || len(r.Results) != 4 {
		t.Fatalf("after the apply: %+v", r)
	}
	for _, o := range w.cloud.Objects() {
		if err := w.cloud.Change(o.ID, func(body map[string]any) {
			body["value"] = "stolen-canary"
			body["tags"] = map[string]any{"a": "c", "d": "e"}
		}); err != nil {
			t.Fatal(err)
		}
	}
	r := check(t, s)
	for _, result := range r.Results {
		t.Logf("%s %s %s %v", result.Address, result.Verdict, result.Reason, result.Differences)
	}
	if r.Count(probe.Differs) != 2 {
		t.Fatalf("after the change: %+v", r)
	}
}
