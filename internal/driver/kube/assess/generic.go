package assess

import (
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

// generic assesses an object of a kind that nobody knows by what controllers
// write by convention. It answers only where the object says something.
func generic(obj *unstructured.Unstructured) (health.Health, bool) {
	if !speaks(obj) {
		return health.Health{}, false
	}
	r, err := status.Compute(obj)
	if err != nil {
		// The object keeps to no convention: Argo CD says nothing of it either.
		return health.Health{}, false
	}
	switch r.Status {
	case status.CurrentStatus:
		return health.Health{Status: health.Healthy}, true
	case status.InProgressStatus, status.TerminatingStatus:
		return health.Health{Status: health.Progressing, Message: r.Message}, true
	case status.FailedStatus:
		return health.Health{Status: health.Degraded, Message: r.Message}, true
	case status.NotFoundStatus:
		return health.Health{Status: health.Missing, Message: r.Message}, true
	default:
		return health.Health{Status: health.Unknown, Message: r.Message}, true
	}
}

// speaks tells whether an object has a condition that kstatus understands, or
// has observed another generation than its own.
func speaks(obj *unstructured.Unstructured) bool {
	st, _ := obj.Object["status"].(map[string]any)
	if st == nil {
		return false
	}
	conditions, _ := st["conditions"].([]any)
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		switch m["type"] {
		case "Ready", string(status.ConditionReconciling), string(status.ConditionStalled):
			return true
		}
	}
	observed, ok := st["observedGeneration"].(int64)
	return ok && observed < obj.GetGeneration()
}
