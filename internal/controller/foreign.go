package controller

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

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
}

// keepForeign adds the annotation to an Application's metadata.
func keepForeign(meta map[string]any, status v1alpha1.ApplicationStatus) error {
	var packed bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	zip := gzip.NewWriter(text)
	err := json.NewEncoder(zip).Encode(foreignStatus{
		// The generation counts status writes here, so it is of no use.
		Plan: status.Plan, Inventory: status.Inventory,
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
	app.Status.Plan, app.Status.Inventory = kept.Plan, kept.Inventory
}
