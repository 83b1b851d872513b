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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func (c commandline) newTreeCommand() *cobra.Command {
	var s selection
	var o output
	cmd := &cobra.Command{
		Use:   "tree NAME",
		Short: "Show the resources of an Application down to its pods",
		Long: `Shows the resources of an Application, and below each what came of it (by owner
references, down to the pods), with health.

What came of them is asked for now, with your own rights. For a destination that
is another cluster, your kubeconfig must have a context for it.`,
		Args:              oneName,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.connection.find(cmd.Context(), args[0], s)
			if err != nil {
				return err
			}
			root := c.growTree(cmd.Context(), a)
			if o.machine() {
				return o.print(c.streams.Out, root)
			}
			v := treeText{out: c.streams.Out, p: c.palette(), now: time.Now()}
			v.show(root)
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	return cmd
}

// branch is one resource in the tree, as JSON shows it.
type branch struct {
	Group     string                  `json:"group,omitempty"`
	Kind      string                  `json:"kind"`
	Namespace string                  `json:"namespace,omitempty"`
	Name      string                  `json:"name"`
	Sync      v1alpha1.SyncStatusCode `json:"sync,omitempty"`
	Health    string                  `json:"health,omitempty"`
	Message   string                  `json:"message,omitempty"`
	Hook      bool                    `json:"hook,omitempty"`
	Prune     bool                    `json:"requiresPruning,omitempty"`
	Created   *metav1.Time            `json:"created,omitempty"`
	Children  []*branch               `json:"children,omitempty"`
}

// growTree gives the tree of an Application: its resources out of its status,
// and below them what the destination has.
func (c commandline) growTree(ctx context.Context, a application) *branch {
	root := &branch{
		Group: a.key.Group, Kind: v1alpha1.ApplicationKind, Namespace: a.key.Namespace, Name: a.key.Name,
		Sync: a.Status.Sync.Status, Health: string(a.Status.Health.Status), Message: a.Status.Health.Message,
	}
	for _, r := range a.Status.Resources {
		b := &branch{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Sync: r.Status, Hook: r.Hook, Prune: r.RequiresPruning}
		if r.Health != nil {
			b.Health, b.Message = string(r.Health.Status), r.Health.Message
		}
		root.Children = append(root.Children, b)
	}
	destination, err := c.connection.destination(a)
	if err == nil {
		err = destination.graft(ctx, root.Children)
	}
	if err != nil {
		fmt.Fprintf(c.streams.Err, "warning: what came of the resources is not shown: %s\n", describeError(err))
	}
	return root
}

// treeText is for people.
type treeText struct {
	out io.Writer
	p   palette
	now time.Time
}

func (v treeText) show(root *branch) {
	t := newTable(v.out, "RESOURCE", "SYNC", "HEALTH", "AGE", "MESSAGE")
	v.add(t, root, "", "")
	t.flush()
}

func (v treeText) add(t *table, b *branch, lead, rest string) {
	created := ""
	if b.Created != nil {
		created = age(*b.Created, v.now)
	}
	sync, message := string(b.Sync), b.Message
	switch {
	case b.Hook:
		sync = "Hook"
	case b.Prune:
		message = strings.TrimSpace("to be pruned. " + message)
	}
	name := b.Kind + "/" + b.Name
	if b.Group != "" && b.Kind != v1alpha1.ApplicationKind {
		name = b.Kind + "." + b.Group + "/" + b.Name
	}
	if b.Namespace != "" {
		name += " (" + b.Namespace + ")"
	}
	t.add(plain(lead+name), cell{orNone(sync), v.p.status}, cell{orNone(b.Health), v.p.status}, plain(orNone(created)), plain(message))
	slices.SortFunc(b.Children, func(a, b *branch) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for i, child := range b.Children {
		if i == len(b.Children)-1 {
			v.add(t, child, rest+"└─ ", rest+"   ")
		} else {
			v.add(t, child, rest+"├─ ", rest+"│  ")
		}
	}
}
