package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/module"
	"github.com/plumb-dev/plumb/test/fakecloud"
	"github.com/plumb-dev/plumb/test/tofutest"
)

const twoThings = `
terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}
provider "cloud" {
  max_retries = 0
}
resource "cloud_thing" "a" {
  name   = "a"
  secret = "configured-canary"
}
resource "cloud_thing" "b" {
  name = "b"
}
`

func twoThingsIn(t *testing.T) *workspace {
	t.Helper()
	w := newWorkspace(t, map[string]string{"main.tf": twoThings})
	w.apply()
	return w
}

// clock is set by a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func pids(p *probe.Prober) []string {
	var all []string
	for _, info := range p.Processes() {
		all = append(all, info.Pid)
	}
	return all
}

// runs tells whether a process does.
func runs(pid string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func wantSame(t *testing.T, r probe.Report, n int) {
	t.Helper()
	if !r.Same() || len(r.Results) != n {
		t.Fatalf("not all of %d is the same: %+v", n, r)
	}
}

func wantUnknown(t *testing.T, r probe.Report, cause probe.Cause) {
	t.Helper()
	for _, result := range r.Results {
		if result.Verdict != probe.Unknown || result.Cause != cause || result.Reason == "" {
			t.Fatalf("%s is %s because %s (%s); want unknown because %s", result.Address, result.Verdict, result.Cause, result.Reason, cause)
		}
		if strings.Contains(result.Reason, "canary") || strings.Contains(result.Reason, tofutest.Token) {
			t.Fatalf("the reason holds a secret: %s", result.Reason)
		}
	}
}

func TestWarm(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	s := w.subject(p)
	wantSame(t, check(t, s), 2)
	first := pids(p)
	wantSame(t, check(t, s), 2)
	wantSame(t, check(t, w.subject(p)), 2)
	if again := pids(p); len(first) != 1 || !slices.Equal(first, again) {
		t.Errorf("processes were %v, then %v", first, again)
	}
	if bare := w.cloud.Stats()["read/bare"]; bare > 0 {
		t.Errorf("%d reads came without private data", bare)
	}
	for _, e := range w.cloud.Log(0) {
		if e.By == "api" && e.Op != "create" {
			t.Errorf("a check changed something: %+v", e)
		}
	}
}

// Two Applications with one configuration share a process, others do not.
func TestShared(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	wantSame(t, check(t, w.subject(p)), 2)
	other := *w
	other.dir = t.TempDir()
	if err := os.CopyFS(other.dir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	wantSame(t, check(t, other.subject(p)), 2)
	if n := len(p.Processes()); n != 1 {
		t.Errorf("%d processes", n)
	}
	own := newProber(t, probe.Options{Folderless: []string{}})
	wantSame(t, check(t, w.subject(own)), 2)
	wantSame(t, check(t, other.subject(own)), 2)
	if n := len(own.Processes()); n != 2 {
		t.Errorf("%d processes of a provider that may read files", n)
	}
}

func TestEpoch(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	wantSame(t, check(t, w.subject(p)), 2)
	first := pids(p)
	target := w.target()
	target.Epoch = "2"
	s, err := p.Subject(target)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, check(t, s), 2)
	if second := pids(p); len(second) != 2 || slices.Index(second, first[0]) < 0 {
		t.Errorf("processes were %v, then %v", first, second)
	}
}

func TestWrongCredentials(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	target := w.target()
	target.Env = append(slices.Clone(target.Env), "FAKECLOUD_TOKEN=wrong-canary")
	s, err := p.Subject(target)
	if err != nil {
		t.Fatal(err)
	}
	wantUnknown(t, check(t, s), probe.Failed)
	wantSame(t, check(t, w.subject(p)), 2) // in a process of its own
}

func TestConfigureRefused(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	target := w.target()
	target.Env = slices.DeleteFunc(slices.Clone(target.Env), func(each string) bool { return strings.HasPrefix(each, "FAKECLOUD_ENDPOINT") })
	s, err := p.Subject(target)
	if err != nil {
		t.Fatal(err)
	}
	r := check(t, s)
	wantUnknown(t, r, probe.Refused)
	if !strings.Contains(r.Results[0].Reason, "No endpoint") {
		t.Errorf("the reason is %s", r.Results[0].Reason)
	}
	if n := len(p.Processes()); n != 0 {
		t.Errorf("%d processes", n)
	}
}

func TestCrash(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{Concurrency: 1})
	s := w.subject(p)
	wantSame(t, check(t, s), 2)
	first := pids(p)
	if err := w.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Crash}); err != nil {
		t.Fatal(err)
	}
	r := check(t, s)
	if r.Results[0].Cause != probe.Crashed || r.Results[1].Verdict != probe.Same {
		t.Errorf("got %+v; want the first one crashed, and the second one read by another process", r)
	}
	if !strings.Contains(r.Results[0].Reason, "panic: the cloud told the provider to crash") {
		t.Errorf("the reason is %s", r.Results[0].Reason)
	}
	wantSame(t, check(t, s), 2)
	if runs(first[0]) {
		t.Errorf("process %s still runs", first[0])
	}
}

