package v1alpha1

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pin holds an Application at revisions, whatever Git has.
//
// +kubebuilder:object:generate=false
type Pin struct {
	// Revisions of each source.
	Revisions []string
	// By, At and Reason say who pinned it, when and why; they may be empty.
	By, At, Reason string
}

// PinOf gives the pin of an Application by its annotations.
func PinOf(annotations map[string]string) (Pin, bool) {
	value, ok := annotations[AnnotationPin]
	if !ok {
		return Pin{}, false
	}
	p := Pin{By: annotations[AnnotationPinBy], At: annotations[AnnotationPinAt], Reason: annotations[AnnotationPinReason]}
	for part := range strings.SplitSeq(value, ",") {
		p.Revisions = append(p.Revisions, strings.TrimSpace(part))
	}
	return p, true
}

// Annotations are those that make up the pin.
func (p Pin) Annotations() map[string]string {
	return map[string]string{
		AnnotationPin: strings.Join(p.Revisions, ","), AnnotationPinBy: p.By, AnnotationPinAt: p.At, AnnotationPinReason: p.Reason,
	}
}

// Fits says why a pin cannot be that of an Application with so many sources, or
// nothing.
func (p Pin) Fits(sources int) error {
	if slices.Contains(p.Revisions, "") {
		return fmt.Errorf("the annotation %s names no revision: correct it, or take the pin away (plumb unpin)", AnnotationPin)
	}
	if len(p.Revisions) != sources {
		return fmt.Errorf("the annotation %s names %d revisions, and the Application has %d sources: pin it anew, or take the pin away (plumb unpin)", AnnotationPin, len(p.Revisions), sources)
	}
	return nil
}

// String says since when, by whom and why an Application is pinned, and at what.
func (p Pin) String() string {
	text := "pinned at " + clip(strings.Join(p.Revisions, ", "))
	if p.At != "" {
		text += " since " + clip(p.At)
	}
	if p.By != "" {
		text += " by " + clip(p.By)
	}
	if p.Reason != "" {
		text += ": " + clip(p.Reason)
	}
	return text
}

// clip bounds a text that somebody wrote, and that all Applications repeat.
func clip(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// RevisionsOf gives the revisions of an entry of the history, one for each
// source.
func (h *RevisionHistory) RevisionsOf() []string {
	if len(h.Revisions) > 0 {
		return h.Revisions
	}
	if h.Revision == "" {
		return nil
	}
	return []string{h.Revision}
}

// LastHealthy gives the latest entry that was healthy, other than at the given
// revisions.
func (h RevisionHistories) LastHealthy(other []string) (RevisionHistory, bool) {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].HealthyAt != nil && !slices.Equal(h[i].RevisionsOf(), other) {
			return h[i], true
		}
	}
	return RevisionHistory{}, false
}

// InForce says whether a freeze still holds at a time.
func (f *Freeze) InForce(now time.Time) bool {
	return f != nil && (f.Until == nil || now.Before(f.Until.Time))
}

// FreezeFrom reads the ConfigMap that freezes everything. What of it cannot be
// read is as if it were not there: the freeze itself holds.
func FreezeFrom(data map[string]string) *Freeze {
	f := &Freeze{Reason: clip(data["reason"]), By: clip(data["by"])}
	for key, to := range map[string]**metav1.Time{"at": &f.At, "until": &f.Until} {
		if at, err := time.Parse(time.RFC3339, data[key]); err == nil {
			*to = &metav1.Time{Time: at}
		}
	}
	return f
}
