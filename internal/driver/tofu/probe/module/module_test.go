package module_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/module"
)

var spec = hcldec.ObjectSpec{
	"region": &hcldec.AttrSpec{Name: "region", Type: cty.String},
	"number": &hcldec.AttrSpec{Name: "number", Type: cty.Number},
	"list":   &hcldec.AttrSpec{Name: "list", Type: cty.List(cty.String)},
	"tags":   &hcldec.AttrSpec{Name: "tags", Type: cty.Map(cty.String)},
	"assume": &hcldec.BlockListSpec{TypeName: "assume", Nested: hcldec.ObjectSpec{"role": &hcldec.AttrSpec{Name: "role", Type: cty.String}}},
}

const aws = "registry.opentofu.org/hashicorp/aws"

func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func configure(o module.Options, in, source, alias string) (*module.Configuration, error) {
	m, err := module.Load(o)
	if err != nil {
		return nil, err
	}
	c, err := m.Provider(in, source, alias, spec)
	return c, errors.Join(err, m.Close())
}

func region(t *testing.T, files map[string]string, o module.Options) (string, error) {
	t.Helper()
	o.Root = write(t, files)
	c, err := configure(o, "", aws, "")
	if err != nil {
		return "", err
	}
	if v := c.Value.GetAttr("region"); !v.IsNull() {
		return v.AsString(), nil
	}
	return "<null>", nil
}

const provider = "provider \"aws\" {\n  region = EXPR\n}\n"

func of(expression string, more ...string) string {
	return strings.Replace(provider, "EXPR", expression, 1) + strings.Join(more, "\n")
}

func TestRegion(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		o      module.Options
		want   string
		reason string
	}{
		"no block":     {files: map[string]string{"main.tf": ""}, want: "<null>", reason: "a provider without a block is configured with an empty one"},
		"literal":      {files: map[string]string{"main.tf": of(`"eu"`)}, want: "eu", reason: "the plain case"},
		"default":      {files: map[string]string{"main.tf": of(`var.r`, `variable "r" { default = "d" }`)}, want: "d", reason: "defaults"},
		"local":        {files: map[string]string{"main.tf": of(`local.a`), "b.tf": `locals { a = "${local.b}-1" }`, "c.tf": `locals { b = "x" }`}, want: "x-1", reason: "locals refer to each other across files"},
		"workspace":    {files: map[string]string{"main.tf": of(`terraform.workspace`)}, o: module.Options{Workspace: "prod"}, want: "prod", reason: "the workspace is an option"},
		"default ws":   {files: map[string]string{"main.tf": of(`terraform.workspace`)}, want: "default", reason: "as OpenTofu"},
		"json":         {files: map[string]string{"main.tf.json": `{"provider":{"aws":{"region":"${var.r}"}},"variable":{"r":{"default":"j"}}}`}, want: "j", reason: "JSON syntax"},
		"tofu first":   {files: map[string]string{"main.tf": of(`"tf"`), "main.tofu": of(`"tofu"`)}, want: "tofu", reason: "a.tofu stands in for a.tf"},
		"conditional":  {files: map[string]string{"main.tf": of(`var.n > 2 ? "big" : "small"`, `variable "n" { default = 3 }`)}, want: "big", reason: "operators"},
		"lookup":       {files: map[string]string{"main.tf": of(`lookup(local.m, "a", "z")`, `locals { m = { a = "b" } }`)}, want: "b", reason: "functions"},
		"for":          {files: map[string]string{"main.tf": of(`join(",", [for x in ["a", "b"] : upper(x)])`)}, want: "A,B", reason: "loops"},
		"try":          {files: map[string]string{"main.tf": of(`try(local.m.b, "fallback")`, `locals { m = { a = "b" } }`)}, want: "fallback", reason: "try catches what is wrong in OpenTofu as well"},
		"file":         {files: map[string]string{"main.tf": of(`trimspace(file("${path.module}/r.txt"))`), "r.txt": "filed\n"}, want: "filed", reason: "files of the tree"},
		"jsondecode":   {files: map[string]string{"main.tf": of(`jsondecode(file("r.json")).r`), "r.json": `{"r":"j"}`}, want: "j", reason: "files of the tree"},
		"indirect":     {files: map[string]string{"main.tf": of(`var.o.regions[0]`, `variable "o" { type = object({ regions = optional(list(string), ["opt"]) }) }`), "terraform.tfvars": "o = {}"}, want: "opt", reason: "optional attributes have defaults"},
		"nullable":     {files: map[string]string{"main.tf": of(`var.r`, "variable \"r\" {\n  default = \"d\"\n  nullable = false\n}"), "terraform.tfvars": "r = null"}, want: "d", reason: "null is no value of such a variable"},
		"null":         {files: map[string]string{"main.tf": of(`var.r`, `variable "r" { default = "d" }`), "terraform.tfvars": "r = null"}, want: "<null>", reason: "null is a value"},
		"unused":       {files: map[string]string{"main.tf": of(`"x"`, `locals { y = data.a.b.c }`, `resource "a" "b" {}`)}, want: "x", reason: "what is not used need not be known"},
		"unchosen":     {files: map[string]string{"main.tf": of(`true ? "x" : data.a.b.c`)}, want: "x", reason: "a branch that is not taken"},
		"converted":    {files: map[string]string{"main.tf": of(`var.r`, "variable \"r\" {\n  type = string\n}"), "terraform.tfvars": "r = 5"}, want: "5", reason: "values are converted to the type"},
		"any as text":  {files: map[string]string{"main.tf": of(`var.r["a"]`, "variable \"r\" {\n  type = any\n}")}, o: module.Options{Texts: map[string]string{"r": `{ a = "b" }`}}, want: "b", reason: "a text for a variable of any type is an expression"},
		"untyped text": {files: map[string]string{"main.tf": of(`var.r`, `variable "r" {}`)}, o: module.Options{Texts: map[string]string{"r": `{ a = "b" }`}}, want: `{ a = "b" }`, reason: "a text for a variable without a type is a text"},
		"list keyword": {files: map[string]string{"main.tf": of(`var.r[0]`, "variable \"r\" {\n  type = list\n}")}, o: module.Options{Texts: map[string]string{"r": `["l"]`}}, want: "l", reason: "the old short form"},
		"base64":       {files: map[string]string{"main.tf": of(`base64decode("ZXU=")`)}, want: "eu", reason: "functions"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := region(t, c.files, c.o)
			if err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q: %s", got, err, c.want, c.reason)
			}
		})
	}
}

