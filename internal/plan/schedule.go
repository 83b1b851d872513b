package plan

import (
	"cmp"
	"slices"
)

// TaskState says how far a task of a running sync has come.
type TaskState int

// The closed set of task states.
const (
	Pending TaskState = iota // to be made
	Running                  // made; its effect is not there yet (health, a hook's end, a deletion)
	Done
	Failed
)

// Task is one resource's part in a running sync: a step still to be made, or
// one whose effect others wait for.
type Task struct {
	Address Address
	Phase   Phase
	Wave    int
	Tier    int
	State   TaskState
	// Holds is true where the sync as a whole waits for the task's end, even in
	// the last wave: hooks and deletions. (Health of the last wave is not waited
	// for: the sync is done, the Application goes on to become healthy.)
	Holds bool
	// Why it is running, pending or failed, in the resource's words.
	Why string
}

// Progress of a sync.
type Progress int

// The closed set of progresses.
const (
	Working Progress = iota
	Succeeded
	FailedWith // some task failed, and all that a failure asks for is done
)

// Blocked says why a pending task can't start.
type Blocked struct {
	Address Address `json:"address"`
	By      Address `json:"by"`
	Why     string  `json:"why"`
}

// Schedule is what may be done now, what has to wait and for what.
type Schedule struct {
	// Ready holds indexes into the tasks given.
	Ready    []int
	Blocked  []Blocked
	Running  []int
	Progress Progress
}

// Next computes what may be done now. Phases follow each other, and inside a
// phase waves: a wave starts when all before it is done (healthy; for hooks,
// ended). Inside a wave a tier starts when all of the tier before it is made.
// A task that failed holds up the waves after it, not its neighbours. When
// nothing else is left to do after a failure, the SyncFail phase runs.
func Next(tasks []Task) Schedule {
	var main, rescue []int
	failed := false
	for _, i := range sorted(tasks) {
		if tasks[i].Phase == SyncFail {
			rescue = append(rescue, i)
			continue
		}
		main = append(main, i)
		failed = failed || tasks[i].State == Failed
	}
	s := walk(tasks, main)
	if s.Progress == Working || !failed {
		return s
	}
	s.Progress = FailedWith
	r := walk(tasks, rescue)
	if r.Progress != Working {
		return s
	}
	r.Blocked = append(s.Blocked, r.Blocked...)
	return r
}

// walk schedules the tasks at the given indexes, which are in order.
func walk(tasks []Task, order []int) Schedule {
	var s Schedule
	var wave, tier *Task // what later waves, and later tiers of this wave, wait for
	working := false
	for _, i := range order {
		t := &tasks[i]
		if tier != nil && !sameWave(tier, t) {
			tier = nil
		}
		gate := blocker(wave, tier, t)
		switch {
		case t.State == Running:
			s.Running = append(s.Running, i)
			working = working || t.Holds
		case t.State == Pending && gate != nil:
			s.Blocked = append(s.Blocked, Blocked{t.Address, gate.Address, reason(gate)})
			working = working || gate.State != Failed
		case t.State == Pending:
			s.Ready = append(s.Ready, i)
			working = true
		}
		if t.State == Pending && tier == nil {
			tier = t
		}
		if t.State != Done && (wave == nil || sameWave(wave, t) && weight[t.State] > weight[wave.State]) {
			wave = t
		}
	}
	s.Progress = Succeeded
	if working {
		s.Progress = Working
	}
	return s
}

// weight chooses what a later wave is said to wait for: a failure before all
// else, since it will never start then.
var weight = [...]int{Running: 0, Pending: 1, Failed: 2}

// blocker is what t has to wait for, or nil.
func blocker(wave, tier, t *Task) *Task {
	switch {
	case wave != nil && !sameWave(wave, t):
		return wave
	case tier != nil && tier.Tier < t.Tier:
		return tier
	}
	return nil
}

func sorted(tasks []Task) []int {
	order := make([]int, len(tasks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := tasks[i], tasks[j]
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Wave, b.Wave),
			cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Address, b.Address))
	})
	return order
}

func sameWave(a, b *Task) bool { return a.Phase == b.Phase && a.Wave == b.Wave }

func reason(gate *Task) string {
	switch {
	case gate.Why != "":
		return gate.Why
	case gate.State == Running:
		return "not healthy yet"
	case gate.State == Failed:
		return "failed"
	}
	return "not applied yet"
}
