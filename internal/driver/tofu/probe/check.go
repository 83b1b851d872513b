package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/provider"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/state"
)

// builtIn is the provider of terraform_data, which is part of OpenTofu: it
// keeps nothing anywhere but in the state.
const builtIn = "terraform.io/builtin/terraform"

// Check reads every instance in the state. It does not fail: what cannot be
// known is unknown, with the reason.
func (s *Subject) Check(ctx context.Context) Report {
	report := Report{Results: make([]Result, len(s.state.Managed)), Unseen: s.state.Data}
	var order []state.ProviderRef
	places := map[state.ProviderRef][]int{}
	for i := range s.state.Managed {
		instance := &s.state.Managed[i]
		result := &report.Results[i]
		result.Address, result.Deposed = instance.Address, instance.Deposed
		switch {
		case instance.Deposed != "":
			result.because(Unreadable, "it was replaced and is still to be destroyed")
		case instance.Tainted:
			result.because(Unreadable, "it is tainted: the next plan replaces it")
		case instance.Provider.Source == builtIn:
			result.Verdict = Same
		default:
			if places[instance.Provider] == nil {
				order = append(order, instance.Provider)
			}
			places[instance.Provider] = append(places[instance.Provider], i)
		}
	}
	// One provider after the other: who waits for a process holds none.
	for _, ref := range order {
		s.checkAll(ctx, ref, places[ref], report.Results)
	}
	return report
}

func (r *Result) because(cause Cause, reason string) {
	*r = Result{Address: r.Address, Deposed: r.Deposed, Verdict: Unknown, Cause: cause, Reason: reason}
}

// checkAll checks the instances of one provider configuration.
func (s *Subject) checkAll(ctx context.Context, ref state.ProviderRef, places []int, results []Result) {
	c := s.configure(ctx, ref)
	if c.err != nil {
		mask := newMasker(s.target.Secrets)
		for _, i := range places {
			results[i].because(causeOf(c.err), mask.text(c.err.Error()))
		}
		return
	}
	e := s.prober.use(c.entry)
	defer s.prober.unuse(e)
	places = s.longestUnread(places)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(s.prober.workers(e), len(places)) {
		workers.Go(func() {
			for i := range next {
				s.checkOne(ctx, e, i, &results[i])
			}
		})
	}
	for _, i := range places {
		next <- i
	}
	close(next)
	workers.Wait()
	s.note(places, results)
}

// longestUnread puts those first that were not read for the longest time, so
// that all are where not all can be at once.
func (s *Subject) longestUnread(places []int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.partly {
		return places
	}
	return slices.SortedStableFunc(slices.Values(places), func(a, b int) int { return cmp.Compare(s.read[a], s.read[b]) })
}

// note notes which instances were asked for.
func (s *Subject) note(places []int, results []Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks++
	for _, i := range places {
		if cause := results[i].Cause; cause == Throttled || cause == Cancelled {
			s.partly = true
		} else {
			s.read[i] = s.checks
		}
	}
}

// use keeps an entry from being forgotten. If it was, and another one has taken
// its place, that is used.
func (p *Prober) use(e *entry) *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if current := p.entries[e.key]; current != nil {
		e = current
	}
	p.entries[e.key] = e
	e.users++
	return e
}

func (p *Prober) unuse(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	e.used = p.o.Now()
}

func (s *Subject) checkOne(ctx context.Context, e *entry, place int, result *Result) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		result.because(Cancelled, ctx.Err().Error())
		return
	}
	if err := s.prober.relieve(e); err != nil {
		result.because(causeOf(err), err.Error())
		return
	}
	if err := e.limiter.Wait(ctx); err != nil {
		result.because(Cancelled, "there was no time to read it: "+err.Error())
		return
	}
	if err := s.prober.admit(e); err != nil {
		result.because(causeOf(err), err.Error())
		return
	}
	w, err := s.prober.acquire(ctx, e)
	if err != nil {
		result.because(causeOf(err), e.mask.text(err.Error()))
		return
	}
	defer s.prober.release(e, w)
	within, cancel := context.WithTimeout(ctx, s.prober.o.ReadTimeout)
	defer cancel()
	began := time.Now()
	k, reading, err := s.ask(within, e, w, place)
	if err != nil {
		s.explain(ctx, e, w, k, place, err, result)
		return
	}
	s.prober.answered(e, w, time.Since(began))
	judge(k, reading, &s.state.Managed[place], slices.Concat(e.secrets, s.target.Secrets), result)
}

