package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// completionPatience is how long a shell may wait for names.
const completionPatience = 2 * time.Second

// completeNames completes the names of Applications. Names that are not unique
// are completed with their namespace.
func (c commandline) completeNames(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	namespace, _ := cmd.Flags().GetString("namespace")
	apps, err := c.connection.list(ctx, namespace, metav1.ListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	count := map[string]int{}
	for _, a := range apps {
		count[a.key.Name]++
	}
	var names []string
	for _, a := range apps {
		name := a.key.Name
		if count[name] > 1 {
			name = qualified(a.key, apps)
		}
		if !slices.Contains(given, name) {
			names = append(names, name+"\t"+string(a.Status.Sync.Status)+", "+string(a.Status.Health.Status))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeName completes one name.
func (c commandline) completeName(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeNames(cmd, given, typed)
}

// oneName is the check of arguments of a command about one Application.
func oneName(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usageError(cmd, "name an Application")
	case len(args) > 1:
		return usageError(cmd, "name one Application only")
	}
	return nil
}
