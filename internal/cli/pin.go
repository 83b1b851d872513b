package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// pinRequest is where an Application is to be held, and why.
type pinRequest struct {
	to, reason string
	// override asks to be let through closed windows, freezes and approvals.
	override bool
	// wait is whether to wait until the pin is taken up, timeout how long.
	wait    bool
	timeout time.Duration
}

// bindWait adds the flags for waiting, whose help begins with words.
func (r *pinRequest) bindWait(flags *pflag.FlagSet, words string) {
	flags.BoolVar(&r.wait, "wait", true, words+"wait until it is taken up: a revision that does not exist is an error then")
	flags.DurationVar(&r.timeout, "timeout", time.Minute, words+"how long to wait; 0 is without end")
}

func (r *pinRequest) check() error {
	if strings.TrimSpace(r.reason) == "" {
		return errors.New("say why with --reason: it is shown until the pin is taken away")
	}
	return nil
}

func (c commandline) newPinCommand() *cobra.Command {
	var s selection
	var r pinRequest
	cmd := &cobra.Command{
		Use:   "pin NAME --reason WHY",
		Short: "Hold an Application at an earlier revision, now",
		Long: `Holds an Application at a revision, whatever Git has, until plumb unpin. It is for
emergencies: nothing has to be built or merged, and syncs do not fight it. To make
it last, revert the commit in Git.

Without --to it goes back to the last revision that was healthy. It waits until the
pin is taken up, not until the revision is synced: plumb wait does that.`,
		Example: `  plumb pin web --reason "checkout fails"
  plumb pin web --to 12 --reason "checkout fails"        # an ID of plumb history
  plumb pin web --to 3f2c1d0 --reason "checkout fails"
  plumb unpin web`,
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.check(); err != nil {
				return err
			}
			a, err := c.connection.find(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			return c.pin(cmd.Context(), a, r)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	cmd.Flags().StringVar(&r.to, "to", "", "`REVISION` or ID of plumb history; with several sources, revisions with commas between them")
	cmd.Flags().StringVar(&r.reason, "reason", "", "`WHY`, shown until the pin is taken away")
	cmd.Flags().BoolVar(&r.override, "override", false, "also in a closed sync window or a freeze (takes the verb override)")
	r.bindWait(cmd.Flags(), "")
	return cmd
}

func (c commandline) newUnpinCommand() *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use:               "unpin NAME",
		Short:             "Let an Application follow Git again",
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.connection.find(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			if _, pinned := v1alpha1.PinOf(a.Annotations); !pinned {
				fmt.Fprintf(c.streams.Out, "%s is not pinned\n", a.key)
				return nil
			}
			gone := map[string]any{}
			for name := range (v1alpha1.Pin{}).Annotations() {
				gone[name] = nil
			}
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": gone}})
			if err != nil {
				return fmt.Errorf("encode the change: %w", err)
			}
			if _, err := c.connection.object(a.key).Patch(cmd.Context(), a.key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plumb-cli"}); err != nil {
				return c.connection.explain(err)
			}
			next := ""
			if !a.Spec.IsAutomated() {
				next = fmt.Sprintf("; it is not synced by itself: plumb sync %s", a.key.Name)
			}
			fmt.Fprintf(c.streams.Out, "%s follows Git again%s\n", a.key, next)
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	return cmd
}

// pin holds an Application at a revision, and asks for the sync that goes there.
func (c commandline) pin(ctx context.Context, a application, r pinRequest) error {
	user := c.connection.username(ctx)
	var pin v1alpha1.Pin
	asked := false
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		fresh, err := c.connection.reload(ctx, a.key)
		if err != nil {
			return err
		}
		a = fresh
		revisions, err := pinRevisions(a, r.to)
		if err != nil {
			return err
		}
		pin = v1alpha1.Pin{Revisions: revisions, By: user, At: time.Now().UTC().Format(time.RFC3339), Reason: strings.TrimSpace(r.reason)}
		if err := pin.Fits(len(a.sources())); err != nil {
			return fmt.Errorf("--to: %d revisions were given, and %s has %d sources", len(revisions), a.key, len(a.sources()))
		}
		change := map[string]any{"metadata": map[string]any{"resourceVersion": a.ResourceVersion, "annotations": pin.Annotations()}}
		if asked = !operating(a); asked {
			change["operation"] = pinOperation(a, r, user)
		}
		patch, err := json.Marshal(change)
		if err != nil {
			return fmt.Errorf("encode the pin: %w", err)
		}
		_, err = c.connection.object(a.key).Patch(ctx, a.key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plumb-cli"})
		return err
	})
	if err != nil {
		return c.connection.explain(err)
	}
	if r.wait {
		if err := c.awaitPin(ctx, a, pin, r.timeout); err != nil {
			return err
		}
	}
	var short []string
	for _, revision := range pin.Revisions {
		short = append(short, shortRevision(revision))
	}
	next := ""
	if !asked {
		next = "; an operation is in progress, and it goes there when that has ended"
		if !a.Spec.IsAutomated() {
			next = fmt.Sprintf("; an operation is in progress: when it has ended, plumb sync %s goes there", a.key.Name)
		}
	}
	fmt.Fprintf(c.streams.Out, "%s pinned at %s%s (plumb unpin %s follows Git again)\n", a.key, strings.Join(short, ", "), next, a.key.Name)
	return nil
}

// awaitPin waits until a pin is taken up, and says what is wrong with it, if it is.
func (c commandline) awaitPin(ctx context.Context, a application, pin v1alpha1.Pin, timeout time.Duration) error {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	problem := ""
	err := c.connection.watchOne(ctx, a.key, func(now application, gone bool) (bool, error) {
		switch set, pinned := v1alpha1.PinOf(now.Annotations); {
		case gone:
			return true, fmt.Errorf("application %s was deleted meanwhile", a.key)
		case !pinned || set.String() != pin.String():
			return true, fmt.Errorf("somebody has pinned or unpinned %s meanwhile", a.key)
		}
		taken := false
		problem = ""
		for _, condition := range now.Status.Conditions {
			switch condition.Type {
			case v1alpha1.ConditionPinned:
				taken = strings.HasPrefix(condition.Message, pin.String())
			case v1alpha1.ConditionComparisonError, v1alpha1.ConditionInvalidSpecError:
				problem = condition.Type + ": " + printable(condition.Message)
			}
		}
		return taken, nil
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s is %s, and nobody has taken that up within %s: does the engine run? (`plumb up` runs it, on another cluster `plumb server` does)", a.key, printable(pin.String()), timeout)
	case err != nil:
		return err
	case problem != "":
		return fmt.Errorf("%s is %s, and can't be held there (%s): pin it at another revision, or let it follow Git again by plumb unpin %s", a.key, printable(pin.String()), problem, a.key.Name)
	}
	return nil
}

// pinOperation asks for the sync to the pin. It deletes what the revision did not
// have where automated syncs would.
func pinOperation(a application, r pinRequest, user string) v1alpha1.Operation {
	sync := &v1alpha1.SyncOperation{}
	if p := a.Spec.SyncPolicy; p != nil {
		sync.SyncOptions = p.SyncOptions
		sync.Prune = p.Automated.GetPrune()
	}
	operation := v1alpha1.Operation{Sync: sync, InitiatedBy: v1alpha1.OperationInitiator{Username: user}}
	if r.override {
		operation.Info = []v1alpha1.Info{{Name: v1alpha1.InfoOverride, Value: strings.TrimSpace(r.reason)}}
	}
	return operation
}

// pinRevisions says which revisions are meant: the last that was healthy, those of
// an entry of the history, or what is given.
func pinRevisions(a application, to string) ([]string, error) {
	history := a.Status.History
	now := a.Status.Sync.Revisions
	if len(now) == 0 {
		now = []string{a.Status.Sync.Revision}
	}
	if to == "" {
		if h, ok := history.LastHealthy(now); ok {
			return h.RevisionsOf(), nil
		}
		for _, h := range slices.Backward(history) {
			if !slices.Equal(h.RevisionsOf(), now) {
				return h.RevisionsOf(), nil
			}
		}
		return nil, fmt.Errorf("the history of %s has no other revision than the one of now: name one with --to", a.key)
	}
	if id, err := strconv.ParseInt(to, 10, 64); err == nil {
		for _, h := range history {
			if h.ID == id {
				return h.RevisionsOf(), nil
			}
		}
	}
	given := strings.Split(to, ",")
	for _, h := range slices.Backward(history) { // a shortened revision is one of those that are known
		if slices.EqualFunc(h.RevisionsOf(), given, func(full, part string) bool { return len(part) >= 4 && strings.HasPrefix(full, part) }) {
			return h.RevisionsOf(), nil
		}
	}
	return given, nil
}
