package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// requestInfo is the name under which an operation carries the mark by which
// the one who asked for it knows it again.
const requestInfo = "plumb.dev/request"

// syncRequest is what sync was asked to do.
type syncRequest struct {
	revision               string
	prune, dryRun          bool
	force, replace         bool
	serverSide, onlyBroken bool
	strategy               string
	resources              []string
	options                []string
	wait, async, all       bool
	override               bool
	reason                 string
	timeout                time.Duration
}

func (c commandline) newSyncCommand() *cobra.Command {
	var s selection
	var o output
	var r syncRequest
	cmd := &cobra.Command{
		Use:     "sync NAME…",
		Aliases: []string{"reconcile", "deploy"},
		Short:   "Make what runs match Git, now",
		Long: `Asks for a sync and shows how each resource fares until all are healthy. Exits
with 1 when the sync fails or the Application does not become healthy, and with 3
when its plan still waits for approval when the time is over.

A sync is asked for through the Application's "operation" field, as by Argo CD's
core mode: who may update Applications may sync them.`,
		Example: `  plumb sync web
  plumb sync web --dry-run
  plumb sync web --revision v1.4.2 --prune
  plumb sync web --resource apps:Deployment:web`,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && s.selector == "" && !r.all {
				return errors.New("name Applications, select them with -l, or give --all")
			}
			if r.override && strings.TrimSpace(r.reason) == "" {
				return errors.New("--override needs a --reason: it is recorded")
			}
			return c.sync(cmd.Context(), names, s, r, &o)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	r.bind(cmd)
	return cmd
}

func (r *syncRequest) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.revision, "revision", "", "`REVISION` to sync to instead of the declared one (only where the sync is not automated)")
	f.BoolVar(&r.prune, "prune", false, "delete what is no longer declared")
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would be done and do nothing")
	f.BoolVar(&r.force, "force", false, "delete and create anew what cannot be changed in place")
	f.BoolVar(&r.replace, "replace", false, "replace objects instead of applying to them")
	f.BoolVar(&r.serverSide, "server-side", true, "apply on the server's side; kept for users of argocd, always so")
	f.BoolVar(&r.onlyBroken, "apply-out-of-sync-only", false, "apply only what is out of sync")
	f.StringVar(&r.strategy, "strategy", "", "apply: run no hooks; hook: run them (default)")
	f.StringArrayVar(&r.resources, "resource", nil, "sync only this resource: `GROUP:KIND:[NAMESPACE/]NAME`; may be repeated; no hooks run")
	f.StringArrayVar(&r.options, "sync-option", nil, "a sync option, such as `CreateNamespace=true`; may be repeated")
	f.BoolVar(&r.wait, "wait", true, "wait until it is done and healthy")
	f.BoolVar(&r.async, "async", false, "do not wait; the same as --wait=false")
	f.BoolVar(&r.all, "all", false, "all Applications")
	f.BoolVar(&r.override, "override", false, "sync in spite of closed sync windows, freezes and missing approvals: takes the verb override on the Application, and is recorded")
	f.StringVar(&r.reason, "reason", "", "`WHY` it is overridden")
	f.DurationVar(&r.timeout, "timeout", 10*time.Minute, "how long to wait; 0 is without end")
	_ = f.MarkHidden("server-side")
	_ = cmd.RegisterFlagCompletionFunc("strategy", cobra.FixedCompletions([]string{"apply", "hook"}, cobra.ShellCompDirectiveNoFileComp))
}

func (c commandline) sync(ctx context.Context, names []string, s selection, r syncRequest, o *output) error {
	apps, err := c.connection.findAll(ctx, names, s)
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, r.timeout)
	defer cancel()
	user := c.connection.username(ctx)
	marks := make([]string, len(apps))
	for i, a := range apps {
		marks[i] = rand.Text()
		operation, err := r.operation(a, user, marks[i])
		if err != nil {
			return err
		}
		if apps[i], err = c.connection.requestOperation(ctx, a.key, operation); err != nil {
			return err
		}
	}
	if r.async || !r.wait {
		for _, a := range apps {
			fmt.Fprintf(c.streams.Out, "sync of %s asked for\n", a.key)
		}
		return nil
	}
	var failed []error
	view := c.newSyncView(o, len(apps) > 1)
	for i, a := range apps {
		p := &syncProgress{c: c, view: view, request: r, mark: marks[i], key: a.key}
		if err := p.follow(ctx); err != nil {
			failed = append(failed, err)
		}
	}
	if err := view.end(); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// operation gives the operation to ask for.
