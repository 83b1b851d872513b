// Package health holds what it means for a resource to be healthy and how the
// statuses of many resources combine into one. It knows no driver and does no
// I/O: drivers assess their resources, this package only compares.
package health

// Status is one of Argo CD's six health words.
type Status string

// The closed set of statuses, best first.
const (
	Healthy     Status = "Healthy"
	Suspended   Status = "Suspended"
	Progressing Status = "Progressing"
	Missing     Status = "Missing"
	Degraded    Status = "Degraded"
	Unknown     Status = "Unknown"
)

// order is Argo CD's: from the best to the worst
// (gitops-engine pkg/health, IsWorse).
var order = map[Status]int{
	Healthy: 0, Suspended: 1, Progressing: 2, Missing: 3, Degraded: 4, Unknown: 5,
}

// Health is a status with the reason for it, in the resource's own words.
type Health struct {
	Status  Status `json:"status"`
	Message string `json:"message,omitempty"`
}

// IsWorse tells whether b is worse than a. An unknown word counts as Unknown.
func IsWorse(a, b Status) bool { return rank(b) > rank(a) }

func rank(s Status) int {
	if r, ok := order[s]; ok {
		return r
	}
	return order[Unknown]
}

// Worst gives the worst of the given statuses, and Healthy where there are
// none: an Application without resources has nothing that ails.
func Worst(statuses ...Status) Status {
	worst := Healthy
	for _, s := range statuses {
		if IsWorse(worst, s) {
			worst = s
		}
	}
	return worst
}
