package decide

import (
	"fmt"
	"time"
)

// Pull is a merged pull request as far as an approval may be made of it.
type Pull struct {
	// Name of it, for messages.
	Name string
	At   time.Time
	// By are those who have approved what was merged and count, Not is how many others
	// have: authors of commits.
	By  []string
	Not int
}

// Merged is what is known of a start whose changes have come by pull requests.
type Merged struct {
	Start Start
	// Back is set where it is not to what Git has now, Forced, where somebody asks for
	// more than what is declared: to force, to replace. Part is set where it is some of
	// what is declared.
	Back, Forced, Part bool
	// Named is set where the policy names approvers. Need is how many it asks for.
	Named    bool
	Need     int
	ValidFor time.Duration
	Now      time.Time
	// Drift counts the steps that Git is not the cause of.
	Drift int
	// Applied is set where the same was applied before. RejectedBy is who has rejected
	// a plan of the same revision.
	Applied    bool
	RejectedBy string
	// Problem is why it is not known that the pull requests are all that has changed.
	Problem string
	Pulls   []Pull
}

// Taken tells whether pull requests count as the approval of a start, and how long;
// or why they don't. It is all or nothing: people are known by other names at a host
// than at the API server, and whoever has approved in both places is one.
func (m Merged) Taken() (until time.Time, why string) {
	if why := m.barred(); why != "" {
		return time.Time{}, why
	}
	for _, p := range m.Pulls {
		switch {
		case len(p.By) < m.Need && p.Not > 0:
			return time.Time{}, fmt.Sprintf("%s has %d of %d approvals, without those of the authors", p.Name, len(p.By), m.Need)
		case len(p.By) < m.Need:
			return time.Time{}, fmt.Sprintf("%s has %d of %d approvals of what was merged", p.Name, len(p.By), m.Need)
		}
		at := p.At
		if at.After(m.Now) {
			at = m.Now
		}
		valid, end := Valid(at, m.Now, m.ValidFor)
		if !valid {
			return time.Time{}, fmt.Sprintf("%s was merged more than %s ago", p.Name, m.ValidFor)
		}
		if until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return until, ""
}

// barred says why no pull request can count, whoever has approved it.
func (m Merged) barred() string {
	switch {
	case m.Named:
		return "the policy names approvers, and a host's users are not the API server's"
	case m.Start.Scope != Full:
		return "it does not do what has come by one"
	case m.Back:
		return "it does not go to what Git has now"
	case m.Start.OnApproval:
		return "syncs are not automated, and nobody has asked for one"
	case m.Forced:
		return "more is asked for than what is declared"
	case m.Part:
		return "only a part of what has come by one is asked for"
	case m.RejectedBy != "":
		return m.RejectedBy + " has rejected a plan of this revision"
	case m.Applied:
		return "this revision was applied before"
	case m.Problem != "":
		return m.Problem
	case m.Drift == 1:
		return "one of the changes does not come from Git"
	case m.Drift > 1:
		return fmt.Sprintf("%d of the changes do not come from Git", m.Drift)
	case len(m.Pulls) == 0:
		return "nothing has come by one"
	}
	return ""
}
