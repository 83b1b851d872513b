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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func (c commandline) newDescribeCommand() *cobra.Command {
	var s selection
	var o output
	cmd := &cobra.Command{
		Use:     "describe NAME",
		Aliases: []string{"show", "inspect"},
		Short:   "Show one Application in full",
		Long: `Shows one Application: where it comes from and goes to, how it stands, what
needs attention, its resources, its last operation and its events.`,
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.connection.find(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			events := c.connection.events(cmd.Context(), a)
			if o.machine() {
				a.object.SetManagedFields(nil)
				return o.print(c.streams.Out, description{Application: a.object.Object, Events: events})
			}
			d := describer{out: c.streams.Out, p: c.palette(), now: time.Now()}
			if p := c.connection.projectOf(cmd.Context(), a); p != nil {
				d.floor = p.Spec.Approval
			}
			if v, err := c.connection.windowsFor(cmd.Context(), a, d.now); err == nil && len(v.Windows) > 0 {
				d.windows = &v
			}
			d.describe(a, events)
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	return cmd
}

// description is the JSON of describe.
type description struct {
	Application map[string]any `json:"application"`
	Events      []eventLine    `json:"events"`
}

type eventLine struct {
	Type    string      `json:"type"`
	Reason  string      `json:"reason"`
	Message string      `json:"message"`
	Count   int32       `json:"count"`
	Last    metav1.Time `json:"last"`
}

// events of an Application, oldest first. They are a help, not a fact: none are
// shown where they can't be read.
func (k *connection) events(ctx context.Context, a application) []eventLine {
	lines := []eventLine{}
	client, err := k.typed()
	if err != nil {
		return lines
	}
	selector := fields.Set{"involvedObject.uid": string(a.UID)}.AsSelector().String()
	list, err := client.CoreV1().Events(a.key.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector, Limit: pageSize})
	if err != nil {
		return lines
	}
	for _, e := range list.Items {
		lines = append(lines, eventLine{e.Type, e.Reason, e.Message, max(e.Count, 1), lastSeen(e)})
	}
	slices.SortStableFunc(lines, func(a, b eventLine) int { return a.Last.Compare(b.Last.Time) })
	return lines
}

func lastSeen(e corev1.Event) metav1.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return metav1.Time{Time: e.Series.LastObservedTime.Time}
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp
	case !e.EventTime.IsZero():
		return metav1.Time{Time: e.EventTime.Time}
	}
	return e.CreationTimestamp
}

// describer writes an Application for people.
type describer struct {
	out io.Writer
	p   palette
	now time.Time
	// windows are those that are for the Application, if there are any.
	windows *windowsView
	// floor is what the project asks for at least.
	floor *v1alpha1.ApprovalPolicy
}

func (d describer) field(name, value string) {
	fmt.Fprintf(d.out, "%-14s %s\n", name+":", value)
}

func (d describer) section(title string) { fmt.Fprintf(d.out, "\n%s:\n", d.p.bold(title)) }

func (d describer) describe(a application, events []eventLine) {
	d.field("Name", a.key.Name)
	d.field("Namespace", a.key.Namespace)
	d.field("Group", a.key.Group)
	d.field("Project", printable(a.project()))
	for _, s := range a.sources() {
		d.field("Source", printable(sourceText(s)))
	}
	d.field("Destination", printable(destinationText(a)))
	d.field("Policy", policyText(a, d.floor))
	if text := approvalText(a, d.floor); text != "" {
		d.field("Approval", printable(text))
	}
	for _, dep := range a.Spec.DependsOn {
		d.field("Depends on", printable(dependencyText(dep)))
	}
	d.field("Created", age(a.CreationTimestamp, d.now)+" ago")
	if a.DeletionTimestamp != nil {
		d.field("Deleting", "since "+age(*a.DeletionTimestamp, d.now)+", held by "+strings.Join(a.Finalizers, ", "))
	}
	d.held(a)
	d.state(a)
	d.conditions(a)
	d.operation(a)
	d.resources(a)
	d.events(events)
}

// held says what keeps the Application from following Git: loudly, since nothing
// else explains what it does.
func (d describer) held(a application) {
	if d.windows != nil {
		d.field("Sync window", windowText(d.p, *d.windows, d.now))
	}
	for _, condition := range a.Status.Conditions {
		switch condition.Type {
		case v1alpha1.ConditionPinned:
			d.field("PINNED", d.p.bold(d.p.yellow(printable(condition.Message))))
		case v1alpha1.ConditionFrozen:
			d.field("FROZEN", d.p.bold(d.p.yellow(printable(condition.Message))))
		}
	}
}

