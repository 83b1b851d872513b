package tofu_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/render"
)

const runsAProgram = "resource \"terraform_data\" \"it\" {\n  provisioner \"local-exec\" {\n    command = \"true\"\n  }\n}\n"

// TestHiddenFiles has a module hide what it does in files that are named as the one
// by which a run keeps the state where Plumb wants it.
func TestHiddenFiles(t *testing.T) {
	s := calm(t)
	for name, tc := range map[string]struct {
		reason string
		files  map[string]string
	}{
		"Longer":    {"a run does not replace it", map[string]string{"main.tf": "", "plumb_backend_override.x.tf": runsAProgram}},
		"Called":    {"no run writes one into a called module", map[string]string{"main.tf": "module \"m\" {\n  source = \"./m\"\n}\n", "m/plumb_backend_override.tf": runsAProgram}},
		"Backend":   {"the state would be elsewhere", map[string]string{"main.tf": "", "plumb_backend_override.x.tf": "terraform {\n  backend \"local\" {\n    path = \"/tmp/elsewhere\"\n  }\n}\n"}},
		"Not ours":  {"it is only declared where the program looks first", map[string]string{"main.tf": "", "plumb_backend_override.tf.json": `{"resource": {"terraform_data": {"it": {"provisioner": {"local-exec": {"command": "true"}}}}}}`}},
		"Also ours": {"a run replaces it, but nobody needs it", map[string]string{"main.tf": "", "plumb_backend_override.tofu": runsAProgram}},
	} {
		d := want("")
		d.Bundle = module(tc.files)
		_, err := s.driver.Compare(context.Background(), d)
		var refused *driver.RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %s, and it is not refused: %v", name, tc.reason, err)
		}
	}
}

// TestFailureStays does not fall back to what was known before, where it can't be
// known any more.
func TestFailureStays(t *testing.T) {
	s := calm(t)
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1"))
	s.sync(d)
	s.states.fail(errors.New("the store is gone"))
	fresh := d
	fresh.Fresh = true
	if _, err := s.driver.Compare(context.Background(), fresh); err == nil {
		t.Fatal("it can be compared without a store")
	}
	s.driver.Forgive(owner) // the pause is over
	if c, err := s.driver.Compare(context.Background(), d); err == nil {
		t.Errorf("without a store it is said to be in sync: %+v", c.Resources)
	}
	s.states.fail(nil)
	s.driver.Forgive(owner)
	s.inSync(d)
}

// TestOtherPlan applies no plan that was made after the one that was shown.
func TestOtherPlan(t *testing.T) {
	s := calm(t)
	old := vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1")
	s.sync(want(idempotent + old))
	d := want(idempotent + vpc("a", "10.0.0.0/16", "2") + vpc("b", "10.1.0.0/16", "1"))
	c := s.planned(d, "update cloud_vpc.a")
	world{s.cloud}.Edit(t, object("cloud_vpc", "b", "").Ref, "theirs")
	full := d
	full.Full = true
	if got := steps(s.compare(full)); len(got) != 2 {
		t.Fatalf("the preview is %q", got)
	}
	s.good(s.apply(d, c, false))
	if v, _ := (world{s.cloud}).Value(t, object("cloud_vpc", "b", "").Ref); v != "theirs" {
		t.Error("a plan was applied that was not the one that was shown")
	}
	s.good(s.apply(d, s.planned(d, "update cloud_vpc.b"), false)) // what the preview saw is looked at
	s.inSync(d)
}

