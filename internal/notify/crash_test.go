package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is a sender itself where these are set.
const (
	crashDir  = "PLUMB_TEST_NOTIFY_DIR"
	crashHook = "PLUMB_TEST_NOTIFY_HOOK"
)

// crashApps is how many Applications degrade, one after the other.
const crashApps = 300

// TestCrashSender is the process that is killed: it tells again and again of all
// Applications as they are, as a server does when it starts, and of things that
// happen.
func TestCrashSender(t *testing.T) {
	dir, hook := os.Getenv(crashDir), os.Getenv(crashHook)
	if dir == "" {
		t.Skip("this is run by TestKilledAtRandom")
	}
	n := New(Options{Dir: dir, Log: nolog(), Retry: Retry{First: 20 * time.Millisecond}})
	n.Configure(mustParse(t, map[string]string{
		"service.webhook.hook": "url: " + hook, "grouping": "idle: 5ms\nmax: 50ms\nperMinute: 60000\n",
		"subscriptions": "- recipients: [hook]\n  triggers: [on-health-degraded, on-frozen]",
		// Each message tells of one Application.
		"template.app-health-degraded": "webhook:\n  hook:\n    method: POST\n    body: '<{{.app.metadata.name}}>'\n",
		"template.app-frozen":          "webhook:\n  hook:\n    method: POST\n    body: '<frozen-{{.app.metadata.name}}>'\n",
	}, nil))
	fmt.Println("open")
	go func() {
		for round := 0; ; round++ {
			for i := range crashApps {
				n.Send(Event{Object: app(fmt.Sprintf("a%03d", i), "Degraded", nil)})
				if i%10 == 0 {
					n.Send(Event{ID: fmt.Sprintf("frozen %d", i), Trigger: OnFrozen, Object: app(fmt.Sprintf("a%03d", i), "Degraded", nil)})
				}
				time.Sleep(time.Millisecond)
			}
		}
	}()
	if err := n.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

var toldName = regexp.MustCompile(`<([a-z0-9-]+)>`)

// counts is how often each Application was told of.
func counts(r *receiver) map[string]int {
	out := map[string]int{}
	for _, got := range r.all() {
		for _, m := range toldName.FindAllStringSubmatch(got.body, -1) {
			out[m[1]]++
		}
	}
	return out
}

// written reads what a killed process has left: what was told for good, and what has
// not arrived.
func written(t *testing.T, dir string) (done, pending map[string]bool) {
	t.Helper()
	done, pending = map[string]bool{}, map[string]bool{}
	raw, err := os.ReadFile(filepath.Join(dir, journalName))
	if os.IsNotExist(err) {
		return done, pending
	}
	var j journal
	if err == nil {
		err = json.Unmarshal(raw, &j)
	}
	if err != nil {
		t.Fatalf("the journal is torn: %v", err)
	}
	for _, p := range j.Pending {
		for _, w := range p.Messages {
			name := w.Message.Event.Application.Name
			if w.Message.Event.Trigger == OnFrozen {
				name = "frozen-" + name
			}
			pending[name] = true
		}
	}
	for key := range j.Notified {
		name := key[strings.LastIndex(key, "/")+1:]
		if !pending[name] {
			done[name] = true
		}
	}
	return done, pending
}

func TestKilledAtRandom(t *testing.T) {
	dir := t.TempDir()
	hook := newReceiver(t, nil)
	if testing.Short() {
		t.Skip("it kills many processes")
	}
	const rounds = 6
	told := map[string]int{}
	for range rounds {
		killSender(t, dir, hook.URL)
		before := counts(hook)
		done, pending := written(t, dir)
		for name, n := range told { // of what was written as told by then, nothing came again
			if before[name] != n {
				t.Errorf("%s was told %d times, and then %d", name, n, before[name])
			}
		}
		told = map[string]int{}
		for name := range done {
			if told[name] = before[name]; before[name] == 0 {
				t.Errorf("%s is written down as told, and never was", name)
			}
		}
		for name := range pending {
			if before[name] > rounds {
				t.Errorf("%s was told %d times", name, before[name])
			}
		}
	}
	// In the end all of it has arrived.
	cmd := sender(t, dir, hook.URL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are told of", func() bool {
		got := counts(hook)
		for i := range crashApps {
			if got[fmt.Sprintf("a%03d", i)] == 0 {
				return false
			}
		}
		return true
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	more := 0
	for _, n := range counts(hook) {
		more += n - 1
	}
	t.Logf("%d messages of %d came more than once, in %d crashes", more, len(counts(hook)), rounds)
}

func sender(t *testing.T, dir, hook string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashSender$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashHook+"="+hook)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// killSender runs a sender for a moment, and kills it.
func killSender(t *testing.T, dir, hook string) {
	t.Helper()
	cmd := sender(t, dir, hook)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}
