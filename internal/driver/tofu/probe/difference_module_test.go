package probe_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// randomModule is a module made at random, which converges: a plan right after
// its apply has no changes.
type randomModule struct {
	r     *rand.Rand
	files map[string]string
	// after are files to write and apply on top of the first ones.
	after []map[string]string
	// volatile tells whether there is something that changes by itself.
	volatile bool
	classes  map[string]bool
	names    int
}

func newRandomModule(r *rand.Rand) *randomModule {
	m := &randomModule{r: r, files: map[string]string{}, classes: map[string]bool{}}
	upgraded, moved, bucket := m.one(6), m.one(6), m.one(12)
	version := ""
	if upgraded {
		m.classes["schema upgrade"] = true
		version = fmt.Sprintf(`, version = "%s"`, m.pick("0.1.0", "1.0.0"))
	}
	var root strings.Builder
	for range 2 + r.IntN(4) {
		root.WriteString(m.resource(""))
	}
	if upgraded {
		root.WriteString(m.record(version))
	}
	if bucket {
		m.volatile = true
		m.classes["volatile"] = true
		fmt.Fprintf(&root, "resource \"cloud_bucket\" \"%s\" {\n  name = \"bucket\"\n  lifecycle_rule {\n    id = \"x\"\n    transition {\n      days = 3\n      storage_class = \"cold\"\n    }\n  }\n}\n", m.name())
	}
	if m.one(3) {
		root.WriteString(m.network())
	}
	root.WriteString(m.real())
	root.WriteString(m.module())
	if moved {
		m.move(&root, version)
	}
	m.files["main.tf"] = m.head(version, root.String())
	if upgraded {
		main := m.files["main.tf"]
		if len(m.after) > 0 {
			main = m.after[0]["main.tf"]
		}
		main = strings.Replace(main, version, `, version = "2.0.0"`, 1)
		// It is not applied: the state stays of the older schema.
		m.after = append(m.after, map[string]string{"main.tf": upgradedRecord(main), "": "init"})
	}
	return m
}

func (m *randomModule) one(in int) bool            { return m.r.IntN(in) == 0 }
func (m *randomModule) pick(from ...string) string { return from[m.r.IntN(len(from))] }

func (m *randomModule) name() string {
	m.names++
	return fmt.Sprintf("r%d", m.names)
}

// head is what goes before resources; it requires only what they use, since
// each provider takes time.
func (m *randomModule) head(version, resources string) string {
	m.files["variables.tf"] = `
variable "region" {
  type = string
}
variable "secret" {
  type      = string
  sensitive = true
  default   = "default-canary"
}
variable "retries" {
  type    = object({ count = optional(number, 1) })
  default = {}
}
locals {
  retries = var.retries.count
}
`
	m.files["terraform.tfvars"] = fmt.Sprintf("region = %q\nsecret = \"given-canary\"\n", m.pick("eu-west-1", "ap-south-1"))
	required := fmt.Sprintf("    cloud  = { source = \"plumb-dev/cloud\"%s }\n    cloud5 = { source = \"plumb-dev/cloud5\" }\n", version)
	for _, name := range []string{"random", "local", "tls", "time", "null"} {
		if strings.Contains(resources, "resource \""+name+"_") {
			required += fmt.Sprintf("    %s = { source = \"hashicorp/%s\" }\n", name, name)
		}
	}
	return fmt.Sprintf(`
terraform {
  required_providers {
%s  }
}
provider "cloud" {
  region      = var.region
  max_retries = local.retries
}
provider "cloud5" {
  region      = upper(lower("us-east-1")) == "US-EAST-1" ? "us-east-1" : null
  max_retries = 1
}
provider "cloud" {
  alias       = "other"
  region      = join("-", ["us", "east", 1])
  max_retries = 1
}
data "cloud_zones" "all" {}
`, required) + resources
}

