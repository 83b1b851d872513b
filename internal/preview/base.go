package preview

import (
	"context"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/internal/engine"
)

// Moved has the previews of a repository looked at whose base branch may have moved.
// It does not block.
func (r *Reviewer) Moved(repoURL string) {
	r.mu.Lock()
	r.moved[repoURL] = true
	r.mu.Unlock()
	select {
	case r.stirred <- struct{}{}:
	default:
	}
}

// follow looks after a while what moved branches mean for what was previewed: one
// repository after the other, and all that moves meanwhile at once.
func (r *Reviewer) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.stirred:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.o.Pause):
		}
		r.mu.Lock()
		moved := r.moved
		r.moved = map[string]bool{}
		r.mu.Unlock()
		repos := map[string]bool{}
		for url := range moved {
			repos[r.canonical(url)] = true
		}
		for url := range repos {
			if err := r.rebase(ctx, url); err != nil && ctx.Err() == nil {
				r.o.Log.Warn("not known what a moved branch means for pull requests", "repository", url, "error", err)
			}
		}
	}
}

// meanings identifies what the Applications that a change touches mean on the base
// branch, which may not be what the change was compared with.
// Forks are planned when somebody asks for it, and then only.
func (v *review) meanings(ctx context.Context, e Engine, apps []App, r Report) map[engine.Key]string {
	if v.pull.Fork || len(r.Applications) == 0 {
		return nil
	}
	out := map[engine.Key]string{}
	b := newBases(e, apps)
	for _, a := range r.Applications {
		out[a.key] = b.meaning(ctx, a.key)
	}
	return out
}

// rebase has those pull requests previewed again that touch an Application which means
// something else on the base branch than when they were. The host is asked about
// these only.
func (r *Reviewer) rebase(ctx context.Context, url string) error {
	type open struct {
		id pullID
		seen
	}
	var touched []open
	r.mu.Lock()
	for id, s := range r.seen {
		if id.repo == url && len(s.before) > 0 {
			touched = append(touched, open{id, s})
		}
	}
	r.mu.Unlock()
	if len(touched) == 0 {
		return nil
	}
	slices.SortFunc(touched, func(a, b open) int { return a.id.number - b.id.number })
	e, release, err := r.o.World.Engine(ctx)
	if err != nil {
		return err
	}
	defer release()
	b := newBases(e, r.o.World.Applications())
	for _, o := range touched {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !b.moved(ctx, o.before) {
			continue
		}
		r.mu.Lock()
		s := r.seen[o.id]
		s.before = nil // until it is planned
		r.seen[o.id] = s
		r.due(o.id).again = true
		r.mu.Unlock()
		r.stir()
	}
	return nil
}

// bases tells what Applications mean as they are declared, on their base branches:
// each once.
type bases struct {
	engine Engine
	apps   map[engine.Key]App
	known  map[engine.Key]string
}

func newBases(e Engine, apps []App) bases {
	b := bases{engine: e, apps: map[engine.Key]App{}, known: map[engine.Key]string{}}
	for _, a := range apps {
		b.apps[a.Key] = a
	}
	return b
}

// meaning is empty for what can't be rendered, or is not there any more.
func (b bases) meaning(ctx context.Context, key engine.Key) string {
	if now, ok := b.known[key]; ok {
		return now
	}
	now := ""
	if app, ok := b.apps[key]; ok {
		if bundle, err := b.engine.Render(ctx, app.Application, key, engine.PreviewOptions{}); err == nil {
			now = bundle.Hash
		}
	}
	b.known[key] = now
	return now
}

func (b bases) moved(ctx context.Context, before map[engine.Key]string) bool {
	for key, was := range before {
		if b.meaning(ctx, key) != was {
			return true
		}
	}
	return false
}
