package shim

import (
	"runtime"
	"strconv"
	"syscall"
)

// Supervisor is what the binary is called where it is to run a program, and to end
// all that this has started before it ends itself, in the way in which the program
// has ended. What follows are the program's path, its name and its arguments.
//
// What a program leaves in the background, in a session of its own and with another
// environment, becomes the child of the nearest process that has said so
// (PR_SET_CHILD_SUBREAPER): of the supervisor. It stays outside of fences, so that
// what is in them can't end it; where somebody else does, the program ends, too.
const Supervisor = "plumb-supervise"

const (
	setChildSubreaper = 36
	// What can't be ended is given up after so many rounds: about half a minute.
	mostRounds = 6000
	round      = 5_000_000 // nanoseconds
)

// supervise runs a program and gives its exit code.
func supervise(args []string) int {
	runtime.LockOSThread() // the program ends with the thread that has started it
	if len(args) < 2 {
		say("plumb: run the module: no program is named")
		return exitNotFound
	}
	if _, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, setChildSubreaper, 1, 0, 0, 0, 0); errno != 0 {
		say("plumb: run the module: take up what it leaves behind: " + errno.Error())
		return exitConfine
	}
	program, err := syscall.ForkExec(args[0], args[1:], &syscall.ProcAttr{
		Env: syscall.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		say("plumb: start " + args[0] + ": " + err.Error())
		return exitNotFound
	}
	how := await(program)
	if !endAll() {
		say("plumb: something that the module has started can't be ended")
	}
	if how.Signaled() {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL) // nobody is to take it for an answer
	}
	return how.ExitStatus()
}

// await waits until the program has ended, and for what it has left meanwhile.
func await(program int) syscall.WaitStatus {
	for {
		var how syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &how, 0, nil)
		if pid == program {
			return how
		}
		if err == syscall.ECHILD {
			return how
		}
	}
}

// endAll ends all processes below this one, and tells whether it could.
func endAll() bool {
	self := syscall.Getpid()
	for range mostRounds {
		for _, pid := range below(self) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				return true
			}
			if err == nil && pid == 0 {
				break
			}
		}
		pause := syscall.NsecToTimespec(round)
		_ = syscall.Nanosleep(&pause, nil)
	}
	return false
}

// below lists the descendants of a process.
func below(root int) []int {
	parents := parents()
	var found []int
	for pid := range parents {
		for up, depth := parents[pid], 0; up > 1 && depth <= len(parents); up, depth = parents[up], depth+1 {
			if up == root {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// parents are those of all processes that can be seen.
func parents() map[int]int {
	all := map[int]int{}
	fd, err := syscall.Open("/proc", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return all
	}
	defer func() { _ = syscall.Close(fd) }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := syscall.ReadDirent(fd, buffer)
		if err != nil || n <= 0 {
			return all
		}
		_, _, names := syscall.ParseDirent(buffer[:n], -1, nil)
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil {
				if parent := parentOf(name); parent > 0 {
					all[pid] = parent
				}
			}
		}
	}
}

// parentOf reads the parent of a process; 0 where it is gone.
func parentOf(pid string) int {
	fd, err := syscall.Open("/proc/"+pid+"/stat", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = syscall.Close(fd) }()
	buffer := make([]byte, 1024)
	n, err := syscall.Read(fd, buffer)
	if err != nil || n <= 0 {
		return 0
	}
	// "PID (NAME) STATE PARENT …", and a name may hold anything.
	text := buffer[:n]
	from := len(text) - 1
	for ; from >= 0 && text[from] != ')'; from-- {
	}
	from += len(") S ")
	if from >= n {
		return 0
	}
	first := text[from:]
	for i, c := range first {
		if c == ' ' {
			first = first[:i]
			break
		}
	}
	parent, err := strconv.Atoi(string(first))
	if err != nil {
		return 0
	}
	return parent
}
