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
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
)

var errWhatToFreeze = errors.New("name a project, or give --all for all of them")

func (c commandline) newFreezeCommand() *cobra.Command {
	var all bool
	var reason, until string
	cmd := &cobra.Command{
		Use:   "freeze PROJECT|--all --reason WHY",
		Short: "Stop all changes of a project, or of all",
		Long: `Stops all changes: syncs, heals and deletions. Drift is still looked for and
shown. It takes the verb "freeze" on the AppProject (for --all: on all of them).

Each API group has its project "default": both are meant by that name.

Who may override gets a sync through: plumb sync NAME --override --reason WHY.`,
		Example: `  plumb freeze shop --reason "the launch" --until 24h
  plumb freeze --all --reason "database migration" --until 2026-12-01T06:00:00Z
  plumb thaw shop`,
		Args: given(0, 1, "name one project only"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return errWhatToFreeze
			}
			if strings.TrimSpace(reason) == "" {
				return errors.New("say why with --reason: whoever is held up will want to know")
			}
			end, err := parseUntil(until, time.Now())
			if err != nil {
				return err
			}
			if all {
				return c.freezeAll(cmd.Context(), reason, end)
			}
			return c.freeze(cmd.Context(), args[0], reason, end)
		},
	}
	c.connection.bind(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "all projects")
	cmd.Flags().StringVar(&reason, "reason", "", "`WHY`, for all who are held up")
	cmd.Flags().StringVar(&until, "until", "", "`TIME` at which changes go on by themselves: a duration (4h, 2d) or 2026-12-01T06:00:00Z")
	return cmd
}

func (c commandline) newThawCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "thaw PROJECT|--all",
		Short: "Let changes go on that were frozen",
		Args:  given(0, 1, "name one project only"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return errWhatToFreeze
			}
			if all {
				return c.thawAll(cmd.Context())
			}
			return c.thaw(cmd.Context(), args[0])
		},
	}
	c.connection.bind(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "what was frozen with freeze --all; frozen projects stay frozen")
	return cmd
}

// parseUntil reads a time, or a duration from now. Empty is no time.
func parseUntil(text string, now time.Time) (*metav1.Time, error) {
	if text == "" {
		return nil, nil
	}
	if at, ok := after(text, now); ok {
		return &metav1.Time{Time: at.UTC().Truncate(time.Second)}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("--until %q is no time: write a duration such as 4h or 2d, or a time such as 2026-12-01T06:00:00Z", text)
	}
	if !at.After(now) {
		return nil, fmt.Errorf("--until %s is over already", text)
	}
	return &metav1.Time{Time: at.UTC()}, nil
}

// after gives the time a duration from now: 90m, 12h, 30d, 2w.
func after(text string, now time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d), true
	}
	for unit, days := range map[string]int{"d": 1, "w": 7} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			if n, err := strconv.Atoi(number); err == nil && n > 0 && n < 100_000 {
				return now.AddDate(0, 0, n*days), true
			}
		}
	}
	return time.Time{}, false
}

func (c commandline) newFreeze(ctx context.Context, reason string, until *metav1.Time) (*v1alpha1.Freeze, error) {
	by := c.connection.username(ctx)
	if by == "" {
		return nil, errors.New("the API server does not say who you are, and a freeze needs a name")
	}
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	return &v1alpha1.Freeze{Reason: strings.TrimSpace(reason), By: by, At: &now, Until: until}, nil
}

func (c commandline) freeze(ctx context.Context, name, reason string, until *metav1.Time) error {
	keys, err := c.connection.projectsToFreeze(ctx, name)
	if err != nil {
		return err
	}
	f, err := c.newFreeze(ctx, reason, until)
	if err != nil {
		return err
	}
	var errs []error
	for _, key := range keys {
		after, err := c.connection.setFreeze(ctx, key, f)
		switch {
		case err != nil:
			errs = append(errs, err)
		case after.Spec.Freeze == nil:
			errs = append(errs, fmt.Errorf("project %s is not frozen: its definition is not Plumb's and has no place for it; use a deny window in spec.syncWindows", key))
		default:
			fmt.Fprintf(c.streams.Out, "project %s frozen%s: `plumb thaw %s` lets changes go on\n", key, untilText(until), name)
		}
	}
	return errors.Join(errs...)
}

