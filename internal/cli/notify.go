package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/notify"
)

// The names of Argo CD's objects.
const (
	notificationsConfigMap = "argocd-notifications-cm"
	notificationsSecret    = "argocd-notifications-secret" //nolint:gosec // a name
)

const notifyLong = `Looks at the configuration of notifications and tries it out. It is read from
argocd-notifications-cm and argocd-notifications-secret in plumb-system and
argocd, with your own rights, or from files.

  plumb notify list                          services, triggers, and what is wrong
  plumb notify test slack:my-channel         send one message
  plumb notify test slack:ops --app web --trigger on-sync-failed
  plumb notify template get app-sync-failed
  plumb notify template notify app-sync-failed web
  plumb notify trigger run on-deployed web`

// notifyOptions say where the configuration is.
type notifyOptions struct {
	configMap, secret string
	selection         selection
}

func (c commandline) newNotifyCommand() *cobra.Command {
	var o notifyOptions
	cmd := &cobra.Command{
		Use: "notify", Aliases: []string{"notifications"},
		Short: "Look at and try out notifications",
		Long:  notifyLong,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	flags := cmd.PersistentFlags()
	c.connection.bind(flags)
	o.selection.bind(flags)
	flags.StringVar(&o.configMap, "config-map", "", "`FILE` with the ConfigMap, instead of the one in the cluster")
	flags.StringVar(&o.secret, "secret", "", "`FILE` with the Secret, instead of the one in the cluster")
	template := &cobra.Command{Use: "template", Short: "Look at templates and write messages by them", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	template.AddCommand(c.newTemplateGetCommand(&o), c.newTemplateNotifyCommand(&o))
	trigger := &cobra.Command{Use: "trigger", Short: "Evaluate triggers", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	trigger.AddCommand(c.newTriggerRunCommand(&o))
	cmd.AddCommand(c.newNotifyListCommand(&o), c.newNotifyTestCommand(&o), template, trigger)
	return cmd
}

func (c commandline) newNotifyListCommand(o *notifyOptions) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List services, triggers, templates, and what is wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, problems, err := c.notifyConfig(cmd.Context(), *o)
			if err != nil {
				return err
			}
			w := c.streams.Out
			fmt.Fprintln(w, "Services:")
			for _, s := range config.Services() {
				fmt.Fprintf(w, "  %-28s %s\n", printable(s.Name), printable(s.Kind))
			}
			if len(config.Services()) == 0 {
				fmt.Fprintln(w, "  none: nothing is sent")
			}
			fmt.Fprintln(w, "Triggers:")
			for _, t := range config.Triggers() {
				fmt.Fprintf(w, "  %-28s %s%s\n", printable(t.Name), printable(t.Description), builtIn(t))
			}
			fmt.Fprintln(w, "Templates:")
			for _, t := range config.Templates() {
				fmt.Fprintf(w, "  %s%s\n", printable(t.Name), builtIn(t))
			}
			for _, p := range problems {
				fmt.Fprintln(c.streams.Err, "warning: "+printable(p.String()))
			}
			if o.configMap != "" {
				return nil
			}
			return c.listUnusable(cmd.Context(), o.selection)
		},
	}
}

// listUnusable says which Applications have subscriptions that can't be used, and
// what of a namespace's own configuration.
func (c commandline) listUnusable(ctx context.Context, s selection) error {
	apps, err := c.connection.findAll(ctx, nil, s)
	if err != nil {
		return err
	}
	for _, a := range apps {
		for _, condition := range a.Status.Conditions {
			if condition.Type == v1alpha1.ConditionNotificationFailed {
				fmt.Fprintf(c.streams.Err, "warning: Application %s: %s\n", printable(a.key.String()), printable(condition.Message))
			}
		}
	}
	if s.namespace == "" || s.namespace == controller.ArgoNamespace || s.namespace == controller.SystemNamespace {
		return nil
	}
	cm, secret, err := c.notifyObjects(ctx, s.namespace)
	if err != nil {
		return err
	}
	own, problems := parseNotifications(cm, secret)
	for _, service := range own.Services() {
		fmt.Fprintf(c.streams.Out, "Own service of %s: %s (%s)\n", s.namespace, printable(service.Name), printable(service.Kind))
	}
	for _, p := range problems {
		fmt.Fprintf(c.streams.Err, "warning: %s/%s: %s\n", s.namespace, notificationsConfigMap, printable(p.String()))
	}
	return nil
}

