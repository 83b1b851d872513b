package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
)

const (
	// unheardAfter is when it is said that nobody begins the operation.
	unheardAfter = 15 * time.Second
	// degradedPatience is how long an Application may be Degraded after a sync
	// that succeeded: what was broken before needs a moment to be seen as mended.
	degradedPatience = 15 * time.Second
)

var errDegraded = errors.New("degraded")

// syncProgress follows one sync that was asked for.
type syncProgress struct {
	c       commandline
	view    syncView
	request syncRequest
	mark    string
	key     engine.Key

	begun, ended bool
	ails         bool // Degraded after the sync
	message      string
	results      map[plan.Address]v1alpha1.ResourceResult
	healths      map[plan.Address]v1alpha1.HealthStatus
	degraded     *time.Timer
	last         application
}

// follow shows the sync until it is done, and what it did is healthy.
func (p *syncProgress) follow(parent context.Context) error {
	p.results, p.healths = map[plan.Address]v1alpha1.ResourceResult{}, map[plan.Address]v1alpha1.HealthStatus{}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	p.degraded = time.AfterFunc(time.Hour, func() { cancel(errDegraded) })
	p.degraded.Stop()
	unheard := time.AfterFunc(unheardAfter, func() {
		p.view.note(p.key, "nobody has begun the sync yet: does the engine run? (`plumb up` runs it, on another cluster `plumb server` does)")
	})
	defer unheard.Stop()
	err := p.c.connection.watchOne(ctx, p.key, func(a application, gone bool) (bool, error) {
		if gone {
			return true, fmt.Errorf("application %s was deleted meanwhile", p.key)
		}
		p.last = a
		done, err := p.see(a)
		if p.begun {
			unheard.Stop()
		}
		return done, err
	})
	p.degraded.Stop()
	err = p.outcome(err, context.Cause(ctx))
	p.view.done(p.last, err)
	return err
}

func (p *syncProgress) outcome(err, cause error) error {
	switch {
	case errors.Is(cause, errDegraded):
		return fmt.Errorf("%s was synced and is Degraded%s", p.key, ailing(p.last))
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case !p.begun:
		return fmt.Errorf("the sync of %s was not begun in time: does the engine run? (`plumb up` runs it, on another cluster `plumb server` does)", p.key)
	case !p.ended && strings.HasPrefix(p.message, "waiting for approval"):
		return exitError{code: 3, err: fmt.Errorf("the sync of %s is not approved in time: %s (it goes on waiting)", p.key, printable(p.message))}
	case !p.ended:
		return fmt.Errorf("the sync of %s is not done in time: %s (it goes on; `plumb describe %s`)", p.key, cmp.Or(printable(p.message), "no message"), qualifiedArgument(p.key))
	}
	return fmt.Errorf("%s was synced and is not healthy in time: it is %s%s", p.key, orUnknown(string(p.last.Status.Health.Status)), ailing(p.last))
}

// mine tells whether an operation is the one that was asked for.
func (p *syncProgress) mine(o *v1alpha1.Operation) bool {
	return o != nil && slices.ContainsFunc(o.Info, func(i v1alpha1.Info) bool {
		return i.Name == requestInfo && i.Value == p.mark
	})
}

// see shows what is new, and tells whether the sync is over.
func (p *syncProgress) see(a application) (bool, error) {
	state := a.Status.OperationState
	if state == nil || !p.mine(&state.Operation) {
		if p.begun || a.Operation != nil && !p.mine(a.Operation) {
			return true, fmt.Errorf("another operation took the place of the sync of %s", p.key)
		}
		return false, nil
	}
	p.begun = true
	p.showResults(state)
	switch state.Phase {
	case v1alpha1.OperationRunning, v1alpha1.OperationTerminating, "":
		return false, nil
	case v1alpha1.OperationSucceeded:
	default:
		return true, fmt.Errorf("the sync of %s failed: %s", p.key, cmp.Or(printable(state.Message), string(state.Phase)))
	}
	p.ended = true
	if p.request.dryRun {
		return true, nil
	}
	return p.healthy(a), nil
}

func (p *syncProgress) showResults(state *v1alpha1.OperationState) {
	if state.SyncResult != nil {
		for _, r := range state.SyncResult.Resources {
			address := resultAddress(r)
			if old, ok := p.results[address]; ok && old.Status == r.Status && old.Message == r.Message && old.HookPhase == r.HookPhase {
				continue
			}
			p.results[address] = r
			p.view.result(p.key, r)
		}
	}
	if state.Message != p.message {
		p.message = state.Message
		if state.Phase == v1alpha1.OperationRunning && state.Message != "" {
			p.view.note(p.key, printable(state.Message))
		}
	}
}

// healthy shows each change of health after the sync, and tells whether all is
// well: of the whole Application, or of the resources that were asked for.
func (p *syncProgress) healthy(a application) bool {
	worst := a.Status.Health.Status
	if len(p.request.resources) > 0 {
		worst = v1alpha1.HealthStatusHealthy
	}
	for _, r := range a.Status.Resources {
		if r.Health == nil || r.Health.Status == "" {
			continue
		}
		address := resourceAddress(r)
		old, seen := p.healths[address]
		well := settled(r.Health.Status)
		if (seen || !well) && (old.Status != r.Health.Status || old.Message != r.Health.Message) {
			p.view.health(p.key, r)
		}
		p.healths[address] = *r.Health
		if !well && len(p.request.resources) > 0 && p.asked(r) {
			worst = r.Health.Status
		}
	}
	switch ailing := worst == v1alpha1.HealthStatusDegraded; {
	case ailing && !p.ails:
		p.degraded.Reset(degradedPatience)
	case !ailing:
		p.degraded.Stop()
	}
	p.ails = worst == v1alpha1.HealthStatusDegraded
	return settled(worst)
}

func settled(h v1alpha1.HealthStatusCode) bool {
	return h == v1alpha1.HealthStatusHealthy || h == v1alpha1.HealthStatusSuspended
}

func (p *syncProgress) asked(r v1alpha1.ResourceStatus) bool {
	resources, _ := parseResources(p.request.resources)
	return slices.ContainsFunc(resources, func(s v1alpha1.SyncOperationResource) bool {
		return s.Group == r.Group && s.Kind == r.Kind && s.Name == r.Name && (s.Namespace == "" || s.Namespace == r.Namespace)
	})
}

func resultAddress(r v1alpha1.ResourceResult) plan.Address {
	return plan.Ref{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}.Address()
}

func resourceAddress(r v1alpha1.ResourceStatus) plan.Address {
	return plan.Ref{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}.Address()
}
