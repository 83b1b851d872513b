package shim

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"
)

// What the kernel's headers have, of which package syscall knows nothing.
const (
	createRuleset = 444 // system calls, on all architectures
	addRule       = 445
	restrictSelf  = 446

	createRulesetVersion = 1
	ruleTypePathBeneath  = 1
	scopeAbstractSocket  = 1 << 0
	scopeSignal          = 1 << 1

	execute     = 1 << 0
	writeFile   = 1 << 1
	readFile    = 1 << 2
	readDir     = 1 << 3
	removeDir   = 1 << 4
	removeFile  = 1 << 5
	makeDir     = 1 << 7
	makeReg     = 1 << 8
	makeSock    = 1 << 9
	makeFifo    = 1 << 10
	makeSym     = 1 << 12
	refer       = 1 << 13
	truncate    = 1 << 14
	ioctlDev    = 1 << 15
	resolveUnix = 1 << 16

	openPath        = 0x200000
	setNoNewPrivs   = 38
	capabilitiesOf3 = 0x20080522
)

// Rights to a path. Making devices is among none of them.
const (
	reading = execute | readFile | readDir
	writing = reading | writeFile | truncate | refer | removeDir | removeFile | makeDir | makeReg | makeSock | makeFifo | makeSym | resolveUnix
	device  = readFile | writeFile | truncate | ioctlDev
	sockets = reading | resolveUnix
	// ofFiles are the rights that make sense for what is no folder.
	ofFiles = execute | readFile | writeFile | truncate | ioctlDev | resolveUnix
)

// LeastABI is the least version of Landlock that is of use: by the first one,
// nothing can be renamed from one folder to another (Linux 5.19).
const LeastABI = 2

// handled are the rights that a version knows: without a rule, nobody has them.
func handled(abi int) uint64 {
	bits := 13
	switch {
	case abi >= 9:
		bits = 17
	case abi >= 5:
		bits = 16
	case abi >= 3:
		bits = 15
	case abi >= 2:
		bits = 14
	}
	return 1<<bits - 1
}

// ABI is the version of Landlock that the kernel offers; 0 for none.
func ABI() int {
	version, _, errno := syscall.Syscall(createRuleset, 0, 0, createRulesetVersion)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// Why says what is wrong with a version that is too low.
func Why(abi int) string {
	if abi > 0 {
		return "the kernel's Landlock is of version " + strconv.Itoa(abi) + ", and " + strconv.Itoa(LeastABI) + " is needed (Linux 5.19)"
	}
	return "the kernel has no Landlock (Linux 5.19 or later, with landlock among the security modules), or a filter of system calls (seccomp) does not permit it"
}

// ruleset is a set of rules that is being made.
type ruleset struct {
	fd      int
	handled uint64
}

// rulesetAttr and pathBeneath are as the kernel has them.
type rulesetAttr struct{ fs, net, scoped uint64 }

type pathBeneath struct {
	access uint64
	parent int32
}

func newRuleset(abi int) (*ruleset, error) {
	attr := rulesetAttr{fs: handled(abi)}
	size := unsafe.Sizeof(attr.fs)
	if abi >= 6 {
		attr.scoped = scopeSignal | scopeAbstractSocket
		size = unsafe.Sizeof(attr)
	}
	fd, _, errno := syscall.Syscall(createRuleset, uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // the call wants an address
	if errno != 0 {
		return nil, errors.New("make rules: " + errno.Error())
	}
	return &ruleset{int(fd), attr.fs}, nil
}

// allow grants rights to a path and all below it. What is not there is not granted.
func (r *ruleset) allow(path string, rights uint64) error {
	fd, err := syscall.Open(path, openPath|syscall.O_CLOEXEC, 0)
	switch err {
	case nil:
	case syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.ELOOP:
		return nil
	default:
		return errors.New("open " + path + ": " + err.Error())
	}
	defer func() { _ = syscall.Close(fd) }()
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return errors.New("look at " + path + ": " + err.Error())
	}
	if stat.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		rights &= ofFiles
	}
	attr := pathBeneath{access: rights & r.handled, parent: int32(fd)}
	if _, _, errno := syscall.Syscall6(addRule, uintptr(r.fd), ruleTypePathBeneath, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 { //nolint:gosec // the call wants an address
		return errors.New("allow " + path + ": " + errno.Error())
	}
	return nil
}

// enforce restricts this thread, and what it becomes.
func (r *ruleset) enforce() error {
	defer func() { _ = syscall.Close(r.fd) }()
	if _, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return errors.New("give up new privileges: " + errno.Error())
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if _, _, errno := syscall.Syscall(restrictSelf, uintptr(r.fd), 0, 0); errno != 0 {
		return errors.New("enforce rules: " + errno.Error())
	}
	return nil
}

// keptCapabilities are chown, dac_override, fowner, fsetid, setgid, setuid,
// net_bind_service and net_raw, which containers have, too. The others would let
// root out: by loading modules into the kernel, by reading memory.
const keptCapabilities = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<6 | 1<<7 | 1<<10 | 1<<13

// dropCapabilities drops all others. With no_new_privs, nothing brings them back.
func dropCapabilities() error {
	header := struct {
		version uint32
		pid     int32
	}{version: capabilitiesOf3}
	var data [2]struct{ effective, permitted, inheritable uint32 }
	if _, _, errno := syscall.Syscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 { //nolint:gosec // the call wants an address
		return errors.New("look at capabilities: " + errno.Error())
	}
	for i, keep := range [2]uint32{keptCapabilities, 0} {
		data[i].effective &= keep
		data[i].permitted &= keep
		data[i].inheritable &= keep
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 { //nolint:gosec // as above
		return errors.New("give up capabilities: " + errno.Error())
	}
	return nil
}
