package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one that Plumb has started, or one of its own.
type process struct {
	pid  int
	args []string
}

func (p process) String() string {
	return fmt.Sprintf("%d %s", p.pid, strings.Join(p.args[:min(len(p.args), 4)], " "))
}

// operation is what OpenTofu was told to do.
func (p process) operation() string {
	if len(p.args) > 1 {
		return p.args[1]
	}
	return ""
}

func (p process) applies() bool { return p.operation() == "apply" }

// processes are those of this run, known by its folder in their environment.
func (s *soak) processes() []process {
	var found []process
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !strings.Contains(string(env), "="+filepath.Join(s.dir, "tmp")) {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		found = append(found, process{pid, strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")})
	}
	return found
}

// programs are the processes of OpenTofu.
func (s *soak) programs() []process {
	var found []process
	for _, p := range s.processes() {
		if p.args[0] == filepath.Join(s.options.bin, "tofu") {
			found = append(found, p)
		}
	}
	return found
}