func builtIn(n notify.Named) string {
	if n.BuiltIn {
		return " (built in)"
	}
	return ""
}

func (c commandline) newNotifyTestCommand(o *notifyOptions) *cobra.Command {
	var trigger, app string
	cmd := &cobra.Command{
		Use: "test SERVICE[:RECIPIENT]", Short: "Send one message, and say what came of it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "name a service, and its recipient after a colon")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			config, _, err := c.notifyConfig(cmd.Context(), *o)
			if err != nil {
				return err
			}
			event, err := c.notifyEvent(cmd.Context(), *o, app)
			if err != nil {
				return err
			}
			event.Trigger = notify.Trigger(trigger)
			if app == "" {
				event.Message = "This is a test. Nothing has happened."
			}
			conditions, err := config.Try(trigger, event)
			if err != nil {
				return err
			}
			return c.sendMessage(cmd.Context(), config, event, args[0], conditions[0].Templates)
		},
	}
	cmd.Flags().StringVar(&trigger, "trigger", string(notify.OnDeployed), "`TRIGGER` whose message is sent")
	cmd.Flags().StringVar(&app, "app", "", "`NAME` of the Application that it is about (default: an example)")
	return cmd
}

// sendMessage sends what templates make of an event to SERVICE:RECIPIENT.
func (c commandline) sendMessage(ctx context.Context, config notify.Config, e notify.Event, to string, templates []string) error {
	service, recipient, _ := strings.Cut(to, ":")
	kind, ok := config.Kind(service)
	d := notify.Destination{Service: service, Recipient: recipient}
	if !ok && service != "console" {
		return config.Deliver(ctx, nil, d, notify.Message{}) // it says which there are
	}
	m, err := config.Preview(e, kind, d, templates...)
	if err != nil {
		return err
	}
	if !ok {
		fmt.Fprintf(c.streams.Out, "%s\n\n%s\n", printable(m.Title), printableLines(m.Text))
		return nil
	}
	if err := config.Deliver(ctx, nil, d, m); err != nil {
		return fmt.Errorf("it did not arrive: %w", err)
	}
	fmt.Fprintf(c.streams.Out, "sent to %s\n", printable(d.String()))
	return nil
}

func (c commandline) newTemplateGetCommand(o *notifyOptions) *cobra.Command {
	return &cobra.Command{
		Use: "get [NAME]", Short: "Print a template, or the names of all", Args: given(0, 1, "name one template only"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, _, err := c.notifyConfig(cmd.Context(), *o)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				for _, t := range config.Templates() {
					fmt.Fprintf(c.streams.Out, "%s%s\n", printable(t.Name), builtIn(t))
				}
				return nil
			}
			source, ok := config.TemplateSource(args[0])
			if !ok {
				return fmt.Errorf("there is no template %q: `plumb notify template get` lists them", args[0])
			}
			fmt.Fprintln(c.streams.Out, printableLines(strings.TrimRight(source, "\n")))
			return nil
		},
	}
}

func (c commandline) newTemplateNotifyCommand(o *notifyOptions) *cobra.Command {
	var recipient string
	cmd := &cobra.Command{
		Use: "notify TEMPLATE APP", Short: "Write a message about an Application, and print or send it", Args: given(2, 2, "name a template and an Application"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, _, err := c.notifyConfig(cmd.Context(), *o)
			if err != nil {
				return err
			}
			if _, ok := config.TemplateSource(args[0]); !ok {
				return fmt.Errorf("there is no template %q: `plumb notify template get` lists them", args[0])
			}
			event, err := c.notifyEvent(cmd.Context(), *o, args[1])
			if err != nil {
				return err
			}
			return c.sendMessage(cmd.Context(), config, event, recipient, args[:1])
		},
	}
	cmd.Flags().StringVar(&recipient, "recipient", "console", "`SERVICE:RECIPIENT` to send it to")
	return cmd
}

