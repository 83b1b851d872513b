package kubestate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/kubestate"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/test/tofutest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// store is a store of an instance, closed at the end of the test.
func store(t *testing.T, instance string) *kubestate.Store {
	t.Helper()
	s, err := kubestate.New(kubetest.Config(t), instance)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// incompressible is a state of some size that packing does not make smaller.
func incompressible(t *testing.T, serial, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	_, err := rand.Read(b)
	must(t, err)
	return fmt.Appendf(nil, `{"version":4,"serial":%d,"lineage":"l","outputs":{"x":{"value":%q,"type":"string"}}}`, serial, hex.EncodeToString(b))
}

func secrets(t *testing.T, namespace string) []string {
	t.Helper()
	list, err := client(t).CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

func TestSaveLoadDelete(t *testing.T) {
	s, ctx := store(t, "one"), t.Context()
	for name, size := range map[string]int{"small": 100, "large": 5 << 19} {
		t.Run(name, func(t *testing.T) {
			ns := kubetest.Namespace(t)
			id := tofu.StateID{Namespace: ns, Name: "infra", Workspace: "default"}
			got, err := s.Load(ctx, id)
			if err != nil || got != nil {
				t.Fatalf("there is a state before one was saved: %q, %v", got, err)
			}
			for serial := range 3 {
				want := incompressible(t, serial, size)
				must(t, s.Save(ctx, id, want))
				must(t, s.Save(ctx, id, want)) // again, without harm
				if got, err := s.Load(ctx, id); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("serial %d: %d bytes instead of %d, %v", serial, len(got), len(want), err)
				}
			}
			other := tofu.StateID{Namespace: ns, Name: "infra", Workspace: "blue"}
			if got, err := s.Load(ctx, other); err != nil || got != nil {
				t.Errorf("another workspace has the state: %d bytes, %v", len(got), err)
			}
			if n := len(secrets(t, ns)); n > 1+size/900_000 {
				t.Errorf("%d Secrets for one state: parts are left", n)
			}
			must(t, s.Save(ctx, id, []byte(`{"version":4}`)))
			if names := secrets(t, ns); !slices.Equal(names, []string{"tfstate-default-infra"}) {
				t.Errorf("parts of what was large are left: %v", names)
			}
			must(t, s.Lock(ctx, id, lockOf("a")))
			must(t, s.Unlock(ctx, id, "a"))
			must(t, s.Delete(ctx, id))
			must(t, s.Delete(ctx, id))
			leases, err := client(t).CoordinationV1().Leases(ns).List(ctx, metav1.ListOptions{})
			if err != nil || len(leases.Items) > 0 || len(secrets(t, ns)) > 0 {
				t.Errorf("left: %v, %v, %v", secrets(t, ns), leases.Items, err)
			}
		})
	}
	err := s.Save(ctx, tofu.StateID{Namespace: "default", Name: strings.Repeat("a", 250), Workspace: "default"}, nil)
	if err == nil || !strings.Contains(err.Error(), "can't be kept in a Secret named") {
		t.Errorf("a name that is too long: %v", err)
	}
}

// TestPartsOfABrokenUpdate are gone after the next one.
func TestPartsOfABrokenUpdate(t *testing.T) {
	s, id := store(t, "one"), tofu.StateID{Namespace: kubetest.Namespace(t), Name: "infra", Workspace: "default"}
	must(t, s.Save(t.Context(), id, incompressible(t, 1, 5<<19)))
	sum := 0
	for _, name := range secrets(t, id.Namespace) {
		if !strings.Contains(name, "-part-2-") {
			continue
		}
		part, err := client(t).CoreV1().Secrets(id.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		must(t, err)
		part.ObjectMeta = metav1.ObjectMeta{Name: "tfstate-default-infra-part-2-ffffffff", Namespace: id.Namespace, Labels: part.Labels}
		_, err = client(t).CoreV1().Secrets(id.Namespace).Create(t.Context(), part, metav1.CreateOptions{})
		must(t, err)
		sum++
	}
	if sum != 1 {
		t.Fatalf("there are %d second parts", sum)
	}
	want := incompressible(t, 2, 5<<19)
	must(t, store(t, "one").Save(t.Context(), id, want)) // by the next process
	if n := len(secrets(t, id.Namespace)); n != 3 {
		t.Errorf("there are %d Secrets: %v", n, secrets(t, id.Namespace))
	}
	if got, err := s.Load(t.Context(), id); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the state is another one: %v", err)
	}
	must(t, s.Delete(t.Context(), id))
}

// TestWholeAtAnyInstant reads while a large state is replaced again and again.
func TestWholeAtAnyInstant(t *testing.T) {
	s, id := store(t, "one"), tofu.StateID{Namespace: kubetest.Namespace(t), Name: "infra", Workspace: "default"}
	states := map[string]bool{}
	var saved [][]byte
	for serial := range 4 {
		saved = append(saved, incompressible(t, serial, 3<<19))
		states[string(saved[serial])] = true
	}
	must(t, s.Save(t.Context(), id, saved[0]))
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	loads := make([]int, 2)
	for i := range loads {
		readers.Go(func() {
			for ctx.Err() == nil {
				got, err := s.Load(ctx, id)
				switch {
				case ctx.Err() != nil:
				case err != nil:
					t.Errorf("read while it is written: %v", err)
				case !states[string(got)]:
					t.Errorf("a state that nobody has saved, of %d bytes", len(got))
				default:
					loads[i]++
				}
			}
		})
	}
	for round := range 12 {
		must(t, s.Save(t.Context(), id, saved[round%len(saved)]))
	}
	cancel()
	readers.Wait()
	if loads[0] == 0 || loads[1] == 0 {
		t.Errorf("nothing was read meanwhile: %v", loads)
	}
}

func lockOf(id string) tofu.Lock {
	return tofu.Lock{ID: id, Who: "plumb@test", Operation: "apply", Created: time.Now().UTC().Truncate(time.Second)}
}

func TestLocks(t *testing.T) {
	ctx := t.Context()
	s, other := store(t, "one"), store(t, "two")
	id := tofu.StateID{Namespace: kubetest.Namespace(t), Name: "infra", Workspace: "default"}
	refused := func(by *kubestate.Store, reason string) {
		t.Helper()
		err := by.Lock(ctx, id, lockOf("b"))
		var locked *tofu.LockedError
		if !errors.As(err, &locked) || locked.ID != "a" || locked.Who != "plumb@test" || time.Since(locked.Created) > time.Hour {
			t.Fatalf("%s: %v", reason, err)
		}
	}
	must(t, s.Lock(ctx, id, lockOf("a")))
	refused(other, "another instance holds it")
	refused(s, "another run of this instance holds it")
	if err := other.Unlock(ctx, id, "b"); !errors.Is(err, tofu.ErrNotHeld) {
		t.Errorf("who does not hold it gives it back: %v", err)
	}
	must(t, s.Unlock(ctx, id, "a"))
	must(t, s.Unlock(ctx, id, "a"))
	must(t, other.Lock(ctx, id, lockOf("b")))
	must(t, s.Unlock(ctx, id, "")) // by a person
	// An earlier process of the same instance has left it: it is taken at once.
	must(t, s.Lock(ctx, id, lockOf("a")))
	s.Close()
	next := store(t, "one")
	must(t, next.Lock(ctx, id, lockOf("c")))
	must(t, next.Unlock(ctx, id, "c"))
	// Another instance has left it: it is taken once it was not renewed for long.
	must(t, next.Lock(ctx, id, lockOf("a")))
	next.Close()
	refused(other, "it may still live")
	other.Later(10 * time.Minute)
	leases := client(t).CoordinationV1().Leases(id.Namespace)
	lease, err := leases.Get(ctx, "lock-tfstate-default-infra", metav1.GetOptions{})
	must(t, err)
	long := metav1.NewMicroTime(time.Now().Add(-10 * time.Minute))
	lease.Spec.RenewTime = &long
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	must(t, err)
	refused(other, "it was renewed, whatever time its owner's clock shows")
	other.Later(30 * time.Second)
	refused(other, "not for long")
	other.Later(61 * time.Second)
	must(t, other.Lock(ctx, id, lockOf("d")))
	must(t, other.Unlock(ctx, id, "d"))
}

// TestOneWins has many ask for the same lock at once.
func TestOneWins(t *testing.T) {
	id := tofu.StateID{Namespace: kubetest.Namespace(t), Name: "infra", Workspace: "default"}
	var all sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		s := store(t, fmt.Sprint("instance-", i))
		all.Go(func() {
			err := s.Lock(t.Context(), id, lockOf(fmt.Sprint(i)))
			var locked *tofu.LockedError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.As(err, &locked):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 {
		t.Errorf("%d hold the lock", won)
	}
}

// program is a folder in which the real program works with a state of ours.
type program struct {
	t   *testing.T
	bin string
	dir string
	env []string
}

func newProgram(t *testing.T, namespace, text string) *program {
	t.Helper()
	tools := tofutest.Get(t)
	p := &program{t: t, bin: tools.Tofu, dir: t.TempDir(), env: tools.Env(t)}
	backend := fmt.Sprintf("terraform {\n  backend \"kubernetes\" {\n    secret_suffix = \"infra\"\n    namespace = %q\n    config_path = %q\n  }\n}\n", namespace, kubetest.Kubeconfig(t))
	must(t, os.WriteFile(filepath.Join(p.dir, "main.tf"), []byte(backend+text), 0o600))
	p.ok("init", "-input=false", "-no-color")
	return p
}

func (p *program) run(args ...string) (string, error) {
	cmd := exec.CommandContext(p.t.Context(), p.bin, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *program) ok(args ...string) string {
	p.t.Helper()
	out, err := p.run(args...)
	if err != nil {
		p.t.Fatalf("tofu %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestWithTheProgram shares a state, and its lock, with OpenTofu itself.
func TestWithTheProgram(t *testing.T) {
	ctx, ns := t.Context(), kubetest.Namespace(t)
	s, id := store(t, "one"), tofu.StateID{Namespace: ns, Name: "infra", Workspace: "default"}
	// It reads what we have saved.
	ours := []byte(`{"version":4,"terraform_version":"1.12.6","serial":7,"lineage":"11111111-2222-3333-4444-555555555555","outputs":{"x":{"value":"ours","type":"string"}},"resources":[],"check_results":null}`)
	must(t, s.Save(ctx, id, ours))
	p := newProgram(t, ns, "variable \"x\" {\n  default = \"theirs\"\n}\noutput \"x\" {\n  value = var.x\n}\nresource \"terraform_data\" \"it\" {\n  input = var.x\n}\n")
	if out := p.ok("output", "-raw", "x"); out != "ours" {
		t.Errorf("it reads %q", out)
	}
	// We read what it has saved.
	p.ok("apply", "-auto-approve", "-input=false", "-no-color")
	got, err := s.Load(ctx, id)
	if err != nil || !strings.Contains(string(got), `"theirs"`) || !strings.Contains(string(got), "11111111-2222-3333-4444-555555555555") {
		t.Errorf("we read %s, %v", got, err)
	}
	// It takes what we save then, also where it had written the Secret.
	must(t, s.Save(ctx, id, got))
	p.ok("plan", "-detailed-exitcode", "-input=false", "-no-color")
	// Our lock keeps it away, and says whose it is.
	must(t, s.Lock(ctx, id, lockOf("0a1b2c3d")))
	out, err := p.run("plan", "-input=false", "-no-color")
	if err == nil || !strings.Contains(out, "0a1b2c3d") || !strings.Contains(out, "plumb@test") {
		t.Errorf("our lock does not keep it away: %v\n%s", err, out)
	}
	must(t, s.Unlock(ctx, id, "0a1b2c3d"))
	p.ok("plan", "-input=false", "-no-color")
	theirs(t, s, p, id)
}

// theirs looks at the program's own lock.
func theirs(t *testing.T, s *kubestate.Store, p *program, id tofu.StateID) {
	t.Helper()
	ctx := t.Context()
	// A provisioner holds it up for as long as a file is there.
	wait := filepath.Join(p.dir, "wait")
	must(t, os.WriteFile(wait, nil, 0o600))
	text := fmt.Sprintf("resource \"terraform_data\" \"slow\" {\n  provisioner \"local-exec\" {\n    command = \"while [ -e %s ]; do sleep 0.05; done\"\n  }\n}\n", wait)
	must(t, os.WriteFile(filepath.Join(p.dir, "slow.tf"), []byte(text), 0o600))
	applied := make(chan error, 1)
	go func() {
		out, err := p.run("apply", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=1m") // it may meet our own attempts
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		applied <- err
	}()
	var locked *tofu.LockedError
	for deadline := time.Now().Add(time.Minute); ; {
		err := s.Lock(ctx, id, lockOf("f00"))
		if errors.As(err, &locked) {
			break
		}
		must(t, err)
		must(t, s.Unlock(ctx, id, "f00"))
		select {
		case err := <-applied:
			t.Fatalf("it has ended before it was to: %v", err)
		case <-time.After(500 * time.Millisecond): // time for it to get the lock
		}
		if time.Now().After(deadline) {
			t.Fatal("its lock does not keep us away")
		}
	}
	if locked.Who == "" || !strings.Contains(locked.Operation, "Apply") || time.Since(locked.Created) > time.Hour {
		t.Errorf("who holds its lock: %+v", locked.Lock)
	}
	must(t, os.Remove(wait))
	must(t, <-applied)
	must(t, s.Lock(ctx, id, lockOf("f00")))
	must(t, s.Unlock(ctx, id, "f00"))
}

// TestOneNameTwoStates has two workspaces and names make one name of a Secret: each
// keeps away from the other's state and lock.
func TestOneNameTwoStates(t *testing.T) {
	ctx, s, ns := t.Context(), store(t, "one"), kubetest.Namespace(t)
	shop := tofu.StateID{Namespace: ns, Name: "shop-prod", Workspace: "default"}
	thief := tofu.StateID{Namespace: ns, Name: "prod", Workspace: "default-shop"}
	must(t, s.Save(ctx, shop, []byte(`{"version":4,"serial":1,"lineage":"l"}`)))
	if got, err := s.Load(ctx, thief); err == nil {
		t.Errorf("another Application reads the state: %q", got)
	}
	if s.Save(ctx, thief, []byte("{}")) == nil {
		t.Error("another Application replaces the state")
	}
	if s.Delete(ctx, thief) == nil {
		t.Error("another Application removes the state")
	}
	must(t, s.Lock(ctx, shop, lockOf("a")))
	if s.Unlock(ctx, thief, "") == nil {
		t.Error("another Application takes the lock away")
	}
	must(t, s.Unlock(ctx, shop, "a"))
	if s.Lock(ctx, thief, lockOf("b")) == nil {
		t.Error("another Application takes the lock")
	}
}

// TestLockOfAPerson takes no lock of somebody who works with OpenTofu itself, after
// he has released one of ours.
func TestLockOfAPerson(t *testing.T) {
	ctx, s := t.Context(), store(t, "one")
	id := tofu.StateID{Namespace: kubetest.Namespace(t), Name: "infra", Workspace: "default"}
	must(t, s.Lock(ctx, id, lockOf("a")))
	leases := client(t).CoordinationV1().Leases(id.Namespace)
	lease, err := leases.Get(ctx, "lock-tfstate-default-infra", metav1.GetOptions{})
	must(t, err)
	// As its backend does at force-unlock, and then at lock.
	theirs := "their-lock"
	lease.Spec.HolderIdentity = &theirs
	lease.Annotations["app.terraform.io/lock-info"] = `{"ID":"their-lock","Who":"alice@laptop"}`
	long := metav1.NewMicroTime(time.Now().Add(-10 * time.Minute))
	lease.Spec.RenewTime = &long
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	must(t, err)
	s.Close()
	for who, by := range map[string]*kubestate.Store{"the same instance": store(t, "one"), "another": store(t, "two")} {
		var locked *tofu.LockedError
		if err := by.Lock(ctx, id, lockOf("b")); !errors.As(err, &locked) || locked.Who != "alice@laptop" {
			t.Fatalf("%s: %v", who, err)
		}
	}
}

// TestSaveWithoutLock does not save over what somebody else has made, to whom the
// lock has gone.
func TestSaveWithoutLock(t *testing.T) {
	ctx, s := t.Context(), store(t, "one")
	id := tofu.StateID{Namespace: kubetest.Namespace(t), Name: "infra", Workspace: "default"}
	must(t, s.Lock(ctx, id, lockOf("a")))
	must(t, s.Save(ctx, id, []byte(`{"version":4,"serial":1}`)))
	other := store(t, "two")
	must(t, other.Unlock(ctx, id, "")) // by a person, or since we were away for long
	must(t, other.Lock(ctx, id, lockOf("b")))
	must(t, other.Save(ctx, id, []byte(`{"version":4,"serial":2}`)))
	if err := s.Save(ctx, id, []byte(`{"version":4,"serial":3}`)); !errors.Is(err, tofu.ErrNotHeld) {
		t.Errorf("whoever has lost the lock saves: %v", err)
	}
	got, err := other.Load(ctx, id)
	if err != nil || !strings.Contains(string(got), `"serial":2`) {
		t.Errorf("the state is %s, %v", got, err)
	}
}
