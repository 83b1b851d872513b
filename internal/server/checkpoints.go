package server

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/ledger"
)

const (
	// checkpointConfigMap has the ledger's latest signed checkpoint.
	checkpointConfigMap = "plumb-ledger-checkpoint"
	// checkpointEvery is how often it is written at most.
	checkpointEvery = time.Minute
)

// checkpoints keeps the ledger's latest checkpoint also in the control plane: who
// can write to the ledger's folder need not be able to write there.
type checkpoints struct {
	config *rest.Config
	log    *slog.Logger
	news   chan struct{}

	mu      sync.Mutex
	latest  ledger.Checkpoint
	written uint64
}

func newCheckpoints(config *rest.Config, log *slog.Logger) *checkpoints {
	return &checkpoints{config: config, log: log, news: make(chan struct{}, 1)}
}

// take notes a checkpoint. It does not block.
func (c *checkpoints) take(latest ledger.Checkpoint) {
	c.mu.Lock()
	c.latest = latest
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// run writes them down until ctx is done.
func (c *checkpoints) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.news:
		}
		c.write(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkpointEvery):
		}
	}
}

// write writes the latest one down, if it is not.
func (c *checkpoints) write(ctx context.Context) {
	c.mu.Lock()
	latest, written := c.latest, c.written
	c.mu.Unlock()
	if latest.Size == written {
		return
	}
	client, err := typedcorev1.NewForConfig(c.config)
	if err == nil {
		object := applycorev1.ConfigMap(checkpointConfigMap, controller.SystemNamespace).
			WithLabels(map[string]string{v1alpha1.LabelPartOf: v1alpha1.LabelPartOfValue}).
			WithData(map[string]string{"checkpoint": string(latest.Note), "entries": strconv.FormatUint(latest.Size, 10)})
		_, err = client.ConfigMaps(controller.SystemNamespace).Apply(ctx, object, metav1.ApplyOptions{FieldManager: "plumb", Force: true})
	}
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("the ledger's checkpoint was not kept in the control plane", "configmap", controller.SystemNamespace+"/"+checkpointConfigMap, "error", err)
		}
		return
	}
	c.mu.Lock()
	c.written = latest.Size
	c.mu.Unlock()
}
