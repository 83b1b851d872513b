package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is what Linux counts CPU time in for everybody to read.
const ticksPerSecond = 100

// Usage is what a process uses of the machine.
type Usage struct {
	// CPU is the time it has used so far, its ended children's included.
	CPU time.Duration
	// RSS, PSS and Private are resident memory in bytes: all of it, with what is
	// shared divided among its users, and what nobody shares.
	RSS, PSS, Private int64
	// Peak is the highest RSS so far.
	Peak int64
	// Children is the PSS and ChildrenCPU the CPU time of its living children.
	Children    int64
	ChildrenCPU time.Duration
}

// UsageOf reads what a process and its children use.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	var err error
	if u.CPU, err = cpuOf(pid); err != nil {
		return u, err
	}
	sizes, err := kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, err
	}
	u.RSS, u.PSS = sizes["Rss"], sizes["Pss"]
	u.Private = sizes["Private_Clean"] + sizes["Private_Dirty"]
	if status, err := kilobytes(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		u.Peak = status["VmHWM"]
	}
	for _, child := range descendants(pid) {
		if sizes, err := kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", child)); err == nil {
			u.Children += sizes["Pss"]
		}
		if cpu, err := cpuOf(child); err == nil {
			u.ChildrenCPU += cpu
		}
	}
	return u, nil
}

// TotalCPU is the time used by the process and all its children.
func (u Usage) TotalCPU() time.Duration { return u.CPU + u.ChildrenCPU }

func cpuOf(pid int) (time.Duration, error) {
	fields, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// statOf returns the fields of /proc/PID/stat after the program's name.
func statOf(pid int) ([]string, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("process %d: its stat is too short", pid)
	}
	return fields, nil
}

// kilobytes reads lines such as "Rss:   1234 kB", as bytes.
func kilobytes(path string) (map[string]int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[2] == "kB" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			sizes[strings.TrimSuffix(fields[0], ":")] = n * 1024
		}
	}
	return sizes, nil
}

func descendants(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if fields, err := statOf(child); err == nil {
			if parent, err := strconv.Atoi(fields[1]); err == nil {
				children[parent] = append(children[parent], child)
			}
		}
	}
	var all []int
	for next := children[pid]; len(next) > 0; {
		all = append(all, next...)
		var further []int
		for _, child := range next {
			further = append(further, children[child]...)
		}
		next = further
	}
	return all
}
