package tofu_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/render"
)

const neighbourOwner = driver.Owner("team/neighbour")

// neighbours is a stage with an Application that has a secret.
func neighbours(t *testing.T) (s *stage, folder string) {
	t.Helper()
	s = calm(t)
	d := want(secretive)
	d.Target = target(neighbourOwner)
	m := *d.Bundle.Module
	m.Variables = map[string]render.Value{"secret": secret(canaryVar)}
	d.Bundle.Module = &m
	s.good(s.apply(d, s.compare(d), true))
	folders, err := filepath.Glob(filepath.Join(s.dir, "apps", "team-neighbour-*"))
	if err != nil || len(folders) != 1 {
		t.Fatal(folders, err)
	}
	if text, err := os.ReadFile(filepath.Join(folders[0], "run", "state", "terraform.tfstate")); err != nil || !strings.Contains(string(text), canaryVar) {
		t.Fatalf("the neighbour's state holds no secret: %v", err)
	}
	return s, folders[0]
}

// trace is all files below a folder, by what is in them.
func trace(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func local(body string) string {
	return "resource \"local_file\" \"it\" {\n" + body + "\n}\noutput \"it\" {\n  value = local_file.it.content\n}\n"
}

func output(expression string) string {
	return "output \"it\" {\n  value = " + expression + "\n}\n"
}

// TestIsolatedModules has modules reach for what is not theirs.
func TestIsolatedModules(t *testing.T) {
	s, neighbour := neighbours(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "key"), []byte(canaryVar), 0o600); err != nil {
		t.Fatal(err)
	}
	before := trace(t, neighbour)
	state := filepath.Join(neighbour, "run", "state", "terraform.tfstate")
	for name, tc := range map[string]struct{ reason, text string }{
		"file":        {"a function reads a neighbour's state", output(fmt.Sprintf("file(%q)", state))},
		"dots":        {"a path leads to a neighbour's module", output(fmt.Sprintf("file(\"${path.module}/../../%s/module.json\")", filepath.Base(neighbour)))},
		"template":    {"a template reads a neighbour's variables", output(fmt.Sprintf("templatefile(%q, {})", filepath.Join(neighbour, "run", "plumb.tfvars")))},
		"base64":      {"another function does", output(fmt.Sprintf("filebase64(%q)", state))},
		"variable":    {"what is known before all else does", fmt.Sprintf("locals {\n  it = file(%q)\n}\nmodule \"m\" {\n  source = local.it\n}\n", state)},
		"outside":     {"a key of Plumb's user is outside of all", output(fmt.Sprintf("file(%q)", filepath.Join(outside, "key")))},
		"environment": {"Plumb has credentials in its environment", output(fmt.Sprintf("file(\"/proc/%d/environ\")", os.Getpid()))},
		"root":        {"Plumb's view of files is a way around", output(fmt.Sprintf("file(\"/proc/%d/root%s\")", os.Getpid(), state))},
		"list":        {"names tell, too", fmt.Sprintf("locals {\n  it = fileset(%q, \"**\")\n}\nresource \"terraform_data\" \"it\" {\n  lifecycle {\n    precondition {\n      condition     = length(local.it) > 0\n      error_message = \"nothing is seen: modules are isolated\"\n    }\n  }\n}\n", neighbour)},
		"data":        {"a provider reads a neighbour's state", fmt.Sprintf("data \"local_file\" \"it\" {\n  filename = %q\n}\n", state) + output("data.local_file.it.content")},
		"sensitive":   {"another data source does", fmt.Sprintf("data \"local_sensitive_file\" \"it\" {\n  filename = %q\n}\n", state)},
		"source":      {"a provider copies it", local(fmt.Sprintf("filename = \"copy\"\nsource = %q", state))},
		"write":       {"a provider writes into a neighbour's module", local(fmt.Sprintf("filename = %q\ncontent = \"resource\"", filepath.Join(neighbour, "module", "more.tf")))},
		"store":       {"a provider changes the programs of all", local(fmt.Sprintf("filename = %q\ncontent = \"program\"", filepath.Join(s.dir, "providers", "store", "more")))},
		"cache":       {"a provider changes the programs of all", local(fmt.Sprintf("filename = %q\ncontent = \"program\"", filepath.Join(s.dir, "providers", "cache", "more")))},
		"record":      {"a provider changes what Plumb knows of runs", local("filename = \"${path.module}/../run/run.json\"\ncontent = \"{}\"")},
		"providers":   {"a provider changes its own next one", local("filename = \"${path.module}/../run/data/providers/more\"\ncontent = \"program\"")},
		"shown":       {"a provider changes the plan that was shown", local("filename = \"${path.module}/../run/plans/more\"\ncontent = \"plan\"")},
		"plumb's":     {"a provider changes what Plumb keeps", local("filename = \"${path.module}/../module.json\"\ncontent = \"{}\"")},
		"temporary":   {"it is everybody's", local("filename = \"/tmp/plumb-isolation-test\"\ncontent = \"here\"")},
	} {
		t.Run(name, func(t *testing.T) {
			d := want(tc.text)
			d.Target = target(driver.Owner("team/" + strings.ReplaceAll(name, "'", "")))
			said := s.attempt(d)
			if found := leaks(said); len(found) > 0 {
				t.Errorf("%s, and it is shown", tc.reason)
			}
			if !strings.Contains(said, "modules are isolated") {
				t.Errorf("%s, and why not is not said: %s", tc.reason, said)
			}
		})
	}
	after := trace(t, neighbour)
	for path, text := range before {
		if after[path] != text {
			t.Errorf("%s has changed", path)
		}
		delete(after, path)
	}
	for path := range after {
		t.Errorf("%s is new", path)
	}
	for path, text := range trace(t, filepath.Join(s.dir, "apps")) {
		if !strings.HasPrefix(path, neighbour) && len(leaks(text)) > 0 {
			t.Errorf("%s holds the neighbour's secret", path)
		}
	}
}

