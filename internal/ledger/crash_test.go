package ledger

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// crashDir names the ledger to a process that is to be killed.
const crashDir = "PLUMB_TEST_LEDGER_CRASH"

// TestCrashWriter is not a test: TestCrash runs it in a process of its own.
func TestCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("TestCrash runs it")
	}
	l, err := Open(context.Background(), Options{Dir: dir, CheckpointInterval: 100 * time.Millisecond, Reserve: 1})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	fmt.Println("open")
	var next atomic.Int64
	for range 8 {
		go func() {
			for {
				n := int(next.Add(1))
				i, err := l.Append(context.Background(), sample(n))
				if err != nil {
					fmt.Println("failed", err)
					os.Exit(1)
				}
				fmt.Printf("have %d %d\n", i, n) // one write each
			}
		}()
	}
	select {}
}

// TestCrash kills a process at random while it appends: whatever it was told to
// have been recorded is there, whole, and the log goes on.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills many processes")
	}
	dir := t.TempDir()
	have := map[uint64]int{}
	for round := range 8 {
		crash(t, dir, have)
		l := open(t, Options{Dir: dir})
		checkHave(t, l, have)
		closeLedger(t, l)
		if v := verify(t, VerifyOptions{Dir: dir}); v.Err() != nil {
			t.Fatalf("round %d: %+v", round, v.Findings)
		}
	}
	t.Logf("%d entries were acknowledged", len(have))
	if len(have) == 0 {
		t.Error("nothing was recorded: the test tests nothing")
	}
}

// crash runs a writer for a moment, and adds what it acknowledged to have.
func crash(t *testing.T, dir string, have map[uint64]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashWriter$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		var i uint64
		var n int
		switch {
		case line == "open":
			time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		case strings.HasPrefix(line, "failed"):
			t.Error(line)
		default:
			if _, err := fmt.Sscanf(line, "have %d %d", &i, &n); err == nil {
				have[i] = n
			}
		}
	}
	_ = cmd.Wait() // it was killed
}

func checkHave(t *testing.T, l *Ledger, have map[uint64]int) {
	t.Helper()
	got := map[uint64]string{}
	err := l.Each(t.Context(), entry.Query{Oldest: true}, func(e Entry) bool {
		got[e.Index] = e.Message
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range have {
		if want := sample(n).Message; got[i] != want {
			t.Fatalf("entry %d was acknowledged as %q, but is %q", i, want, got[i])
		}
	}
}