// resource is a cloud_thing or a cloud_secret, in some number.
func (m *randomModule) resource(inModule string) string {
	var b strings.Builder
	name := m.name()
	five := m.one(3)
	kind := "cloud_thing"
	if m.one(6) {
		kind = "cloud_secret"
	}
	fmt.Fprintf(&b, "resource %q %q {\n", kind, name)
	suffix, ref := "", kind+"."+name
	switch m.r.IntN(5) {
	case 0:
		m.classes["count"] = true
		fmt.Fprintf(&b, "  count = %d\n", 1+m.r.IntN(2))
		suffix, ref = "-${count.index}", ref+"[0]"
	case 1:
		m.classes["for_each"] = true
		b.WriteString("  for_each = toset([\"a\", \"b \\\"c\\\" $${d}\", \"ü.[0]\"])\n")
		suffix, ref = "-${each.key}", ref+`["a"]`
	case 2:
		m.classes["for_each"] = true
		b.WriteString("  for_each = { x = 1, \"y/z\" = 2 }\n")
		suffix, ref = "-${each.value}", ref+`["x"]`
	}
	switch {
	case five:
		m.classes["protocol 5"] = true
		b.WriteString("  provider = cloud5\n")
	case m.one(4) && inModule == "":
		m.classes["alias"] = true
		b.WriteString("  provider = cloud.other\n")
	}
	fmt.Fprintf(&b, "  name = \"%s%s%s\"\n", inModule, name, suffix)
	if kind == "cloud_secret" {
		m.classes["sensitive"] = true
		b.WriteString("  value = var.secret\n  labels = { a = \"b\", c = \"d\" }\n  description = \"some\"\n")
	} else {
		m.thing(&b, five)
	}
	m.lifecycle(&b, kind)
	b.WriteString("}\n")
	if m.one(3) && kind == "cloud_thing" {
		m.classes["output of a computed value"] = true
		fmt.Fprintf(&b, "output %q {\n  value = %s.%s\n}\n", "o"+name, ref, m.pick("computed", "fingerprint", "revision", "computed_map", "string"))
	}
	if m.one(4) && kind == "cloud_thing" {
		m.classes["reference to a computed value"] = true
		fmt.Fprintf(&b, "resource \"cloud_thing\" %q {\n  name = \"%sdep-%s\"\n  string = %s.%s\n}\n", m.name(), inModule, name, ref, m.pick("computed", "fingerprint", "arn"))
	}
	return b.String()
}

func (m *randomModule) lifecycle(b *strings.Builder, kind string) {
	if !m.one(3) {
		return
	}
	m.classes["ignore_changes"] = true
	ignored := "all"
	switch {
	case kind == "cloud_secret":
		ignored = m.pick("[value]", "[labels[\"a\"], description]")
	case !m.one(5):
		all := []string{"string", "number", `tags["a"]`, "tags", "list", "set", "map", "list_block", "set_block", "nested", "nested_list", "secret", "optional_computed", "defaulted", "dynamic"}
		m.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		ignored = "[" + strings.Join(all[:1+m.r.IntN(5)], ", ") + "]"
	}
	fmt.Fprintf(b, "  lifecycle {\n    ignore_changes = %s\n  }\n", ignored)
}

// fields are what a cloud_thing may be given, beside what protocol 5 has
// otherwise.
var fields = map[string][]string{
	"string": {`"text"`, `""`, `"ünï\n\"quoted\""`}, "number": {"1", "0.1", "-3.25e20", "12345678901234567890.5", "0"},
	"integer": {"9007199254740993", "0", "-1"}, "float": {"0.1", "1e100", "0"}, "bool": {"true", "false"},
	"dynamic": {`"text"`, "1.5", "true", `["a", 1]`, `{ a = "b", c = [1, 2] }`}, "tags": {`{ a = "b", c = "d" }`, "{}"},
	"force_new": {`"fixed"`}, "defaulted": {`"given"`}, "optional_computed": {`"given"`}, "secret": {"var.secret"},
	"write_only": {`"written-canary"`}, "list": {`["a", "b", "a"]`, "[]"}, "set": {`["b", "a"]`, "[]"}, "map": {`{ k = "v", "w x" = "" }`, "{}"},
	"number_set": {"[3, 1.5, 2]", "[0.1]"}, "list_of_lists": {`[["a"], [], ["b", "c"]]`}, "map_of_lists": {`{ a = ["b"], c = [] }`},
	"set_of_objects": {`[{ name = "a", port = 1, on = true }, { name = "b", port = null, on = false }]`},
	"object":         {`{ name = "a", port = 80, on = null }`},
}

// order keeps the modules of a seed the same.
var order = []string{
	"string", "number", "integer", "float", "bool", "dynamic", "tags", "force_new", "defaulted", "optional_computed", "secret", "write_only",
	"list", "set", "map", "number_set", "list_of_lists", "map_of_lists", "set_of_objects", "object",
}

