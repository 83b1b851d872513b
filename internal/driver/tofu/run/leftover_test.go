package run_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// background is a module that leaves a process in a session of its own, with nothing
// in its environment, and then does what is given.
func background(dir, then string) string {
	return `resource "terraform_data" "it" {
  provisioner "local-exec" {
    command = <<-EOT
      env -i /usr/bin/setsid /bin/sh -c 'echo $$ > ` + dir + `/pid; exec /bin/sleep 1000' > /dev/null 2>&1 &
      while [ ! -s ` + dir + `/pid ]; do sleep 0.01; done
      ` + then + `
    EOT
  }
}
`
}

// leftover is the process that a module has left.
func leftover(t *testing.T, b *bench) int {
	t.Helper()
	var pid int
	until(t, "the process in the background", func() bool {
		text, err := os.ReadFile(filepath.Join(b.folder.Module, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil && pid > 0
	})
	return pid
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestNothingIsLeftBehind ends what a module has left in the background, before the
// run's result counts.
func TestNothingIsLeftBehind(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, then string
		fails        bool
	}{
		"good": {"the run is over", "true", false},
		"bad":  {"a failure is no way out", "exit 1", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.write("main.tf", background(b.folder.Module, tc.then))
			r := b.open()
			err := r.Apply(t.Context(), b.plan(r, run.PlanOptions{}), nil)
			if (err != nil) != tc.fails {
				t.Fatalf("apply: %v", err)
			}
			if pid := leftover(t, b); alive(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Errorf("%s, and process %d goes on", tc.reason, pid)
			}
		})
	}
}

// TestKilledRunsLeaveNothing ends all of a run whose program was killed.
func TestKilledRunsLeaveNothing(t *testing.T) {
	for name, who := range map[string]func(run.Record) int{
		"program":    func(rec run.Record) int { return rec.Program() },
		"supervisor": func(rec run.Record) int { return rec.PID },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.write("main.tf", strings.Replace(background(b.folder.Module, "sleep 1000"), "env -i ", "", 1))
			r := b.open()
			p := b.plan(r, run.PlanOptions{})
			program := make(chan int, 1)
			go func() {
				leftover(t, b)
				rec, running := run.Running(b.folder)
				if !running || rec.Program() == rec.PID {
					program <- 0
					return
				}
				program <- rec.Program()
				_ = syscall.Kill(who(*rec), syscall.SIGKILL)
			}()
			err := r.Apply(t.Context(), p, nil)
			var failed *run.Error
			if run.KindOf(err) != run.KindKilled || !errors.As(err, &failed) {
				t.Errorf("apply: %v", err)
			}
			for _, pid := range []int{<-program, leftover(t, b)} {
				until(t, fmt.Sprintf("the end of process %d", pid), func() bool { return pid > 0 && !alive(pid) })
			}
		})
	}
}
