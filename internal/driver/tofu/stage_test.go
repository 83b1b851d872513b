package tofu_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/test/fakecloud"
)

const (
	owner    = driver.Owner("team/infra")
	patience = time.Minute
)

var theState = tofu.StateID{Namespace: "team", Name: "infra", Workspace: "default"}

// idempotent is a provider whose creations may be repeated.
const idempotent = providers + "provider \"cloud\" {\n  idempotent = true\n}\n"

// calm is a stage on which nothing is probed while a test looks.
func calm(t *testing.T) *stage {
	t.Helper()
	t.Parallel()
	s := newStage(t)
	t.Cleanup(func() {
		s.driver.Close()
		if _, err := os.Stat(s.driver.Temp()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", s.driver.Temp(), err)
		}
		if n := s.states.locked(); n > 0 {
			t.Errorf("%d locks are left", n)
		}
	})
	return s
}

// want is a module of one file.
func want(text string) driver.Desired {
	return driver.Desired{
		Target: target(owner), Bundle: module(map[string]string{"main.tf": text}),
		Drift: &v1alpha1.DriftPolicy{Interval: "1h"},
	}
}

func (s *stage) compare(d driver.Desired) driver.Comparison {
	s.t.Helper()
	c, err := s.driver.Compare(context.Background(), d)
	if err != nil {
		s.t.Fatalf("compare: %v", err)
	}
	return c
}

// order starts an apply; what it returns waits for what becomes of the steps.
func (s *stage) order(a driver.Apply) (await func() map[string]driver.Result) {
	s.t.Helper()
	var mu sync.Mutex
	got := map[string]driver.Result{}
	all := make(chan struct{})
	s.driver.Apply(context.Background(), a, func(r driver.Result) {
		mu.Lock()
		defer mu.Unlock()
		name := r.Step.Change.Target().Name
		if _, twice := got[name]; twice {
			s.t.Errorf("%s is reported twice", name)
		}
		if got[name] = r; len(got) == len(a.Steps) {
			close(all)
		}
	})
	return func() map[string]driver.Result {
		s.t.Helper()
		select {
		case <-all:
		case <-time.After(patience):
			s.t.Fatalf("not all steps are reported after %s", patience)
		}
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// apply applies steps, all of the plan where none are named.
func (s *stage) apply(d driver.Desired, c driver.Comparison, prune bool, names ...string) map[string]driver.Result {
	s.t.Helper()
	a := driver.Apply{Desired: d, Operation: "op", Steps: c.Plan.Steps, Prune: prune}
	if len(names) > 0 {
		a.Partial = true
		a.Steps = slices.DeleteFunc(slices.Clone(a.Steps), func(st plan.Step) bool { return !slices.Contains(names, st.Change.Target().Name) })
	}
	return s.order(a)()
}

// sync makes a module true.
func (s *stage) sync(d driver.Desired) {
	s.t.Helper()
	s.good(s.apply(d, s.compare(d), true))
	s.inSync(d)
}

func (s *stage) good(results map[string]driver.Result) {
	s.t.Helper()
	for name, r := range results {
		if r.Problem != nil {
			s.t.Fatalf("%s: %s: %s", name, r.Problem.Reason, r.Problem.Message)
		}
	}
}

// all checks that every step has a problem that says so.
func (s *stage) all(results map[string]driver.Result, reason string, says ...string) {
	s.t.Helper()
	for name, r := range results {
		s.problem(name, r, reason, says...)
	}
}

func (s *stage) problem(name string, r driver.Result, reason string, says ...string) {
	s.t.Helper()
	if r.Problem == nil || r.Problem.Reason != reason {
		s.t.Errorf("%s: %+v %q, should be %s", name, r.Problem, r.Message, reason)
		return
	}
	for _, text := range says {
		if !strings.Contains(r.Problem.Message, text) {
			s.t.Errorf("%s: %q does not say %q", name, r.Problem.Message, text)
		}
	}
}

func (s *stage) inSync(d driver.Desired) {
	s.t.Helper()
	s.planned(d)
}

// planned compares until no apply is under way, and checks the plan.
func (s *stage) planned(d driver.Desired, want ...string) driver.Comparison {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		c := s.compare(d)
		if progressing(c) && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		got := steps(c)
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			s.t.Fatalf("the plan is %q, should be %q", got, want)
		}
		return c
	}
}

