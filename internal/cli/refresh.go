package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

func (c commandline) newRefreshCommand() *cobra.Command {
	var s selection
	var hard, all, async bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "refresh NAME…",
		Short: "Look at Git and at what runs again, now",
		Long: `Asks for a comparison now: the repository is asked what its references mean.
Nothing is applied that would not be applied anyway.`,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && s.selector == "" && !all {
				return errors.New("name Applications, select them with -l, or give --all")
			}
			apps, err := c.connection.findAll(cmd.Context(), names, s)
			if err != nil {
				return err
			}
			for _, a := range apps {
				if err := c.connection.requestRefresh(cmd.Context(), a.key, hard); err != nil {
					return err
				}
			}
			if async {
				return nil
			}
			ctx, cancel := withTimeout(cmd.Context(), timeout)
			defer cancel()
			for _, a := range apps {
				if err := c.awaitRefresh(ctx, a.key); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	cmd.Flags().BoolVar(&hard, "hard", false, "believe no cache")
	cmd.Flags().BoolVar(&all, "all", false, "all Applications")
	cmd.Flags().BoolVar(&async, "async", false, "do not wait until it is done")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait; 0 is without end")
	return cmd
}

// requestRefresh sets the annotation that asks for a comparison.
func (k *connection) requestRefresh(ctx context.Context, key engine.Key, hard bool) error {
	kind := v1alpha1.RefreshTypeNormal
	if hard {
		kind = v1alpha1.RefreshTypeHard
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRefresh, kind)
	_, err := k.object(key).Patch(ctx, key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plumb-cli"})
	if err != nil {
		return fmt.Errorf("ask for a refresh of %s: %w", key, k.explain(err))
	}
	return nil
}

// awaitRefresh waits until the annotation has been heard.
func (c commandline) awaitRefresh(ctx context.Context, key engine.Key) error {
	var last application
	err := c.connection.watchOne(ctx, key, func(a application, gone bool) (bool, error) {
		if gone {
			return true, fmt.Errorf("application %s was deleted meanwhile", key)
		}
		last = a
		return a.Annotations[v1alpha1.AnnotationRefresh] == "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("nobody heard the request to refresh %s: does the engine run? (`plumb up` runs it, on another cluster `plumb server` does)", key)
	}
	if err != nil {
		return err
	}
	p := c.palette()
	fmt.Fprintf(c.streams.Out, "%s: %s, %s%s\n", key, p.status(string(last.Status.Sync.Status)), p.status(string(last.Status.Health.Status)), conditionHint(last))
	return nil
}

// conditionHint points at the first error of an Application.
func conditionHint(a application) string {
	for _, condition := range a.Status.Conditions {
		if len(condition.Type) > 5 && condition.Type[len(condition.Type)-5:] == "Error" {
			return fmt.Sprintf(" (%s: %s)", condition.Type, printable(condition.Message))
		}
	}
	return ""
}

func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
