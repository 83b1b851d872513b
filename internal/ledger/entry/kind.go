package entry

import (
	"slices"
	"strings"
)

// Kind is what happened.
type Kind string

// The kinds of entries. Nothing else is recorded.
const (
	// What the loop does.
	SyncStarted  Kind = "SyncStarted"
	SyncFinished Kind = "SyncFinished" // with a result, and the operation of what started
	DriftFound   Kind = "DriftFound"
	DriftEnded   Kind = "DriftEnded" // by itself, or by somebody's hand
	Healed       Kind = "Healed"     // Plumb put it right
	Healthy      Kind = "Healthy"
	Degraded     Kind = "Degraded"

	// What people decide about plans.
	PlanProposed Kind = "PlanProposed"
	Approved     Kind = "Approved"
	Rejected     Kind = "Rejected"
	PlanStale    Kind = "PlanStale" // overtaken before it was applied
	Overridden   Kind = "Overridden"
	Refused      Kind = "Refused" // a change that policy, a fence or a missing signature forbids

	// What holds changes back, and goes back.
	Frozen        Kind = "Frozen"
	Thawed        Kind = "Thawed"
	WindowBlocked Kind = "WindowBlocked"
	Pinned        Kind = "Pinned"
	Unpinned      Kind = "Unpinned"
	RolledBack    Kind = "RolledBack"
	Adopted       Kind = "Adopted"

	// What is declared, and who may declare it.
	ApplicationCreated Kind = "ApplicationCreated"
	ApplicationChanged Kind = "ApplicationChanged"
	ApplicationDeleted Kind = "ApplicationDeleted"
	ProjectChanged     Kind = "ProjectChanged"
	PermissionChanged  Kind = "PermissionChanged"

	// What concerns the ledger itself.
	LedgerOpened Kind = "LedgerOpened" // the first entry of a log
	KeyRotated   Kind = "KeyRotated"
)

// Unseen is the detail of an end that nobody has seen: of drift that was not there any
// more, as far as is known, when Plumb ran again.
const Unseen = "unseen"

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{
		SyncStarted, SyncFinished, DriftFound, DriftEnded, Healed, Healthy, Degraded,
		PlanProposed, Approved, Rejected, PlanStale, Overridden, Refused,
		Frozen, Thawed, WindowBlocked, Pinned, Unpinned, RolledBack, Adopted,
		ApplicationCreated, ApplicationChanged, ApplicationDeleted, ProjectChanged, PermissionChanged,
		LedgerOpened, KeyRotated,
	}
}

// Known tells whether it is one of the kinds.
func (k Kind) Known() bool { return slices.Contains(Kinds(), k) }

// ParseKind finds a kind by its name, in any case and with or without dashes.
func ParseKind(name string) (Kind, bool) {
	name = strings.ReplaceAll(name, "-", "")
	for _, k := range Kinds() {
		if strings.EqualFold(string(k), name) {
			return k, true
		}
	}
	return "", false
}

// Result is how something ended.
type Result string

// The results. What has not ended has none.
const (
	Succeeded Result = "Succeeded"
	Failed    Result = "Failed"
	Partial   Result = "Partial" // some of it was done
	Canceled  Result = "Canceled"
	Unknown   Result = "Unknown" // as after a crash: nobody saw the end
)

func (r Result) known() bool {
	switch r {
	case "", Succeeded, Failed, Partial, Canceled, Unknown:
		return true
	}
	return false
}