// ask upgrades an instance, unless that was done before, and reads it. A
// Subject has the same version of a provider all its life.
func (s *Subject) ask(ctx context.Context, e *entry, w *warm, place int) (*provider.Known, *provider.Reading, error) {
	s.mu.Lock()
	known, i := s.known[place], s.state.Managed[place]
	s.mu.Unlock()
	if known == nil {
		var err error
		known, err = w.Upgrade(ctx, e.schema, provider.Object{
			Type: i.Type, Version: i.SchemaVersion, JSON: i.Attributes, Flat: i.Flat, Private: i.Private,
			Identity: i.Identity, IdentityVersion: i.IdentityVersion,
		})
		if err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		s.known[place] = known
		s.state.Managed[place].Attributes = nil // it is not needed any more, and large
		s.mu.Unlock()
	}
	reading, err := w.Read(ctx, known)
	return known, reading, err
}

// explain says why an instance could not be read.
func (s *Subject) explain(ctx context.Context, e *entry, w *warm, k *provider.Known, place int, err error, result *Result) {
	mask := func(text string) string { return e.mask.text(newMasker(s.secrets(k, place)).text(text)) }
	var refused *provider.DiagnosticsError
	switch {
	case ctx.Err() != nil:
		result.because(Cancelled, ctx.Err().Error())
	case provider.Late(err) && ending(ctx):
		result.because(Cancelled, context.DeadlineExceeded.Error())
	case errors.As(err, &refused) && throttled.MatchString(err.Error()):
		s.prober.strained(e, true)
		result.because(Throttled, mask(err.Error()))
	case errors.As(err, &refused):
		result.because(Failed, mask(err.Error()))
	case provider.Lost(err) || w.Exited():
		s.prober.failed(e, w, true)
		result.because(Crashed, mask(crashed(ctx, w)))
	case provider.Late(err):
		s.prober.failed(e, w, false)
		s.prober.strained(e, false)
		result.because(TooLate, fmt.Sprintf("the provider did not answer within %s", s.prober.o.ReadTimeout))
	default:
		result.because(Failed, mask(err.Error()))
	}
}

// secrets are the texts of an object that must not be shown. Before its state
// was upgraded, it is not known which these are: then all are.
func (s *Subject) secrets(k *provider.Known, place int) []string {
	s.mu.Lock()
	i := s.state.Managed[place]
	s.mu.Unlock()
	if k != nil {
		return k.Secrets(i.Sensitive)
	}
	return i.Texts()
}

// crashed tells what a provider last wrote that looks like why.
func crashed(ctx context.Context, w *warm) string {
	if line := w.Panic(ctx); line != "" {
		return "the provider crashed: " + line
	}
	return "the provider crashed"
}

// judge gives the verdict. Differences do not show the given secrets, wherever
// they turn up.
func judge(k *provider.Known, r *provider.Reading, i *state.Instance, secrets []string, result *Result) {
	switch {
	case r.Deferred != "":
		result.because(Failed, "the provider puts the answer off: "+r.Deferred)
	case r.Gone:
		result.Verdict = Gone
		result.fingerprint = fingerprint(i.Address, i.Deposed, r.Before)
	case r.Same:
		result.Verdict = Same
	default:
		result.Verdict = Differs
		result.fingerprint = fingerprint(i.Address, i.Deposed, r.Before, r.After, r.IdentityBefore, r.IdentityAfter)
		if r.IdentityBefore != cty.NilVal {
			result.Differences = append(result.Differences, Difference{nil, r.IdentityBefore, r.IdentityAfter})
		}
		if r.Before != cty.NilVal {
			var found []Difference
			differences(nil, r.Before, r.After, &found)
			slices.SortFunc(found, func(a, b Difference) int { return strings.Compare(a.Name(), b.Name()) })
			c := concealer{k.Block(), i.Sensitive, slices.Concat(k.Secrets(i.Sensitive), secrets)}
			for _, d := range found {
				result.Differences = append(result.Differences, c.hide(d))
			}
		}
	}
}

// moment is how much earlier a provider, which is told of the caller's deadline, may
// notice it than we do.
const moment = 100 * time.Millisecond

// ending tells whether the caller's own time is up: that is no fault of the provider.
func ending(ctx context.Context) bool {
	at, ok := ctx.Deadline()
	return ok && time.Until(at) < moment
}
