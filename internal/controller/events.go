package controller

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// Record takes what happened to an Application. It does not block.
func (c *Controller) Record(e engine.Event) {
	kind, recorder := corev1.EventTypeNormal, c.routine
	if e.Warning {
		kind, recorder = corev1.EventTypeWarning, c.warnings
	}
	recorder.Event(&corev1.ObjectReference{
		APIVersion: e.Key.Group + "/" + v1alpha1.Version, Kind: v1alpha1.ApplicationKind,
		Namespace: e.Key.Namespace, Name: e.Key.Name, UID: types.UID(e.UID),
	}, kind, e.Reason, bounded(e.Message))
}

var _ engine.Events = (*Controller)(nil)

// recorder turns what happened into Kubernetes Events: like ones are counted in
// one Event, and one Application cannot flood the API server.
type recorder struct {
	record.EventRecorder
	broadcaster record.EventBroadcaster
	client      typedcorev1.EventsGetter
	ended       sync.Once
}

const (
	// eventsBurst and eventsPerSecond are for one Application.
	eventsBurst     = 20
	eventsPerSecond = 1. / 30
	// routineBurst and routinePerSecond are for the news of all that went well:
	// when hundreds of Applications change at once, it gives way to the changes.
	routineBurst     = 20
	routinePerSecond = 10
	// messageBytes is the longest message that the API server takes.
	messageBytes = 1024
)

// newRecorder makes a recorder that sends at most so many events a second, with
// bursts; 0 is as many as there are.
func newRecorder(config *rest.Config, perSecond float32, burst int) (*recorder, error) {
	if perSecond > 0 {
		config = rest.CopyConfig(config)
		config.QPS, config.Burst, config.RateLimiter = perSecond, burst, nil
	}
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for events: %w", err)
	}
	b := record.NewBroadcaster(record.WithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize: eventsBurst, QPS: eventsPerSecond,
	}))
	return &recorder{
		EventRecorder: b.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: "plumb"}),
		broadcaster:   b, client: client,
	}, nil
}

// run sends events until ctx is done.
func (r *recorder) run(ctx context.Context) {
	w := r.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: r.client.Events("")})
	<-ctx.Done()
	w.Stop()
	r.end()
}

func (r *recorder) end() { r.ended.Do(r.broadcaster.Shutdown) }

func bounded(message string) string {
	if len(message) <= messageBytes {
		return message
	}
	return message[:messageBytes-3] + "..."
}