// attempt compares and applies, and gives all that is said.
func (s *stage) attempt(d driver.Desired) string {
	s.t.Helper()
	c, err := s.driver.Compare(context.Background(), d)
	if err != nil {
		return err.Error()
	}
	said, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.Plan.Empty() {
		return string(said)
	}
	for _, r := range s.apply(d, c, true) {
		said = append(said, r.Message...)
	}
	return string(said)
}

// TestIsolatedPrograms has programs that a project allows reach for what is not
// theirs, and leave links for Plumb to follow.
func TestIsolatedPrograms(t *testing.T) {
	s, neighbour := neighbours(t)
	state := filepath.Join(neighbour, "run", "state", "terraform.tfstate")
	run := func(command string) driver.Desired {
		d := want(fmt.Sprintf("resource \"terraform_data\" \"it\" {\n  input = %q\n  provisioner \"local-exec\" {\n    command = self.input\n  }\n}\n", command))
		d.Modules = &v1alpha1.ModulePolicy{AllowLocalPrograms: true}
		return d
	}
	for reason, command := range map[string]string{
		"a program reads a neighbour's state": "cat " + state,
		"a program follows a link":            "ln -sf " + state + " link && cat link",
		"a program looks at Plumb":            fmt.Sprintf("cat /proc/%d/environ", os.Getpid()),
		"a program ends Plumb":                fmt.Sprintf("kill -9 %d", os.Getpid()),
	} {
		d := run(command)
		d.Target = target(driver.Owner(fmt.Sprintf("team/program-%d", len(reason))))
		if said := s.attempt(d); !strings.Contains(said, "local-exec provisioner error") || len(leaks(said)) > 0 {
			t.Errorf("%s: %s", reason, said)
		}
	}
	// What Plumb itself would read, write or take for a state.
	links := "ln -sfn " + state + " errored.tfstate; ln -sfn " + state + " .terraform.lock.hcl; ln -sfn " + neighbour + "/module sub; ln -sfn " + state + " note; exit 1"
	d := run(links)
	said := s.attempt(d)
	d.Bundle = module(map[string]string{"main.tf": "", "sub/new.tf": "# new\n", "note": "mine"})
	said += s.attempt(d)
	if len(leaks(said)) > 0 {
		t.Errorf("what a link leads to is shown: %s", said)
	}
	for path, text := range trace(t, filepath.Join(s.dir, "apps")) {
		if !strings.HasPrefix(path, neighbour) && len(leaks(text)) > 0 {
			t.Errorf("%s holds the neighbour's secret", path)
		}
	}
	if _, err := os.Stat(filepath.Join(neighbour, "module", "new.tf")); err == nil {
		t.Error("Plumb wrote into the neighbour's module")
	}
	if text, err := os.ReadFile(state); err != nil || !strings.Contains(string(text), canaryVar) {
		t.Errorf("the neighbour's state is not what it was: %v", err)
	}
}

