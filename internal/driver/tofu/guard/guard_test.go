package guard_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/driver/tofu/guard"
)

func tree(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func TestCheck(t *testing.T) {
	host := "registry.opentofu.org/"
	cases := map[string]struct {
		reason string
		files  map[string]string
		policy guard.Policy
		want   []string
	}{
		"Ordinary": {"an ordinary module is allowed", map[string]string{"m/main.tf": "terraform {\n  backend \"s3\" {}\n}\nresource \"aws_vpc\" \"it\" {}\nresource \"terraform_data\" \"it\" {}\nmodule \"x\" {\n  source = \"hashicorp/consul/aws\"\n}\n"}, guard.Policy{}, nil},
		"LocalExec": {"with file and line", map[string]string{"m/main.tf": "resource \"null_resource\" \"it\" {\n  provisioner \"local-exec\" {\n    command = \"id\"\n  }\n}\n"},
			guard.Policy{Who: "the project default", Hints: map[guard.Rule]string{guard.LocalExec: "a word"}},
			[]string{`m/main.tf:2: provisioner "local-exec" runs a program on Plumb's machine: the project default does not allow it (allow it by a word)`}},
		"LocalExecAllowed":      {"the policy may allow it", map[string]string{"m/main.tf": "resource \"terraform_data\" \"it\" {\n  provisioner \"local-exec\" {\n    command = \"id\"\n  }\n}\n"}, guard.Policy{LocalExec: true}, nil},
		"LocalExecJSON":         {"the JSON form is no way around", map[string]string{"m/main.tf.json": `{"resource":{"null_resource":{"it":[{"provisioner":[{"local-exec":{"command":"id"}}]}]}}}`}, guard.Policy{}, []string{`m/main.tf.json:1: provisioner "local-exec" runs a program on Plumb's machine: the policy does not allow it`}},
		"LocalExecTofu":         {"nor is OpenTofu's own ending", map[string]string{"m/main.tofu": "resource \"null_resource\" \"it\" {\n  provisioner \"local-exec\" {}\n}\n"}, guard.Policy{}, []string{`m/main.tofu:2: provisioner "local-exec" runs a program on Plumb's machine: the policy does not allow it`}},
		"LocalExecRemoved":      {"a block removed may have one", map[string]string{"m/main.tf": "removed {\n  from = null_resource.it\n  provisioner \"local-exec\" {}\n}\n"}, guard.Policy{}, []string{`m/main.tf:3: provisioner "local-exec" runs a program on Plumb's machine: the policy does not allow it`}},
		"Encryption":            {"keys may come from a program", map[string]string{"m/main.tf": "terraform {\n  encryption {\n    key_provider \"external\" \"it\" {\n      command = [\"id\"]\n    }\n  }\n}\n"}, guard.Policy{}, []string{`m/main.tf:3: key_provider "external" runs a program on Plumb's machine: the policy does not allow it`}},
		"RemoteExec":            {"another rule", map[string]string{"m/main.tf": "resource \"x_y\" \"it\" {\n  provisioner \"file\" {}\n}\n"}, guard.Policy{LocalExec: true}, []string{`m/main.tf:2: provisioner "file" changes a machine behind the provider's back: the policy does not allow it`}},
		"External":              {"the data source and its provider", map[string]string{"m/main.tf": "data \"external\" \"it\" {}\n"}, guard.Policy{}, []string{`m/main.tf:1: data "external" runs a program on Plumb's machine: the policy does not allow it`, "m/main.tf:1: the provider " + host + "hashicorp/external runs programs on Plumb's machine: the policy does not allow it"}},
		"ExternalRenamed":       {"under any local name", map[string]string{"m/main.tf": "terraform {\n  required_providers {\n    nice = {\n      source = \"hashicorp/external\"\n    }\n  }\n}\n"}, guard.Policy{}, []string{"m/main.tf:3: the provider " + host + "hashicorp/external runs programs on Plumb's machine: the policy does not allow it"}},
		"ExternalInCheck":       {"in a check, too", map[string]string{"m/main.tf": "check \"it\" {\n  data \"external\" \"it\" {}\n}\n"}, guard.Policy{}, []string{`m/main.tf:2: data "external" runs a program on Plumb's machine: the policy does not allow it`, "m/main.tf:2: the provider " + host + "hashicorp/external runs programs on Plumb's machine: the policy does not allow it"}},
		"Providers":             {"what is on the list is allowed, what is implied counts", map[string]string{"m/main.tf": "terraform {\n  required_providers {\n    a = {\n      source = \"hashicorp/a\"\n    }\n    b = {\n      source = \"other.org/b/b\"\n    }\n  }\n}\nresource \"c_thing\" \"it\" {}\nresource \"a_thing\" \"it\" {\n  provider = b.west\n}\n"}, guard.Policy{Providers: []string{"registry.opentofu.org/hashicorp/*"}}, []string{"m/main.tf:6: the provider other.org/b/b is not on the list: the policy does not allow it"}},
		"ProviderImplied":       {"an implied provider that is not on the list", map[string]string{"m/main.tf": "resource \"c_thing\" \"it\" {}\n"}, guard.Policy{Providers: []string{"hashicorp/a"}}, []string{"m/main.tf:1: the provider " + host + "hashicorp/c is not on the list: the policy does not allow it"}},
		"ProviderOverridden":    {"an override counts, wherever it is", map[string]string{"m/a_override.tf": "terraform {\n  required_providers {\n    a = {\n      source = \"bad/a\"\n    }\n  }\n}\n", "m/main.tf": "terraform {\n  required_providers {\n    a = {\n      source = \"good/a\"\n    }\n  }\n}\n"}, guard.Policy{Providers: []string{"good/*"}}, []string{"m/a_override.tf:3: the provider " + host + "bad/a is not on the list: the policy does not allow it"}},
		"ProviderJSON":          {"a provider required in JSON", map[string]string{"m/main.tf.json": `{"terraform":{"required_providers":{"b":{"source":"other.org/b/b"}}}}`}, guard.Policy{Providers: []string{}}, []string{"m/main.tf.json:1: the provider other.org/b/b is not on the list: the policy does not allow it"}},
		"Backend":               {"a backend that is not on the list", map[string]string{"m/main.tf": "terraform {\n  backend \"http\" {}\n}\n"}, guard.Policy{Backends: []string{"s3"}}, []string{`m/main.tf:2: the state is kept in a backend "http": the policy does not allow it`}},
		"LocalBackend":          {"a state file anywhere", map[string]string{"m/main.tf": "terraform {\n  backend \"local\" {\n    path = \"/etc/cron.d/x\"\n  }\n}\n"}, guard.Policy{}, []string{`m/main.tf:3: the path of the backend "local" has to be a plain path within the module: it names a file on Plumb's machine`}},
		"RemoteState":           {"a state read by a backend that is not on the list", map[string]string{"m/main.tf": "data \"terraform_remote_state\" \"it\" {\n  backend = \"local\"\n}\n"}, guard.Policy{Backends: []string{"s3"}}, []string{`m/main.tf:1: the state is kept in a backend "local": the policy does not allow it`}},
		"Called":                {"modules by relative paths are looked into", map[string]string{"m/main.tf": "module \"x\" {\n  source = \"../other\"\n}\n", "other/main.tf": "data \"external\" \"it\" {}\n"}, guard.Policy{External: true, Providers: []string{}}, []string{"other/main.tf:1: the provider " + host + "hashicorp/external is not on the list: the policy does not allow it"}},
		"Outside":               {"but not beyond the repository", map[string]string{"m/main.tf": "module \"x\" {\n  source = \"../../x\"\n}\n"}, guard.Policy{}, []string{`m/main.tf:2: the module "../../x" is outside the repository`}},
		"Absolute":              {"nor anywhere on the machine", map[string]string{"m/main.tf": "module \"x\" {\n  source = \"git::file:///etc\"\n}\n"}, guard.Policy{}, []string{`m/main.tf:2: the module "git::file:///etc" is a folder of Plumb's machine: modules come from the repository, by a relative path, from registries and from Git`}},
		"Plugins":               {"providers in the repository would run", map[string]string{"m/main.tf": "", "m/terraform.d/plugins/x": ""}, guard.Policy{}, []string{"m/terraform.d/plugins: providers come from registries and mirrors, not from the repository, whose programs would run on Plumb's machine: remove this folder"}},
		"Syntax":                {"what can't be read is refused, with its place", map[string]string{"m/main.tf": "\nresource \"x\" \"y\" {\n"}, guard.Policy{}, []string{"m/main.tf:2:18: Unclosed configuration block: There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file."}},
		"Hidden":                {"files that the programs do not read", map[string]string{"m/.main.tf": "nonsense", "m/main.tf.bak": "nonsense"}, guard.Policy{}, nil},
		"Deep":                  {"what would end the process", map[string]string{"m/main.tf": "a = " + strings.Repeat("[", 500000)}, guard.Policy{}, []string{"m/main.tf:1:255: Too complex: The expressions here are nested deeper than anything reasonable."}},
		"DeepSigns":             {"without brackets, too", map[string]string{"m/main.tf": "a = " + strings.Repeat("!", 500000)}, guard.Policy{}, []string{"m/main.tf:1:55: Too complex: The expressions here are nested deeper than anything reasonable."}},
		"DeepJSON":              {"and in JSON", map[string]string{"m/main.tf.json": strings.Repeat("[", 500000)}, guard.Policy{}, []string{"m/main.tf.json:1:1: Too complex: The values are nested deeper than anything reasonable."}},
		"DeepJSONAfterNonsense": {"also after what a decoder stops at", map[string]string{"m/main.tf.json": "{\"a\": x" + strings.Repeat("[", 500000)}, guard.Policy{}, []string{"m/main.tf.json:1:1: Too complex: The file is not valid JSON."}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			refusals, err := guard.Check(tree(tc.files), "m", tc.policy)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range refusals {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			var e *guard.Error
			if err := guard.Err(refusals); (err != nil) != (len(tc.want) > 0) || err != nil && !errors.As(err, &e) {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

func TestCheckInstalled(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("data/modules/modules.json", `{"Modules":[{"Key":"","Source":"","Dir":"."},{"Key":"a.b","Source":"git::https://x","Dir":"../data/modules/a.b"}]}`)
	write("data/modules/a.b/main.tf", "data \"external\" \"it\" {}\n")
	write("module/main.tf", "data \"external\" \"it\" {}\n")
	refusals, err := guard.CheckInstalled(filepath.Join(dir, "data"), filepath.Join(dir, "module"), guard.Policy{External: true, Providers: []string{}})
	if err != nil || len(refusals) != 1 || refusals[0].File != "module.a.module.b/main.tf" {
		t.Errorf("%+v, %v", refusals, err)
	}
	if refusals, err := guard.CheckInstalled(t.TempDir(), dir, guard.Policy{}); refusals != nil || err != nil {
		t.Errorf("without modules: %v, %v", refusals, err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"resource \"null_resource\" \"it\" {\n  provisioner \"local-exec\" {\n    command = \"id\"\n  }\n}\n",
		`{"resource":{"null_resource":{"it":[{"provisioner":[{"local-exec":{"command":"id"}}]}]}}}`,
		"terraform {\n  required_providers {\n    a = { source = \"b/c\" }\n  }\n  backend \"local\" {\n    path = \"${x}\"\n  }\n}\n",
		"module \"x\" {\n  source = \"./${a}\"\n}\ndata \"external\" \"a\" {}\nremoved {}\n", "a = [[[[", "a = !!!!-1 ? 2 : 3", "<<EOT\n${\nEOT\n", "{\"terraform\":[{\"required_providers\":[null,1,{\"a\":[]}]}]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, name := range []string{"main.tf", "main.tf.json"} {
			refusals, err := guard.Check(fstest.MapFS{name: &fstest.MapFile{Data: src}}, ".", guard.Policy{Providers: []string{}, Backends: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range refusals {
				if r.Message == "" || r.Rule == "" {
					t.Errorf("an empty refusal: %+v", r)
				}
			}
		}
	})
}
