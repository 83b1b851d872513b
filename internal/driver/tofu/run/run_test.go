package run_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/test/tofutest"
)

const canary = "canary-Zx81-secret"

// bench is a module on a test's own cloud.
type bench struct {
	t      *testing.T
	tools  tofutest.Tools
	cloud  tofutest.Server
	folder run.Folder
	config run.Config
}

// newBench makes a folder with a module and a cloud of its own.
func newBench(t *testing.T, files map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, tools: tofutest.Get(t), cloud: tofutest.Cloud(t)}
	b.folder = run.Folder{Path: filepath.Join(t.TempDir(), "work"), Module: tofutest.Write(t, files)}
	b.config = run.Config{
		Program: b.tools.Tofu, Env: append([]string{"PATH=" + os.Getenv("PATH")}, b.cloud.Env()...),
		CLIConfig: b.tools.CLIConfig(t), Display: "infra", Secrets: []string{tofutest.Token},
	}
	b.fence("")
	return b
}

// fence isolates runs, but for a folder that they may write.
func (b *bench) fence(writable string) {
	b.t.Helper()
	o := isolate.Options{Mode: isolate.Required, Readable: []string{b.tools.Mirror, b.tools.Tofu}}
	if writable != "" {
		o.Writable = []string{writable}
	}
	var err error
	if b.config.Fence, err = isolate.New(o); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) open() *run.Runner {
	b.t.Helper()
	r, err := run.Open(b.folder, b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// write writes a file of the module.
func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.folder.Module, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) plan(r *run.Runner, o run.PlanOptions) *run.Planned {
	b.t.Helper()
	p, err := r.Plan(b.t.Context(), o)
	if err != nil {
		b.t.Fatalf("plan: %v", err)
	}
	return p
}

func (b *bench) apply(r *run.Runner, p *run.Planned, progress func(run.Event)) {
	b.t.Helper()
	if err := r.Apply(b.t.Context(), p, progress); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

const providers = `
terraform {
  required_providers {
    cloud  = { source = "plumb-dev/cloud" }
    random = { source = "hashicorp/random" }
  }
}
provider "cloud" {
  idempotent = true
}
`

const ordinary = providers + `
variable "name" {
  type = string
}
variable "labels" {
  type    = map(string)
  default = {}
}
variable "secret" {
  type      = string
  sensitive = true
}
resource "random_password" "it" {
  length = 24
}
resource "cloud_bucket" "it" {
  name   = var.name
  labels = var.labels
}
resource "cloud_secret" "it" {
  name  = "${var.name}-secret"
  value = var.secret
}
output "bucket" {
  value = cloud_bucket.it.id
}
output "secret" {
  value     = var.secret
  sensitive = true
}
`

func ordinaryValues() map[string]run.Value {
	return map[string]run.Value{
		"name":   {Text: "web"},
		"labels": {Text: "{\n  team = \"a\" # a comment\n}"},
		"secret": {Text: canary},
	}
}

// TestLife plans, applies, plans again and destroys.
func TestLife(t *testing.T) {
	for _, name := range []string{"tofu", "terraform"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{"main.tf": ordinary})
			if name == "terraform" {
				if b.config.Program = b.tools.Terraform; b.config.Program == "" {
					t.Skip("there is no terraform")
				}
			}
			b.config.Variables = ordinaryValues()
			live(t, b)
		})
	}
}

func live(t *testing.T, b *bench) {
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	if !p.Changes || len(p.Plan.ResourceChanges) != 3 || p.Serial != 0 {
		t.Errorf("the first plan: %v, %d changes, serial %d", p.Changes, len(p.Plan.ResourceChanges), p.Serial)
	}
	if again := b.plan(r, run.PlanOptions{}); again.Fingerprint != p.Fingerprint {
		t.Errorf("two plans of the same have other fingerprints: %s, %s", p.Fingerprint, again.Fingerprint)
	}
	var events []run.Event
	b.apply(r, p, func(e run.Event) { events = append(events, e) })
	seen := fmt.Sprintf("%+v", events)
	for _, want := range []string{"Address:cloud_bucket.it Action:create Status:started", "Address:cloud_bucket.it Action:create Status:complete"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the events lack %q: %s", want, seen)
		}
	}
	if strings.Contains(seen, canary) {
		t.Errorf("the events show a secret: %s", seen)
	}
	after := b.plan(r, run.PlanOptions{})
	if after.Changes || after.Plan != nil || after.Fingerprint == p.Fingerprint || after.Serial == 0 || after.Lineage == "" {
		t.Errorf("the plan after: %+v", after)
	}
	outputs, err := r.Outputs(t.Context())
	if err != nil || len(outputs) != 2 || !outputs["secret"].Sensitive || !strings.Contains(string(outputs["secret"].Value), canary) {
		t.Errorf("outputs: %v, %v", outputs, err)
	}
	workOnState(t, b, r)
	b.apply(r, b.plan(r, run.PlanOptions{Destroy: true}), nil)
	if objects := b.cloud.Objects(); len(objects) > 0 {
		t.Errorf("after the destroy: %v", objects)
	}
}

