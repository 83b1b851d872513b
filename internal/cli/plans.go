package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// proposed is a Plan as it was read: typed for looking at, and as it is for printing.
type proposed struct {
	v1alpha1.Plan
	object *unstructured.Unstructured
}

func newProposed(u *unstructured.Unstructured) (proposed, error) {
	p := proposed{object: u}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p.Plan); err != nil {
		return p, fmt.Errorf("read Plan %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	return p, nil
}

// application is the key of the Application that it is for.
func (p proposed) application() engine.Key {
	return engine.Key{Group: p.Spec.Application.Group, Namespace: p.Namespace, Name: p.Spec.Application.Name}
}

// waits tells whether people can still say something of it.
func (p proposed) waits() bool { return p.Status.Phase == "" || p.Status.Phase == v1alpha1.PlanPending }

func (k *connection) plans(namespace string) dynamic.ResourceInterface {
	return k.dynamic.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.PlanResource)).Namespace(namespace)
}

// listPlans gives the plans of a namespace, or of all, the newest first.
func (k *connection) listPlans(ctx context.Context, namespace string, options metav1.ListOptions) ([]proposed, error) {
	if err := k.open(); err != nil {
		return nil, err
	}
	list, err := k.plans(namespace).List(ctx, options)
	if apierrors.IsForbidden(err) && namespace == "" {
		list, err = k.plans(k.namespace).List(ctx, options) // who may not read everywhere is asked for what is theirs
	}
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%s has no plans: the Plumb that runs there is older than this command, or none runs (using %s)", k.host(), k.origin())
	}
	if err != nil {
		return nil, k.explain(err)
	}
	all := make([]proposed, len(list.Items))
	for i := range list.Items {
		if all[i], err = newProposed(&list.Items[i]); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b proposed) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// findPlan gives the plan of a name (NAME, NAMESPACE/NAME, with plan/ before it or
// not), or the one that waits for an Application of that name.
func (k *connection) findPlan(ctx context.Context, name string, s selection) (proposed, error) {
	bare := planName(name)
	want, err := parseName(bare)
	if err != nil {
		return proposed{}, err
	}
	want.Namespace = cmp.Or(want.Namespace, s.where())
	found, err := k.listPlans(ctx, want.Namespace, metav1.ListOptions{FieldSelector: "metadata.name=" + want.Name})
	if err != nil {
		return proposed{}, err
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return proposed{}, fmt.Errorf("there are plans %q in several namespaces: say which one: %s", want.Name, strings.Join(planNames(found), ", "))
	case bare != name:
		return proposed{}, fmt.Errorf("there is no plan %q: `plumb plans` lists them", want.Name)
	}
	return k.waitingPlan(ctx, want)
}

// waitingPlan gives the plan that waits for an Application.
func (k *connection) waitingPlan(ctx context.Context, want engine.Key) (proposed, error) {
	all, err := k.listPlans(ctx, want.Namespace, metav1.ListOptions{})
	if err != nil {
		return proposed{}, err
	}
	waiting := slices.DeleteFunc(all, func(p proposed) bool {
		return p.Spec.Application.Name != want.Name || !p.waits() || want.Group != "" && want.Group != p.Spec.Application.Group
	})
	switch len(waiting) {
	case 1:
		return waiting[0], nil
	case 0:
		return proposed{}, fmt.Errorf("there is no plan %q, and none that waits for an Application of that name: `plumb plans` lists them", want.Name)
	}
	return proposed{}, fmt.Errorf("several plans wait for %q: say which one: %s", want.Name, strings.Join(planNames(waiting), ", "))
}

func planNames(plans []proposed) []string {
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.Namespace + "/" + p.Name
	}
	return names
}

// planName is a name without the word that says that it is a plan's.
func planName(name string) string {
	for _, prefix := range []string{"plan/", "plans/", "plan.plumb.dev/", "plans.plumb.dev/"} {
		if bare, ok := strings.CutPrefix(name, prefix); ok {
			return bare
		}
	}
	return name
}

