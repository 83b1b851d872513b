package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func (c commandline) newGetCommand() *cobra.Command {
	var s selection
	var o output
	var watch, noHeaders, managedFields bool
	cmd := &cobra.Command{
		Use:     "get [NAME…]",
		Aliases: []string{"list", "ls"},
		Short:   "List Applications with how they stand",
		Long: `Lists Applications of both API groups (plumb.dev and argoproj.io), with how they
stand to Git and how they are. Without -n it lists those of all namespaces.

NAME may be NAME, NAMESPACE/NAME or GROUP/NAMESPACE/NAME.`,
		Example: `  plumb get
  plumb get -n shop -o wide
  plumb get -w
  plumb get web -o json`,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			apps, err := c.connection.findAll(cmd.Context(), names, s)
			if err != nil {
				return err
			}
			v := c.newGetView(&o, len(names) == 1, noHeaders, managedFields)
			if watch {
				v.stream = true
			}
			if err := v.show(apps); err != nil {
				return err
			}
			if len(apps) == 0 && !watch && !o.machine() {
				fmt.Fprintln(c.streams.Err, nothingFound(s))
			}
			if watch {
				return c.watchApplications(cmd.Context(), names, s, apps, v)
			}
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bindMany(cmd.Flags())
	o.bind(cmd, "json", "yaml", "wide", "name")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show what changes, until Ctrl-C")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "leave out the line of headers")
	cmd.Flags().BoolVar(&managedFields, "show-managed-fields", false, "keep metadata.managedFields in JSON and YAML")
	return cmd
}

func nothingFound(s selection) string {
	where := ""
	if s.where() != "" {
		where = fmt.Sprintf(" in namespace %q", s.namespace)
	}
	if s.selector != "" {
		where += fmt.Sprintf(" with labels %q", s.selector)
	}
	return "No Applications found" + where + "."
}

// getView shows Applications: as a table, as names or as objects.
type getView struct {
	c             commandline
	output        *output
	table         *table
	one           bool // a single object, not a list of one
	stream        bool // objects one after the other
	managedFields bool
	now           func() time.Time
}

func (c commandline) newGetView(o *output, one, noHeaders, managedFields bool) *getView {
	header := []string{"NAME", "NAMESPACE", "PROJECT", "SYNC", "HEALTH", "REVISION", "AGE"}
	if o.format == "wide" {
		header = append(header, "GROUP", "OPERATION", "CONDITIONS", "DESTINATION", "SOURCE")
	}
	v := &getView{c: c, output: o, table: newTable(c.streams.Out, header...), one: one, managedFields: managedFields, now: time.Now}
	if noHeaders {
		v.table.header = nil
	}
	return v
}

func (v *getView) show(apps []application) error {
	switch {
	case v.output.machine() && v.stream, v.output.machine() && v.one && len(apps) == 1:
		for _, a := range apps {
			if err := v.output.print(v.c.streams.Out, v.clean(a).Object); err != nil {
				return err
			}
		}
		return nil
	case v.output.machine():
		items := make([]any, len(apps))
		for i, a := range apps {
			items[i] = v.clean(a).Object
		}
		return v.output.print(v.c.streams.Out, map[string]any{
			"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": items,
		})
	case v.output.format == "name":
		for _, a := range apps {
			fmt.Fprintf(v.c.streams.Out, "application.%s/%s\n", a.key.Group, a.key.Name)
		}
		return nil
	}
	for _, a := range apps {
		v.table.add(v.row(a)...)
	}
	if len(apps) > 0 {
		v.table.flush()
	}
	return nil
}

func (v *getView) clean(a application) *unstructured.Unstructured {
	if !v.managedFields {
		a.object.SetManagedFields(nil)
	}
	return a.object
}

func (v *getView) row(a application) []cell {
	p := v.c.palette()
	sync := cmp.Or(string(a.Status.Sync.Status), "Unknown")
	health := cmp.Or(string(a.Status.Health.Status), "Unknown")
	if a.DeletionTimestamp != nil {
		health = "Deleting"
	}
	syncCell := cell{sync + waitsMark(a), func(text string) string { return strings.Replace(text, sync, p.status(sync), 1) }}
	revision := shortRevisions(a.Status.Sync.Revision, a.Status.Sync.Revisions)
	if held := heldWord(a); held != "" {
		syncCell = cell{sync + " (" + held + ")", p.yellow}
	}
	if _, pinned := v1alpha1.PinOf(a.Annotations); pinned {
		revision += " (pinned)"
	}
	row := []cell{
		plain(a.key.Name), plain(a.key.Namespace), plain(a.project()),
		syncCell, {health, p.status},
		plain(orNone(revision)),
		plain(age(a.CreationTimestamp, v.now())),
	}
	if v.output.format != "wide" {
		return row
	}
	operation := "-"
	if a.Status.OperationState != nil {
		operation = string(a.Status.OperationState.Phase)
	}
	return append(row, plain(a.key.Group), cell{operation, p.status}, plain(orNone(conditionWords(a))),
		plain(destinationText(a)), plain(orNone(sourcesText(a.sources()))))
}

// heldWord says in a word what holds changes of an Application back.
func heldWord(a application) string {
	for _, condition := range a.Status.Conditions {
		switch condition.Type {
		case v1alpha1.ConditionFrozen:
			return "frozen"
		case v1alpha1.ConditionSyncWindow:
			return "window closed"
		}
	}
	return ""
}

// waitsMark names the plan that waits for approval.
func waitsMark(a application) string {
	if a.Status.Plan == nil || a.Status.Plan.Name == "" {
		return ""
	}
	return " (plan " + a.Status.Plan.Name + " waits)"
}

func conditionWords(a application) string {
	var words []string
	for _, condition := range a.Status.Conditions {
		if !slices.Contains(words, condition.Type) {
			words = append(words, condition.Type)
		}
	}
	return strings.Join(words, ",")
}

// destinationText is where an Application goes: cluster/namespace.
func destinationText(a application) string {
	d := a.Spec.Destination
	cluster := cmp.Or(d.Name, d.Server, v1alpha1.InClusterName)
	if cluster == v1alpha1.InClusterServer {
		cluster = v1alpha1.InClusterName
	}
	return cluster + "/" + cmp.Or(d.Namespace, a.key.Namespace)
}

func sourcesText(sources []v1alpha1.ApplicationSource) string {
	texts := make([]string, len(sources))
	for i, s := range sources {
		texts[i] = sourceText(s)
	}
	return strings.Join(texts, ", ")
}

// sourceText is repository, path or chart, and revision of a source.
func sourceText(s v1alpha1.ApplicationSource) string {
	text := v1alpha1.RedactURL(s.RepoURL)
	switch {
	case s.Chart != "":
		text += " chart " + s.Chart
	case s.Path != "" && s.Path != ".":
		text += "//" + s.Path
	}
	if s.TargetRevision != "" {
		text += "@" + s.TargetRevision
	}
	return text
}

// watchApplications shows each change of the Applications that are meant.
func (c commandline) watchApplications(ctx context.Context, names []string, s selection, seen []application, v *getView) error {
	options, err := s.listOptions()
	if err != nil {
		return err
	}
	shown := map[string]string{}
	for _, a := range seen {
		shown[a.key.String()] = a.ResourceVersion
	}
	wanted := func(a application) bool {
		return len(names) == 0 || slices.ContainsFunc(seen, func(b application) bool { return a.key == b.key })
	}
	err = c.connection.watch(ctx, s.where(), options, func(a application, gone bool) (bool, error) {
		if !wanted(a) || shown[a.key.String()] == a.ResourceVersion {
			return false, nil
		}
		shown[a.key.String()] = a.ResourceVersion
		if gone {
			now := metav1.Now()
			a.DeletionTimestamp = &now
		}
		return false, v.show([]application{a})
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is how a watch ends
	}
	return err
}
