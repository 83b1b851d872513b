// Package isolate keeps programs that run what repositories say (OpenTofu,
// Terraform, their providers) apart from each other and from Plumb: such a program
// reads and writes the paths that it is given and what every program of the machine
// needs, and nothing else. It uses Landlock, which needs no privileges and holds for
// root, too, and for all that the program starts.
//
// A fence is put up by the process itself, before it becomes the program: this
// binary is started again under the name "plumb-confine" (shim.go). A thread of
// Plumb's own could put it up for its child without that, but would share the
// child's domain and Plumb's memory, and by that let the child read the latter.
//
// It knows paths and processes. It does not know what the programs are for, nor
// which paths they need.
package isolate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate/shim"
)

// Mode says what to do where the kernel can't keep programs apart.
type Mode string

// The modes.
const (
	// Preferred runs them without a fence then, and says so.
	Preferred Mode = "preferred"
	// Required runs none then.
	Required Mode = "required"
	// Off puts up no fence.
	Off Mode = "off"
)

// Modes are all there are.
func Modes() []string { return []string{string(Required), string(Preferred), string(Off)} }

// Options of a Fence.
type Options struct {
	// Mode is Preferred where it is empty.
	Mode Mode
	// Readable and Writable are further paths for all programs. Writable folders
	// that are not there are made.
	Readable, Writable []string
	// Path are the directories in which programs are found. All may read them.
	Path []string
	// Private must not lie in what all may read, nor be reached through Path.
	Private string
	// kernel tells the version of Landlock; the real one where it is nil.
	kernel func() int
}

// Fence starts programs that reach no more than they are told to. A nil one
// starts them as they are.
type Fence struct {
	mode     Mode
	abi      int
	args     []string // of the shim, for all programs
	warnings []string
}

// Reach is what one program may read, and what it may read and write.
type Reach struct{ Read, Write []string }

// Errors that the reason is known by.
var (
	// ErrUnavailable is returned where isolation is required and the kernel has none.
	ErrUnavailable = errors.New("modules can't be isolated on this machine")
)

// New looks at what the kernel offers.
func New(o Options) (*Fence, error) {
	f := &Fence{mode: o.Mode}
	if f.mode == "" {
		f.mode = Preferred
	}
	if !slices.Contains(Modes(), string(f.mode)) {
		return nil, fmt.Errorf("the isolation of modules is %q: it must be one of %s", o.Mode, strings.Join(Modes(), ", "))
	}
	if f.mode == Off {
		f.warnings = append(f.warnings, "modules are not isolated: isolation is off, so what a module runs can read and write what Plumb can, the folders of other modules included")
		return f, nil
	}
	private, err := resolve(o.Private)
	if err != nil {
		return nil, fmt.Errorf("isolate modules: %w", err)
	}
	for _, path := range o.Writable {
		if err := os.MkdirAll(path, 0o700); err != nil {
			if info, missing := os.Stat(path); missing != nil || info.IsDir() {
				return nil, fmt.Errorf("make the folder that modules may write: %w", err)
			}
		}
		f.args = append(f.args, "-w", path)
	}
	for _, path := range o.Readable {
		f.args = append(f.args, "-r", path)
	}
	for _, path := range o.Path {
		if resolved, err := resolve(path); err == nil && filepath.IsAbs(path) && !overlap(resolved, private) {
			f.args = append(f.args, "-r", path)
		}
	}
	f.abi = shim.ABI()
	if o.kernel != nil {
		f.abi = o.kernel()
	}
	f.look(private, append(slices.Clone(o.Readable), o.Writable...))
	return f, nil
}

// look finds what is wrong with the machine or the paths.
func (f *Fence) look(private string, given []string) {
	if f.abi < shim.LeastABI {
		f.warnings = append(f.warnings, "modules are not isolated: "+shim.Why(f.abi)+"; what a module runs can read and write what Plumb can, the folders of other modules included")
		return
	}
	for _, path := range append(shim.SystemPaths(), given...) {
		if resolved, err := resolve(path); err == nil && private != "" && within(private, resolved) {
			f.warnings = append(f.warnings, fmt.Sprintf("modules are not isolated from each other: their folders in %s lie in %s, which all of them may read: choose another data directory", private, path))
		}
	}
	if lacks := Lacks(f.abi); len(lacks) > 0 {
		f.warnings = append(f.warnings, fmt.Sprintf("modules are isolated in part: the kernel's Landlock (ABI %d) does not keep them from %s", f.abi, strings.Join(lacks, ", nor from ")))
	}
}

// Warnings say what is not kept apart, for people: empty where all is.
func (f *Fence) Warnings() []string {
	if f == nil {
		return nil
	}
	return f.warnings
}

// Level says how much is kept apart: "full", "partial" or "none".
func (f *Fence) Level() string {
	switch {
	case !f.Active():
		return "none"
	case len(f.warnings) > 0:
		return "partial"
	}
	return "full"
}

// Active tells whether programs are confined at all.
func (f *Fence) Active() bool { return f != nil && f.mode != Off && f.abi >= shim.LeastABI }

// Usable says why no program may be started, or nil.
func (f *Fence) Usable() error {
	if f == nil || f.mode != Required || f.abi >= shim.LeastABI {
		return nil
	}
	return fmt.Errorf("%w: %s (isolation is required)", ErrUnavailable, shim.Why(f.abi))
}

// Confine has a command start within the fence. Programs are named by absolute
// paths, and may be read.
func (f *Fence) Confine(cmd *exec.Cmd, r Reach) error {
	if err := f.Usable(); err != nil || !f.Active() {
		return err
	}
	program := cmd.Path
	if info, err := os.Stat(program); err != nil {
		return fmt.Errorf("find the program: %w", err)
	} else if !filepath.IsAbs(program) || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is no program", program)
	}
	args := append([]string{shim.Name}, f.args...)
	for _, path := range append(slices.Clone(r.Read), program) {
		args = append(args, "-r", path)
	}
	for _, path := range r.Write {
		args = append(args, "-w", path)
	}
	args = append(args, "--", program)
	cmd.Path, cmd.Args = self, append(args, cmd.Args[1:]...)
	return nil
}

// Supervise has a command end all that it has started, also in the background,
// before it ends itself. It comes after Confine. The process that is started is the
// supervisor's: the program is its first child.
func Supervise(cmd *exec.Cmd) {
	cmd.Path, cmd.Args = self, append([]string{shim.Supervisor, cmd.Path}, cmd.Args...)
}

// self is this binary, also where another has taken its place since.
const self = "/proc/self/exe"

// Lacks says what a version of Landlock does not keep programs from.
func Lacks(abi int) []string {
	var lacks []string
	if abi < 3 {
		lacks = append(lacks, "emptying files that are not theirs (Linux 6.2 does)")
	}
	if abi < 6 {
		lacks = append(lacks, "sending signals to other processes of the same user (Linux 6.12 does)")
	}
	return lacks
}

// resolve follows links. What is not there is taken as it is.
func resolve(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved, nil
	}
	return path, nil
}

func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// overlap tells whether one of two paths lies in the other.
func overlap(a, b string) bool {
	return a != "" && b != "" && (within(a, b) || within(b, a))
}