func (r syncRequest) operation(a application, user, mark string) (v1alpha1.Operation, error) {
	sync := &v1alpha1.SyncOperation{Revision: r.revision, Prune: r.prune, DryRun: r.dryRun}
	if r.revision != "" && len(a.sources()) > 1 {
		return v1alpha1.Operation{}, fmt.Errorf("application %s has several sources, which one --revision cannot mean: change their targetRevision in Git instead", a.key)
	}
	var err error
	if sync.Resources, err = parseResources(r.resources); err != nil {
		return v1alpha1.Operation{}, err
	}
	apply := v1alpha1.SyncStrategyApply{Force: r.force}
	switch r.strategy {
	case "", "hook":
		sync.SyncStrategy = &v1alpha1.SyncStrategy{Hook: &v1alpha1.SyncStrategyHook{SyncStrategyApply: apply}}
	case "apply":
		sync.SyncStrategy = &v1alpha1.SyncStrategy{Apply: &apply}
	default:
		return v1alpha1.Operation{}, fmt.Errorf("--strategy %q is not known: use apply or hook", r.strategy)
	}
	sync.SyncOptions = r.syncOptions(a)
	operation := v1alpha1.Operation{
		Sync:        sync,
		InitiatedBy: v1alpha1.OperationInitiator{Username: user},
		Info:        []v1alpha1.Info{{Name: requestInfo, Value: mark}},
	}
	if r.override {
		operation.Info = append(operation.Info, v1alpha1.Info{Name: v1alpha1.InfoOverride, Value: strings.TrimSpace(r.reason)})
	}
	return operation, nil
}

// syncOptions are the policy's with those of the command line in their place.
func (r syncRequest) syncOptions(a application) v1alpha1.SyncOptions {
	given := slices.Clone(r.options)
	if r.replace {
		given = append(given, "Replace=true")
	}
	if r.onlyBroken {
		given = append(given, "ApplyOutOfSyncOnly=true")
	}
	var all v1alpha1.SyncOptions
	if a.Spec.SyncPolicy != nil {
		all = slices.Clone(a.Spec.SyncPolicy.SyncOptions)
	}
	for _, option := range given {
		key, _, _ := strings.Cut(option, "=")
		all = slices.DeleteFunc(all, func(o string) bool { return o == key || strings.HasPrefix(o, key+"=") })
		all = append(all, option)
	}
	return all
}

// parseResources reads GROUP:KIND:NAME and GROUP:KIND:NAMESPACE/NAME.
func parseResources(texts []string) ([]v1alpha1.SyncOperationResource, error) {
	var resources []v1alpha1.SyncOperationResource
	for _, text := range texts {
		parts := strings.Split(text, ":")
		if len(parts) < 3 || parts[1] == "" {
			return nil, fmt.Errorf("--resource %q is not GROUP:KIND:NAME (an empty GROUP is the core group: \":ConfigMap:settings\")", text)
		}
		r := v1alpha1.SyncOperationResource{Group: parts[0], Kind: parts[1], Name: strings.Join(parts[2:], ":")}
		if namespace, name, ok := strings.Cut(r.Name, "/"); ok {
			r.Namespace, r.Name = namespace, name
		}
		if r.Name == "" {
			return nil, fmt.Errorf("--resource %q has no name", text)
		}
		resources = append(resources, r)
	}
	return resources, nil
}

// username is who the API server takes the user for, empty where it won't say.
func (k *connection) username(ctx context.Context) string {
	client, err := k.typed()
	if err != nil {
		return ""
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}

// requestOperation sets the operation of an Application, unless there is one.
func (k *connection) requestOperation(ctx context.Context, key engine.Key, operation v1alpha1.Operation) (application, error) {
	var asked application
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		a, err := k.reload(ctx, key)
		if err != nil {
			return err
		}
		if operating(a) {
			return fmt.Errorf("another operation is in progress on %s: wait for it with `plumb wait %s --operation`", key, qualifiedArgument(key))
		}
		if a.DeletionTimestamp != nil {
			return fmt.Errorf("application %s is being deleted", key)
		}
		patch, err := json.Marshal(map[string]any{
			"metadata":  map[string]any{"resourceVersion": a.ResourceVersion},
			"operation": operation,
		})
		if err != nil {
			return err
		}
		u, err := k.object(key).Patch(ctx, key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plumb-cli"})
		if err != nil {
			return err
		}
		asked, err = newApplication(u)
		return err
	})
	if err != nil {
		return application{}, k.explain(err)
	}
	return asked, nil
}