func (c commandline) thaw(ctx context.Context, name string) error {
	found, err := c.connection.meant(ctx, name)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range found {
		if p.Spec.Freeze == nil {
			continue
		}
		if _, err := c.connection.setFreeze(ctx, p.key, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(c.streams.Out, "project %s thawed: its changes go on\n", p.key)
	}
	frozen := slices.ContainsFunc(found, func(p project) bool { return p.Spec.Freeze != nil })
	if !frozen {
		fmt.Fprintf(c.streams.Out, "project %s is not frozen\n", found[0].key)
	}
	return errors.Join(errs...)
}

func untilText(until *metav1.Time) string {
	if until == nil {
		return ""
	}
	return " until " + until.Local().Format(time.DateTime)
}

// meant are the projects that a name means to whoever freezes: one, but for the
// name "default" all that are called so.
func (k *connection) meant(ctx context.Context, name string) ([]project, error) {
	if name == v1alpha1.DefaultProject {
		if found, err := k.projectsNamed(ctx, name); err != nil || len(found) > 0 {
			return found, err
		}
	}
	p, err := k.oneProject(ctx, name)
	return []project{p}, err
}

// projectsToFreeze are the projects that are meant. A project "default" is there
// before anybody has made it: it is made as it is.
func (k *connection) projectsToFreeze(ctx context.Context, name string) ([]engine.Key, error) {
	var keys []engine.Key
	if name != v1alpha1.DefaultProject {
		p, err := k.oneProject(ctx, name)
		return append(keys, p.key), err
	}
	found, err := k.projectsNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		keys = append(keys, p.key)
	}
	apps, err := k.list(ctx, "", metav1.ListOptions{})
	if err != nil && !apierrors.IsForbidden(err) { // who may not look makes none for Applications of others
		return nil, err
	}
	for _, gv := range groups {
		there := func(key engine.Key) bool { return key.Group == gv.Group }
		used := slices.ContainsFunc(apps, func(a application) bool { return a.key.Group == gv.Group && a.project() == name })
		if slices.ContainsFunc(keys, there) || gv.Group != v1alpha1.Group && !used {
			continue
		}
		key := engine.Key{Group: gv.Group, Namespace: controlNamespace(gv.Group), Name: name}
		if err := k.createDefault(ctx, key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (k *connection) setFreeze(ctx context.Context, key engine.Key, f *v1alpha1.Freeze) (project, error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"freeze": f}})
	if err != nil {
		return project{}, fmt.Errorf("encode the freeze: %w", err)
	}
	if f != nil && f.Until == nil { // what an earlier freeze said goes
		patch, err = json.Marshal(map[string]any{"spec": map[string]any{"freeze": map[string]any{"reason": f.Reason, "by": f.By, "at": f.At, "until": nil}}})
		if err != nil {
			return project{}, fmt.Errorf("encode the freeze: %w", err)
		}
	}
	u, err := k.projects(key.Group, key.Namespace).Patch(ctx, key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plumb-cli"})
	if err != nil {
		return project{}, k.explain(err)
	}
	return newProject(u)
}

// createDefault makes the project "default" as it is without an object: it allows
// everything.
func (k *connection) createDefault(ctx context.Context, key engine.Key) error {
	p := controller.DefaultProject()
	p.Namespace = key.Namespace
	p.APIVersion, p.Kind = key.Group+"/"+v1alpha1.Version, v1alpha1.AppProjectKind
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	if err != nil {
		return fmt.Errorf("encode the project: %w", err)
	}
	_, err = k.projects(key.Group, key.Namespace).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: "plumb-cli"})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return k.explain(err)
	}
	return nil
}

// freezeAll makes, or changes, the ConfigMap that freezes everything.
func (c commandline) freezeAll(ctx context.Context, reason string, until *metav1.Time) error {
	if err := c.connection.open(); err != nil {
		return err
	}
	client, err := c.connection.typed()
	if err != nil {
		return err
	}
	f, err := c.newFreeze(ctx, reason, until)
	if err != nil {
		return err
	}
	data := map[string]string{"reason": f.Reason, "by": f.By, "at": f.At.Format(time.RFC3339)}
	if until != nil {
		data["until"] = until.Format(time.RFC3339)
	}
	maps := client.CoreV1().ConfigMaps(controller.SystemNamespace)
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.FreezeConfigMap, Namespace: controller.SystemNamespace, Labels: map[string]string{v1alpha1.LabelPartOf: v1alpha1.LabelPartOfValue}},
		Data:       data,
	}
	_, err = maps.Create(ctx, object, metav1.CreateOptions{FieldManager: "plumb-cli"})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(ctx, object, metav1.UpdateOptions{FieldManager: "plumb-cli"})
	}
	if err != nil {
		return c.connection.explain(err)
	}
	fmt.Fprintf(c.streams.Out, "all projects frozen%s: `plumb thaw --all` lets changes go on\n", untilText(until))
	return nil
}

func (c commandline) thawAll(ctx context.Context) error {
	if err := c.connection.open(); err != nil {
		return err
	}
	client, err := c.connection.typed()
	if err != nil {
		return err
	}
	err = client.CoreV1().ConfigMaps(controller.SystemNamespace).Delete(ctx, v1alpha1.FreezeConfigMap, metav1.DeleteOptions{})
	switch {
	case apierrors.IsNotFound(err):
		fmt.Fprintln(c.streams.Out, "not all is frozen (a project that is frozen by itself is thawed by its name)")
	case err != nil:
		return c.connection.explain(err)
	default:
		fmt.Fprintln(c.streams.Out, "thawed: changes go on, but in projects that are frozen by themselves")
	}
	return nil
}