// What crashes again and again is left alone for a while.
func TestCrashLoop(t *testing.T) {
	w := twoThingsIn(t)
	now := &clock{now: time.Now()}
	p := newProber(t, probe.Options{Concurrency: 1, Now: now.Now})
	s := w.subject(p)
	wantSame(t, check(t, s), 2)
	if err := w.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Crash, Times: -1}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantUnknown(t, check(t, s), probe.Crashed)
	}
	faults := w.cloud.Stats()["fault"]
	wantUnknown(t, check(t, s), probe.Crashed)
	if again := w.cloud.Stats()["fault"]; again != faults {
		t.Errorf("it was asked %d times more within no time", again-faults)
	}
	w.cloud.Heal()
	now.pass(time.Hour)
	wantSame(t, check(t, s), 2)
}

func TestHang(t *testing.T) {
	w := twoThingsIn(t)
	now := &clock{now: time.Now()}
	p := newProber(t, probe.Options{Concurrency: 1, ReadTimeout: 500 * time.Millisecond, Now: now.Now})
	s := w.subject(p)
	wantSame(t, check(t, s), 2)
	first := pids(p)
	if err := w.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Hang, Times: -1}); err != nil {
		t.Fatal(err)
	}
	r := check(t, s)
	if r.Results[0].Cause != probe.TooLate || r.Results[1].Cause != probe.Throttled {
		t.Errorf("got %+v; want one to be asked, and the other to be left alone", r)
	}
	for range 4 {
		now.pass(time.Minute)
		check(t, s)
	}
	if runs(first[0]) {
		t.Errorf("process %s was not replaced", first[0])
	}
	w.cloud.Heal()
	now.pass(time.Hour)
	wantSame(t, check(t, s), 2)
}

// A cloud that is asked too much is asked less, and all is read in the end.
func TestThrottled(t *testing.T) {
	w := newWorkspace(t, map[string]string{"main.tf": strings.Replace(twoThings, `"a" {
  name   = "a"`, `"a" {
  count = 20
  name   = "a${count.index}"`, 1)})
	w.apply()
	now := &clock{now: time.Now()}
	p := newProber(t, probe.Options{Now: now.Now})
	s := w.subject(p)
	wantSame(t, check(t, s), 21)
	w.cloud.Behave(fakecloud.Behaviour{Rate: 0.001, Burst: 5})
	r := check(t, s)
	if r.Count(probe.Same) != 5 || r.Count(probe.Unknown) != 16 {
		t.Fatalf("got %d the same and %d unknown", r.Count(probe.Same), r.Count(probe.Unknown))
	}
	asked := w.cloud.Stats()["throttled"]
	for range 5 {
		if r := check(t, s); r.Count(probe.Unknown) != 21 {
			t.Errorf("%d are unknown while nothing is to be asked", r.Count(probe.Unknown))
		}
	}
	if again := w.cloud.Stats()["throttled"]; again != asked || again > 10 {
		t.Errorf("throttled %d times, then %d: a storm", asked, again)
	}
	// Each time some are read: first those that were not.
	seen := map[string]bool{}
	for range 10 {
		w.cloud.Behave(fakecloud.Behaviour{Rate: 0.001, Burst: 5})
		now.pass(time.Hour)
		r := check(t, s)
		t.Logf("%d the same", r.Count(probe.Same))
		for _, result := range r.Results {
			seen[result.Address] = seen[result.Address] || result.Verdict == probe.Same
		}
	}
	for address, ok := range seen {
		if !ok {
			t.Errorf("%s was never read", address)
		}
	}
	w.cloud.Behave(fakecloud.Behaviour{})
	now.pass(time.Hour)
	wantSame(t, check(t, s), 21)
}

