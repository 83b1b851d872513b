package preview

import (
	"github.com/plumb-dev/plumb/internal/diff"
	"github.com/plumb-dev/plumb/internal/plan"
)

// Difference is one change, line by line.
type Difference struct {
	Action   plan.Action  `json:"action"`
	Resource plan.Address `json:"resource"`
	Drift    bool         `json:"drift,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	// Irreversible is true where a revert does not bring it back.
	Irreversible bool   `json:"irreversible,omitempty"`
	Diff         string `json:"diff"`
}

func differenceOf(change plan.Change) Difference {
	shown, err := diff.Of(change)
	if err != nil {
		shown.Diff = "(it cannot be shown)\n"
	}
	return Difference{
		Action: shown.Action, Resource: shown.Resource.Address(), Drift: shown.Drift, Reason: shown.Reason,
		Irreversible: change.Risk().Irreversible, Diff: shown.Diff,
	}
}
