package server

import (
	"log/slog"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/engine"
)

// TestPreviewsAreIsolated has what the operator says of isolation hold for the
// modules of pull requests, which nobody has reviewed.
func TestPreviewsAreIsolated(t *testing.T) {
	s := &Server{Options: Options{
		DataDir: t.TempDir(), RESTConfig: &rest.Config{Host: "http://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler),
		Tools: Tools{Isolation: "as never before"},
	}}
	s.metrics = newMetrics(s)
	l := &lookers{server: s, parts: &parts{engine: &engine.Engine{}}}
	_, _, err := l.lend()
	if err == nil || !strings.Contains(err.Error(), "as never before") {
		t.Errorf("a preview takes no notice of the isolation that is asked for: %v", err)
	}
	l.close()
}

// TestPreviewsChangeNoState has the store refuse what a preview would save.
func TestPreviewsChangeNoState(t *testing.T) {
	var states tofu.States = unchanging{}
	for what, err := range map[string]error{
		"saved": states.Save(t.Context(), tofu.StateID{}, []byte("{}")), "deleted": states.Delete(t.Context(), tofu.StateID{}),
	} {
		if err == nil {
			t.Errorf("a preview has %s a state", what)
		}
	}
}
