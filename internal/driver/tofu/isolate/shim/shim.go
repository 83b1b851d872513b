// Package shim makes a binary that imports it confine itself by Landlock and become
// another program, where it is started under the name Name, and watch over another
// program until all that this has started has ended, under the name Supervisor.
//
// It does so before the other packages of the binary are made ready, of which Plumb
// has many: that takes 70 ms, this 3 ms. Go makes those ready
// first that depend on the least, so this package imports nothing but syscall, errors
// and strconv; it has the few constants of the kernel that it needs itself, and
// makes its system calls itself. (The library for them, go-landlock, restricts all
// threads of a process, and links C for that.) Tests are their own shims, too.
//
// It does not know what the programs are, nor why they may reach what.
package shim

import (
	"errors"
	"runtime"
	"syscall"
)

// Name is what the binary is called where it is to confine itself. What follows
// are "-r PATH", to be read, and "-w PATH", to be written, too; then "--" and the
// program by its path, with its arguments.
const Name = "plumb-confine"

// prefix of all names that are meant here.
const prefix = "plumb-"

// Exit codes, as shells have them.
const (
	exitConfine  = 126
	exitNotFound = 127
)

func init() {
	// Of os, only its arguments were needed.
	args := arguments()
	switch {
	case len(args) == 0:
	case args[0] == Name:
		syscall.Exit(become(args[1:]))
	case args[0] == Supervisor:
		syscall.Exit(supervise(args[1:]))
	}
}

// arguments of this process.
func arguments() []string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = syscall.Close(fd) }()
	var text []byte
	buffer := make([]byte, 64<<10)
	for {
		n, err := syscall.Read(fd, buffer)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		text = append(text, buffer[:n]...)
		if len(text) >= len(prefix) && string(text[:len(prefix)]) != prefix {
			return nil // by far the most
		}
	}
	var all []string
	from := 0
	for i, c := range text {
		if c == 0 {
			all = append(all, string(text[from:i]))
			from = i + 1
		}
	}
	return all
}

// become confines this process and makes it the program.
func become(args []string) int {
	runtime.LockOSThread()
	program, err := confine(args)
	if err != nil {
		say("plumb: isolate the module: " + err.Error())
		return exitConfine
	}
	err = syscall.Exec(program[0], program, syscall.Environ()) // that is what it is for
	say("plumb: start " + program[0] + ": " + err.Error())
	return exitNotFound
}

func say(text string) { _, _ = syscall.Write(2, []byte(text+"\n")) }

func confine(args []string) (program []string, err error) {
	version := ABI()
	if version < LeastABI {
		return nil, errors.New(Why(version))
	}
	rules, err := newRuleset(version)
	if err != nil {
		return nil, err
	}
	for _, group := range []struct {
		paths  []string
		rights uint64
	}{{SystemPaths(), reading}, {serverPaths, sockets}, {devicePaths, device}} {
		for _, path := range group.paths {
			if err := rules.allow(path, group.rights); err != nil {
				return nil, err
			}
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