func (c commandline) newPlansCommand() *cobra.Command {
	var s selection
	var o output
	var all bool
	cmd := &cobra.Command{
		Use:   "plans [APP]",
		Short: "List the plans that wait for approval",
		Long: `Lists the plans that wait for approval, or all that are kept with --all. A plan is
made where an Application's syncPolicy.approval asks for it, and where drift is
found that a rule asks to report.`,
		Example: `  plumb plans
  plumb plans web --all
  plumb diff web-1a2b3c4
  plumb approve web-1a2b3c4 --reason "seen with Ann"`,
		Args:              given(0, 1, "name one Application only"),
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			namespace, name := s.where(), ""
			if len(args) == 1 {
				a, err := c.connection.find(cmd.Context(), args[0], s)
				if err != nil {
					return err
				}
				namespace, name = a.key.Namespace, a.key.Name
			}
			plans, err := c.connection.listPlans(cmd.Context(), namespace, metav1.ListOptions{})
			if err != nil {
				return err
			}
			plans = slices.DeleteFunc(plans, func(p proposed) bool {
				return name != "" && p.Spec.Application.Name != name || !all && !p.waits() && p.Status.Phase != v1alpha1.PlanApproved && p.Status.Phase != v1alpha1.PlanApplying
			})
			return c.showPlans(plans, &o)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml", "name")
	cmd.Flags().BoolVar(&all, "all", false, "those too that were applied, rejected or overtaken")
	return cmd
}

func (c commandline) showPlans(plans []proposed, o *output) error {
	switch {
	case o.machine():
		items := make([]any, len(plans))
		for i, p := range plans {
			p.object.SetManagedFields(nil)
			items[i] = p.object.Object
		}
		return o.print(c.streams.Out, map[string]any{
			"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": items,
		})
	case o.format == "name":
		for _, p := range plans {
			fmt.Fprintf(c.streams.Out, "plan.%s/%s\n", v1alpha1.Group, p.Name)
		}
		return nil
	case len(plans) == 0:
		fmt.Fprintln(c.streams.Err, "No plan waits for approval.")
		return nil
	}
	t, paint := newTable(c.streams.Out, "NAME", "NAMESPACE", "APPLICATION", "REASON", "PHASE", "APPROVALS", "CHANGES", "AGE"), c.palette().status
	for _, p := range plans {
		t.add(plain(p.Name), plain(p.Namespace), plain(p.Spec.Application.Name), plain(string(p.Spec.Reason)),
			cell{cmp.Or(string(p.Status.Phase), string(v1alpha1.PlanPending)), paint}, plain(orNone(p.Status.Progress)),
			plain(planCounts(p.Spec.Counts)), plain(age(p.CreationTimestamp, time.Now())))
	}
	t.flush()
	return nil
}

// planCounts is what a plan changes, in a few signs.
func planCounts(n v1alpha1.PlanCounts) string {
	var parts []string
	for _, part := range []struct {
		n    int
		sign string
	}{{n.Create, "+"}, {n.Update, "~"}, {n.Replace, "±"}, {n.Delete, "-"}, {n.Forget, "."}, {n.Hooks, ">"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%s%d", part.sign, part.n))
		}
	}
	return orNone(strings.Join(parts, " "))
}

// describePlan says what a plan is about, above its lines.
func (c commandline) describePlan(out io.Writer, p proposed) {
	d := describer{out: out, p: c.palette(), now: time.Now()}
	d.field("Plan", p.Namespace+"/"+p.Name)
	d.field("Application", p.application().String())
	why := string(p.Spec.Reason)
	if p.Spec.RequestedBy != "" {
		why += ", asked for by " + printable(p.Spec.RequestedBy)
	}
	d.field("Reason", why)
	for _, r := range p.Spec.Revisions {
		line := printable(r.RepoURL + "@" + shortRevision(r.Revision))
		if r.Author != "" {
			line += printable(fmt.Sprintf(" by %s <%s>: %s", r.Author, r.AuthorEmail, r.Subject))
		}
		if r.Signature != "" {
			line += printable(" (signature: " + r.Signature + ")")
		}
		d.field("Revision", line)
	}
	d.field("Changes", planCounts(p.Spec.Counts))
	if risk := riskText(p.Spec.Risk); risk != "" {
		d.field("Risk", d.p.red(risk))
	}
	phase := d.p.status(string(p.Status.Phase))
	if p.Status.Message != "" {
		phase += " (" + printable(p.Status.Message) + ")"
	}
	d.field("Phase", phase)
	for _, a := range p.Status.Approvals {
		line := fmt.Sprintf("%s by %s, %s ago", a.Decision, a.User, age(a.At, d.now))
		if a.Reason != "" {
			line += ": " + a.Reason
		}
		d.field("Said", printable(line))
	}
	fmt.Fprintln(out)
}

func riskText(r v1alpha1.PlanRisk) string {
	var parts []string
	for _, part := range []struct {
		n           int
		before, one string
		after       string
	}{
		{r.Destroys, "deletes ", "resource", ""},
		{r.Replaces, "replaces ", "resource", ""},
		{r.Secrets, "touches ", "Secret", ""},
		{r.Irreversible, "", "change", " that a revert does not undo"},
	} {
		if part.n > 0 {
			parts = append(parts, part.before+plural(part.n, part.one)+part.after)
		}
	}
	return strings.Join(parts, ", ")
}
