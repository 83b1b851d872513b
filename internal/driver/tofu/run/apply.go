package run

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// Apply makes a saved plan true. Where the state has moved on since, the error
// is ErrStale; where some resources failed, the error tells of each, and what
// was done is in the state. progress may be nil.
func (r *Runner) Apply(ctx context.Context, p *Planned, progress func(Event)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(p.File); err != nil {
		return &Error{Kind: KindStale, Operation: "apply", Cause: fmt.Errorf("the saved plan is gone: %w", err)}
	}
	if p.Plan != nil {
		r.masker.AddPlan(p.Plan)
	} else if err := r.load(ctx, p); err != nil { // for the secrets in it
		return err
	}
	args := []string{"apply", "-json", "-input=false", r.lockTimeout()}
	if r.config.Parallelism > 0 {
		args = append(args, "-parallelism="+strconv.Itoa(r.config.Parallelism))
	}
	e, err := r.execute(ctx, job{operation: "apply", args: append(args, p.File), planFile: p.File, env: r.workspaceEnv, progress: progress, reads: []string{p.File}})
	if err != nil {
		return err
	}
	return r.applied(ctx, e)
}

// applied tells how an apply went.
func (r *Runner) applied(ctx context.Context, e *ended) error {
	err := r.verdict(ctx, "apply", e, 0)
	if err == nil {
		return r.forgetKilled()
	}
	// What was made just now may have secrets that the plan did not know of.
	if _, unread := r.state(context.WithoutCancel(ctx)); unread == nil {
		err = r.remask(err)
	}
	return err
}

// Outcome is how an earlier run, whose caller had died, came to its end.
type Outcome struct {
	Record Record
	// Err is nil where it went well.
	Err error
}

// Resume waits for the run that an earlier caller has left in the folder, and
// tells how it ended: once, and nil where there is nothing to tell. All of its
// progress is told from the beginning. Call it after Open and before anything
// else.
func (r *Runner) Resume(ctx context.Context, progress func(Event)) (*Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	killProcesses(r.folder.queryID()) // of a caller that was killed
	rec, err := r.folder.readRecord()
	if err != nil || rec == nil || rec.Read {
		return nil, err
	}
	if running, alive := Running(r.folder); alive {
		rec = running
	} else if rec.PID == 0 { // it was never started
		rec.Ended, rec.Read = rec.Started, true
		return nil, r.folder.writeRecord(*rec)
	}
	if rec.Operation == "apply" && rec.PlanFile != "" { // for the secrets in it
		if err := r.load(ctx, &Planned{File: rec.PlanFile}); err != nil {
			progress = withoutTexts(progress)
		}
	}
	e, err := r.follow(ctx, *rec, progress, nil)
	if err != nil {
		return nil, err
	}
	out := &Outcome{Err: r.verdict(ctx, rec.Operation, e)}
	if rec.Operation == "apply" {
		out.Err = r.applied(ctx, e)
	}
	if rec, err = r.folder.readRecord(); err != nil {
		return nil, err
	}
	rec.Read = !rec.Unsettled()
	out.Record = *rec
	return out, r.folder.writeRecord(*rec)
}

// withoutTexts drops the texts of events: which secrets could be in them is
// not known.
func withoutTexts(progress func(Event)) func(Event) {
	if progress == nil {
		return nil
	}
	return func(e Event) {
		e.ID, e.Message = "", ""
		progress(e)
	}
}
