package providers

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

const everything = `
resource "cloud_thing" "it" {
  name           = "it"
  force_new      = "once"
  secret         = "s3cret"
  write_only     = "wr1te-only"
  string         = "text"
  number         = 0.1
  integer        = 9007199254740993
  float          = 2.5
  bool           = true
  dynamic        = { a = [1, "two", true], b = null }
  tags           = { a = "1", b = "2" }
  list           = ["a", "b"]
  set            = ["b", "a"]
  map            = { k = "v" }
  number_set     = [3, 1, 2]
  list_of_lists  = [["a"], []]
  map_of_lists   = { k = ["v"] }
  set_of_objects = [{ name = "n", port = 1, on = true }, { name = "m", port = null, on = false }]
  object         = { name = "n", port = 1, on = true }

  nested      = { key = "k", value = "v", secret = "nested-s3cret", inner = { list = ["x"], mode = "manual" } }
  nested_list = [{ key = "k", value = "v", secret = null }, { key = "l", value = null, secret = null }]
  nested_set  = [{ key = "k", value = "v", secret = null }, { key = "l", value = null, secret = null }]
  nested_map  = { one = { key = "k", value = "v", secret = null } }

  list_block {
    key = "first"
  }
  list_block {
    key   = "second"
    count = 2
  }
  set_block {
    key   = "k"
    value = "v"
  }
  single_block {
    key = "k"
  }
}

resource "cloud_thing" "bare" {
  name = "bare"
}
`

// everythingElse changes each field of cloud_thing.it.
var everythingElse = map[string]any{
	"name": "other", "secret": "stolen", "string": "other", "number": 0.2, "integer": 9007199254740992, "float": -1, "bool": false,
	"dynamic": "now a text", "tags": map[string]any{"c": "3"}, "list": []string{"b", "a"}, "set": []string{"a"},
	"map": nil, "number_set": []int{1}, "list_of_lists": []any{}, "map_of_lists": map[string]any{"k": []string{}},
	"set_of_objects": nil, "object": map[string]any{"port": 2}, "defaulted": "elsewhere",
	"nested":      map[string]any{"value": "other", "inner": map[string]any{"mode": "auto"}},
	"nested_list": []any{}, "nested_set": []any{map[string]any{"key": "z"}}, "nested_map": nil,
	"list_block": []any{}, "set_block": []any{}, "single_block": map[string]any{"key": "other"},
}

// TestEverything applies one of each kind of field over both protocols, finds
// each changed from outside, and heals it.
func TestEverything(t *testing.T) {
	for _, source := range []string{"cloud", "cloud5"} {
		t.Run(source, func(t *testing.T) {
			f := newFake(t)
			w := newWorkspace(t, f)
			w.module(source, "2.0.0", everything)
			w.init()
			w.apply()
			w.expect(map[string]string{})
			w.accounted(f)
			id := f.named("thing", "it").ID
			f.change(id, everythingElse)
			changes := w.changes()
			for field := range everythingElse {
				if c := changes[1].Change; reflect.DeepEqual(c.Before[field], c.After[field]) {
					t.Errorf("the plan does not change %s", field)
				}
			}
			w.apply()
			w.expect(map[string]string{})
			f.change(id, map[string]any{"fingerprint": "other", "computed_list": []string{"z"}, "revision": 99})
			w.expect(map[string]string{}) // no plan changes what is the cloud's to set
			f.change(id, map[string]any{"force_new": "twice"})
			w.expect(map[string]string{"cloud_thing.it": "delete+create"})
		})
	}
}

func TestSecretsStayOutOfTheState(t *testing.T) {
	f := newFake(t)
	w := newWorkspace(t, f)
	w.module("cloud", "2.0.0", `
resource "cloud_secret" "it" {
  name             = "it"
  value_wo         = "wr1te-only"
  value_wo_version = 1
}`)
	w.init()
	w.apply()
	w.expect(map[string]string{})
	if got := f.the("secret").Body["value_wo"]; got != "wr1te-only" {
		t.Errorf("the cloud was told %v", got)
	}
	if strings.Contains(w.run("state", "pull"), "wr1te-only") {
		t.Error("the state holds a write-only value")
	}
}

// TestSchemaUpgrades applies with each version of the provider, then plans with
// the next.
func TestSchemaUpgrades(t *testing.T) {
	const (
		v0 = "resource \"cloud_record\" \"it\" {\n  name  = \"it\"\n  value = \"10.0.0.1,10.0.0.2\"\n}"
		v1 = "resource \"cloud_record\" \"it\" {\n  name   = \"it\"\n  values = [\"10.0.0.1\", \"10.0.0.2\"]\n}"
	)
	for name, through := range map[string][]string{"0 to 2": {"2.0.0"}, "0 to 1 to 2": {"1.0.0", "2.0.0"}} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			w := newWorkspace(t, f)
			w.module("cloud", "0.1.0", v0)
			w.init()
			w.apply()
			id := f.the("record").ID
			for _, version := range through {
				w.module("cloud", version, v1)
				w.run("init", "-no-color", "-input=false", "-upgrade")
				w.expect(map[string]string{})
				w.apply()
			}
			if got := f.the("record").ID; got != id {
				t.Errorf("the record is now %s, was %s", got, id)
			}
		})
	}
}

