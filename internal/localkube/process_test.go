package localkube_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/localkube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// holdCommand makes this test binary a process that runs a cluster, as "plumb
// up" does.
const holdCommand = "hold-a-cluster"

func hold(arguments string) {
	var options localkube.Options
	if err := json.Unmarshal([]byte(arguments), &options); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cluster, err := localkube.Start(ctx, options)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	<-cluster.Done()
}

func TestNothingIsLeft(t *testing.T) {
	cases := map[string]struct {
		reason string
		end    func(t *testing.T, cmd *exec.Cmd, dir string)
	}{
		"Killed": {
			reason: "a parent that is killed cannot tidy up itself",
			end: func(t *testing.T, cmd *exec.Cmd, _ string) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			},
		},
		"Terminated": {
			reason: "SIGTERM stops all in order",
			end: func(t *testing.T, cmd *exec.Cmd, _ string) {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			},
		},
		"Down": {
			reason: "another process asks it to end",
			end: func(t *testing.T, _ *exec.Cmd, dir string) {
				if err := localkube.Down(t.Context(), dir); err != nil {
					t.Fatal(err)
				}
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			cmd := startHolder(t, dir)
			children := childrenOf(t, cmd.Process.Pid)
			if len(children) != 2 {
				t.Fatalf("the holder has the children %v, want etcd and the API server", children)
			}
			tc.end(t, cmd, dir)
			_ = cmd.Wait()
			for _, pid := range children {
				eventually(t, fmt.Sprintf("process %d is gone (%s)", pid, tc.reason), func() bool { return !alive(pid) })
			}
			if held, err := localkube.Holder(dir); held != nil || err != nil {
				t.Errorf("the directory is still held: %v, %v", held, err)
			}
			if err := localkube.Reset(dir); err != nil {
				t.Error(err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) > 1 { // the lock stays
				t.Errorf("after a reset the directory holds %v", entries)
			}
		})
	}
}

// startHolder starts a process that runs a cluster in dir, and waits until it
// is ready.
func startHolder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	arguments, err := json.Marshal(struct {
		Binary, DataDir        string
		APIOnly, UnsafeNoFsync bool
	}{kubetest.Binary(t), dir, true, true})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], holdCommand, string(arguments))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the holder says %q", lines.Text())
	}
	return cmd
}

func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(paths) == 0 {
		t.Skipf("no list of children in /proc (%v)", err)
	}
	var children []int
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(content)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}

// alive tells whether a process runs; one that has ended and was not waited for
// does not.
func alive(pid int) bool {
	if pid == 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func readPid(t *testing.T, path string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func etcdAddress(t *testing.T, cluster *localkube.Cluster) string {
	t.Helper()
	var stamp struct{ Ports struct{ Etcd int } }
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(cluster.DataDir(), "cluster.json"))), &stamp); err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(stamp.Ports.Etcd))
}

// eventually polls until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after a minute: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
