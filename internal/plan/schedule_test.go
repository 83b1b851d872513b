package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNext(t *testing.T) {
	type want struct {
		ready    []Address
		blocked  []Blocked
		progress Progress
	}
	cases := map[string]struct {
		reason string
		tasks  []Task
		want   want
	}{
		"Nothing": {"a sync without tasks is done", nil, want{nil, nil, Succeeded}},
		"Parallel": {"what does not depend on each other starts at once",
			[]Task{{Address: "a"}, {Address: "b"}}, want{[]Address{"a", "b"}, nil, Working}},
		"Waves": {"a wave waits until the one before is healthy",
			[]Task{{Address: "b", Wave: 1}, {Address: "a", State: Running, Why: "0 of 1 updated"}},
			want{nil, []Blocked{{"b", "a", "0 of 1 updated"}}, Working}},
		"Tiers": {"a tier waits until the one before is made, not for its health",
			[]Task{{Address: "ns", State: Running}, {Address: "crd", Tier: 1}, {Address: "cr", Tier: 2}},
			want{[]Address{"crd"}, []Blocked{{"cr", "crd", "not applied yet"}}, Working}},
		"Phases": {"a hook of the next phase waits for the last wave's health",
			[]Task{{Address: "web", Phase: Sync, State: Running}, {Address: "smoke", Phase: PostSync, Holds: true}},
			want{nil, []Blocked{{"smoke", "web", "not healthy yet"}}, Working}},
		"LastWave": {"the sync does not wait for the health of its last wave",
			[]Task{{Address: "web", Phase: Sync, State: Running}}, want{nil, nil, Succeeded}},
		"Hook": {"the sync waits for a hook's end",
			[]Task{{Address: "smoke", Phase: PostSync, State: Running, Holds: true}}, want{nil, nil, Working}},
		"Neighbours": {"a failure holds up the waves after it, not its neighbours",
			[]Task{{Address: "a", State: Failed, Why: "invalid"}, {Address: "b"}, {Address: "c", Wave: 1}},
			want{[]Address{"b"}, []Blocked{{"c", "a", "invalid"}}, Working}},
		"Failed": {"with nothing left to do a failure ends the sync",
			[]Task{{Address: "a", State: Failed, Why: "invalid"}, {Address: "b", State: Done}, {Address: "c", Wave: 1}},
			want{nil, []Blocked{{"c", "a", "invalid"}}, FailedWith}},
		"SyncFailWaits": {"the SyncFail phase is for failures only",
			[]Task{{Address: "a"}, {Address: "alarm", Phase: SyncFail, Holds: true}}, want{[]Address{"a"}, nil, Working}},
		"SyncFail": {"after a failure the SyncFail phase runs",
			[]Task{{Address: "a", State: Failed}, {Address: "alarm", Phase: SyncFail, Holds: true}},
			want{[]Address{"alarm"}, nil, Working}},
		"SyncFailEnds": {"and then the sync has failed",
			[]Task{{Address: "a", State: Failed}, {Address: "alarm", Phase: SyncFail, Holds: true, State: Done}},
			want{nil, nil, FailedWith}},
		"SyncFailFails": {"also where the SyncFail phase itself fails",
			[]Task{{Address: "a", State: Failed}, {Address: "alarm", Phase: SyncFail, Holds: true, State: Failed}},
			want{nil, nil, FailedWith}},
		"FailedWhileHookRuns": {"a failure does not end the sync while a hook runs",
			[]Task{{Address: "a", State: Failed}, {Address: "h", State: Running, Holds: true}}, want{nil, nil, Working}},
		"Deletion": {"a deletion that is under way holds the sync, and those after it",
			[]Task{{Address: "web", Wave: -1, State: Running, Holds: true, Why: "being deleted"}, {Address: "db", Wave: 0}},
			want{nil, []Blocked{{"db", "web", "being deleted"}}, Working}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := Next(tc.tasks)
			got := want{blocked: s.Blocked, progress: s.Progress}
			for _, i := range s.Ready {
				got.ready = append(got.ready, tc.tasks[i].Address)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestNextAlwaysEnds plays random syncs to their end: whatever the tasks, doing
// what is ready and ending what runs comes to an end, and nothing is done before
// what it has to wait for.
func TestNextAlwaysEnds(t *testing.T) {
	for seed := range uint64(300) {
		tasks := randomTasks(seed)
		for round := 0; ; round++ {
			if round > 3*len(tasks)+3 {
				t.Fatalf("seed %d: no end in sight: %+v", seed, tasks)
			}
			s := Next(tasks)
			for _, i := range s.Ready {
				for j := range tasks {
					if tasks[j].Phase != SyncFail && tasks[i].Phase != SyncFail && before(tasks[j], tasks[i]) && tasks[j].State != Done {
						t.Fatalf("seed %d: %+v is ready before %+v is done", seed, tasks[i], tasks[j])
					}
				}
			}
			if s.Progress != Working {
				break
			}
			for _, i := range s.Ready {
				tasks[i].State = Running
				if (seed+uint64(i))%7 == 0 {
					tasks[i].State = Failed
				}
			}
			for _, i := range s.Running {
				tasks[i].State = Done
			}
		}
	}
}

func before(a, b Task) bool {
	return a.Phase < b.Phase || a.Phase == b.Phase && a.Wave < b.Wave
}

func randomTasks(seed uint64) []Task {
	next := func(n uint64) int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int((seed >> 33) % n)
	}
	tasks := make([]Task, next(12))
	for i := range tasks {
		tasks[i] = Task{Address: Address(rune('a' + i)), Phase: []Phase{PreSync, Sync, Sync, Sync, PostSync, SyncFail}[next(6)], Wave: next(3) - 1, Tier: next(3), Holds: next(2) == 0}
	}
	return tasks
}
