package v1alpha1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestPin(t *testing.T) {
	p := v1alpha1.Pin{Revisions: []string{"a1", "b2"}, By: "ada", At: "2026-01-01T09:00:00Z", Reason: "checkout fails"}
	got, ok := v1alpha1.PinOf(p.Annotations())
	if diff := cmp.Diff(p, got); !ok || diff != "" {
		t.Errorf("there and back (-want +got):\n%s", diff)
	}
	if want := "pinned at a1, b2 since 2026-01-01T09:00:00Z by ada: checkout fails"; p.String() != want {
		t.Errorf("got %q", p)
	}
	if p.Fits(2) != nil || p.Fits(1) == nil || (v1alpha1.Pin{Revisions: []string{""}}).Fits(1) == nil {
		t.Error("a pin fits an Application with as many sources, and names a revision for each")
	}
	if _, ok := v1alpha1.PinOf(nil); ok {
		t.Error("nothing is no pin")
	}
}

func TestLastHealthy(t *testing.T) {
	at := metav1.Now()
	h := v1alpha1.RevisionHistories{{ID: 0, Revision: "a", HealthyAt: &at}, {ID: 1, Revision: "b", HealthyAt: &at}, {ID: 2, Revision: "c"}, {ID: 3, Revision: "b", HealthyAt: &at}}
	if got, ok := h.LastHealthy([]string{"b"}); !ok || got.ID != 0 {
		t.Errorf("got %v: the failing revision itself is none to go back to, though it was healthy once", got)
	}
	if got, ok := h.LastHealthy([]string{"c"}); !ok || got.ID != 3 {
		t.Errorf("got %v", got)
	}
	if _, ok := h[2:3].LastHealthy([]string{"x"}); ok {
		t.Error("what was never healthy is none to go back to")
	}
}

func TestFreeze(t *testing.T) {
	now := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	f := v1alpha1.FreezeFrom(map[string]string{"reason": "launch", "by": "ada", "until": "2026-01-01T10:00:00Z", "at": "tomorrow"})
	if f.Reason != "launch" || f.By != "ada" || f.At != nil || !f.InForce(now) || f.InForce(now.Add(time.Hour)) {
		t.Errorf("got %+v", f)
	}
	if !v1alpha1.FreezeFrom(map[string]string{"until": "soon"}).InForce(now) {
		t.Error("a freeze whose end cannot be read holds")
	}
	if (*v1alpha1.Freeze)(nil).InForce(now) {
		t.Error("no freeze is not in force")
	}
}