// Each case adds a source of the variable that goes before all earlier ones.
func TestPrecedence(t *testing.T) {
	files := map[string]string{"main.tf": of("var.r", "variable \"r\" {\n  type = string\n  default = \"default\"\n}")}
	o := module.Options{}
	for _, step := range []struct {
		add  func()
		want string
	}{
		{func() {}, "default"},
		{func() { o.Environment = map[string]string{"r": "environment"} }, "environment"},
		{func() { files["terraform.tfvars"] = `r = "tfvars"` }, "tfvars"},
		{func() { files["terraform.tfvars.json"] = `{"r": "tfvars.json"}` }, "tfvars.json"},
		{func() { files["a.auto.tfvars"] = `r = "a.auto"` }, "a.auto"},
		{func() { files["b.auto.tfvars.json"] = `{"r": "b.auto.json"}` }, "b.auto.json"},
		{func() { files["c.auto.tfvars"] = `r = "c.auto"` }, "c.auto"},
		{func() { files["x.tfvars"] = `r = "x"`; o.Files = []string{"x.tfvars"} }, "x"},
		{func() { files["sub/y.tfvars"] = `r = "y"`; o.Files = []string{"x.tfvars", "sub/y.tfvars"} }, "y"},
		{func() { o.Texts = map[string]string{"r": "text"} }, "text"},
		{func() { o.Values = map[string]cty.Value{"r": cty.StringVal("value")} }, "value"},
	} {
		step.add()
		if got, err := region(t, files, o); err != nil || got != step.want {
			t.Errorf("got %q, %v; want %q", got, err, step.want)
		}
	}
}

