package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// Phase is a part of a sync. Within a phase, waves follow each other; within a
// wave, tiers.
type Phase int

// The phases in the order in which they run. A sync runs PreSync, Sync and
// PostSync (SyncFail instead, where it failed); a deletion runs PreDelete,
// Sync and PostDelete.
const (
	PreDelete Phase = iota
	PreSync
	Sync
	PostSync
	SyncFail
	PostDelete
)

var phaseNames = [...]string{"PreDelete", "PreSync", "Sync", "PostSync", "SyncFail", "PostDelete"}

func (p Phase) String() string { return phaseNames[p] }

// MarshalText writes the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Step is a change in its place: the phase, wave and tier in which it is made.
type Step struct {
	Change Change `json:"-"`
	Phase  Phase  `json:"phase"`
	Wave   int    `json:"wave,omitempty"`
	// Tier orders steps inside a wave without waiting for their health, only
	// for their being applied: namespaces and definitions before what uses them.
	Tier int `json:"tier,omitempty"`
	// Hook is true where the resource is run for its effect (a Job, say) and is
	// not part of what is held true.
	Hook bool `json:"hook,omitempty"`
}

// Address of the resource that the step changes.
func (s Step) Address() Address { return s.Change.Target().Address() }

// MarshalJSON writes the step with its action and its change.
func (s Step) MarshalJSON() ([]byte, error) {
	type bare Step
	return json.Marshal(struct {
		Action Action `json:"action"`
		bare
		Change Change `json:"change"`
	}{s.Change.Action(), bare(s), s.Change})
}

// Plan is an immutable, ordered list of steps.
type Plan struct {
	Steps []Step `json:"steps"`
}

// New orders steps and gives the plan of them. The order is total, so equal
// sets of steps give equal plans and equal digests.
func New(steps []Step) Plan {
	sorted := slices.Clone(steps)
	slices.SortStableFunc(sorted, compareSteps)
	return Plan{Steps: sorted}
}

func compareSteps(a, b Step) int {
	return cmp.Or(
		cmp.Compare(a.Phase, b.Phase),
		cmp.Compare(a.Wave, b.Wave),
		cmp.Compare(a.Tier, b.Tier),
		cmp.Compare(a.Address(), b.Address()),
		cmp.Compare(a.Change.Action(), b.Change.Action()),
	)
}

// Empty tells whether there is nothing to change. Hooks alone change nothing.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p.Steps, func(s Step) bool { return !s.Hook })
}

// Digest identifies the plan: equal plans have equal digests.
func (p Plan) Digest() string {
	b, err := json.Marshal(p)
	if err != nil { // only values that came out of JSON are ever in a plan
		panic("plan: digest: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Counts of a plan's changes by action; hooks are counted by themselves.
type Counts struct {
	Create  int `json:"create"`
	Update  int `json:"update"`
	Replace int `json:"replace"`
	Delete  int `json:"delete"`
	Forget  int `json:"forget,omitempty"`
	Hooks   int `json:"hooks,omitempty"`
}

// Count counts the steps of a plan.
func (p Plan) Count() Counts {
	var c Counts
	for _, s := range p.Steps {
		switch {
		case s.Hook:
			c.Hooks++
		case s.Change.Action() == ActionCreate:
			c.Create++
		case s.Change.Action() == ActionUpdate:
			c.Update++
		case s.Change.Action() == ActionReplace:
			c.Replace++
		case s.Change.Action() == ActionDelete:
			c.Delete++
		case s.Change.Action() == ActionForget:
			c.Forget++
		}
	}
	return c
}