func (m *randomModule) thing(b *strings.Builder, five bool) {
	for _, name := range order {
		if m.one(2) {
			fmt.Fprintf(b, "  %s = %s\n", name, m.pick(fields[name]...))
		}
	}
	element := func() string {
		secret := "null"
		if m.one(2) {
			secret = "var.secret"
		}
		return fmt.Sprintf(`{ key = "k%d", value = %s, secret = %s }`, m.r.IntN(1000), m.pick("null", `"v"`, `""`), secret)
	}
	inner := m.pick(`{ list = ["a", "b"], mode = "manual" }`, "null")
	nested := strings.TrimSuffix(element(), " }") + ", inner = " + inner + " }"
	for _, each := range [][2]string{
		{"nested", nested}, {"nested_list", "[" + element() + ", " + element() + "]"},
		{"nested_set", "[" + element() + ", " + element() + "]"}, {"nested_map", "{ x = " + element() + ", \"y z\" = " + element() + "}"},
	} {
		if m.one(2) {
			m.classes["nested attributes"] = true
			fmt.Fprintf(b, "  %s = %s\n", each[0], each[1])
		}
	}
	for _, name := range []string{"list_block", "set_block"} {
		for i := range m.r.IntN(4) {
			m.classes["nested blocks"] = true
			fmt.Fprintf(b, "  %s {\n    key = \"k%d\"\n    value = %s\n    count = %s\n  }\n", name, i, m.pick(`"v"`, "null", "var.secret"), m.pick("1", "null"))
		}
	}
	if m.one(2) {
		fmt.Fprintf(b, "  single_block {\n    key = \"k\"\n    value = %s\n  }\n", m.pick(`"v"`, "null"))
	}
	_ = five // its objects are written in the same way
}

func (m *randomModule) network() string {
	m.classes["network"] = true
	n := m.name()
	return strings.ReplaceAll(`
resource "cloud_vpc" "N" {
  cidr_block = "10.0.0.0/16"
  tags       = { Name = "N" }
}
resource "cloud_subnet" "N" {
  count      = 2
  vpc_id     = cloud_vpc.N.id
  cidr_block = cidrsubnet(cloud_vpc.N.cidr_block, 8, count.index)
}
resource "cloud_security_group" "N" {
  name   = "N"
  vpc_id = cloud_vpc.N.id
  dynamic "ingress" {
    for_each = [80, 443]
    content {
      from_port   = ingress.value
      to_port     = ingress.value
      protocol    = "tcp"
      cidr_blocks = ["0.0.0.0/0", "10.0.0.0/8"]
    }
  }
  egress {
    from_port       = 0
    to_port         = 0
    protocol        = "-1"
    security_groups = ["b", "a"]
  }
}
resource "cloud_instance" "N" {
  ami                    = "ami-1"
  instance_type          = "small"
  subnet_id              = cloud_subnet.N[0].id
  vpc_security_group_ids = [cloud_security_group.N.id]
  user_data              = var.secret
  root_disk              = { size = 20 }
  disk {
    device = "sdb"
  }
  disk {
    device = "sdc"
    size   = 100
  }
  timeouts {
    create = "1m"
  }
}
`, "N", n)
}

// real are resources of real providers.
func (m *randomModule) real() string {
	all := []string{
		"resource \"random_password\" \"N\" {\n  length = 12\n}\noutput \"N\" {\n  value = random_password.N.result\n  sensitive = true\n}\n",
		"resource \"random_pet\" \"N\" {\n  keepers = { a = \"b\" }\n}\n",
		"resource \"random_integer\" \"N\" {\n  min = 1\n  max = 500\n}\n",
		"resource \"random_shuffle\" \"N\" {\n  input = [\"a\", \"b\", \"c\"]\n}\n",
		"resource \"random_id\" \"N\" {\n  byte_length = 8\n}\nresource \"random_uuid\" \"N\" {}\n",
		"resource \"tls_private_key\" \"N\" {\n  algorithm = \"ED25519\"\n}\nresource \"tls_self_signed_cert\" \"N\" {\n  private_key_pem = tls_private_key.N.private_key_pem\n  validity_period_hours = 12\n  allowed_uses = [\"server_auth\"]\n  subject {\n    common_name = \"x\"\n  }\n}\n",
		"resource \"time_static\" \"N\" {}\nresource \"time_offset\" \"N\" {\n  offset_days = 7\n}\nresource \"time_rotating\" \"N\" {\n  rotation_days = 30\n}\n",
		"resource \"local_file\" \"N\" {\n  filename = \"${path.module}/N.txt\"\n  content = \"some\"\n}\n",
		"resource \"local_sensitive_file\" \"N\" {\n  filename = \"N.key\"\n  content = var.secret\n}\n",
		"resource \"null_resource\" \"N\" {\n  triggers = { a = var.region }\n}\nresource \"terraform_data\" \"N\" {\n  input = var.region\n}\n",
	}
	var b strings.Builder
	for range m.r.IntN(4) {
		i := m.r.IntN(len(all))
		m.classes["real providers"] = true
		b.WriteString(strings.ReplaceAll(all[i], "N", m.name()))
	}
	return b.String()
}