func (c commandline) newTriggerRunCommand(o *notifyOptions) *cobra.Command {
	return &cobra.Command{
		Use: "run TRIGGER APP", Short: "Say which conditions of a trigger an Application meets", Args: given(2, 2, "name a trigger and an Application"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, _, err := c.notifyConfig(cmd.Context(), *o)
			if err != nil {
				return err
			}
			event, err := c.notifyEvent(cmd.Context(), *o, args[1])
			if err != nil {
				return err
			}
			outcomes, err := config.Try(args[0], event)
			for _, out := range outcomes {
				fmt.Fprintf(c.streams.Out, "%-5v %s\n      sends %s", out.Met, printable(out.When), printable(strings.Join(out.Templates, ", ")))
				if out.OncePer != "" {
					fmt.Fprintf(c.streams.Out, " once per %s", printable(out.OncePer))
				}
				fmt.Fprintln(c.streams.Out)
			}
			return err
		},
	}
}

// notifyEvent is an event about an Application, or about an example.
func (c commandline) notifyEvent(ctx context.Context, o notifyOptions, name string) (notify.Event, error) {
	e := notify.Event{Time: time.Now(), Application: notify.Application{Namespace: "argocd", Name: "example"}}
	if name == "" {
		return e, nil
	}
	a, err := c.connection.find(ctx, name, o.selection)
	if err != nil {
		return e, err
	}
	e.Application = notify.Application{Namespace: a.key.Namespace, Name: a.key.Name, Labels: a.Labels}
	e.Project.Name, e.Object = a.Spec.Project, &a.Application
	e.Commit.Revision = a.Status.Sync.Revision
	return e, nil
}

// notifyConfig reads the configuration from files, or else as the server does.
func (c commandline) notifyConfig(ctx context.Context, o notifyOptions) (notify.Config, []notify.Problem, error) {
	if o.configMap != "" {
		var cm corev1.ConfigMap
		var secret corev1.Secret
		if err := readObject(o.configMap, &cm); err != nil {
			return notify.Config{}, nil, err
		}
		if o.secret != "" {
			if err := readObject(o.secret, &secret); err != nil {
				return notify.Config{}, nil, err
			}
		}
		config, problems := parseNotifications(&cm, &secret)
		return config, problems, nil
	}
	if err := c.connection.open(); err != nil {
		return notify.Config{}, nil, err
	}
	var config notify.Config
	var problems []notify.Problem
	for _, namespace := range []string{"argocd", controller.SystemNamespace} {
		cm, secret, err := c.notifyObjects(ctx, namespace)
		if err != nil {
			return config, nil, err
		}
		own, more := parseNotifications(cm, secret)
		config, problems = own.Over(config), append(problems, more...)
	}
	return config, problems, nil
}

// notifyObjects reads the two objects of one namespace; one that is not there is
// empty.
func (c commandline) notifyObjects(ctx context.Context, namespace string) (*corev1.ConfigMap, *corev1.Secret, error) {
	client, err := c.connection.typed()
	if err != nil {
		return nil, nil, err
	}
	cm, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, notificationsConfigMap, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, c.connection.explain(err)
	}
	secret, err := client.CoreV1().Secrets(namespace).Get(ctx, notificationsSecret, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, c.connection.explain(err)
	}
	return cm, secret, nil
}

func parseNotifications(cm *corev1.ConfigMap, secret *corev1.Secret) (notify.Config, []notify.Problem) {
	data := secret.Data
	for key, value := range secret.StringData { // of a file
		if data == nil {
			data = map[string][]byte{}
		}
		data[key] = []byte(value)
	}
	return notify.ParseArgo(cm.Data, data)
}

func readObject(file string, into any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s is not a manifest: %w", file, err)
	}
	return nil
}

// printableLines keeps lines and their indentation.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}