func progressing(c driver.Comparison) bool {
	return slices.ContainsFunc(c.Resources, func(r driver.Resource) bool { return r.Health.Status == health.Progressing })
}

func steps(c driver.Comparison) []string {
	var all []string
	for _, st := range c.Plan.Steps {
		all = append(all, string(st.Change.Action())+" "+st.Change.Target().Name)
	}
	slices.Sort(all)
	return all
}

// accounted checks that the state knows exactly what exists, and that nothing was
// made twice.
func (s *stage) accounted() {
	s.t.Helper()
	s.states.mu.Lock()
	ids := idsOf(s.t, s.states.states[theState])
	s.states.mu.Unlock()
	if a := s.cloud.Audit(ids...); !a.Clean() {
		s.t.Errorf("the cloud and the state differ: %s", a)
	}
}

// idsOf are the ids of the cloud's objects in a state.
func idsOf(t testing.TB, state []byte) []string {
	t.Helper()
	if len(state) == 0 {
		return nil
	}
	var doc struct {
		Resources []struct {
			Mode, Type string
			Instances  []struct{ Attributes struct{ ID string } }
		}
	}
	if err := json.Unmarshal(state, &doc); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range doc.Resources {
		for _, i := range r.Instances {
			if r.Mode == "managed" && strings.HasPrefix(r.Type, "cloud_") {
				ids = append(ids, i.Attributes.ID)
			}
		}
	}
	return ids
}

func (s *stage) inject(f fakecloud.Fault) {
	s.t.Helper()
	if err := s.cloud.Inject(f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) hang(op string) {
	s.t.Helper()
	s.inject(fakecloud.Fault{Op: op, Action: fakecloud.Hang, Times: -1})
}

func (s *stage) struck() {
	s.t.Helper()
	s.eventually("a fault strikes", func() bool { return s.cloud.Stats()["fault"] > 0 })
}

func (s *stage) eventually(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// said tells whether the program has said something.
func (s *stage) said(text string) bool {
	files, _ := filepath.Glob(filepath.Join(s.dir, "apps", "*", "run", "output", "*"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}

// serial has the state be of another serial.
func (s *stage) serial() {
	s.t.Helper()
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	text := string(s.states.states[theState])
	var n int
	if _, err := fmt.Sscanf(text[strings.Index(text, `"serial": `):], `"serial": %d`, &n); err != nil {
		s.t.Fatal(err)
	}
	s.states.states[theState] = []byte(strings.Replace(text, fmt.Sprintf(`"serial": %d`, n), fmt.Sprintf(`"serial": %d`, n+3), 1))
}

// vpc is the text of a resource that others may depend on.
func vpc(name, cidr, tag string) string {
	return fmt.Sprintf("resource \"cloud_vpc\" %q {\n  cidr_block = %q\n  tags = { Name = %q, value = %q }\n}\n", name, cidr, name, tag)
}

// subnet depends on a vpc.
func subnet(name, of string) string {
	return fmt.Sprintf("resource \"cloud_subnet\" %q {\n  vpc_id = cloud_vpc.%s.id\n  cidr_block = \"10.0.1.0/24\"\n  tags = { Name = %q }\n}\n", name, of, name)
}

// program is the process that works in the only folder.
func (s *stage) program() int {
	s.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.dir, "apps", "*", "run"))
	if err != nil || len(dirs) != 1 {
		s.t.Fatalf("folders: %v, %v", dirs, err)
	}
	rec, alive := run.Running(run.Folder{Path: dirs[0]})
	if !alive {
		s.t.Fatal("no program is running")
	}
	return rec.Program()
}

func signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
