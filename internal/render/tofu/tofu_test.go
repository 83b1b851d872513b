package tofu

import (
	"slices"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

func request(t *testing.T, files map[string]string, options *v1alpha1.ApplicationSourceTofu) render.Request {
	t.Helper()
	return render.Request{Input: render.Input{Tree: memtree.New(files), Path: "infra/prod", Source: v1alpha1.ApplicationSource{Tofu: options}}}
}

func TestCollect(t *testing.T) {
	main := "terraform {}\n"
	for name, c := range map[string]struct {
		reason   string
		files    map[string]string
		options  *v1alpha1.ApplicationSourceTofu
		want     []string
		warnings string
		err      string
	}{
		"Folder":   {reason: "all of the module's folder", files: map[string]string{"infra/prod/main.tf": main, "infra/prod/data/a.json": "{}", "other/x.tf": main, "infra/prod/.terraform.lock.hcl": "", "infra/prod/.terraform/x": "no"}, want: []string{"infra/prod/.terraform.lock.hcl", "infra/prod/data/a.json", "infra/prod/main.tf"}},
		"Local":    {reason: "local modules, and those that they call", files: map[string]string{"infra/prod/main.tf": "module \"a\" {\n  source = \"../../modules/a\"\n}\n", "modules/a/a.tf": "module \"b\" {\n  source = \"../b\"\n}\n", "modules/b/b.tf": main, "modules/c/c.tf": main}, want: []string{"infra/prod/main.tf", "modules/a/a.tf", "modules/b/b.tf"}},
		"JSON":     {reason: "also in the JSON syntax", files: map[string]string{"infra/prod/main.tf.json": `{"module": {"a": {"source": "../../modules/a"}}}`, "modules/a/a.tf": main}, want: []string{"infra/prod/main.tf.json", "modules/a/a.tf"}},
		"Circle":   {reason: "a circle ends", files: map[string]string{"infra/prod/main.tf": "module \"a\" {\n  source = \"../b\"\n}\n", "infra/b/b.tf": "module \"a\" {\n  source = \"../prod\"\n}\n"}, want: []string{"infra/b/b.tf", "infra/prod/main.tf"}},
		"Remote":   {reason: "others are downloaded by the program", files: map[string]string{"infra/prod/main.tf": "module \"a\" {\n  source = \"hashicorp/consul/aws\"\n}\n"}, want: []string{"infra/prod/main.tf"}},
		"File":     {reason: "files that functions read", files: map[string]string{"infra/prod/main.tf": "locals {\n  a = file(\"${path.module}/../../shared/a.txt\")\n}\n", "shared/a.txt": "a", "shared/b.txt": "b"}, want: []string{"infra/prod/main.tf", "shared/a.txt"}},
		"Template": {reason: "of a path that is known in part, the folder", files: map[string]string{"infra/prod/main.tf": "locals {\n  a = templatefile(\"${path.root}/../../shared/x-${var.env}.txt\", {})\n}\n", "shared/x-a.txt": "a", "shared/b.txt": "b", "z": ""}, want: []string{"infra/prod/main.tf", "shared/b.txt", "shared/x-a.txt"}},
		"Absent":   {reason: "what is not there may be asked for", files: map[string]string{"infra/prod/main.tf": "locals {\n  a = fileexists(\"../nothing\")\n}\n"}, want: []string{"infra/prod/main.tf"}},
		"Broken":   {reason: "what can't be parsed the program tells", files: map[string]string{"infra/prod/main.tf": "resource {"}, want: []string{"infra/prod/main.tf"}},
		"VarFiles": {reason: "files of values", files: map[string]string{"infra/prod/main.tf": main, "infra/common.tfvars": "a = 1"}, options: &v1alpha1.ApplicationSourceTofu{VarFiles: []string{"../common.tfvars"}}, want: []string{"infra/common.tfvars", "infra/prod/main.tf"}},
		"State":    {reason: "states are left alone", files: map[string]string{"infra/prod/main.tf": main, "infra/prod/terraform.tfstate": "{}"}, want: []string{"infra/prod/main.tf"}, warnings: "infra/prod/terraform.tfstate: a state is in the repository"},

		"Outside":   {reason: "nothing leads out", files: map[string]string{"infra/prod/main.tf": "module \"a\" {\n  source = \"../../../a\"\n}\n"}, err: "infra/prod/main.tf:2: \"../../../a\" leads out of the repository"},
		"Missing":   {reason: "a local module must be there", files: map[string]string{"infra/prod/main.tf": "module \"a\" {\n  source = \"../a\"\n}\n"}, err: "infra/prod/main.tf:2: module \"../a\": there is no folder infra/a"},
		"NoModule":  {reason: "a folder without a module", files: map[string]string{"infra/prod/a.yaml": "a: b"}, err: "infra/prod: no module"},
		"NoVarFile": {reason: "a file of values must be there", files: map[string]string{"infra/prod/main.tf": main}, options: &v1alpha1.ApplicationSourceTofu{VarFiles: []string{"a.tfvars"}}, err: "tofu.varFiles[0]: infra/prod/a.tfvars"},
		"NoRef":     {reason: "a ref must be there", files: map[string]string{"infra/prod/main.tf": main}, options: &v1alpha1.ApplicationSourceTofu{VarFiles: []string{"$values/a.tfvars"}}, err: `tofu.varFiles[0]: no source has the ref "values" (there are: none)`},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Renderer{}.Render(t.Context(), request(t, c.files, c.options))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%s: got %v", c.reason, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for name := range b.Module.Files {
				got = append(got, name)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: got %v, want %v", c.reason, got, c.want)
			}
			if all := strings.Join(b.Warnings, "; "); !strings.Contains(all, c.warnings) || c.warnings == "" && all != "" {
				t.Errorf("%s: warnings %q", c.reason, all)
			}
		})
	}
}

func TestHashFollowsContent(t *testing.T) {
	files := map[string]string{"infra/prod/main.tf": "module \"a\" {\n  source = \"../a\"\n}\n", "infra/a/a.tf": "", "docs/x": "1"}
	hash := func(o *v1alpha1.ApplicationSourceTofu) string {
		b, err := Renderer{}.Render(t.Context(), request(t, files, o))
		if err != nil {
			t.Fatal(err)
		}
		return b.Hash
	}
	before := hash(nil)
	files["docs/x"] = "2"
	if hash(nil) != before {
		t.Error("a change elsewhere changes nothing")
	}
	if hash(&v1alpha1.ApplicationSourceTofu{Vars: map[string]string{"a": "b"}}) == before {
		t.Error("variables change the bundle")
	}
	files["infra/a/a.tf"] = "# changed"
	if hash(nil) == before {
		t.Error("a called module changes the bundle")
	}
}

func FuzzReferences(f *testing.F) {
	f.Add("main.tf", "module \"a\" { source = \"./x\" }\nlocals { a = file(\"${path.module}/a\") }")
	f.Add("main.tf.json", `{"module": [{"a": {"source": "./x"}}]}`)
	f.Fuzz(func(_ *testing.T, name, text string) { references(name, []byte(text)) })
}
