package adopt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

var modules = map[string]string{
	"infra/main.tf": `# the network
resource "cloud_net" "main" {
  name = "main" # its name
  size = 24
  open = false

  tags = {
    team  = "shop" # who pays
    stage = var.stage
  }
  zones = ["a", "b"] // two
  hosts = [
    "one", # first
    "two", # second
  ]

  rule {
    port = 80
    from = "any"
  }
  rule { # encrypted
    port = 443
    from = "any"
  }
}

resource "cloud_disk" "d" {
  count = 2
  size  = 10
  label = "${var.stage}-disk"
  kind  = local.kind
  text  = jsonencode({ a = 1 })
}

variable "stage" {}
variable "memory" {
  default = 512 # MiB
}
variable "once" { default = "x" }
variable "secret" {
  default   = "s"
  sensitive = true
}
locals {
  kind = "fast" # disks
}

resource "cloud_vm" "v" {
  memory = var.memory
  once   = var.once
  key    = var.secret
  fixed  = var.fixed
}
variable "fixed" {}

module "a" {
  source = "../lib/a"
  size   = 5 # of a
}
module "b" {
  source = "../lib/b"
}
module "b2" {
  source = "../lib/b"
}
`,
	"infra/prod.tfvars": "# production\nstage = \"prod\"\nonce  = \"y\" # here\n",
	"lib/a/main.tf":     "resource \"cloud_vm\" \"v\" {\n  size = var.size\n  own  = 1 # own\n}\nvariable \"size\" {}\n",
	"lib/b/main.tf":     "resource \"cloud_vm\" \"v\" {\n  own = 1\n}\n",
}

func moduleScene(t *testing.T) *scene {
	return newScene(t, v1alpha1.ApplicationSource{Path: "infra", Tofu: &v1alpha1.ApplicationSourceTofu{
		VarFiles: []string{"prod.tfvars"}, Vars: map[string]string{"fixed": "1"},
	}}, modules)
}

func instance(name string, declared, live map[string]any) Drift {
	at := parseAddress(name)
	return Drift{Ref: plan.Ref{Kind: at.kind, Name: name}, Declared: declared, Live: live}
}

type m = map[string]any