func TestMoveBetweenTypes(t *testing.T) {
	f := newFake(t)
	w := newWorkspace(t, f)
	w.module("cloud", "2.0.0", "resource \"cloud_store\" \"old\" {\n  title = \"it\"\n}")
	w.init()
	w.apply()
	w.module("cloud", "2.0.0", "resource \"cloud_bucket\" \"new\" {\n  name = \"it\"\n}\n\nmoved {\n  from = cloud_store.old\n  to   = cloud_bucket.new\n}")
	w.expect(map[string]string{"cloud_bucket.new": "no-op moved from cloud_store.old"})
	w.apply()
	w.accounted(f)
}

func TestImportOfNothing(t *testing.T) {
	f := newFake(t)
	w := newWorkspace(t, f)
	w.module("cloud", "2.0.0", "resource \"cloud_vpc\" \"it\" {\n  cidr_block = \"10.0.0.0/16\"\n}")
	w.init()
	w.refuse("Cannot import non-existent remote object", "import", "-no-color", "cloud_vpc.it", "vpc-none")
	w.apply()
	id := f.the("vpc").ID
	w.run("state", "rm", "cloud_vpc.it")
	w.run("import", "-no-color", "cloud_vpc.it", id)
	w.expect(map[string]string{})
}

// TestTrouble lets the cloud be as clouds are.
func TestTrouble(t *testing.T) {
	const two = "resource \"cloud_vpc\" \"it\" {\n  count      = 2\n  cidr_block = \"10.${count.index}.0.0/16\"\n}"
	apply := []string{"apply", "-no-color", "-input=false", "-auto-approve", "-parallelism=1"}
	cases := map[string]struct {
		reason string
		with   func(f *fake)
		module string
		// refused is what the first apply says; it succeeds if empty.
		refused string
		twice   int // how many objects may be leaked
	}{
		"throttled": {
			reason: "the provider waits as it is told, and goes on",
			with:   func(f *fake) { f.admin("PUT", "behaviour", map[string]any{"rate": 50, "burst": 2}, nil) },
		},
		"lagging": {
			reason: "the provider waits until its changes show",
			with:   func(f *fake) { f.admin("PUT", "behaviour", map[string]any{"readLag": "150ms", "latency": "1ms"}, nil) },
		},
		"lost answer": {
			reason: "the create is repeated with its token, and gives the same object",
			with:   func(f *fake) { f.fault(map[string]any{"op": "create", "action": "drop", "late": true}) },
		},
		"refused": {
			reason: "an error of the cloud is the user's to see", refused: "409 Injected: quota exceeded",
			with: func(f *fake) {
				f.fault(map[string]any{"op": "create", "action": "fail", "status": 409, "message": "quota exceeded"})
			},
		},
		"crash": {
			reason: "a provider that crashes takes the run with it", refused: "Plugin did not respond",
			with: func(f *fake) { f.fault(map[string]any{"op": "create", "action": "crash"}) },
		},
		"crash after the effect": {
			reason: "nobody can know what was created without a token", refused: "Plugin did not respond", twice: 1,
			with: func(f *fake) { f.fault(map[string]any{"op": "create", "action": "crash", "late": true}) },
		},
		"crash after the effect, with tokens": {
			reason: "the next run is given the same object", refused: "Plugin did not respond",
			with:   func(f *fake) { f.fault(map[string]any{"op": "create", "action": "crash", "late": true}) },
			module: "provider \"cloud\" {\n  idempotent = true\n}\n" + two,
		},
		"hanging": {
			reason: "a timeout of the resource ends it", refused: "context deadline exceeded",
			with:   func(f *fake) { f.fault(map[string]any{"op": "create", "action": "hang"}) },
			module: "resource \"cloud_instance\" \"it\" {\n  ami           = \"ami-1\"\n  instance_type = \"t3.micro\"\n  timeouts {\n    create = \"300ms\"\n  }\n}",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			w := newWorkspace(t, f)
			if c.module == "" {
				c.module = two
			}
			w.module("cloud", "2.0.0", c.module)
			w.init()
			c.with(f)
			if c.refused != "" {
				w.refuse(c.refused, apply...)
			}
			w.apply()
			w.expect(map[string]string{})
			a := f.audit(w.ids()...)
			if len(a.Leaked) != c.twice || len(a.Twins) != c.twice || len(a.Missing) > 0 {
				t.Errorf("%s: %+v", c.reason, a)
			}
		})
	}
}

func TestWrongToken(t *testing.T) {
	f := newFake(t)
	w := newWorkspace(t, f)
	w.module("cloud", "2.0.0", "provider \"cloud\" {\n  token = \"wrong\"\n}\ndata \"cloud_zones\" \"all\" {}")
	w.init()
	w.refuse("401 Unauthorized: the token is not valid", "plan", "-no-color")
}

// TestPrograms uses the mirror with the programs that there are: OpenTofu always,
// Terraform where it is on the PATH, since it can't be had from a registry.
func TestPrograms(t *testing.T) {
	programs := map[string]string{"tofu": ""}
	if terraform, err := exec.LookPath("terraform"); err == nil {
		programs["terraform"] = terraform
	}
	for name, program := range programs {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			w := newWorkspace(t, f)
			if program != "" {
				w.program = program
			}
			w.module("cloud", "2.0.0", everything)
			w.init()
			w.apply()
			w.expect(map[string]string{})
			w.accounted(f)
		})
	}
}