func workOnState(t *testing.T, b *bench, r *run.Runner) {
	t.Helper()
	ctx := t.Context()
	list, err := r.List(ctx)
	if err != nil || strings.Join(list, " ") != "cloud_bucket.it cloud_secret.it random_password.it" {
		t.Errorf("list: %q, %v", list, err)
	}
	shown, err := r.Show(ctx, "cloud_secret.it")
	if err != nil || strings.Contains(shown, canary) || !strings.Contains(shown, "web-secret") {
		t.Errorf("show: %q, %v", shown, err)
	}
	state, err := r.State(ctx)
	if err != nil || len(state.Values.RootModule.Resources) != 3 {
		t.Fatalf("state: %+v, %v", state, err)
	}
	id, _ := state.Values.RootModule.Resources[0].AttributeValues["id"].(string)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"move", func() error { return r.Move(ctx, "cloud_bucket.it", "cloud_bucket.other") }},
		{"move back", func() error { return r.Move(ctx, "cloud_bucket.other", "cloud_bucket.it") }},
		{"remove", func() error { return r.Remove(ctx, "cloud_bucket.it") }},
		{"import", func() error { return r.Import(ctx, "cloud_bucket.it", id) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	if err := r.Remove(ctx, "-state=/etc/passwd"); run.KindOf(err) != run.KindConfig {
		t.Errorf("an address that is an option: %v", err)
	}
	raw, err := r.Pull(ctx)
	if err != nil || !strings.Contains(string(raw), "random_password") {
		t.Errorf("pull: %v", err)
	}
	if p := b.plan(r, run.PlanOptions{}); p.Changes {
		t.Errorf("there is something to do after the import: %+v", p.Plan.ResourceChanges)
	}
}

// TestErrors looks at what goes wrong and how it is said.
func TestErrors(t *testing.T) {
	b := newBench(t, nil)
	cases := map[string]struct {
		reason string
		files  map[string]string
		change func(c *run.Config)
		kind   run.Kind
		text   string
	}{
		"Syntax": {"the place is told as compilers tell it", map[string]string{"main.tf": "\nresource \"cloud_bucket\" \"it\" {\n"},
			nil, run.KindConfig, "infra/main.tf:2:30: Unclosed configuration block"},
		"Argument": {"what the provider does not know has a place, too", map[string]string{"main.tf": providers + "resource \"cloud_bucket\" \"it\" {\n  name = \"a\"\n  nope = 1\n}\n"},
			nil, run.KindConfig, "infra/main.tf:13:3: Unsupported argument"},
		"Variable": {"a variable without a value", map[string]string{"main.tf": "variable \"need\" {}\n"},
			nil, run.KindMissingVariable, "give it a value in source.tofu.vars"},
		"Provider": {"a provider that nobody has", map[string]string{"main.tf": "resource \"nobody_has\" \"it\" {}\n"},
			nil, run.KindUnknownProvider, "hashicorp/nobody was not found"},
		"Version": {"a version that nobody has", map[string]string{"main.tf": "terraform {\n  required_providers {\n    random = {\n      source = \"hashicorp/random\"\n      version = \"99.0.0\"\n    }\n  }\n}\n"},
			nil, run.KindUnknownProvider, "99.0.0"},
		"Registry": {"a registry that can't be reached", map[string]string{"main.tf": "terraform {\n  required_providers {\n    x = {\n      source = \"127.0.0.1:9/a/x\"\n    }\n  }\n}\n"},
			func(c *run.Config) { c.CLIConfig = "" }, run.KindRegistry, "can be reached"},
		"Module": {"a module that can't be had", map[string]string{"main.tf": "module \"x\" {\n  source = \"git::https://127.0.0.1:9/a.git\"\n}\n"},
			nil, run.KindRegistry, "infra/main.tf:1:1: Failed to download module"},
		"Checksum": {"a provider that is not the locked one", map[string]string{
			"main.tf":             "resource \"random_pet\" \"it\" {}\n",
			".terraform.lock.hcl": "provider \"registry.opentofu.org/hashicorp/random\" {\n  version = \"3.9.0\"\n  hashes = [\"h1:AAAAtxvN0ehDhjUO24rMgZ6o9j8lO8V+a4iJkABCDt1M=\"]\n}\n"},
			nil, run.KindChecksum, "do not trust it"},
		"Credentials": {"the cloud does not know us", map[string]string{"main.tf": providers + "resource \"cloud_bucket\" \"it\" {\n  name = \"a\"\n}\ndata \"cloud_zones\" \"it\" {}\n"},
			func(c *run.Config) {
				c.Env = append(c.Env[:len(c.Env)-1:len(c.Env)-1], "FAKECLOUD_TOKEN="+canary)
				c.Secrets = []string{canary}
			}, run.KindCredentials, "check the credentials"},
		"Backend": {"a backend that is gone", map[string]string{"main.tf": "terraform {\n  backend \"http\" {\n    address   = \"http://127.0.0.1:9/x\"\n    retry_max = 0\n  }\n}\n"},
			func(c *run.Config) { c.OwnBackend = true }, run.KindBackend, "connection refused"},
		"Expression": {"a value that would be more than a value", map[string]string{"main.tf": "variable \"v\" {\n  type = list(string)\n}\n"},
			func(c *run.Config) { c.Variables = map[string]run.Value{"v": {Text: "[])\nother = (1"}} }, run.KindConfig, "not an HCL expression"},
		"Program": {"what is no program", map[string]string{"main.tf": ""},
			func(c *run.Config) { c.Program = "/does/not/exist" }, run.KindProgram, "/does/not/exist"},
		"Override": {"a module that puts the state elsewhere", map[string]string{"z_override.tf": "terraform {\n  backend \"local\" {\n    path = \"/tmp/elsewhere\"\n  }\n}\n"},
			nil, run.KindConfig, "Backend overridden"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			b.folder = run.Folder{Path: filepath.Join(t.TempDir(), "work"), Module: tofutest.Write(t, tc.files)}
			if tc.change != nil {
				tc.change(&b.config)
			}
			_, err := b.open().Plan(t.Context(), run.PlanOptions{})
			if run.KindOf(err) != tc.kind || !strings.Contains(fmt.Sprint(err), tc.text) {
				t.Errorf("%s: kind %q: %v (%+v)", tc.reason, run.KindOf(err), err, err)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), canary) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// TestInitOnlyWhenNeeded counts inits.
func TestInitOnlyWhenNeeded(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\n"})
	inits := counting(t, b)
	plan := func(reason string, want int) {
		t.Helper()
		b.plan(b.open(), run.PlanOptions{})
		if got := inits(); got != want {
			t.Errorf("%s: %d inits, not %d", reason, got, want)
		}
	}
	plan("the first time", 1)
	plan("nothing has changed", 1)
	b.write("main.tf", "resource \"random_pet\" \"it\" {\n  length = 3\n}\n")
	plan("an attribute has changed", 1)
	if err := os.Remove(filepath.Join(b.folder.Module, ".terraform.lock.hcl")); err != nil {
		t.Fatal(err)
	}
	plan("the files have been written anew: the lock file is kept", 1)
	b.write("more.tf", "resource \"null_resource\" \"it\" {}\n")
	plan("another provider", 2)
	if err := os.RemoveAll(b.folder.Data()); err != nil {
		t.Fatal(err)
	}
	plan("the data is gone", 3)
}

// counting puts a program between that counts inits.
func counting(t *testing.T, b *bench) func() int {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = init ] && echo >>%s/inits\nexec %s \"$@\"\n", dir, b.config.Program)
	b.config.Program = filepath.Join(dir, "tofu")
	b.fence(dir)
	if err := os.WriteFile(b.config.Program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() int {
		all, _ := os.ReadFile(filepath.Join(dir, "inits"))
		return len(all)
	}
}

// TestStale applies a plan after the state has moved on.
func TestStale(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\nresource \"random_pet\" \"two\" {}\n"})
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	saved := filepath.Join(t.TempDir(), "saved")
	content, err := os.ReadFile(p.File)
	if err == nil {
		err = os.WriteFile(saved, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.apply(r, b.plan(r, run.PlanOptions{Targets: []string{"random_pet.two"}}), nil)
	p.File = saved
	if err := r.Apply(t.Context(), p, nil); !errors.Is(err, run.ErrStale) {
		t.Errorf("%v", err)
	}
}

// TestPartialFailure applies a plan of which a part fails.
func TestPartialFailure(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": providers + `
resource "cloud_bucket" "good" {
  name = "good"
}
resource "cloud_secret" "bad" {
  name  = "bad"
  value = "` + canary + `"
}
`})
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	inject(t, b, "secret", canary)
	var failed []run.Event
	err := r.Apply(t.Context(), p, func(e run.Event) {
		if e.Status == run.Errored {
			failed = append(failed, e)
		}
	})
	var e *run.Error
	if !errors.As(err, &e) || e.Kind != run.KindProvider || len(e.Errors()) != 1 || e.Errors()[0].Address != "cloud_secret.bad" || e.Errors()[0].File != "infra/main.tf" {
		t.Errorf("%+v", err)
	}
	if len(failed) != 1 || failed[0].Address != "cloud_secret.bad" {
		t.Errorf("failures: %+v", failed)
	}
	if strings.Contains(fmt.Sprintf("%+v %v", err, err), canary) || strings.Contains(fmt.Sprintf("%+v", failed), canary) {
		t.Errorf("a secret is shown: %v", err)
	}
	b.cloud.Heal()
	b.apply(r, b.plan(r, run.PlanOptions{}), nil)
	if n := len(b.cloud.Objects()); n != 2 {
		t.Errorf("%d objects", n)
	}
}

// until polls a condition.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

var _ = context.Canceled
