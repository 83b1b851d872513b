package notify

import (
	_ "embed"
	"fmt"
	"slices"
	"sync"

	"sigs.k8s.io/yaml"
)

// Trigger names what subscribers wait for.
type Trigger string

// The triggers of Argo CD's catalogue. They follow from an Application's state.
const (
	OnCreated           Trigger = "on-created"
	OnDeleted           Trigger = "on-deleted"
	OnDeployed          Trigger = "on-deployed"
	OnHealthDegraded    Trigger = "on-health-degraded"
	OnSyncFailed        Trigger = "on-sync-failed"
	OnSyncRunning       Trigger = "on-sync-running"
	OnSyncStatusUnknown Trigger = "on-sync-status-unknown"
	OnSyncSucceeded     Trigger = "on-sync-succeeded"
)

// The triggers that are Plumb's own. They are events: they follow from no state.
const (
	OnDriftDetected  Trigger = "on-drift-detected"
	OnDriftHealed    Trigger = "on-drift-healed"
	OnApprovalNeeded Trigger = "on-approval-needed"
	OnApproved       Trigger = "on-approved"
	OnRejected       Trigger = "on-rejected"
	OnPlanStale      Trigger = "on-plan-stale"
	OnPinned         Trigger = "on-pinned"
	OnUnpinned       Trigger = "on-unpinned"
	OnWindowBlocked  Trigger = "on-window-blocked"
	OnFrozen         Trigger = "on-frozen"
	OnRollback       Trigger = "on-rollback"
	OnOverride       Trigger = "on-override"
	OnAdopted        Trigger = "on-adopted"
)

// eventTriggers are those that happen, rather than follow from a state.
var eventTriggers = []Trigger{
	OnDriftDetected, OnDriftHealed, OnApprovalNeeded, OnApproved, OnRejected, OnPlanStale,
	OnPinned, OnUnpinned, OnWindowBlocked, OnFrozen, OnRollback, OnOverride, OnAdopted,
}

func (t Trigger) isEvent() bool { return slices.Contains(eventTriggers, t) }

//go:embed catalogue.yaml
var catalogueYAML []byte

// catalogue are the triggers and templates that are there without any
// configuration, in the form of the ConfigMap.
var catalogue = sync.OnceValue(func() Config {
	var data map[string]string
	if err := yaml.Unmarshal(catalogueYAML, &data); err != nil {
		panic(fmt.Sprintf("catalogue.yaml: %v", err))
	}
	c, problems := ParseArgo(data, nil)
	if len(problems) > 0 {
		panic(fmt.Sprintf("catalogue.yaml: %v", problems))
	}
	return c
})