func TestRecycled(t *testing.T) {
	w := twoThingsIn(t)
	for name, c := range map[string]struct {
		o      probe.Options
		passes time.Duration
		same   bool
	}{
		"young":    {probe.Options{MaxAge: time.Hour}, 59 * time.Minute, true},
		"old":      {probe.Options{MaxAge: time.Hour}, time.Hour, false},
		"large":    {probe.Options{MaxRSS: 1}, 2 * time.Second, false},
		"not used": {probe.Options{MaxIdle: time.Minute}, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := &clock{now: time.Now()}
			c.o.Now = now.Now
			if c.o.MaxIdle == 0 {
				c.o.MaxIdle = 100 * time.Hour
			}
			p := newProber(t, c.o)
			s := w.subject(p)
			wantSame(t, check(t, s), 2)
			first := slices.Concat(pids(p))
			now.pass(c.passes)
			p.Sweep()
			if c.same != (len(pids(p)) == 1) {
				t.Errorf("after %s, %v run", c.passes, pids(p))
			}
			wantSame(t, check(t, s), 2)
			for _, pid := range first {
				if c.same != runs(pid) {
					t.Errorf("process %s: running is %v", pid, runs(pid))
				}
			}
		})
	}
}

func TestMaxProcesses(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{MaxProcesses: 2})
	var subjects []*probe.Subject
	for i := range 5 {
		target := w.target()
		target.Epoch = fmt.Sprint(i)
		s, err := p.Subject(target)
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, s)
	}
	done := make(chan struct{})
	most := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				most <- n
				return
			default:
				n = max(n, len(p.Processes()))
				runtime.Gosched()
			}
		}
	}()
	var all sync.WaitGroup
	for _, s := range subjects {
		all.Go(func() { wantSame(t, check(t, s), 2) })
	}
	all.Wait()
	close(done)
	if n := <-most; n > 2 || n == 0 {
		t.Errorf("%d processes ran at once", n)
	}
}

func TestCancelled(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	s := w.subject(p)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantUnknown(t, s.Check(ctx), probe.Cancelled)
	wantSame(t, check(t, s), 2)
	if err := w.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Hang, Times: -1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	wantUnknown(t, s.Check(ctx), probe.Cancelled)
}

