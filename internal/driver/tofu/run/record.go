package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runVariable bears the id of a run in the environment of its processes, so
// that a program is found whose caller died between starting it and noting so.
const runVariable = "PLUMB_RUN"

// Record is what is known of the last run in a folder.
type Record struct {
	ID        string    `json:"id"`
	Operation string    `json:"operation"`
	Started   time.Time `json:"started"`
	// PID and Start (the process's start time in the kernel's ticks, of Boot)
	// name the process that the run lives as long as; 0 before it has been started.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
	Boot  string `json:"boot,omitempty"`
	// Supervised is set where that process is not the program, but watches over it.
	Supervised bool `json:"supervised,omitempty"`
	// PlanFile that is made or applied.
	PlanFile string `json:"planFile,omitempty"`
	// Who would be named in a lock that the run leaves.
	Who string `json:"who,omitempty"`
	// Ended is when somebody noticed the end of the process, Read when the caller
	// was told how it had ended, Killed where it could not say so itself.
	Ended  time.Time `json:"ended,omitzero"`
	Read   bool      `json:"read,omitempty"`
	Killed bool      `json:"killed,omitempty"`
}

// Unsettled tells whether the run was an apply that died without a word: what it
// has made may be in no state. Its record counts as read only when something else
// has been run in the folder.
func (rec Record) Unsettled() bool { return rec.Killed && rec.Operation == "apply" }

func (f Folder) readRecord() (*Record, error) {
	b, err := os.ReadFile(f.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of the last run: %w", err)
	}
	var rec Record
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, fmt.Errorf("read the record of the last run: %w", err)
	}
	return &rec, nil
}

func (f Folder) writeRecord(rec Record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("write the record of a run: %w", err)
	}
	return writeSecret(f.record(), b)
}

func (f Folder) stdout(id string) string { return filepath.Join(f.output(), id+".out") }
func (f Folder) stderr(id string) string { return filepath.Join(f.output(), id+".err") }

// Running tells whether an earlier process still works in the folder, and which.
func Running(f Folder) (*Record, bool) {
	rec, err := f.readRecord()
	if err != nil || rec == nil || !rec.Ended.IsZero() {
		return nil, false
	}
	if rec.PID == 0 { // the caller died while it started the program
		if rec.PID = findProcess(rec.ID); rec.PID == 0 {
			return rec, false
		}
		rec.Start, rec.Boot = startOf(rec.PID), bootID()
	}
	return rec, rec.alive()
}

func (rec Record) alive() bool {
	if rec.PID == 0 || rec.Boot != bootID() {
		return false
	}
	start := startOf(rec.PID)
	return start != 0 && start == rec.Start
}

// Program is the process of the program itself, 0 where there is none.
func (rec Record) Program() int {
	if !rec.alive() {
		return 0
	}
	if !rec.Supervised {
		return rec.PID
	}
	// What others have left behind becomes the supervisor's, too: later.
	program, first := 0, uint64(0)
	for _, pid := range childrenOf(rec.PID) {
		group, err := syscall.Getpgid(pid)
		if start := startOf(pid); err == nil && group == rec.PID && start != 0 && (program == 0 || start < first) {
			program, first = pid, start
		}
	}
	return program
}

// interrupt asks the program to end what it has begun and no more, and tells
// whether there was anybody to ask.
func (rec Record) interrupt() bool {
	program := rec.Program()
	return program != 0 && syscall.Kill(program, syscall.SIGINT) == nil
}

// kill ends the program; where it is supervised, all else that it has started is
// ended then.
func (rec Record) kill() {
	switch program := rec.Program(); {
	case program != 0 && rec.Supervised:
		_ = syscall.Kill(program, syscall.SIGKILL)
	case rec.alive():
		_ = syscall.Kill(-rec.PID, syscall.SIGKILL)
	}
}

// childrenOf lists the children of a process.
func childrenOf(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue
		}
		_, after, _ := bytes.Cut(b[bytes.LastIndexByte(b, ')'):], []byte(" "))
		if fields := strings.Fields(string(after)); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			all = append(all, pid)
		}
	}
	return all
}

// startOf is when a living process was started, 0 where there is none.
func startOf(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		if _, missing := os.Stat("/proc/self/stat"); missing != nil && syscall.Kill(pid, 0) == nil {
			return 1 // a system without /proc: the number has to do
		}
		return 0
	}
	_, after, _ := bytes.Cut(b[bytes.LastIndexByte(b, ')'):], []byte(" ")) // a name may hold anything
	fields := strings.Fields(string(after))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return start
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// findProcess looks for the leading process of a run by its environment.
func findProcess(id string) int {
	for range 2 {
		for _, pid := range processes(id) {
			if group, err := syscall.Getpgid(pid); err == nil && group == pid { // not a provider
				return pid
			}
		}
		time.Sleep(glance) // it may be about to begin
	}
	return 0
}

// killProcesses kills what is left of a run.
func killProcesses(id string) {
	for _, pid := range processes(id) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes lists those that bear the id of a run in their environment.
func processes(id string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	want := []byte(runVariable + "=" + id)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil {
			continue
		}
		for variable := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(variable, want) {
				all = append(all, pid)
				break
			}
		}
	}
	return all
}
