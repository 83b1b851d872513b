package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// waiting is what has to be true of an Application.
type waiting struct {
	sync, health, operation, suspended, deleted bool
}

func (c commandline) newWaitCommand() *cobra.Command {
	var s selection
	var w waiting
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait NAME…",
		Short: "Wait until Applications are synced and healthy",
		Long: `Waits until Applications are synced and healthy and no operation runs; with flags,
only until what they name is so. Exits with 1 when the time is over.`,
		Example: `  plumb wait web
  plumb wait -l team=shop --health --timeout 2m`,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && s.selector == "" {
				return errors.New("name Applications, or select them with -l")
			}
			if w == (waiting{}) {
				w = waiting{sync: true, health: true, operation: true}
			}
			ctx, cancel := withTimeout(cmd.Context(), timeout)
			defer cancel()
			apps, err := c.connection.findAll(ctx, names, s)
			if err != nil {
				return err
			}
			for _, a := range apps {
				last, err := c.await(ctx, a.key, w.unmet)
				if err != nil {
					return err
				}
				p := c.palette()
				fmt.Fprintf(c.streams.Out, "%s: %s, %s\n", a.key, p.status(string(last.Status.Sync.Status)), p.status(string(last.Status.Health.Status)))
			}
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	cmd.Flags().BoolVar(&w.sync, "sync", false, "wait until they are synced")
	cmd.Flags().BoolVar(&w.health, "health", false, "wait until they are healthy")
	cmd.Flags().BoolVar(&w.operation, "operation", false, "wait until no operation runs")
	cmd.Flags().BoolVar(&w.suspended, "suspended", false, "wait until they are suspended")
	cmd.Flags().BoolVar(&w.deleted, "delete", false, "wait until they are gone")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait; 0 is without end")
	return cmd
}

// unmet says what is not so yet, or nothing.
func (w waiting) unmet(a application, gone bool) (string, error) {
	if w.deleted {
		if gone {
			return "", nil
		}
		return "it is not gone", nil
	}
	if gone {
		return "", fmt.Errorf("application %s was deleted meanwhile", a.key)
	}
	var missing []string
	if w.operation && operating(a) {
		missing = append(missing, "an operation runs")
	}
	if w.sync && a.Status.Sync.Status != v1alpha1.SyncStatusCodeSynced {
		missing = append(missing, "it is "+orUnknown(string(a.Status.Sync.Status)))
	}
	health := a.Status.Health.Status
	if w.health && health != v1alpha1.HealthStatusHealthy || w.suspended && health != v1alpha1.HealthStatusSuspended {
		missing = append(missing, "it is "+orUnknown(string(health))+ailing(a))
	}
	return strings.Join(missing, ", "), nil
}

// operating tells whether an operation is asked for or runs.
func operating(a application) bool {
	if a.Operation != nil {
		return true
	}
	state := a.Status.OperationState
	return state != nil && (state.Phase == v1alpha1.OperationRunning || state.Phase == v1alpha1.OperationTerminating)
}

func orUnknown(s string) string {
	if s == "" {
		return "Unknown"
	}
	return s
}

// ailing names the resources that are not healthy, the first few of them.
func ailing(a application) string {
	var names []string
	for _, r := range a.Status.Resources {
		if r.Health == nil || slices.Contains([]v1alpha1.HealthStatusCode{"", v1alpha1.HealthStatusHealthy, v1alpha1.HealthStatusSuspended}, r.Health.Status) {
			continue
		}
		text := string(resourceAddress(r)) + " is " + string(r.Health.Status)
		if r.Health.Message != "" {
			text += ", " + printable(r.Health.Message)
		}
		names = append(names, text)
	}
	if len(names) == 0 {
		return ""
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("and %d more", len(names)-3))
	}
	return " (" + strings.Join(names, "; ") + ")"
}

// await waits until nothing is unmet of an Application, and gives it as it then is.
func (c commandline) await(ctx context.Context, key engine.Key, unmet func(a application, gone bool) (string, error)) (application, error) {
	var last application
	var why string
	err := c.connection.watchOne(ctx, key, func(a application, gone bool) (bool, error) {
		var err error
		last = a
		why, err = unmet(a, gone)
		return why == "" && err == nil, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return last, fmt.Errorf("application %s: the time is over and %s%s (`plumb describe %s`)", key, why, conditionHint(last), qualifiedArgument(key))
	}
	return last, err
}
