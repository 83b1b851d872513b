package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/module"
)

// cost is what a full check of everything took.
type cost struct{ cpu, wall time.Duration }

func (c cost) per(n int) cost { return cost{c.cpu / time.Duration(n), c.wall / time.Duration(n)} }

// probed is what was measured of the probe.
type probed struct {
	cold, warm cost // the first check, and the mean of those that follow
	processes  []probe.ProcessInfo
	rss        int64 // of the program that holds the states
	subjects   []*probe.Subject
	prober     *probe.Prober
}

// probe checks all modules once, and then several times more.
func (r *rig) probe(ctx context.Context, dirs []string, o probe.Options) (*probed, error) {
	p, err := probe.New(o)
	if err != nil {
		return nil, err
	}
	m := &probed{prober: p}
	before, began := used(p), time.Now()
	for _, dir := range dirs {
		state, err := os.ReadFile(filepath.Join(dir, "terraform.tfstate"))
		if err != nil {
			return m, err
		}
		s, err := p.Subject(probe.Target{State: state, Module: module.Options{Root: dir}, Env: r.env, Secrets: []string{token}})
		if err != nil {
			return m, err
		}
		m.subjects = append(m.subjects, s)
	}
	if err := m.check(ctx, r.o.parallel); err != nil {
		return m, err
	}
	m.cold = cost{used(p) - before, time.Since(began)}
	before, began = used(p), time.Now()
	for range r.o.rounds {
		if err := m.check(ctx, r.o.parallel); err != nil {
			return m, err
		}
	}
	m.warm = cost{used(p) - before, time.Since(began)}.per(r.o.rounds)
	m.processes, m.rss = p.Processes(), resident("self")
	return m, nil
}

// check checks everything; all must be the same.
func (m *probed) check(ctx context.Context, parallel int) error {
	next, errs := make(chan *probe.Subject), make(chan error, len(m.subjects))
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for s := range next {
				for _, result := range s.Check(ctx).Results {
					if result.Verdict != probe.Same {
						errs <- fmt.Errorf("%s is %s: %s %v", result.Address, result.Verdict, result.Reason, result.Differences)
						break
					}
				}
			}
		})
	}
	for _, s := range m.subjects {
		next <- s
	}
	close(next)
	workers.Wait()
	close(errs)
	return <-errs
}

// used is the CPU time of this process, of its children that have ended, and of
// the providers that run.
func used(p *probe.Prober) time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	for _, info := range p.Processes() {
		total += ofProcess(info.Pid)
	}
	return total
}

// ofProcess is the CPU time of a process that runs, in hundredths of seconds.
func ofProcess(pid string) time.Duration {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, _ := strconv.ParseInt(string(field), 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func resident(pid string) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "statm"))
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