func (d describer) state(a application) {
	sync := cmp.Or(string(a.Status.Sync.Status), "Unknown")
	line := d.p.status(sync)
	if r := shortRevisions(a.Status.Sync.Revision, a.Status.Sync.Revisions); r != "" {
		line += " to " + printable(r)
	}
	fmt.Fprintln(d.out)
	d.field("Sync", line)
	health := d.p.status(cmp.Or(string(a.Status.Health.Status), "Unknown"))
	if m := a.Status.Health.Message; m != "" {
		health += " (" + printable(m) + ")"
	}
	d.field("Health", health)
	if p := a.Status.Plan; p != nil && p.Create+p.Update+p.Replace+p.Delete > 0 {
		d.field("To change", planSummaryText(*p)+fmt.Sprintf(" (plumb diff %s)", a.key.Name))
	}
	if p := a.Status.Plan; p != nil && p.Name != "" {
		d.field("Waits", fmt.Sprintf("plan %s needs approval (plumb diff %s; plumb approve %s)", printable(p.Name), printable(p.Name), printable(p.Name)))
	}
	if a.Status.ReconciledAt != nil {
		d.field("Compared", age(*a.Status.ReconciledAt, d.now)+" ago")
	}
	if n := len(a.Status.History); n > 0 {
		last := a.Status.History[n-1]
		d.field("Applied", printable(shortRevisions(last.Revision, last.Revisions))+", "+age(last.DeployedAt, d.now)+" ago")
	}
}

