package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func (c commandline) newApproveCommand() *cobra.Command {
	return c.newSayCommand(v1alpha1.DecisionApprove, &cobra.Command{
		Use:   "approve PLAN",
		Short: "Approve a plan that waits",
		Long: `Approves a plan, in your own name. It takes the right to "approve" the
Application (the ClusterRole plumb-approver gives it), and the policy may ask for
more: to be among the approvers, and not to have made the change. The API server
itself refuses what is not so.

What is approved is exactly what the plan shows. Where that changes before it is
applied, the plan is stale, and another one waits.

PLAN is the name of a plan, or of an Application for which one plan waits.`,
		Example: `  plumb diff web-1a2b3c4
  plumb approve web-1a2b3c4 --reason "seen with Ann"
  plumb approve web`,
	})
}

func (c commandline) newRejectCommand() *cobra.Command {
	return c.newSayCommand(v1alpha1.DecisionReject, &cobra.Command{
		Use:   "reject PLAN",
		Short: "Reject a plan that waits",
		Long: `Rejects a plan, in your own name. It takes the same right as to approve one. The
plan is never applied; another one waits as soon as there is something else to do.`,
		Example: `  plumb reject web-1a2b3c4 --reason "not before Monday"`,
	})
}

func (c commandline) newSayCommand(decision v1alpha1.ApprovalDecision, cmd *cobra.Command) *cobra.Command {
	var s selection
	var o output
	var reason string
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError(cmd, "name one plan")
		}
		return nil
	}
	cmd.ValidArgsFunction = c.completePlan
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := c.connection.findPlan(cmd.Context(), args[0], s)
		if err != nil {
			return err
		}
		made, err := c.connection.say(cmd.Context(), p, decision, reason)
		if err != nil {
			return err
		}
		if o.machine() {
			return o.print(c.streams.Out, made.Object)
		}
		user, _, _ := unstructured.NestedString(made.Object, "spec", "user")
		verb := map[v1alpha1.ApprovalDecision]string{v1alpha1.DecisionApprove: "approved", v1alpha1.DecisionReject: "rejected"}[decision]
		fmt.Fprintf(c.streams.Out, "plan %s of %s %s as %s\n", p.Name, p.application(), verb, printable(user))
		return nil
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	cmd.Flags().StringVar(&reason, "reason", "", "`WHY`, for others to read")
	return cmd
}

// say creates what the user says of a plan.
func (k *connection) say(ctx context.Context, p proposed, decision v1alpha1.ApprovalDecision, reason string) (*unstructured.Unstructured, error) {
	if !p.waits() {
		why := strings.ToLower(string(p.Status.Phase))
		if p.Status.Message != "" {
			why += ": " + printable(p.Status.Message)
		}
		return nil, fmt.Errorf("plan %s does not wait: it is %s", p.Name, why)
	}
	client, err := k.typed()
	if err != nil {
		return nil, err
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("find out who you are: %w", k.explain(err))
	}
	me := review.Status.UserInfo
	approval := &v1alpha1.Approval{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.ApprovalKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, GenerateName: p.Name + "-"},
		Spec: v1alpha1.ApprovalSpec{
			Plan: p.Name, Digest: p.Spec.Digest, Decision: decision, Reason: reason,
			Application: v1alpha1.ApprovalApplication{Group: p.Spec.Application.Group, Name: p.Spec.Application.Name},
			User:        me.Username, Groups: groupsThatMatter(p, me.Groups),
		},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(approval)
	if err != nil {
		return nil, fmt.Errorf("write the approval: %w", err)
	}
	approvals := k.dynamic.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.ApprovalResource)).Namespace(p.Namespace)
	made, err := approvals.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: "plumb-cli"})
	for tries := 0; tries < unheardTries && unheard(err) && ctx.Err() == nil; tries++ {
		time.Sleep(unheardPause)
		made, err = approvals.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: "plumb-cli"})
	}
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return nil, fmt.Errorf("the API server refuses it: %s", refusal(err))
	}
	return made, k.explain(err)
}

// unheardTries and unheardPause are how long it may take until the API server's
// admission has heard of a plan: it does so by a watch of its own.
const (
	unheardTries = 20
	unheardPause = 150 * time.Millisecond
)

func unheard(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no params found for policy binding")
}

// refusal is what a policy says, without the words around it.
func refusal(err error) string {
	var status apierrors.APIStatus
	message := err.Error()
	if errors.As(err, &status) {
		message = status.Status().Message
	}
	for _, before := range []string{" denied request: ", "is forbidden: "} {
		if i := strings.LastIndex(message, before); i >= 0 {
			return printable(message[i+len(before):])
		}
	}
	return printable(message)
}

// groupsThatMatter are the user's groups by which they may approve, and those that
// tell who they are.
func groupsThatMatter(p proposed, groups []string) []string {
	const most = 200
	var out []string
	for _, g := range groups {
		named := slices.ContainsFunc(p.Spec.Approval.Approvers, func(a v1alpha1.Approver) bool { return a.Group == g })
		if named || !strings.HasPrefix(g, "system:") {
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { // those that count are not cut off
		return rank(p, a) - rank(p, b)
	})
	return out[:min(len(out), most)]
}

func rank(p proposed, group string) int {
	if slices.ContainsFunc(p.Spec.Approval.Approvers, func(a v1alpha1.Approver) bool { return a.Group == group }) {
		return 0
	}
	return 1
}

// completePlan completes the names of plans that wait.
func (c commandline) completePlan(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	plans, err := c.connection.listPlans(ctx, "", metav1.ListOptions{})
	if err != nil || len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, p := range plans {
		if p.waits() {
			names = append(names, p.Name+"\t"+p.Spec.Application.Name+", "+planCounts(p.Spec.Counts))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