func TestClose(t *testing.T) {
	w := twoThingsIn(t)
	temp := t.TempDir()
	p := newProber(t, probe.Options{TempDir: temp})
	s := w.subject(p)
	wantSame(t, check(t, s), 2)
	all := pids(p)
	// Even one that is asked just now.
	if err := w.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Hang, Times: -1}); err != nil {
		t.Fatal(err)
	}
	under := make(chan probe.Report)
	go func() { under <- check(t, s) }()
	for range 1000 {
		if w.cloud.Stats()["fault"] > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, result := range (<-under).Results {
		if result.Verdict != probe.Unknown {
			t.Errorf("got %+v", result)
		}
	}
	for _, pid := range all {
		if runs(pid) {
			t.Errorf("process %s still runs", pid)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	wantUnknown(t, check(t, s), probe.Cancelled)
}

// A provider that does not start, does not speak, or speaks something else.
func TestStartFailure(t *testing.T) {
	w := twoThingsIn(t)
	for name, script := range map[string]string{
		"fails":    "echo says $FAKECLOUD_TOKEN >&2; exit 1",
		"is mute":  "sleep 100 & sleep 100",
		"speaks 7": "echo '1|7|unix|/tmp/none|grpc|'; sleep 100",
		"babbles":  "echo hello; sleep 100",
		"ends":     "exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := filepath.Join(dir, ".terraform/providers/registry.opentofu.org/plumb-dev/cloud/9.0.0", runtime.GOOS+"_"+runtime.GOARCH)
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(at, "terraform-provider-cloud_v9.0.0"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(twoThings), 0o600); err != nil {
				t.Fatal(err)
			}
			p := newProber(t, probe.Options{StartTimeout: time.Second})
			target := w.target()
			target.Module = module.Options{Root: dir}
			s, err := p.Subject(target)
			if err != nil {
				t.Fatal(err)
			}
			wantUnknown(t, check(t, s), probe.Refused)
			if n := len(p.Processes()); n != 0 {
				t.Errorf("%d processes", n)
			}
		})
	}
}

func TestNotInstalled(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	target := w.target()
	target.Module = module.Options{Root: t.TempDir()}
	s, err := p.Subject(target)
	if err != nil {
		t.Fatal(err)
	}
	r := check(t, s)
	wantUnknown(t, r, probe.NotInstalled)
	if !strings.Contains(r.Results[0].Reason, "run init") {
		t.Errorf("the reason is %s", r.Results[0].Reason)
	}
}

// The state says more than the provider can know.
func TestUnreadable(t *testing.T) {
	w := twoThingsIn(t)
	p := newProber(t, probe.Options{})
	for name, change := range map[string]func(instance map[string]any){
		"tainted":   func(i map[string]any) { i["status"] = "tainted" },
		"deposed":   func(i map[string]any) { i["deposed"] = "0badcafe" },
		"newer":     func(i map[string]any) { i["schema_version"] = 99 },
		"malformed": func(i map[string]any) { i["attributes"] = map[string]any{"name": []any{1}, "secret": "stored-canary"} },
	} {
		t.Run(name, func(t *testing.T) {
			var text map[string]any
			if err := json.Unmarshal(w.state(), &text); err != nil {
				t.Fatal(err)
			}
			change(text["resources"].([]any)[0].(map[string]any)["instances"].([]any)[0].(map[string]any))
			changed, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			target := w.target()
			target.State = changed
			s, err := p.Subject(target)
			if err != nil {
				t.Fatal(err)
			}
			r := check(t, s)
			if r.Results[0].Verdict != probe.Unknown || r.Results[1].Verdict != probe.Same {
				t.Errorf("got %+v", r)
			}
			if text := fmt.Sprintf("%+v", r); strings.Contains(text, "canary") {
				t.Errorf("it shows a secret: %s", text)
			}
		})
	}
}

// A configuration that only a plan knows.
func TestConfigurationUnknown(t *testing.T) {
	w := newWorkspace(t, map[string]string{"main.tf": strings.Replace(twoThings, "max_retries = 0", "region = data.cloud_zones.z.names[0] == \"\" ? \"x\" : \"eu-west-1\"", 1) +
		"\nprovider \"cloud\" {\n  alias = \"z\"\n}\ndata \"cloud_zones\" \"z\" {\n  provider = cloud.z\n}\n"})
	w.apply()
	r := check(t, w.subject(newProber(t, probe.Options{})))
	wantUnknown(t, r, probe.Configuration)
	if !strings.Contains(r.Results[0].Reason, "data.cloud_zones.z.names (main.tf:8)") {
		t.Errorf("the reason is %s", r.Results[0].Reason)
	}
	if len(r.Unseen) != 1 || r.Unseen[0] != "data.cloud_zones.z" {
		t.Errorf("unseen is %v", r.Unseen)
	}
}

