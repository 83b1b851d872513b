package isolate

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// shimName is what this binary is called where it is to confine itself and become
// another program.
const shimName = "plumb-confine"

// Exit codes of the shim, as shells have them.
const (
	exitConfine  = 126
	exitNotFound = 127
)

// The shim runs before the other packages of the binary are made ready, of which
// Plumb has many: that takes 70 ms and 120 MB, and this package, which needs only
// the standard library, comes among the first. It also makes every binary that
// starts confined programs its own shim, tests included.
func init() {
	if len(os.Args) > 0 && os.Args[0] == shimName {
		os.Exit(become(os.Args[1:]))
	}
}

// become confines this process and makes it the program that follows "--".
func become(args []string) int {
	runtime.LockOSThread()
	program, err := confine(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "plumb: isolate the module:", err)
		return exitConfine
	}
	err = syscall.Exec(program[0], program, os.Environ()) //nolint:gosec // that is what it is for
	fmt.Fprintf(os.Stderr, "plumb: start %s: %v\n", program[0], err)
	return exitNotFound
}

func confine(args []string) (program []string, err error) {
	version := abi()
	if version < leastABI {
		return nil, errors.New(why(version))
	}
	rules, err := newRuleset(version)
	if err != nil {
		return nil, err
	}
	for path, rights := range system() {
		if err := rules.allow(path, rights); err != nil {
			return nil, err
		}
	}
	for len(args) > 1 && args[0] != "--" {
		rights := uint64(reading)
		if args[0] == "-w" {
			rights = writing
		}
		if err := rules.allow(args[1], rights); err != nil {
			return nil, err
		}
		args = args[2:]
	}
	if len(args) < 2 {
		return nil, errors.New("no program is named")
	}
	return args[1:], rules.enforce()
}
