package decide

import (
	"testing"
	"time"
)

func TestTaken(t *testing.T) {
	now := time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	pull := func(name string, ago time.Duration, by ...string) Pull {
		return Pull{Name: name, At: now.Add(-ago), By: by}
	}
	good := Merged{
		Start: Start{Scope: Full}, Need: 2, ValidFor: 8 * time.Hour, Now: now,
		Pulls: []Pull{pull("#1", time.Hour, "ann", "bob")},
	}
	for name, c := range map[string]struct {
		reason string
		change func(*Merged)
		until  time.Time
		why    string
	}{
		"Good":     {"enough have approved what was merged", func(*Merged) {}, now.Add(7 * time.Hour), ""},
		"Several":  {"of several the first that ends counts", func(m *Merged) { m.Pulls = append(m.Pulls, pull("#2", 3*time.Hour, "ann", "dora")) }, now.Add(5 * time.Hour), ""},
		"Future":   {"a host's clock lengthens nothing", func(m *Merged) { m.Pulls[0].At = now.Add(time.Hour) }, now.Add(8 * time.Hour), ""},
		"Few":      {"one is missing", func(m *Merged) { m.Need = 3 }, time.Time{}, "#1 has 2 of 3 approvals of what was merged"},
		"Each":     {"each must have enough", func(m *Merged) { m.Pulls = append(m.Pulls, pull("#2", 0, "ann")) }, time.Time{}, "#2 has 1 of 2 approvals of what was merged"},
		"Authors":  {"authors don't count, and it says so", func(m *Merged) { m.Pulls[0].By, m.Pulls[0].Not = []string{"ann"}, 1 }, time.Time{}, "#1 has 1 of 2 approvals, without those of the authors"},
		"Old":      {"approvals end", func(m *Merged) { m.ValidFor = time.Hour }, time.Time{}, "#1 was merged more than 1h0m0s ago"},
		"None":     {"there is none", func(m *Merged) { m.Pulls = nil }, time.Time{}, "nothing has come by one"},
		"Named":    {"a host's users are not the API server's", func(m *Merged) { m.Named = true }, time.Time{}, "the policy names approvers, and a host's users are not the API server's"},
		"Heal":     {"drift does not come by one", func(m *Merged) { m.Start.Scope = Heal }, time.Time{}, "it does not do what has come by one"},
		"Deletion": {"nor does a deletion", func(m *Merged) { m.Start.Scope = Remove }, time.Time{}, "it does not do what has come by one"},
		"Back":     {"nor does a rollback", func(m *Merged) { m.Back = true }, time.Time{}, "it does not go to what Git has now"},
		"ByHand":   {"nothing begins by itself that is not automated", func(m *Merged) { m.Start.OnApproval = true }, time.Time{}, "syncs are not automated, and nobody has asked for one"},
		"Forced":   {"nobody has looked at that", func(m *Merged) { m.Forced = true }, time.Time{}, "more is asked for than what is declared"},
		"Drift":    {"what was changed where it runs was not looked at", func(m *Merged) { m.Drift = 2 }, time.Time{}, "2 of the changes do not come from Git"},
		"Rejected": {"a no weighs more", func(m *Merged) { m.RejectedBy = "eve" }, time.Time{}, "eve has rejected a plan of this revision"},
		"Applied":  {"an approval is used once", func(m *Merged) { m.Applied = true }, time.Time{}, "this revision was applied before"},
		"Problem":  {"what is not known does not count", func(m *Merged) { m.Problem = "the host does not answer" }, time.Time{}, "the host does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			m := good
			m.Pulls = append([]Pull(nil), good.Pulls...)
			c.change(&m)
			until, why := m.Taken()
			if !until.Equal(c.until) || why != c.why {
				t.Errorf("%s: got %v %q, want %v %q", c.reason, until, why, c.until, c.why)
			}
		})
	}
}
