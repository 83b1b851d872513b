package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// deletion is how an Application is to be deleted.
type deletion struct {
	cascade, wait, yes bool
	propagation        string
	timeout            time.Duration
}

func (c commandline) newDeleteCommand() *cobra.Command {
	var s selection
	var d deletion
	cmd := &cobra.Command{
		Use:     "delete NAME…",
		Aliases: []string{"rm", "remove"},
		Short:   "Delete Applications with all that they applied",
		Long: `Deletes Applications. What they applied is deleted first, in the reverse of the
order in which it was applied; with --cascade=false it stays and nobody holds it
to Git any more.

An Application that is itself declared in Git comes back unless it is removed
there too.`,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && s.selector == "" {
				return errors.New("name Applications, or select them with -l")
			}
			if !slices.Contains([]string{"", "foreground", "background"}, d.propagation) {
				return fmt.Errorf("--propagation-policy %q is not known: use foreground or background", d.propagation)
			}
			apps, err := c.connection.findAll(cmd.Context(), names, s)
			if err != nil {
				return err
			}
			return c.deleteAll(cmd.Context(), apps, d)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	cmd.Flags().BoolVar(&d.cascade, "cascade", true, "delete what the Applications applied, too")
	cmd.Flags().StringVarP(&d.propagation, "propagation-policy", "p", "", "how what was applied is deleted: foreground or background")
	cmd.Flags().BoolVar(&d.wait, "wait", true, "wait until they are gone")
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&d.timeout, "timeout", 10*time.Minute, "how long to wait; 0 is without end")
	_ = cmd.RegisterFlagCompletionFunc("propagation-policy", cobra.FixedCompletions([]string{"foreground", "background"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c commandline) deleteAll(ctx context.Context, apps []application, d deletion) error {
	if len(apps) == 0 {
		fmt.Fprintln(c.streams.Err, "No Applications found.")
		return nil
	}
	if !d.yes && isTerminal(c.streams.In) {
		sure, err := c.ask(deletionQuestion(apps, d.cascade))
		if err != nil {
			return err
		}
		if !sure {
			return errors.New("nothing was deleted")
		}
	}
	ctx, cancel := withTimeout(ctx, d.timeout)
	defer cancel()
	for _, a := range apps {
		if err := c.connection.requestDeletion(ctx, a, d); err != nil {
			return err
		}
	}
	for _, a := range apps {
		if !d.wait {
			fmt.Fprintf(c.streams.Out, "application %s is being deleted\n", a.key)
			continue
		}
		if err := c.awaitDeletion(ctx, a); err != nil {
			return err
		}
		fmt.Fprintf(c.streams.Out, "application %s deleted\n", a.key)
	}
	return nil
}

func deletionQuestion(apps []application, cascade bool) string {
	names := make([]string, len(apps))
	resources := 0
	for i, a := range apps {
		names[i] = a.key.String()
		resources += len(a.Status.Resources)
	}
	if !cascade {
		return fmt.Sprintf("Delete %s and leave what was applied?", strings.Join(names, ", "))
	}
	return fmt.Sprintf("Delete %s and the %s that were applied?", strings.Join(names, ", "), plural(resources, "resource"))
}

// isResourcesFinalizer tells whether a finalizer has an Application's resources
// deleted with it.
func isResourcesFinalizer(f string) bool {
	return strings.HasPrefix(f, v1alpha1.ResourcesFinalizer) || strings.HasPrefix(f, v1alpha1.PlumbResourcesFinalizer)
}

// finalizers gives the finalizers with which an Application is to be deleted.
func (d deletion) finalizers(now []string) []string {
	has := slices.ContainsFunc(now, isResourcesFinalizer)
	if d.cascade && has && d.propagation == "" {
		return now
	}
	keep := slices.DeleteFunc(slices.Clone(now), isResourcesFinalizer)
	switch {
	case !d.cascade:
		return keep
	case d.propagation == "foreground":
		return append(keep, v1alpha1.ResourcesFinalizerForeground)
	case d.propagation == "background":
		return append(keep, v1alpha1.ResourcesFinalizerBackground)
	}
	return append(keep, v1alpha1.ResourcesFinalizer)
}

// requestDeletion sets the finalizers and deletes, of the very object that was
// looked at.
func (k *connection) requestDeletion(ctx context.Context, a application, d deletion) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		now, err := k.object(a.key).Get(ctx, a.key.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		finalizers := d.finalizers(now.GetFinalizers())
		if slices.Equal(finalizers, now.GetFinalizers()) || now.GetDeletionTimestamp() != nil && d.cascade {
			return nil // a finalizer can't be added to what is being deleted
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"finalizers": finalizers, "resourceVersion": now.GetResourceVersion(), "uid": string(a.UID),
		}})
		if err != nil {
			return err
		}
		_, err = k.object(a.key).Patch(ctx, a.key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plumb-cli"})
		return err
	})
	if err == nil {
		uid := a.UID
		err = k.object(a.key).Delete(ctx, a.key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete application %s: %w", a.key, k.explain(err))
	}
	return nil
}

// awaitDeletion waits until an Application is gone and says what is left while
// that takes its time.
func (c commandline) awaitDeletion(ctx context.Context, a application) error {
	last, said := a, map[string]bool{}
	err := c.connection.watchOne(ctx, a.key, func(now application, gone bool) (bool, error) {
		if gone || now.UID != a.UID {
			return true, nil
		}
		for _, message := range deletionMessages(now) {
			if !said[message] {
				said[message] = true
				fmt.Fprintf(c.streams.Err, "%s: %s\n", a.key, message)
			}
		}
		last = now
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("application %s is not gone yet: %s: it goes on being deleted (`plumb describe %s`)", a.key, whyNotGone(last), qualifiedArgument(a.key))
	}
	return err
}

func deletionMessages(a application) []string {
	var messages []string
	for _, condition := range a.Status.Conditions {
		switch condition.Type {
		case v1alpha1.ConditionDeletionError, v1alpha1.ConditionWaitingForDependency, v1alpha1.ConditionWaitingForApproval, v1alpha1.ConditionPlanRejected:
			messages = append(messages, printable(condition.Message))
		}
	}
	return messages
}

func whyNotGone(a application) string {
	if messages := deletionMessages(a); len(messages) > 0 {
		return strings.Join(messages, "; ")
	}
	if n := len(a.Status.Resources); n > 0 {
		return plural(n, "resource") + " left"
	}
	return "held by the finalizers " + strings.Join(a.Finalizers, ", ")
}

func qualifiedArgument(key engine.Key) string { return key.Namespace + "/" + key.Name }