func TestDepends(t *testing.T) {
	for name, c := range map[string]struct {
		main   string
		want   []string
		reason string
	}{
		"resource":            {of("aws_vpc.a.id"), []string{"aws_vpc.a.id (main.tf:2)"}, "resources are not read"},
		"data":                {of("data.aws_region.here.name"), []string{"data.aws_region.here.name (main.tf:2)"}, "data sources are not read"},
		"behind a local":      {of("local.x", "\n\nlocals { x = module.net.region }"), []string{"module.net.region (main.tf:6)"}, "it is told where it really comes from"},
		"missing variable":    {of("var.r", `variable "r" {}`), []string{"the variable r, which has no value (main.tf:2)"}, "somebody must give it"},
		"unknown function":    {of(`templatefile("a", {})`), []string{"function templatefile (main.tf:2)"}, "it may do anything"},
		"provider's function": {of(`provider::x::y("a")`), []string{"function provider::x::y (main.tf:2)"}, "it may do anything"},
		"hidden by try":       {of(`try(yamldecode("a: b").a, "wrong")`), []string{"function yamldecode (main.tf:2)"}, "try must not hide what is only not known here"},
		"hidden by can":       {of(`can(timestamp()) ? "a" : "wrong"`), []string{"function timestamp (main.tf:2)"}, "nor can"},
		"file outside":        {of(`file("/etc/hostname")`), []string{"a file outside of the source: /etc/hostname"}, "nothing outside of the tree is read"},
		"hidden file outside": {of(`try(file("../../x"), "wrong")`), []string{"a file outside of the source: ../../x"}, "try must not hide it"},
		"itself":              {of("local.a", `locals { a = local.a }`), []string{"local.a itself (main.tf:2)"}, "a circle"},
		"path.cwd":            {of("path.cwd"), []string{"path.cwd (main.tf:2)"}, "not known here"},
		"each":                {of("each.key"), []string{"each.key (main.tf:2)"}, "for_each of a provider"},
		"for_each":            {"provider \"aws\" {\n  for_each = toset([])\n}", []string{"for_each of a provider (main.tf:1)"}, "for_each of a provider"},
		"try of data":         {of(`try(data.a.b.c, "wrong")`), []string{"data.a.b.c (main.tf:2)"}, "unknown is no error"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := region(t, map[string]string{"main.tf": c.main}, module.Options{})
			var depends *module.DependsError
			if !errors.As(err, &depends) {
				t.Fatalf("got %q, %v; want a DependsError: %s", got, err, c.reason)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q; want %q: %s", err, want, c.reason)
				}
			}
		})
	}
}

func TestModules(t *testing.T) {
	files := map[string]string{
		"app/main.tf": `
terraform {
  required_providers {
    cloud = { source = "example.com/acme/aws" }
  }
}
provider "aws" { region = "root" }
provider "aws" {
  alias = "other"
  region = "aliased"
}
provider "cloud" { region = "foreign" }
module "net" {
  source = "../shared/net"
  region = "passed-${local.x}"
  providers = { aws = aws.other }
}
module "reg" {
  source = "example.com/a/b/c"
}
locals { x = "local" }
`,
		"shared/net/main.tf":                  "variable \"region\" {}\nprovider \"aws\" {\n  region = var.region\n}\nmodule \"in\" {\n  source = \"./in\"\n  path = path.module\n  region = var.region\n}\n",
		"shared/net/in/main.tf":               "variable \"region\" {}\nvariable \"path\" {}\nprovider \"aws\" {\n  region = \"${var.region} ${var.path} ${path.module} ${file(\"${path.module}/x.txt\")}\"\n}\n",
		"shared/net/in/x.txt":                 "text",
		"app/.terraform/modules/modules.json": `{"Modules":[{"Key":"","Dir":"."},{"Key":"reg","Dir":".terraform/modules/reg"}]}`,
		"app/.terraform/modules/reg/main.tf":  of(`"registry"`),
	}
	o := module.Options{Root: write(t, files), Dir: "app"}
	for name, c := range map[string]struct{ in, source, alias, want string }{
		"root":         {"", aws, "", "root"},
		"alias":        {"", aws, "other", "aliased"},
		"other source": {"", "example.com/acme/aws", "", "foreign"},
		"terraform's":  {"", "registry.terraform.io/hashicorp/aws", "", "root"},
		"in a module":  {"module.net", aws, "", "passed-local"},
		"deeper":       {"module.net.module.in", aws, "", "passed-local ../shared/net ../shared/net/in text"},
		"downloaded":   {"module.reg", aws, "", "registry"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := configure(o, c.in, c.source, c.alias)
			if err != nil || got.Value.GetAttr("region").AsString() != c.want {
				t.Errorf("got %#v, %v; want %q", got, err, c.want)
			}
		})
	}
	for name, c := range map[string]struct{ in, alias string }{
		"no such alias": {"", "nobody"}, "no such module": {"module.gone", ""}, "keys": {`module.net["a"]`, ""}, "no address": {"net.module", ""},
	} {
		if got, err := configure(o, c.in, aws, c.alias); err == nil {
			t.Errorf("%s: got %#v and no error", name, got)
		}
	}
}