// Secrets that the state, the configuration, the environment and answers of
// providers hold are in nothing that is shown.
func TestCanary(t *testing.T) {
	w := newWorkspace(t, map[string]string{"main.tf": `
terraform {
  required_providers {
    cloud  = { source = "plumb-dev/cloud" }
    cloud5 = { source = "plumb-dev/cloud5" }
  }
}
variable "secret" {
  sensitive = true
}
provider "cloud" {
  token       = "configured-canary"
  max_retries = 0
}
provider "cloud5" {
  max_retries = 0
}
resource "cloud_thing" "a" {
  name   = "a"
  string = var.secret
  secret = "stored-canary"
  tags   = { t = "x-${var.secret}", u = "shown" }
  nested = { key = "k", secret = "stored-canary" }
  set_block {
    key   = "k"
    value = var.secret
  }
}
resource "cloud_secret" "b" {
  provider = cloud5
  name     = "b"
  value    = "stored-canary"
  labels   = { l = "stored-canary" }
}
`, "terraform.tfvars": "secret = \"given-canary\"\n"})
	w.env = append(w.env, "FAKECLOUD_TOKEN=environment-canary")
	cloud := fakecloud.New(fakecloud.Options{}) // which takes any token
	w.cloud.Cloud = cloud
	w.env = append(w.env, "FAKECLOUD_ENDPOINT="+serve(t, cloud))
	w.apply()
	p := newProber(t, probe.Options{})
	shown := func(r probe.Report) {
		t.Helper()
		text := fmt.Sprintf("%v %+v %#v %s", r, r, r, told(r))
		for _, result := range r.Results {
			for _, d := range result.Differences {
				text += d.Name() + probe.Show(d.Before) + probe.Show(d.After) + fmt.Sprintf("%v %+v %#v", d, d, d)
			}
		}
		encoded, err := json.Marshal(r.Results[0].Reason)
		if err != nil || strings.Contains(text+string(encoded), "canary") {
			t.Errorf("it shows a secret: %s", text)
		}
	}
	s := w.subject(p)
	r := check(t, s)
	wantSame(t, r, 2)
	shown(r)
	for _, o := range cloud.Objects() {
		err := cloud.Change(o.ID, func(body map[string]any) {
			body["string"], body["secret"], body["value"] = "new-canary", "new-canary", "new-canary"
			body["tags"], body["labels"] = map[string]any{"t": "new-canary", "u": "changed"}, map[string]any{"l": "new-canary"}
			body["nested"] = map[string]any{"key": "k", "secret": "new-canary"}
			body["set_block"] = []any{map[string]any{"key": "k", "value": "new-canary"}}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r = check(t, s)
	if r.Count(probe.Differs) != 2 {
		t.Errorf("got %+v", r)
	}
	shown(r)
	if text := told(r); !strings.Contains(text, `tags["u"]: "shown" -> "changed"`) {
		t.Errorf("it does not show what is no secret: %s", text)
	}
	message := "refused: stored-canary given-canary configured-canary environment-canary"
	if err := cloud.Inject(fakecloud.Fault{Op: "read", Times: -1, Action: fakecloud.Fail, Status: 400, Message: message}); err != nil {
		t.Fatal(err)
	}
	r = check(t, s)
	if r.Count(probe.Unknown) != 2 || !strings.Contains(r.Results[0].Reason, "refused:") {
		t.Errorf("got %+v", r)
	}
	for _, canary := range []string{"stored-canary", "environment-canary"} {
		if strings.Contains(told(r), canary) {
			t.Errorf("it shows %s: %s", canary, told(r))
		}
	}
	if strings.Contains(r.Results[1].Reason, "configured-canary") { // the thing's
		t.Errorf("it shows a secret: %s", r.Results[1].Reason)
	}
}

func serve(t *testing.T, cloud *fakecloud.Cloud) string {
	t.Helper()
	server := httptest.NewServer(cloud)
	t.Cleanup(server.Close)
	return server.URL
}
