package isolate_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
)

const canary = "canary-of-a-neighbour-Q7"

// fence is one that works. Where the kernel has none, nothing can be tested, and
// that has to be known.
func fence(t testing.TB, o isolate.Options) *isolate.Fence {
	t.Helper()
	o.Mode = isolate.Required
	f, err := isolate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Usable(); err != nil {
		t.Fatalf("this test needs a kernel with Landlock: %v", err)
	}
	return f
}

// place has a folder of one's own and one of a neighbour.
func place(t *testing.T) (own, neighbour string) {
	t.Helper()
	dir := t.TempDir()
	own, neighbour = filepath.Join(dir, "own"), filepath.Join(dir, "neighbour")
	for _, d := range []string{own, neighbour} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(neighbour, "state"), canary)
	write(t, filepath.Join(own, "file"), "mine")
	return own, neighbour
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, f *isolate.Fence, r isolate.Reach, script string) (string, error) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "A=b c"}
	if len(r.Write) > 0 {
		cmd.Dir = r.Write[0]
	}
	if err := f.Confine(cmd, r); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReach tries what a program can reach.
func TestReach(t *testing.T) {
	own, neighbour := place(t)
	readable := t.TempDir()
	write(t, filepath.Join(readable, "shared"), "shared")
	if err := os.Symlink(filepath.Join(neighbour, "state"), filepath.Join(own, "link")); err != nil {
		t.Fatal(err)
	}
	f := fence(t, isolate.Options{Readable: []string{readable}})
	pid := os.Getpid()
	for name, tc := range map[string]struct {
		reason, script string
		want           string // in the output, where it may
		refused        bool
	}{
		"own file":            {reason: "it is given", script: "cat file", want: "mine"},
		"write":               {reason: "it is given", script: "echo x >new && mkdir d && mv new d/ && ln -s d e && cat e/new && rm -r d", want: "x"},
		"environment":         {reason: "the shim hands on what it is given", script: `echo "$A"`, want: "b c"},
		"readable":            {reason: "the operator shares it", script: "cat " + readable + "/shared", want: "shared"},
		"programs":            {reason: "they are of the machine", script: "ls /usr/bin >/dev/null && head -c 4 /dev/urandom >/dev/null && cat /etc/hosts /proc/cpuinfo >/dev/null && echo fine", want: "fine"},
		"itself":              {reason: "a process may look at itself", script: "cat /proc/self/environ /proc/$$/environ | tr '\\0' '\\n'", want: "A=b c"},
		"signal to itself":    {reason: "what it has started is its own", script: "sleep 60 & kill $! && echo fine", want: "fine"},
		"neighbour":           {reason: "it is another's", script: "cat " + neighbour + "/state", refused: true},
		"neighbour's list":    {reason: "it is another's", script: "ls " + neighbour, refused: true},
		"link":                {reason: "a link leads to another's", script: "cat link", refused: true},
		"hard link":           {reason: "a name of its own does not make it its own", script: "ln " + neighbour + "/state s && cat s", refused: true},
		"dots":                {reason: "a path leads to another's", script: "cat ../neighbour/state", refused: true},
		"write to readable":   {reason: "it may be read only", script: "echo x >" + readable + "/shared", refused: true},
		"write elsewhere":     {reason: "it is another's", script: "echo x >" + neighbour + "/state", refused: true},
		"empty":               {reason: "it is another's", script: "truncate -s 0 " + neighbour + "/state", refused: true},
		"remove":              {reason: "it is another's", script: "rm " + neighbour + "/state", refused: true},
		"make":                {reason: "it is another's", script: "touch /tmp/plumb-isolate-test-file", refused: true},
		"home":                {reason: "keys are there", script: "ls /root/ ~root/", refused: true},
		"passwords":           {reason: "they are the machine's", script: "cat /etc/shadow", refused: true},
		"keys":                {reason: "they are the machine's", script: "ls /etc/ssl/private /etc/ssh/", refused: true},
		"plumb's environment": {reason: "credentials can be in it", script: fmt.Sprintf("cat /proc/%d/environ", pid), refused: true},
		"plumb's memory":      {reason: "credentials are in it", script: fmt.Sprintf("head -c 1 /proc/%d/mem; cat /proc/%d/maps", pid, pid), refused: true},
		"plumb's root":        {reason: "it is a way around", script: fmt.Sprintf("cat /proc/%d/root%s/state", pid, neighbour), refused: true},
		"plumb's folder":      {reason: "it is a way around", script: fmt.Sprintf("ls /proc/%d/cwd/", pid), refused: true},
		"plumb's open files":  {reason: "they are a way around", script: fmt.Sprintf("readlink /proc/%d/fd/1 || cat </proc/%d/fd/0", pid, pid), refused: true},
		"signal to plumb":     {reason: "it would end Plumb", script: fmt.Sprintf("kill -0 %d", pid), refused: true},
		"service account":     {reason: "it is Plumb's", script: "ls /var/run/secrets/kubernetes.io /run/secrets /var/lib", refused: true},
		"leave the namespace": {reason: "what root may is less", script: "mount -t tmpfs none /mnt || unshare -m true", refused: true},
		"make a device":       {reason: "a disk would be a way around", script: "mknod disk b 8 0", refused: true},
		"capabilities":        {reason: "what root may is less", script: "test $((0x$(sed -n 's/^CapPrm:\\t//p' /proc/self/status) & ~0x24db)) = 0 && echo few", want: "few"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := shell(t, f, isolate.Reach{Write: []string{own}}, tc.script)
			if strings.Contains(out, canary) {
				t.Errorf("%s, and it is read: %s", tc.reason, out)
			}
			if refused := err != nil; refused != tc.refused || !strings.Contains(out, tc.want) {
				t.Errorf("%s: %v: %s", tc.reason, err, out)
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(neighbour, "state")); err != nil || string(text) != canary {
		t.Errorf("the neighbour's file is %q now: %v", text, err)
	}
}

// TestReadOnly lets a program not write what it may read.
func TestReadOnly(t *testing.T) {
	own, _ := place(t)
	f := fence(t, isolate.Options{})
	if out, err := shell(t, f, isolate.Reach{Read: []string{own}}, "cat "+own+"/file && ! echo x 2>/dev/null >"+own+"/file && ! rm "+own+"/file 2>&1"); err != nil || !strings.Contains(out, "mine") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestNeighbours keeps two programs apart that run at the same time.
func TestNeighbours(t *testing.T) {
	own, neighbour := place(t)
	f := fence(t, isolate.Options{})
	other := exec.Command("/bin/sh", "-c", "echo ready; read x")
	other.Env = []string{"SECRET=" + canary}
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Confine(other, isolate.Reach{Write: []string{neighbour}}); err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = other.Wait() }()
	if _, err := stdout.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"cat /proc/%d/environ", "kill -9 %d", "cat /proc/%d/root/etc/hosts"} {
		out, err := shell(t, f, isolate.Reach{Write: []string{own}}, fmt.Sprintf(script, other.Process.Pid))
		if err == nil || strings.Contains(out, canary) {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
}

// TestStart starts a program as it would be without a fence.
func TestStart(t *testing.T) {
	f := fence(t, isolate.Options{})
	cmd := exec.Command("/bin/sh", "-c", "cat; echo said >&2; echo $0; exit 3", "name")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("in "), &stdout, &stderr
	if err := f.Confine(cmd, isolate.Reach{}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 3 || stdout.String() != "in name\n" || stderr.String() != "said\n" {
		t.Errorf("%v: %q %q", err, stdout.String(), stderr.String())
	}
	text := filepath.Join(t.TempDir(), "text")
	write(t, text, "no program")
	for _, path := range []string{"/no/such/program", text} {
		if err := f.Confine(exec.Command(path), isolate.Reach{}); err == nil {
			t.Errorf("%s is taken for a program", path)
		}
	}
}

// TestModes says what is not isolated.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		reason string
		o      isolate.Options
		active bool
		warns  string
	}{
		"default": {"it is preferred", isolate.Options{Private: dir}, true, ""},
		"off":     {"somebody has to notice", isolate.Options{Mode: isolate.Off}, false, "isolation is off"},
		"private": {"all may read it", isolate.Options{Private: "/usr/share/plumb"}, true, "/usr/share/plumb lie in /usr"},
		"given":   {"all may read it", isolate.Options{Private: filepath.Join(dir, "data"), Readable: []string{dir}}, true, "choose another"},
		"path":    {"programs are not where secrets are", isolate.Options{Private: dir, Path: []string{dir, filepath.Dir(dir), filepath.Join(dir, "bin"), "relative"}}, true, ""},
	} {
		f, err := isolate.New(tc.o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if warns := strings.Join(f.Warnings(), "\n"); f.Active() != tc.active || (warns != "") != (tc.warns != "") || !strings.Contains(warns, tc.warns) {
			t.Errorf("%s: %s: %v %s", name, tc.reason, f.Active(), warns)
		}
	}
	if _, err := isolate.New(isolate.Options{Mode: "maybe"}); err == nil || !strings.Contains(err.Error(), "required, preferred, off") {
		t.Errorf("an unknown mode: %v", err)
	}
	var none *isolate.Fence
	cmd := exec.Command("/bin/true")
	if err := none.Confine(cmd, isolate.Reach{}); err != nil || cmd.Path != "/bin/true" {
		t.Errorf("without a fence: %v", err)
	}
}

// TestKernels says what older kernels do not keep apart, and runs nothing on them where
// isolation is required.
func TestKernels(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		abi    int
		mode   isolate.Mode
		level  string
		warns  string
		refuse string
	}{
		"none":           {"it runs without, and says so", 0, isolate.Preferred, "none", "the kernel has no Landlock", ""},
		"none required":  {"nothing is run", 0, isolate.Required, "none", "the kernel has no Landlock", "modules can't be isolated on this machine: the kernel has no Landlock (Linux 5.19 or later, with landlock among the security modules), or a filter of system calls (seccomp) does not permit it (isolation is required)"},
		"first":          {"it is of no use", 1, isolate.Preferred, "none", "the kernel's Landlock is of version 1, and 2 is needed", ""},
		"first required": {"nothing is run", 1, isolate.Required, "none", "version 1", "the kernel's Landlock is of version 1, and 2 is needed (Linux 5.19)"},
		"5.19":           {"most is kept apart", 2, isolate.Required, "partial", "emptying files that are not theirs (Linux 6.2 does), nor from sending signals", ""},
		"6.2":            {"most is kept apart", 3, isolate.Required, "partial", "sending signals to other processes", ""},
		"6.11":           {"signals are not", 5, isolate.Preferred, "partial", "(ABI 5)", ""},
		"6.12":           {"all is kept apart", 6, isolate.Required, "full", "", ""},
		"later":          {"all is kept apart", 8, isolate.Preferred, "full", "", ""},
		"off":            {"nobody wants it", 6, isolate.Off, "none", "isolation is off", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := isolate.NewOn(tc.abi, isolate.Options{Mode: tc.mode})
			if err != nil {
				t.Fatal(err)
			}
			warns := strings.Join(f.Warnings(), "\n")
			if f.Level() != tc.level || !strings.Contains(warns, tc.warns) || (warns == "") != (tc.warns == "") {
				t.Errorf("%s: %s, warnings %q", tc.reason, f.Level(), warns)
			}
			cmd := exec.Command("/bin/true")
			err = f.Confine(cmd, isolate.Reach{})
			switch {
			case tc.refuse == "" && err != nil, tc.refuse != "" && (!errors.Is(err, isolate.ErrUnavailable) || !strings.Contains(err.Error(), tc.refuse)):
				t.Errorf("%s: %v", tc.reason, err)
			case tc.refuse == "" && (tc.level == "none") != (cmd.Path == "/bin/true"):
				t.Errorf("%s: what is run is %s", tc.reason, cmd.Path)
			}
		})
	}
}

// TestPrivatePath lets a folder of programs that holds what is private not be read.
func TestPrivatePath(t *testing.T) {
	own, neighbour := place(t)
	f := fence(t, isolate.Options{Private: neighbour, Path: []string{filepath.Dir(own), neighbour}})
	if out, err := shell(t, f, isolate.Reach{Write: []string{own}}, "cat "+neighbour+"/state"); err == nil || strings.Contains(out, canary) {
		t.Errorf("%v: %s", err, out)
	}
}

func BenchmarkStart(b *testing.B) {
	for name, f := range map[string]*isolate.Fence{"bare": nil, "confined": fence(b, isolate.Options{})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("/bin/true")
				if err := f.Confine(cmd, isolate.Reach{}); err != nil {
					b.Fatal(err)
				}
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