// module is a call of a module, which gets or has a provider.
func (m *randomModule) module() string {
	if m.one(2) {
		return ""
	}
	m.classes["module"] = true
	meta, providers, key := "", "", "[*]"
	switch m.r.IntN(3) {
	case 0:
		meta = "  count = 2\n"
	case 1:
		meta = "  for_each = toset([\"a\", \"b.c\"])\n"
		key = ""
	default:
		key = ""
	}
	own := ""
	switch {
	case m.one(3):
		providers = "  providers = { cloud = cloud.other, cloud5 = cloud5 }\n"
	case meta == "" && m.one(2):
		m.classes["provider in a module"] = true
		own = "provider \"cloud\" {\n  region = \"us-east-1\"\n  max_retries = length(var.secret) > 0 ? 1 : 2\n}\n"
	}
	m.files["m/main.tf"] = "terraform {\n  required_providers {\n    cloud = { source = \"plumb-dev/cloud\" }\n    cloud5 = { source = \"plumb-dev/cloud5\" }\n  }\n}\n" +
		"variable \"secret\" {\n  type = string\n}\nvariable \"prefix\" {\n  type = string\n}\n" + own +
		strings.ReplaceAll(m.resource("PREFIX")+m.resource("PREFIX"), "PREFIX", "${var.prefix}")
	_ = key
	prefix := `"m"`
	if strings.Contains(meta, "count") {
		prefix = `"m${count.index}"`
	} else if meta != "" {
		prefix = `each.key`
	}
	return "module \"m\" {\n  source = \"./m\"\n" + meta + providers + "  secret = var.secret\n  prefix = " + prefix + "\n}\n"
}

// move makes resources that are moved by a second apply: to another name, and
// to another type.
func (m *randomModule) move(root *strings.Builder, version string) {
	m.classes["moved"] = true
	before := root.String()
	store, bucket := "", ""
	if m.one(3) {
		m.volatile = true // a bucket counts its readers
		store = "resource \"cloud_store\" \"old\" {\n  title = \"moved\"\n}\n"
		bucket = "resource \"cloud_bucket\" \"new\" {\n  name = \"moved\"\n}\nmoved {\n  from = cloud_store.old\n  to = cloud_bucket.new\n}\n"
	}
	first := before + store + "resource \"cloud_thing\" \"old\" {\n  name = \"moved\"\n  tags = { a = \"b\" }\n}\n"
	second := m.head(version, before+bucket+
		"resource \"cloud_thing\" \"new\" {\n  name = \"moved\"\n  tags = { a = \"b\" }\n}\nmoved {\n  from = cloud_thing.old\n  to = cloud_thing.new\n}\n")
	root.Reset()
	root.WriteString(first)
	m.after = append(m.after, map[string]string{"main.tf": second})
}

// record is a cloud_record as older versions of its provider had it.
func (m *randomModule) record(version string) string {
	values := `values = ["10.0.0.1", "10.0.0.2"]`
	if strings.Contains(version, "0.1.0") {
		values = `value = "10.0.0.1,10.0.0.2"`
	}
	return fmt.Sprintf("resource \"cloud_record\" \"record\" {\n  name = \"www\"\n  %s\n  ttl = 300\n}\n", values)
}

func upgradedRecord(main string) string {
	return strings.ReplaceAll(main, `value = "10.0.0.1,10.0.0.2"`, `values = ["10.0.0.1", "10.0.0.2"]`)
}
