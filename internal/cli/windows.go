package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/window"
)

func (c commandline) newWindowsCommand() *cobra.Command {
	var s selection
	var o output
	cmd := &cobra.Command{
		Use:   "windows PROJECT|APPLICATION",
		Short: "Show when syncs may run",
		Long: `Shows the sync windows of a project, or those of a project that are for an
Application, with what they let through now and when that changes.`,
		Example: `  plumb windows shop
  plumb windows web -n shop`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.windowsOf(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			if o.machine() {
				return o.print(c.streams.Out, v)
			}
			c.showWindows(v)
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	return cmd
}

// windowsView is the JSON of windows.
type windowsView struct {
	Project     string     `json:"project"`
	Application string     `json:"application,omitempty"`
	State       string     `json:"state,omitempty"`
	Why         string     `json:"why,omitempty"`
	Changes     *time.Time `json:"changes,omitempty"`
	// Frozen says who has stopped all changes, and why.
	Frozen  string       `json:"frozen,omitempty"`
	Windows []windowLine `json:"windows"`
}

type windowLine struct {
	ID     int    `json:"id"`
	Status string `json:"status"`
	v1alpha1.SyncWindow
}

// The states, in Argo CD's words.
const (
	syncAllowed   = "Sync Allowed"
	manualAllowed = "Manual Allowed"
	syncDenied    = "Sync Denied"
)

// windowsOf finds the project that is meant, or else the Application.
func (c commandline) windowsOf(ctx context.Context, name string, s selection) (windowsView, error) {
	found, err := c.connection.projectsNamed(ctx, name)
	if err != nil {
		return windowsView{}, err
	}
	if len(found) > 0 {
		p, err := c.connection.oneProject(ctx, name)
		if err != nil {
			return windowsView{}, err
		}
		set, err := window.Compile(p.Spec.SyncWindows)
		if err != nil {
			return windowsView{}, fmt.Errorf("project %s: %w; its Applications are blocked until it is corrected", p.key, err)
		}
		return windowsView{Project: p.key.String(), Frozen: c.connection.frozen(ctx, p, time.Now()), Windows: windowLines(set, time.Now())}, nil
	}
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return windowsView{}, fmt.Errorf("%q is no project, and %w", name, err)
	}
	return c.connection.windowsFor(ctx, a, time.Now())
}

// windowsFor gives the windows that are for an Application, and what they let
// through.
func (k *connection) windowsFor(ctx context.Context, a application, now time.Time) (windowsView, error) {
	v := windowsView{Project: a.project(), Application: a.key.String(), State: syncAllowed, Windows: []windowLine{}}
	for _, condition := range a.Status.Conditions {
		if condition.Type == v1alpha1.ConditionFrozen {
			v.Frozen, v.State = condition.Message, syncDenied
		}
	}
	p := k.projectOf(ctx, a)
	if p == nil {
		return v, nil
	}
	set, err := window.Compile(p.Spec.SyncWindows)
	if err != nil {
		return v, fmt.Errorf("project %s: %w; its Applications are blocked until it is corrected", p.key, err)
	}
	set = set.For(placeOf(a))
	state := set.At(now)
	switch {
	case state.ManualClosed != "", v.Frozen != "":
		v.State = syncDenied
	case state.Closed != "":
		v.State = manualAllowed
	}
	v.Why, v.Windows = state.Closed, windowLines(set, now)
	if turns := set.Turns(now); !turns.IsZero() {
		v.Changes = &turns
	}
	return v, nil
}

// frozen says what has stopped all changes of a project, or nothing.
func (k *connection) frozen(ctx context.Context, p project, now time.Time) string {
	if p.Spec.Freeze.InForce(now) {
		return engine.Frozen{Where: "project " + p.key.String() + " is", Freeze: *p.Spec.Freeze}.String()
	}
	client, err := k.typed()
	if err != nil {
		return ""
	}
	all, err := client.CoreV1().ConfigMaps(controller.SystemNamespace).Get(ctx, v1alpha1.FreezeConfigMap, metav1.GetOptions{})
	if err != nil {
		return "" // there is none, or it is not for everybody to read
	}
	if f := v1alpha1.FreezeFrom(all.Data); f.InForce(now) {
		return engine.Frozen{Where: "all projects are", Freeze: *f}.String()
	}
	return ""
}

// placeOf is what windows are chosen by: as in Argo CD, what the destination says.
func placeOf(a application) window.Place {
	d := a.Spec.Destination
	p := window.Place{Application: a.key.Name, Namespace: d.Namespace}
	for _, name := range []string{d.Name, d.Server} {
		if name != "" {
			p.Clusters = append(p.Clusters, name)
		}
	}
	if len(p.Clusters) == 0 {
		p.Clusters = []string{v1alpha1.InClusterServer, v1alpha1.InClusterName}
	}
	if p.Namespace == "" && d.IsInCluster() {
		p.Namespace = a.key.Namespace
	}
	return p
}

func windowLines(set window.Set, now time.Time) []windowLine {
	lines := make([]windowLine, 0, len(set))
	for i := range set {
		status := "Inactive"
		if set[i].Active(now) {
			status = "Active"
		}
		lines = append(lines, windowLine{ID: set[i].Index, Status: status, SyncWindow: set[i].SyncWindow})
	}
	return lines
}

func (c commandline) showWindows(v windowsView) {
	p := c.palette()
	if v.Application != "" {
		fmt.Fprintln(c.streams.Out, windowText(p, v, time.Now()))
		if v.Frozen != "" && len(v.Windows) == 0 {
			return
		}
		fmt.Fprintln(c.streams.Out)
	}
	switch {
	case v.Frozen != "" && v.Application == "":
		fmt.Fprintf(c.streams.Out, "%s\n", p.red(printable(v.Frozen)))
		if len(v.Windows) == 0 {
			return
		}
		fmt.Fprintln(c.streams.Out)
	case len(v.Windows) == 0:
		fmt.Fprintf(c.streams.Out, "No sync windows: project %s lets syncs run at any time.\n", printable(v.Project))
		return
	}
	t := newTable(c.streams.Out, "ID", "STATUS", "KIND", "SCHEDULE", "DURATION", "TIMEZONE", "APPLICATIONS", "NAMESPACES", "CLUSTERS", "MANUALSYNC", "SYNCOVERRUN", "ANDOPERATOR", "DESCRIPTION")
	for _, w := range v.Windows {
		zone := w.TimeZone
		if zone == "" {
			zone = "UTC"
		}
		t.add(plain(strconv.Itoa(w.ID)), cell{w.Status, p.bold}, plain(w.Kind), plain(w.Schedule), plain(w.Duration), plain(zone),
			plain(orNone(strings.Join(w.Applications, ","))), plain(orNone(strings.Join(w.Namespaces, ","))), plain(orNone(strings.Join(w.Clusters, ","))),
			plain(enabled(w.ManualSync)), plain(enabled(w.SyncOverrun)), plain(enabled(w.UseAndOperator)), plain(orNone(w.Description)))
	}
	t.flush()
}

func enabled(b bool) string {
	if b {
		return "Enabled"
	}
	return "Disabled"
}

// windowText says in a line what windows let through.
func windowText(p palette, v windowsView, now time.Time) string {
	paint := map[string]func(string) string{syncAllowed: p.green, manualAllowed: p.yellow, syncDenied: p.red}[v.State]
	text := paint(v.State)
	if v.Frozen != "" {
		return text + ": " + printable(v.Frozen)
	}
	if v.Why != "" {
		text += ": " + printable(v.Why)
	}
	if v.Changes != nil {
		word := "closes"
		if v.Why != "" {
			word = "opens"
		}
		text += fmt.Sprintf("; %s at %s (in %s)", word, v.Changes.Local().Format(time.DateTime), v.Changes.Sub(now).Round(time.Minute))
	}
	return text
}