func TestEscape(t *testing.T) {
	dir := write(t, map[string]string{"secret.txt": "secret", "tree/app/main.tf": of(`file("../../secret.txt")`), "tree/b/main.tf": `module "x" { source = "../../" }`})
	if err := os.Symlink("../../secret.txt", filepath.Join(dir, "tree/app/link.txt")); err != nil {
		t.Fatal(err)
	}
	if c, err := configure(module.Options{Root: filepath.Join(dir, "tree"), Dir: "app"}, "", aws, ""); err == nil {
		t.Errorf("a path leaves the tree: %#v", c)
	}
	if err := os.WriteFile(filepath.Join(dir, "tree/app/main.tf"), []byte(of(`try(file("link.txt"), "wrong")`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := configure(module.Options{Root: filepath.Join(dir, "tree"), Dir: "app"}, "", aws, ""); err == nil {
		t.Errorf("a link leaves the tree: %#v", c)
	}
	if c, err := configure(module.Options{Root: filepath.Join(dir, "tree"), Dir: "b"}, "module.x", aws, ""); err == nil {
		t.Errorf("a module leaves the tree: %#v", c)
	}
}

func TestSecrets(t *testing.T) {
	dir := write(t, map[string]string{"main.tf": "variable \"token\" {\n  sensitive = true\n}\nprovider \"aws\" {\n  region = \"plain\"\n  tags = { t = \"x-${var.token}\" }\n  list = [nonsensitive(var.token), sensitive(\"two\")]\n}\n"})
	c, err := configure(module.Options{Root: dir, Values: map[string]cty.Value{"token": cty.StringVal("canary")}}, "", aws, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x-canary", "canary", "two"} {
		if !slices.Contains(c.Secrets, want) {
			t.Errorf("%q is not among the secrets %q", want, c.Secrets)
		}
	}
	if slices.Contains(c.Secrets, "plain") || c.Value.ContainsMarked() {
		t.Errorf("got %#v", c)
	}
}

func TestDynamicBlocks(t *testing.T) {
	dir := write(t, map[string]string{"main.tf": "provider \"aws\" {\n  dynamic \"assume\" {\n    for_each = var.roles\n    content {\n      role = assume.value\n    }\n  }\n}\nvariable \"roles\" {\n  default = [\"a\", \"b\"]\n}\n"})
	c, err := configure(module.Options{Root: dir}, "", aws, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Value.GetAttr("assume").LengthInt(); n != 2 {
		t.Errorf("%d blocks: %#v", n, c.Value)
	}
}

// Nothing of it may take long, much memory or the process.
func TestHostile(t *testing.T) {
	deep := func(open, shut string, n int) string {
		return strings.Repeat(open, n) + `"x"` + strings.Repeat(shut, n)
	}
	doubling := "locals {\n  a0 = \"0123456789\"\n"
	for i := range 40 {
		doubling += strings.ReplaceAll(strings.ReplaceAll("  aN = \"${local.aP}${local.aP}\"\n", "N", string(rune('A'+i))), "P", map[bool]string{true: "0", false: string(rune('A' + i - 1))}[i == 0])
	}
	doubling += "}\n"
	for name, main := range map[string]string{
		"deep lists":         of(deep("[", "]", 100000)),
		"deep parentheses":   of(deep("(", ")", 100000)),
		"deep templates":     of(deep(`"${`, `}"`, 50000)),
		"unary":              of(strings.Repeat("!", 100000) + "true"),
		"choices":            of(strings.Repeat(`true ? "a" : `, 20000) + `"b"`),
		"deep blocks":        strings.Repeat("a {\n", 50000),
		"doubling":           of("local.aZ", doubling),
		"a number as text":   of(`"${1e600000000}"`),
		"converted number":   of(`1e600000000`),
		"small number":       of(`"${1e-600000000}"`),
		"number from text":   of(`"${"1e600000000" * 1}"`),
		"number by function": of(`tostring(tonumber("1e600000000"))`),
		"number by a local":  of(`"${local.x * 2}"`, `locals { x = "1e600000000" }`),
		"number by variable": of(`var.x`, "variable \"x\" {\n  type = string\n  default = 1e600000000\n}"),
		"number by JSON":     of(`tostring(jsondecode("1e600000000"))`),
		"wide format":        of(`format("%999999999s", "x")`),
		"star format":        of(`format("%*s", 999999999, "x")`),
		"replace":            of(`replace(local.x, "", local.x)`, `locals { x = "`+strings.Repeat("x", 100000)+`" }`),
		"indent":             of(`indent(999999999, "a\nb")`),
		"loops":              of(`join("", [for a in range(1000) : join("", [for b in range(1000) : join("", [for c in range(1000) : "x"])])])`),
		"tries":              of(strings.Repeat("try(", 60) + `local.m.x` + strings.Repeat(")", 60)),
		"product":            of(`join("", flatten(setproduct(range(1000), range(1000), range(1000))))`),
		"hidden by try":      of(`try(format("%999999999s", "x"), "wrong")`),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := region(t, map[string]string{"main.tf": main}, module.Options{}); err == nil {
				t.Errorf("it was evaluated to %d bytes", len(got))
			} else if len(err.Error()) > 5000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
	for name, text := range map[string]string{
		"deep":     `{"provider":` + strings.Repeat("[", 100000),
		"template": `{"provider":{"aws":{"region":"` + strings.Repeat("${[", 10000) + `"}}}`,
		"escaped":  `{"provider":{"aws":{"region":"\u0024{format(\"%999999999s\", 1)}"}}}`,
		"number":   `{"provider":{"aws":{"region":1e600000000}}}`,
		"variable": `{"provider":{"aws":{"region":"${var.x}"}},"variable":{"x":{"type":"string","default":1e600000000}}}`,
	} {
		if got, err := region(t, map[string]string{"main.tf.json": text}, module.Options{}); err == nil {
			t.Errorf("JSON %s: it was evaluated to %.100q", name, got)
		}
	}
}

// No error quotes a value.
func TestErrorsHoldNoValues(t *testing.T) {
	for name, main := range map[string]string{
		"function":   of(`parseint(var.s, 10)`),
		"type":       "provider \"aws\" {\n  number = var.s\n}\n",
		"arithmetic": of(`"${var.s + 1}"`),
		"index":      of(`{ a = 1 }[var.s]`),
		"regex":      of(`regex("^x$", var.s)`),
		"json":       of(`jsondecode(var.s)`),
	} {
		_, err := region(t, map[string]string{"main.tf": main + "\nvariable \"s\" {\n  sensitive = true\n}\n"}, module.Options{Texts: map[string]string{"s": "canary"}})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzProvider(f *testing.F) {
	for _, text := range []string{of(`"a"`), of(`local.a`, `locals { a = [for x in [1] : x][0] }`), of(`try(a.b, format("%s", 1))`), "variable \"a\" {\n  type = object({ a = optional(string, \"x\") })\n}", "terraform {\n  required_providers {\n    aws = \"1\"\n  }\n}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = configure(module.Options{Root: write(t, map[string]string{"main.tf": text})}, "", aws, "")
	})
}