// TestLinkedState takes no link for the state that a run has left.
func TestLinkedState(t *testing.T) {
	s, neighbour := neighbours(t)
	d := want("resource \"terraform_data\" \"it\" {}\n")
	s.sync(d)
	mine, err := filepath.Glob(filepath.Join(s.dir, "apps", "team-infra-*", "run", "state", "terraform.tfstate"))
	if err != nil || len(mine) != 1 {
		t.Fatal(mine, err)
	}
	if err := os.Remove(mine[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(neighbour, "run", "state", "terraform.tfstate"), mine[0]); err != nil {
		t.Fatal(err)
	}
	d.Fresh = true
	if _, err := s.driver.Compare(context.Background(), d); err == nil {
		t.Error("a link is taken for a state")
	}
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	if len(leaks(string(s.states.states[theState]))) > 0 {
		t.Error("the neighbour's state was saved as the module's own")
	}
}

// TestHomeIsFresh has a module leave settings in its HOME that would name programs
// and mirrors for the next run.
func TestHomeIsFresh(t *testing.T) {
	s := calm(t)
	names := []string{".tofurc", ".terraformrc", ".terraform.d/more.tfrc", ".gitconfig", ".config/opentofu/tofurc"}
	text := ""
	for i, name := range names {
		text += fmt.Sprintf("resource \"local_file\" \"f%d\" {\n  filename = \"${path.module}/../run/home/%s\"\n  content = \"provider_installation { }\\nthis is no setting\"\n}\n", i, name)
	}
	d := want(text)
	s.good(s.apply(d, s.compare(d), true))
	d = want("resource \"random_pet\" \"it\" {}\n")
	c, err := s.driver.Compare(context.Background(), d)
	if err != nil {
		t.Fatalf("what a run has left in its HOME is read by the next: %v", err)
	}
	s.good(s.apply(d, c, true))
	for _, name := range names {
		if left, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*", "run", "home", name)); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
}

// TestOrdinaryModules does what modules ordinarily do.
func TestOrdinaryModules(t *testing.T) {
	s := calm(t)
	d := want("")
	d.Bundle = module(map[string]string{
		"live/prod/main.tf": `
module "up" {
  source = "../../modules/up"
}
resource "local_file" "it" {
  filename = "${path.module}/made/it.txt"
  content  = file("${path.module}/here.txt")
}
resource "local_file" "root" {
  filename = "${path.root}/root.txt"
  content  = file("../shared.txt")
}
data "local_file" "again" {
  filename   = "${path.cwd}/here.txt"
  depends_on = [local_file.it]
}
resource "terraform_data" "program" {
  provisioner "local-exec" {
    command = "/bin/sh ./script.sh"
  }
}
output "all" {
  value = join(",", [trimspace(data.local_file.again.content), module.up.text, templatefile("here.txt", {}), join("+", fileset(path.module, "*.txt"))])
}
`,
		"live/prod/here.txt": "here\n", "live/shared.txt": "shared\n", "live/prod/script.sh": "set -e\necho made >by-script\nls /usr/bin >\"$TMPDIR/list\"\nmkdir -p \"$HOME/.cache\"\ngit --version >/dev/null\n",
		"modules/up/main.tf": "output \"text\" {\n  value = trimspace(file(\"${path.module}/up.txt\"))\n}\n", "modules/up/up.txt": "up\n",
	})
	d.Bundle.Module.Dir = "live/prod"
	d.Modules = &v1alpha1.ModulePolicy{AllowLocalPrograms: true}
	s.good(s.apply(d, s.compare(d), true))
	if got := fmt.Sprint(s.compare(d).Outputs["all"]); !strings.Contains(got, "here,up,here") {
		t.Errorf("the output is %s", got)
	}
	if made, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*", "module", "live", "prod", "by-script")); len(made) != 1 {
		t.Error("the script has made nothing")
	}
}

// TestModuleFromGit downloads a module by git, which runs within the fence.
func TestModuleFromGit(t *testing.T) {
	s := calm(t)
	work, served := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "main.tf"), []byte("resource \"random_pet\" \"it\" {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-C", work, "init", "-q", "-b", "main"}, {"-C", work, "add", "-A"},
		{"-C", work, "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-q", "-m", "one"},
		{"clone", "-q", "--bare", work, filepath.Join(served, "m.git")}, {"-C", filepath.Join(served, "m.git"), "update-server-info"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + work}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(served)))
	t.Cleanup(server.Close)
	d := want(fmt.Sprintf("module \"m\" {\n  source = \"git::%s/m.git?ref=main\"\n}\n", server.URL))
	s.sync(d)
}

// TestIsolationIsSaid says once where modules are not isolated, and what to do
// about it.
func TestIsolationIsSaid(t *testing.T) {
	var log bytes.Buffer
	for _, tc := range []struct {
		mode        isolate.Mode
		level, said string
	}{{isolate.Off, "none", "isolation is off"}, {isolate.Required, "full", ""}} {
		log.Reset()
		d, err := tofu.New(tofu.Options{Dir: t.TempDir(), States: newStates(), Isolation: isolate.Options{Mode: tc.mode}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		if got := d.Isolation(); got != tc.level || !strings.Contains(log.String(), tc.said) || (tc.said == "") != (log.Len() == 0) {
			t.Errorf("%s: %s: %s", tc.mode, got, log.String())
		}
	}
	if _, err := tofu.New(tofu.Options{Dir: t.TempDir(), Isolation: isolate.Options{Mode: "perhaps"}}); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// TestMissingSettings goes on without a configuration file that is not there, as the
// programs do.
func TestMissingSettings(t *testing.T) {
	dir := t.TempDir()
	d, err := tofu.New(tofu.Options{Dir: filepath.Join(dir, "tofu"), CLIConfig: filepath.Join(dir, "none"), States: newStates()})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}
