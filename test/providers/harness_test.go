// Package providers tests the test providers with the real OpenTofu and the
// fake cloud as a process, each of which scripts/tofu builds.
package providers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const token = "token-of-the-tests"

func TestMain(m *testing.M) {
	build := exec.Command("../../scripts/tofu")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build OpenTofu and the providers:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// fake is a fake cloud of the test's own.
type fake struct {
	t   *testing.T
	url string
}

// newFake starts a fake cloud. Tests that have one of their own run in parallel.
func newFake(t *testing.T) *fake {
	t.Helper()
	t.Parallel()
	cmd := exec.Command("../../bin/fakecloud", "-token", token, "-stdin")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the fake cloud does not start: %v", err)
	}
	return &fake{t: t, url: strings.TrimSpace(line)}
}

// admin asks the administration of the cloud.
func (f *fake) admin(method, path string, body, into any) {
	f.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			f.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, f.url+"/admin/"+path, content)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %s: %v %s %s", method, path, err, resp.Status, text)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(text, into); err != nil {
		f.t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
}

type cloudObject struct {
	Kind, ID string
	Body     map[string]any
}

func (f *fake) objects(kind string) []cloudObject {
	f.t.Helper()
	var found []cloudObject
	f.admin("GET", "objects?kind="+kind, nil, &found)
	return found
}

// the returns the only object of a kind.
func (f *fake) the(kind string) cloudObject {
	f.t.Helper()
	found := f.objects(kind)
	if len(found) != 1 {
		f.t.Fatalf("there are %d objects of the kind %s, not one", len(found), kind)
	}
	return found[0]
}

// named returns the object of a kind that has a name, or a tag Name.
func (f *fake) named(kind, name string) cloudObject {
	f.t.Helper()
	for _, o := range f.objects(kind) {
		tags, _ := o.Body["tags"].(map[string]any)
		if o.Body["name"] == name || tags["Name"] == name {
			return o
		}
	}
	f.t.Fatalf("there is no %s %q", kind, name)
	return cloudObject{}
}

func (f *fake) change(id string, patch map[string]any) {
	f.t.Helper()
	f.admin("PATCH", "objects/"+id, patch, nil)
}

func (f *fake) fault(fault map[string]any) {
	f.t.Helper()
	f.admin("POST", "faults", fault, nil)
}

func (f *fake) audit(known ...string) (audit struct{ Leaked, Missing, Twins []string }) {
	f.t.Helper()
	f.admin("POST", "audit", append([]string{}, known...), &audit)
	return audit
}

// workspace is a folder with a module, and what tofu runs with.
type workspace struct {
	t       *testing.T
	program string
	dir     string
	env     []string
}

func newWorkspace(t *testing.T, f *fake) *workspace {
	t.Helper()
	home := t.TempDir()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(home, "tofurc")
	text := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(bin, "providers"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &workspace{t: t, program: filepath.Join(bin, "tofu"), dir: t.TempDir(), env: []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TF_IN_AUTOMATION=1", "TF_CLI_CONFIG_FILE=" + config,
		"FAKECLOUD_ENDPOINT=" + f.url, "FAKECLOUD_TOKEN=" + token,
	}}
}

func (w *workspace) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// module writes a module of one provider and of resources.
func (w *workspace) module(source, version, resources string) {
	w.t.Helper()
	w.write("main.tf", fmt.Sprintf("terraform {\n  required_providers {\n    cloud = {\n      source  = %q\n      version = %q\n    }\n  }\n}\n\n%s\n", "plumb-dev/"+source, version, resources))
}

// try runs tofu, and returns its output and its exit code.
func (w *workspace) try(args ...string) (string, int) {
	w.t.Helper()
	cmd := exec.Command(w.program, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
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

func (w *workspace) init() { w.t.Helper(); w.run("init", "-no-color", "-input=false") }
func (w *workspace) apply() {
	w.t.Helper()
	w.run("apply", "-no-color", "-input=false", "-auto-approve")
}

// refuse expects tofu to fail, and to say something.
func (w *workspace) refuse(saying string, args ...string) {
	w.t.Helper()
	out, code := w.try(args...)
	if code != 1 || !strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(out, "│", "")), " "), saying) {
		w.t.Fatalf("tofu %s: exit code %d, which should say %q\n%s", strings.Join(args, " "), code, saying, out)
	}
}

// change is one entry of a plan.
type change struct {
	Address  string
	Previous string `json:"previous_address"`
	Change   struct {
		Actions       []string
		Before, After map[string]any
		Importing     *struct{ ID string }
	}
}

func (w *workspace) changes() []change {
	w.t.Helper()
	w.run("plan", "-no-color", "-input=false", "-out=plan")
	var plan struct {
		Changes []change `json:"resource_changes"`
	}
	decoder := json.NewDecoder(strings.NewReader(w.run("show", "-json", "plan")))
	decoder.UseNumber()
	if err := decoder.Decode(&plan); err != nil {
		w.t.Fatal(err)
	}
	return plan.Changes
}

// plan returns what a plan would do, by address: create, update, delete,
// delete+create, and whether it moves or imports.
func (w *workspace) plan() map[string]string {
	w.t.Helper()
	actions := map[string]string{}
	for _, c := range w.changes() {
		action := strings.Join(c.Change.Actions, "+")
		if c.Previous != "" {
			action += " moved from " + c.Previous
		}
		if c.Change.Importing != nil {
			action += " imported"
		}
		if action != "no-op" && action != "read" {
			actions[c.Address] = action
		}
	}
	return actions
}

// expect expects a plan.
func (w *workspace) expect(want map[string]string) {
	w.t.Helper()
	if got := w.plan(); !maps.Equal(got, want) {
		w.t.Fatalf("the plan is %v, should be %v\n%s", got, want, w.run("show", "-no-color", "plan"))
	}
}

// ids returns the ids of all resources of the cloud in the state.
func (w *workspace) ids() []string {
	w.t.Helper()
	var state struct {
		Resources []struct {
			Mode, Type string
			Instances  []struct{ Attributes struct{ ID string } }
		}
	}
	if err := json.Unmarshal([]byte(w.run("state", "pull")), &state); err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, r := range state.Resources {
		if r.Mode != "managed" || !strings.HasPrefix(r.Type, "cloud_") {
			continue
		}
		for _, i := range r.Instances {
			ids = append(ids, i.Attributes.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// accounted expects the cloud to hold what the state holds, and nothing else.
func (w *workspace) accounted(f *fake) {
	w.t.Helper()
	if a := f.audit(w.ids()...); len(a.Leaked)+len(a.Missing) > 0 {
		w.t.Fatalf("the cloud and the state differ: %+v", a)
	}
}