// TestKeptSecrets masks what was decrypted on the way from Git also where only what
// was kept of the module is there, and destroys with the credentials of last.
func TestKeptSecrets(t *testing.T) {
	s := calm(t)
	const canary = "canary-decrypted-K3x9"
	d := want(idempotent + vpc("a", "10.0.0.0/16", canary))
	d.Bundle.Secrets = render.NewTexts([]string{canary})
	with := func(token string) driver.Desired {
		out, m := d, *d.Bundle.Module
		m.Env = map[string]render.Value{"CLOUD_PASSWORD": secret(token)}
		out.Bundle.Module = &m
		return out
	}
	s.sync(with("token-of-then"))
	s.inSync(with("token-of-now"))
	kept, err := filepath.Glob(filepath.Join(s.dir, "apps", "*", "module.json"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if text, err := os.ReadFile(kept[0]); err != nil || !strings.Contains(string(text), "token-of-now") {
		t.Errorf("it would be destroyed with credentials of the past: %v", err)
	}
	held := heldBy(s.compare(d))
	s.driver.Close()
	s.start()
	gone := driver.Desired{Target: d.Target, Deleting: true, Inventory: held}
	c := s.compare(gone)
	if text, err := json.Marshal(c); err != nil || strings.Contains(string(text), canary) {
		t.Errorf("what was decrypted is shown once Git is away: %s %v", text, err)
	}
	s.good(s.apply(gone, c, true))
	s.compare(gone)
}

func heldBy(c driver.Comparison) []driver.Held {
	var held []driver.Held
	for _, r := range c.Resources {
		held = append(held, r.Held)
	}
	return held
}

// TestLostState makes nothing a second time because the state of the first is not
// where it was.
func TestLostState(t *testing.T) {
	s := calm(t)
	text := providers + vpc("a", "10.0.0.0/16", "1")
	d := want(text)
	s.sync(d)
	d.Inventory = heldBy(s.compare(d))
	elsewhere := want(text + "terraform {\n  backend \"local\" {\n    path = \"other.tfstate\"\n  }\n}\n")
	elsewhere.Inventory = d.Inventory
	workspace := d
	m := *d.Bundle.Module
	m.Options.Workspace = "other"
	workspace.Bundle.Module = &m
	for name, other := range map[string]driver.Desired{"a backend of its own": elsewhere, "another workspace": workspace} {
		c, err := s.driver.Compare(context.Background(), other)
		if err == nil {
			t.Errorf("%s, without a state: %q", name, steps(c))
		} else if !strings.Contains(err.Error(), "plumb state push") {
			t.Errorf("%s: the error does not say what to do: %v", name, err)
		}
	}
	d.Fresh = true
	s.inSync(d)
	s.states.mu.Lock()
	kept := s.states.states[theState]
	delete(s.states.states, theState)
	s.states.mu.Unlock()
	if c, err := s.driver.Compare(context.Background(), d); err == nil {
		t.Errorf("somebody has removed the state: %q", steps(c))
	}
	s.states.mu.Lock()
	s.states.states[theState] = kept
	s.states.mu.Unlock()
	s.inSync(d)
	s.accounted()
}

// TestOneStateEach gives no two Applications the same state.
func TestOneStateEach(t *testing.T) {
	seen := map[tofu.StateID]driver.Owner{}
	for _, o := range []driver.Owner{
		"team/x", "argoproj.io/team/x", "team/x.argoproj.io", "argoproj.io/team/x.argoproj.io", "team/x.argoproj.io.plumb.dev", "team/x.plumb.dev",
		"team/x.plumb.dev.plumb.dev", "team/x.argoproj.io.argoproj.io",
	} {
		id := tofu.StateOf(o, "")
		if other, taken := seen[id]; taken {
			t.Errorf("%s and %s have one state, %v", o, other, id)
		}
		seen[id] = o
	}
}

// TestDiverged keeps the state that somebody else has saved meanwhile, also where
// the one that a run has left counts further; and saves the one of a run where all
// that is known of the one in the store is that it may have been saved.
func TestDiverged(t *testing.T) {
	s := calm(t)
	d := want(providers + vpc("a", "10.0.0.0/16", "1"))
	s.sync(d)
	files, err := filepath.Glob(filepath.Join(s.dir, "apps", "*", "run", "state", "terraform.tfstate"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), `"serial": `)
	end := at + strings.Index(string(text[at:]), ",")
	numbered := func(n string) []byte { return []byte(string(text[:at]) + `"serial": ` + n + string(text[end:])) }
	leave := func(local, stored string) {
		t.Helper()
		if err := os.WriteFile(files[0], numbered(local), 0o600); err != nil {
			t.Fatal(err)
		}
		s.states.mu.Lock()
		defer s.states.mu.Unlock()
		s.states.states[theState] = numbered(stored)
	}
	serial := func() string {
		s.states.mu.Lock()
		defer s.states.mu.Unlock()
		text := string(s.states.states[theState])
		text = text[strings.Index(text, `"serial": `)+len(`"serial": `):]
		return text[:strings.Index(text, ",")]
	}
	d.Fresh = true
	leave("90", "80")
	s.inSync(d)
	if got := serial(); got != "80" {
		t.Errorf("what somebody else has saved is replaced by serial %s", got)
	}
	if aside, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*", "aside", "*-diverged.tfstate")); len(aside) != 1 {
		t.Errorf("what the run has left is gone: %v", aside)
	}
	// Saves that were tried, and may have been made.
	leave("101", "80")
	s.states.fail(errors.New("the store is gone"))
	d.Fresh = true
	if _, err := s.driver.Compare(context.Background(), d); err == nil {
		t.Error("it can be compared without a store")
	}
	s.driver.Tried(owner, numbered("100"))
	s.driver.Tried(owner, numbered("101"))
	s.states.fail(nil)
	leave("102", "100")
	s.inSync(d)
	if got := serial(); got != "102" {
		t.Errorf("what the run has left is not saved, but serial %s", got)
	}
}

// TestPathOfItsOwn lets an Application not choose where programs are looked for.
func TestPathOfItsOwn(t *testing.T) {
	s := calm(t)
	d := want("")
	m := *d.Bundle.Module
	m.Env = map[string]render.Value{"PATH": {JSON: []byte(`"bin"`)}}
	d.Bundle.Module = &m
	_, err := s.driver.Compare(context.Background(), d)
	var refused *driver.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "PATH") {
		t.Errorf("it may: %v", err)
	}
}

