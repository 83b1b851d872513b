package run_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/test/fakecloud"
)

// helperVariable makes the test binary a caller that can be killed.
const helperVariable = "PLUMB_TEST_HELPER"

// order is what a helper is to do.
type order struct {
	Folder run.Folder
	Config run.Config
}

func TestMain(m *testing.M) {
	if path := os.Getenv(helperVariable); path != "" {
		if err := help(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func help(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	r, err := run.Open(o.Folder, o.Config)
	if err != nil {
		return err
	}
	p, err := r.Plan(context.Background(), run.PlanOptions{})
	if err != nil {
		return err
	}
	return r.Apply(context.Background(), p, nil)
}

const slow = providers + `
resource "random_password" "it" {
  length = 20
}
resource "cloud_bucket" "one" {
  name = "one"
}
resource "cloud_secret" "two" {
  name  = cloud_bucket.one.name
  value = random_password.it.result
}
`

// hang makes the creation of a bucket hang until the cloud is healed.
func hang(b *bench) {
	b.t.Helper()
	if err := b.cloud.Inject(fakecloud.Fault{Op: "create", Kind: "bucket", Action: fakecloud.Hang}); err != nil {
		b.t.Fatal(err)
	}
}

// hanging waits until the program waits for the cloud.
func hanging(b *bench) *run.Record {
	b.t.Helper()
	var rec *run.Record
	until(b.t, "the creation of the bucket", func() bool {
		var alive bool
		rec, alive = run.Running(b.folder)
		return alive && rec.Operation == "apply" && b.cloud.Stats()["fault"] > 0
	})
	return rec
}

// complete checks that all is made, once, and known to the state.
func complete(b *bench, r *run.Runner) {
	b.t.Helper()
	if p := b.plan(r, run.PlanOptions{}); p.Changes {
		b.t.Errorf("there is something left to do: %+v", p.Plan.ResourceChanges)
	}
	list, err := r.List(b.t.Context())
	if err != nil || len(list) != 3 {
		b.t.Errorf("the state has %q, %v", list, err)
	}
	if n := len(b.cloud.Objects()); n != 2 {
		b.t.Errorf("the cloud has %d objects", n)
	}
}

// TestCallerKilled kills the caller of an apply: the program finishes, and the
// next caller reads how.
func TestCallerKilled(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": slow})
	path := filepath.Join(t.TempDir(), "order.json")
	text, err := json.Marshal(order{b.folder, b.config})
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	hang(b)
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperVariable+"="+path)
	helper.Stderr = os.Stderr
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	hanging(b)
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait()

	r := b.open()
	if _, err := r.Plan(t.Context(), run.PlanOptions{}); !errors.Is(err, run.ErrBusy) {
		t.Errorf("a plan beside the run: %v", err)
	}
	b.cloud.Heal()
	var events []run.Event
	out, err := r.Resume(t.Context(), func(e run.Event) { events = append(events, e) })
	if err != nil || out == nil || out.Err != nil || out.Record.Operation != "apply" {
		t.Fatalf("resume: %+v, %v", out, err)
	}
	if last := events[len(events)-1]; last.Address != "cloud_secret.two" || last.Status != run.Complete {
		t.Errorf("the last event: %+v", last)
	}
	if again, err := b.open().Resume(t.Context(), nil); again != nil || err != nil {
		t.Errorf("the outcome is told again: %+v, %v", again, err)
	}
	complete(b, r)
}

// TestDetach leaves a run to a later caller.
func TestDetach(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": slow})
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	hang(b)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { hanging(b); cancel(run.ErrDetached) }()
	if err := r.Apply(ctx, p, nil); !errors.Is(err, run.ErrDetached) {
		t.Fatalf("apply: %v", err)
	}
	if _, running := run.Running(b.folder); !running {
		t.Error("the program does not run any more")
	}
	b.cloud.Heal()
	out, err := b.open().Resume(t.Context(), nil)
	if err != nil || out == nil || out.Err != nil {
		t.Fatalf("resume: %+v, %v", out, err)
	}
	complete(b, r)
}

// TestCancel lets the program finish what it has begun, and no more.
func TestCancel(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": slow})
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	hang(b)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { hanging(b); cancel() }()
	err := r.Apply(ctx, p, nil)
	if run.KindOf(err) != run.KindCancelled || !errors.Is(err, context.Canceled) {
		t.Fatalf("apply: %v", err)
	}
	if _, running := run.Running(b.folder); running {
		t.Error("the program still runs")
	}
	b.cloud.Heal()
	b.apply(r, b.plan(r, run.PlanOptions{}), nil)
	complete(b, r)
}

// TestGrace kills a program that does not listen.
func TestGrace(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": ""})
	script := "#!/bin/sh\n[ \"$1\" = plan ] || exec " + b.config.Program + " \"$@\"\ntrap '' INT\nwhile :; do sleep 0.1; done\n"
	b.config.Program = filepath.Join(t.TempDir(), "tofu")
	if err := os.WriteFile(b.config.Program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b.config.Grace = 200 * time.Millisecond
	b.fence("")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		until(t, "the plan", func() bool {
			rec, alive := run.Running(b.folder)
			return alive && rec.Operation == "plan"
		})
		cancel()
	}()
	if _, err := b.open().Plan(ctx, run.PlanOptions{}); run.KindOf(err) != run.KindCancelled {
		t.Errorf("plan: %v", err)
	}
}

// backend is an http backend of OpenTofu that can be made to fail.
type backend struct {
	mu      sync.Mutex
	state   []byte
	lock    []byte
	failing bool
}

func (s *backend) fail(failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = failing
}

func (s *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	switch r.Method {
	case "LOCK":
		if s.lock != nil {
			w.WriteHeader(http.StatusLocked)
			_, _ = w.Write(s.lock)
			return
		}
		s.lock = body
	case "UNLOCK":
		s.lock = nil
	case http.MethodGet:
		if s.state == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		_, _ = w.Write(s.state)
	case http.MethodPost:
		if s.failing {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.state = body
	}
}

// withBackend gives the module an http backend.
func withBackend(b *bench) *backend {
	b.t.Helper()
	s := &backend{}
	server := httptest.NewServer(s)
	b.t.Cleanup(server.Close)
	b.write("backend.tf", "terraform {\n  backend \"http\" {}\n}\n")
	b.config.OwnBackend = true
	b.config.BackendConfig = map[string]string{}
	for _, name := range []string{"address", "lock_address", "unlock_address"} {
		b.config.BackendConfig[name] = fmt.Sprintf("%q", server.URL)
	}
	return s
}

// TestProgramKilled kills the program: the lock that it leaves is known as ours.
func TestProgramKilled(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": slow})
	s := withBackend(b)
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	hang(b)
	go func() { _ = syscall.Kill(hanging(b).Program(), syscall.SIGKILL) }()
	if err := r.Apply(t.Context(), p, nil); run.KindOf(err) != run.KindKilled {
		t.Fatalf("apply: %v", err)
	}
	b.cloud.Heal()
	_, err := r.Plan(t.Context(), run.PlanOptions{})
	var locked *run.LockedError
	if !errors.As(err, &locked) || run.KindOf(err) != run.KindLocked || locked.ID == "" || !strings.Contains(locked.Who, "@") || locked.Created.IsZero() {
		t.Fatalf("plan: %+v", err)
	}
	if !b.open().OwnLock(locked) {
		t.Errorf("the lock is not known as ours: %+v", locked)
	}
	if err := r.ForceUnlock(t.Context(), locked.ID); err != nil {
		t.Fatal(err)
	}
	b.apply(r, b.plan(r, run.PlanOptions{}), nil)
	complete(b, r)

	s.mu.Lock() // somebody else's
	s.lock = []byte(`{"ID":"0-1","Operation":"OperationTypeApply","Who":"ann@laptop","Version":"1.12.6","Created":"2026-01-02T03:04:05Z","Path":"x"}`)
	s.mu.Unlock()
	_, err = r.Plan(t.Context(), run.PlanOptions{})
	if !errors.As(err, &locked) || r.OwnLock(locked) || locked.Who != "ann@laptop" || locked.Operation != "Apply" || !strings.Contains(err.Error(), "since 2026-01-02T03:04:05Z") {
		t.Errorf("somebody else's lock: %v, %+v", err, locked)
	}
}

// TestRecover finds what an apply could not write to the backend.
func TestRecover(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": slow})
	s := withBackend(b)
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	s.fail(true)
	if err := r.Apply(t.Context(), p, nil); run.KindOf(err) != run.KindBackend {
		t.Errorf("apply: %v, kind %q", err, run.KindOf(err))
	}
	files, err := r.Unrecovered()
	if err != nil || len(files) != 1 {
		t.Fatalf("unrecovered: %q, %v", files, err)
	}
	if _, err := r.Plan(t.Context(), run.PlanOptions{}); run.KindOf(err) != run.KindBackend || !strings.Contains(fmt.Sprint(err), "could not be recovered") {
		t.Errorf("a plan without that state: %v", err)
	}
	s.fail(false)
	complete(b, b.open())
	if files, err := r.Unrecovered(); err != nil || len(files) != 0 {
		t.Errorf("unrecovered: %q, %v", files, err)
	}
	kept, err := filepath.Glob(filepath.Join(b.folder.Path, "errored", "recovered", "*.tfstate"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept: %q, %v", kept, err)
	}
}

// TestForeignState leaves alone a state that the repository brings along.
func TestForeignState(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\n"})
	b.write("errored.tfstate", `{"version":4,"terraform_version":"1.12.6","serial":7,"lineage":"0-1","outputs":{},"resources":[]}`)
	r := b.open()
	b.apply(r, b.plan(r, run.PlanOptions{}), nil)
	if p := b.plan(r, run.PlanOptions{}); p.Lineage == "0-1" || p.Serial >= 7 {
		t.Errorf("the state is the repository's: %q, %d", p.Lineage, p.Serial)
	}
}

// TestCrash tells of a provider that dies, and leaves no process behind.
func TestCrash(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": slow})
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	if err := b.cloud.Inject(fakecloud.Fault{Op: "create", Kind: "bucket", Action: fakecloud.Crash}); err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), p, nil); run.KindOf(err) != run.KindProviderCrash {
		t.Errorf("apply: %v, kind %q", err, run.KindOf(err))
	}
	b.apply(r, b.plan(r, run.PlanOptions{}), nil)
	complete(b, r)
}

// TestStateTooNew reads a state of a program that does not exist yet.
func TestStateTooNew(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\n"})
	r := b.open()
	if err := os.WriteFile(b.folder.State(""), []byte(`{"version":5,"terraform_version":"99.0.0","serial":1,"lineage":"x","outputs":{},"resources":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Plan(t.Context(), run.PlanOptions{}); run.KindOf(err) != run.KindStateTooNew {
		t.Errorf("plan: %v, kind %q", err, run.KindOf(err))
	}
}

// TestWorkspace keeps the state of a workspace apart.
func TestWorkspace(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\noutput \"workspace\" {\n  value = terraform.workspace\n}\n"})
	b.config.Workspace = "staging"
	r := b.open()
	b.apply(r, b.plan(r, run.PlanOptions{}), nil)
	outputs, err := r.Outputs(t.Context())
	if err != nil || string(outputs["workspace"].Value) != `"staging"` {
		t.Errorf("outputs: %v, %v", outputs, err)
	}
	if _, err := os.Stat(b.folder.State("staging")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.folder.State("")); err == nil {
		t.Error("the default workspace has a state, too")
	}
}
