package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/render"
)

// forty is a module of forty resources, all of which a variable changes.
const forty = `terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}

variable "value" { default = "0" }

resource "cloud_vpc" "main" {
  count      = 40
  cidr_block = "10.${count.index}.0.0/16"
  tags       = { value = var.value }
}
`

const (
	owner = driver.Owner("bench/loop")
	// watched is how often drift is looked for while its discovery is timed.
	watched = 2 * time.Second
)

// loop is the driver, used as the engine does.
type loop struct {
	d     *tofu.Driver
	moved chan struct{}
	value int
}

// compareLoop measures syncs beside bare applies, and how soon drift is found.
func (r *rig) compareLoop(ctx context.Context, t *table) error {
	say("syncing a module of 40 resources")
	d, err := tofu.New(tofu.Options{
		Dir: filepath.Join(r.dir, "driver"), States: &states{all: map[tofu.StateID][]byte{}}, Path: []string{filepath.Dir(r.tofu)},
		Env: r.env[:1:1], CLIConfig: filepath.Join(r.dir, "tofurc"),
	})
	if err != nil {
		return err
	}
	defer d.Close()
	l := &loop{d: d, moved: make(chan struct{}, 1)}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_ = d.Watch(watching, func(driver.Owner) {
			select {
			case l.moved <- struct{}{}:
			default:
			}
		})
	}()
	bare, err := r.module("bare", forty, "")
	if err != nil {
		return err
	}
	if _, err := r.do(ctx, r.tofu, bare, "init", "-no-color"); err != nil {
		return err
	}
	for _, latency := range []string{"0s", "200ms"} {
		if err := r.cloud.call(ctx, http.MethodPut, "/admin/behaviour", map[string]any{"latency": latency}, nil); err != nil {
			return err
		}
		if err := r.syncs(ctx, l, bare, latency, t); err != nil {
			return err
		}
	}
	if err := r.cloud.call(ctx, http.MethodPut, "/admin/behaviour", map[string]any{}, nil); err != nil {
		return err
	}
	return r.discoveries(ctx, l, t)
}

func (r *rig) desired(value int) driver.Desired {
	options := v1alpha1.ApplicationSourceTofu{Vars: map[string]string{"value": fmt.Sprint(value)}}
	for _, e := range r.env[len(r.env)-2:] { // the cloud's
		name, text, _ := cutEnv(e)
		options.Env = append(options.Env, v1alpha1.EnvEntry{Name: name, Value: text})
	}
	return driver.Desired{
		Target: driver.Target{Owner: owner, Server: v1alpha1.InClusterServer},
		Drift:  &v1alpha1.DriftPolicy{Interval: watched.String()},
		Bundle: render.Bundle{Driver: render.TofuDriver, Hash: "forty", Module: &render.Module{
			Files: map[string][]byte{"main.tf": []byte(forty)}, Dir: ".", Options: options,
		}},
	}
}

func cutEnv(e string) (name, value string, ok bool) {
	for i := range e {
		if e[i] == '=' {
			return e[:i], e[i+1:], true
		}
	}
	return e, "", false
}

// sync makes a value true, and returns when it is.
func (r *rig) sync(ctx context.Context, l *loop, value int) error {
	want := r.desired(value)
	for {
		c, err := l.d.Compare(ctx, want)
		if err != nil {
			return err
		}
		if !c.Busy && c.Plan.Empty() {
			return nil
		}
		if !c.Busy {
			l.d.Apply(ctx, driver.Apply{Desired: want, Steps: c.Plan.Steps, Prune: true}, func(driver.Result) {})
		}
		select {
		case <-l.moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// syncs times syncs of a changed variable and of none, beside bare applies, turn by
// turn.
func (r *rig) syncs(ctx context.Context, l *loop, bare, latency string, t *table) error {
	apply := func() error {
		_, err := r.do(ctx, r.tofu, bare, "apply", "-no-color", "-auto-approve", fmt.Sprintf("-var=value=%d", l.value))
		return err
	}
	if err := r.sync(ctx, l, l.value); err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	var changed, bareChanged, same, bareSame []time.Duration
	for range r.o.syncs {
		l.value++
		for _, one := range []struct {
			into *[]time.Duration
			do   func() error
		}{
			{&changed, func() error { return r.sync(ctx, l, l.value) }},
			{&bareChanged, apply},
			{&same, func() error { return r.sync(ctx, l, l.value) }},
			{&bareSame, apply},
		} {
			began := time.Now()
			if err := one.do(); err != nil {
				return err
			}
			*one.into = append(*one.into, time.Since(began))
		}
	}
	what := "one variable changed, 40 resources, answers after " + latency
	limit := 0.0
	if latency != "0s" {
		limit = 1.15
	}
	t.ratio(what, median(changed), median(bareChanged), limit)
	t.ratio("nothing changed, 40 resources, answers after "+latency, median(same), median(bareSame), 1.15)
	return nil
}

// discoveries times how soon a change out of band is told of, and shown by a plan.
func (r *rig) discoveries(ctx context.Context, l *loop, t *table) error {
	say("changing things out of band")
	type object struct {
		ID string `json:"id"`
	}
	var objects []object
	if err := r.cloud.call(ctx, http.MethodGet, "/admin/objects?kind=vpc", nil, &objects); err != nil {
		return err
	}
	state, err := l.d.Compare(ctx, r.desired(l.value))
	if err != nil {
		return err
	}
	known := len(state.Resources)
	// Those of the small modules were made before, those of the bare one after.
	slices.SortFunc(objects, func(a, b object) int { return cmp.Compare(a.ID, b.ID) })
	if objects = objects[max(0, len(objects)-2*known):]; len(objects) < known {
		return fmt.Errorf("the cloud has %d of the %d networks of the module", len(objects), known)
	}
	var told []time.Duration
	for i := range min(r.o.syncs*2, known) {
		select { // of what was before
		case <-l.moved:
		default:
		}
		began := time.Now()
		if err := r.cloud.call(ctx, http.MethodPatch, "/admin/objects/"+objects[i].ID, map[string]any{"tags": map[string]any{"value": "edited"}}, nil); err != nil {
			return err
		}
		for found := false; !found; {
			c, err := l.d.Compare(ctx, r.desired(l.value))
			if err != nil {
				return err
			}
			if found = !c.Plan.Empty(); found {
				continue
			}
			select {
			case <-l.moved:
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Minute):
				return fmt.Errorf("the change of %s is not found", objects[i].ID)
			}
		}
		told = append(told, time.Since(began))
		if err := r.sync(ctx, l, l.value); err != nil {
			return err
		}
	}
	t.notes = append(t.notes, fmt.Sprintf("changed out of band to shown by a confirmed plan, looked for every %s: median %s, at most %s", watched, short(median(told)), short(slices.Max(told))))
	if n := len(l.d.Processes()); n > 0 {
		t.notes = append(t.notes, fmt.Sprintf("steady state of the loop: no tofu process, %d provider process of %d MB", n, l.d.Processes()[0].RSS>>20))
	}
	return nil
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// states keeps states in memory.
type states struct {
	mu  sync.Mutex
	all map[tofu.StateID][]byte
}

func (s *states) Load(_ context.Context, id tofu.StateID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[id], nil
}

func (s *states) Save(_ context.Context, id tofu.StateID, state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[id] = slices.Clone(state)
	return nil
}

func (s *states) Delete(_ context.Context, id tofu.StateID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
	return nil
}

func (*states) Lock(context.Context, tofu.StateID, tofu.Lock) error { return nil }

func (*states) Unlock(context.Context, tofu.StateID, string) error { return nil }