// TestPruneOfAllChosen destroys nothing where pruning is off, also where all that
// the plan does was chosen by name.
func TestPruneOfAllChosen(t *testing.T) {
	s := calm(t)
	s.sync(want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.1.0.0/16", "1")))
	d := want(idempotent + vpc("a", "10.0.0.0/16", "1") + vpc("b", "10.2.0.0/16", "1"))
	s.all(s.apply(d, s.planned(d, "replace cloud_vpc.b"), false, "cloud_vpc.b"), "PruneRequired", "pruning is off")
	s.good(s.apply(d, s.planned(d, "replace cloud_vpc.b"), true, "cloud_vpc.b"))
	s.inSync(d)
	s.accounted()
}

// TestPastSecret masks a secret that has been replaced by another for as long as
// the state holds it, also after a restart.
func TestPastSecret(t *testing.T) {
	s := calm(t)
	d := want(idempotent + "variable \"secret\" {}\n" + strings.ReplaceAll(vpc("a", "10.0.0.0/16", "TAG"), `"TAG"`, "var.secret") + "output \"url\" {\n  value = \"https://me:${var.secret}@db\"\n}\n")
	with := func(text, value string) driver.Desired {
		out, m := d, *d.Bundle.Module
		if text != "" {
			out = want(text)
			m = *out.Bundle.Module
		}
		m.Variables = map[string]render.Value{"secret": secret(value)}
		out.Bundle.Module = &m
		return out
	}
	s.sync(with("", canaryVar))
	rotated := with("", "another-secret")
	for _, restarted := range []bool{false, true} {
		if restarted {
			s.driver.Close()
			s.start()
		}
		c := s.compare(rotated)
		if v := c.Outputs["url"]; !v.Sensitive {
			t.Errorf("restarted %v: the output that holds the secret of before is taken for plain", restarted)
		}
		c.Outputs = nil
		if text, err := json.Marshal(c); err != nil || len(leaks(string(text))) > 0 {
			t.Errorf("restarted %v: the secret of before is shown: %s %v", restarted, text, err)
		}
	}
	removed := with(idempotent+"variable \"secret\" {}\n", "another-secret")
	if text, err := json.Marshal(s.compare(removed)); err != nil || len(leaks(string(text))) > 0 {
		t.Errorf("the secret of before is shown of what is to be destroyed: %s %v", text, err)
	}
}