func TestModules(t *testing.T) {
	rules := func(port, from any) []any {
		return []any{m{"port": 80.0, "from": "any"}, m{"port": port, "from": from}}
	}
	for name, c := range map[string]struct {
		resource       string
		declared, live m
		want           string
		refused        string
	}{
		"text":           {"cloud_net.main", m{"name": "main"}, m{"name": "ma${x}in"}, "infra/main.tf\n-  name = \"main\" # its name\n+  name = \"ma$${x}in\" # its name\n", ""},
		"number":         {"cloud_net.main", m{"size": 24.0}, m{"size": 25.0}, "infra/main.tf\n-  size = 24\n+  size = 25\n", ""},
		"number as text": {"cloud_net.main", m{"size": "24"}, m{"size": "25"}, "infra/main.tf\n-  size = 24\n+  size = 25\n", ""},
		"boolean":        {"cloud_net.main", m{"open": false}, m{"open": true}, "infra/main.tf\n-  open = false\n+  open = true\n", ""},
		"map":            {"cloud_net.main", m{"tags": m{"team": "shop", "stage": "prod"}}, m{"tags": m{"team": "it", "stage": "prod"}}, "infra/main.tf\n-    team  = \"shop\" # who pays\n+    team  = \"it\" # who pays\n", ""},
		"map grows":      {"cloud_net.main", m{"tags": m{"team": "shop", "stage": "prod"}}, m{"tags": m{"team": "shop", "stage": "prod", "new": "1"}}, "infra/main.tf\n+    new = \"1\"\n", ""},
		"map shrinks":    {"cloud_net.main", m{"tags": m{"team": "shop", "stage": "prod"}}, m{"tags": m{"stage": "prod"}}, "infra/main.tf\n-    team  = \"shop\" # who pays\n", ""},
		"list":           {"cloud_net.main", m{"zones": []any{"a", "b"}}, m{"zones": []any{"a", "c"}}, "infra/main.tf\n-  zones = [\"a\", \"b\"] // two\n+  zones = [\"a\", \"c\"] // two\n", ""},
		"set":            {"cloud_net.main", m{"zones": []any{"b", "a"}}, m{"zones": []any{"b", "a", "c"}}, "infra/main.tf\n-  zones = [\"a\", \"b\"] // two\n+  zones = [\"a\", \"b\", \"c\"] // two\n", ""},
		"lines shrink":   {"cloud_net.main", m{"hosts": []any{"one", "two"}}, m{"hosts": []any{"two"}}, "infra/main.tf\n-    \"one\", # first\n", ""},
		"lines grow":     {"cloud_net.main", m{"hosts": []any{"one", "two"}}, m{"hosts": []any{"one", "two", "three"}}, "infra/main.tf\n+    \"three\",\n", ""},
		"block":          {"cloud_net.main", m{"rule": rules(443.0, "any")}, m{"rule": rules(443.0, "lan")}, "infra/main.tf\n-    from = \"any\"\n+    from = \"lan\"\n", ""},
		"new attribute":  {"cloud_net.main", m{"name": "main"}, m{"name": "main", "note": "x"}, "infra/main.tf\n+  note = \"x\"\n", ""},
		"gone":           {"cloud_net.main", m{"open": false}, m{}, "infra/main.tf\n-  open = false\n", ""},
		"file of values": {"cloud_vm.v", m{"once": "y"}, m{"once": "z"}, "infra/prod.tfvars\n-once  = \"y\" # here\n+once  = \"z\" # here\n", ""},
		"default":        {"cloud_vm.v", m{"memory": 512.0}, m{"memory": 1024.0}, "infra/main.tf\n-  default = 512 # MiB\n+  default = 1024 # MiB\n", ""},
		"argument":       {"module.a.cloud_vm.v", m{"size": 5.0}, m{"size": 6.0}, "infra/main.tf\n-  size   = 5 # of a\n+  size   = 6 # of a\n", ""},
		"in a module":    {"module.a.cloud_vm.v", m{"own": 1.0}, m{"own": 2.0}, "lib/a/main.tf\n-  own  = 1 # own\n+  own  = 2 # own\n", ""},
		"shared module":  {"module.b.cloud_vm.v", m{"own": 1.0}, m{"own": 2.0}, "", "called 2 times"},
		"shared value":   {"cloud_net.main", m{"tags": m{"team": "shop", "stage": "prod"}}, m{"tags": m{"team": "shop", "stage": "dev"}}, "", "used in 2 places"},
		"sensitive":      {"cloud_vm.v", m{"key": "(sensitive value)"}, m{"key": "(sensitive value)x"}, "", "secret"},
		"sensitive var":  {"cloud_vm.v", m{"key": "s"}, m{"key": "t"}, "", "sensitive"},
		"the spec":       {"cloud_vm.v", m{"fixed": "1"}, m{"fixed": "2"}, "", "spec.source.tofu.vars"},
		"one instance":   {"cloud_disk.d[0]", m{"size": 10.0}, m{"size": 20.0}, "", "cloud_disk.d[1] has not changed"},
		"template":       {"cloud_disk.d", m{"label": "prod-disk"}, m{"label": "x"}, "", "a template"},
		"function":       {"cloud_disk.d", m{"text": `{"a":1}`}, m{"text": `{"a":2}`}, "", "a function"},
		"local value":    {"cloud_disk.d", m{"kind": "fast"}, m{"kind": "slow"}, "infra/main.tf\n-  kind = \"fast\" # disks\n+  kind = \"slow\" # disks\n", ""},
		"provider's":     {"cloud_net.main", m{"name": "MAIN"}, m{"name": "x"}, "", "another value"},
		"unknown":        {"cloud_net.none", m{"name": "a"}, m{"name": "b"}, "", "there is no resource"},
		"hostile":        {"cloud_net.main", m{"name": "main"}, m{"name": "main", "a = 1\n}": "x"}, "", "no name"},
		"fewer blocks":   {"cloud_net.main", m{"rule": rules(443.0, "any")}, m{"rule": rules(443.0, "any")[:1]}, "", "more or less"},
	} {
		t.Run(name, func(t *testing.T) {
			s := moduleScene(t)
			d := instance(c.resource, c.declared, c.live)
			p := s.propose(Request{Drift: []Drift{d}, Resources: []plan.Ref{{Kind: "cloud_disk", Name: "cloud_disk.d[0]"}, {Kind: "cloud_disk", Name: "cloud_disk.d[1]"}}})
			if c.refused != "" {
				if len(p.Files) > 0 || len(p.Refused) != 1 || !strings.Contains(p.Refused[0].Reason, c.refused) {
					t.Errorf("not refused because of %q: %+v", c.refused, p)
				}
				return
			}
			for _, r := range p.Refused {
				t.Errorf("%s is refused: %s", r.Field, r.Reason)
			}
			if diff := cmp.Diff(c.want, s.shown(p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllInstances(t *testing.T) {
	s := moduleScene(t)
	a := instance("cloud_disk.d[0]", m{"size": 10.0}, m{"size": 20.0})
	b := instance("cloud_disk.d[1]", m{"size": 10.0}, m{"size": 20.0})
	p := s.propose(Request{Drift: []Drift{a, b}, Resources: []plan.Ref{a.Ref, b.Ref}})
	if len(p.Refused) > 0 || len(p.Adopted) != 2 {
		t.Errorf("%+v", p)
	}
	if diff := cmp.Diff("infra/main.tf\n-  size  = 10\n+  size  = 20\n", s.shown(p)); diff != "" {
		t.Error(diff)
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]address{
		"a.b":                          {kind: "a", name: "b"},
		"a.b[0]":                       {kind: "a", name: "b", repeated: true},
		`a.b["x.y[1]\"."]`:             {kind: "a", name: "b", repeated: true},
		"module.m.a.b":                 {modules: []string{"m"}, kind: "a", name: "b"},
		`module.m["k.j"].module.n.a.b`: {modules: []string{"m", "n"}, kind: "a", name: "b", repeatedModule: true},
		"output.x.y.z":                 {},
	} {
		if diff := cmp.Diff(want, parseAddress(text), cmp.AllowUnexported(address{})); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// newEditor is of a module in files alone.
func newEditor(files map[string][]byte) *moduleEditor {
	return &moduleEditor{s: &session{edits: Edits{}}, module: &render.Module{Files: files, Dir: "."}, parsed: map[string]*hclsyntax.Body{}}
}
