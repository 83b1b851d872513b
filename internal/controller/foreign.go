package controller

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// Where Argo CD's own CRD serves Applications, the API server drops the status
// fields that only Plumb knows. They are kept in an annotation there, because
// without its inventory an Application could not be pruned.
const (
	foreignAnnotation = v1alpha1.PlumbPrefix + "status"
	// foreignLimit bounds what the annotation may unpack to.
	foreignLimit = 16 << 20
)

type foreignStatus struct {
	ObservedGeneration int64                     `json:"observedGeneration,omitempty"`
	Plan               *v1alpha1.PlanSummary     `json:"plan,omitempty"`
	Inventory          []v1alpha1.InventoryEntry `json:"inventory,omitempty"`
	Trial              *v1alpha1.RevisionTrial   `json:"trial,omitempty"`
	// Healthy is when the entries of the history became healthy, by their id.
	Healthy map[int64]*metav1.Time `json:"healthy,omitempty"`
}

// keepForeign adds the annotation to an Application's metadata.
func keepForeign(meta map[string]any, status v1alpha1.ApplicationStatus) error {
	var packed bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	zip := gzip.NewWriter(text)
	err := json.NewEncoder(zip).Encode(foreignStatus{
		// The generation counts status writes here, so it is of no use.
		Plan: status.Plan, Inventory: status.Inventory, Trial: status.Trial, Healthy: healthyTimes(status.History),
	})
	if err != nil {
		return fmt.Errorf("encode the inventory: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("encode the inventory: %w", err)
	}
	if err := text.Close(); err != nil {
		return fmt.Errorf("encode the inventory: %w", err)
	}
	meta["annotations"] = map[string]string{foreignAnnotation: packed.String()}
	return nil
}

// restoreForeign moves the annotation back into the status. What cannot be read
// counts as empty: then nothing is pruned that is not known.
func restoreForeign(app *v1alpha1.Application) {
	app.Status.ObservedGeneration = app.Generation // counts status writes: no use to anyone
	packed, ok := app.Annotations[foreignAnnotation]
	if !ok {
		return
	}
	delete(app.Annotations, foreignAnnotation)
	zip, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader([]byte(packed))))
	if err != nil {
		return
	}
	var kept foreignStatus
	if err := json.NewDecoder(io.LimitReader(zip, foreignLimit)).Decode(&kept); err != nil {
		return
	}
	app.Status.Plan, app.Status.Inventory, app.Status.Trial = kept.Plan, kept.Inventory, kept.Trial
	for i := range app.Status.History {
		app.Status.History[i].HealthyAt = kept.Healthy[app.Status.History[i].ID]
	}
}

func healthyTimes(history v1alpha1.RevisionHistories) map[int64]*metav1.Time {
	out := map[int64]*metav1.Time{}
	for _, h := range history {
		if h.HealthyAt != nil {
			out[h.ID] = h.HealthyAt
		}
	}
	return out
}
