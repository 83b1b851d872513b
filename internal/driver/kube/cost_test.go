package kube_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/internal/driver"
)

// What each thing costs in requests, watches aside.
func TestRequests(t *testing.T) {
	s := newStage(t, nil)
	s.declare(configMap(t, "warm", "1"), deployment(t, "web", "img:1", 1))
	s.sync()
	s.requests.take()

	s.compare()
	if sent := s.requests.take(); len(sent) != 0 {
		t.Errorf("unchanged: %q, want nothing", sent)
	}

	s.declare(configMap(t, "warm", "1"), deployment(t, "web", "img:1", 1), configMap(t, "more", "1"))
	s.sync()
	if sent := s.requests.take(); len(sent) != 1 {
		t.Errorf("created: %q, want 1", sent)
	}

	s.declare(configMap(t, "warm", "1"), deployment(t, "web", "img:2", 1), configMap(t, "more", "1"))
	s.sync()
	if sent := s.requests.take(); len(sent) != 3 {
		t.Errorf("changed: %q, want 3", sent)
	}

	s.patch("deployments.v1.apps", "web", `{"spec":{"replicas":5}}`)
	s.eventually("the drift is seen", func(c driver.Comparison) bool { return !c.Plan.Empty() })
	s.sync()
	if sent := s.requests.take(); len(sent) > 3 {
		t.Errorf("drift: %q, want 3", sent)
	}

	if err := s.in("configmaps").Delete(t.Context(), "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the deletion is seen", func(c driver.Comparison) bool { return !c.Plan.Empty() })
	s.sync()
	if sent := s.requests.take(); len(sent) != 1 {
		t.Errorf("deleted: %q, want 1", sent)
	}
}

// Noise on a managed object costs nothing and wakes nobody up.
func TestNoise(t *testing.T) {
	s := newStage(t, nil)
	s.declare(deployment(t, "web", "img:1", 1))
	s.sync()
	woken := make(chan driver.Owner, 100)
	go func() { _ = s.driver.Watch(t.Context(), func(o driver.Owner) { woken <- o }) }()
	s.requests.take()
	s.patch("deployments.v1.apps", "web", `{"metadata":{"annotations":{"someone":"else"}}}`)
	s.patch("deployments.v1.apps", "web", `{"metadata":{"labels":{"other":"one"}}}`)
	s.patch("deployments.v1.apps", "web", `{"spec":{"replicas":3}}`) // this one counts
	select {
	case <-woken:
	case <-time.After(20 * time.Second):
		t.Fatal("the drift was not noticed")
	}
	if n := len(woken); n > 0 {
		t.Errorf("woken %d times too often", n)
	}
	if sent := s.requests.take(); len(sent) != 0 {
		t.Errorf("sent %q", sent)
	}
}

// A restart with nothing changed costs only the watches.
func TestRestart(t *testing.T) {
	s := newStage(t, nil)
	s.declare(configMap(t, "a", "1"), deployment(t, "web", "img:1", 1))
	s.sync()
	s.restart(nil)
	s.requests.take()
	c := s.compare()
	if !c.Plan.Empty() {
		t.Errorf("to do: %s", steps(c))
	}
	for _, r := range s.requests.take() {
		switch r {
		case "GET /version", "GET /api", "GET /apis":
		default:
			t.Errorf("sent %s", r)
		}
	}
	s.patch("configmaps", "a", `{"data":{"value":"2"}}`)
	s.restart(nil)
	if c := s.compare(); s.resource(c, "a").Cause != driver.CauseDrift {
		t.Errorf("drift while away: %+v", s.resource(c, "a"))
	}
	s.sync()
}
