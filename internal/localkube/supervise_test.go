package localkube_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/localkube"
)

// shell is a Process that runs a script.
func shell(name, script string) localkube.Process {
	return localkube.Process{Name: name, Path: "/bin/sh", Args: []string{"-c", script}}
}

// exists is a readiness: the file is there.
func exists(path string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(path)
		return err
	}
}

func TestSupervisorStopsInReverseOrder(t *testing.T) {
	dir := t.TempDir()
	order := filepath.Join(dir, "order")
	s := localkube.NewSupervisor(filepath.Join(dir, "logs"), nil)
	for _, name := range []string{"first", "second", "third"} {
		p := shell(name, "trap 'echo "+name+" >> "+order+"; exit 0' TERM; touch "+filepath.Join(dir, name)+"; while :; do sleep 0.02; done")
		p.Ready = exists(filepath.Join(dir, name))
		if err := s.Start(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	got, err := os.ReadFile(order)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("third\nsecond\nfirst\n", string(got)); diff != "" {
		t.Errorf("order of the stops (-want +got):\n%s", diff)
	}
}

func TestSupervisorStartsAgainWhatDied(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var told []string
	s := localkube.NewSupervisor(dir, func(message string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, message)
	})
	t.Cleanup(s.Stop)
	// It dies once, and lives when it is started again.
	p := shell("phoenix", "test -e "+dir+"/died && touch "+dir+"/alive && exec sleep 60; touch "+dir+"/died; echo farewell; exit 3")
	p.Ready = exists(filepath.Join(dir, "alive"))
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || !strings.Contains(told[0], "phoenix ended (exit status 3); it starts again in") {
		t.Errorf("told %q, want one message about the exit status", told)
	}
	log, err := os.ReadFile(filepath.Join(dir, "phoenix.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "farewell\n") {
		t.Errorf("the log lacks the output of the child: %q", log)
	}
}

func TestSupervisorGivesUp(t *testing.T) {
	cases := map[string]struct {
		reason  string
		process func(dir string) localkube.Process
		want    []string
	}{
		"EndsAgainAndAgain": {
			reason: "the user must see why the child ended, and where to read more",
			process: func(dir string) localkube.Process {
				p := shell("broken", "echo the port is taken >&2; exit 7")
				p.Ready = exists(filepath.Join(dir, "never"))
				return p
			},
			want: []string{"broken did not start", "it ended 3 times", "exit status 7", "    the port is taken", "broken.log"},
		},
		"NeverReady": {
			reason: "a child that runs and does nothing must not be waited for without end",
			process: func(dir string) localkube.Process {
				p := shell("idle", "exec sleep 60")
				p.Ready = func(context.Context) error { return errors.New("no answer yet") }
				p.ReadyTimeout = 200 * time.Millisecond
				return p
			},
			want: []string{"idle did not start", "it was not ready after 200ms: no answer yet"},
		},
		"NoSuchProgram": {
			reason: "a program that cannot be started is an exit like any other",
			process: func(dir string) localkube.Process {
				return localkube.Process{Name: "ghost", Path: "/nonexistent/ghost", Ready: exists(filepath.Join(dir, "never"))}
			},
			want: []string{"ghost did not start", "/nonexistent/ghost"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := localkube.NewSupervisor(dir, nil)
			t.Cleanup(s.Stop)
			err := s.Start(t.Context(), tc.process(dir))
			if err == nil {
				t.Fatalf("no error, want one: %s", tc.reason)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q (%s):\n%v", want, tc.reason, err)
				}
			}
		})
	}
}

func TestSupervisorKillsTheStubborn(t *testing.T) {
	dir := t.TempDir()
	s := localkube.NewSupervisor(dir, nil)
	p := shell("stubborn", "trap '' TERM; sleep 600 & echo $! > "+dir+"/pid; touch "+dir+"/ready; while :; do sleep 0.1; done")
	p.Ready = exists(filepath.Join(dir, "ready"))
	p.StopTimeout = 100 * time.Millisecond
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	pid := s.Pid("stubborn")
	grandchild := readPid(t, filepath.Join(dir, "pid"))
	s.Stop()
	eventually(t, "the stubborn child and its own child are gone", func() bool {
		return !alive(pid) && !alive(grandchild)
	})
}

func TestSupervisorStopsTwice(t *testing.T) {
	s := localkube.NewSupervisor(t.TempDir(), nil)
	if err := s.Start(t.Context(), shell("sleeper", "exec sleep 60")); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
	if err := s.Start(t.Context(), shell("late", "exec sleep 60")); err == nil {
		t.Error("a child was started after Stop: nobody would stop it")
	}
}