func planSummaryText(p v1alpha1.PlanSummary) string {
	var parts []string
	for _, part := range []struct {
		n    int
		word string
	}{{p.Create, "to create"}, {p.Update, "to update"}, {p.Replace, "to replace"}, {p.Delete, "to delete"}, {p.Forget, "to let go"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
	return strings.Join(parts, ", ")
}

func (d describer) conditions(a application) {
	if len(a.Status.Conditions) == 0 {
		return
	}
	d.section("Conditions")
	for _, condition := range a.Status.Conditions {
		paint := d.p.yellow
		if strings.HasSuffix(condition.Type, "Error") {
			paint = d.p.red
		}
		since := ""
		if condition.LastTransitionTime != nil {
			since = " " + d.p.dim("("+age(*condition.LastTransitionTime, d.now)+")")
		}
		fmt.Fprintf(d.out, "  %s%s\n", paint(printable(condition.Type)), since)
		for line := range strings.SplitSeq(strings.TrimSpace(condition.Message), "\n") {
			fmt.Fprintf(d.out, "    %s\n", printable(line))
		}
	}
}

func (d describer) operation(a application) {
	state := a.Status.OperationState
	if state == nil {
		if a.Operation != nil {
			d.section("Operation")
			fmt.Fprintln(d.out, "  asked for, not begun")
		}
		return
	}
	d.section("Last operation")
	when := "began " + age(state.StartedAt, d.now) + " ago"
	if state.FinishedAt != nil {
		when = fmt.Sprintf("ended %s ago, took %s", age(*state.FinishedAt, d.now), state.FinishedAt.Sub(state.StartedAt.Time))
	}
	fmt.Fprintf(d.out, "  %s, %s, by %s\n", d.p.status(string(state.Phase)), when, initiator(state.Operation.InitiatedBy))
	if state.Message != "" {
		fmt.Fprintf(d.out, "  %s\n", printable(state.Message))
	}
	if state.SyncResult == nil {
		return
	}
	for _, r := range state.SyncResult.Resources {
		if r.Status == v1alpha1.ResultCodeSyncFailed || r.HookPhase == v1alpha1.OperationFailed || r.HookPhase == v1alpha1.OperationError {
			fmt.Fprintf(d.out, "    %s %s: %s\n", d.p.red(cmp.Or(string(r.Status), string(r.HookPhase))), printable(string(resultAddress(r))), printable(r.Message))
		}
	}
}

func initiator(by v1alpha1.OperationInitiator) string {
	switch {
	case by.Automated:
		return "the sync policy"
	case by.Username != "":
		return printable(by.Username)
	}
	return "unknown"
}

func (d describer) resources(a application) {
	if len(a.Status.Resources) == 0 {
		return
	}
	d.section("Resources")
	t := newTable(d.out, "KIND", "NAMESPACE", "NAME", "SYNC", "HEALTH", "MESSAGE")
	t.indent = "  "
	for _, r := range a.Status.Resources {
		health, message := "", ""
		if r.Health != nil {
			health, message = string(r.Health.Status), r.Health.Message
		}
		sync := string(r.Status)
		if r.RequiresPruning {
			message = strings.TrimSpace("to be pruned. " + message)
		}
		if r.Hook {
			sync = "Hook"
		}
		t.add(plain(kindText(r.Group, r.Kind)), plain(orNone(r.Namespace)), plain(r.Name),
			cell{orNone(sync), d.p.status}, cell{orNone(health), d.p.status}, plain(message))
	}
	t.flush()
}

func (d describer) events(events []eventLine) {
	if len(events) == 0 {
		return
	}
	d.section("Events")
	t := newTable(d.out, "TYPE", "REASON", "AGE", "MESSAGE")
	t.indent = "  "
	for _, e := range events {
		when := age(e.Last, d.now)
		if e.Count > 1 {
			when += fmt.Sprintf(" (x%d)", e.Count)
		}
		t.add(plain(e.Type), plain(e.Reason), plain(when), plain(strings.TrimSpace(e.Message)))
	}
	t.flush()
}

// kindText is kind and group as people write them: Deployment.apps, Service.
func kindText(group, kind string) string {
	if group == "" {
		return kind
	}
	return kind + "." + group
}

func dependencyText(r v1alpha1.ApplicationRef) string {
	var parts []string
	for _, p := range []string{r.Group, r.Namespace, r.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// policyText says in a few words when an Application is synced. floor is what its
// project asks for.
func policyText(a application, floor *v1alpha1.ApprovalPolicy) string {
	p := a.Spec.SyncPolicy
	when := approvalOf(a, floor).GetWhen()
	if p == nil || p.Automated == nil || p.Automated.Enabled != nil && !*p.Automated.Enabled {
		if when == v1alpha1.ApproveAlways {
			return "synced when a plan is approved (plumb plans " + a.key.Name + ")"
		}
		return "manual: synced when asked (plumb sync " + a.key.Name + ")"
	}
	text := "automated"
	if isTrue(p.Automated.Prune) {
		text += ", prunes"
	}
	if isTrue(p.Automated.SelfHeal) {
		text += ", heals itself"
	}
	switch when {
	case v1alpha1.ApproveAlways:
		text += ", when approved"
	case v1alpha1.ApproveDestructive:
		text += ", deletes and replaces when approved"
	case v1alpha1.ApproveDrift:
		text += " when approved"
	default:
	}
	return text
}

// approvalOf is what an Application and its project ask for together.
func approvalOf(a application, floor *v1alpha1.ApprovalPolicy) *v1alpha1.ApprovalPolicy {
	var own *v1alpha1.ApprovalPolicy
	if a.Spec.SyncPolicy != nil {
		own = a.Spec.SyncPolicy.Approval
	}
	return own.AtLeast(floor)
}

// approvalText says who must approve what, and who asks for that; nothing where
// nobody does.
func approvalText(a application, floor *v1alpha1.ApprovalPolicy) string {
	policy := approvalOf(a, floor)
	if !policy.IsRequired() {
		return ""
	}
	what := map[v1alpha1.ApprovalWhen]string{
		v1alpha1.ApproveDestructive: "what deletes or replaces something", v1alpha1.ApproveDrift: "what puts drift right",
	}[policy.GetWhen()]
	s := policy.Snapshot()
	text := cmp.Or(what, "every change") + ": " + plural(int(s.Min), "approval")
	var who []string
	for _, approver := range s.Approvers {
		who = append(who, cmp.Or(approver.User, "group "+approver.Group))
	}
	if len(who) > 0 {
		text += " of " + strings.Join(who, ", ")
	}
	if s.NotAuthor {
		text += ", not by who made the change"
	}
	text += ", good for " + s.ValidFor
	switch own := approvalOf(a, nil); {
	case !own.IsRequired():
		text += " (project " + a.project() + " asks for it)"
	case floor.IsRequired():
		text += " (the Application and project " + a.project() + " ask for it)"
	}
	return text
}

func isTrue(b *bool) bool { return b != nil && *b }
