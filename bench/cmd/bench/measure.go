package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumb-dev/plumb/bench/harness"
)

// installed tells when all objects are there, and when all Deployments are
// available.
func (r *rig) installed(w workload) (applied, healthy *all, done func()) {
	var names, deployed []string
	for _, o := range w.objects {
		names = append(names, o.url())
		if o.kind == deployments {
			deployed = append(deployed, o.url())
		}
	}
	applied, healthy = newAll(names), newAll(deployed)
	byID := map[id]object{}
	for _, o := range w.objects {
		byID[o.id] = o
	}
	done = r.world.onSight(func(s sight) {
		o, ours := byID[s.id]
		if !ours || !s.exists {
			return
		}
		applied.good(o.url(), s.at)
		if s.ready {
			healthy.good(o.url(), s.at)
		}
	})
	return applied, healthy, done
}

func (r *rig) awaitInstall(ctx context.Context, began time.Time, applied, healthy *all) (install, error) {
	var in install
	at, err := await(ctx, applied.complete, r.options.patience)
	if err != nil {
		return in, fmt.Errorf("wait for all objects: %w", r.explain(err))
	}
	in.Applied = at.Sub(began).Seconds()
	if at, err = await(ctx, healthy.complete, r.options.patience); err != nil {
		return in, fmt.Errorf("wait for all to be healthy: %w", r.explain(err))
	}
	in.Healthy = at.Sub(began).Seconds()
	return in, nil
}

// install pushes the content of all Applications in one commit, and measures
// from the push.
func (r *rig) install(ctx context.Context, w workload) (install, error) {
	files := map[string][]byte{}
	for _, o := range w.objects {
		files[o.file] = o.yaml()
	}
	revision, err := r.repo.Commit(ctx, files, "Declare the applications")
	if err != nil {
		return install{}, err
	}
	applied, healthy, done := r.installed(w)
	defer done()
	reported := newAll(r.appNames())
	defer r.world.onReport(func(s report) {
		if s.good(revision) {
			reported.good(s.name, s.at)
		}
	})()
	profiled := r.profiled(ctx, "plumb")
	defer profiled()
	mark, before, began := r.Audit.Mark(), r.cpu(), time.Now()
	if err := r.repo.Push(ctx); err != nil {
		return install{}, err
	}
	in, err := r.awaitInstall(ctx, began, applied, healthy)
	if err != nil {
		return in, err
	}
	at, err := await(ctx, reported.complete, r.options.patience)
	if err != nil {
		return in, fmt.Errorf("wait until all Applications are Synced and Healthy: %w", r.explain(err))
	}
	in.Reported = at.Sub(began).Seconds()
	in.CPU = cpuSince(r.cpu(), before)
	requests, err := r.Audit.Since(mark)
	if err != nil {
		return in, err
	}
	in.Requests, in.Refused = harness.Tally(harness.Work(requests)), harness.Failures(requests)
	return in, nil
}

// profileSeconds is how long a profile of a first install is.
const profileSeconds = 10

// profiled starts profiles of the API server and of the engine where they are
// asked for, and gives what waits for their end.
func (r *rig) profiled(ctx context.Context, name string) (wait func()) {
	if r.options.profile == "" {
		return func() {}
	}
	into := func(what string) string { return filepath.Join(r.options.profile, what+"-"+name+".pprof") }
	var group errgroup.Group
	group.Go(func() error { return r.Profile(ctx, profileSeconds, into("apiserver")) })
	if r.engine != nil {
		group.Go(func() error { return r.engine.Profile(ctx, profileSeconds, into("engine")) })
	}
	return func() {
		if err := group.Wait(); err != nil {
			say("%v", err)
		}
	}
}

// change commits to one file of the monorepo after the other.
func (r *rig) change(ctx context.Context, res *results) error {
	renderings := func() (float64, error) {
		s, err := r.engine.Scrape(ctx)
		return s.Sum("plumb_renderings_total"), err
	}
	for n := range r.options.changes {
		i := n * 7 % r.options.apps
		o := configuration(i, fmt.Sprintf("change-%d", n))
		revision, err := r.repo.Commit(ctx, map[string][]byte{o.file: o.yaml()}, "Change "+appName(i))
		if err != nil {
			return err
		}
		applied, reported := newAll([]string{"x"}), newAll([]string{"x"})
		doneSights := r.world.onSight(func(s sight) {
			if s.id == o.id && s.value == o.value {
				applied.good("x", s.at)
			}
		})
		doneReports := r.world.onReport(func(s report) {
			if s.name == appName(i) && s.good(revision) {
				reported.good("x", s.at)
			}
		})
		before, err := renderings()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := r.repo.Push(ctx); err != nil {
			return err
		}
		at, err := await(ctx, applied.complete, r.options.patience)
		if err == nil {
			_, err = await(ctx, reported.complete, r.options.patience)
		}
		doneSights()
		doneReports()
		if err != nil {
			return fmt.Errorf("change of %s: %w", appName(i), r.explain(err))
		}
		res.Changes = append(res.Changes, at.Sub(began))
		if err := harness.Sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		after, err := renderings()
		if err != nil {
			return err
		}
		res.Renderings = append(res.Renderings, int(after-before))
	}
	say("one file changed: push to applied p50 %s, p99 %s", harness.Median(res.Changes), harness.Quantile(res.Changes, 0.99))
	return nil
}

// wound deletes and edits objects out of band, one after the other, and
// measures from the event to the healed object, both as the observer saw them.
func (r *rig) wound(ctx context.Context, w workload) (heals, error) {
	var out heals
	for n := range r.options.wounds {
		app := w.apps[n*13%len(w.apps)]
		o := app[n%objectsPerApp]
		if o.kind == configMaps {
			o = app[3] // its content was changed by commits
		}
		took, err := r.woundOne(ctx, o, n%2 == 0)
		if err != nil {
			return out, fmt.Errorf("heal %s: %w", o.url(), r.explain(err))
		}
		if n%2 == 0 {
			out.Deleted = append(out.Deleted, took)
		} else {
			out.Edited = append(out.Edited, took)
		}
	}
	say("%d out-of-band changes: event to healed p50 %s, p99 %s", r.options.wounds, harness.Median(out.all()), harness.Quantile(out.all(), 0.99))
	return out, nil
}

func (r *rig) woundOne(ctx context.Context, o object, remove bool) (time.Duration, error) {
	hurt, healed := make(chan time.Time, 1), make(chan time.Time, 1)
	wounded := false
	done := r.world.onSight(func(s sight) {
		if s.id != o.id {
			return
		}
		whole := s.exists && s.value == o.value
		switch {
		case !wounded && !whole:
			wounded = true
			hurt <- s.at
		case wounded && whole:
			select {
			case healed <- s.at:
			default:
			}
		}
	})
	defer done()
	request := r.Admin.CoreV1().RESTClient().Delete().AbsPath(o.url())
	if !remove {
		patch, _ := o.sabotage()
		request = r.Admin.CoreV1().RESTClient().Patch(types.MergePatchType).AbsPath(o.url()).Body([]byte(patch))
	}
	if err := request.Do(ctx).Error(); err != nil {
		return 0, err
	}
	began, err := await(ctx, hurt, r.options.patience)
	if err != nil {
		return 0, err
	}
	at, err := await(ctx, healed, r.options.patience)
	return at.Sub(began), err
}

// ratio of two figures, 0 without the second.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
